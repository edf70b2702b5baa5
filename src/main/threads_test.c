#include "main/threads.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "serve/module.h"
#include <cmocka.h>

#define N 5

static struct sys_ops broken;
static struct settings settings;
static atomic_int starts, loops, ends; /* threads, loops, and threads that have ended */
static int starts_max, loops_max;
static void *(*real_run)(void *arg);
static char said[4096];
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;

static void hear(struct log_sink *sink, enum log_level level, struct span line)
{
	size_t n;

	pthread_mutex_lock(&said_lock);
	n = strlen(said);
	snprintf(said + n, sizeof(said) - n, "%.*s\n", SPAN_ARG(line));
	pthread_mutex_unlock(&said_lock);
}

static void *run_counted(void *arg)
{
	void *r = real_run(arg);

	ends++;
	return r;
}

static int start_some(pthread_t *id, void *(*run)(void *arg), void *arg)
{
	if (starts == starts_max)
		return -EAGAIN;
	if (starts++ == 0) /* always the same one */
		real_run = run;
	return sys_linux.thread_start(id, run_counted, arg);
}

static int make_some_loops(void)
{
	return loops++ >= loops_max ? -EMFILE : sys_linux.epoll_create();
}

static int setup(void **state)
{
	static const struct http_module *const none[] = {NULL};
	static struct log_sink sink = {.level = LOG_DEBUG, .write = hear};

	http_modules_set(none);
	log_main.sinks = &sink;
	broken = sys_linux;
	broken.thread_start = start_some;
	broken.epoll_create = make_some_loops;
	sys = &broken;
	starts = loops = ends = 0;
	starts_max = loops_max = N;
	said[0] = 0;
	io_clock_init();
	alarm(30); /* a thread that waits for ever ends the test */
	return 0;
}

static int teardown(void **state)
{
	alarm(0);
	sys = &sys_linux;
	log_main.sinks = NULL;
	return 0;
}

static void test_start_and_end(void **state)
{
	assert_int_equal(threads_start(&settings, N), 0);
	assert_int_equal(starts, N - 1);
	threads_shutdown(0, true);
	io_loop_run();
	threads_join();
	assert_int_equal(ends, N - 1);
	assert_null(io_loop);
}

/* However many there are: those that run end, and it is said why. */
static void test_a_thread_cannot_be_made(void **state)
{
	for (starts_max = 0; starts_max < N - 1; starts_max++) {
		starts = loops = ends = 0;
		said[0] = 0;
		assert_int_equal(threads_start(&settings, N), -EAGAIN);
		assert_int_equal(starts, starts_max);
		assert_int_equal(ends, starts_max);
		assert_null(io_loop);
		assert_non_null(strstr(said, "pthread_create() failed"));
	}
}

static void test_a_loop_cannot_be_made(void **state)
{
	for (loops_max = 0; loops_max < N; loops_max++) {
		starts = loops = ends = 0;
		said[0] = 0;
		assert_in_range(threads_start(&settings, N), (uintmax_t)-EMFILE, (uintmax_t)-1);
		assert_int_equal(ends, loops_max ? N - 1 : 0);
		assert_null(io_loop);
		if (loops_max)
			assert_non_null(strstr(said, "could not start"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_thread_cannot_be_made, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_loop_cannot_be_made, setup, teardown),
		cmocka_unit_test_setup_teardown(test_start_and_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
