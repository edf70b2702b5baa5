#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "base/pool.h"
#include "net/listener.h"

#define CONNS 1000

static struct sys_ops ops;
static uint64_t fake_us;
static int accept_error;
static unsigned accept_calls;

static uint64_t fake_mono(void)
{
	return fake_us;
}

static int fake_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	accept_calls++;
	return accept_error ? accept_error : sys_linux.accept(fd, sa, len);
}

static struct listener *make_listener(struct sockaddr_in *sa)
{
	struct listen_spec spec = {.type = SOCK_STREAM, .name = SPAN("127.0.0.1:0")};
	socklen_t len = sizeof(*sa);
	int fd = sys->socket(AF_INET, SOCK_STREAM, 0);

	*sa = (struct sockaddr_in){.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_true(fd >= 0);
	assert_int_equal(sys->bind(fd, (struct sockaddr *)sa, len), 0);
	assert_int_equal(sys->listen(fd, 1024), 0);
	assert_int_equal(sys->getsockname(fd, (struct sockaddr *)sa, &len), 0);
	return listener_new(&spec, &fd, 1);
}

/* A blocking client. */
static int dial(const struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)sa, sizeof(*sa)), 0);
	return fd;
}

/* ---- two threads ---- */

static int server_fds[CONNS];
static atomic_uint nserver, wrong_thread, nready;
static _Thread_local unsigned my_index;

static void take(struct listener *l, int fd, const struct net_addr *peer)
{
	if (io_loop_index() != my_index || peer->sa.sa_family != AF_INET)
		atomic_fetch_add(&wrong_thread, 1);
	net_conn_opened();
	server_fds[atomic_fetch_add(&nserver, 1)] = fd;
}

struct worker {
	struct io_msg stop;
	pthread_t thread;
	struct listener *l;
	struct io_loop *loop;
	unsigned index;
};

static void worker_stop(struct io_msg *m)
{
	listener_leave(CONTAINER_OF(m, struct worker, stop)->l);
	net_thread_leave();
	io_loop_stop();
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	my_index = w->index;
	if (io_loop_init(w->index) < 0)
		abort();
	net_thread_join();
	if (listener_join(w->l) < 0 || listener_join(w->l) < 0)
		abort();
	w->loop = io_loop;
	w->stop.run = worker_stop;
	atomic_fetch_add(&nready, 1);
	io_loop_run();
	io_loop_turn(0); /* what was still posted */
	while (net_conn_count(my_index))
		net_conn_closed();
	io_loop_fini();
	return NULL;
}

static void thousand_spread_evenly(void **state)
{
	static struct worker w[2];
	static int clients[CONNS];
	struct sockaddr_in sa;
	struct listener *l = make_listener(&sa);
	unsigned a, b;

	assert_non_null(l);
	l->accepted = take;
	for (unsigned i = 0; i < 2; i++) {
		w[i].l = l;
		w[i].index = i;
		assert_int_equal(pthread_create(&w[i].thread, NULL, worker_run, &w[i]), 0);
	}
	while (atomic_load(&nready) < 2)
		sched_yield();
	for (int i = 0; i < CONNS; i++)
		clients[i] = dial(&sa);
	while (atomic_load(&nserver) < CONNS)
		sched_yield();
	a = net_conn_count(0);
	b = net_conn_count(1);
	assert_int_equal(a + b, CONNS);
	assert_int_equal(atomic_load(&wrong_thread), 0);
	assert_true(MAX_OF(a, b) - MIN_OF(a, b) <= 5 + MIN_OF(a, b) / 8);
	for (unsigned i = 0; i < 2; i++)
		io_post(w[i].loop, &w[i].stop);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(w[i].thread, NULL);
	assert_ptr_equal(listener_find(SPAN("127.0.0.1:0"), SOCK_STREAM), l);
	listener_free(l);
	assert_null(listener_find(SPAN("127.0.0.1:0"), SOCK_STREAM));
	for (int i = 0; i < CONNS; i++) {
		close(clients[i]);
		close(server_fds[i]);
	}
	assert_int_equal(net_conn_total(), 0);
}

/* ---- one thread, a clock of our own ---- */

static int got[64];
static unsigned ngot;
static bool leave_in_callback;

static void keep(struct listener *l, int fd, const struct net_addr *peer)
{
	got[ngot++] = fd;
	net_conn_opened();
	if (leave_in_callback)
		listener_leave(l);
}

static void turns(int n)
{
	while (n--)
		io_loop_turn(0);
}

