#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#undef fail
#include "co/co.h"
#include "io/sys.h"
#include "mod/open_file_cache.h"
#include "serve/core.h"

static char dir[64];
static unsigned opens, opened, stats, closes; /* opened: those that worked */
static struct sys_ops counting;

static int count_openat(int d, const char *path, int flags, mode_t mode)
{
	int fd = sys_linux.openat(d, path, flags, mode);

	opens++;
	opened += fd >= 0;
	return fd;
}

static int count_fstatat(int d, const char *path, struct stat *st, int flags)
{
	stats++;
	return sys_linux.fstatat(d, path, st, flags);
}

static int count_close(int fd)
{
	closes++;
	return sys_linux.close(fd);
}

static char names[8][128];
static unsigned name_turn;

/* Each path is asked for from memory of its own, as requests do. */
static struct file_ask ask_for(const char *name)
{
	char *p = names[name_turn++ % 8];
	int n = snprintf(p, sizeof(names[0]), "%s/%s", dir, name);

	return (struct file_ask){.path = span_make(p, (size_t)n),
				 .max = 10,
				 .inactive_s = 20,
				 .valid_s = 60,
				 .min_uses = 1,
				 .generation = 1};
}

static void put(const char *name, const char *text)
{
	char path[128], tmp[144];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	f = fopen(tmp, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(rename(tmp, path), 0);
}

static void drop(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	rmdir(path);
}

static const char *content(const struct open_file *of)
{
	static char text[64];
	ssize_t n = pread(of->fd, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = 0;
	return text;
}

static int begin(void **state)
{
	(void)state;
	open_file_cache_clear();
	opens = opened = stats = closes = 0;
	co_sched.now_ms = 1000000;
	put("a", "first");
	return 0;
}

static int end(void **state)
{
	(void)state;
	open_file_cache_clear();
	assert_int_equal(open_file_cache_count(), 0);
	drop("a");
	return 0;
}

static void test_without_cache(void **state)
{
	struct file_ask ask = ask_for("a");
	struct open_file of;

	(void)state;
	ask.max = 0;
	assert_int_equal(open_file_get(&of, &ask), 0);
	assert_true(of.facts.is_file && of.facts.size == 5);
	assert_string_equal(content(&of), "first");
	open_file_give(&of);
	open_file_give(&of);
	assert_int_equal(closes, 1);
	assert_int_equal(open_file_cache_count(), 0);
	ask = ask_for("none");
	ask.max = 0;
	assert_int_equal(open_file_get(&of, &ask), ENOENT);
	assert_string_equal(of.failed, "open()");
	open_file_give(&of);
}

static void test_hit(void **state)
{
	struct open_file of[2];
	struct file_ask ask;

	(void)state;
	for (int i = 0; i < 10; i++) {
		ask = ask_for("a");
		assert_int_equal(open_file_get(&of[0], &ask), 0);
		assert_int_equal(open_file_get(&of[1], &ask), 0);
		assert_string_equal(content(&of[1]), "first");
		open_file_give(&of[0]);
		open_file_give(&of[1]);
	}
	assert_int_equal(opens, 1);
	assert_int_equal(stats, 0);
	assert_int_equal(closes, 0);
}

static void test_valid(void **state)
{
	struct file_ask ask = ask_for("a");
	struct open_file old, of;

	(void)state;
	ask.inactive_s = 1000;
	assert_int_equal(open_file_get(&old, &ask), 0);
	put("a", "second");
	assert_int_equal(open_file_get(&of, &ask), 0); /* believed */
	assert_string_equal(content(&of), "first");
	open_file_give(&of);
	co_sched.now_ms += 60000;
	assert_int_equal(open_file_get(&of, &ask), 0); /* another inode */
	assert_string_equal(content(&of), "second");
	assert_string_equal(content(&old), "first"); /* who holds it goes on */
	open_file_give(&old);
	assert_int_equal(closes, 1);
	open_file_give(&of);
	co_sched.now_ms += 60000;
	assert_int_equal(open_file_get(&of, &ask), 0); /* the same inode: only looked at */
	open_file_give(&of);
	assert_int_equal(opens, 2);
	assert_int_equal(stats, 2);
	drop("a");
	co_sched.now_ms += 60000;
	assert_int_equal(open_file_get(&of, &ask), ENOENT);
	assert_int_equal(open_file_cache_count(), 0);
}

static void test_errors(void **state)
{
	struct file_ask ask = ask_for("b");
	struct open_file of;

	(void)state;
	assert_int_equal(open_file_get(&of, &ask), ENOENT);
	assert_int_equal(open_file_cache_count(), 0);
	ask.errors = true;
	assert_int_equal(open_file_get(&of, &ask), ENOENT);
	assert_int_equal(open_file_cache_count(), 1);
	put("b", "there");
	ask.inactive_s = 1000;
	assert_int_equal(open_file_get(&of, &ask), ENOENT);
	assert_int_equal(opens, 2);
	co_sched.now_ms += 60000;
	assert_int_equal(open_file_get(&of, &ask), 0);
	open_file_give(&of);
	drop("b");
}

static void test_min_uses(void **state)
{
	struct file_ask ask = ask_for("a");
	struct open_file of;

	(void)state;
	ask.min_uses = 3;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(open_file_get(&of, &ask), 0);
		open_file_give(&of);
	}
	assert_int_equal(opens, 3);
	assert_int_equal(closes, 2);
}

static void test_max_and_inactive(void **state)
{
	struct open_file of, held;
	struct file_ask ask;
	char name[4];

	(void)state;
	for (int i = 0; i < 15; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		put(name, name);
		ask = ask_for(name);
		assert_int_equal(open_file_get(i == 0 ? &held : &of, &ask), 0);
		if (i)
			open_file_give(&of);
		drop(name);
	}
	assert_int_equal(open_file_cache_count(), 10);
	assert_string_equal(content(&held), "m0"); /* pushed out, still held */
	open_file_give(&held);
	assert_int_equal(closes, 5);
	co_sched.now_ms += 20000;
	for (int i = 0; i < 6; i++) { /* two idle ones go per look-up */
		ask = ask_for("a");
		assert_int_equal(open_file_get(&of, &ask), 0);
		open_file_give(&of);
	}
	assert_int_equal(open_file_cache_count(), 1);
	assert_int_equal(closes, 15);
}

static void test_test_and_directories(void **state)
{
	struct file_ask ask = ask_for(".");
	struct open_file of;

	(void)state;
	assert_int_equal(open_file_test(&of, &ask), 0);
	assert_true(of.facts.is_dir && of.fd == -1);
	assert_int_equal(open_file_get(&of, &ask), 0); /* known to be a directory: no descriptor */
	assert_true(of.facts.is_dir);
	open_file_give(&of);
	assert_int_equal(opens, 0);
	ask = ask_for("a");
	assert_int_equal(open_file_test(&of, &ask), 0);
	assert_int_equal(open_file_get(&of, &ask), 0);
	assert_true(of.fd >= 0);
	open_file_give(&of);
	assert_int_equal(stats, 2);
	assert_int_equal(opens, 1);
}

static int with_links(const char *name, int mode, size_t from)
{
	struct file_ask ask = ask_for(name);
	struct open_file of;
	int err;

	ask.max = 0;
	ask.symlinks = mode;
	ask.symlinks_from = from;
	err = open_file_get(&of, &ask);
	if (!err)
		assert_string_equal(content(&of), "first");
	open_file_give(&of);
	return err;
}

static void test_symlinks(void **state)
{
	char target[128], link[128];

	(void)state;
	snprintf(target, sizeof(target), "%s/a", dir);
	snprintf(link, sizeof(link), "%s/l", dir);
	assert_int_equal(symlink(target, link), 0);
	snprintf(link, sizeof(link), "%s/d", dir);
	assert_int_equal(symlink(dir, link), 0);
	assert_int_equal(with_links("a", SYMLINKS_ON, 0), 0);
	assert_int_equal(with_links(".//a", SYMLINKS_ON, 0), 0);
	assert_int_equal(with_links("l", SYMLINKS_OFF, 0), 0);
	assert_int_equal(with_links("l", SYMLINKS_ON, 0), ELOOP);
	assert_int_equal(with_links("d/a", SYMLINKS_ON, 0), ELOOP);
	assert_int_equal(with_links("d/a", SYMLINKS_ON, strlen(dir) + 2), 0);
	assert_int_equal(with_links("d/l", SYMLINKS_ON, strlen(dir) + 2), ELOOP);
	assert_int_equal(with_links("d/l", SYMLINKS_NOT_OWNER, 0), 0);
	assert_int_equal(with_links("a/x", SYMLINKS_ON, 0), ENOTDIR);
	assert_int_equal(with_links("none", SYMLINKS_ON, 0), ENOENT);
	if (getuid() == 0) {
		assert_int_equal(lchown(link, 1, 1), 0);
		assert_int_equal(with_links("d/a", SYMLINKS_NOT_OWNER, 0), ELOOP);
	}
	assert_int_equal(opened, closes);
	drop("l");
	drop("d");
}

static void test_status(void **state)
{
	bool ordinary;

	(void)state;
	assert_int_equal(file_error_status(ENOENT, &ordinary), 404);
	assert_int_equal(file_error_status(ENAMETOOLONG, &ordinary), 404);
	assert_int_equal(file_error_status(EACCES, &ordinary), 403);
	assert_true(ordinary);
	assert_int_equal(file_error_status(EMFILE, &ordinary), 500);
	assert_false(ordinary);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_without_cache),
		CASE(test_hit),
		CASE(test_valid),
		CASE(test_errors),
		CASE(test_min_uses),
		CASE(test_max_and_inactive),
		CASE(test_test_and_directories),
		CASE(test_symlinks),
		CASE(test_status),
	};
	int rc;

	strcpy(dir, "/tmp/sluice-ofc-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	counting = sys_linux;
	counting.openat = count_openat;
	counting.fstatat = count_fstatat;
	counting.close = count_close;
	sys = &counting;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return rc;
}
