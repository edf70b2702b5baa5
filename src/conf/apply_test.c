#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "conf/fixture.h"

/* A small language: main > box > (box) and a data block. */

static const struct conf_enum colours[] = {{"red", 1}, {"green", 2}, {"blue", 4}, {NULL}};
static const struct conf_bounds level_bounds = {1, 9};

struct scal {
	bool flag;
	int64_t num, size, ms, sec, level;
	struct span str;
	struct conf_strs strs, more;
	int colour;
	unsigned mask;
	struct conf_bufs bufs;
};

struct boxes {
	int inits, dones;
	char order[256]; /* names of boxes and data as they were applied */
};

static struct boxes boxes;
static struct scal seen[16]; /* what each box saw, in order */
static int nseen;
extern struct conf_mod scal_mod, box_mod;
static int on_box(struct conf_call *c);
static int on_data(struct conf_call *c);
static int on_note(struct conf_call *c);
static int on_later(struct conf_call *c);
static int on_silent(struct conf_call *c);

#define HERE (IN_MAIN | IN_HTTP | IN_SERVER)

static const struct conf_row scal_rows[] = {
	MFLAG("flag", HERE, struct scal, flag, true, ""),
	MNUM("num", HERE, struct scal, num, 7, ""),
	MSIZE("size", HERE, struct scal, size, 4096, ""),
	MMSEC("msec", HERE, struct scal, ms, 60 * SECOND, ""),
	MSECONDS("sec", HERE, struct scal, sec, 5, ""),
	MSTR("str", HERE, struct scal, str, "dflt", ""),
	MENUM("colour", HERE, struct scal, colour, colours, 2, ""),
	MMASK("mask", HERE, struct scal, mask, colours, 5, ""),
	MBUFS("bufs", HERE, struct scal, bufs, ""),
	CONF_ROW_("level", HERE, 1, 1, CONF_NUM, 0, struct scal, level, &level_bounds, 1, NULL, ""),
	CONF_ROW_("strs", HERE, 1, 255, CONF_STRS, CONF_MULTI, struct scal, strs, NULL, 0, "a b",
		  ""),
	CONF_ROW_("more", HERE, 1, 255, CONF_STRS, CONF_MULTI | CONF_NO_DROP, struct scal, more,
		  NULL, 0, NULL, ""),
	CONF_ROW_("oldie", HERE, 1, 1, CONF_FLAG, CONF_DEPRECATED, struct scal, flag, NULL, 1, NULL,
		  "use flag"),
	MEND};
struct conf_mod scal_mod = {.name = "scal", .size = sizeof(struct scal), .rows = scal_rows};

static int box_init(struct conf_call *c, void *conf)
{
	boxes.inits++;
	return CONF_OK;
}

static int box_done(struct conf_call *c, void *conf)
{
	boxes.dones++;
	assert_true(c->scope->where & (IN_HTTP | IN_SERVER));
	return CONF_OK;
}

static const struct conf_row box_rows[] = {MBLOCK("box", IN_MAIN, 1, 1, on_box, ""),
					   MBLOCK("box", IN_HTTP | IN_SERVER, 2, 2, on_box, ""),
					   MDATA("data", HERE, 1, 1, 0, on_data, ""),
					   MCUSTOM("note", HERE, 1, 2, CONF_MULTI, on_note, ""),
					   MCUSTOM("later", HERE, 2, 2, CONF_MULTI, on_later, ""),
					   MCUSTOM("silent", HERE, 0, 0, 0, on_silent, ""),
					   MIGNORED("whatever", HERE, 0, 255, ""),
					   MCUSTOM("inner_only", IN_SERVER, 1, 1, 0, on_note, ""),
					   MEND};
struct conf_mod box_mod = {.name = "box",
			   .size = sizeof(struct boxes),
			   .rows = box_rows,
			   .init = box_init,
			   .done = box_done,
			   .done_where = IN_HTTP | IN_SERVER};
static struct conf_mod *const mods[] = {&scal_mod, &box_mod, NULL};

static void remember(struct span s)
{
	size_t n = strlen(boxes.order);

	snprintf(boxes.order + n, sizeof(boxes.order) - n, "%.*s ", SPAN_ARG(s));
}

static int on_box(struct conf_call *c)
{
	struct conf_scope *s =
		conf_scope_new(c, c->scope->where == IN_MAIN ? IN_HTTP : IN_SERVER, NULL);
	int r;

	assert_non_null(s);
	remember(conf_arg(c, 1));
	r = conf_apply(c, s);
	if (nseen < 16)
		seen[nseen++] = *(const struct scal *)conf_get(s, &scal_mod);
	return r;
}

