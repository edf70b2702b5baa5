#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/pool.h"
#include "io/loop.h"

static int setup(void **state)
{
	return io_loop_init(3);
}

static int teardown(void **state)
{
	io_loop_fini();
	assert_null(io_loop);
	return 0;
}

/* Turns until no coroutine is left; a test that hangs is ended by the runner. */
static void run_all(void)
{
	while (co_sched.live)
		io_loop_turn(UINT64_MAX);
}

static void pair(struct iofd *a, struct iofd *b)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	iofd_init(a, fds[0], NULL);
	iofd_init(b, fds[1], NULL);
}

static ssize_t put(struct iofd *f, const char *text)
{
	struct iovec v = {(void *)text, strlen(text)};

	return iofd_writev(f, &v, 1);
}

/* ---- echo ---- */

#define ECHO_TOTAL (4u << 20)

static void echo(void *arg)
{
	struct iofd *f = arg;
	char p[1024];

	for (;;) {
		ssize_t n = iofd_recv(f, p, sizeof(p)), sent = 0;

		if (n == -EAGAIN) {
			assert_true(iofd_wait(f, IO_R, CO_NEVER) > 0);
			continue;
		}
		if (n <= 0)
			break;
		while (sent < n) {
			struct iovec v = {p + sent, (size_t)(n - sent)};
			ssize_t k = iofd_writev(f, &v, 1);

			if (k == -EAGAIN)
				assert_true(iofd_wait(f, IO_W, CO_NEVER) > 0);
			else
				sent += k;
		}
	}
	iofd_close(f);
}

static void send_pattern(void *arg)
{
	struct iofd *f = arg;
	size_t sent = 0;
	char p[1500];

	while (sent < ECHO_TOTAL) {
		struct iovec v = {p, MIN_OF(sizeof(p), ECHO_TOTAL - sent)};
		ssize_t k;

		for (size_t i = 0; i < v.iov_len; i++)
			p[i] = (char)((sent + i) * 7 >> 3);
		k = iofd_writev(f, &v, 1);
		if (k == -EAGAIN)
			assert_true(iofd_wait(f, IO_W, CO_NEVER) > 0);
		else
			sent += (size_t)k;
	}
	assert_int_equal(sys->shutdown(f->fd, SHUT_WR), 0);
}

static void echo_client(void *arg)
{
	struct iofd *f = arg;
	struct co_child c;
	size_t got = 0;
	char p[777];
	ssize_t n;

	assert_int_equal(co_child_start(&c, send_pattern, f), 0);
	while ((n = iofd_recv(f, p, sizeof(p))) != 0) {
		if (n == -EAGAIN) {
			assert_true(iofd_wait(f, IO_R, CO_NEVER) > 0);
			continue;
		}
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, got++)
			assert_true(p[i] == (char)(got * 7 >> 3));
	}
	assert_int_equal(got, ECHO_TOTAL);
	assert_true(f->ready & IO_RDHUP);
	co_child_join(&c);
	iofd_close(f);
}

static void test_echo(void **state)
{
	struct iofd a, b;

	pair(&a, &b);
	assert_int_equal(co_start(echo, &b), 0);
	assert_int_equal(co_start(echo_client, &a), 0);
	run_all();
	assert_int_equal(a.fd, -1);
	assert_int_equal(b.fd, -1);
}

/* ---- ready bits ---- */

