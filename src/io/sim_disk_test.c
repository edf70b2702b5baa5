/* What the virtual disk says is what Linux says: the same checks on both. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/bug.h"
#include "io/sim.h"

static char dir[64];
static bool simulated;

static const char *path(const char *name)
{
	static char p[4][600];
	static unsigned turn;
	char *at = p[turn++ % 4];

	snprintf(at, sizeof(p[0]), "%s/%s", dir, name);
	return at;
}

static int open_at(const char *name, int flags)
{
	return sys->openat(AT_FDCWD, path(name), flags, 0600);
}

static void file_put(const char *name, const char *text)
{
	int fd = open_at(name, O_WRONLY | O_CREAT | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(sys->write(fd, text, strlen(text)), strlen(text));
	sys->close(fd);
}

static void link_put(const char *name, const char *target)
{
	if (simulated)
		sim_link_put(path(name), target);
	else
		assert_int_equal(symlink(target, path(name)), 0);
}

static long size_of(const char *name)
{
	struct stat st;
	int r = sys->fstatat(AT_FDCWD, path(name), &st, 0);

	return r < 0 ? r : (long)st.st_size;
}

/* ---- scenarios ---- */

static void reading_and_writing(void)
{
	int fd = open_at("a", O_RDWR | O_CREAT | O_EXCL);
	char p[20];
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(open_at("a", O_RDWR | O_CREAT | O_EXCL), -EEXIST);
	assert_int_equal(sys->write(fd, "hello", 5), 5);
	assert_int_equal(sys->write(fd, " you", 4), 4);
	assert_int_equal(sys->pwrite(fd, "J", 1, 0), 1);
	assert_int_equal(sys->pread(fd, p, 20, 0), 9);
	assert_memory_equal(p, "Jello you", 9);
	assert_int_equal(sys->pread(fd, p, 20, 6), 3);
	assert_int_equal(sys->pread(fd, p, 20, 9), 0);
	assert_int_equal(sys->pread(fd, p, 20, 100), 0);
	assert_int_equal(sys->pwrite(fd, "far", 3, 12), 3); /* a hole */
	assert_int_equal(sys->pread(fd, p, 20, 0), 15);
	assert_memory_equal(p, "Jello you\0\0\0far", 15);
	assert_int_equal(sys->ftruncate(fd, 2), 0);
	assert_int_equal(sys->fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 2);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(sys->ftruncate(fd, 4), 0);
	assert_int_equal(sys->pread(fd, p, 20, 0), 4);
	assert_memory_equal(p, "Je\0\0", 4);
	sys->close(fd);
	assert_int_equal(sys->unlink(path("a")), 0);
}

static void access_modes(void)
{
	char p[4];
	int fd;

	file_put("a", "text");
	fd = open_at("a", O_RDONLY);
	assert_int_equal(sys->write(fd, "x", 1), -EBADF);
	assert_int_equal(sys->pwrite(fd, "x", 1, 0), -EBADF);
	assert_int_equal(sys->ftruncate(fd, 0), -EINVAL);
	sys->close(fd);
	fd = open_at("a", O_WRONLY);
	assert_int_equal(sys->pread(fd, p, 4, 0), -EBADF);
	assert_int_equal(sys->pwrite(fd, "x", 1, -1), -EINVAL);
	sys->close(fd);
	fd = open_at("a", O_PATH);
	assert_true(fd >= 0);
	assert_int_equal(sys->pread(fd, p, 4, 0), -EBADF);
	sys->close(fd);
	assert_int_equal(open_at("a/b", O_RDONLY), -ENOTDIR);
	assert_int_equal(open_at("a", O_RDONLY | O_DIRECTORY), -ENOTDIR);
	assert_int_equal(open_at("none", O_RDONLY), -ENOENT);
	assert_int_equal(open_at("none/a", O_RDWR | O_CREAT), -ENOENT);
	assert_int_equal(sys->unlink(path("a")), 0);
}

static void appending(void)
{
	int one, two;
	char p[8];

	one = open_at("log", O_WRONLY | O_APPEND | O_CREAT);
	two = open_at("log", O_RDWR | O_APPEND);
	sys->write(one, "a", 1);
	sys->write(two, "b", 1);
	sys->write(one, "c", 1);
	assert_int_equal(sys->pread(two, p, 8, 0), 3);
	assert_memory_equal(p, "abc", 3);
	sys->close(one);
	sys->close(two);
	file_put("log", "new"); /* O_TRUNC */
	assert_int_equal(size_of("log"), 3);
	assert_int_equal(sys->unlink(path("log")), 0);
}

