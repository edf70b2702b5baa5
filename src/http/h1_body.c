#include "http/h1_body.h"
#include "net/tls.h"

#define READ_SMALL  4096
#define READ_LARGE  (64 * 1024)
#define SPLICE_FROM (128 * 1024) /* shorter rests are cheaper to copy */
#define SPLICE_MAX  (1024 * 1024)

static enum fail h1_body_next(struct body *body, struct piece *out);
static bool h1_body_ready(struct body *body);
static void h1_body_close(struct body *body);

static const struct body_ops h1_body_ops = {
	.next = h1_body_next,
	.ready = h1_body_ready,
	.close = h1_body_close,
};

void h1_body_init(struct h1_body *b, struct stream *s, struct inbuf *in, bool chunked,
		  int64_t length, struct arena *a)
{
	*b = (struct h1_body){
		.body = {.ops = &h1_body_ops, .length = chunked ? -1 : length, .accept = PIECE_MEM},
		.stream = s,
		.in = in,
		.framing = chunked	 ? H1_BODY_CHUNKED
			   : length >= 0 ? H1_BODY_LENGTH
					 : H1_BODY_UNTIL_CLOSE,
		.left = chunked ? 0 : length,
		.pipe = {-1, -1},
		.max = -1,
		.on_end = FAIL_CLIENT_CLOSED,
		.on_timeout = FAIL_CLIENT_TIMEOUT_BODY,
		.on_bad = FAIL_BAD_CHUNK,
	};
	chunked_init(&b->chunked);
	hdrs_init(&b->trailer_fields, a);
}

static enum fail h1_body_errno(const struct h1_body *b, int err)
{
	return b->client ? fail_of_client(err, b->on_timeout)
			 : fail_of_upstream(err, b->on_timeout, b->on_end);
}

/* The piece given last is not needed any more. */
static void h1_body_release(struct h1_body *b)
{
	inbuf_take(b->in, b->held);
	b->held = 0;
	b->in_pipe = 0;
}

/* Room for the next read: small at first, so that a short body costs little; large when it goes on.
 */
static bool h1_body_room(struct h1_body *b)
{
	size_t want = b->received < READ_LARGE ? READ_SMALL : READ_LARGE;
	size_t have = inbuf_len(b->in);

	if (b->framing == H1_BODY_LENGTH && b->left > READ_SMALL)
		want = READ_LARGE;
	if (b->in->cap >= want && b->in->cap - have >= want / 2) {
		if (b->in->end == b->in->cap)
			return inbuf_reserve(b->in, b->in->cap, NULL);
		return true;
	}
	return inbuf_reserve(b->in, MAX_OF(want, have + READ_SMALL), NULL);
}

static uint64_t h1_body_deadline(const struct h1_body *b)
{
	return MIN_OF(io_after(b->timeout_ms), b->until_ms ? b->until_ms : CO_NEVER);
}

/* One more read: FAIL_OK with more bytes in `in`, or *end. */
static MAY_SUSPEND enum fail h1_body_fill(struct h1_body *b, bool *end)
{
	ssize_t n;

	*end = false;
	if (!h1_body_room(b))
		return FAIL_NO_MEMORY;
	n = inbuf_read(b->in, b->stream, h1_body_deadline(b));
	if (n < 0)
		return h1_body_errno(b, (int)n);
	*end = n == 0;
	return FAIL_OK;
}

static void h1_body_finish(struct h1_body *b)
{
	b->body.done = true;
	if (b->complete) {
		void (*complete)(struct h1_body *) = b->complete;

		b->complete = NULL;
		b->abandoned = NULL;
		complete(b);
	}
}

static enum fail h1_body_give(struct h1_body *b, struct piece *out, struct span data, bool last)
{
	b->received += (int64_t)data.n;
	if (b->max >= 0 && b->received > b->max)
		return FAIL_BODY_TOO_LARGE;
	*out = (struct piece){.kind = PIECE_MEM, .mem = data, .last = last};
	if (last)
		h1_body_finish(b);
	return FAIL_OK;
}

