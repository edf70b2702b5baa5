#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/pool.h"
#include "conf/fixture.h"

/* The tree as text: words in [] parted by |, children in {}. */
static void show(const struct conf_node *n, char *out, size_t size)
{
	size_t len = strlen(out);

	for (; n; n = n->next) {
		for (unsigned i = 0; i < n->nwords; i++)
			len += (size_t)snprintf(out + len, size - len, "%c%.*s", i ? '|' : '[',
						SPAN_ARG(n->words[i].text));
		len += (size_t)snprintf(out + len, size - len, "]%s", n->block ? "{" : "");
		if (n->block) {
			show(n->children, out, size);
			len = strlen(out);
			len += (size_t)snprintf(out + len, size - len, "}");
		}
	}
}

static const struct {
	const char *text, *tree, *problems;
} table[] = {
	{"", "", ""},
	{" \t\r\n", "", ""},
	{"# only a comment", "", ""},
	{"a;", "[a]", ""},
	{"a b  c\td\re\nf;g;", "[a|b|c|d|e|f][g]", ""},
	{"a b{}", "[a|b]{}", ""},
	{"a{b;c{d e;}f;}g;", "[a]{[b][c]{[d|e]}[f]}[g]", ""},
	{"\xEF\xBB\xBF"
	 "a;",
	 "[a]", ""},
	/* comments begin words only */
	{"a#b c; #d;\n#{\ne;", "[a#b|c][e]", ""},
	{"a 'b' #x;\n;", "[a|b]", ""},
	/* quotes: at the start of a word only */
	{"a \"b c\" 'd;{}' b\"c \"\";", "[a|b c|d;{}|b\"c|]", ""},
	{"a \"b'c\" 'd\"e';", "[a|b'c|d\"e]", ""},
	{"a \"l1\nl2\";", "[a|l1\nl2]", ""},
	{"a \"\"; b '';", "[a|][b|]", ""},
	/* escapes */
	{"a \\\"b\\' c\\\\d \\t\\r\\n;", "[a|\"b'|c\\d|\t\r\n]", ""},
	{"a \"x\\\"y\\'z\\\\\" '\\n\\a\\$';", "[a|x\"y'z\\|\n\\a\\$]", ""},
	{"a b\\;c\\{d\\ e;", "[a|b\\;c\\{d\\ e]", ""},
	{"a \\.php$;", "[a|\\.php$]", ""},
	/* variables and braces */
	{"a ${b}c x${d};", "[a|${b}c|x${d}]", ""},
	{"a ${b}{c;}", "[a|${b}]{[c]}", ""},
	{"a ${{b};", "[a|${{b}]", ""},
	{"a $\\{;", "[a|$\\{]", ""},
	{"a b}c;", "[a|b}c]", ""},
	{"if ($a = \"b\") { c; }", "[if|($a|=|b|)]{[c]}", ""},
	{"a \"b\")c;", "[a|b|)c]", ""},
	/* mistakes; what follows is still read */
	{"a; }\nb;", "[a][b]", "emerg 1:4 unexpected \"}\"| no block is open here\n"},
	{"a;;b;", "[a][b]", "emerg 1:3 unexpected \";\"\n"},
	{"{ x; { y; } } a;", "[a]", "emerg 1:1 unexpected \"{\"\n"},
	{"a {", "[a]{}",
	 "emerg 1:4 unexpected end of file, expecting \"}\"| the block \"a\" opened in line 1 is "
	 "not closed\n"},
	{"a {\n b {\n }\n", "[a]{[b]{}}",
	 "emerg 4:1 unexpected end of file, expecting \"}\"| the block \"a\" opened in line 1 is "
	 "not closed\n"},
	{"foo", "", "emerg 1:4 unexpected end of file, expecting \";\" or \"}\"\n"},
	{"foo bar\n", "",
	 "emerg 2:1 unexpected end of file, expecting \";\" or \"}\"| the directive \"foo\" begins "
	 "in line 1\n"},
	{"a 'b\n\n", "",
	 "emerg 3:1 unexpected end of file, expecting \";\" or \"}\"| "
	 "the quote (') opened in line 1 column 3 is not closed\n"},
	{"a { b 3 }\nc;", "[a]{[b|3]}[c]",
	 "emerg 1:9 unexpected \"}\"| a \";\" is missing after \"3\" in line 1\n"},
	{"a 1 } b;", "[a|1][b]",
	 "emerg 1:5 unexpected \"}\"| a \";\" is missing after \"1\" in line 1\n"},
	{"a \"b\"c; d;", "[d]",
	 "emerg 1:6 unexpected \"c\"| a space or \";\" must follow a closing quote\n"},
	{"a { b \"c\"} d;", "[a]{}[d]",
	 "emerg 1:10 unexpected \"}\"| a space or \";\" must follow a closing quote\n"},
	{"a \"b\"\"c\"; d;", "[d]",
	 "emerg 1:6 unexpected \"\"\"| a space or \";\" must follow a closing quote\n"},
	{"include a b; c;", "[c]",
	 "emerg 1:1 invalid number of arguments in \"include\" directive\n"},
	{"include a {x; y {} } c;", "[c]",
	 "emerg 1:1 directive \"include\" is not terminated by \";\"\n"},
	{"include nofile;", "",
	 "emerg 1:9 open() \"/c/nofile\" failed (2: No such file or directory)\n"},
	{"include nofile*;", "", ""},
	{"}\n;\n{}\na b", "",
	 "emerg 1:1 unexpected \"}\"| no block is open here\nemerg 2:1 unexpected \";\"\nemerg 3:1 "
	 "unexpected \"{\"\n"
	 "emerg 4:4 unexpected end of file, expecting \";\" or \"}\"| the directive \"a\" begins "
	 "in line 4\n"},
};

