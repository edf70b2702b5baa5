/* What the virtual network does to those who use it: faults, latencies, queues, actors. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/bug.h"
#include "io/sim.h"

static struct sockaddr_in at = {.sin_family = AF_INET};
static const struct sim_faults none;
static int quiet;

static void start(uint64_t seed, struct sim_faults f)
{
	struct sim_options o = {.seed = seed, .faults = f};

	if (sim_running()) /* the one before failed */
		sim_stop();
	sim_start(&o);
	at.sin_addr.s_addr = htonl(0x0a000001);
	at.sin_port = htons(80);
	sim_set_faults(&none);
	quiet = sys->epoll_create();
	sim_set_faults(&f);
}

static void end(void)
{
	sys->close(quiet);
	assert_int_equal(sim_stop(), 0);
}

static void wait_ms(int ms)
{
	assert_int_equal(sys->epoll_wait(quiet, &(struct epoll_event){0}, 1, ms), 0);
}

static int error_of(int fd)
{
	int err;
	socklen_t len = sizeof(err);

	assert_int_equal(sys->getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	return err;
}

/* ---- an actor that answers each byte with two ---- */

static struct {
	struct sim_listener *l;
	unsigned accepted, reset, refused, connected;
	size_t got;
	bool ended, lazy; /* lazy: reads nothing */
	struct sim_conn *last;
} actor;

static void actor_readable(struct sim_conn *c)
{
	char p[100], twice[200];
	ssize_t n = actor.lazy ? 0 : sim_conn_read(c, p, sizeof(p));

	if (n < 0)
		actor.ended = true;
	if (n <= 0)
		return;
	actor.got += (size_t)n;
	for (ssize_t i = 0; i < n; i++)
		twice[2 * i] = twice[2 * i + 1] = p[i];
	sim_conn_write(c, twice, 2 * (size_t)n);
}

static void actor_reset(struct sim_conn *c)
{
	actor.reset++;
}

static void actor_refused(struct sim_conn *c, int err)
{
	assert_int_equal(err, -ECONNREFUSED);
	actor.refused++;
	actor.last = NULL;
}

static void actor_connected(struct sim_conn *c)
{
	actor.connected++;
}

static const struct sim_conn_ops actor_ops = {
	.connected = actor_connected,
	.refused = actor_refused,
	.readable = actor_readable,
	.writable = actor_readable,
	.reset = actor_reset,
};

static void actor_accepted(struct sim_listener *l, struct sim_conn *c)
{
	assert_ptr_equal(sim_listener_owner(l), &actor);
	actor.accepted++;
	actor.last = c;
	sim_conn_set(c, &actor_ops, &actor);
}

static void actor_listen(void)
{
	memset(&actor, 0, sizeof(actor));
	actor.l = sim_listen((void *)&at, sizeof(at), actor_accepted, &actor);
}

static int dial(void)
{
	int fd = sys->socket(AF_INET, SOCK_STREAM, 0), r;

	assert_true(fd >= 0);
	r = sys->connect(fd, (void *)&at, sizeof(at));
	assert_int_equal(r, -EINPROGRESS);
	return fd;
}

static void test_actor_serves(void **state)
{
	char p[8];
	int fd;

	start(1, none);
	actor_listen();
	fd = dial();
	wait_ms(10);
	assert_int_equal(actor.accepted, 1);
	assert_ptr_equal(sim_conn_owner(actor.last), &actor);
	assert_int_equal(sys->send(fd, "ab", 2, 0), 2);
	wait_ms(10);
	assert_int_equal(sys->recv(fd, p, 8, 0), 4);
	assert_memory_equal(p, "aabb", 4);
	sys->shutdown(fd, SHUT_WR);
	wait_ms(10);
	assert_true(actor.ended);
	sim_conn_shutdown(actor.last);
	wait_ms(10);
	assert_int_equal(sys->recv(fd, p, 8, 0), 0);
	sys->close(fd);
	sim_conn_free(actor.last);
	sim_listener_close(actor.l);
	fd = dial();
	wait_ms(10);
	assert_int_equal(error_of(fd), ECONNREFUSED);
	sys->close(fd);
	end();
}

static void test_actor_resets(void **state)
{
	char p[8];
	int fd;

	start(1, none);
	actor_listen();
	fd = dial();
	wait_ms(10);
	sim_conn_write(actor.last, "bye", 3);
	sim_conn_reset(actor.last);
	assert_int_equal(sim_conn_read(actor.last, p, 8), -2);
	wait_ms(10);
	assert_int_equal(actor.reset, 0); /* it knows */
	assert_int_equal(sys->recv(fd, p, 8, 0), 3);
	assert_int_equal(sys->recv(fd, p, 8, 0), -ECONNRESET);
	sys->close(fd);
	sim_conn_free(actor.last);
	fd = dial();
	wait_ms(10);
	sys->setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	sys->close(fd);
	wait_ms(10);
	assert_int_equal(actor.reset, 1);
	sim_conn_free(actor.last);
	end();
}

/* A closed actor answers bytes with a reset; unread input makes its close one. */
static void test_actor_gone(void **state)
{
	int fd;

	start(1, none);
	actor_listen();
	fd = dial();
	wait_ms(10);
	sim_conn_free(actor.last);
	wait_ms(10);
	assert_int_equal(sys->send(fd, "x", 1, 0), 1);
	wait_ms(10);
	assert_int_equal(sys->send(fd, "x", 1, 0), -EPIPE);
	sys->close(fd);
	actor.lazy = true;
	fd = dial();
	wait_ms(10);
	assert_int_equal(sys->send(fd, "x", 1, 0), 1);
	wait_ms(10);
	assert_int_equal(sim_conn_unread(actor.last), 1);
	sim_conn_free(actor.last);
	wait_ms(10);
	assert_int_equal(error_of(fd), ECONNRESET);
	sys->close(fd);
	end();
}

static int listen_here(int backlog)
{
	int fd = sim_open_listener((void *)&at, sizeof(at), backlog, true);

	assert_true(fd >= 0);
	return fd;
}

static void test_actor_connects(void **state)
{
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(0x0a0a0a0a),
				   .sin_port = htons(7)},
			   got;
	socklen_t len = sizeof(got);
	int l, fd;

	start(1, none);
	memset(&actor, 0, sizeof(actor));
	sim_connect(NULL, (void *)&at, sizeof(at), &actor_ops, &actor);
	wait_ms(10);
	assert_int_equal(actor.refused, 1); /* and freed */
	l = listen_here(5);
	actor.last = sim_connect((void *)&from, (void *)&at, sizeof(at), &actor_ops, &actor);
	wait_ms(10);
	assert_int_equal(actor.connected, 1);
	fd = sys->accept(l, (void *)&got, &len);
	assert_true(fd >= 0);
	assert_memory_equal(&got, &from, sizeof(from));
	sys->close(fd);
	wait_ms(10);
	assert_true(actor.ended);
	sim_conn_free(actor.last);
	sys->close(l);
	end();
}

