/* HTTP/2 to servers: one stream of a connection that others use as well. */
#include <errno.h>
#include "base/mutant.h"
#include "io/loop.h"
#include "proxy/proto/http2.h"

static void http2_init(struct exchange *x)
{
	struct http2 *h = x->state;

	*h = (struct http2){.x = x};
	list_init(&h->st.link);
}

/* Waits for the server's SETTINGS, which say whether WebSocket can be had. */
static MAY_SUSPEND enum h2_known http2_can_upgrade(struct exchange *x, struct http2 *h,
						   uint64_t deadline)
{
	struct h2_stream *st = &h->st;
	int rc = 0;

	while (rc == 0 && h2_stream_extended_connect(st) == H2_NOT_YET) {
		st->reader = co_current();
		rc = co_suspend(deadline);
		st->reader = NULL;
	}
	return rc == -ECANCELED ? H2_NOT_YET : MAX_OF(h2_stream_extended_connect(st), H2_NO);
}

/* A server that cannot (WebSocket, or this request: HTTP_1_1_REQUIRED) is asked in HTTP/1, over a
 * connection of its own. */
static MAY_SUSPEND enum fail http2_fall_back(struct exchange *x, const struct upconn_want *want)
{
	struct upconn_want w = *want;
	struct tls_connect tls;

	w.identity = want->identity * 31 + 1;
	if (w.tls) {
		tls = *w.tls;
		w.tls = &tls;
		if (!proxy_ssl_http1(x, &tls))
			return FAIL_BAD_CONFIG_VALUE;
	}
	return proto_http1.connect(x, &w);
}

static bool peer_wants_http1(const struct peer *p)
{
	return io_now_ms() < atomic_load_explicit(&p->http1_until_ms, memory_order_relaxed);
}

static MAY_SUSPEND enum fail http2_connect(struct exchange *x, struct upconn_want *want)
{
	struct http2 *h = proto_state(x, &proto_http2, sizeof(*h));
	struct upconn *plain;
	enum fail f;

	if (!h)
		return FAIL_NO_MEMORY;
	x->proto->fini(x);
	http2_init(x);
	if (x->conf->http_version == PROXY_HTTP_AUTO && peer_wants_http1(x->pick.member->peer))
		return http2_fall_back(x, want);
	f = h2_upconn_take(&x->pick, want, x->conf->http_version == HTTP_2, &h->st, &plain,
			   &x->attempt->connect_us);
	if (f != FAIL_OK)
		return f;
	if (plain)
		return http1_adopt(x, plain);
	if (x->upgrade) {
		enum h2_known can = http2_can_upgrade(x, h, io_after(want->connect_timeout_ms));

		if (can != H2_YES)
			h2_stream_leave(&h->st);
		if (can != H2_YES)
			return can == H2_NO ? http2_fall_back(x, want) : FAIL_CANCELLED;
	}
	x->connected = true;
	x->reused = h->st.reused;
	return FAIL_OK;
}

/* ---- the request ---- */

/* What is upgraded to (:protocol is the second field). */
static void http2_protocol(struct exchange *x, struct h2_fields *f, struct span value)
{
	struct http2 *h = x->state;

	h->protocol = value;
	if (f->failed)
		return;
	f->v[1].value = (uint8_t *)value.p;
	f->v[1].valuelen = value.n;
}