static struct listener *start_one(struct sockaddr_in *sa)
{
	struct listener *l;

	ops = sys_linux;
	ops.mono_us = fake_mono;
	ops.accept = fake_accept;
	fake_us += 5000000;
	sys = &ops;
	ngot = 0;
	accept_error = 0;
	assert_int_equal(io_loop_init(0), 0);
	net_thread_join();
	l = make_listener(sa);
	l->accepted = keep;
	assert_int_equal(listener_join(l), 0);
	return l;
}

static void stop_one(struct listener *l)
{
	while (ngot) {
		net_conn_closed();
		close(got[--ngot]);
	}
	turns(2);
	listener_leave(l);
	listener_leave(l);
	listener_free(l);
	net_thread_leave();
	net_conn_ceiling(0);
	io_loop_fini();
	sys = &sys_linux;
}

static unsigned log_lines;

static void count_line(struct log_sink *s, enum log_level level, struct span line)
{
	if (span_find(line, SPAN("accept4() failed (24: Too many open files)")) >= 0)
		log_lines++;
}

static void out_of_descriptors(void **state)
{
	struct log_sink sink = {.level = LOG_CRIT, .write = count_line}, *old = log_main.sinks;
	struct sockaddr_in sa;
	struct listener *l = start_one(&sa);
	int c = dial(&sa);

	log_main.sinks = &sink;
	accept_error = -EMFILE;
	accept_calls = 0;
	turns(5);
	assert_int_equal(accept_calls, 1); /* paused, not spinning */
	assert_int_equal(log_lines, 1);
	fake_us += 600000;
	turns(5);
	assert_int_equal(accept_calls, 2);
	assert_int_equal(log_lines, 1); /* once a second */
	fake_us += 600000;
	turns(5);
	assert_int_equal(accept_calls, 3);
	assert_int_equal(log_lines, 2);
	accept_error = 0;
	fake_us += 600000;
	turns(5);
	assert_int_equal(ngot, 1);
	log_main.sinks = old;
	stop_one(l);
	close(c);
}

static void ceiling_pauses(void **state)
{
	struct sockaddr_in sa;
	struct listener *l = start_one(&sa);
	int c[4];

	net_conn_ceiling(2);
	for (int i = 0; i < 4; i++)
		c[i] = dial(&sa);
	turns(5);
	assert_int_equal(ngot, 2);
	assert_int_equal(net_conn_total(), 2);
	close(got[1]);
	ngot = 1;
	net_conn_closed();
	turns(5);
	assert_int_equal(ngot, 2);
	net_conn_ceiling(0);
	turns(5);
	assert_int_equal(ngot, 3); /* all four: one was closed */
	stop_one(l);
	for (int i = 0; i < 4; i++)
		close(c[i]);
}

static void leaves_in_the_callback(void **state)
{
	struct sockaddr_in sa;
	struct listener *l = start_one(&sa);
	int c[3];

	for (int i = 0; i < 3; i++)
		c[i] = dial(&sa);
	leave_in_callback = true;
	turns(5);
	leave_in_callback = false;
	assert_int_equal(ngot, 1);
	assert_false(listener_joined(l));
	assert_int_equal(listener_join(l), 0);
	turns(5);
	assert_int_equal(ngot, 3);
	stop_one(l);
	for (int i = 0; i < 3; i++)
		close(c[i]);
}

static void numbers_are_reused(void **state)
{
	struct sockaddr_in sa;
	struct listener *l[4];

	for (unsigned i = 0; i < 3; i++) {
		l[i] = make_listener(&sa);
		assert_int_equal(l[i]->id, i);
	}
	listener_free(l[1]);
	l[1] = make_listener(&sa);
	l[3] = make_listener(&sa);
	assert_int_equal(l[1]->id, 1);
	assert_int_equal(l[3]->id, 3);
	for (unsigned i = 0; i < 4; i++)
		listener_free(l[i]);
}

static void no_memory(void **state)
{
	struct listen_spec spec = {.type = SOCK_STREAM, .name = SPAN("x")};
	int fd = 0;

	for (int i = 1; i <= 2; i++) {
		mem_fail_after(i);
		assert_null(listener_new(&spec, &fd, 1));
		mem_fail_after(-1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thousand_spread_evenly), cmocka_unit_test(out_of_descriptors),
		cmocka_unit_test(ceiling_pauses),	  cmocka_unit_test(leaves_in_the_callback),
		cmocka_unit_test(numbers_are_reused),	  cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
