/* A body gives the same bytes and the same end however it is cut between the buffer behind the head
 * and later reads; what lies behind it stays in the buffer. The first byte of the input says how
 * the body is framed, the second and third where to cut. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/buf.h"
#include "http/h1_body.h"

#define BODY_MAX 16384 /* bytes: what a socket takes at once */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct span before, after; /* in the buffer; in the socket */
	bool chunked;
	int64_t length;
	struct buf got;
	enum fail result;
	size_t rest; /* bytes left in the buffer */
	unsigned trailers;
	bool done;
};

static void pull(struct run *r, struct h1_body *b)
{
	struct piece pc = {.last = false};

	while (!pc.last) {
		r->result = body_next(&b->body, &pc);
		if (r->result != FAIL_OK)
			return;
		BUG_ON(pc.kind != PIECE_MEM);
		buf_add(&r->got, pc.mem.p, pc.mem.n);
	}
}

static void run_co(void *arg)
{
	struct run *r = arg;
	struct arena a;
	struct stream s;
	struct inbuf in = {0};
	struct h1_body b;
	int fd[2];

	BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) < 0);
	arena_init(&a, 1 << 20);
	stream_init(&s, fd[0], NULL);
	if (r->before.n) {
		BUG_ON(!inbuf_reserve(&in, r->before.n, NULL));
		memcpy(in.p, r->before.p, r->before.n);
		in.end = (uint32_t)r->before.n;
	}
	BUG_ON(r->after.n && write(fd[1], r->after.p, r->after.n) != (ssize_t)r->after.n);
	close(fd[1]);
	h1_body_init(&b, &s, &in, r->chunked, r->length, &a);
	b.client = true;
	b.timeout_ms = 1000;
	pull(r, &b);
	BUG_ON((r->result == FAIL_OK) != b.body.done);
	body_close(&b.body);
	if (b.body.trailers)
		hdrs_each (hd, b.body.trailers) {
			BUG_ON(!http_is_token(hd->name) || !http_is_field_value(hd->value));
			r->trailers++;
		}
	if (r->result == FAIL_OK) { /* what was not read is still to come */
		static char more[BODY_MAX];
		ssize_t n = stream_recv(&s, more, sizeof(more));

		r->rest = inbuf_len(&in) + (n > 0 ? (size_t)n : 0);
	}
	inbuf_free(&in);
	stream_close(&s);
	arena_fini(&a);
	r->done = true;
}

static void run(struct run *r, struct span text, size_t cut)
{
	r->before = span_cut(text, 0, cut);
	r->after = span_cut(text, cut, text.n);
	buf_init(&r->got, 1 << 20);
	BUG_ON(co_start(run_co, r) < 0);
	while (!r->done)
		io_loop_turn(10);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct span text;
	struct run whole, cut;

	if (size < 3 || size > BODY_MAX)
		return 0;
	if (!ready)
		BUG_ON(io_loop_init(0) < 0);
	ready = true;
	text = span_make(data + 3, size - 3);
	whole = (struct run){.chunked = data[0] % 3 == 0,
			     .length = data[0] % 3 == 1 ? data[0] / 3 : -1};
	cut = whole;
	run(&whole, text, text.n);
	run(&cut, text, (size_t)(data[1] * 256 + data[2]) % (text.n + 1));
	BUG_ON(whole.result != cut.result || whole.rest != cut.rest ||
	       whole.trailers != cut.trailers);
	BUG_ON(whole.result == FAIL_OK && !span_eq(buf_span(&whole.got), buf_span(&cut.got)));
	if (whole.length >= 0 && whole.result == FAIL_OK)
		BUG_ON(whole.got.len != (size_t)whole.length);
	buf_fini(&whole.got);
	buf_fini(&cut.got);
	return 0;
}
