#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "main/cmdline.h"

static struct cmdline c;
static char err[256];

#define PARSE(...) parse((char **)(const char *[]){"sluice", __VA_ARGS__, NULL})

static int parse(char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	err[0] = 0;
	return cmdline_parse(&c, argc, argv, err, sizeof(err));
}

static void test_forms(void **state)
{
	assert_int_equal(PARSE("-t"), 0);
	assert_true(c.test && !c.dump && !c.quiet);
	assert_int_equal(PARSE("-tq", "-cx.conf"), 0);
	assert_true(c.test && c.quiet);
	assert_string_equal(c.conf_arg, "x.conf");
	assert_int_equal(PARSE("-qT", "-p", "/a", "-e", "stderr", "-g", "daemon off;"), 0);
	assert_true(c.test && c.dump && c.quiet);
	assert_string_equal(c.prefix_arg, "/a");
	assert_string_equal(c.globals, "daemon off;");
	assert_int_equal(PARSE("-tp/b"), 0);
	assert_string_equal(c.prefix_arg, "/b");
	assert_int_equal(PARSE("-c", "1", "-c", "2"), 0);
	assert_string_equal(c.conf_arg, "2");
	assert_int_equal(PARSE("-g", "", "-t"), 0);
	assert_string_equal(c.globals, "");
	assert_int_equal(PARSE("-V"), 0);
	assert_true(c.version && c.version_long);
	assert_int_equal(PARSE("-h"), 0);
	assert_true(c.help && c.version);
	assert_int_equal(PARSE("-t", "--offline"), 0);
	assert_true(c.offline);
}

static void test_signals(void **state)
{
	assert_int_equal(PARSE("-s", "reload"), 0);
	assert_int_equal(c.signal, CMD_RELOAD);
	assert_int_equal(PARSE("-sstop"), 0);
	assert_int_equal(c.signal, CMD_STOP);
	assert_int_equal(PARSE("-s", "reopen"), 0);
	assert_int_equal(c.signal, CMD_REOPEN);
	assert_int_equal(PARSE("-s", "quit"), 0);
	assert_int_equal(c.signal, CMD_QUIT);
}

static void test_mistakes(void **state)
{
	assert_int_equal(PARSE("-x"), -1);
	assert_string_equal(err, "invalid option: \"x\"");
	assert_int_equal(PARSE("word"), -1);
	assert_string_equal(err, "invalid option: \"word\"");
	assert_int_equal(PARSE("-s", "now"), -1);
	assert_string_equal(err, "invalid option: \"-s now\"");
	assert_int_equal(PARSE("-c"), -1);
	assert_string_equal(err, "option \"-c\" requires file name");
	assert_int_equal(PARSE("-p"), -1);
	assert_string_equal(err, "option \"-p\" requires directory name");
	assert_int_equal(PARSE("-s"), -1);
	assert_string_equal(err, "option \"-s\" requires parameter");
	assert_int_equal(PARSE("--offline"), -1);
}

static void assert_span(struct span s, const char *text)
{
	assert_int_equal(s.n, strlen(text));
	assert_memory_equal(s.p, text, s.n);
}

static void test_paths(void **state)
{
	assert_int_equal(PARSE("-p", "/p", "-c", "conf/x.conf", "-e", "./e.log"), 0);
	assert_int_equal(cmdline_paths(&c), 0);
	assert_span(c.prefix, "/p/");
	assert_span(c.conf, "/p/conf/x.conf");
	assert_span(c.conf_prefix, "/p/conf/");
	assert_span(c.log, "/p/e.log");
	cmdline_fini(&c);
	assert_int_equal(PARSE("-c", "/etc/x.conf", "-e", "stderr"), 0);
	assert_int_equal(cmdline_paths(&c), 0);
	assert_span(c.prefix, SLUICE_PREFIX);
	assert_span(c.conf_prefix, "/etc/");
	assert_span(c.log, "stderr");
	cmdline_fini(&c);
	assert_int_equal(PARSE("-p", "."), 0);
	assert_int_equal(cmdline_paths(&c), 0);
	assert_int_equal(c.prefix.p[0], '/');
	assert_int_equal(c.prefix.p[c.prefix.n - 1], '/');
	assert_true(span_find(c.prefix, SPAN("/./")) < 0);
	cmdline_fini(&c);
}

static void test_version(void **state)
{
	struct buf b;

	buf_init(&b, 65536);
	cmdline_version(&b, true);
	assert_true(span_starts(buf_span(&b), SPAN("sluice version: sluice/")));
	assert_true(span_find(buf_span(&b), SPAN("\nnginx version: nginx/1.31.5\n")) > 0);
	assert_true(span_find(buf_span(&b), SPAN("\nbuilt with OpenSSL ")) > 0);
	assert_true(span_find(buf_span(&b), SPAN("\nTLS SNI support enabled\n")) > 0);
	assert_true(span_find(buf_span(&b), SPAN("\nconfigure arguments: ")) > 0);
	assert_true(span_find(buf_span(&b), SPAN("=dynamic")) < 0);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),	 cmocka_unit_test(test_signals),
		cmocka_unit_test(test_mistakes), cmocka_unit_test(test_paths),
		cmocka_unit_test(test_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Paths live as long as the process; the tests make them more than once. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