static void unlinked_and_open(void)
{
	int fd = open_at("a", O_RDWR | O_CREAT), tmp;
	struct stat st;
	char p[4];

	sys->write(fd, "abc", 3);
	assert_int_equal(sys->unlink(path("a")), 0);
	assert_int_equal(size_of("a"), -ENOENT);
	assert_int_equal(sys->unlink(path("a")), -ENOENT);
	assert_int_equal(sys->pread(fd, p, 4, 0), 3);
	assert_int_equal(sys->fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	sys->close(fd);
	tmp = sys->openat(AT_FDCWD, dir, O_TMPFILE | O_RDWR, 0600);
	if (tmp == -EOPNOTSUPP) /* of this machine's file system */
		return;
	assert_true(tmp >= 0);
	assert_int_equal(sys->write(tmp, "abc", 3), 3);
	assert_int_equal(sys->pread(tmp, p, 4, 0), 3);
	sys->close(tmp);
}

static void folders(void)
{
	struct stat st;
	int d;

	assert_int_equal(sys->mkdir(path("d"), 0700), 0);
	assert_int_equal(sys->mkdir(path("d"), 0700), -EEXIST);
	assert_int_equal(sys->mkdir(path("none/d"), 0700), -ENOENT);
	assert_int_equal(sys->unlink(path("d")), -EISDIR);
	assert_int_equal(open_at("d", O_RDWR), -EISDIR);
	file_put("d/x", "in d");
	d = open_at("d", O_RDONLY | O_DIRECTORY);
	assert_true(d >= 0);
	assert_int_equal(sys->fstatat(d, "x", &st, 0), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(sys->fstatat(d, "./../d//x", &st, 0), 0);
	assert_int_equal(sys->fstatat(d, "x/", &st, 0), -ENOTDIR);
	assert_int_equal(sys->fstatat(d, "", &st, 0), -ENOENT);
	assert_int_equal(sys->fstatat(d, "y", &st, 0), -ENOENT);
	assert_int_equal(sys->fstatat(d, path("d"), &st, 0), 0); /* absolute */
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(sys->pread(d, &st, 1, 0), -EISDIR);
	sys->close(d);
	assert_int_equal(sys->rename(path("d/x"), path("d")), -ENOTEMPTY);
	assert_int_equal(sys->rename(path("d"), path("d/x")), -EINVAL);
	file_put("y", "");
	assert_int_equal(sys->rename(path("y"), path("d")), -EISDIR);
	assert_int_equal(sys->rename(path("d"), path("y")), -ENOTDIR);
	assert_int_equal(sys->unlink(path("y")), 0);
	assert_int_equal(sys->unlink(path("d/x")), 0);
}

static void links(void)
{
	char p[100];
	struct stat st;

	file_put("real", "content");
	link_put("link", "real");
	link_put("loop", "loop");
	link_put("up", ".");
	assert_int_equal(size_of("link"), 7);
	assert_int_equal(size_of("up/up/link"), 7);
	assert_int_equal(size_of("loop"), -ELOOP);
	assert_int_equal(sys->fstatat(AT_FDCWD, path("link"), &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(open_at("link", O_RDONLY | O_NOFOLLOW), -ELOOP);
	assert_int_equal(open_at("up", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), -ENOTDIR);
	assert_int_equal(open_at("link", O_RDWR | O_CREAT | O_EXCL), -EEXIST);
	assert_int_equal(sys->readlinkat(AT_FDCWD, path("link"), p, 100), 4);
	assert_memory_equal(p, "real", 4);
	assert_int_equal(sys->readlinkat(AT_FDCWD, path("link"), p, 2), 2);
	assert_int_equal(sys->readlinkat(AT_FDCWD, path("real"), p, 100), -EINVAL);
	assert_int_equal(sys->realpath(path("up/./link"), p, 100), strlen(path("real")));
	assert_string_equal(p, path("real"));
	assert_int_equal(sys->realpath(path("link"), p, 4), -ENAMETOOLONG);
	assert_int_equal(sys->realpath(path("none"), p, 100), -ENOENT);
	assert_int_equal(sys->realpath("/", p, 100), 1);
	assert_string_equal(p, "/");
	assert_int_equal(sys->unlink(path("link")), 0); /* the link alone */
	assert_int_equal(size_of("real"), 7);
	assert_int_equal(sys->unlink(path("loop")), 0);
	assert_int_equal(sys->unlink(path("up")), 0);
	assert_int_equal(sys->unlink(path("real")), 0);
}

static void renaming(void)
{
	struct stat before, after;
	int fd;

	file_put("a", "aa");
	file_put("b", "b");
	fd = open_at("b", O_RDONLY);
	assert_int_equal(sys->fstatat(AT_FDCWD, path("a"), &before, 0), 0);
	assert_int_equal(sys->rename(path("a"), path("b")), 0);
	assert_int_equal(size_of("a"), -ENOENT);
	assert_int_equal(sys->fstatat(AT_FDCWD, path("b"), &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(sys->fstat(fd, &after), 0); /* the old b lives on */
	assert_int_equal(after.st_size, 1);
	sys->close(fd);
	assert_int_equal(sys->rename(path("none"), path("b")), -ENOENT);
	assert_int_equal(sys->rename(path("b"), path("none/b")), -ENOENT);
	assert_int_equal(sys->rename(path("b"), path("b")), 0);
	assert_int_equal(sys->unlink(path("b")), 0);
}

static void long_names(void)
{
	static char name[5000], shorter[300];

	memset(name, 'x', sizeof(name) - 1);
	memset(shorter, 'y', 256);
	assert_int_equal(sys->openat(AT_FDCWD, name, O_RDONLY, 0), -ENAMETOOLONG);
	assert_int_equal(open_at(shorter, O_RDONLY), -ENAMETOOLONG);
}

/* ---- running them ---- */

typedef void (*scenario)(void);

static void run_scenario(void **state)
{
	scenario s = (scenario)*state;
	struct sim_options o = {.seed = 1};
	char cmd[100];

	if (sim_running())
		sim_stop();
	simulated = false;
	strcpy(dir, "/tmp/sluice-disk-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	s();
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
	simulated = true;
	sim_start(&o);
	sim_folder_put(dir);
	s();
	assert_int_equal(sim_stop(), 0);
}

/* ---- what only worlds have ---- */

static void test_prepared(void **state)
{
	struct sim_options o = {.seed = 1};
	int fd;

	sim_start(&o);
	sim_file_put("/srv/www/index.html", "hello", 5);
	assert_int_equal(sim_disk_bytes(), 5);
	assert_int_equal(sim_file_get("/srv/www/index.html").n, 5);
	assert_int_equal(sim_file_get("/srv/none").n, 0);
	fd = sim_open_log("/var/log/access.log");
	assert_true(fd >= 0);
	assert_int_equal(sys->write(fd, "one\n", 4), 4);
	assert_int_equal(sim_file_rename("/var/log/access.log", "/var/log/old"), 0);
	assert_int_equal(sys->write(fd, "two\n", 4), 4);
	assert_int_equal(sim_reopen_log(fd, "/var/log/access.log"), 0);
	assert_int_equal(sys->write(fd, "three\n", 6), 6);
	assert_true(span_eq(sim_file_get("/var/log/old"), SPAN("one\ntwo\n")));
	assert_true(span_eq(sim_file_get("/var/log/access.log"), SPAN("three\n")));
	assert_int_equal(sim_fds_open(), 1);
	assert_int_equal(sim_stop(), 1); /* it was left open */
}

static void test_faults(void **state)
{
	struct sim_options o = {.seed = 1,
				.faults = {.disk_full = 2000, .disk_error = 1000, .emfile = 1000}};
	unsigned full = 0, error = 0, cut = 0, none = 0;

	sim_start(&o);
	for (int i = 0; i < 500; i++) {
		int fd = sys->openat(AT_FDCWD, "/f", O_RDWR | O_CREAT, 0600);
		ssize_t n;

		if (fd < 0) {
			none += fd == -EMFILE || fd == -ENFILE;
			continue;
		}
		n = sys->pwrite(fd, "0123456789", 10, 0);
		full += n == -ENOSPC;
		error += n == -EIO;
		cut += n > 0 && n < 10;
		sys->close(fd);
	}
	assert_true(full > 10 && error > 10 && cut > 10 && none > 10);
	assert_int_equal(sim_stop(), 0);
}

#define SCENARIO(f)                                                                                \
	{                                                                                          \
		.name = #f, .test_func = run_scenario, .initial_state = (void *)f                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENARIO(reading_and_writing),
		SCENARIO(access_modes),
		SCENARIO(appending),
		SCENARIO(unlinked_and_open),
		SCENARIO(folders),
		SCENARIO(links),
		SCENARIO(renaming),
		SCENARIO(long_names),
		cmocka_unit_test(test_prepared),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