static void test_ready_bits(void **state)
{
	struct iofd a, b;
	char p[8];

	pair(&a, &b);
	assert_int_equal(b.ready, IO_R | IO_W);
	assert_int_equal(iofd_recv(&b, p, sizeof(p)), -EAGAIN);
	assert_int_equal(b.ready, IO_W);
	assert_int_equal(iofd_register(&b), 0);
	assert_int_equal(iofd_register(&b), 0); /* again: nothing */
	io_loop_turn(0);
	assert_int_equal(b.ready, IO_W);
	assert_int_equal(put(&a, "abcdef"), 6);
	io_loop_turn(UINT64_MAX);
	assert_int_equal(b.ready, IO_R | IO_W);
	assert_int_equal(iofd_recv(&b, p, 3), 3);
	assert_int_equal(b.ready, IO_R | IO_W); /* all that was asked for: there may be more */
	assert_int_equal(iofd_recv(&b, p, sizeof(p)), 3);
	assert_int_equal(b.ready, IO_W);
	/* Half close: a short read does not mean drained, and the end stays readable. */
	put(&a, "gh");
	sys->shutdown(a.fd, SHUT_WR);
	io_loop_turn(UINT64_MAX);
	assert_int_equal(b.ready, IO_R | IO_W | IO_RDHUP);
	assert_int_equal(iofd_recv(&b, p, sizeof(p)), 2);
	assert_int_equal(b.ready, IO_R | IO_W | IO_RDHUP);
	assert_int_equal(iofd_recv(&b, p, sizeof(p)), 0);
	assert_true(b.ready & IO_R);
	assert_int_equal(put(&b, "still"), 5);
	iofd_close(&a);
	io_loop_turn(UINT64_MAX);
	assert_true(b.ready & IO_HUP);
	assert_int_equal(put(&b, "x"), -EPIPE); /* and no signal */
	iofd_close(&b);
	iofd_close(&b);
}

static void test_write_full(void **state)
{
	static char big[1 << 20];
	struct iovec v[2] = {{big, sizeof(big)}, {big, sizeof(big)}};
	struct iofd a, b;

	pair(&a, &b);
	iofd_register(&a);
	io_loop_turn(0);
	while (iofd_writev(&a, v, 2) == 2 * (ssize_t)sizeof(big))
		;
	assert_false(a.ready & IO_W);
	while (iofd_recv(&b, big, sizeof(big)) > 0)
		;
	while (!(a.ready & IO_W))
		io_loop_turn(UINT64_MAX);
	iofd_close(&a);
	iofd_close(&b);
}

/* ---- deadlines and cancelling ---- */

static int wait_result;
static struct co *waiter;

struct wait_for {
	struct iofd *f;
	unsigned what;
	uint64_t deadline;
};

static void wait_once(void *arg)
{
	struct wait_for *w = arg;

	waiter = co_current();
	wait_result = 1000;
	wait_result = iofd_wait(w->f, w->what, w->deadline);
}

static void test_deadline(void **state)
{
	struct iofd a, b;
	struct wait_for w = {&a, IO_R, io_after(5)};
	uint64_t begin = io_now_ms();

	pair(&a, &b);
	a.ready = 0;
	co_start(wait_once, &w);
	run_all();
	assert_int_equal(wait_result, -ETIMEDOUT);
	assert_true(io_now_ms() >= begin + 5);
	assert_null(a.reader);
	assert_null(a.writer);
	assert_true(io_after(0) == CO_NEVER);
	assert_true(io_after(CO_NEVER) == CO_NEVER);
	iofd_close(&a);
	iofd_close(&b);
}

static void test_cancel_and_close(void **state)
{
	struct iofd a, b;
	struct wait_for w = {&a, IO_R | IO_W, CO_NEVER};

	pair(&a, &b);
	a.ready = 0;
	iofd_register(&a);
	io_loop_turn(0); /* says that it is writable */
	a.ready = 0;
	co_start(wait_once, &w);
	co_cancel(waiter);
	run_all();
	assert_int_equal(wait_result, -ECANCELED);
	co_start(wait_once, &w);
	assert_ptr_equal(a.reader, waiter);
	assert_ptr_equal(a.writer, waiter);
	iofd_close(&a);
	run_all();
	assert_int_equal(wait_result, -EBADF);
	co_start(wait_once, &w);
	assert_int_equal(wait_result, -EBADF);
	iofd_close(&b);
}

static void test_foreign_wake(void **state)
{
	struct iofd a, b;
	struct wait_for w = {&a, IO_R, CO_NEVER};

	pair(&a, &b);
	iofd_register(&a);
	co_start(wait_once, &w);
	co_wake(waiter, 0); /* nothing is ready: it goes on waiting */
	io_loop_turn(0);
	assert_int_equal(wait_result, 1000);
	co_wake(waiter, -EINTR);
	io_loop_turn(0);
	assert_int_equal(wait_result, -EINTR);
	iofd_close(&a);
	iofd_close(&b);
}

