#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/pool.h"
#include "conf/fixture.h"
#include "conf/snapshot.h"

/* A language of: t TEMPLATE; def $name TEMPLATE; weak $name; p WORD...; */

static struct var_table *vars;
static struct tmpl *made[32];
static int nmade;
static struct conf_tmpls preds;
static int calls; /* of the counting getter */

static bool get_const(struct var_ctx *v, const struct var *self, struct span *out)
{
	*out = span_of((const char *)self->data);
	return true;
}

static bool get_count(struct var_ctx *v, const struct var *self, struct span *out)
{
	*out = arena_printf(v->arena, "%d", ++calls);
	return out->p != NULL;
}

static bool get_none(struct var_ctx *v, const struct var *self, struct span *out)
{
	*out = SPAN("must not be seen");
	return false;
}

static bool get_suffix(struct var_ctx *v, const struct var *self, struct span *out)
{
	*out = arena_printf(v->arena, "<%s:%.*s>", (const char *)self->data,
			    SPAN_ARG(self->suffix));
	return out->p != NULL;
}

static bool get_template(struct var_ctx *v, const struct var *self, struct span *out)
{
	*out = tmpl_eval((const struct tmpl *)self->data, v);
	return true;
}

static bool get_big(struct var_ctx *v, const struct var *self, struct span *out)
{
	static char big[VAR_VALUE_MAX / 2 + 1];

	*out = span_make(big, sizeof(big));
	return true;
}

static char stored[32];
static bool set_stored(struct var_ctx *v, const struct var *self, struct span value)
{
	return span_to_cstr(value, stored, sizeof(stored));
}

static bool get_stored(struct var_ctx *v, const struct var *self, struct span *out)
{
	*out = span_of(stored);
	return true;
}

static const struct var builtin[] = {
	{.name = SPAN_INIT("host"), .get = get_const, .data = (uintptr_t) "example.org"},
	{.name = SPAN_INIT("empty"), .get = get_const, .data = (uintptr_t) ""},
	{.name = SPAN_INIT("zero"), .get = get_const, .data = (uintptr_t) "0"},
	{.name = SPAN_INIT("none"), .get = get_none},
	{.name = SPAN_INIT("once"), .get = get_count},
	{.name = SPAN_INIT("each"), .get = get_count, .flags = VAR_NO_CACHE},
	{.name = SPAN_INIT("big"), .get = get_big},
	{.name = SPAN_INIT("args"),
	 .get = get_stored,
	 .set = set_stored,
	 .flags = VAR_CHANGEABLE | VAR_NO_CACHE},
	{.name = SPAN_INIT("http_host"), .get = get_const, .data = (uintptr_t) "exact"},
	{.name = SPAN_INIT("http_"),
	 .get = get_suffix,
	 .data = (uintptr_t) "h",
	 .flags = VAR_PREFIX},
	{.name = SPAN_INIT("http_x_"),
	 .get = get_suffix,
	 .data = (uintptr_t) "x",
	 .flags = VAR_PREFIX},
	{.name = SPAN_INIT("arg_"),
	 .get = get_suffix,
	 .data = (uintptr_t) "a",
	 .flags = VAR_PREFIX | VAR_NO_CACHE},
	{.name = {0}}};

static int on_t(struct conf_call *c)
{
	struct tmpl *t = tmpl_compile(c, 1);

	if (!t)
		return CONF_ERR;
	made[nmade++ % 32] = t;
	return CONF_OK;
}

static int on_def(struct conf_call *c)
{
	struct span name = conf_arg(c, 1);
	struct var *v = var_define(c, vars, span_cut(name, 1, name.n), VAR_CHANGEABLE);
	struct tmpl *t = tmpl_compile(c, 2);

	if (!v || !t)
		return CONF_ERR;
	v->get = get_template;
	v->data = (uintptr_t)t;
	return CONF_OK;
}

static int on_weak(struct conf_call *c)
{
	struct span name = conf_arg(c, 1);

	return var_define(c, vars, span_cut(name, 1, name.n), VAR_CHANGEABLE | VAR_WEAK) ? CONF_OK
											 : CONF_ERR;
}