/* ---- Content-Length and until close ---- */

/* Does the stream's end come too early? One that the end delimits is complete only when TLS says
 * that this is the end (RFC 9112 9.8): anybody on the way can send a FIN. */
static bool h1_body_cut(const struct h1_body *b)
{
	return b->framing == H1_BODY_LENGTH || b->reset || tls_truncated(b->stream);
}

static MAY_SUSPEND enum fail h1_body_splice(struct h1_body *b, struct piece *out, bool *fallback)
{
	size_t want =
		b->framing == H1_BODY_LENGTH ? (size_t)MIN_OF(b->left, SPLICE_MAX) : SPLICE_MAX;
	ssize_t n;

	*fallback = false;
	if (b->pipe[0] < 0 && splice_pipe_take(b->pipe) < 0) {
		*fallback = true;
		return FAIL_OK;
	}
	n = stream_splice_in(b->stream, b->pipe[1], want, h1_body_deadline(b));
	if (n < 0)
		return h1_body_errno(b, (int)n);
	if (n == 0 && h1_body_cut(b))
		return b->on_end;
	b->in_pipe = (uint32_t)n;
	b->received += n;
	if (b->framing == H1_BODY_LENGTH)
		b->left -= n;
	*out = (struct piece){
		.kind = n ? PIECE_PIPE : PIECE_MEM, .fd = b->pipe[0], .len = (size_t)n};
	out->last = b->framing == H1_BODY_LENGTH ? b->left == 0 : n == 0;
	if (out->last)
		h1_body_finish(b);
	return FAIL_OK;
}

static bool h1_body_may_splice(const struct h1_body *b)
{
	return (b->body.accept & PIECE_PIPE) && stream_can_splice(b->stream) &&
	       (b->framing == H1_BODY_LENGTH ? b->left >= SPLICE_FROM
					     : b->received >= SPLICE_FROM) &&
	       b->max < 0;
}

static MAY_SUSPEND enum fail h1_body_plain(struct h1_body *b, struct piece *out)
{
	bool end = false, fallback = true;
	struct span have;
	enum fail f;

	if (b->framing == H1_BODY_LENGTH && b->left == 0)
		return h1_body_give(b, out, SPAN(""), true);
	if (inbuf_len(b->in) == 0) {
		if (h1_body_may_splice(b)) {
			f = h1_body_splice(b, out, &fallback);
			if (f != FAIL_OK || !fallback)
				return f;
		}
		f = h1_body_fill(b, &end);
		if (f != FAIL_OK)
			return f;
		if (end)
			return h1_body_cut(b) ? b->on_end : h1_body_give(b, out, SPAN(""), true);
	}
	have = inbuf_span(b->in);
	if (b->framing == H1_BODY_LENGTH) {
		have.n = (size_t)MIN_OF((int64_t)have.n, b->left);
		b->left -= (int64_t)have.n;
	}
	b->held = (uint32_t)have.n;
	return h1_body_give(b, out, have, b->framing == H1_BODY_LENGTH && b->left == 0);
}

/* ---- chunked ---- */

static void h1_body_rebase_trailers(struct h1_body *b, const char *base)
{
	if (b->trailer_base && b->trailer_base != base)
		h1_rebase_fields(&b->trailer_fields, b->trailer_base, base);
	b->trailer_base = base;
}

/* Trailers outlive the buffer they came in. */
static enum fail h1_body_keep_trailers(struct h1_body *b)
{
	struct arena *a = b->trailer_fields.arena;

	hdrs_each (hd, &b->trailer_fields) {
		hd->name = arena_dup(a, hd->name);
		hd->value = arena_dup(a, hd->value);
		if (!hd->name.p || !hd->value.p)
			return FAIL_NO_MEMORY;
	}
	if (b->trailer_fields.n)
		b->body.trailers = &b->trailer_fields;
	return FAIL_OK;
}