static void sleep_ms(void *arg)
{
	assert_int_equal(co_sleep_until(io_after(3)), -ETIMEDOUT);
	*(int *)arg = 1;
	io_loop_stop();
}

static void test_run_and_stop(void **state)
{
	int done = 0;

	co_start(sleep_ms, &done);
	io_loop_run();
	assert_int_equal(done, 1);
	assert_int_equal(io_loop_index(), 3);
}

static void wait_on_regular_file(void *arg)
{
	struct iofd *f = arg;

	f->ready = 0;
	wait_result = iofd_wait(f, IO_R, CO_NEVER);
}

static void test_register_fails(void **state)
{
	struct iofd f;

	iofd_init(&f, sys->openat(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0), NULL);
	assert_true(f.fd >= 0);
	co_start(wait_on_regular_file, &f);
	assert_int_equal(wait_result, -EPERM);
	iofd_close(&f);
}

/* ---- parked ---- */

static struct iofd *parked_last;
static int parked_calls;

static void on_parked(struct iofd *f)
{
	assert_null(co_current());
	parked_calls++;
	parked_last = f;
}

static void test_parked(void **state)
{
	struct iofd a, b;
	struct wait_for w = {&b, IO_R, CO_NEVER};
	char p[8];

	pair(&a, &b);
	b.parked = on_parked;
	parked_calls = 0;
	iofd_register(&b);
	io_loop_turn(0);
	assert_int_equal(parked_calls, 0); /* writable is not worth a call */
	put(&a, "x");
	io_loop_turn(UINT64_MAX);
	assert_int_equal(parked_calls, 1);
	assert_ptr_equal(parked_last, &b);
	iofd_recv(&b, p, sizeof(p));
	/* A coroutine that waits comes before the callback. */
	co_start(wait_once, &w);
	put(&a, "y");
	run_all();
	assert_int_equal(parked_calls, 1);
	assert_true(wait_result & IO_R);
	iofd_recv(&b, p, sizeof(p));
	iofd_close(&a);
	io_loop_turn(UINT64_MAX);
	assert_int_equal(parked_calls, 2);
	iofd_close(&b);
}

static struct iofd *batch[4];
static int batch_calls;

static void close_all(struct iofd *f)
{
	batch_calls++;
	for (int i = 0; i < 4; i++) {
		iofd_close(batch[i]);
		/* The struct is gone as well: what comes later must not touch it. */
		memset(batch[i], 0x5a, sizeof(*batch[i]));
		batch[i]->fd = -1;
	}
}

static void test_close_in_batch(void **state)
{
	struct iofd a[4], *b[4];

	batch_calls = 0;
	for (int i = 0; i < 4; i++) {
		b[i] = batch[i] = mem_alloc(sizeof(*b[i]));
		pair(&a[i], b[i]);
		b[i]->parked = close_all;
		iofd_register(b[i]);
	}
	io_loop_turn(0);
	for (int i = 0; i < 4; i++)
		put(&a[i], "x");
	io_loop_turn(UINT64_MAX);
	assert_int_equal(batch_calls, 1);
	for (int i = 0; i < 4; i++) {
		iofd_close(&a[i]);
		mem_free(b[i]);
	}
}

static struct iofd *both;

static void wait_read_then_close(void *arg)
{
	assert_true(iofd_wait(both, IO_R, CO_NEVER) & IO_HUP);
	iofd_close(both);
}

static void wait_write(void *arg)
{
	wait_result = iofd_wait(both, IO_W, CO_NEVER);
}

/* Reader and writer wait; the reader, woken first by the same event, closes. */
static void test_reader_closes_under_writer(void **state)
{
	struct iofd a, b;
	static char big[1 << 20];
	struct iovec v = {big, sizeof(big)};

	pair(&a, &b);
	both = &b;
	while (iofd_writev(&b, &v, 1) > 0)
		;
	b.ready = 0;
	iofd_register(&b);
	co_start(wait_read_then_close, NULL);
	co_start(wait_write, NULL);
	iofd_close(&a);
	run_all();
	assert_int_equal(wait_result, -EBADF);
}