static int link_late(struct conf_call *c, void *arg)
{
	return on_t(c);
}

static int on_late(struct conf_call *c)
{
	return conf_later(c, CONF_LINK_OBJECTS, link_late, NULL);
}

static int on_box(struct conf_call *c)
{
	struct conf_scope *s = conf_scope_new(c, IN_HTTP, NULL);

	return s ? conf_apply(c, s) : CONF_ERR;
}

struct conf_struct {
	struct conf_tmpls preds;
	struct tmpl *tmpl, *size;
};

static int on_pred(struct conf_call *c)
{
	preds = ((struct conf_struct *)conf_mine(c))->preds;
	return CONF_OK;
}

#define BOTH (IN_MAIN | IN_HTTP)
static const struct conf_row rows[] = {MCUSTOM("t", BOTH, 1, 1, CONF_MULTI, on_t, ""),
				       MCUSTOM("def", BOTH, 2, 2, CONF_MULTI, on_def, ""),
				       MCUSTOM("weak", BOTH, 1, 1, CONF_MULTI, on_weak, ""),
				       MCUSTOM("late", BOTH, 1, 1, CONF_MULTI, on_late, ""),
				       MBLOCK("box", IN_MAIN, 0, 0, on_box, ""),
				       {.name = "p",
					.where = BOTH,
					.min = 1,
					.max = 255,
					.kind = CONF_PREDICATES,
					.flags = CONF_MULTI,
					.offset = offsetof(struct conf_struct, preds),
					.set = on_pred},
				       MTMPL("tmpl", BOTH, struct conf_struct, tmpl, ""),
				       CONF_ROW_("size", BOTH, 1, 1, CONF_TEMPLATE_SIZE, 0,
						 struct conf_struct, size, NULL, 0, "8k", ""),
				       MEND};

static bool with_table = true;

static int mod_init(struct conf_call *c, void *conf)
{
	vars = var_table_new(c->ctx->arena);
	if (!vars)
		return CONF_ERR;
	if (with_table)
		conf_set_var_table(c->scope, vars);
	return var_table_add(vars, builtin);
}

static struct conf_mod mod = {
	.name = "t", .size = sizeof(struct conf_struct), .rows = rows, .init = mod_init};
static struct conf_mod *const mods[] = {&mod, NULL};

static int load(struct fixture *f, const char *text)
{
	int r;

	memset(made, 0, sizeof(made));
	nmade = calls = 0;
	preds = (struct conf_tmpls){0};
	fixture_init(f, NULL);
	conf_mods_init(mods);
	r = fixture_parse(f, span_of(text));
	return r | conf_apply_all(&f->ctx, &f->main);
}

static struct var_ctx context(struct fixture *f)
{
	struct var_ctx v = {.arena = &f->arena};

	v.slots = arena_zalloc(&f->arena, (var_table_slots(vars) + 1) * sizeof(*v.slots));
	assert_non_null(v.slots);
	return v;
}