static void test_table(void **state)
{
	struct fixture f;
	char tree[1024];

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		int r;

		fixture_init(&f, NULL);
		r = fixture_parse(&f, span_of(table[i].text));
		tree[0] = 0;
		show(f.ctx.root->children, tree, sizeof(tree));
		assert_string_equal(fixture_problems(&f), table[i].problems);
		assert_string_equal(tree, table[i].tree);
		assert_int_equal(r, table[i].problems[0] ? CONF_ERR : CONF_OK);
		fixture_fini(&f);
	}
}

static void test_positions(void **state)
{
	struct fixture f;
	struct conf_node *n;

	fixture_init(&f, NULL);
	assert_int_equal(fixture_parse(&f, SPAN("a {\n\tb \"c\n\" d;\n}\ne;")), CONF_OK);
	n = f.ctx.root->children->children;
	assert_int_equal(n->words[0].line, 2);
	assert_int_equal(n->words[0].col, 2);
	assert_int_equal(n->words[1].col, 4);
	assert_true(n->words[1].quoted);
	assert_int_equal(n->words[2].line, 3);
	assert_int_equal(n->words[2].col, 3);
	assert_false(n->words[2].quoted);
	assert_ptr_equal(n->parent, f.ctx.root->children);
	assert_ptr_equal(n->parent->parent, f.ctx.root);
	assert_int_equal(n->parent->seq, 0);
	assert_int_equal(n->seq, 1);
	assert_int_equal(f.ctx.root->children->next->seq, 2);
	assert_int_equal(n->words[1].text.p[n->words[1].text.n], 0);
	fixture_fini(&f);
}

/* ---- include ---- */

static const struct opener_file tree_files[] = {
	{SPAN_INIT("/c/n"), SPAN_INIT("a; include d/*.conf; z { include /abs; include rel; }")},
	{SPAN_INIT("/c/d/2.conf"), SPAN_INIT("two;")},
	{SPAN_INIT("/c/d/1.conf"), SPAN_INIT("one { include sub; }")},
	{SPAN_INIT("/c/d/.hidden.conf"), SPAN_INIT("hidden;")},
	{SPAN_INIT("/c/d/x.txt"), SPAN_INIT("text;")},
	{SPAN_INIT("/c/sub"), SPAN_INIT("sub;")},
	{SPAN_INIT("/abs"), SPAN_INIT("abs; include sub;")},
	{SPAN_INIT("/c/rel"), SPAN_INIT("rel;")},
	{{0}, {0}},
};