static void test_unregister(void **state)
{
	struct iofd a, b;
	char p[4];

	pair(&a, &b);
	b.parked = on_parked;
	parked_calls = 0;
	iofd_register(&b);
	put(&a, "x");
	iofd_unregister(&b);
	iofd_unregister(&b);
	io_loop_turn(0);
	assert_int_equal(parked_calls, 0);
	assert_int_equal(iofd_register(&b), 0); /* what was there before is reported */
	io_loop_turn(0);
	assert_int_equal(parked_calls, 1);
	assert_int_equal(iofd_recv(&b, p, sizeof(p)), 1);
	iofd_close(&a);
	iofd_close(&b);
}

/* ---- TCP ---- */

static struct iofd listener;
static struct sockaddr_in listen_at;
static int accepted;

static void on_accept(struct iofd *f)
{
	for (;;) {
		int fd = sys->accept(f->fd, NULL, NULL);

		if (fd == -EAGAIN)
			break;
		assert_true(fd >= 0);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		sys->close(fd);
		accepted++;
	}
}

static void listen_loopback(void)
{
	socklen_t len = sizeof(listen_at);

	listen_at = (struct sockaddr_in){.sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	iofd_init(&listener, sys->socket(AF_INET, SOCK_STREAM, 0), on_accept);
	assert_int_equal(sys->bind(listener.fd, (void *)&listen_at, len), 0);
	assert_int_equal(sys->listen(listener.fd, 16), 0);
	assert_int_equal(sys->getsockname(listener.fd, (void *)&listen_at, &len), 0);
}

static void connect_once(void *arg)
{
	struct iofd f;
	char c;

	iofd_init(&f, sys->socket(AF_INET, SOCK_STREAM, 0), NULL);
	wait_result = iofd_connect(&f, (void *)&listen_at, sizeof(listen_at), io_after(5000));
	if (wait_result == 0) {
		assert_int_equal(f.ready & IO_W, IO_W);
		assert_true(iofd_wait(&f, IO_R, CO_NEVER) > 0);
		assert_int_equal(iofd_recv(&f, &c, 1), 0);
	}
	iofd_close(&f);
}

static void test_accept_and_connect(void **state)
{
	accepted = 0;
	listen_loopback();
	assert_int_equal(iofd_register_listener(&listener), 0);
	co_start(connect_once, NULL);
	co_start(connect_once, NULL);
	run_all();
	assert_int_equal(wait_result, 0);
	assert_int_equal(accepted, 2);
	iofd_close(&listener);
	/* Nobody listens there now. */
	co_start(connect_once, NULL);
	run_all();
	assert_int_equal(wait_result, -ECONNREFUSED);
}

static void connect_to_nowhere(void *arg)
{
	struct iofd f;

	iofd_init(&f, sys->socket(AF_INET, SOCK_STREAM, 0), NULL);
	/* A full accept queue leaves SYNs unanswered. */
	wait_result = iofd_connect(&f, (void *)&listen_at, sizeof(listen_at), io_after(20));
	iofd_close(&f);
}

static void test_connect_times_out(void **state)
{
	int fds[8], n = 0;

	listen_loopback();
	assert_int_equal(sys->listen(listener.fd, 0), 0);
	for (; n < 8; n++) {
		fds[n] = sys->socket(AF_INET, SOCK_STREAM, 0);
		sys->connect(fds[n], (void *)&listen_at, sizeof(listen_at));
	}
	co_start(connect_to_nowhere, NULL);
	run_all();
	assert_int_equal(wait_result, -ETIMEDOUT);
	while (n-- > 0)
		sys->close(fds[n]);
	iofd_close(&listener);
}

static void expect_reset(void *arg)
{
	struct iofd *f = arg;
	char c;
	int r = iofd_wait(f, IO_R, CO_NEVER);

	assert_true(r & IO_HUP);
	wait_result = (int)iofd_recv(f, &c, 1);
	iofd_close(f);
}

static void test_reset(void **state)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};
	struct iofd client;
	int fd;

	listen_loopback();
	fd = sys->socket(AF_INET, SOCK_STREAM, 0);
	sys->connect(fd, (void *)&listen_at, sizeof(listen_at));
	iofd_init(&client, sys->accept(listener.fd, NULL, NULL), NULL);
	assert_true(client.fd >= 0);
	client.ready = 0;
	co_start(expect_reset, &client);
	assert_int_equal(sys->setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	sys->close(fd);
	run_all();
	assert_int_equal(wait_result, -ECONNRESET);
	iofd_close(&listener);
}

