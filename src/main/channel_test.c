#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/pool.h"
#include "main/channel.h"
#include "main/notify.h"

struct pair {
	struct channel a, b;
};

static void pair_init(struct pair *p)
{
	int fds[2];

	assert_int_equal(channel_pair(fds), 0);
	channel_init(&p->a, fds[0]);
	channel_init(&p->b, fds[1]);
}

static void pair_fini(struct pair *p)
{
	channel_fini(&p->a);
	channel_fini(&p->b);
}

/* Both ends in one thread: neither may block. */
static void pass(struct pair *p, struct channel_msg *m)
{
	for (int i = 0; i < 1000000; i++) {
		int r = channel_flush(&p->a);

		assert_true(r == 0 || r == -EAGAIN);
		r = channel_recv(&p->b, m);
		if (r == 1)
			return;
		assert_int_equal(r, -EAGAIN);
	}
	fail();
}

static void test_small(void **state)
{
	struct channel_msg m;
	struct pair p;

	pair_init(&p);
	assert_int_equal(channel_recv(&p.b, &m), -EAGAIN);
	assert_int_equal(channel_send(&p.a, CH_OK, SPAN(""), NULL, 0), 0);
	assert_int_equal(channel_send(&p.a, CH_ERROR, SPAN("why"), NULL, 0), 0);
	pass(&p, &m);
	assert_int_equal(m.type, CH_OK);
	assert_int_equal(m.bytes.n, 0);
	channel_done(&p.b, &m);
	pass(&p, &m);
	assert_int_equal(m.type, CH_ERROR);
	assert_true(span_eq(m.bytes, SPAN("why")));
	channel_done(&p.b, &m);
	channel_fini(&p.a);
	assert_int_equal(channel_recv(&p.b, &m), -EPIPE);
	pair_fini(&p);
}

static void test_large(void **state)
{
	static char text[5 << 20];
	struct channel_msg m;
	struct pair p;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7 + i / 251);
	pair_init(&p);
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			channel_send(&p.a, CH_LOAD, span_make(text, sizeof(text)), NULL, 0), 0);
	for (int i = 0; i < 3; i++) {
		pass(&p, &m);
		assert_int_equal(m.bytes.n, sizeof(text));
		assert_memory_equal(m.bytes.p, text, sizeof(text));
		channel_done(&p.b, &m);
	}
	pair_fini(&p);
}

static int open_numbered(int i)
{
	char name[] = "/tmp/sluice-channel-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(write(fd, &i, sizeof(i)), sizeof(i));
	return fd;
}

static void test_descriptors(void **state)
{
	enum { N = 1500 };
	static int fds[N];
	struct rlimit rl;
	struct channel_msg m;
	struct pair p;

	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_cur < 3 * N + 64)
		skip();
	pair_init(&p);
	for (int i = 0; i < N; i++)
		fds[i] = open_numbered(i);
	assert_int_equal(channel_send(&p.a, CH_REOPEN, SPAN("first"), fds, N), 0);
	assert_int_equal(channel_send(&p.a, CH_REOPEN, SPAN("second"), fds, 1), 0);
	for (int i = 0; i < N; i++)
		close(fds[i]);
	pass(&p, &m);
	assert_int_equal(m.nfds, N);
	for (int i = 0; i < N; i++) {
		int got = -1;

		assert_int_equal(pread(m.fds[i], &got, sizeof(got), 0), sizeof(got));
		assert_int_equal(got, i);
		assert_int_equal(fcntl(m.fds[i], F_GETFD), FD_CLOEXEC);
	}
	channel_done(&p.b, &m);
	pass(&p, &m);
	assert_int_equal(m.nfds, 1);
	assert_true(span_eq(m.bytes, SPAN("second")));
	channel_done(&p.b, &m);
	pair_fini(&p);
}

static void test_notify(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char text[256];
	ssize_t n;
	int fd;

	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_send("READY=1"), -ENOENT);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	n = snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "sluice-notify-%d", getpid());
	assert_int_equal(bind(fd, (struct sockaddr *)&un,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)),
			 0);
	snprintf(text, sizeof(text), "@%s", un.sun_path + 1);
	setenv("NOTIFY_SOCKET", text, 1);
	notify_reloading();
	n = recv(fd, text, sizeof(text) - 1, 0);
	text[n] = 0;
	assert_memory_equal(text, "RELOADING=1\nMONOTONIC_USEC=", 27);
	assert_true(atoll(text + 27) > 0);
	notify_stopping();
	n = recv(fd, text, sizeof(text) - 1, 0);
	assert_int_equal(n, 10);
	assert_memory_equal(text, "STOPPING=1", 10);
	notify_ready();
	n = recv(fd, text, sizeof(text) - 1, 0);
	assert_in_range(n, 17, sizeof(text) - 1);
	assert_memory_equal(text, "READY=1\nMAINPID=", 16);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_notify),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
