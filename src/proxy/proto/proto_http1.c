/* HTTP/1.1 (and 1.0) to servers. */
#include "http/h1_body.h"
#include "proxy/proto/proto.h"
#include "proxy/proto/wire.h"

struct http1 {
	struct wire wire;
	struct exchange *x;
	struct h1_body body;
};

/* The body is made anew when there is one; until then it only is empty. */
static void http1_init(struct exchange *x)
{
	struct http1 *h = x->state;

	h->wire = (struct wire){0};
	h->x = x;
	h->body.framing = H1_BODY_LENGTH;
	h->body.received = h->body.held = 0;
	h->body.reset = false;
}

static MAY_SUSPEND enum fail http1_connect(struct exchange *x, struct upconn_want *want)
{
	struct http1 *h = proto_state(x, &proto_http1, sizeof(*h));

	return h ? wire_connect(x, &h->wire, want) : FAIL_NO_MEMORY;
}

enum fail http1_adopt(struct exchange *x, struct upconn *u)
{
	struct http1 *h = proto_state(x, &proto_http1, sizeof(*h));

	if (!h) {
		upconn_drop(u);
		return FAIL_NO_MEMORY;
	}
	wire_adopt(x, &h->wire, u);
	return FAIL_OK;
}

/* ---- the request ---- */

static enum fail http1_send(struct exchange *x, bool *all)
{
	struct http1 *h = x->state;

	return wire_send(x, &h->wire, all);
}

/* The body may be read already while the request is still being sent. */
static enum fail http1_sent(struct http1 *h, enum fail f)
{
	h->body.reset |= h->wire.reset;
	return f;
}

static MAY_SUSPEND enum fail http1_send_rest(struct exchange *x)
{
	struct http1 *h = x->state;

	return http1_sent(h, wire_send_rest(x, &h->wire));
}

static unsigned http1_accepts(const struct exchange *x)
{
	return x->body_length < 0 ? PIECE_MEM : PIECE_MEM | PIECE_FILE;
}

static MAY_SUSPEND enum fail http1_send_piece(struct exchange *x, struct piece *p,
					      const struct body *b)
{
	struct http1 *h = x->state;
	struct iovec iov[3];
	char size[24];
	int n = 0;

	if (p->kind == PIECE_FILE)
		return http1_sent(h, wire_sendfile(x, &h->wire, p));
	if (x->body_length < 0 && p->mem.n)
		iov[n++] = (struct iovec){size, chunked_head(size, p->mem.n)};
	if (p->mem.n)
		iov[n++] = (struct iovec){(void *)p->mem.p, p->mem.n};
	if (x->body_length < 0) {
		if (p->mem.n)
			iov[n++] = (struct iovec){(char *)"\r\n0\r\n\r\n", p->last ? 7 : 2};
		else if (p->last)
			iov[n++] = (struct iovec){(char *)"0\r\n\r\n", 5};
	}
	return n ? http1_sent(h, wire_writev(x, &h->wire, iov, n)) : FAIL_OK;
}

/* ---- the response head ---- */

static enum fail http1_fail_of_head(enum fail f)
{
	switch (f) {
	case FAIL_HEADERS_TOO_LARGE:
	case FAIL_TOO_MANY_HEADERS:
	case FAIL_UPSTREAM_BIG_HEAD:
	case FAIL_URI_TOO_LONG:
		return FAIL_UPSTREAM_BIG_HEAD;
	case FAIL_NO_MEMORY:
		return FAIL_NO_MEMORY;
	default:
		return FAIL_UPSTREAM_BAD_HEAD;
	}
}

/* A whole head is at the front of the buffer; *used bytes of it. */
static MAY_SUSPEND enum fail http1_head(struct exchange *x, struct http1 *h, size_t *used)
{
	size_t max = (size_t)x->conf->max_header_size;
	struct h1_limits lim = {.line_max = max,
				.total_max = max,
				.headers_max = 1000,
				.ignore_invalid_headers = true,
				.underscores_in_headers = true};
	struct h1_parser p;

	h1_parser_init(&p);
	x->resp.headers.n = 0;
	x->resp.headers.present[0] = x->resp.headers.present[1] = 0;
	for (;;) {
		struct span in = inbuf_span(&h->wire.in);
		int rc = in.n ? h1_parse_response(&p, in.p, in.n, &lim, x->method, &x->resp, used)
			      : H1_MORE;
		const char *from;
		enum fail f;

		if (rc == H1_DONE)
			return FAIL_OK;
		if (rc < 0)
			return http1_fail_of_head((enum fail) - rc);
		if (in.n >= max)
			return FAIL_UPSTREAM_BIG_HEAD;
		f = wire_more(x, &h->wire, &from);
		if (from)
			h1_rebase_response(&x->resp, from, h->wire.in.p + h->wire.in.start);
		if (f != FAIL_OK)
			return f;
	}
}

/* RFC 9112 9.3: who asked with HTTP/1.0 may count on the connection only when told so. */
static bool http1_persists(const struct exchange *x)
{
	return x->resp.keep_alive &&
	       (x->conf->http_version >= HTTP_11 ||
		hdrs_has_token(&x->resp.headers, HDR_CONNECTION, SPAN("keep-alive")));
}

