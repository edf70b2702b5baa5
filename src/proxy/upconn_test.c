/* Over real loopback sockets, both ends in this thread. */
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <unistd.h>
#include "base/pool.h"
#include "io/loop.h"
#include "proxy/group_fixture.h"
#include "proxy/upconn.h"

static struct group_fixture fixture;
static struct group *group;
static int listener;
static int port;

static int listen_on_loopback(int backlog, int *out_port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*out_port = ntohs(in.sin_port);
	return fd;
}

static void make_group(const char *more)
{
	char text[256];

	listener = listen_on_loopback(64, &port);
	snprintf(text, sizeof(text), "server 127.0.0.1:%d; %s", port, more);
	group = fixture_group(&fixture, text);
}

static void drop_group(void)
{
	upconn_thread_fini();
	assert_int_equal(group->members[0].peer->idle, 0);
	fixture_free(&fixture);
	close(listener);
}

/* ---- running upconn_take in a coroutine ---- */

struct taking {
	struct pick pick;
	struct upconn_want want;
	struct upconn *u;
	enum fail fail;
	int64_t connect_us;
	struct co *co;
	bool done;
};

static void take_co(void *arg)
{
	struct taking *t = arg;

	t->co = co_current();
	t->fail = upconn_take(&t->pick, &t->want, &t->u, &t->connect_us);
	t->done = true;
}

static void take_start(struct taking *t, const struct upconn_want *w)
{
	*t = (struct taking){.want = w ? *w : (struct upconn_want){.connect_timeout_ms = 5000}};
	pick_init(&t->pick, group, NULL);
	assert_int_equal(pick_next(&t->pick), FAIL_OK);
	assert_int_equal(co_start(take_co, t), 0);
}

static void take_finish(struct taking *t)
{
	for (int i = 0; i < 2000 && !t->done; i++)
		io_loop_turn(5);
	assert_true(t->done);
	pick_end(&t->pick, t->fail != FAIL_OK);
}

static struct upconn *take(const struct upconn_want *w)
{
	struct taking t;

	take_start(&t, w);
	take_finish(&t);
	assert_int_equal(t.fail, FAIL_OK);
	assert_non_null(t.u);
	assert_true(t.u->reused ? t.connect_us == 0 : t.connect_us >= 0);
	return t.u;
}

static int accept_one(void)
{
	int fd = accept(listener, NULL, NULL);

	assert_true(fd >= 0);
	return fd;
}

/* Turns the loop until that many are idle. */
static void wait_idle(unsigned n)
{
	for (int i = 0; i < 1000 && upconn_idle_count() != n; i++)
		io_loop_turn(5);
	assert_int_equal(upconn_idle_count(), n);
	assert_int_equal(group->members[0].peer->idle, n);
}

/* ---- tests ---- */

static void last_in_first_out(void **state)
{
	struct upconn *a, *b;

	make_group("");
	a = take(NULL);
	b = take(NULL);
	assert_false(a->reused || b->reused);
	assert_int_equal(a->requests, 1);
	upconn_give(a, group);
	upconn_give(b, group);
	assert_int_equal(upconn_idle_count(), 2);
	assert_ptr_equal(take(NULL), b);
	assert_true(b->reused);
	assert_int_equal(b->requests, 2);
	assert_ptr_equal(take(NULL), a);
	upconn_give(b, group);
	upconn_drop(a);
	assert_int_equal(upconn_idle_count(), 1);
	drop_group();
}

