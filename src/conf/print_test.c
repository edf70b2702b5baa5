#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/pool.h"
#include "conf/fixture.h"
#include "conf/problem.h"

static char out[64 * 1024];
static unsigned prints;

static void collect(void *arg, const struct conf_error *e, struct span text)
{
	strncat(out, text.p, text.n);
	assert_true(text.n > 0 && text.p[text.n - 1] == '\n');
	prints++;
}

static void collect_dump(void *arg, struct span text)
{
	strncat(out, text.p, text.n);
}

static struct conf_mod *const none[] = {NULL};

static void report(struct span text, const char *expected)
{
	struct fixture f;

	conf_mods_init(none);
	fixture_init(&f, NULL);
	fixture_parse(&f, text);
	conf_apply_all(&f.ctx, &f.main);
	out[0] = 0;
	conf_report(&f.ctx, SPAN("nginx"), collect, NULL);
	assert_string_equal(out, expected);
	fixture_fini(&f);
}

static void test_report(void **state)
{
	report(SPAN("\n\tssi on; # x\n"), "nginx: [emerg] unknown directive \"ssi\" in /c/n:2\n"
					  "  /c/n:2:2\n"
					  "     ssi on; # x\n"
					  "     ^~~\n"
					  "  known to nginx (module ngx_http_ssi_filter_module), "
					  "not supported by sluice yet\n");
	report(SPAN("\"a b\"\tc;\r\n"), "nginx: [emerg] unknown directive \"a b\" in /c/n:1\n"
					"  /c/n:1:1\n"
					"    \"a b\" c;\n"
					"    ^~~~~\n");
	report(SPAN("a {\n"), /* the place is behind the last line */
	       "nginx: [emerg] unexpected end of file, expecting \"}\" in /c/n:2\n"
	       "  /c/n:2:1\n"
	       "    \n"
	       "    ^\n"
	       "  the block \"a\" opened in line 1 is not closed\n"
	       "nginx: [emerg] unknown directive \"a\" in /c/n:1\n"
	       "  /c/n:1:1\n"
	       "    a {\n"
	       "    ^\n");
}

/* Control bytes do not reach a terminal; letters of several bytes take one column. */
static void test_odd_bytes(void **state)
{
	report(SPAN("\xc3\xa4 \"\x1b[0m\"x;"), "nginx: [emerg] unexpected \"x\" in /c/n:1\n"
					       "  /c/n:1:10\n"
					       "    \xc3\xa4 \"?[0m\"x;\n"
					       "            ^\n"
					       "  a space or \";\" must follow a closing quote\n");
	report(SPAN("\x01z;"), "nginx: [emerg] unknown directive \"\\x01z\" in /c/n:1\n"
			       "  /c/n:1:1\n"
			       "    ?z;\n"
			       "    ^~\n");
}

static void test_long_line(void **state)
{
	struct fixture f;
	char text[5000];
	const char *line;

	memset(text, ' ', sizeof(text));
	text[3000] = '}';
	conf_mods_init(none);
	fixture_init(&f, NULL);
	fixture_parse(&f, span_make(text, sizeof(text)));
	out[0] = 0;
	conf_report(&f.ctx, SPAN("x"), collect, NULL);
	line = strchr(out, '}');
	assert_non_null(line);
	assert_true(strlen(out) < 400);
	fixture_fini(&f);
}

static void test_command_line(void **state)
{
	struct fixture f;

	conf_mods_init(none);
	fixture_init(&f, NULL);
	conf_parse_text(&f.ctx, SPAN("command line"), SPAN("zzz on;"));
	conf_apply_all(&f.ctx, &f.main);
	out[0] = 0;
	conf_report(&f.ctx, SPAN("nginx"), collect, NULL);
	assert_string_equal(out, "nginx: [emerg] unknown directive \"zzz\" in command line\n"
				 "  command line:1:1\n"
				 "    zzz on;\n"
				 "    ^~~\n");
	fixture_fini(&f);
}

static void test_no_place_and_warning(void **state)
{
	struct fixture f;

	fixture_init(&f, NULL);
	conf_problem(&f.ctx, LOG_WARN, (struct conf_place){0}, "no \"%s\" section", "events");
	conf_problem_remedy(&f.ctx, "write %d", 1);
	out[0] = 0;
	conf_report(&f.ctx, SPAN("nginx"), collect, NULL);
	assert_string_equal(out, "nginx: [warn] no \"events\" section\n  write 1\n");
	fixture_fini(&f);
}

/* A remedy never lands at a problem that is not its own. */
static void test_many(void **state)
{
	struct fixture f;

	fixture_init(&f, NULL);
	for (int i = 0; i < CONF_ERRORS_MAX + 50; i++) {
		conf_problem(&f.ctx, LOG_EMERG, (struct conf_place){0}, "p%d", i);
		if (i >= CONF_ERRORS_MAX)
			conf_problem_remedy(&f.ctx, "misplaced");
	}
	out[0] = 0;
	prints = 0;
	conf_report(&f.ctx, SPAN("nginx"), collect, NULL);
	assert_int_equal(prints, CONF_ERRORS_MAX + 1);
	assert_null(strstr(out, "misplaced"));
	assert_non_null(strstr(out, "nginx: [emerg] 50 more problems\n"));
	fixture_fini(&f);
}

static void test_no_memory(void **state)
{
	struct fixture f;

	fixture_init(&f, NULL);
	f.arena.ceiling = f.arena.used;
	for (int i = 0; i < 100; i++)
		conf_problem(&f.ctx, LOG_EMERG, (struct conf_place){0}, "lost");
	out[0] = 0;
	conf_report(&f.ctx, SPAN("nginx"), collect, NULL);
	assert_non_null(strstr(out, "no memory"));
	fixture_fini(&f);
}

static const struct opener_file files[] = {
	{SPAN_INIT("/c/n"), SPAN_INIT("a;\ninclude i;\ninclude i;\n")},
	{SPAN_INIT("/c/i"), SPAN_INIT("b;")},
	{{0}, {0}},
};

static void test_dump(void **state)
{
	struct fixture f;

	fixture_init(&f, files);
	conf_parse_text(&f.ctx, SPAN("command line"), SPAN("g;"));
	assert_int_equal(conf_parse(&f.ctx, SPAN("/c/n")), CONF_OK);
	out[0] = 0;
	conf_dump(&f.ctx, collect_dump, NULL);
	assert_string_equal(out, "# configuration file /c/n:\na;\ninclude i;\ninclude i;\n\n"
				 "# configuration file /c/i:\nb;\n");
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_odd_bytes),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_no_place_and_warning),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_dump),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