/* A full queue loses SYNs, which come again after a second. */
static void test_backlog(void **state)
{
	struct sim_conn *c[4];
	int l, fd;

	start(1, none);
	memset(&actor, 0, sizeof(actor));
	l = listen_here(1);
	for (int i = 0; i < 4; i++) {
		c[i] = sim_connect(NULL, (void *)&at, sizeof(at), &actor_ops, &actor);
		wait_ms(10);
	}
	assert_int_equal(actor.connected, 2); /* the backlog and one */
	for (int i = 0; i < 4; i++) {
		fd = sys->accept(l, NULL, NULL);
		if (fd < 0)
			break;
		sys->close(fd);
	}
	wait_ms(100);
	assert_int_equal(actor.connected, 2);
	wait_ms(1000);
	assert_int_equal(actor.connected, 4);
	for (int i = 0; i < 4; i++)
		sim_conn_free(c[i]);
	sys->close(l);
	end();
}

static void test_shared_port(void **state)
{
	unsigned n[2] = {0};
	int l[2];

	start(1, none);
	memset(&actor, 0, sizeof(actor));
	for (int i = 0; i < 2; i++)
		l[i] = listen_here(100);
	for (int i = 0; i < 40; i++)
		sim_connect(NULL, (void *)&at, sizeof(at), &actor_ops, &actor);
	wait_ms(10);
	for (int i = 0; i < 2; i++) {
		int fd;

		while ((fd = sys->accept(l[i], NULL, NULL)) >= 0) {
			n[i]++;
			sys->close(fd);
		}
		sys->close(l[i]);
	}
	assert_int_equal(n[0] + n[1], 40);
	assert_true(n[0] > 5 && n[1] > 5);
	end();
}

/* ---- faults ---- */

static void test_connect_faults(void **state)
{
	const struct sim_faults f = {.refuse = 2000, .hang = 1000, .unreachable = 1000};
	unsigned ok = 0, refused = 0, unreachable = 0, hanging = 0;

	start(1, f);
	actor_listen();
	for (int i = 0; i < 300; i++) {
		int fd = sys->socket(AF_INET, SOCK_STREAM, 0), err;
		int r = sys->connect(fd, (void *)&at, sizeof(at));
		struct epoll_event ev = {.events = EPOLLOUT};

		if (r == -EINPROGRESS) {
			sys->epoll_ctl(quiet, EPOLL_CTL_ADD, fd, &ev);
			r = sys->epoll_wait(quiet, &ev, 1, 50);
			err = error_of(fd);
			hanging += r == 0;
			ok += r == 1 && err == 0;
		} else {
			err = -r;
		}
		refused += err == ECONNREFUSED;
		unreachable += err == ENETUNREACH || err == EHOSTUNREACH;
		sys->close(fd);
	}
	assert_int_equal(ok + refused + unreachable + hanging, 300);
	assert_true(ok > 150 && refused > 20 && unreachable > 10 && hanging > 10);
	end();
}

