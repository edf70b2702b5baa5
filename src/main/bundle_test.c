#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/pool.h"
#include "main/opener_real.h"
#include "main/opener_replay.h"

static char dir[] = "/tmp/sluice-bundle-XXXXXX";

static struct span path_of(struct arena *a, const char *name)
{
	return arena_printf(a, "%s/%s", dir, name);
}

static void put_file(struct arena *a, const char *name, const char *text)
{
	FILE *f = fopen(path_of(a, name).p, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* Through bytes and back. */
static struct bundle *again(const struct bundle *b)
{
	struct bundle *copy;
	struct buf bytes;
	size_t nfds;
	int *fds;

	buf_init(&bytes, BUNDLE_MAX);
	assert_int_equal(bundle_pack(b, &bytes, &fds, &nfds), 0);
	for (size_t i = 0; i < nfds; i++)
		fds[i] = dup(fds[i]);
	copy = bundle_unpack(buf_span(&bytes), fds, nfds);
	assert_non_null(copy);
	mem_free(fds);
	buf_fini(&bytes);
	return copy;
}

static void ask(struct opener *o, struct arena *a, bool real)
{
	struct sockaddr_storage sa[4];
	struct span text, *paths;
	size_t n;
	int fd;

	assert_int_equal(o->ops->read_file(o, path_of(a, "a.conf"), a, &text), 0);
	assert_true(span_eq(text, SPAN("alpha")));
	assert_int_equal(o->ops->read_file(o, path_of(a, "none"), a, &text), -ENOENT);
	assert_int_equal(o->ops->read_file(o, path_of(a, "empty.conf"), a, &text), 0);
	assert_int_equal(text.n, 0);
	assert_int_equal(o->ops->glob(o, path_of(a, "*.conf"), a, &paths, &n), 0);
	assert_int_equal(n, 2);
	assert_true(span_eq(paths[0], path_of(a, "a.conf")));
	assert_int_equal(o->ops->glob(o, path_of(a, "*.none"), a, &paths, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(o->ops->make_dir(o, path_of(a, "temp")), 0);
	assert_int_equal(o->ops->make_dir(o, path_of(a, "x/y/z")), -ENOENT);
	assert_int_equal(o->ops->exists(o, path_of(a, "a.conf")), 0);
	assert_int_equal(o->ops->exists(o, path_of(a, "none")), -ENOENT);
	assert_int_equal(o->ops->resolve(o, SPAN("127.0.0.1"), sa, 4), 1);
	assert_int_equal(sa[0].ss_family, AF_INET);
	fd = o->ops->open_log(o, path_of(a, "x.log"));
	assert_true(fd >= 0);
	assert_int_equal(o->ops->open_log(o, path_of(a, "x.log")), fd);
	assert_int_equal(write(fd, real ? "1" : "2", 1), 1);
}

static void test_round_trip(void **state)
{
	struct bundle *b = bundle_new(), *copy;
	struct opener_real real;
	struct opener_replay replay;
	struct arena a;
	struct stat st;

	arena_init(&a, 1 << 20);
	put_file(&a, "a.conf", "alpha");
	put_file(&a, "empty.conf", "");
	opener_real_init(&real, b, NULL, false);
	ask(&real.opener, &a, true);
	/* What changes now is not seen: the record counts. */
	put_file(&a, "a.conf", "changed");
	put_file(&a, "none", "now");
	ask(&real.opener, &a, true);
	copy = again(b);
	assert_int_equal(copy->nitems, b->nitems);
	opener_replay_init(&replay, copy, NULL);
	ask(&replay.opener, &a, false);
	assert_int_equal(stat(path_of(&a, "x.log").p, &st), 0);
	assert_int_equal(st.st_size, 3);
	bundle_free(copy, NULL);
	bundle_free(b, NULL);
	arena_fini(&a);
}

static void test_reopen(void **state)
{
	struct bundle *b = bundle_new();
	struct opener_real real;
	struct arena a;
	struct stat st;
	int fd;

	arena_init(&a, 1 << 20);
	opener_real_init(&real, b, NULL, false);
	fd = real.opener.ops->open_log(&real.opener, path_of(&a, "r.log"));
	assert_int_equal(rename(path_of(&a, "r.log").p, path_of(&a, "r.old").p), 0);
	assert_int_equal(opener_real_reopen(b), 0);
	assert_int_equal(write(fd, "new", 3), 3);
	assert_int_equal(stat(path_of(&a, "r.log").p, &st), 0);
	assert_int_equal(st.st_size, 3);
	bundle_free(b, NULL);
	arena_fini(&a);
}

static void test_sockets(void **state)
{
	struct listen_spec spec = {.salen = sizeof(struct sockaddr_in),
				   .type = SOCK_STREAM,
				   .name = SPAN("127.0.0.1:0"),
				   .backlog = -1,
				   .rcvbuf = -1,
				   .sndbuf = -1,
				   .fastopen = -1,
				   .setfib = -1,
				   .keepalive = -1};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
			   x = {0}, y = {0};
	socklen_t len = sizeof(x);
	struct bundle *b = bundle_new(), *next = bundle_new();
	struct opener_real one, two;
	int fd, again_fd;

	memcpy(&spec.sa, &in, sizeof(in));
	opener_real_init(&one, b, NULL, false);
	fd = one.opener.ops->listen(&one.opener, &spec, 0);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&x, &len), 0);
	opener_real_init(&two, next, b, false);
	again_fd = two.opener.ops->listen(&two.opener, &spec,
					  0); /* the same socket, not another port */
	assert_int_equal(getsockname(again_fd, (struct sockaddr *)&y, &len), 0);
	assert_int_equal(x.sin_port, y.sin_port);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	close(again_fd);
	fd = bundle_next(b, NULL, BUNDLE_LISTEN)->fd;
	bundle_free(b, next);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	bundle_free(next, NULL);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_malformed(void **state)
{
	struct bundle *b = bundle_new();
	struct bundle_item *i = bundle_add(b, BUNDLE_FILE, SPAN("/x"), 0, 0);
	struct buf bytes;
	size_t nfds;
	int *fds, extra[1];

	i->text = SPAN("text");
	buf_init(&bytes, BUNDLE_MAX);
	assert_int_equal(bundle_pack(b, &bytes, &fds, &nfds), 0);
	for (size_t n = 0; n < bytes.len; n++)
		assert_null(bundle_unpack(span_make(bytes.p, n), NULL, 0));
	extra[0] = open("/dev/null", O_RDONLY);
	assert_null(bundle_unpack(buf_span(&bytes), extra, 1)); /* nobody's descriptor */
	assert_int_equal(fcntl(extra[0], F_GETFD), -1);
	mem_free(fds);
	buf_fini(&bytes);
	bundle_free(b, NULL);
}

static int setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_reopen),
		cmocka_unit_test(test_sockets),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