static void test_includes(void **state)
{
	struct fixture f;
	char tree[512] = "";
	unsigned n = 0;

	fixture_init(&f, tree_files);
	assert_int_equal(conf_parse(&f.ctx, SPAN("/c/n")), CONF_OK);
	show(f.ctx.root->children, tree, sizeof(tree));
	assert_string_equal(tree, "[a][one]{[sub]}[two][z]{[abs][sub][rel]}");
	for (const struct conf_file *file = f.ctx.files; file; file = file->next)
		n++;
	assert_int_equal(n, 6); /* sub is there once */
	fixture_fini(&f);
}

static const struct opener_file bad_files[] = {
	{SPAN_INIT("/c/n"),
	 SPAN_INIT(
		 "include cyc; include open; include close; b { include close; } include word;c;")},
	{SPAN_INIT("/c/cyc"), SPAN_INIT("in; include cyc2;")},
	{SPAN_INIT("/c/cyc2"), SPAN_INIT("\n include cyc; after;")},
	{SPAN_INIT("/c/open"), SPAN_INIT("o {")},
	{SPAN_INIT("/c/close"), SPAN_INIT("x; }")},
	{SPAN_INIT("/c/word"), SPAN_INIT("w 'x")},
	{{0}, {0}},
};

/* A file must be whole in itself; problems name the file they are in. */
static void test_bad_includes(void **state)
{
	struct fixture f;
	char tree[512] = "";
	const struct conf_error *e;

	fixture_init(&f, bad_files);
	assert_int_equal(conf_parse(&f.ctx, SPAN("/c/n")), CONF_ERR);
	show(f.ctx.root->children, tree, sizeof(tree));
	assert_string_equal(tree, "[in][after][o]{}[x][b]{[x]}[c]");
	assert_string_equal(fixture_problems(&f),
			    "emerg 2:10 \"/c/cyc\" includes itself\n"
			    "emerg 1:4 unexpected end of file, expecting \"}\"| the block \"o\" "
			    "opened in line 1 is not closed\n"
			    "emerg 1:4 unexpected \"}\"| no block is open here\n"
			    "emerg 1:4 unexpected \"}\"| no block is open here\n"
			    "emerg 1:5 unexpected end of file, expecting \";\" or \"}\"| "
			    "the quote (') opened in line 1 column 3 is not closed\n");
	e = CONTAINER_OF(f.ctx.errors_list.next, struct conf_error, link);
	assert_true(span_eq(e->file->path, SPAN("/c/cyc2")));
	fixture_fini(&f);
}

static void test_missing_main_file(void **state)
{
	struct fixture f;

	fixture_init(&f, NULL);
	assert_int_equal(conf_parse(&f.ctx, SPAN("/no")), CONF_ERR);
	assert_string_equal(fixture_problems(&f),
			    "emerg 0:0 open() \"/no\" failed (2: No such file or directory)\n");
	fixture_fini(&f);
}

/* ---- limits ---- */

static char big[CONF_WORD_MAX + 100];

static void test_block_depth(void **state)
{
	struct fixture f;
	size_t n = 0;

	for (int i = 0; i < CONF_DEPTH_MAX + 3; i++)
		n += (size_t)sprintf(big + n, "b {");
	n += (size_t)sprintf(big + n, "x;");
	for (int i = 0; i < CONF_DEPTH_MAX + 3; i++)
		n += (size_t)sprintf(big + n, "}");
	fixture_init(&f, NULL);
	assert_int_equal(fixture_parse(&f, span_make(big, n)), CONF_ERR);
	assert_string_equal(
		fixture_problems(&f),
		"emerg 1:193 too many nested blocks at \"b\"| blocks may be nested 64 deep\n");
	fixture_fini(&f);
}

