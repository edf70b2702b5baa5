/* Over socket pairs; the other end writes what the test says, as the body asks for more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "http/h1_body.h"
#include <cmocka.h>
#undef fail /* cmocka's; ours is an enum */

#define BIG 3000000

struct reading {
	struct stream stream;
	struct inbuf in;
	struct arena arena;
	struct h1_body b;
	int fd; /* the peer's end */
	enum fail result;
	bool done;
	unsigned pieces, pipes, completed, abandoned;
	size_t n;
	char got[BIG + 1];
};
static struct reading rd;

static int setup(void **state)
{
	return io_loop_init(0);
}

static int teardown(void **state)
{
	int left = (int)co_sched.live;

	stream_thread_fini();
	io_loop_fini();
	return left;
}

static void on_complete(struct h1_body *b)
{
	rd.completed++;
}

static void on_abandoned(struct h1_body *b)
{
	rd.abandoned++;
}

static void take(const struct piece *pc)
{
	size_t n = piece_len(pc);

	rd.pieces++;
	assert_true(rd.n + n <= BIG);
	if (pc->kind == PIECE_PIPE) {
		rd.pipes++;
		for (size_t at = 0; at < n;) {
			ssize_t k = read(pc->fd, rd.got + rd.n + at, n - at);

			assert_true(k > 0);
			at += (size_t)k;
		}
	} else if (n) {
		memcpy(rd.got + rd.n, pc->mem.p, n);
	}
	rd.n += n;
	rd.got[rd.n] = 0;
}

static void read_all(void *arg)
{
	struct piece pc = {.last = false};

	while (!pc.last) {
		rd.result = body_next(&rd.b.body, &pc);
		if (rd.result != FAIL_OK)
			break;
		take(&pc);
	}
	assert_int_equal(rd.b.body.done, rd.result == FAIL_OK);
	rd.done = true;
}

/* A body of which the first bytes came in with the head. */
static void begin(bool chunked, int64_t length, const char *before)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	memset(&rd, 0, offsetof(struct reading, got));
	stream_init(&rd.stream, fd[0], NULL);
	rd.fd = fd[1];
	arena_init(&rd.arena, 1 << 20);
	if (before[0]) {
		assert_true(inbuf_reserve(&rd.in, 4096, NULL));
		memcpy(rd.in.p, before, strlen(before));
		rd.in.end = (uint32_t)strlen(before);
	}
	h1_body_init(&rd.b, &rd.stream, &rd.in, chunked, length, &rd.arena);
	rd.b.timeout_ms = 60000;
	rd.b.client = true;
	rd.b.complete = on_complete;
	rd.b.abandoned = on_abandoned;
}

static void start(void)
{
	assert_int_equal(co_start(read_all, NULL), 0);
}

static void turns(void)
{
	for (int i = 0; i < 5; i++)
		io_loop_turn(0);
}