/* ---- sendfile and splice ---- */

static void test_sendfile_and_splice(void **state)
{
	char name[] = "/tmp/sluice-loop-test-XXXXXX", p[64];
	struct iofd a, b;
	int file = mkstemp(name), pipe[2];
	off_t off = 2;

	assert_true(file >= 0);
	sys->unlink(name);
	assert_int_equal(sys->write(file, "0123456789", 10), 10);
	pair(&a, &b);
	assert_int_equal(iofd_sendfile(&a, file, &off, 100), 8);
	assert_int_equal(off, 10);
	assert_true(a.ready & IO_W); /* short because of the file */
	assert_int_equal(iofd_sendfile(&a, file, &off, 100), 0);
	assert_int_equal(sys->pipe(pipe), 0);
	assert_int_equal(iofd_splice_in(&b, pipe[1], 100), 8);
	assert_int_equal(iofd_splice_in(&b, pipe[1], 100), -EAGAIN);
	assert_false(b.ready & IO_R);
	assert_int_equal(iofd_splice_out(&b, pipe[0], 100), 8);
	assert_int_equal(iofd_splice_out(&b, pipe[0], 100), -EAGAIN);
	assert_int_equal(iofd_recv(&a, p, sizeof(p)), 8);
	assert_memory_equal(p, "23456789", 8);
	sys->shutdown(a.fd, SHUT_WR);
	assert_int_equal(iofd_splice_in(&b, pipe[1], 100), 0);
	assert_true(b.ready & IO_RDHUP);
	sys->close(pipe[0]);
	sys->close(pipe[1]);
	sys->close(file);
	iofd_close(&a);
	iofd_close(&b);
}

/* ---- fairness ---- */

static bool hog_done;
static int hog_turns;

static void hog(void *arg)
{
	struct iofd *f = arg;
	uint64_t turn = co_sched.turn;
	char p[16];

	for (int i = 0; i < 10 * IO_BUDGET_CALLS; i++) {
		f->ready |= IO_R; /* as if there were always something */
		assert_true(iofd_wait(f, IO_R, CO_NEVER) > 0);
		iofd_recv(f, p, sizeof(p));
		if (turn != co_sched.turn)
			hog_turns++;
		turn = co_sched.turn;
	}
	assert_false(f->stalled_fair);
	hog_done = true;
}

static void big_mover(void *arg)
{
	assert_int_equal(io_fair(), 0);
	io_budget_spend(IO_BUDGET_BYTES);
	assert_false(io_budget_spent());
	io_budget_spend(1);
	assert_true(io_budget_spent());
	assert_int_equal(io_fair(), 0);
	assert_false(io_budget_spent());
	io_budget_spend(IO_BUDGET_BYTES + 1);
	co_cancel(co_current());
	assert_int_equal(io_fair(), -ECANCELED);
}

static void test_fairness(void **state)
{
	struct iofd a, b;

	pair(&a, &b);
	hog_done = false;
	hog_turns = 0;
	co_start(hog, &a);
	assert_false(hog_done);
	run_all();
	assert_in_range(hog_turns, 8, 10);
	co_start(big_mover, NULL);
	run_all();
	iofd_close(&a);
	iofd_close(&b);
}

/* ---- end of turn ---- */

static int ends;
static void count_end(struct io_turn_end *h)
{
	ends++;
	if (ends == 2)
		io_turn_end_arm(h); /* for the next turn */
}

