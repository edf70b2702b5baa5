/* What leaves on the wire, with bodies that do as the test says: piece by piece, late, as files,
 * never. */
#include <fcntl.h>
#include <stdlib.h>
#include <netinet/tcp.h>
#include "serve/serve_fixture.h"

static struct serve_fixture fixture;
static struct client k;

/* ---- a body that is told what to give ---- */

struct step_body {
	struct body body;
	const char *const
		*steps; /* "text", "!text" flushed, "." wait for the gate, NULL: the end */
	bool with_last; /* the last text says that it is the last */
};
static struct co_waitq gate;
static unsigned closed;
static struct hdrs step_trailers;

static enum fail step_next(struct body *b, struct piece *out)
{
	struct step_body *s = CONTAINER_OF(b, struct step_body, body);

	while (*s->steps && strcmp(*s->steps, ".") == 0) {
		s->steps++;
		if (co_waitq_wait(&gate, CO_NEVER) == -ECANCELED)
			return FAIL_CANCELLED;
	}
	*out = (struct piece){.kind = PIECE_MEM, .last = !*s->steps};
	if (*s->steps) {
		out->flush = **s->steps == '!';
		out->mem = span_of(*s->steps + out->flush);
		s->steps++;
		out->last = !*s->steps && s->with_last;
		if (strcmp(out->mem.p, "FAIL") == 0)
			return FAIL_UPSTREAM_TRUNCATED;
	}
	return FAIL_OK;
}

static bool step_ready(struct body *b)
{
	struct step_body *s = CONTAINER_OF(b, struct step_body, body);

	return !*s->steps || strcmp(*s->steps, ".") != 0;
}

static void step_close(struct body *b)
{
	closed++;
}

static const struct body_ops step_ops = {
	.next = step_next, .ready = step_ready, .close = step_close};

static struct {
	const char *const *steps;
	int status;
	int64_t length;
	bool with_last, trailers;
	int fd;	     /* of a file to answer with */
	int64_t big; /* bytes of zeros to answer with */
} plan;

static MAY_SUSPEND int say_steps(struct req *r, const struct conf_node *say)
{
	struct step_body *s = arena_zalloc(&r->arena, sizeof(*s));
	struct resp *resp = req_answer(r, plan.status ? plan.status : 200);

	s->body = (struct body){.ops = &step_ops, .length = plan.length};
	s->steps = plan.steps;
	s->with_last = plan.with_last;
	if (plan.trailers) {
		hdrs_init(&step_trailers, &r->arena);
		assert_int_equal(hdrs_add(&step_trailers, SPAN("X-T"), SPAN("v")), FAIL_OK);
		s->body.trailers = &step_trailers;
	}
	resp->content_length = plan.length;
	resp->body = &s->body;
	return PHASE_DONE;
}

static MAY_SUSPEND int say_file(struct req *r, const struct conf_node *say)
{
	struct body_file *f = arena_zalloc(&r->arena, sizeof(*f));

	req_answer(r, 200)->content_length = plan.big;
	r->resp.body = body_of_file(f, &r->arena, plan.fd, 0, plan.big);
	return PHASE_DONE;
}

static MAY_SUSPEND int say_big(struct req *r, const struct conf_node *say)
{
	struct body_mem *m = arena_alloc(&r->arena, sizeof(*m));
	char *p = arena_zalloc(&r->arena, (size_t)plan.big);

	req_answer(r, 200)->content_length = plan.big;
	r->resp.body = body_of_span(m, span_make(p, (size_t)plan.big));
	return PHASE_DONE;
}

static const struct say_word words[] = {
	{"steps", say_steps}, {"file", say_file}, {"big", say_big}, {NULL, NULL}};

static void load(const char *more)
{
	char text[4096];

	say_words = words;
	snprintf(text, sizeof(text),
		 "client_body_temp_path /tmp; server { listen 80; location /s { say steps; }"
		 "location /f { say file; } location /b { say big; } %s }",
		 more);
	serve_load_ok(&fixture, text);
	snapshot_switch(fixture.snap, 0);
	co_waitq_init(&gate);
	closed = 0;
	memset(&plan, 0, sizeof(plan));
	plan.length = -1;
	client_open(&k, &fixture, 0);
}

static void unload(void)
{
	client_close(&k);
	advance_ms(100000);
	assert_int_equal(conns_count(), 0);
	assert_int_equal(co_sched.live, 0);
	snapshot_switch(NULL, 0);
	serve_unload(&fixture);
}