/* Looks at what is in the buffer behind the held bytes: finds the next run of data (pending), or
 * the end of the body (*end), or nothing yet. Never reads, so that the end is seen as soon as its
 * bytes are here. */
static enum fail h1_body_look(struct h1_body *b, bool *end)
{
	static const struct h1_limits dflt = {
		.line_max = 8192, .total_max = 32768, .headers_max = 100};
	struct span in = span_cut(inbuf_span(b->in), b->held, SIZE_MAX);
	size_t used = 0;
	int rc;

	*end = false;
	if (!b->in_trailers) {
		enum chunked_result res = chunked_next(&b->chunked, in.p, in.n, &used, &b->pending);

		b->held += (uint32_t)used;
		if (res == CHUNKED_BAD)
			return b->on_bad;
		if (res != CHUNKED_LAST)
			return FAIL_OK;
		b->in_trailers = true;
		h1_parser_init(&b->trailer_parser);
		in = span_cut(inbuf_span(b->in), b->held, SIZE_MAX);
	}
	h1_body_rebase_trailers(b, in.p);
	rc = h1_parse_trailers(&b->trailer_parser, in.p, in.n, b->limits ? b->limits : &dflt,
			       &b->trailer_fields, &used);
	if (rc == H1_MORE)
		return FAIL_OK;
	if (rc < 0)
		return b->client ? (enum fail) - rc : b->on_bad;
	b->held += (uint32_t)used;
	*end = true;
	return h1_body_keep_trailers(b);
}

static MAY_SUSPEND enum fail h1_body_chunked(struct h1_body *b, struct piece *out)
{
	struct span data = b->pending;
	bool end = false;
	enum fail f;

	b->pending = (struct span){0};
	while (data.n == 0 && !end) {
		bool eof = false;

		f = h1_body_look(b, &end);
		if (f != FAIL_OK)
			return f;
		data = b->pending;
		b->pending = (struct span){0};
		if (data.n || end)
			break;
		inbuf_take(b->in, b->held);
		b->held = 0;
		f = h1_body_fill(b, &eof);
		if (f != FAIL_OK)
			return f;
		if (eof)
			return b->on_end;
	}
	if (!end) {
		f = h1_body_look(b, &end);
		if (f != FAIL_OK)
			return f;
	}
	return h1_body_give(b, out, data, end && b->pending.n == 0);
}

static MAY_SUSPEND enum fail h1_body_next(struct body *body, struct piece *out)
{
	struct h1_body *b = CONTAINER_OF(body, struct h1_body, body);

	BUG_ON(body->done);
	if (b->framing != H1_BODY_CHUNKED) {
		h1_body_release(b);
		return h1_body_plain(b, out);
	}
	/* A pending run lies behind the held bytes of the last piece: they go together. */
	if (b->pending.n == 0) {
		inbuf_take(b->in, b->held);
		b->held = 0;
	}
	return h1_body_chunked(b, out);
}

static bool h1_body_ready(struct body *body)
{
	struct h1_body *b = CONTAINER_OF(body, struct h1_body, body);

	if (b->framing == H1_BODY_CHUNKED)
		return b->pending.n > 0;
	return inbuf_len(b->in) > b->held || (b->framing == H1_BODY_LENGTH && b->left == 0);
}

static void h1_body_close(struct body *body)
{
	struct h1_body *b = CONTAINER_OF(body, struct h1_body, body);

	if (b->pipe[0] >= 0) {
		splice_pipe_give(b->pipe, body->done && b->in_pipe == 0);
		b->pipe[0] = b->pipe[1] = -1;
	}
	if (b->in)
		h1_body_release(b);
	if (!body->done && b->abandoned)
		b->abandoned(b);
	b->abandoned = NULL;
	b->complete = NULL;
}