static void test_include_depth(void **state)
{
	static struct opener_file files[CONF_DEPTH_MAX + 8];
	static char names[CONF_DEPTH_MAX + 8][16], texts[CONF_DEPTH_MAX + 8][32];
	struct fixture f;

	for (int i = 0; i < CONF_DEPTH_MAX + 7; i++) {
		sprintf(names[i], "/c/%d", i);
		sprintf(texts[i], "include %d; x;", i + 1);
		files[i] = (struct opener_file){span_of(names[i]), span_of(texts[i])};
	}
	fixture_init(&f, files);
	assert_int_equal(conf_parse(&f.ctx, SPAN("/c/0")), CONF_ERR);
	assert_string_equal(fixture_problems(&f), "emerg 1:9 too many includes at \"/c/65\"\n");
	assert_int_equal(f.ctx.next_seq, CONF_DEPTH_MAX + 1);
	fixture_fini(&f);
}

static void test_long_words(void **state)
{
	struct fixture f;
	size_t n = CONF_WORD_MAX + 10;

	memset(big, 'a', sizeof(big));
	memcpy(big, "x ", 2);
	memcpy(big + n, "; y;", 5);
	fixture_init(&f, NULL);
	assert_int_equal(fixture_parse(&f, span_make(big, n + 4)), CONF_ERR);
	assert_string_equal(fixture_problems(&f),
			    "emerg 1:3 too long parameter \"aaaaaaaaaa...\" started\n");
	assert_true(span_eq(f.ctx.root->children->words[0].text, SPAN("y")));
	fixture_fini(&f);

	big[2] = '"';
	fixture_init(&f, NULL);
	assert_int_equal(fixture_parse(&f, span_make(big, n + 4)), CONF_ERR);
	assert_string_equal(
		fixture_problems(&f),
		"emerg 1:3 too long parameter, probably missing terminating \"\"\" character| "
		"a word has at most 65536 bytes\n");
	fixture_fini(&f);

	memcpy(big + CONF_WORD_MAX, ";", 2);
	big[2] = 'a';
	fixture_init(&f, NULL);
	assert_int_equal(fixture_parse(&f, span_make(big, CONF_WORD_MAX + 1)), CONF_OK);
	fixture_fini(&f);
}

static void test_many_problems(void **state)
{
	struct fixture f;

	memset(big, ';', 1000);
	fixture_init(&f, NULL);
	assert_int_equal(fixture_parse(&f, span_make(big, 1000)), CONF_ERR);
	assert_int_equal(f.ctx.errors, 1000);
	fixture_fini(&f);
}

/* Whatever allocation fails, it is an error, never a crash or a silent success. */
static void test_no_memory(void **state)
{
	for (int64_t i = 0; i < 60; i++) {
		struct fixture f;
		int r;

		fixture_init(&f, tree_files);
		mem_fail_after(i);
		r = conf_parse(&f.ctx, SPAN("/c/n"));
		mem_fail_after(-1);
		assert_int_equal(r, f.ctx.errors ? CONF_ERR : CONF_OK);
		fixture_fini(&f);
	}
}

static void test_command_line(void **state)
{
	struct fixture f;

	fixture_init(&f, NULL);
	assert_int_equal(conf_parse_text(&f.ctx, SPAN("command line"), SPAN("daemon off; user")),
			 CONF_ERR);
	assert_int_equal(conf_parse_text(&f.ctx, SPAN("command line"), SPAN("events { a; } x;")),
			 CONF_ERR);
	assert_int_equal(conf_parse_text(&f.ctx, SPAN("other"), SPAN("user")), CONF_ERR);
	assert_string_equal(fixture_problems(&f),
			    "emerg 1:17 unexpected end of parameter, expecting \";\"\n"
			    "emerg 1:8 block directives are not supported in -g option\n"
			    "emerg 1:5 unexpected end of file, expecting \";\" or \"}\"\n");
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_positions),
		cmocka_unit_test(test_includes),
		cmocka_unit_test(test_bad_includes),
		cmocka_unit_test(test_missing_main_file),
		cmocka_unit_test(test_block_depth),
		cmocka_unit_test(test_include_depth),
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_many_problems),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_command_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
