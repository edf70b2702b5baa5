#include "mod/user_file.h"
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
#include "base/pool.h"
#include "io/sys.h"

static char path[] = "/tmp/user_file_test.XXXXXX";

static int setup(void **state)
{
	int fd = mkstemp(path);

	close(fd);
	return fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	return unlink(path);
}

static void put(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	fclose(f);
}

/* The hash of user; NULL: not there. */
static const char *find(const char *user)
{
	static struct user_entry e;
	int r;

	e = (struct user_entry){.user = span_of(user)};
	r = user_file_find(path, &e);
	assert_in_range(r, 0, 1);
	if (!r)
		return NULL;
	assert_in_range(e.n, 0, sizeof(e.hash) - 1);
	e.hash[e.n] = 0;
	return e.hash;
}

#define assert_hash(user, hash) assert_string_equal(find(user), hash)

static void test_lines(void **state)
{
	put("a:1\nbb:22\n\n#c:3\n\r\nd:4:comment\ne:5\r\na:6\nf\n:7\ng:\nlast:8");
	assert_hash("a", "1");
	assert_hash("bb", "22");
	assert_hash("d", "4");
	assert_hash("e", "5");
	assert_hash("g", "");
	assert_hash("last", "8");
	assert_hash("", "7"); /* nobody asks for it: credentials have a name */
	assert_null(find("#c"));
	assert_null(find("c"));
	assert_null(find("f"));
	assert_null(find("b"));
	assert_null(find("bbb"));
	assert_null(find("a:1"));
	assert_null(find("f\n"));
	put("");
	assert_null(find("a"));
	put("a");
	assert_null(find("a"));
	put("a:");
	assert_hash("a", "");
}

/* Reads come in pieces of any size. */
static ssize_t byte_wise(int fd, void *p, size_t n, off_t off)
{
	return sys_linux.pread(fd, p, n ? 1 : 0, off);
}

static void test_pieces(void **state)
{
	struct sys_ops small = sys_linux;

	small.pread = byte_wise;
	sys = &small;
	test_lines(state);
	sys = &sys_linux;
}

/* Lines on both sides of where a read ends. */
static void test_many_users(void **state)
{
	FILE *f = fopen(path, "w");

	for (int i = 0; i < 20000; i++)
		fprintf(f, "user%d:hash%d\n", i, i);
	fclose(f);
	for (int i = 0; i < 20000; i += 371) {
		char user[32], hash[32];

		snprintf(user, sizeof(user), "user%d", i);
		snprintf(hash, sizeof(hash), "hash%d", i);
		assert_hash(user, hash);
	}
	assert_null(find("user20000"));
}

static void test_long_hash(void **state)
{
	char text[PASSWORD_HASH_MAX + 16] = "a:";
	struct user_entry e = {.user = SPAN("a")};

	memset(text + 2, 'x', PASSWORD_HASH_MAX);
	put(text);
	assert_int_equal(user_file_find(path, &e), 1);
	assert_int_equal(e.n, PASSWORD_HASH_MAX);
	memset(text + 2, 'x', PASSWORD_HASH_MAX + 10);
	put(text);
	assert_int_equal(user_file_find(path, &e), 1);
	assert_int_equal(e.n, PASSWORD_HASH_MAX + 1);
}

static void test_version(void **state)
{
	struct user_entry e = {.user = SPAN("a")};
	struct file_version v;
	struct stat st;

	put("a:1\n");
	assert_int_equal(user_file_find(path, &e), 1);
	assert_int_equal(stat(path, &st), 0);
	v = file_version_of(&st);
	assert_memory_equal(&v, &e.version, sizeof(v));
	assert_int_equal(truncate(path, 1), 0);
	assert_int_equal(stat(path, &st), 0);
	v = file_version_of(&st);
	assert_memory_not_equal(&v, &e.version, sizeof(v));
}

static ssize_t broken_pread(int fd, void *p, size_t n, off_t off)
{
	return off ? -EIO : 1;
}

static void test_errors(void **state)
{
	struct user_entry e = {.user = SPAN("a")};
	struct sys_ops broken = sys_linux;
	char fifo[64];

	assert_int_equal(user_file_find("/nonexistent/file", &e), -ENOENT);
	assert_int_equal(user_file_find("/tmp", &e), -EISDIR);
	snprintf(fifo, sizeof(fifo), "%s.fifo", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(user_file_find(fifo, &e), -EINVAL); /* and does not wait for a writer */
	unlink(fifo);
	broken.pread = broken_pread;
	sys = &broken;
	assert_int_equal(user_file_find(path, &e), -EIO);
	sys = &sys_linux;
	mem_fail_after(0);
	assert_int_equal(user_file_find(path, &e), -ENOMEM);
	mem_fail_after(-1);
	assert_int_equal(truncate(path, USER_FILE_MAX + 1), 0);
	assert_int_equal(user_file_find(path, &e), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	   cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_many_users), cmocka_unit_test(test_long_hash),
		cmocka_unit_test(test_version),	   cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
