/* Two socket pairs, a tunnel between their inner ends, and a clock that moves when it is told to.
 */
#include "serve/serve_fixture.h"
#include "serve/tunnel.h"

struct pipe_end {
	struct stream stream;
	int fd; /* what the test holds */
};
static struct {
	struct tunnel t;
	struct pipe_end c, s;
	unsigned ended;
	int fail;
} tn;

static void on_end(struct tunnel *t, int fail)
{
	tn.ended++;
	tn.fail = fail;
	stream_close(&tn.c.stream);
	stream_close(&tn.s.stream);
}

static void end_open(struct pipe_end *e)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	stream_init(&e->stream, fd[0], NULL);
	e->fd = fd[1];
}

static void prepare(uint64_t idle_ms)
{
	memset(&tn, 0, sizeof(tn));
	end_open(&tn.c);
	end_open(&tn.s);
	tn.t.client.stream = &tn.c.stream;
	tn.t.server.stream = &tn.s.stream;
	tn.t.idle_timeout_ms = idle_ms;
	tn.t.ended = on_end;
}

static void open_tunnel(uint64_t idle_ms)
{
	prepare(idle_ms);
	tunnel_start(&tn.t);
	settle_loop();
}

static void finish(void)
{
	if (!tn.ended)
		tunnels_abort();
	close(tn.c.fd);
	close(tn.s.fd);
	assert_int_equal(tn.ended, 1);
	assert_int_equal(tunnels_count(), 0);
	advance_ms(1000000);
	assert_int_equal(tn.ended, 1);
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	settle_loop();
}

static void expect_text(int fd, const char *text)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);

	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, n);
}

static void both_directions(void **state)
{
	open_tunnel(0);
	say(tn.c.fd, "hello");
	expect_text(tn.s.fd, "hello");
	say(tn.s.fd, "answer");
	expect_text(tn.c.fd, "answer");
	assert_int_equal(tn.t.client.moved, 5);
	assert_int_equal(tn.t.server.moved, 6);
	assert_null(tn.t.client.in.p); /* no buffer while nothing moves */
	assert_null(tn.t.server.in.p);
	advance_ms(1000000000); /* without an idle time-out it stays */
	assert_int_equal(tn.ended, 0);
	say(tn.c.fd, "still");
	expect_text(tn.s.fd, "still");
	finish();
	assert_int_equal(tn.fail, FAIL_SHUTDOWN);
}

/* What came behind the 101, and what the client sent too early. */
static void bytes_from_before(void **state)
{
	prepare(0);
	assert_true(inbuf_reserve(&tn.t.server.in, 100, NULL) &&
		    inbuf_reserve(&tn.t.client.in, 100, NULL));
	memcpy(tn.t.server.in.p, "down", tn.t.server.in.end = 4);
	memcpy(tn.t.client.in.p, "up", tn.t.client.in.end = 2);
	tunnel_start(&tn.t);
	expect_text(tn.c.fd, "down");
	expect_text(tn.s.fd, "up");
	finish();
}

static void half_close(void **state)
{
	open_tunnel(60000);
	say(tn.c.fd, "last");
	shutdown(tn.c.fd, SHUT_WR);
	settle_loop();
	expect_text(tn.s.fd, "last");
	expect_text(tn.s.fd, ""); /* the end came through */
	say(tn.s.fd, "after");
	expect_text(tn.c.fd, "after");
	assert_int_equal(tn.ended, 0);
	say(tn.s.fd, "bye");
	shutdown(tn.s.fd, SHUT_WR);
	settle_loop();
	expect_text(tn.c.fd, "bye");
	assert_int_equal(tn.ended, 1);
	assert_int_equal(tn.fail, FAIL_OK);
	finish();
}

static void peer_lost(void **state)
{
	open_tunnel(0);
	close(tn.s.fd);
	tn.s.fd = -1;
	settle_loop();
	assert_int_equal(tn.ended, 1);
	finish();
	open_tunnel(0);
	close(tn.c.fd); /* what the server sends then has nowhere to go */
	tn.c.fd = -1;
	settle_loop();
	if (!tn.ended)
		say(tn.s.fd, "x");
	assert_int_equal(tn.ended, 1);
	finish();
}

static void idle(void **state)
{
	open_tunnel(10000);
	advance_ms(9900);
	say(tn.s.fd, "x");
	advance_ms(9900);
	say(tn.c.fd, "y");
	advance_ms(9900);
	assert_int_equal(tn.ended, 0);
	advance_ms(200);
	assert_int_equal(tn.ended, 1);
	assert_int_equal(tn.fail, FAIL_TUNNEL_ENDED);
	finish();
}

/* A reader that does not read stops the writer; nothing is lost, and little is held. */
static void back_pressure(uint64_t idle_ms)
{
	static char chunk[65536], got[65536];
	size_t sent = 0, received = 0, total;
	ssize_t n;

	open_tunnel(idle_ms);
	for (int i = 0; i < 200; i++) {
		for (size_t j = 0; j < sizeof(chunk); j++)
			chunk[j] = (char)((sent + j) % 251);
		n = send(tn.s.fd, chunk, sizeof(chunk), MSG_DONTWAIT | MSG_NOSIGNAL);
		settle_loop();
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	assert_true(sent > 0 && sent < 150 * sizeof(chunk)); /* it was stopped */
	assert_true(tn.t.server.in.cap <= 65536);
	say(tn.c.fd, "meanwhile"); /* the other way is free */
	expect_text(tn.s.fd, "meanwhile");
	total = sent;
	while ((n = recv(tn.c.fd, got, sizeof(got), MSG_DONTWAIT)) > 0) {
		for (ssize_t j = 0; j < n; j++)
			assert_int_equal((unsigned char)got[j], (received + (size_t)j) % 251);
		received += (size_t)n;
		settle_loop();
	}
	assert_int_equal(received, total);
	assert_int_equal(tn.ended, 0);
	finish();
}

static void slow_reader(void **state)
{
	back_pressure(60000);
	back_pressure(0);
}

static void a_reader_that_never_reads(void **state)
{
	static char chunk[65536];

	open_tunnel(5000);
	for (int i = 0; i < 100; i++) {
		if (send(tn.s.fd, chunk, sizeof(chunk), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
		settle_loop();
	}
	advance_ms(5100);
	assert_int_equal(tn.ended, 1);
	assert_int_equal(tn.fail, FAIL_TUNNEL_ENDED);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_directions),
		cmocka_unit_test(bytes_from_before),
		cmocka_unit_test(half_close),
		cmocka_unit_test(peer_lost),
		cmocka_unit_test(idle),
		cmocka_unit_test(slow_reader),
		cmocka_unit_test(a_reader_that_never_reads),
	};

	return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