/* The fields of x->head, which HTTP/1.1 would have sent, but for what is HTTP/1's own. */
static void http2_fields(struct exchange *x, struct h2_fields *f)
{
	struct span rest = x->head, line, authority = {0};
	size_t first;

	(void)span_split(&rest, '\n', &line); /* the request line */
	h2_fields_add(f, SPAN(":method"), x->upgrade ? SPAN("CONNECT") : x->method_name,
		      NGHTTP2_NV_FLAG_NO_COPY_NAME);
	if (x->upgrade)
		h2_fields_add(f, SPAN(":protocol"), SPAN("websocket"),
			      NGHTTP2_NV_FLAG_NO_COPY_NAME);
	h2_fields_add(f, SPAN(":scheme"), x->target->tls ? SPAN("https") : SPAN("http"),
		      NGHTTP2_NV_FLAG_NO_COPY_NAME);
	h2_fields_add(f, SPAN(":path"), x->uri, NGHTTP2_NV_FLAG_NO_COPY_NAME);
	first = f->n;
	h2_fields_add(f, SPAN(":authority"), authority, NGHTTP2_NV_FLAG_NO_COPY_NAME);
	while (span_split(&rest, '\n', &line) && line.n > 1) {
		size_t colon = (size_t)span_find_char(line, ':', 0);
		struct span name = span_cut(line, 0, colon);
		/* RFC 9113 8.2.1: no blanks around values. */
		struct span value = span_trim(span_cut(line, colon + 2, line.n - 1));
		enum hdr_id id = hdr_id_of(name);

		if (id == HDR_HOST)
			authority = value;
		else if (id == HDR_UPGRADE && x->upgrade)
			http2_protocol(x, f, value);
		else if (x->upgrade && id == HDR_SEC_WEBSOCKET_KEY)
			continue;
		else if (x->grpc_web && !(value = grpc_web_field(x, id, value)).p)
			continue;
		else if (!h2_field_is_connection(id))
			h2_fields_add(f, name, value, NGHTTP2_NV_FLAG_NONE);
	}
	if (x->grpc_web || hdrs_has_token(&x->r->in.headers, HDR_TE, SPAN("trailers")))
		h2_fields_add(f, SPAN("te"), SPAN("trailers"), NGHTTP2_NV_FLAG_NO_COPY_NAME);
	if (f->failed)
		return;
	if (authority.n) {
		f->v[first].value = (uint8_t *)authority.p;
		f->v[first].valuelen = authority.n;
	} else {
		memmove(f->v + first, f->v + first + 1, (--f->n - first) * sizeof(*f->v));
	}
}

/* RFC 9113 8.1: trailers may follow a body of no bytes. Of a streamed one it is not known yet. */
static bool http2_sends_body(const struct exchange *x)
{
	if (x->body_kind == SEND_NOTHING)
		return false;
	return x->body_length || x->trailers ||
	       (x->body_kind == SEND_STREAM && x->conf->pass_trailers);
}

static enum fail http2_send(struct exchange *x, bool *all)
{
	struct http2 *h = x->state;
	size_t max = (size_t)x->conf->max_header_size;
	struct h2_fields f;
	enum fail fl;

	h2_fields_init(&f, &x->r->arena, 24);
	http2_fields(x, &f);
	if (f.failed)
		return FAIL_NO_MEMORY;
	h->st.arena = &x->r->arena;
	h->st.resp = &x->resp;
	h->st.method = x->method;
	h->st.limits = (struct h2_limits){.line_max = max, .total_max = max, .headers_max = 1000};
	h->st.has_body = http2_sends_body(x);
	*all = x->body_kind == SEND_NOTHING || x->body_kind == SEND_MEMORY || !h->st.has_body;
	if (*all && h->st.has_body) {
		h->st.piece = (struct piece){.kind = PIECE_MEM, .mem = x->memory};
		h->st.piece_last = true;
		h->st.trailers_out = x->trailers;
	}
	if (x->upgrade) /* the tunnel will have something to say */
		h->st.has_body = true;
	h->offered_ms = io_now_ms();
	fl = h2_stream_open(&h->st, &f);
	return fl;
}

static MAY_SUSPEND enum fail http2_send_rest(struct exchange *x)
{
	return FAIL_OK;
}

static unsigned http2_accepts(const struct exchange *x)
{
	return PIECE_MEM | PIECE_FILE;
}

/* When it will have taken too long: as long as some bytes go out within each time-out it goes on.
 */
static uint64_t http2_send_deadline(const struct http2 *h)
{
	uint64_t since = MAX_OF(h->offered_ms, h->st.sent_ms) + 500 * MUTANT(late_send_timeout);

	return h->x->conf->send_timeout ? since + (uint64_t)h->x->conf->send_timeout : CO_NEVER;
}

static bool http2_piece_is_out(const struct h2_stream *st)
{
	return st->piece_last ? st->sent : !piece_len(&st->piece);
}

static MAY_SUSPEND enum fail http2_send_piece(struct exchange *x, struct piece *p,
					      const struct body *b)
{
	struct http2 *h = x->state;
	struct h2_stream *st = &h->st;
	int rc = 0;

	if (!piece_len(p) && !p->last)
		return FAIL_OK;
	st->piece = *p;
	st->piece_last = p->last;
	if (p->last && x->conf->pass_trailers)
		st->trailers_out = b->trailers;
	h2_stream_resume(st);
	h->offered_ms = io_now_ms();
	while (rc == 0 && st->conn && !http2_piece_is_out(st)) {
		st->writer = co_current();
		rc = co_suspend(http2_send_deadline(h));
		st->writer = NULL;
		if (rc == -ETIMEDOUT && io_now_ms() < http2_send_deadline(h))
			rc = 0;
	}
	if (rc < 0) {
		st->piece = (struct piece){.kind = PIECE_MEM};
		st->piece_last = false;
	}
	if (rc == -ETIMEDOUT)
		h2_stream_silent(st);
	if (rc < 0)
		return rc == -ETIMEDOUT ? FAIL_UPSTREAM_SEND_TIMEOUT : FAIL_CANCELLED;
	/* A server that has answered needs no more of it: the answer counts. */
	return http2_piece_is_out(st) ? FAIL_OK : FAIL_UPSTREAM_SEND;
}