static int on_data(struct conf_call *c)
{
	remember(conf_arg(c, 1));
	for (struct conf_node *n = c->node->children; n; n = n->next) {
		struct conf_call k = conf_call_on(c, n);

		if (n->block || n->nwords != 2)
			conf_error(&k, 0, "bad data");
	}
	return CONF_OK;
}

static int on_note(struct conf_call *c)
{
	if (conf_first_here(c))
		remember(SPAN("first"));
	remember(conf_arg(c, 1));
	return CONF_OK;
}

static int run_later(struct conf_call *c, void *arg)
{
	remember(conf_arg(c, 2));
	return arg == c->ctx ? CONF_OK : CONF_ERR;
}

static int on_later(struct conf_call *c)
{
	return conf_later(c, conf_arg(c, 1).p[0] - '0', run_later, c->ctx);
}

static int on_silent(struct conf_call *c)
{
	return CONF_ERR;
}

static int apply(struct fixture *f, const char *text)
{
	int r;

	memset(&boxes, 0, sizeof(boxes));
	memset(seen, 0, sizeof(seen));
	nseen = 0;
	fixture_init(f, NULL);
	conf_mods_init(mods);
	r = fixture_parse(f, span_of(text));
	return conf_apply_all(&f->ctx, &f->main) | r;
}

static const struct {
	const char *text, *problems;
} table[] = {
	{"flag on; num 3; size 1m;", ""},
	{"\n  foo bar;\n", "emerg 2:3 unknown directive \"foo\"\n"},
	{"flga on;", "emerg 1:1 unknown directive \"flga\"| did you mean \"flag\"?\n"},
	{"foo { flag x; }", "emerg 1:1 unknown directive \"foo\"\n"},
	{"ssi on;",
	 "emerg 1:1 unknown directive \"ssi\"| known to nginx (module ngx_http_ssi_filter_module), "
	 "not supported by sluice yet\n"},
	{"includ x;", "emerg 1:1 unknown directive \"includ\"| did you mean \"include\"?\n"},
	{"flag on; flag off;", "emerg 1:10 \"flag\" directive is duplicate\n"},
	{"flag maybe;",
	 "emerg 1:6 invalid value \"maybe\" in \"flag\" directive, it must be \"on\" or \"off\"\n"},
	{"flag \"\";",
	 "emerg 1:6 invalid value \"\" in \"flag\" directive, it must be \"on\" or \"off\"\n"},
	{"flag ON; box a { flag oFf; }", ""},
	{"num x;", "emerg 1:5 \"num\" directive invalid number| a whole number is wanted\n"},
	{"num -1;", "emerg 1:5 \"num\" directive invalid number| a whole number is wanted\n"},
	{"size 3t;",
	 "emerg 1:6 \"size\" directive invalid value| a size is wanted: 4096, 8k, 1m\n"},
	{"msec 30m1h;",
	 "emerg 1:6 \"msec\" directive invalid value| a time is wanted: 30s, 5m, 1h30m\n"},
	{"colour pink;",
	 "emerg 1:8 invalid value \"pink\"| \"colour\" takes \"red\", \"green\", \"blue\"\n"},
	{"mask red Red;", "warn 1:10 duplicate value \"red\"\n"},
	{"mask red; mask blue; mask red;", "warn 1:27 duplicate value \"red\"\n"},
	{"mask red pink;",
	 "emerg 1:10 invalid value \"pink\"| \"mask\" takes \"red\", \"green\", \"blue\"\n"},
	{"level 10;", "emerg 1:7 value must be between 1 and 9\n"},
	{"bufs 0 4k;",
	 "emerg 1:6 \"bufs\" directive invalid value| a number and a size are wanted: 8 4k\n"},
	{"bufs 4 x;",
	 "emerg 1:6 \"bufs\" directive invalid value| a number and a size are wanted: 8 4k\n"},
	{"bufs 4;",
	 "emerg 1:1 invalid number of arguments in \"bufs\" directive| it takes 2, here are 1\n"},
	{"flag;",
	 "emerg 1:1 invalid number of arguments in \"flag\" directive| it takes 1, here are 0\n"},
	{"mask;", "emerg 1:1 invalid number of arguments in \"mask\" directive| it takes at least "
		  "1, here are 0\n"},
	{"note 1 2 3;", "emerg 1:1 invalid number of arguments in \"note\" directive| it takes 1 "
			"to 2, here are 3\n"},
	{"flag on\nnum 3;",
	 "emerg 1:1 invalid number of arguments in \"flag\" directive| a \";\" seems to be "
	 "missing in line 1, before \"num\"\n"},
	{"flag on\nbox a { num x; }",
	 "emerg 1:1 directive \"flag\" is not terminated by \";\"| a \";\" seems to be "
	 "missing in line 1, before \"box\"\n"},
	{"flag {}", "emerg 1:1 directive \"flag\" is not terminated by \";\"\n"},
	{"box a;", "emerg 1:1 directive \"box\" has no opening \"{\"\n"},
	{"box {}",
	 "emerg 1:1 invalid number of arguments in \"box\" directive| it takes 1, here are 0\n"},
	{"box a { box b {} }",
	 "emerg 1:9 invalid number of arguments in \"box\" directive| it takes 2, here are 1\n"},
	{"inner_only 1;",
	 "emerg 1:1 \"inner_only\" directive is not allowed here| it may stand in: server\n"},
	{"silent;", "emerg 1:1 \"silent\" directive failed\n"},
	{"oldie on;", "warn 1:1 the \"oldie\" directive is deprecated| use flag\n"},
	{"whatever; whatever 1 2; whatever {}", ""},
	{"data d { a b; c; e {} }", "emerg 1:15 bad data\nemerg 1:18 bad data\n"},
	{"data d {} data e {}", "emerg 1:11 \"data\" directive is duplicate\n"},
	{"foo; flag x; box a { bar; num y; box b b { baz; } }",
	 "emerg 1:1 unknown directive \"foo\"\n"
	 "emerg 1:11 invalid value \"x\" in \"flag\" directive, it must be \"on\" or \"off\"\n"
	 "emerg 1:22 unknown directive \"bar\"\n"
	 "emerg 1:31 \"num\" directive invalid number| a whole number is wanted\n"
	 "emerg 1:44 unknown directive \"baz\"\n"},
	{"num x; }\nnum 1;",
	 "emerg 1:8 unexpected \"}\"| no block is open here\n"
	 "emerg 1:5 \"num\" directive invalid number| a whole number is wanted\n"
	 "emerg 2:1 \"num\" directive is duplicate\n"},
};

