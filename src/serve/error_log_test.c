#include "serve/serve_fixture.h"

static const struct say_word words[] = {{NULL, NULL}};

static void mistakes(void **state)
{
	static const char *const pairs[] = {
		"error_log /a loud;",
		"invalid log level \"loud\"\n",
		"error_log /a warn error;",
		"duplicate log level \"error\"\n",
		"error_log /a debug_http debug_core;",
		"",
		"error_log /a debug;",
		"",
		"error_log;",
		"invalid number of arguments in \"error_log\" directive\n",
		"error_log memory:32m debug;",
		"\"memory:\" logs are not supported by sluice\n",
		"error_log syslog:facility=kern;",
		"no syslog server specified\n",
		NULL,
	};

	for (int i = 0; pairs[i]; i += 2) {
		char text[256];

		snprintf(text, sizeof(text), "server { listen 80; %s }", pairs[i]);
		expect_problems(text, pairs[i + 1]);
	}
}

/* "warn error": the levels of the sinks that hold in a server, first to last. */
static const char *levels_of(struct serve_fixture *f, unsigned nth)
{
	static char text[128];
	struct list *l = f->http->servers.next;
	const struct logger *log;

	while (nth--)
		l = l->next;
	log = error_log_of(CONTAINER_OF(l, struct server, link)->scope);
	text[0] = 0;
	for (const struct log_sink *s = log->sinks; s; s = s->next)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
			 text[0] ? " " : "", log_level_name(s->level));
	return text;
}

/* The first one in a block drops what was inherited; several in a block all count. */
static void what_holds_where(void **state)
{
	struct serve_fixture f;

	serve_load_ok(&f, "error_log /a warn; error_log /b crit;"
			  "server { listen 1; }"
			  "server { listen 2; error_log /c; }"
			  "server { listen 3; error_log /d debug_event; error_log "
			  "syslog:server=127.0.0.1,nohostname info; error_log /e alert; }"
			  "server { listen 4; error_log stderr emerg; }");
	/* the fixture has one of its own in front */
	assert_string_equal(levels_of(&f, 0), "error warn crit");
	assert_string_equal(levels_of(&f, 1), "error");
	assert_string_equal(levels_of(&f, 2), "debug info alert");
	assert_string_equal(levels_of(&f, 3), "emerg");
	serve_unload(&f);
}

static char written[4096];
static size_t nwritten;
static int written_fd;

static ssize_t hear_write(int fd, const void *p, size_t n)
{
	written_fd = fd;
	assert_true(nwritten + n < sizeof(written));
	memcpy(written + nwritten, p, n);
	written[nwritten += n] = 0;
	return (ssize_t)n;
}

/* Each sink gets what is severe enough for it; copies outlive the configuration. */
static void messages_and_copies(void **state)
{
	struct serve_fixture f;
	struct log_sink *copy;
	struct arena a;
	struct logger log = {0};
	struct server *s;

	serve_load_ok(&f, "server { listen 1; error_log stderr warn; error_log stderr info; }");
	s = CONTAINER_OF(f.http->servers.next, struct server, link);
	test_sys.write = hear_write;
	nwritten = 0;
	log_msg(error_log_of(s->scope), LOG_NOTICE, 0, "once");
	assert_int_equal(written_fd, STDERR_FILENO);
	assert_non_null(strstr(written, "[notice] "));
	assert_null(strstr(strstr(written, "once") + 1, "once"));
	nwritten = 0;
	log_msg(error_log_of(s->scope), LOG_ERR, ENOENT, "twice");
	assert_non_null(strstr(strstr(written, "twice (2: ") + 1, "twice"));
	nwritten = 0;
	written[0] = 0;
	log_msg(error_log_of(s->scope), LOG_DEBUG, 0, "never");
	assert_string_equal(written, "");
	arena_init(&a, 1 << 16);
	copy = error_log_copy(&a, error_log_of(s->scope));
	assert_non_null(copy);
	serve_unload(&f);
	log.sinks = copy;
	log_msg(&log, LOG_WARN, 0, "copied");
	assert_non_null(strstr(strstr(written, "copied") + 1, "copied"));
	error_log_copy_close(copy);
	arena_fini(&a);
}

#define T(f) cmocka_unit_test_setup_teardown(f, serve_setup, serve_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(mistakes),
		T(what_holds_where),
		T(messages_and_copies),
	};

	say_words = words;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