static void socket_options(void **state)
{
	struct upconn_want w = {
		.connect_timeout_ms = 1000, .keepalive_socket = true, .sndbuf = 65536};
	struct sockaddr_in in;
	socklen_t len = sizeof(in), size = sizeof(int);
	struct net_addr local;
	struct upconn *u;
	int on = 0;

	make_group("");
	assert_true(addr_parse_ip(SPAN("127.0.0.9"), &local));
	w.bind = &local;
	u = take(&w);
	assert_int_equal(getsockname(u->stream.io.fd, (struct sockaddr *)&in, &len), 0);
	assert_int_equal(ntohl(in.sin_addr.s_addr), 0x7f000009);
	assert_int_equal(getsockopt(u->stream.io.fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
	assert_true(on);
	assert_int_equal(getsockopt(u->stream.io.fd, SOL_SOCKET, SO_KEEPALIVE, &on, &size), 0);
	assert_true(on);
	upconn_drop(u);
	drop_group();
}

static void identities_do_not_mix(void **state)
{
	struct upconn_want one = {.identity = 1, .connect_timeout_ms = 1000},
			   two = {.identity = 2, .connect_timeout_ms = 1000};
	struct upconn *a, *b;

	make_group("");
	a = take(&one);
	upconn_give(a, group);
	b = take(&two);
	assert_false(b->reused);
	upconn_give(b, group);
	assert_ptr_equal(take(&one), a);
	upconn_give(a, group);
	one.fresh = true;
	b = take(&one);
	assert_false(b->reused);
	upconn_drop(b);
	drop_group();
}

static void dead_ones_are_dropped(void **state)
{
	struct upconn *u;
	int fd;

	make_group("");
	u = take(NULL);
	fd = accept_one();
	upconn_give(u, group);
	wait_idle(1);
	close(fd);
	wait_idle(0);

	u = take(NULL);
	fd = accept_one();
	upconn_give(u, group);
	assert_int_equal(write(fd, "x", 1), 1); /* nobody asked */
	wait_idle(0);
	close(fd);

	u = take(NULL);
	fd = accept_one();
	assert_int_equal(write(fd, "x", 1), 1);
	io_loop_turn(5);
	upconn_give(u, group); /* it came before */
	assert_int_equal(upconn_idle_count(), 0);
	close(fd);
	drop_group();
}

static void the_oldest_goes(void **state)
{
	struct upconn *u[3];

	make_group("keepalive 2;");
	for (int i = 0; i < 3; i++)
		u[i] = take(NULL);
	for (int i = 0; i < 3; i++)
		upconn_give(u[i], group);
	assert_int_equal(upconn_idle_count(), 2);
	assert_ptr_equal(take(NULL), u[2]);
	assert_ptr_equal(take(NULL), u[1]);
	upconn_drop(u[1]);
	upconn_drop(u[2]);
	drop_group();
}

static void limits(void **state)
{
	struct upconn *u;

	make_group("keepalive_requests 2; keepalive_time 1h;");
	u = take(NULL);
	upconn_give(u, group);
	u = take(NULL);
	upconn_give(u, group); /* its second */
	assert_int_equal(upconn_idle_count(), 0);
	u = take(NULL);
	u->opened_ms -= HOUR + 1;
	upconn_give(u, group);
	assert_int_equal(upconn_idle_count(), 0);
	drop_group();

	make_group("keepalive 0;");
	upconn_give(take(NULL), group);
	assert_int_equal(upconn_idle_count(), 0);
	drop_group();
}

static void idle_timeout(void **state)
{
	uint64_t began;

	make_group("keepalive_timeout 60ms;");
	upconn_give(take(NULL), group);
	assert_int_equal(upconn_idle_count(), 1);
	began = io_now_ms();
	wait_idle(0);
	assert_in_range(io_now_ms() - began, 55, 2000);
	drop_group();
}

static void refused(void **state)
{
	struct taking t;

	make_group("");
	close(listener);
	take_start(&t, NULL);
	take_finish(&t);
	assert_int_equal(t.fail, FAIL_UPSTREAM_CONNECT);
	assert_int_equal(t.pick.sys_err, ECONNREFUSED);
	assert_int_equal(t.connect_us, -1);
	assert_null(t.u);
	listener = -1;
	drop_group();
}

static void connect_times_out(void **state)
{
	struct upconn_want w = {.connect_timeout_ms = 50};
	struct upconn *held[8];
	struct taking t;
	size_t n = 0;

	make_group("");
	close(listener);
	listener = listen_on_loopback(0, &port);
	addr_set_port(&group->members[0].peer->addr.sa, port);
	do { /* a queue that is full takes no more */
		take_start(&t, &w);
		take_finish(&t);
		if (t.u)
			held[n++] = t.u;
	} while (t.u && n < ARRAY_LEN(held));
	assert_int_equal(t.fail, FAIL_UPSTREAM_CONNECT_TIMEOUT);
	take_start(&t, NULL);
	co_cancel(t.co);
	take_finish(&t);
	assert_int_equal(t.fail, FAIL_CANCELLED);
	while (n)
		upconn_drop(held[--n]);
	drop_group();
}

static void detached(void **state)
{
	struct stream moved;
	struct upconn *u;

	make_group("");
	u = take(NULL);
	moved = u->stream;
	inbuf_free(&u->in);
	upconn_detach(u);
	close(moved.io.fd);
	drop_group();
}

/* Failing allocations must leave nothing behind. */
static void no_memory(void **state)
{
	struct taking t;

	make_group("");
	for (int n = 0; n < 20; n++) {
		take_start(&t, NULL);
		take_finish(&t);
		assert_int_equal(t.fail, FAIL_OK);
		mem_fail_after(n);
		upconn_give(t.u, group); /* parked or closed */
		mem_fail_after(-1);
	}
	drop_group();
}

/* ---- two threads ---- */

static atomic_int stage;

/* Parks three connections, then only turns its loop. */
static void *other_thread(void *arg)
{
	struct upconn *u[3];

	assert_int_equal(io_loop_init(1), 0);
	for (int i = 0; i < 3; i++)
		u[i] = take(NULL);
	for (int i = 0; i < 3; i++)
		upconn_give(u[i], group);
	atomic_store(&stage, 1);
	while (atomic_load(&stage) == 1)
		io_loop_turn(5);
	assert_int_equal(upconn_idle_count(), 1);
	upconn_thread_fini();
	io_loop_turn(0);
	stream_thread_fini();
	io_loop_fini();
	return NULL;
}

static void handed_over(void **state)
{
	struct upconn *u[3];
	pthread_t t;

	make_group("");
	atomic_store(&stage, 0);
	assert_int_equal(pthread_create(&t, NULL, other_thread, NULL), 0);
	while (atomic_load(&stage) == 0)
		usleep(1000);
	for (int i = 0; i < 3; i++)
		u[i] = take(NULL);
	assert_true(u[0]->reused && u[1]->reused);
	assert_int_equal(u[0]->requests, 2);
	assert_false(u[2]->reused); /* its last one it keeps */
	assert_int_equal(group->members[0].peer->idle, 1);
	for (int i = 0; i < 3; i++)
		upconn_give(u[i], group);
	assert_int_equal(upconn_idle_count(), 3);
	atomic_store(&stage, 2);
	pthread_join(t, NULL);
	assert_ptr_equal(take(NULL), u[2]);
	upconn_drop(u[2]);
	drop_group();
}

static int setup(void **state)
{
	return io_loop_init(0);
}

static int teardown(void **state)
{
	stream_thread_fini();
	io_loop_fini();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(last_in_first_out),
		cmocka_unit_test(socket_options),
		cmocka_unit_test(identities_do_not_mix),
		cmocka_unit_test(dead_ones_are_dropped),
		cmocka_unit_test(the_oldest_goes),
		cmocka_unit_test(limits),
		cmocka_unit_test(idle_timeout),
		cmocka_unit_test(refused),
		cmocka_unit_test(connect_times_out),
		cmocka_unit_test(detached),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(handed_over),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
