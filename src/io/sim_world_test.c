/* Whole loops on the simulator: an echo server on one and on three threads, with clients that check
 * every byte, under all faults that lose nothing; and that a seed decides everything. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/pool.h"
#include "io/loop.h"
#include "io/sim.h"

#define CLIENTS	    20
#define BYTES	    60000
#define THREADS_TOP 3

static const struct sockaddr_in at = {
	.sin_family = AF_INET, .sin_port = 0x901f, .sin_addr.s_addr = 0x0100007f};

/* ---- the worker ---- */

static struct loop_thread {
	pthread_t id;
	unsigned index;
	struct io_loop *loop;
	struct iofd listener;
	struct io_msg stop;
	unsigned served, idle; /* connections; wake-ups without one */
} threads[THREADS_TOP];
static unsigned nthreads;
static int listen_fd;
static pthread_barrier_t together;

struct echo {
	struct iofd io;
	char p[4096];
};

static void echo_back(struct echo *e, size_t n)
{
	for (size_t done = 0; done < n;) {
		struct iovec iov = {e->p + done, n - done};
		ssize_t put;

		assert_true(iofd_wait(&e->io, IO_W, CO_NEVER) >= 0);
		put = iofd_writev(&e->io, &iov, 1);
		assert_true(put >= 0 || put == -EAGAIN);
		if (put > 0)
			done += (size_t)put;
	}
}

static void echo_main(void *arg)
{
	struct echo *e = arg;
	ssize_t n;

	do {
		assert_true(iofd_wait(&e->io, IO_R, CO_NEVER) >= 0);
		n = iofd_recv(&e->io, e->p, sizeof(e->p));
		assert_true(n >= 0 || n == -EAGAIN);
		if (n > 0)
			echo_back(e, (size_t)n);
	} while (n != 0);
	iofd_close(&e->io);
	mem_free(e);
}

static void on_accept(struct iofd *f)
{
	int fd = sys->accept(f->fd, NULL, NULL);
	struct echo *e;

	threads[io_loop_index()].idle += fd == -EAGAIN;
	if (fd < 0)
		return;
	threads[io_loop_index()].served++;
	do
		e = mem_zalloc(sizeof(*e));
	while (!e); /* by fault */
	iofd_init(&e->io, fd, NULL);
	while (co_start(echo_main, e) < 0)
		;
}

static void run_stop(struct io_msg *m)
{
	iofd_unregister(&threads[io_loop_index()].listener);
	io_loop_stop();
}

static void *thread_main(void *arg)
{
	struct loop_thread *t = arg;

	while (io_loop_init(t->index) < 0)
		; /* no descriptors, by fault */
	t->loop = io_loop;
	t->served = t->idle = 0;
	t->stop.run = run_stop;
	iofd_init(&t->listener, listen_fd, on_accept);
	assert_int_equal(iofd_register_listener(&t->listener), 0);
	sys->barrier_wait(&together);
	io_loop_run();
	sys->barrier_wait(&together);
	io_loop_fini();
	return NULL;
}

/* ---- the clients ---- */

static struct client {
	struct sim_timer start;
	struct sim_conn *c;
	size_t sent, got;
	unsigned char key;
} clients[CLIENTS];
static unsigned left;
static uint64_t apart_us = 1000; /* from one client to the next, about */

static unsigned char byte_of(const struct client *c, size_t i)
{
	return (unsigned char)(i * 7 + i / 251 + c->key);
}

static void client_write(struct sim_conn *conn)
{
	struct client *c = sim_conn_owner(conn);
	unsigned char p[5000];

	while (c->sent < BYTES) {
		size_t n = 1 + sim_draw(sizeof(p)), k;

		n = n < BYTES - c->sent ? n : BYTES - c->sent;
		for (size_t i = 0; i < n; i++)
			p[i] = byte_of(c, c->sent + i);
		k = sim_conn_write(conn, p, n);
		c->sent += k;
		if (k < n)
			return;
	}
	sim_conn_shutdown(conn);
}

static void client_end(struct client *c)
{
	assert_int_equal(c->got, BYTES);
	sim_conn_free(c->c);
	if (--left == 0)
		for (unsigned i = 0; i < nthreads; i++)
			io_post(threads[i].loop, &threads[i].stop);
}

static void client_read(struct sim_conn *conn)
{
	struct client *c = sim_conn_owner(conn);
	unsigned char p[3000];
	ssize_t n;

	while ((n = sim_conn_read(conn, p, sizeof(p))) > 0)
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(p[i], byte_of(c, c->got++));
	if (n < 0) {
		assert_int_equal(n, -1);
		client_end(c);
	}
}

static void client_lost(struct sim_conn *c)
{
	fail_msg("a connection was reset");
}

static void client_refused(struct sim_conn *c, int err)
{
	fail_msg("refused: %d", err);
}

static const struct sim_conn_ops client_ops = {
	.connected = client_write,
	.refused = client_refused,
	.readable = client_read,
	.writable = client_write,
	.reset = client_lost,
};

static void client_start(struct sim_timer *t)
{
	struct client *c = (struct client *)((char *)t - offsetof(struct client, start));

	c->c = sim_connect(NULL, (const void *)&at, sizeof(at), &client_ops, c);
}

/* ---- a world ---- */

static const struct sim_faults harmless = {
	.short_read = 500,
	.short_write = 500,
	.spurious_eagain = 500,
	.spurious_event = 500,
	.preempt = 500,
};