static const struct {
	const char *text, *value; /* of the last template */
} values[] = {
	{"t plain;", "plain"},
	{"t \"\";", ""},
	{"t $host;", "example.org"},
	{"t ${host};", "example.org"},
	{"t a${host}b;", "aexample.orgb"},
	{"t $HOST-$Host;", "example.org-example.org"},
	{"t \"[$empty$none]\";", "[]"},
	{"t $none;", ""},
	{"t $once$once$once;", "111"},
	{"t $each$each$each;", "123"},
	{"t $http_host;", "exact"},
	{"t $http_foo$http_x_y$http_x;", "<h:foo><x:y><h:x>"},
	{"t $ARG_Foo;", "<a:foo>"},
	{"t $1-$2-$3-$9;", "cap--ture-"},
	{"t $10;", "cap0"},
	{"t $1;", "cap"},
	{"t $9;", ""},
	{"t $after; def $after \"x$host\";", "xexample.org"},
	{"def $a $b; def $b $c; def $c end; t $a$b;", "endend"},
	{"def $a 1; def $A 2; t $a;", "2"},
	{"def $http_foo mine; t $http_foo;", "mine"},
	{"weak $http_foo; t $http_foo;", "<h:foo>"},
	{"weak $nothing; t [$nothing];", "[]"},
	{"weak $w; def $w v; t $w;", "v"},
	{"box { t $later_on; } def $later_on y;", "y"},
	{"late $host$http_q;", "example.org<h:q>"},
	{"def $self \"a${self}b\"; t $self;", "ab"},
	{"def $a \"(${b})\"; def $b \"<${a}>\"; t $a;", "(<>)"},
	{"t "
	 "${host}${host}${host}${host}${host}${host}${host}${host}${host}.${host}${host}${host}${"
	 "host}${host}"
	 "${host}${host}${host}x;",
	 "example.orgexample.orgexample.orgexample.orgexample.orgexample.orgexample.orgexample."
	 "orgexample.org."
	 "example.orgexample.orgexample.orgexample.orgexample.orgexample.orgexample.orgexample."
	 "orgx"},
};

static void no_write(struct log_sink *s, enum log_level level, struct span line)
{
}

static void test_values(void **state)
{
	static int caps[] = {0, 13, 0, 3, -1, -1, 4, 8};
	struct log_sink quiet = {.level = LOG_DEBUG, .write = no_write};

	log_main.sinks = &quiet;
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct fixture f;
		struct var_ctx v;
		struct span s, z;

		if (load(&f, values[i].text) < 0)
			fail_msg("%s: %s", values[i].text, fixture_problems(&f));
		v = context(&f);
		v.subject = SPAN("cap-tureabcde");
		v.caps = caps;
		v.ncaps = 4;
		s = tmpl_eval(made[nmade - 1], &v);
		if (!span_eq(s, span_of(values[i].value)))
			fail_msg("%s: \"%.*s\"", values[i].text, SPAN_ARG(s));
		assert_false(v.failed);
		assert_int_equal(v.depth, 0);
		calls = 0;
		v = context(&f);
		v.subject = SPAN("cap-tureabcde");
		v.caps = caps;
		v.ncaps = 4;
		z = tmpl_eval_cstr(made[nmade - 1], &v);
		assert_string_equal(z.p, values[i].value);
		assert_int_equal(z.n, strlen(values[i].value));
		fixture_fini(&f);
	}
	log_main.sinks = NULL;
}

static const struct {
	const char *text, *problems;
} problems[] = {
	{"t $;", "emerg 1:3 invalid variable name| a \"$\" begins a variable; it cannot stand for "
		 "itself here\n"},
	{"t 'a$ b';", "emerg 1:5 invalid variable name| a \"$\" begins a variable; it cannot stand "
		      "for itself here\n"},
	{"t ab$-b;", "emerg 1:5 invalid variable name| a \"$\" begins a variable; it cannot stand "
		     "for itself here\n"},
	{"t ${};", "emerg 1:3 invalid variable name| a \"$\" begins a variable; it cannot stand "
		   "for itself here\n"},
	{"t '${';", "emerg 1:4 invalid variable name| a \"$\" begins a variable; it cannot stand "
		    "for itself here\n"},
	{"t $${a};", "emerg 1:3 invalid variable name| a \"$\" begins a variable; it cannot stand "
		     "for itself here\n"},
	{"t x${host;", "emerg 1:4 the closing bracket in \"host\" variable is missing\n"},
	{"t ${a-b};", "emerg 1:3 the closing bracket in \"a\" variable is missing\n"},
	{"t ${{host};", "emerg 1:3 the closing bracket in \"\" variable is missing\n"},
	{"\nt a$foo$foo; t $bar;",
	 "emerg 2:3 unknown \"foo\" variable\nemerg 2:16 unknown \"bar\" variable\n"},
	{"t $0; t ${1}; t ${1x};",
	 "emerg 1:3 unknown \"0\" variable\nemerg 1:9 unknown \"1\" variable\n"
	 "emerg 1:17 unknown \"1x\" variable\n"},
	{"t $http_;", "emerg 1:3 unknown \"http_\" variable\n"},
	{"late $nope;", "emerg 1:6 unknown \"nope\" variable\n"},
	{"def $host x;", "emerg 1:5 the duplicate \"host\" variable\n"},
	{"def $ x;", "emerg 1:5 invalid variable name \"$\"\n"},
	{"def $args x; def $args y;", ""},
	{"size 1k; tmpl $host;", ""},
	{"size x;", "emerg 1:6 \"size\" directive invalid value\n"},
	{"size $host;", ""},
	{"p $host $; ", "emerg 1:9 invalid variable name| a \"$\" begins a variable; it cannot "
			"stand for itself here\n"},
	{"tmpl a; tmpl b;", "emerg 1:9 \"tmpl\" directive is duplicate\n"},
};

