#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"

static char lines[4][LOG_LINE_MAX + 1];
static int nlines;

static void keep_line(struct log_sink *s, enum log_level level, struct span line)
{
	assert_true(line.n > 0 && line.n <= LOG_LINE_MAX);
	assert_int_equal(line.p[line.n - 1], '\n');
	assert_non_null(s);
	snprintf(lines[nlines++ % 4], sizeof(lines[0]), "%.*s", SPAN_ARG(line));
	log_msg(&(struct logger){.sinks = s}, LOG_ALERT, 0, "from a sink"); /* not heard */
}

static struct log_sink errors = {.level = LOG_ERR, .write = keep_line};
static struct log_sink everything = {.level = LOG_DEBUG, .write = keep_line, .next = &errors};

static size_t say_client(const struct logger *l, char *p, size_t size)
{
	int n = snprintf(p, size, ", client: 192.0.2.1, request: \"GET /\x01\"");

	return n < 0 || size == 0 ? 0 : MIN_OF((size_t)n, size - 1);
}

static int setup(void **state)
{
	nlines = 0;
	return 0;
}

static void test_format(void **state)
{
	struct logger l = {.sinks = &errors, .connection = 12, .context = say_client};
	char want[256];

	log_msg(&l, LOG_ERR, ECONNREFUSED, "connect() to %s failed", "[::1]:80");
	snprintf(want, sizeof(want),
		 "1970/01/01 00:00:00 [error] %d#%d: *12 connect() to [::1]:80 failed "
		 "(111: Connection refused), client: 192.0.2.1, request: \"GET /\\x01\"\n",
		 getpid(), gettid());
	assert_string_equal(lines[0], want);
	l = (struct logger){.sinks = &errors};
	log_msg(&l, LOG_EMERG, 0, "a\r\nb\x7f\xc3\xa9");
	snprintf(want, sizeof(want),
		 "1970/01/01 00:00:00 [emerg] %d#%d: a\\x0D\\x0Ab\\x7F\xc3\xa9\n", getpid(),
		 gettid());
	assert_string_equal(lines[1], want);
	log_msg(&l, LOG_ERR, 99999, "x");
	assert_non_null(strstr(lines[2], "x (99999: Unknown error)\n"));
	assert_int_equal(nlines, 3);
}

static void test_levels(void **state)
{
	struct logger l = {.sinks = &everything}, mute = {0}, e = {.sinks = &errors};

	log_msg(&l, LOG_INFO, 0, "one");
	assert_int_equal(nlines, 1);
	log_msg(&l, LOG_ERR, 0, "two sinks");
	assert_int_equal(nlines, 3);
	log_msg(&mute, LOG_EMERG, 0, "none");
	assert_int_equal(nlines, 3);
	assert_true(log_wants(&l, LOG_DEBUG));
	assert_false(log_wants(&e, LOG_WARN));
	assert_true(log_wants(&e, LOG_ERR));
	assert_false(log_wants(&mute, LOG_EMERG));
	assert_true(log_wants(NULL, LOG_NOTICE)); /* log_main: stderr */
	assert_false(log_wants(NULL, LOG_INFO));
	assert_string_equal(log_level_name(LOG_ERR), "error");
	assert_int_equal(log_level_find(SPAN("error")), LOG_ERR);
	assert_int_equal(log_level_find(SPAN("debug")), LOG_DEBUG);
	assert_int_equal(log_level_find(SPAN("emerg")), LOG_EMERG);
	assert_int_equal(log_level_find(SPAN("err")), -1);
	assert_int_equal(log_level_find(SPAN("")), -1);
	assert_int_equal(log_level_find(SPAN("stderr")), -1);
}

static void test_cut(void **state)
{
	struct logger l = {.sinks = &errors, .context = say_client};
	static char big[5000];

	memset(big, 'x', sizeof(big) - 1);
	log_msg(&l, LOG_ERR, 5, "%s", big);
	assert_int_equal(strlen(lines[0]), LOG_LINE_MAX);
	memset(big, '\x01', sizeof(big) - 1); /* grows while it is written */
	for (size_t n = 480; n < 530; n++) {
		big[n] = '\0';
		log_msg(&l, LOG_ERR, 0, "%s", big);
		big[n] = '\x01';
		assert_in_range(strlen(lines[(nlines - 1) % 4]), 1900, LOG_LINE_MAX);
	}
}

/* After a fork the line carries the new number. */
static void test_fork(void **state)
{
	struct logger l = {.sinks = &errors};
	int status;
	pid_t pid;

	log_msg(&l, LOG_ERR, 0, "parent");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char want[64];

		log_msg(&l, LOG_ERR, 0, "child");
		snprintf(want, sizeof(want), " %d#%d: child\n", getpid(), gettid());
		_exit(strstr(lines[1], want) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* BUG_ON says where, on stderr and in the log, and ends the process. */
static void test_bug(void **state)
{
	char text[512];
	int err[2], log[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(err), 0);
	assert_int_equal(pipe(log), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(err[1], 2);
		bug_log_fd = log[1];
		BUG_ON(nlines == 0);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	for (int i = 0; i < 2; i++) {
		int *p = i ? log : err;

		n = read(p[0], text, sizeof(text) - 1);
		assert_true(n > 0);
		text[n] = '\0';
		assert_non_null(strstr(text, "log_test.c:"));
		assert_non_null(strstr(text, "nlines == 0"));
		close(p[0]);
		close(p[1]);
	}
}

#define T(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_format), T(test_levels), T(test_cut), T(test_fork), T(test_bug),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