static void test_turn_end(void **state)
{
	struct io_turn_end h;

	ends = 0;
	io_turn_end_init(&h, count_end);
	io_loop_turn(0);
	assert_int_equal(ends, 0);
	io_turn_end_arm(&h);
	io_turn_end_arm(&h);
	io_loop_turn(0);
	assert_int_equal(ends, 1);
	io_loop_turn(0);
	assert_int_equal(ends, 1);
	io_turn_end_arm(&h);
	io_loop_turn(0);
	assert_int_equal(ends, 2);
	io_loop_turn(0);
	assert_int_equal(ends, 3);
	io_loop_turn(0);
	assert_int_equal(ends, 3);
}

/* ---- threads ---- */

#define MESSAGES 100000
#define SENDERS	 2

struct number {
	struct io_msg msg;
	int sender, n;
};

static struct io_loop *receiver;
static int next_number[SENDERS], received;
static struct number *numbers[SENDERS];

static void on_number(struct io_msg *m)
{
	struct number *x = CONTAINER_OF(m, struct number, msg);

	assert_int_equal(x->n, next_number[x->sender]);
	next_number[x->sender]++;
	if (++received == SENDERS * MESSAGES)
		io_loop_stop();
}

static void *send_numbers(void *arg)
{
	struct number *all = arg;

	for (int i = 0; i < MESSAGES; i++) {
		io_post(receiver, &all[i].msg);
		if (i % 1000 == 0)
			sched_yield(); /* lets the receiver fall asleep now and then */
	}
	return NULL;
}

static void test_post_between_threads(void **state)
{
	pthread_t t[SENDERS];

	receiver = io_loop;
	received = 0;
	for (int s = 0; s < SENDERS; s++) {
		next_number[s] = 0;
		numbers[s] = mem_alloc(sizeof(struct number) * MESSAGES);
		for (int i = 0; i < MESSAGES; i++)
			numbers[s][i] = (struct number){{.run = on_number}, s, i};
	}
	for (int s = 0; s < SENDERS; s++)
		assert_int_equal(pthread_create(&t[s], NULL, send_numbers, numbers[s]), 0);
	io_loop_run();
	for (int s = 0; s < SENDERS; s++) {
		pthread_join(t[s], NULL);
		mem_free(numbers[s]);
	}
	assert_int_equal(received, SENDERS * MESSAGES);
}

/* A message goes to and fro between two sleeping loops. */
#define PING_PONGS 20000
static struct io_loop *loops[2];
static pthread_barrier_t barrier;
static int hops;

static void on_hop(struct io_msg *m)
{
	hops++;
	if (hops < PING_PONGS) {
		io_post(loops[!io_loop_index()], m);
		return;
	}
	if (hops == PING_PONGS) /* one more, to stop the other */
		io_post(loops[!io_loop_index()], m);
	io_loop_stop();
}

static void *ping_thread(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	static struct io_msg m = {.run = on_hop};

	io_loop_init(me);
	loops[me] = io_loop;
	pthread_barrier_wait(&barrier);
	if (me == 0)
		io_post(io_loop, &m); /* to itself */
	io_loop_run();
	pthread_barrier_wait(&barrier);
	io_loop_fini();
	return NULL;
}

static void test_ping_pong(void **state)
{
	pthread_t t[2];

	hops = 0;
	pthread_barrier_init(&barrier, NULL, 2);
	for (uintptr_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, ping_thread, (void *)i), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(hops, PING_PONGS + 1);
}

static void test_init_without_memory(void **state)
{
	io_loop_fini();
	mem_fail_after(0);
	assert_int_equal(io_loop_init(0), -ENOMEM);
	mem_fail_after(-1);
	assert_int_equal(io_loop_init(0), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_echo),
		T(test_ready_bits),
		T(test_write_full),
		T(test_deadline),
		T(test_cancel_and_close),
		T(test_foreign_wake),
		T(test_run_and_stop),
		T(test_register_fails),
		T(test_parked),
		T(test_close_in_batch),
		T(test_reader_closes_under_writer),
		T(test_unregister),
		T(test_accept_and_connect),
		T(test_connect_times_out),
		T(test_reset),
		T(test_sendfile_and_splice),
		T(test_fairness),
		T(test_turn_end),
		T(test_post_between_threads),
		T(test_ping_pong),
		T(test_init_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