/* The head moves to the request's arena: the buffer is wanted for the body, and fields live as long
 * as the request. */
static enum fail http1_keep_head(struct exchange *x, struct http1 *h, size_t used)
{
	const char *from = h->wire.in.p + h->wire.in.start;
	char *to = wire_keep(x, &h->wire, used);

	if (!to)
		return FAIL_NO_MEMORY;
	h1_rebase_response(&x->resp, from, to);
	x->resp.keep_alive = http1_persists(x);
	x->log->head = span_make(to, used);
	x->log->headers = NULL;
	return FAIL_OK;
}

static enum fail http1_keep_hints(struct exchange *x, struct http1 *h, size_t used)
{
	const char *from = h->wire.in.p + h->wire.in.start;
	char *to = wire_keep(x, &h->wire, used);

	if (!to)
		return FAIL_NO_MEMORY;
	h1_rebase_response(&x->resp, from, to);
	x->hints = &x->resp.headers;
	return FAIL_OK;
}

/* Is all of the answer here already, as far as can be told without looking into chunks? */
static bool http1_is_whole(const struct exchange *x, const struct http1 *h)
{
	struct span in = inbuf_span(&h->wire.in);

	if (!http_response_has_body(x->method, x->resp.status))
		return true;
	if (x->resp.chunked)
		return span_ends(in, SPAN("0\r\n\r\n"));
	return x->resp.content_length >= 0 && (int64_t)in.n >= x->resp.content_length;
}

static MAY_SUSPEND enum fail http1_recv(struct exchange *x)
{
	struct http1 *h = x->state;
	size_t used = 0;
	enum fail f = http1_head(x, h, &used);

	if (f != FAIL_OK)
		return f;
	if (x->resp.status == 103 && exchange_passes_hints(x, used))
		return http1_keep_hints(x, h, used);
	if (x->resp.status < 200 && x->resp.status != 101) {
		inbuf_take(&h->wire.in, used);
		return FAIL_OK;
	}
	f = http1_keep_head(x, h, used);
	if (f == FAIL_OK && !http1_is_whole(x, h))
		stream_quickack(&h->wire.conn->stream);
	return f;
}

static MAY_SUSPEND enum fail http1_await(struct exchange *x, int64_t bytes, uint64_t until_ms)
{
	struct http1 *h = x->state;

	return bytes < 0 ? FAIL_OK : wire_await(&h->wire, bytes, until_ms);
}

/* ---- the response body ---- */

static void http1_complete(struct h1_body *b)
{
	exchange_complete(CONTAINER_OF(b, struct http1, body)->x);
}

static struct body *http1_body(struct exchange *x)
{
	struct http1 *h = x->state;
	struct h1_body *b = &h->body;

	h1_body_init(b, &h->wire.conn->stream, &h->wire.in, x->resp.chunked, x->resp.content_length,
		     &x->r->arena);
	b->reset = h->wire.reset;
	b->timeout_ms = (uint64_t)x->conf->read_timeout;
	b->on_timeout = FAIL_UPSTREAM_READ_TIMEOUT;
	b->on_end = FAIL_UPSTREAM_TRUNCATED;
	b->on_bad = FAIL_UPSTREAM_BAD_CHUNK;
	b->complete = http1_complete;
	return &b->body;
}

/* ---- the end ---- */

static bool http1_heard(const struct exchange *x)
{
	const struct http1 *h = x->state;

	return wire_heard(&h->wire);
}

static bool http1_unseen(const struct exchange *x, enum fail f)
{
	const struct http1 *h = x->state;

	return wire_unseen(&h->wire, f);
}

static void http1_counts(const struct exchange *x, struct proto_counts *c)
{
	const struct http1 *h = x->state;

	c->body = h->body.received;
	wire_counts(&h->wire, c);
}

/* Bytes beyond the response mean that the server lies. */
static bool http1_reusable(const struct exchange *x, const struct http1 *h)
{
	return x->resp.keep_alive && x->sent && inbuf_len(&h->wire.in) == h->body.held &&
	       h->body.framing != H1_BODY_UNTIL_CLOSE;
}

static void http1_end(struct exchange *x, bool whole)
{
	struct http1 *h = x->state;

	wire_end(x, &h->wire, whole && http1_reusable(x, h));
}

static void http1_fini(struct exchange *x)
{
	struct http1 *h = x->state;

	wire_fini(&h->wire);
}

static bool http1_tunnel(struct exchange *x, struct tunnel *t)
{
	struct http1 *h = x->state;

	wire_tunnel(&h->wire, t);
	return true;
}

const struct proto_ops proto_http1 = {
	.name = "http/1.1",
	.init = http1_init,
	.connect = http1_connect,
	.send = http1_send,
	.send_rest = http1_send_rest,
	.send_piece = http1_send_piece,
	.accepts = http1_accepts,
	.recv = http1_recv,
	.await = http1_await,
	.body = http1_body,
	.heard = http1_heard,
	.unseen = http1_unseen,
	.counts = http1_counts,
	.end = http1_end,
	.fini = http1_fini,
	.tunnel = http1_tunnel,
};
