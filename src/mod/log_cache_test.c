#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#undef fail
#include "co/co.h"
#include "io/sys.h"
#include "mod/log.h"

static char dir[64];
static unsigned opens, closes;
static struct sys_ops counting;

static int count_openat(int d, const char *path, int flags, mode_t mode)
{
	opens++;
	return sys_linux.openat(d, path, flags, mode);
}

static int count_close(int fd)
{
	closes++;
	return sys_linux.close(fd);
}

static const struct log_cache_conf two = {.max = 2, .inactive_s = 10, .valid_s = 60, .min_uses = 1};

static const char *path_of(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void put(const char *name, const struct log_cache_conf *cc)
{
	assert_int_equal(log_path_write(path_of(name), SPAN("x\n"), cc, 1), 0);
}

static long size_of(const char *name)
{
	struct stat st;

	return stat(path_of(name), &st) < 0 ? -1 : (long)st.st_size;
}

static int begin(void **state)
{
	(void)state;
	log_cache_clear();
	opens = closes = 0;
	co_sched.now_ms = 1000000;
	return 0;
}

static int end(void **state)
{
	static const char *const names[] = {"a", "b", "c", "old"};

	(void)state;
	log_cache_clear();
	assert_int_equal(log_cache_count(), 0);
	assert_int_equal(opens, closes);
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		unlink(path_of(names[i]));
	return 0;
}

static void test_off(void **state)
{
	(void)state;
	put("a", &(struct log_cache_conf){0});
	put("a", &(struct log_cache_conf){0});
	assert_int_equal(opens, 2);
	assert_int_equal(closes, 2);
	assert_int_equal(log_cache_count(), 0);
	assert_int_equal(size_of("a"), 4);
}

static void test_kept(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		put("a", &two);
	assert_int_equal(opens, 1);
	assert_int_equal(size_of("a"), 10);
}

static void test_min_uses(void **state)
{
	struct log_cache_conf cc = two;

	(void)state;
	cc.min_uses = 3;
	put("a", &cc);
	put("a", &cc);
	assert_int_equal(closes, 2);
	put("a", &cc);
	put("a", &cc);
	assert_int_equal(opens, 3);
	assert_int_equal(closes, 2);
}

static void test_max(void **state)
{
	(void)state;
	put("a", &two);
	put("b", &two);
	put("a", &two);
	put("c", &two); /* b was used longest ago */
	assert_int_equal(log_cache_count(), 2);
	assert_int_equal(closes, 1);
	put("a", &two);
	assert_int_equal(opens, 3);
	put("b", &two);
	assert_int_equal(opens, 4);
}

static void test_inactive(void **state)
{
	(void)state;
	put("a", &two);
	co_sched.now_ms += 10000;
	put("b", &two);
	assert_int_equal(log_cache_count(), 1);
	assert_int_equal(closes, 1);
}

static void test_valid(void **state)
{
	struct log_cache_conf cc = two;

	(void)state;
	cc.inactive_s = 1000;
	put("a", &cc);
	assert_int_equal(rename(path_of("a"), path_of("old")), 0);
	co_sched.now_ms += 59999;
	put("a", &cc);
	assert_int_equal(size_of("old"), 4);
	co_sched.now_ms += 1;
	put("a", &cc);
	assert_int_equal(size_of("old"), 4);
	assert_int_equal(size_of("a"), 2);
	co_sched.now_ms += 60000;
	put("a", &cc); /* the same file: kept */
	assert_int_equal(opens, 2);
}

static void test_generation(void **state)
{
	(void)state;
	put("a", &two);
	assert_int_equal(log_path_write(path_of("b"), SPAN("x\n"), &two, 2), 0);
	assert_int_equal(log_cache_count(), 1);
	assert_int_equal(closes, 1);
	put("b", &two); /* a request of the old one throws nothing away */
	assert_int_equal(opens, 2);
}

static void test_errors(void **state)
{
	(void)state;
	assert_int_equal(log_path_write(path_of("no/such"), SPAN("x\n"), &two, 1), -ENOENT);
	assert_int_equal(opens--, 1);
	put("a", &two);
}

static int start(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/sluice-log-cache-XXXXXX");
	counting = sys_linux;
	counting.openat = count_openat;
	counting.close = count_close;
	sys = &counting;
	return mkdtemp(dir) ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	return rmdir(dir);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_off),	     TEST(test_kept),  TEST(test_min_uses),   TEST(test_max),
		TEST(test_inactive), TEST(test_valid), TEST(test_generation), TEST(test_errors),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