/* ---- the response head ---- */

/* Is a body that lies in memory still on its way? Nobody else looks after it. */
static bool http2_memory_goes(const struct h2_stream *st)
{
	return st->has_body && st->piece_last && !st->sent && st->conn;
}

/* From what came last, or from *since on, or from when the last of the request left: all of it may
 * lie in frames long before these have gone. */
static uint64_t http2_read_deadline(const struct http2 *h, uint64_t since)
{
	uint64_t from = MAX_OF(since, MAX_OF(h->st.arrived_ms, h->st.sent_ms));

	return h->x->conf->read_timeout ? from + (uint64_t)h->x->conf->read_timeout : CO_NEVER;
}

/* Waits until something happens to the stream. While the request is going out only the sender's
 * clock runs; afterwards the time runs from *since on at the earliest (0: from now), for not every
 * wake-up is progress: there may be news of the connection (SETTINGS, say). */
static MAY_SUSPEND enum fail http2_wait(struct exchange *x, struct http2 *h, uint64_t until_ms,
					uint64_t *since)
{
	struct h2_stream *st = &h->st;
	bool child = x->sending && co_child_running(&x->sender);
	bool memory = !child && http2_memory_goes(st);
	uint64_t deadline = MIN_OF(until_ms, x->deadline_ms), timeout;
	int rc;

	if (child || memory)
		*since = 0;
	else if (!*since || MUTANT(news_are_progress))
		*since = io_now_ms();
	timeout = child	   ? CO_NEVER
		  : memory ? http2_send_deadline(h)
			   : http2_read_deadline(h, *since);
	st->reader = x->waiter = co_current();
	rc = co_suspend(MIN_OF(deadline, timeout));
	st->reader = x->waiter = NULL;
	if (rc == -ECANCELED)
		return FAIL_CANCELLED;
	if (rc != -ETIMEDOUT || until_ms <= io_now_ms())
		return FAIL_OK;
	timeout = memory ? http2_send_deadline(h) : http2_read_deadline(h, *since);
	if (io_now_ms() < MIN_OF(x->deadline_ms, timeout))
		return FAIL_OK; /* some of it has gone out meanwhile */
	if (x->deadline_ms > io_now_ms())
		h2_stream_silent(st);
	return memory ? FAIL_UPSTREAM_SEND_TIMEOUT : FAIL_UPSTREAM_READ_TIMEOUT;
}

/* Fields as they came, for variables: the answer changes its own. */
static bool http2_log_head(struct exchange *x)
{
	struct hdrs *copy = arena_alloc(&x->r->arena, sizeof(*copy));
	const struct hdrs *h = &x->resp.headers;

	if (!copy)
		return false;
	*copy = *h;
	copy->v = arena_copy(&x->r->arena, h->v, h->n * sizeof(*h->v));
	copy->cap = h->n;
	x->log->headers = copy;
	x->log->head = (struct span){0};
	return copy->v || !h->n;
}

/* The next 103 that the client wants. */
static bool http2_hints(struct exchange *x, struct h2_stream *st)
{
	while (st->hints && !x->hints) {
		struct h2_hint *hint = st->hints;

		st->hints = hint->next;
		if (exchange_passes_hints(x, hint->bytes))
			x->hints = &hint->headers;
	}
	return x->hints;
}

static MAY_SUSPEND enum fail http2_recv(struct exchange *x)
{
	struct http2 *h = x->state;
	struct h2_stream *st = &h->st;
	uint64_t since = 0;

	while (!http2_hints(x, st) && !st->head_done) {
		bool sending = x->sending && co_child_running(&x->sender);
		enum fail f;

		if (!sending && x->send_fail != FAIL_OK &&
		    (x->send_client || x->send_fail != FAIL_UPSTREAM_SEND))
			return x->send_fail;
		if (st->fail != FAIL_OK)
			return st->fail;
		f = http2_wait(x, h, CO_NEVER, &since);
		if (f != FAIL_OK)
			return f;
	}
	if (x->hints)
		return FAIL_OK;
	x->interims = st->interims;
	if (x->upgrade && x->resp.status < 300) {
		enum fail f = http2_switched(x);

		if (f != FAIL_OK)
			return f;
	}
	return http2_log_head(x) ? FAIL_OK : FAIL_NO_MEMORY;
}

