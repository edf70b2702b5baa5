#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/pool.h"
#include "net/stream.h"

#define BIG 1000003

static char big[BIG];
static struct sys_ops ops;
static unsigned recvs, writes, waits;

static ssize_t count_recv(int fd, void *p, size_t n, int flags)
{
	recvs++;
	return sys_linux.recv(fd, p, n, flags);
}

static ssize_t count_send(int fd, const void *p, size_t n, int flags)
{
	writes++;
	return sys_linux.send(fd, p, n, flags);
}

static ssize_t count_writev(int fd, const struct iovec *iov, int n)
{
	writes++;
	return sys_linux.writev(fd, iov, n);
}

static int count_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	waits++;
	return sys_linux.epoll_ctl(ep, op, fd, ev);
}

struct pair {
	struct stream a, b;
	int running, rc;
	size_t done;
	ssize_t n;
	char got[64];
	int fd;
};

static int setup(void **state)
{
	for (size_t i = 0; i < BIG; i++)
		big[i] = (char)(i * 7 + i / 251);
	return io_loop_init(0);
}

static int teardown(void **state)
{
	stream_thread_fini();
	io_loop_fini();
	return 0;
}

static void open_pair(struct pair *p, bool tcp)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd[2], l;

	*p = (struct pair){.running = 0};
	if (!tcp) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	} else {
		l = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(bind(l, (struct sockaddr *)&sa, len) | listen(l, 1), 0);
		getsockname(l, (struct sockaddr *)&sa, &len);
		fd[0] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(fd[0], (struct sockaddr *)&sa, len), 0);
		fd[1] = accept4(l, NULL, NULL, SOCK_NONBLOCK);
		assert_true(fd[1] >= 0);
		fcntl(fd[0], F_SETFL, O_NONBLOCK);
		close(l);
	}
	stream_init(&p->a, fd[0], NULL);
	stream_init(&p->b, fd[1], NULL);
	assert_int_equal(iofd_register(&p->a.io) | iofd_register(&p->b.io), 0);
}

static void close_pair(struct pair *p)
{
	stream_close(&p->a);
	stream_close(&p->b);
	stream_close(&p->a);
}

static void go(struct pair *p, co_fn *a, co_fn *b)
{
	p->running += !!a + !!b;
	if (a)
		assert_int_equal(co_start(a, p), 0);
	if (b)
		assert_int_equal(co_start(b, p), 0);
	while (p->running)
		io_loop_turn(10000);
}

static void write_big(void *arg)
{
	struct pair *p = arg;
	struct iovec iov[200];
	size_t at = 0;

	/* More pieces than one call takes, empty ones among them. */
	for (int i = 0; i < 200; i++) {
		size_t n = i == 199 ? BIG - at : i % 3 ? (size_t)i * 25 : 0;

		iov[i] = (struct iovec){big + at, n};
		at += n;
	}
	p->rc = stream_writev(&p->a, iov, 200, 10000, &p->done);
	stream_shutdown(&p->a);
	p->running--;
}

static void read_big(void *arg)
{
	struct pair *p = arg;
	static char buf[7001];
	size_t at = 0;

	while ((p->n = stream_read(&p->b, buf, sizeof(buf), CO_NEVER)) > 0) {
		assert_true(at + (size_t)p->n <= BIG);
		assert_memory_equal(buf, big + at, (size_t)p->n);
		at += (size_t)p->n;
	}
	p->done = at;
	p->running--;
}

static void moves_much(void **state)
{
	struct pair p;

	for (int tcp = 0; tcp < 2; tcp++) {
		open_pair(&p, tcp);
		go(&p, write_big, read_big);
		assert_int_equal(p.rc, 0);
		assert_int_equal(p.n, 0);
		assert_int_equal(p.done, BIG);
		assert_int_equal(p.a.sent, BIG);
		assert_int_equal(p.b.received, BIG);
		close_pair(&p);
	}
}

static void ping(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 100; i++) {
		struct iovec iov[] = {{(char *)"head", 4}, {(char *)"body", 4}};

		assert_int_equal(stream_writev(&p->a, iov, 2, 1000, NULL), 0);
		assert_int_equal(stream_read(&p->a, p->got, sizeof(p->got), CO_NEVER), 5);
	}
	p->running--;
}

static void pong(void *arg)
{
	struct pair *p = arg;
	char buf[64];

	for (int i = 0; i < 100; i++) {
		assert_int_equal(stream_read(&p->b, buf, sizeof(buf), CO_NEVER), 8);
		assert_int_equal(stream_write(&p->b, "hello", 5, 1000), 0);
	}
	p->running--;
}

/* One read and one write on each side, nothing else. */
static void few_system_calls(void **state)
{
	struct pair p;

	ops = sys_linux;
	ops.recv = count_recv;
	ops.writev = count_writev;
	ops.send = count_send;
	ops.epoll_ctl = count_ctl;
	open_pair(&p, true);
	sys = &ops;
	recvs = writes = waits = 0;
	go(&p, ping, pong);
	sys = &sys_linux;
	assert_int_equal(recvs, 200);
	assert_int_equal(writes, 200);
	assert_int_equal(waits, 0);
	close_pair(&p);
}

