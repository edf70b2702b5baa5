#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "base/hash.h"
#include "base/log.h"
#include "io/loop.h"

/* A table whose clock and randomness are ours. */
static uint64_t wall_us, mono_us;
static unsigned wall_reads;
static unsigned char random_byte;

static uint64_t fake_wall(void)
{
	wall_reads++;
	return wall_us;
}

static uint64_t fake_mono(void)
{
	return mono_us;
}

static int fake_random(void *p, size_t n)
{
	memset(p, random_byte, n);
	return 0;
}

static struct sys_ops fake;

static int setup(void **state)
{
	fake = sys_linux;
	fake.wall_us = fake_wall;
	fake.mono_us = fake_mono;
	fake.random = fake_random;
	sys = &fake;
	mono_us = 5000000;
	wall_us = 784111777ull * 1000000 + 123456; /* the date of RFC 9110, 5.6.7 */
	setenv("TZ", "XYZ-05:30", 1);
	io_clock_init();
	return io_loop_init(0);
}

static int teardown(void **state)
{
	io_loop_fini();
	sys = &sys_linux;
	return 0;
}

static void expect(struct span got, const char *want)
{
	assert_int_equal(got.n, strlen(want));
	assert_memory_equal(got.p, want, got.n);
}

static void test_texts(void **state)
{
	expect(io_time_http(), "Sun, 06 Nov 1994 08:49:37 GMT");
	expect(io_time_log(), "06/Nov/1994:14:19:37 +0530");
	expect(io_time_iso8601(), "1994-11-06T14:19:37+05:30");
	expect(io_time_err(), "1994/11/06 14:19:37");
	expect(io_time_syslog(), "Nov  6 14:19:37");
	expect(log_time(), "1994/11/06 14:19:37");
	setenv("TZ", "ABC03:30", 1);
	tzset();
	wall_us = 1709251199ull * 1000000;
	io_loop_turn(0);
	expect(io_time_http(), "Thu, 29 Feb 2024 23:59:59 GMT");
	expect(io_time_log(), "29/Feb/2024:20:29:59 -0330");
	expect(io_time_iso8601(), "2024-02-29T20:29:59-03:30");
	wall_us += 1000000;
	io_loop_turn(0);
	expect(io_time_http(), "Fri, 01 Mar 2024 00:00:00 GMT");
	expect(io_time_err(), "2024/02/29 20:30:00");
}

static void test_wall_once_per_turn(void **state)
{
	uint64_t first = io_wall_ms();

	assert_true(first == wall_us / 1000);
	wall_reads = 0;
	wall_us += 5000;
	assert_true(io_wall_ms() == first);
	io_time_http();
	assert_int_equal(wall_reads, 0);
	io_loop_turn(0);
	assert_int_equal(wall_reads, 0); /* nobody asked */
	assert_true(io_wall_ms() == first + 5);
	assert_int_equal(wall_reads, 1);
	wall_us -= 60000000; /* set back by the operator */
	io_loop_turn(0);
	assert_true(io_wall_ms() == first + 5 - 60000);
}

static void test_mono_never_goes_back(void **state)
{
	uint64_t begin = io_now_ms();

	assert_true(begin == 5000);
	mono_us = 5002999;
	assert_true(io_now_ms() == begin);
	io_loop_turn(0);
	assert_true(io_now_ms() == begin + 2);
	assert_true(io_after(10) == begin + 12);
	mono_us = 1;
	io_loop_turn(0);
	assert_true(io_now_ms() == begin + 2);
}

static void test_clock_without_loop(void **state)
{
	io_loop_fini();
	assert_true(io_wall_ms() == wall_us / 1000);
	wall_us += 1000000;
	assert_true(io_wall_ms() == wall_us / 1000);
	io_loop_init(0);
}

static void test_random(void **state)
{
	uint64_t a, b, ones = 0;
	int flips[64] = {0};

	random_byte = 0; /* the worst seed */
	io_loop_fini();
	io_loop_init(0);
	a = io_rand64();
	b = io_rand64();
	assert_true(a != b);
	io_loop_fini();
	io_loop_init(0);
	assert_true(io_rand64() == a); /* the same seed, the same numbers: the simulator needs it */
	random_byte = 0x77;
	io_loop_fini();
	io_loop_init(0);
	assert_true(io_rand64() != a);
	for (int i = 0; i < 10000; i++) {
		uint64_t x = io_rand64();

		ones += (uint64_t)__builtin_popcountll(x);
		for (int k = 0; k < 64; k++)
			flips[k] += (int)(x >> k & 1);
	}
	assert_in_range(ones, 310000, 330000);
	for (int k = 0; k < 64; k++)
		assert_in_range(flips[k], 4700, 5300);
}

static void test_hash_seed(void **state)
{
	random_byte = 0x3c;
	io_clock_init();
	assert_true(hash_seed == 0x3c3c3c3c3c3c3c3cull);
}

static struct co *sleeper;
static int slept;

static void sleep_long(void *arg)
{
	sleeper = co_current();
	slept = co_sleep_until(io_after(60000));
}

/* The loop trusts the table's clock alone: a minute passes in no time. */
static void test_virtual_time(void **state)
{
	slept = 1;
	co_start(sleep_long, NULL);
	mono_us += 59999999;
	io_loop_turn(0);
	assert_int_equal(slept, 1);
	mono_us += 1;
	io_loop_turn(0);
	assert_int_equal(slept, -ETIMEDOUT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_texts),
		T(test_wall_once_per_turn),
		T(test_mono_never_goes_back),
		T(test_clock_without_loop),
		T(test_random),
		T(test_hash_seed),
		T(test_virtual_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