static void test_problems(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(problems); i++) {
		struct fixture f;
		int r = load(&f, problems[i].text);

		assert_string_equal(fixture_problems(&f), problems[i].problems);
		assert_int_equal(r, problems[i].problems[0] ? CONF_ERR : CONF_OK);
		fixture_fini(&f);
	}
}

static void test_no_table(void **state)
{
	struct fixture f;

	with_table = false;
	assert_int_equal(load(&f, "t plain; t $host;"), CONF_ERR);
	assert_string_equal(
		fixture_problems(&f),
		"emerg 1:12 unknown \"host\" variable| there are no variables in this context\n");
	fixture_fini(&f);
	with_table = true;
}

/* Constants and single variables are not copied; only what is used gets a slot. */
static void test_costs(void **state)
{
	struct fixture f;
	struct var_ctx v;
	struct span a, b;

	assert_int_equal(load(&f, "t plain; t $host; t $host; t $http_a; def $unused x;"), CONF_OK);
	assert_true(made[0]->constant);
	assert_false(made[1]->constant);
	assert_int_equal(var_table_slots(vars), 2);
	v = context(&f);
	a = tmpl_eval(made[0], &v);
	assert_ptr_equal(a.p, made[0]->source.p);
	a = tmpl_eval(made[1], &v);
	b = tmpl_eval(made[2], &v);
	assert_ptr_equal(a.p, builtin[0].data);
	assert_ptr_equal(a.p, b.p);
	assert_int_equal(tmpl_eval(NULL, &v).n, 0);
	assert_int_equal(tmpl_eval_cstr(NULL, &v).p[0], 0);
	fixture_fini(&f);
}

static void test_set_and_forget(void **state)
{
	struct fixture f;
	struct var_ctx v;
	const struct var *once, *args, *each;
	bool found = false;

	assert_int_equal(load(&f, "t $once$args$each; t $none;"), CONF_OK);
	once = var_find(vars, SPAN("ONCE"));
	args = var_find(vars, SPAN("args"));
	each = var_find(vars, SPAN("each"));
	assert_null(var_find(vars, SPAN("nope")));
	v = context(&f);
	assert_true(span_eq(var_get(&v, once, &found), SPAN("1")));
	assert_true(found);
	assert_true(span_eq(var_get(&v, once, NULL), SPAN("1")));
	var_forget(&v, once);
	assert_true(span_eq(var_get(&v, once, NULL), SPAN("2")));
	var_set(&v, once, SPAN("set"));
	assert_true(span_eq(var_get(&v, once, NULL), SPAN("set")));
	var_set(&v, each, SPAN("fixed")); /* as nginx: what was set stays */
	assert_true(span_eq(var_get(&v, each, NULL), SPAN("fixed")));
	var_set(&v, args, SPAN("q=1"));
	assert_string_equal(stored, "q=1");
	assert_true(span_eq(var_get(&v, args, NULL), SPAN("q=1")));
	assert_int_equal(var_get(&v, var_find(vars, SPAN("none")), &found).n, 0);
	assert_false(found);
	fixture_fini(&f);
}