static void read_late(void *arg)
{
	struct pair *p = arg;

	p->n = stream_read(&p->a, p->got, 1, co_sched.now_ms + 1);
	p->running--;
}

static void write_stuck(void *arg)
{
	struct pair *p = arg;

	p->rc = stream_write(&p->a, big, BIG, 2);
	p->running--;
}

static void deadlines(void **state)
{
	struct pair p;

	open_pair(&p, false);
	go(&p, read_late, NULL);
	assert_int_equal(p.n, -ETIMEDOUT);
	go(&p, write_stuck, NULL);
	assert_int_equal(p.rc, -ETIMEDOUT);
	assert_int_equal(stream_try_writev(&p.a, &(struct iovec){big, 1}, 1), -EAGAIN);
	close_pair(&p);
}

static void lost_peer(void **state)
{
	struct pair p;

	open_pair(&p, true);
	stream_reset(&p.b);
	io_loop_turn(1000);
	assert_true(stream_peer_closed(&p.a));
	assert_true(stream_readable(&p.a));
	assert_int_equal(stream_recv(&p.a, p.got, 1), -ECONNRESET);
	assert_int_equal(stream_try_writev(&p.a, &(struct iovec){big, 1}, 1), -EPIPE);
	close_pair(&p);
	open_pair(&p, true);
	assert_false(stream_peer_closed(&p.a));
	stream_shutdown(&p.b);
	io_loop_turn(1000);
	assert_true(stream_peer_closed(&p.a));
	assert_int_equal(stream_recv(&p.a, p.got, 1), 0);
	assert_int_equal(stream_recv(&p.a, p.got, 1), 0);
	assert_int_equal(stream_set_nodelay(&p.a, true), 0);
	close_pair(&p);
}

static void send_file(void *arg)
{
	struct pair *p = arg;
	off_t off = 3;

	p->rc = stream_sendfile(&p->a, p->fd, &off, BIG - 3, 65536, 1000);
	assert_int_equal(off, BIG);
	stream_shutdown(&p->a);
	p->running--;
}

static void read_file(void *arg)
{
	struct pair *p = arg;

	memmove(big, big + 3, BIG - 3);
	read_big(p);
}

static void send_short_file(void *arg)
{
	struct pair *p = arg;
	off_t off = BIG - 10;

	p->rc = stream_sendfile(&p->a, p->fd, &off, 20, 0, 1000);
	p->running--;
}

static void files(void **state)
{
	char name[] = "/tmp/stream_test.XXXXXX";
	struct pair p;
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(write(fd, big, BIG), BIG);
	open_pair(&p, true);
	p.fd = fd;
	go(&p, send_file, read_file);
	assert_int_equal(p.rc, 0);
	assert_int_equal(p.done, BIG - 3);
	close_pair(&p);
	open_pair(&p, true);
	p.fd = fd;
	go(&p, send_short_file, NULL);
	assert_int_equal(p.rc, -EIO);
	close_pair(&p);
	close(fd);
}

static void splice_main(void *arg)
{
	struct pair *p = arg;
	int pipe[2], again[2];
	char buf[64];

	assert_int_equal(splice_pipe_take(pipe), 0);
	assert_int_equal(stream_write(&p->a, "through a pipe", 14, 1000), 0);
	assert_true(stream_can_splice(&p->b));
	assert_int_equal(stream_splice_in(&p->b, pipe[1], 65536, CO_NEVER), 14);
	assert_int_equal(stream_splice_out(&p->b, pipe[0], 14, 1000), 0);
	assert_int_equal(stream_read(&p->a, buf, sizeof(buf), CO_NEVER), 14);
	assert_memory_equal(buf, "through a pipe", 14);
	memcpy(again, pipe, sizeof(pipe));
	splice_pipe_give(pipe, true);
	assert_int_equal(splice_pipe_take(pipe), 0);
	assert_int_equal(pipe[0], again[0]);
	splice_pipe_give(pipe, false);
	assert_int_equal(pipe[0], -1);
	stream_shutdown(&p->a);
	assert_int_equal(splice_pipe_take(pipe), 0);
	assert_int_equal(stream_splice_in(&p->b, pipe[1], 65536, CO_NEVER), 0);
	splice_pipe_give(pipe, true);
	p->running--;
}

static void splices(void **state)
{
	struct pair p;

	open_pair(&p, true);
	go(&p, splice_main, NULL);
	close_pair(&p);
}