#define STEPS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define GET(path)  "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void expect_body(const char *request, const char *body)
{
	client_ask(&k, request);
	assert_string_equal(body_of(k.got), body);
}

static bool has(const char *text)
{
	return strstr(k.got, text) != NULL;
}

static void chunks(void **state)
{
	load("");
	plan.steps = STEPS("abc", "", "0123456789abcdef");
	expect_body(GET("/s"), "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
	assert_true(has("Transfer-Encoding: chunked\r\n") && !has("Content-Length"));
	plan.with_last = true;
	expect_body(GET("/s"), "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
	plan.trailers = true;
	expect_body(GET("/s"), "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: v\r\n\r\n");
	plan.steps = STEPS("");
	expect_body(GET("/s"), "0\r\nX-T: v\r\n\r\n");
	assert_int_equal(closed, 4);
	unload();
}

static void known_length(void **state)
{
	load("");
	plan.steps = STEPS("abc", "de");
	plan.length = 5;
	expect_body(GET("/s"), "abcde");
	assert_true(has("Content-Length: 5\r\n") && !has("Transfer-Encoding"));
	expect_body(GET("/s"), "abcde");
	unload();
}

static void old_clients_get_the_end_by_close(void **state)
{
	load("");
	plan.steps = STEPS("abc", "de");
	expect_body("GET /s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "abcde");
	assert_true(has("Connection: close") && !has("Transfer-Encoding") && k.eof);
	unload();
	load("chunked_transfer_encoding off;");
	plan.steps = STEPS("abc", "de");
	expect_body(GET("/s"), "abcde");
	assert_true(has("Connection: close") && k.eof);
	unload();
}

static void answers_without_body(void **state)
{
	load("");
	plan.steps = STEPS("abc");
	plan.length = 3;
	expect_body("HEAD /s HTTP/1.1\r\nHost: x\r\n\r\n", "");
	assert_true(has("Content-Length: 3\r\n") && has("keep-alive"));
	plan.length = -1;
	expect_body("HEAD /s HTTP/1.1\r\nHost: x\r\n\r\n", "");
	assert_true(has("keep-alive"));
	plan.status = 204;
	expect_body(GET("/s"), "");
	assert_true(has("HTTP/1.1 204 No Content") && !has("Content-Length") &&
		    !has("Transfer-Encoding"));
	plan.status = 304;
	expect_body(GET("/s"), "");
	assert_true(has("HTTP/1.1 304 Not Modified") && !has("Transfer-Encoding"));
	plan.status = 0;
	expect_body(GET("/s"), "3\r\nabc\r\n0\r\n\r\n"); /* still in step */
	assert_int_equal(closed, 5);
	unload();
}

static unsigned writes;

static ssize_t counting_send(int fd, const void *p, size_t n, int flags)
{
	writes++;
	return sys_linux.send(fd, p, n, flags);
}

static ssize_t counting_writev(int fd, const struct iovec *iov, int n)
{
	writes++;
	return sys_linux.writev(fd, iov, n);
}

static void small_pieces_are_gathered(void **state)
{
	load("");
	test_sys.writev = counting_writev;
	test_sys.send = counting_send;
	plan.steps = STEPS("a", "b", "c", "d", "e");
	writes = 0;
	expect_body(GET("/s"), "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n0\r\n\r\n");
	assert_int_equal(writes, 1);
	plan.steps = STEPS("a", "!b", "c");
	writes = 0;
	expect_body(GET("/s"), "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
	assert_int_equal(writes, 2);
	test_sys.writev = sys_linux.writev;
	unload();
}

/* Nothing that is there is held back while the source is silent. */
static void silent_source(void **state)
{
	load("");
	plan.steps = STEPS(".", "a", "b", ".", "c");
	client_ask(&k, GET("/s"));
	assert_true(has("\r\n\r\n")); /* the head is out */
	assert_string_equal(body_of(k.got), "");
	co_waitq_wake_one(&gate, 0);
	settle_loop();
	client_recv(&k, SIZE_MAX);
	assert_string_equal(body_of(k.got), "1\r\na\r\n1\r\nb\r\n");
	co_waitq_wake_one(&gate, 0);
	settle_loop();
	client_recv(&k, SIZE_MAX);
	assert_string_equal(body_of(k.got), "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
	unload();
}

/* The client must see that it did not get all. */
static void source_fails(void **state)
{
	load("");
	plan.steps = STEPS("a", "!b", "FAIL");
	expect_body(GET("/s"), "1\r\na\r\n1\r\nb\r\n");
	assert_true(k.eof);
	unload();
	load("");
	plan.steps = STEPS("!a", "FAIL");
	plan.length = 5;
	expect_body(GET("/s"), "a");
	assert_true(k.eof);
	unload();
	load(""); /* shorter or longer than was said */
	plan.steps = STEPS("ab");
	plan.length = 5;
	expect_body(GET("/s"), "ab");
	assert_true(k.eof);
	unload();
	load("");
	plan.steps = STEPS("!abc", "defg");
	plan.length = 5;
	expect_body(GET("/s"), "abc");
	assert_true(k.eof);
	assert_int_equal(closed, 1);
	unload();
}

static void make_file(int64_t n)
{
	char block[4096];

	plan.fd = temp_file_open(SPAN("/tmp"));
	assert_true(plan.fd >= 0);
	plan.big = n;
	memset(block, 'f', sizeof(block));
	for (int64_t at = 0; at < n; at += (int64_t)sizeof(block))
		assert_true(pwrite(plan.fd, block, sizeof(block), at) > 0);
}

static void files(void **state)
{
	static const int64_t sizes[] = {1, 16384, 16385, 200000};

	load("");
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		make_file(sizes[i]);
		client_ask(&k, GET("/f"));
		while (k.n - (size_t)(body_of(k.got) - k.got) < (size_t)sizes[i]) {
			settle_loop();
			client_recv(&k, SIZE_MAX);
		}
		assert_int_equal(k.n - (size_t)(body_of(k.got) - k.got), sizes[i]);
		assert_int_equal(k.got[k.n - 1], 'f');
		close(plan.fd);
	}
	unload();
}

static unsigned sends_more, sendfiles, nodelay_calls;
static int nodelay;

static ssize_t noting_send(int fd, const void *p, size_t n, int flags)
{
	sends_more += (flags & MSG_MORE) != 0;
	return sys_linux.send(fd, p, n, flags);
}

static ssize_t noting_sendfile(int out, int in, off_t *off, size_t n)
{
	sendfiles++;
	return sys_linux.sendfile(out, in, off, n);
}

static int noting_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	if (level != IPPROTO_TCP || name != TCP_NODELAY)
		return sys_linux.setsockopt(fd, level, name, val, len);
	nodelay_calls++;
	nodelay = *(const int *)val;
	return 0; /* a socket pair has no such thing */
}

static void expect_big_file(const char *request)
{
	make_file(40000);
	client_ask(&k, request);
	while (k.n - (size_t)(body_of(k.got) - k.got) < 40000) {
		settle_loop();
		client_recv(&k, SIZE_MAX);
	}
	close(plan.fd);
}

static void how_a_file_is_sent(void **state)
{
	load("location /f/read { say file; sendfile off; }"
	     "location /f/push { say file; tcp_nopush off; }");
	test_sys.send = noting_send;
	test_sys.sendfile = noting_sendfile;
	sends_more = sendfiles = 0;
	expect_big_file(GET("/f"));
	assert_int_equal(sends_more, 1);
	assert_true(sendfiles > 0);
	sends_more = sendfiles = 0;
	expect_big_file(GET("/f/push"));
	assert_int_equal(sends_more, 0);
	assert_true(sendfiles > 0);
	sendfiles = 0;
	expect_big_file(GET("/f/read"));
	assert_int_equal(sendfiles, 0);
	test_sys.send = sys_linux.send;
	test_sys.sendfile = sys_linux.sendfile;
	unload();
}

static void nagle_when_it_is_wanted(void **state)
{
	load("location /s/nagle { say steps; tcp_nodelay off; }");
	test_sys.setsockopt = noting_setsockopt;
	plan.steps = STEPS("a");
	nodelay_calls = 0;
	expect_body(GET("/s"), "1\r\na\r\n0\r\n\r\n");
	assert_int_equal(nodelay_calls, 0); /* accepted sockets have it from their listener */
	expect_body(GET("/s/nagle"), "1\r\na\r\n0\r\n\r\n");
	expect_body(GET("/s/nagle"), "1\r\na\r\n0\r\n\r\n");
	assert_int_equal(nodelay_calls, 1);
	assert_int_equal(nodelay, 0);
	expect_body(GET("/s"), "1\r\na\r\n0\r\n\r\n");
	assert_int_equal(nodelay_calls, 2);
	assert_int_equal(nodelay, 1);
	test_sys.setsockopt = sys_linux.setsockopt;
	unload();
}

/* ---- slow clients ---- */

static void slow_client_gets_all(void **state)
{
	size_t total = 0;

	load("");
	plan.big = 3000000;
	k.n = 0;
	client_say(&k, GET("/b"));
	settle_loop();
	while (total < 3000000) {
		k.n = 0;
		client_recv(&k, 50000);
		assert_true(k.n > 0);
		total += k.n;
		settle_loop();
	}
	unload();
}

static void client_that_stops_reading(void **state)
{
	load("send_timeout 7s;");
	plan.big = 3000000;
	client_say(&k, GET("/b"));
	settle_loop();
	advance_ms(6900);
	assert_int_equal(conns_count(), 1);
	client_recv(&k, 200000); /* progress */
	settle_loop();
	advance_ms(6900);
	assert_int_equal(conns_count(), 1);
	advance_ms(200);
	assert_int_equal(conns_count(), 0);
	unload();
}

static void client_that_leaves(void **state)
{
	uint64_t timeouts = fail_total(FAIL_CLIENT_TIMEOUT_SEND);

	load("");
	plan.big = 3000000;
	client_say(&k, GET("/b"));
	settle_loop();
	assert_int_equal(conns_count(), 1);
	client_close(&k);
	assert_int_equal(conns_count(), 0);
	assert_int_equal(fail_total(FAIL_CLIENT_TIMEOUT_SEND),
			 timeouts); /* it left, it was not late */
	k.fd = -1;
	unload();
	load("");
	plan.steps = STEPS("!a", ".", "b");
	client_ask(&k, GET("/s"));
	client_close(&k);
	k.fd = -1;
	co_waitq_wake_one(&gate, 0);
	settle_loop();
	assert_int_equal(conns_count(), 0);
	assert_int_equal(closed, 1);
	unload();
}

/* ---- limit_rate ---- */

static size_t received(void)
{
	client_recv(&k, SIZE_MAX);
	return k.n - (size_t)(body_of(k.got) - k.got);
}

static void limit_rate(void **state)
{
	load("limit_rate 1000; limit_rate_after 500;");
	plan.big = 4000;
	client_ask(&k, GET("/b"));
	assert_int_equal(received(), 1500);
	advance_ms(500);
	assert_int_equal(received(), 1500);
	advance_ms(600);
	assert_int_equal(received(), 2500);
	advance_ms(1000);
	assert_int_equal(received(), 3500);
	assert_false(has("close"));
	advance_ms(1000);
	assert_int_equal(received(), 4000);
	unload();
}

/* Each slice of a file passes through the same memory: the arena has a ceiling. */
static void limit_rate_of_a_large_file(void **state)
{
	size_t total = 0;

	load("limit_rate 16000;");
	make_file(20000000);
	client_ask(&k, GET("/f"));
	total = received();
	for (int i = 0; i < 1400 && total < 20000000; i++) {
		test_now_us += 1000000;
		io_loop_turn(0);
		io_loop_turn(0);
		k.n = 0;
		client_recv(&k, SIZE_MAX);
		total += k.n;
	}
	assert_int_equal(total, 20000000);
	close(plan.fd);
	unload();
}

static void limit_rate_chunked(void **state)
{
	load("limit_rate 4;");
	plan.steps = STEPS("abcdefgh");
	client_ask(&k, GET("/s"));
	assert_string_equal(body_of(k.got), "4\r\nabcd\r\n");
	advance_ms(1100);
	client_recv(&k, SIZE_MAX);
	assert_string_equal(body_of(k.got), "4\r\nabcd\r\n4\r\nefgh\r\n0\r\n\r\n");
	unload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks),
		cmocka_unit_test(known_length),
		cmocka_unit_test(old_clients_get_the_end_by_close),
		cmocka_unit_test(answers_without_body),
		cmocka_unit_test(small_pieces_are_gathered),
		cmocka_unit_test(silent_source),
		cmocka_unit_test(source_fails),
		cmocka_unit_test(files),
		cmocka_unit_test(how_a_file_is_sent),
		cmocka_unit_test(nagle_when_it_is_wanted),
		cmocka_unit_test(slow_client_gets_all),
		cmocka_unit_test(client_that_stops_reading),
		cmocka_unit_test(client_that_leaves),
		cmocka_unit_test(limit_rate),
		cmocka_unit_test(limit_rate_of_a_large_file),
		cmocka_unit_test(limit_rate_chunked),
	};

	return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