/* Without a slot: asked each time, and still not a crash. */
static void test_unused_by_templates(void **state)
{
	struct fixture f;
	struct var_ctx v;
	const struct var *once;

	assert_int_equal(load(&f, "weak $w;"), CONF_OK);
	v = context(&f);
	once = var_find(vars, SPAN("once"));
	assert_int_equal(once->slot, -1);
	assert_true(span_eq(var_get(&v, once, NULL), SPAN("1")));
	assert_true(span_eq(var_get(&v, once, NULL), SPAN("2")));
	var_set(&v, once, SPAN("x"));
	assert_int_equal(var_get(&v, var_find(vars, SPAN("w")), NULL).n, 0);
	fixture_fini(&f);
}

static void test_ceilings(void **state)
{
	struct fixture f;
	struct var_ctx v;
	struct span s;

	assert_int_equal(load(&f, "t x$big; t $big$big; t $host$host;"), CONF_OK);
	v = context(&f);
	s = tmpl_eval(made[0], &v);
	assert_int_equal(s.n, VAR_VALUE_MAX / 2 + 2);
	assert_false(v.failed);
	s = tmpl_eval(made[1], &v);
	assert_int_equal(s.n, 0);
	assert_true(v.failed);
	v = context(&f);
	mem_fail_after(0);
	f.arena.ceiling = f.arena.used;
	s = tmpl_eval(made[0], &v);
	mem_fail_after(-1);
	assert_int_equal(s.n, 0);
	assert_true(v.failed);
	fixture_fini(&f);
}

/* A chain longer than VAR_DEPTH_MAX ends as empty; a shorter one is whole. */
static void test_depth(void **state)
{
	struct log_sink quiet = {.level = LOG_DEBUG, .write = no_write};
	char text[4096];

	log_main.sinks = &quiet;
	for (int len = VAR_DEPTH_MAX - 1; len <= VAR_DEPTH_MAX; len++) {
		struct fixture f;
		struct var_ctx v;
		int n = sprintf(text, "def $v%d end; t [$v0];", len);

		for (int i = 0; i < len; i++)
			n += sprintf(text + n, "def $v%d $v%d;", i, i + 1);
		assert_int_equal(load(&f, text), CONF_OK);
		v = context(&f);
		assert_true(span_eq(tmpl_eval(made[0], &v),
				    len < VAR_DEPTH_MAX ? SPAN("[end]") : SPAN("[]")));
		assert_int_equal(v.depth, 0);
		fixture_fini(&f);
	}
	log_main.sinks = NULL;
}

static void test_predicates(void **state)
{
	static const struct {
		const char *text;
		bool value;
	} table[] = {{"p $empty;", false}, {"p $zero $none \"\" 0;", false}, {"p 0 $host;", true},
		     {"p 00;", true},	   {"p $zero$zero;", true},	     {"p 0; p 1;", true}};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct fixture f;
		struct var_ctx v;

		assert_int_equal(load(&f, table[i].text), CONF_OK);
		v = context(&f);
		assert_int_equal(tmpl_any_true(&preds, &v), table[i].value);
		fixture_fini(&f);
	}
}

static void test_no_memory(void **state)
{
	bool done = false;

	for (int64_t i = 0; i < 300 && !done; i++) {
		struct fixture f;
		int r;

		fixture_init(&f, NULL);
		conf_mods_init(mods);
		mem_fail_after(i);
		r = fixture_parse(
			&f,
			SPAN("def $a x$host; box { t $a$http_b-$c; } def $c 1; p $a $c; size 1k;"));
		r |= conf_apply_all(&f.ctx, &f.main);
		mem_fail_after(-1);
		assert_int_equal(r<0, f.ctx.errors> 0);
		done = r == 0;
		fixture_fini(&f);
	}
	assert_true(done);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),	       cmocka_unit_test(test_problems),
		cmocka_unit_test(test_no_table),       cmocka_unit_test(test_costs),
		cmocka_unit_test(test_set_and_forget), cmocka_unit_test(test_unused_by_templates),
		cmocka_unit_test(test_ceilings),       cmocka_unit_test(test_depth),
		cmocka_unit_test(test_predicates),     cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