static void inbuf_main(void *arg)
{
	struct pair *p = arg;
	struct inbuf b = {.p = NULL};
	const char *from;

	assert_true(inbuf_reserve(&b, 10, &from));
	assert_int_equal(b.cap, 1024);
	assert_int_equal(stream_write(&p->a, "0123456789", 10, 1000), 0);
	assert_int_equal(inbuf_read(&b, &p->b, CO_NEVER), 10);
	inbuf_take(&b, 4);
	assert_true(span_eq(inbuf_span(&b), SPAN("456789")));
	assert_true(inbuf_reserve(&b, 1000, &from)); /* moves to the front */
	assert_ptr_equal(from, b.p + 4);
	assert_int_equal(b.start, 0);
	assert_true(inbuf_reserve(&b, 5000, &from)); /* grows */
	assert_int_equal(b.cap, 16384);
	assert_true(span_eq(inbuf_span(&b), SPAN("456789")));
	assert_true(inbuf_reserve(&b, 70000, NULL));
	assert_int_equal(b.cap, 131072);
	assert_true(span_eq(inbuf_span(&b), SPAN("456789")));
	assert_false(inbuf_reserve(&b, INBUF_MAX + 1, NULL));
	mem_fail_after(1);
	assert_false(inbuf_reserve(&b, 200000, NULL));
	mem_fail_after(-1);
	assert_true(span_eq(inbuf_span(&b), SPAN("456789")));
	assert_int_equal(inbuf_recv(&b, &p->b), -EAGAIN);
	inbuf_take(&b, 6);
	assert_int_equal(b.start | b.end, 0);
	inbuf_free(&b);
	inbuf_free(&b);
	p->running--;
}

static void input_buffers(void **state)
{
	struct pair p;

	open_pair(&p, false);
	go(&p, inbuf_main, NULL);
	close_pair(&p);
}

static void small(void **state)
{
	assert_true(sizeof(struct stream) <= 80);
}

/* What tells a request that a closed server never got from one that it read. */
static void tells_what_was_acknowledged(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM, 0), c, s;
	struct stream st;
	struct iovec iov = {(void *)"hello", 5};
	char got[8];

	assert_int_equal(bind(l, (void *)&sa, len), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (void *)&sa, &len), 0);
	for (int closed_first = 0; closed_first < 2; closed_first++) {
		c = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(c, (void *)&sa, len), 0);
		s = accept(l, NULL, NULL);
		stream_init(&st, c, NULL);
		assert_int_equal(stream_try_writev(&st, &iov, 1), 5);
		assert_int_equal(read(s, got, 5), 5);
		assert_int_equal(write(s, "there", 5), 5); /* acknowledges */
		assert_int_equal(read(c, got, 5), 5);
		assert_true(stream_unacked_since(&st, 5));
		if (closed_first)
			close(s);
		assert_int_equal(stream_try_writev(&st, &iov, 1), 5);
		if (!closed_first) {
			assert_int_equal(read(s, got, 5), 5);
			close(s);
		}
		assert_int_equal(read(c, got, 1), 0); /* on loopback all is there at once */
		assert_int_equal(stream_unacked_since(&st, 5), closed_first);
		assert_false(stream_unacked_since(&st, 0));
		close(c);
	}
	close(l);
}

static void write_until_full(struct stream *st)
{
	static char zeroes[65536];
	struct iovec iov = {zeroes, sizeof(zeroes)};

	while (stream_try_writev(st, &iov, 1) > 0)
		;
}

/* A peer that is gone is told from one that merely reads nothing. */
static void tells_who_vanished(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
	struct sock_fprog drop = {1, &nothing};
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM, 0), c[2], s[2];
	struct stream gone, lazy;

	assert_int_equal(bind(l, (void *)&sa, len), 0);
	assert_int_equal(listen(l, 2), 0);
	assert_int_equal(getsockname(l, (void *)&sa, &len), 0);
	for (int i = 0; i < 2; i++) {
		c[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(c[i], (void *)&sa, len), 0);
		assert_int_equal(fcntl(c[i], F_SETFL, O_NONBLOCK), 0);
		s[i] = accept(l, NULL, NULL);
	}
	stream_init(&gone, c[0], NULL);
	stream_init(&lazy, c[1], NULL);
	assert_false(stream_peer_vanished(&gone));
	assert_int_equal(setsockopt(s[0], SOL_SOCKET, SO_ATTACH_FILTER, &drop, sizeof(drop)), 0);
	write_until_full(&lazy);
	write_until_full(&gone);
	for (int i = 0; i < 1000 && !stream_peer_vanished(&gone); i++)
		usleep(10000);
	assert_true(stream_peer_vanished(&gone));
	assert_false(stream_peer_vanished(&lazy));
	for (int i = 0; i < 2; i++) {
		close(c[i]);
		close(s[i]);
	}
	close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_much),
		cmocka_unit_test(few_system_calls),
		cmocka_unit_test(tells_what_was_acknowledged),
		cmocka_unit_test(tells_who_vanished),
		cmocka_unit_test(deadlines),
		cmocka_unit_test(lost_peer),
		cmocka_unit_test(splices),
		cmocka_unit_test(input_buffers),
		cmocka_unit_test(small),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests_name("stream", tests, setup, teardown);
}
