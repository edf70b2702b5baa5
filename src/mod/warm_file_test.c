/* Through open_file_get without a cache, as handlers come to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#undef fail
#include <errno.h>
#include <fcntl.h>
#include "io/loop.h"
#include "mod/open_file_cache.h"
#include "mod/warm_file.h"

static char dir[64], path[128];
static unsigned opens, closes, looks;
static struct sys_ops counting;

static int count_openat(int d, const char *p, int flags, mode_t mode)
{
	opens++;
	return sys_linux.openat(d, p, flags, mode);
}

static int count_close(int fd)
{
	closes++;
	return sys_linux.close(fd);
}

static int count_fstatat(int d, const char *p, struct stat *st, int flags)
{
	looks++;
	return sys_linux.fstatat(d, p, st, flags);
}

static void write_text(const char *to, const char *text)
{
	FILE *f = fopen(to, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* Opens as a request does; the text that is found. err: expected instead. */
static const char *served_in_turn(int err)
{
	static char text[64];
	struct file_ask ask = {.path = span_make(path, strlen(path))};
	struct open_file of;
	ssize_t n;

	assert_int_equal(open_file_get(&of, &ask), err);
	if (err)
		return NULL;
	n = pread(of.fd, text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	assert_int_equal(n, of.facts.size);
	text[n] = 0;
	open_file_give(&of);
	return text;
}

static const char *served(int err)
{
	co_sched.turn++;
	return served_in_turn(err);
}

static int begin(void **state)
{
	sys = &counting;
	assert_int_equal(io_loop_init(0), 0);
	write_text(path, "first");
	opens = closes = looks = 0;
	return 0;
}

static int end(void **state)
{
	open_file_cache_clear();
	io_loop_fini();
	unlink(path);
	return 0;
}

static void kept_from_the_second_use(void **state)
{
	for (int i = 0; i < 5; i++)
		assert_string_equal(served(0), "first");
	assert_int_equal(opens, 2);
	assert_int_equal(closes, 1);
	warm_files_clear();
	assert_int_equal(closes, 2);
}

static void one_look_a_turn(void **state)
{
	served(0);
	served(0);
	looks = 0;
	for (int i = 0; i < 5; i++)
		assert_string_equal(served_in_turn(0), "first");
	assert_int_equal(looks, 0); /* opened in this turn */
	for (int i = 0; i < 5; i++) {
		served(0);
		assert_string_equal(served_in_turn(0), "first");
		assert_int_equal(looks, i + 1);
	}
	write_text(path, "grown up");
	assert_string_equal(served(0), "grown up");
}

static void every_change_is_seen(void **state)
{
	char other[144];

	snprintf(other, sizeof(other), "%s.new", path);
	served(0);
	served(0);
	write_text(other, "other");
	assert_int_equal(rename(other, path), 0); /* another inode of the same size */
	assert_string_equal(served(0), "other");
	served(0);
	write_text(path, "grown up");
	assert_string_equal(served(0), "grown up");
	served(0);
	assert_int_equal(unlink(path), 0);
	served(ENOENT);
	write_text(path, "again");
	assert_string_equal(served(0), "again");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	{
		struct file_ask ask = {.path = span_make(path, strlen(path))};
		struct open_file of;

		assert_int_equal(open_file_get(&of, &ask), 0);
		assert_true(of.facts.is_dir);
		open_file_give(&of);
	}
	assert_int_equal(rmdir(path), 0);
	warm_files_clear();
	assert_int_equal(opens - 1, closes); /* the one that failed */
}

static void held_while_it_goes(void **state)
{
	struct file_ask ask = {.path = span_make(path, strlen(path))};
	struct open_file of;
	char text[8];

	served(0);
	served(0);
	assert_int_equal(open_file_get(&of, &ask), 0);
	unlink(path);
	served(ENOENT);
	warm_files_clear();
	assert_int_equal(pread(of.fd, text, 5, 0), 5); /* a slow client reads on */
	open_file_give(&of);
	assert_int_equal(opens - 1, closes);
}

static void let_go_when_idle(void **state)
{
	served(0);
	served(0);
	assert_int_equal(closes, 1);
	wheel_run(&co_sched.wheel, io_now_ms() + WARM_MS - 1);
	assert_int_equal(closes, 1);
	co_sched.now_ms += 2 * WARM_MS;
	wheel_run(&co_sched.wheel, co_sched.now_ms);
	assert_int_equal(closes, 2);
	served(0); /* the first one of a new pair */
	assert_int_equal(closes, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kept_from_the_second_use, begin, end),
		cmocka_unit_test_setup_teardown(one_look_a_turn, begin, end),
		cmocka_unit_test_setup_teardown(every_change_is_seen, begin, end),
		cmocka_unit_test_setup_teardown(held_while_it_goes, begin, end),
		cmocka_unit_test_setup_teardown(let_go_when_idle, begin, end),
	};
	int rc;

	snprintf(dir, sizeof(dir), "/tmp/sluice-warm-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/f", dir);
	counting = sys_linux;
	counting.openat = count_openat;
	counting.close = count_close;
	counting.fstatat = count_fstatat;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return rc;
}