static MAY_SUSPEND enum fail http2_await(struct exchange *x, int64_t bytes, uint64_t until_ms)
{
	struct http2 *h = x->state;
	struct h2_stream *st = &h->st;
	uint64_t since = 0;

	while (!st->ended && st->fail == FAIL_OK && io_now_ms() < until_ms &&
	       (bytes < 0 || st->arrived - st->held_back < bytes)) {
		bool sending = x->sending && co_child_running(&x->sender);
		enum fail f = http2_wait(x, h, until_ms, &since);

		if (f != FAIL_OK)
			return f;
		if (sending && !co_child_running(&x->sender))
			break;
	}
	return st->ended || st->fail == FAIL_OK ? FAIL_OK : FAIL_UPSTREAM_CLOSED;
}

/* ---- the response body ---- */

static MAY_SUSPEND enum fail http2_body_next(struct body *b, struct piece *out)
{
	struct http2 *h = CONTAINER_OF(b, struct http2, body);
	struct h2_stream *st = &h->st;
	struct inbuf empty = h->held;
	uint64_t since = 0;

	BUG_ON(b->done);
	h2_stream_consume(st, h->given);
	h->given = 0;
	while (!inbuf_len(&st->in) && !st->ended) {
		enum fail f = st->fail;

		if (f == FAIL_OK)
			f = http2_wait(h->x, h, CO_NEVER, &since);
		if (f != FAIL_OK)
			return f;
	}
	/* The buffer that was read gets what arrives while the other one is. */
	empty.start = empty.end = 0;
	h->held = st->in;
	st->in = empty;
	h->given = inbuf_len(&h->held);
	h->received += (int64_t)h->given;
	*out = (struct piece){.kind = PIECE_MEM, .mem = inbuf_span(&h->held), .last = st->ended};
	if (!out->last)
		return FAIL_OK;
	b->done = true;
	if (st->trailers.n && !MUTANT(lost_trailers))
		b->trailers = &st->trailers;
	exchange_complete(h->x);
	return FAIL_OK;
}

static bool http2_body_ready(struct body *b)
{
	struct http2 *h = CONTAINER_OF(b, struct http2, body);

	return inbuf_len(&h->st.in) || h->st.ended;
}

static void http2_body_close(struct body *b)
{
}

static const struct body_ops http2_body_ops = {
	.next = http2_body_next,
	.ready = http2_body_ready,
	.close = http2_body_close,
};

static bool http2_follows(const struct exchange *x, bool unknown)
{
	const struct http2 *h = x->state;

	return h->st.ended ? h->st.trailers.n > 0 : unknown;
}

static struct body *http2_body(struct exchange *x)
{
	struct http2 *h = x->state;

	h->body = (struct body){
		.ops = &http2_body_ops, .length = x->resp.content_length, .accept = PIECE_MEM};
	return &h->body;
}

/* ---- the end ---- */

static bool http2_heard(const struct exchange *x)
{
	const struct http2 *h = x->state;

	return h->st.wire_received > 0;
}

static bool http2_unseen(const struct exchange *x, enum fail f)
{
	return fail_is_refusal(f) || ((const struct http2 *)x->state)->st.unseen;
}

static void http2_counts(const struct exchange *x, struct proto_counts *c)
{
	const struct http2 *h = x->state;

	*c = (struct proto_counts){
		.received = h->st.wire_received, .sent = h->st.wire_sent, .body = h->received};
}

static void http2_end(struct exchange *x, bool whole)
{
	struct http2 *h = x->state;

	h2_stream_leave(&h->st);
}

static void http2_fini(struct exchange *x)
{
	struct http2 *h = x->state;

	BUG_ON(h->st.conn);
	inbuf_free(&h->st.in);
	inbuf_free(&h->held);
	h->given = 0;
}

const struct proto_ops proto_http2 = {
	.name = "h2",
	.init = http2_init,
	.connect = http2_connect,
	.send = http2_send,
	.send_rest = http2_send_rest,
	.send_piece = http2_send_piece,
	.accepts = http2_accepts,
	.recv = http2_recv,
	.await = http2_await,
	.follows = http2_follows,
	.body = http2_body,
	.heard = http2_heard,
	.unseen = http2_unseen,
	.counts = http2_counts,
	.end = http2_end,
	.fini = http2_fini,
	.tunnel = http2_tunnel,
};