static void test_problems(void **state)
{
	struct fixture f;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		int r = apply(&f, table[i].text);

		assert_string_equal(fixture_problems(&f), table[i].problems);
		assert_int_equal(r, strstr(table[i].problems, "emerg") ? CONF_ERR : CONF_OK);
		fixture_fini(&f);
	}
}

static void test_defaults(void **state)
{
	struct fixture f;
	const struct scal *s;

	assert_int_equal(apply(&f, ""), CONF_OK);
	s = conf_get(f.main, &scal_mod);
	assert_true(s->flag);
	assert_int_equal(s->num, 7);
	assert_int_equal(s->size, 4096);
	assert_int_equal(s->ms, 60000);
	assert_int_equal(s->sec, 5);
	assert_int_equal(s->colour, 2);
	assert_int_equal(s->mask, 5);
	assert_int_equal(s->level, 1);
	assert_true(span_eq(s->str, SPAN("dflt")));
	assert_int_equal(s->strs.n, 2);
	assert_true(span_eq(s->strs.v[1], SPAN("b")));
	assert_int_equal(boxes.inits, 1);
	fixture_fini(&f);
}

/* Simple ones first, wherever they stand; children see the parent's, and never change it. */
static void test_inheritance(void **state)
{
	struct fixture f;
	const struct scal *s;

	assert_int_equal(apply(&f, "box a { num 2; box b b { num 3; str x; } box c c { size 1k; } "
				   "str y; } num 1; "
				   "mask blue; box z {}"),
			 CONF_OK);
	assert_int_equal(nseen, 4); /* b, c, a, z */
	assert_int_equal(seen[0].num, 3);
	assert_true(span_eq(seen[0].str, SPAN("x")));
	assert_int_equal(seen[0].mask, 4);
	assert_int_equal(seen[1].num, 2);
	assert_int_equal(seen[1].size, 1024);
	assert_true(span_eq(seen[1].str, SPAN("y")));
	assert_int_equal(seen[2].num, 2);
	assert_int_equal(seen[2].size, 4096);
	assert_int_equal(seen[3].num, 1);
	s = conf_get(f.main, &scal_mod);
	assert_int_equal(s->num, 1);
	assert_int_equal(boxes.dones, 4);
	fixture_fini(&f);
}