static void feed(const char *p, size_t n)
{
	while (n) {
		ssize_t k = send(rd.fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (k > 0) {
			p += k;
			n -= (size_t)k;
		}
		turns();
	}
}

static void end(void)
{
	body_close(&rd.b.body);
	stream_close(&rd.stream);
	close(rd.fd);
	inbuf_free(&rd.in);
	arena_fini(&rd.arena);
	assert_int_equal(rd.completed + rd.abandoned, 1);
	assert_int_equal(rd.completed, rd.done && rd.result == FAIL_OK);
}

/* The whole text whole, cut in two everywhere (behind the head or by a read), and byte by byte. */
static void expect_everywhere(bool chunked, int64_t length, const char *text, const char *body)
{
	char before[256];
	size_t n = strlen(text);

	for (size_t cut = 0; cut <= n; cut++) {
		snprintf(before, sizeof(before), "%.*s", (int)cut, text);
		begin(chunked, length, before);
		start();
		feed(text + cut, n - cut);
		assert_true(rd.done);
		assert_int_equal(rd.result, FAIL_OK);
		assert_string_equal(rd.got, body);
		end();
	}
	begin(chunked, length, "");
	start();
	for (size_t i = 0; i < n && !rd.done; i++)
		feed(text + i, 1);
	assert_true(rd.done);
	assert_int_equal(rd.result, FAIL_OK);
	assert_string_equal(rd.got, body);
	end();
}

static void length_split_everywhere(void **state)
{
	expect_everywhere(false, 5, "hello", "hello");
	expect_everywhere(false, 5, "helloGET / HTTP", "hello");
	expect_everywhere(false, 0, "", "");
}

static void chunks_split_everywhere(void **state)
{
	expect_everywhere(true, -1, "5\r\nhello\r\n0\r\n\r\n", "hello");
	expect_everywhere(true, -1, "0\r\n\r\n", "");
	expect_everywhere(true, -1,
			  "1;a=b\r\nx\r\n00a\r\n0123456789\r\n0;z\r\nA: b\r\nC: d\r\n\r\n",
			  "x0123456789");
	expect_everywhere(true, -1, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET ", "abcde");
}

static void what_follows_stays(void **state)
{
	begin(true, -1, "3\r\nabc\r\n0\r\nT: v\r\n\r\nGET /next");
	start();
	assert_true(rd.done && rd.pieces == 1);
	body_close(&rd.b.body);
	assert_memory_equal(inbuf_span(&rd.in).p, "GET /next", 9);
	assert_int_equal(inbuf_len(&rd.in), 9);
	end();
	begin(false, 3, "abcGET /next");
	start();
	assert_true(rd.done && rd.pieces == 1);
	body_close(&rd.b.body);
	assert_memory_equal(inbuf_span(&rd.in).p, "GET /next", 9);
	end();
}

static void trailers(void **state)
{
	begin(true, -1, "1\r\nx\r\n0\r\nX-Sum: 1\r\nContent-Length: 5\r\nX-");
	start();
	feed("Long: v\r\n\r\n", 11);
	assert_int_equal(rd.result, FAIL_OK);
	assert_non_null(rd.b.body.trailers);
	end();
	begin(true, -1, "1\r\nx\r\n0\r\nX-Sum: 1\r\nContent-Length: 5\r\nX-");
	start();
	feed("Long: v\r\n\r\n", 11);
	inbuf_free(&rd.in); /* they do not lie in the buffer */
	rd.b.in = NULL;
	assert_memory_equal(hdrs_find_name(rd.b.body.trailers, SPAN("x-sum"))->value.p, "1", 1);
	assert_memory_equal(hdrs_find_name(rd.b.body.trailers, SPAN("x-long"))->value.p, "v", 1);
	assert_null(hdrs_find(rd.b.body.trailers, HDR_CONTENT_LENGTH));
	end();
}

/* Trailers that make the buffer grow and move while they come in. */
static void long_trailers(void **state)
{
	static char text[8192];
	int n = sprintf(text, "1\r\nx\r\n0\r\n");

	for (int i = 0; i < 60; i++)
		n += sprintf(text + n, "X-%d: %0100d\r\n", i, i);
	n += sprintf(text + n, "\r\n");
	begin(true, -1, "");
	start();
	for (int i = 0; i < n; i += 100)
		feed(text + i, (size_t)MIN_OF(100, n - i));
	assert_int_equal(rd.result, FAIL_OK);
	for (int i = 0; i < 60; i++) {
		char name[16];
		struct hdr *hd;

		sprintf(name, "X-%d", i);
		hd = hdrs_find_name(rd.b.body.trailers, span_of(name));
		assert_non_null(hd);
		assert_int_equal(hd->value.n, 100);
		assert_int_equal(atoi(hd->value.p), i);
	}
	end();
}

/* The end is seen as soon as its bytes are here, with the last data and not one call later. */
static void end_with_the_last_data(void **state)
{
	struct piece pc;

	begin(true, -1, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	assert_int_equal(body_next(&rd.b.body, &pc), FAIL_OK);
	assert_true(pc.mem.n == 3 && !pc.last && body_ready(&rd.b.body));
	assert_int_equal(body_next(&rd.b.body, &pc), FAIL_OK);
	assert_true(pc.mem.n == 2 && pc.last && rd.completed == 1);
	rd.done = true;
	end();
	begin(true, -1, "3\r\nabc\r\n0\r\n\r");
	assert_int_equal(body_next(&rd.b.body, &pc), FAIL_OK);
	assert_true(pc.mem.n == 3 && !pc.last && !body_ready(&rd.b.body));
	end();
	begin(false, 3, "abcd");
	assert_true(body_ready(&rd.b.body));
	assert_int_equal(body_next(&rd.b.body, &pc), FAIL_OK);
	assert_true(pc.mem.n == 3 && pc.last);
	rd.done = true;
	end();
}

static void until_close(void **state)
{
	begin(false, -1, "ab");
	start();
	feed("cd", 2);
	assert_false(rd.done);
	shutdown(rd.fd, SHUT_WR);
	turns();
	assert_true(rd.done && rd.result == FAIL_OK);
	assert_string_equal(rd.got, "abcd");
	end();
}

static void expect_failure(bool chunked, int64_t length, int64_t max, const char *text, enum fail f)
{
	begin(chunked, length, "");
	rd.b.max = max;
	start();
	feed(text, strlen(text));
	shutdown(rd.fd, SHUT_WR);
	turns();
	assert_true(rd.done);
	if (rd.result != f)
		print_error("%s: %.*s\n", text, SPAN_ARG(fail_name(rd.result)));
	assert_int_equal(rd.result, f);
	end();
}

static void failures(void **state)
{
	expect_failure(false, 5, -1, "abcd", FAIL_CLIENT_CLOSED);
	expect_failure(false, 5, -1, "", FAIL_CLIENT_CLOSED);
	expect_failure(true, -1, -1, "", FAIL_CLIENT_CLOSED);
	expect_failure(true, -1, -1, "5\r\nabcd", FAIL_CLIENT_CLOSED);
	expect_failure(true, -1, -1, "5\r\nabcde\r\n0\r\n", FAIL_CLIENT_CLOSED);
	expect_failure(true, -1, -1, "5\r\nabcde\r\n0\r\nA: b\r\n", FAIL_CLIENT_CLOSED);
	expect_failure(true, -1, -1, "x\r\n", FAIL_BAD_CHUNK);
	expect_failure(true, -1, -1, "5\r\nabcdefg", FAIL_BAD_CHUNK);
	expect_failure(true, -1, -1, "5\nabcde", FAIL_BAD_CHUNK);
	expect_failure(true, -1, -1, "-1\r\n", FAIL_BAD_CHUNK);
	expect_failure(true, -1, -1, "ffffffffffffffffff\r\n", FAIL_BAD_CHUNK);
	expect_failure(true, -1, 4, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", FAIL_BODY_TOO_LARGE);
	expect_failure(false, 5, 4, "abcde", FAIL_BODY_TOO_LARGE);
	expect_failure(true, -1, 5, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", FAIL_OK);
}

static void on_the_upstream_side(void **state)
{
	begin(true, -1, "x\r\n");
	rd.b.client = false;
	rd.b.on_bad = FAIL_UPSTREAM_BAD_CHUNK;
	start();
	assert_int_equal(rd.result, FAIL_UPSTREAM_BAD_CHUNK);
	end();
	begin(true, -1, "0\r\nbad trailer\r\n\r\n");
	rd.b.client = false;
	rd.b.on_bad = FAIL_UPSTREAM_BAD_CHUNK;
	start();
	assert_int_equal(rd.result, FAIL_UPSTREAM_BAD_CHUNK);
	end();
}

static void big_ones(bool chunked, int64_t length, uint8_t accept)
{
	static char text[BIG];
	char head[32];

	for (size_t i = 0; i < BIG; i++)
		text[i] = (char)(i * 7 + i / 251);
	begin(chunked, length, "");
	rd.b.body.accept = accept;
	start();
	if (chunked)
		feed(head, (size_t)sprintf(head, "%x\r\n", BIG));
	feed(text, BIG);
	if (chunked)
		feed("\r\n0\r\n\r\n", 7);
	if (length < 0 && !chunked)
		shutdown(rd.fd, SHUT_WR);
	turns();
	assert_true(rd.done && rd.result == FAIL_OK);
	assert_int_equal(rd.n, BIG);
	assert_memory_equal(rd.got, text, BIG);
	assert_int_equal(rd.pipes > 0, (accept & PIECE_PIPE) && !chunked);
	end();
}

static void large_bodies(void **state)
{
	big_ones(false, BIG, PIECE_MEM);
	big_ones(true, -1, PIECE_MEM);
	big_ones(false, -1, PIECE_MEM);
	big_ones(false, BIG, PIECE_MEM | PIECE_PIPE);
	big_ones(false, -1, PIECE_MEM | PIECE_PIPE);
	big_ones(true, -1, PIECE_MEM | PIECE_PIPE);
}

/* Given up in the middle, with data in a pipe. */
static void abandoned(void **state)
{
	static char text[200000];
	struct piece pc;

	begin(false, 400000, "");
	rd.b.body.accept = PIECE_MEM | PIECE_PIPE;
	start();
	feed(text, sizeof(text));
	assert_false(rd.done);
	shutdown(rd.fd, SHUT_WR);
	turns();
	assert_int_equal(rd.result, FAIL_CLIENT_CLOSED);
	end();
	begin(false, 10, "abc");
	assert_int_equal(body_next(&rd.b.body, &pc), FAIL_OK);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(length_split_everywhere),
		cmocka_unit_test(chunks_split_everywhere),
		cmocka_unit_test(what_follows_stays),
		cmocka_unit_test(trailers),
		cmocka_unit_test(long_trailers),
		cmocka_unit_test(end_with_the_last_data),
		cmocka_unit_test(until_close),
		cmocka_unit_test(failures),
		cmocka_unit_test(on_the_upstream_side),
		cmocka_unit_test(large_bodies),
		cmocka_unit_test(abandoned),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