/* One that hangs ends as Linux gives up: after two minutes. */
static void test_hang_ends(void **state)
{
	const struct sim_faults f = {.hang = 10000};
	int fd;

	start(1, f);
	fd = dial();
	wait_ms(100000);
	assert_int_equal(error_of(fd), 0);
	wait_ms(30000);
	assert_int_equal(error_of(fd), ETIMEDOUT);
	sys->close(fd);
	end();
}

static void test_resets(void **state)
{
	const struct sim_faults f = {.reset = 3000};
	unsigned lost = 0;

	start(1, f);
	actor_listen();
	for (int i = 0; i < 100; i++) {
		int fd = dial(), err;

		wait_ms(10);
		assert_int_equal(sys->send(fd, "x", 1, 0), 1);
		wait_ms(10);
		err = error_of(fd);
		assert_true(err == 0 || err == ECONNRESET);
		lost += err != 0;
		sys->close(fd);
		sim_conn_free(actor.last);
	}
	assert_true(lost > 10 && lost < 90);
	assert_true(actor.reset > 10);
	end();
}

static void test_socket_faults(void **state)
{
	const struct sim_faults f = {.emfile = 3000, .enobufs = 3000};
	unsigned mfile = 0, nobufs = 0, ok = 0;

	start(1, f);
	for (int i = 0; i < 200; i++) {
		int fd = sys->socket(AF_INET, SOCK_STREAM, 0);

		mfile += fd == -EMFILE || fd == -ENFILE;
		nobufs += fd == -ENOBUFS || fd == -ENOMEM;
		if (fd < 0)
			continue;
		ok++;
		sys->close(fd);
	}
	assert_int_equal(mfile + nobufs + ok, 200);
	assert_true(mfile > 20 && nobufs > 20 && ok > 20);
	end();
}

/* ---- datagrams ---- */

static unsigned questions;
static struct sockaddr_in asker;

static void on_datagram(const void *p, size_t n, const struct sockaddr *from, socklen_t len)
{
	questions++;
	assert_int_equal(n, 3);
	memcpy(&asker, from, len);
	sim_datagram_send((void *)&at, "yes", 3, from, len);
}

static unsigned answers_of(int fd)
{
	unsigned n = 0;
	char p[10];

	while (sys->recv(fd, p, sizeof(p), 0) == 3)
		n++;
	return n;
}

static void test_datagram_faults(void **state)
{
	unsigned answers = 0;
	int fd;

	for (int lossy = 0; lossy < 2; lossy++) {
		struct sim_faults f = {.datagram_loss = lossy ? 3000 : 0,
				       .datagram_dup = lossy ? 0 : 3000};

		start(1, f);
		questions = answers = 0;
		sim_datagrams((void *)&at, sizeof(at), on_datagram);
		fd = sys->socket(AF_INET, SOCK_DGRAM, 0);
		assert_int_equal(sys->connect(fd, (void *)&at, sizeof(at)), 0);
		for (int i = 0; i < 100; i++) {
			assert_int_equal(sys->send(fd, "who", 3, 0), 3);
			wait_ms(1);
			answers += answers_of(fd);
		}
		sys->close(fd);
		end();
		if (lossy)
			assert_true(questions < 90 && answers < questions);
		else
			assert_true(questions > 110 && answers > questions);
	}
}

/* ---- time ---- */

static void test_wall_clock_jumps(void **state)
{
	const struct sim_faults f = {.clock_jump = 2000};
	unsigned back = 0, jumps = 0;
	uint64_t before, mono;

	start(1, f);
	before = sys->wall_us();
	mono = sys->mono_us();
	for (int i = 0; i < 100; i++) {
		uint64_t now;

		wait_ms(1000);
		now = sys->wall_us();
		jumps += now != before + 1000000;
		back += now < before;
		assert_int_equal(sys->mono_us(), mono + 1000000);
		before = now;
		mono += 1000000;
	}
	assert_true(jumps > 5 && jumps < 50 && back > 0);
	end();
}

static unsigned runs;

static void on_timer(struct sim_timer *t)
{
	runs++;
	assert_int_equal(sim_now_us(), t->at_us);
	if (runs < 10)
		sim_timer_start(t, sim_now_us() + 500);
}

static void test_timers(void **state)
{
	struct sim_timer a = {.run = on_timer}, b = {.run = on_timer};

	start(1, none);
	runs = 0;
	sim_timer_stop(&b); /* never started */
	sim_timer_start(&a, 1000);
	sim_timer_start(&b, 2000);
	sim_timer_stop(&b);
	sim_timer_stop(&b);
	wait_ms(3);
	assert_int_equal(runs, 5);
	wait_ms(100);
	assert_int_equal(runs, 10);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_actor_serves),	cmocka_unit_test(test_actor_resets),
		cmocka_unit_test(test_actor_gone),	cmocka_unit_test(test_actor_connects),
		cmocka_unit_test(test_backlog),		cmocka_unit_test(test_shared_port),
		cmocka_unit_test(test_connect_faults),	cmocka_unit_test(test_hang_ends),
		cmocka_unit_test(test_resets),		cmocka_unit_test(test_socket_faults),
		cmocka_unit_test(test_datagram_faults), cmocka_unit_test(test_wall_clock_jumps),
		cmocka_unit_test(test_timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