static uint64_t world(uint64_t seed, unsigned n, const struct sim_faults *f)
{
	struct sim_options o = {.seed = seed, .faults = *f, .trace = getenv("TRACE") != NULL};
	uint64_t print;

	if (sim_running()) /* the one before failed */
		sim_stop();
	sim_start(&o);
	nthreads = n;
	left = CLIENTS;
	listen_fd = sim_open_listener((const void *)&at, sizeof(at), 100, false);
	memset(clients, 0, sizeof(clients));
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i].start.run = client_start;
		clients[i].key = (unsigned char)sim_draw(256);
		sim_timer_start(&clients[i].start, 1000 + i * apart_us + sim_draw(apart_us));
	}
	sys->barrier_init(&together, n);
	for (unsigned i = 0; i < n; i++) {
		threads[i].index = i;
		if (i)
			sys->thread_start(&threads[i].id, thread_main, &threads[i]);
	}
	thread_main(&threads[0]);
	for (unsigned i = 1; i < n; i++)
		sys->thread_join(threads[i].id);
	sys->close(listen_fd);
	assert_int_equal(left, 0);
	print = sim_fingerprint();
	assert_int_equal(sim_stop(), 0);
	assert_int_equal(mem_out().objects, 0);
	return print;
}

static const struct sim_faults none;

static void test_one_thread(void **state)
{
	uint64_t prints[30];

	for (uint64_t seed = 0; seed < 30; seed++) {
		prints[seed] = world(seed, 1, seed % 2 ? &harmless : &none);
		for (uint64_t i = 0; i < seed; i++)
			assert_true(prints[i] != prints[seed]);
	}
	for (uint64_t seed = 0; seed < 30; seed++)
		assert_true(world(seed, 1, seed % 2 ? &harmless : &none) == prints[seed]);
}

static void test_three_threads(void **state)
{
	unsigned alone = 0;

	for (uint64_t seed = 0; seed < 30; seed++) {
		uint64_t print = world(seed, 3, seed % 2 ? &harmless : &none);

		for (unsigned i = 0; i < 3; i++)
			alone += threads[i].served == CLIENTS;
		assert_true(world(seed, 3, seed % 2 ? &harmless : &none) == print);
	}
	assert_true(alone < 10); /* the work is shared */
}

/* EPOLLEXCLUSIVE: when all sleep, a connection wakes one of them. */
static void test_one_is_woken(void **state)
{
	unsigned idle = 0, served = 0;

	apart_us = 1000000;
	world(1, 3, &none);
	apart_us = 1000;
	for (unsigned i = 0; i < 3; i++) {
		assert_true(threads[i].served > 0);
		served += threads[i].served;
		idle += threads[i].idle;
	}
	assert_int_equal(served, CLIENTS);
	assert_int_equal(idle, 0);
}

static void test_no_memory_no_descriptors(void **state)
{
	static const struct sim_faults f = {.alloc = 300, .emfile = 300};

	for (uint64_t seed = 0; seed < 10; seed++)
		world(seed, 1, &f);
}

/* Another process has other addresses: they must not matter. */
static void test_addresses_do_not_matter(void **state)
{
	char first[64] = "", text[64];
	FILE *p;

	for (int i = 0; i < 4; i++) {
		p = popen("exec /proc/$PPID/exe print", "r");
		assert_non_null(p);
		assert_non_null(fgets(text, sizeof(text), p));
		assert_int_equal(pclose(p), 0);
		if (i == 0)
			strcpy(first, text);
		assert_string_equal(text, first);
	}
}

static void test_fast(void **state)
{
	struct timespec a, b;
	double ms;

	clock_gettime(CLOCK_MONOTONIC, &a);
	world(1, 1, &none);
	clock_gettime(CLOCK_MONOTONIC, &b);
	ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
	print_message("20 clients, 1.2 MB there and back: %.1f ms\n", ms);
}

/* ---- broken worlds end with 66 ---- */

static int status_of(void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct sim_options o = {.seed = 1};

		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		sim_start(&o);
		fn();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void wait_for_ever(void)
{
	struct epoll_event ev;

	sys->epoll_wait(sys->epoll_create(), &ev, 1, -1);
}

static void spin_for_ever(void)
{
	struct epoll_event ev;
	int ep = sys->epoll_create();

	for (;;)
		sys->epoll_wait(ep, &ev, 1, 0);
}

static void close_twice(void)
{
	int fd = sys->eventfd();

	sys->close(fd);
	sys->close(fd);
}

static void unknown_option(void)
{
	int v = 1;

	sys->setsockopt(sys->socket(AF_INET, SOCK_STREAM, 0), SOL_SOCKET, SO_BROADCAST, &v,
			sizeof(v));
}

static void real_descriptor(void)
{
	sys->close(0);
}

static void all_is_well(void)
{
	sys->close(sys->eventfd());
}

static void test_broken(void **state)
{
	if (sim_running())
		sim_stop();
	assert_int_equal(status_of(all_is_well), 0);
	assert_int_equal(status_of(wait_for_ever), SIM_BROKEN);
	assert_int_equal(status_of(spin_for_ever), SIM_BROKEN);
	assert_int_equal(status_of(close_twice), SIM_BROKEN);
	assert_int_equal(status_of(unknown_option), SIM_BROKEN);
	assert_int_equal(status_of(real_descriptor), SIM_BROKEN);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_thread),
		cmocka_unit_test(test_three_threads),
		cmocka_unit_test(test_one_is_woken),
		cmocka_unit_test(test_no_memory_no_descriptors),
		cmocka_unit_test(test_addresses_do_not_matter),
		cmocka_unit_test(test_fast),
		cmocka_unit_test(test_broken),
	};

	if (argc > 1) {
		printf("%016llx\n",
		       (unsigned long long)(world(7, 1, &harmless) ^ world(8, 3, &harmless)));
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