static void test_untouched_structs_are_shared(void **state)
{
	struct fixture f;
	struct conf_call c;
	struct conf_scope *s;

	assert_int_equal(apply(&f, ""), CONF_OK);
	c = (struct conf_call){
		.ctx = &f.ctx, .scope = f.main, .node = f.ctx.root, .mod = &scal_mod};
	s = conf_scope_new(&c, IN_HTTP, NULL);
	assert_ptr_equal(conf_get(s, &scal_mod), conf_get(f.main, &scal_mod));
	c.scope = s;
	assert_ptr_not_equal(conf_mine(&c), conf_get(f.main, &scal_mod));
	assert_ptr_equal(conf_mine(&c), conf_get(s, &scal_mod));
	assert_ptr_equal(conf_scope_up(s, IN_MAIN), f.main);
	assert_null(conf_scope_up(s, IN_SERVER));
	fixture_fini(&f);
}

static void test_lists(void **state)
{
	struct fixture f;

	assert_int_equal(apply(&f, "strs 1 2; strs 3; more m; "
				   "box a { more x; box aa a { more y; } box ab a { more z; } }"
				   "box b { strs 9; strs 8 7; more w; more v; }"),
			 CONF_OK);
	assert_int_equal(seen[0].strs.n, 3);
	assert_true(span_eq(seen[0].strs.v[2], SPAN("3")));
	assert_int_equal(seen[0].more.n, 3); /* m x y */
	assert_true(span_eq(seen[0].more.v[2], SPAN("y")));
	assert_true(span_eq(seen[1].more.v[2], SPAN("z"))); /* siblings share no array */
	assert_int_equal(seen[2].more.n, 2);
	assert_int_equal(seen[3].strs.n, 3);
	assert_true(span_eq(seen[3].strs.v[0], SPAN("9")));
	assert_int_equal(seen[3].more.n, 3);
	assert_true(span_eq(seen[3].more.v[1], SPAN("w")));
	fixture_fini(&f);
}

static void test_order(void **state)
{
	struct fixture f;

	assert_int_equal(apply(&f, "later 2 l2; later 0 l0; box a { note n3; note n4; later 1 l1; "
				   "later 0 l00; } "
				   "note n1; data d {} note n2; box b {}"),
			 CONF_OK);
	assert_string_equal(boxes.order, "first n1 d n2 a first n3 n4 b l0 l00 l1 l2 ");
	fixture_fini(&f);
}

static void test_command_line_and_file_share_duplicates(void **state)
{
	struct fixture f;

	fixture_init(&f, NULL);
	conf_mods_init(mods);
	assert_int_equal(conf_parse_text(&f.ctx, SPAN("command line"), SPAN("flag on;")), CONF_OK);
	assert_int_equal(fixture_parse(&f, SPAN("num 1;\nflag off;")), CONF_OK);
	assert_int_equal(conf_apply_all(&f.ctx, &f.main), CONF_ERR);
	assert_string_equal(fixture_problems(&f), "emerg 2:1 \"flag\" directive is duplicate\n");
	fixture_fini(&f);
}

static void test_nearest(void **state)
{
	conf_mods_init(mods);
	assert_string_equal(conf_nearest(SPAN("colur"), IN_MAIN), "colour");
	assert_string_equal(conf_nearest(SPAN("coluor"), IN_MAIN), "colour");
	assert_string_equal(conf_nearest(SPAN("FLAG"), IN_MAIN), "flag");
	assert_null(conf_nearest(SPAN("inner_onl"), IN_MAIN));
	assert_string_equal(conf_nearest(SPAN("inner_onl"), IN_SERVER), "inner_only");
	assert_null(conf_nearest(SPAN("zzzzzzz"), IN_MAIN));
	assert_null(conf_nearest(SPAN(""), IN_MAIN));
}

static void test_known(void **state)
{
	assert_true(conf_known_to_nginx(SPAN("proxy_pass")));
	assert_true(conf_known_to_nginx(SPAN("accept_mutex")));
	assert_true(conf_known_to_nginx(SPAN("zone")));
	assert_false(conf_known_to_nginx(SPAN("proxy_pas")));
	assert_false(conf_known_to_nginx(SPAN("")));
	assert_string_equal(conf_known_module(SPAN("gzip")), "ngx_http_gzip_filter_module");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_problems),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_inheritance),
		cmocka_unit_test(test_untouched_structs_are_shared),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_command_line_and_file_share_duplicates),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
