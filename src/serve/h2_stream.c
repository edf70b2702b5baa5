/* One stream: its head, its body, its end. */
#include "serve/h2_stream.h"
#include <errno.h>
#include "base/mutant.h"
#include "serve/tunnel.h"

/* ---- the request body ---- */

static MAY_SUSPEND enum fail body_wait(struct h2_client *s)
{
	const struct core_loc *l = req_conf(&s->req, &core_loc_mod);
	int rc;

	s->reader = co_current();
	rc = co_suspend(io_after((uint64_t)l->client_body_timeout));
	s->reader = NULL;
	if (rc == -ECANCELED)
		return s->req.aborted ? FAIL_CLIENT_CLOSED : FAIL_CANCELLED;
	return rc < 0 && !inbuf_len(&s->in) && !s->in_done
		       ? fail_of_client(rc, FAIL_CLIENT_TIMEOUT_BODY)
		       : FAIL_OK;
}

/* The piece given last is done with: its bytes may come again. */
static void body_release(struct h2_client *s)
{
	size_t n = inbuf_len(&s->held);

	if (!n)
		return;
	inbuf_free(&s->held);
	if (!h2_gone(s)) {
		h2_conn_touch(s->h2);
		if (!MUTANT(up_window_never))
			h2_conn_check(s->h2,
				      nghttp2_session_consume_stream(s->h2->session, s->id, n));
	}
}

/* As much more as the two sizes differ. The window itself is another one until the client has
 * acknowledged our settings. */
void h2_stream_open_window(struct h2_client *s)
{
	nghttp2_session *session = s->h2->session;

	if (s->pulled)
		return;
	s->pulled = true;
	if (s->h2->recv_window > s->h2->window && !s->closed && !s->in_done &&
	    s->h2->phase != H2_DEAD) {
		int32_t now =
			nghttp2_session_get_stream_effective_local_window_size(session, s->id);
		int64_t more = (int64_t)s->h2->recv_window - s->h2->window;

		h2_conn_touch(s->h2);
		h2_conn_check(s->h2, nghttp2_session_set_local_window_size(
					     session, NGHTTP2_FLAG_NONE, s->id,
					     (int32_t)MIN_OF(now + more, INT32_MAX)));
	}
}

static MAY_SUSPEND enum fail h2_body_pull(struct h2_client *s, struct piece *out)
{
	enum fail f = FAIL_OK;

	body_release(s);
	if (s->expect_continue && !inbuf_len(&s->in) && !s->in_done)
		f = s->req.sink->interim(&s->req, 100, NULL);
	s->expect_continue = false;
	h2_stream_open_window(s);
	while (f == FAIL_OK && !inbuf_len(&s->in) && !s->in_done && s->in_fail == FAIL_OK) {
		if (h2_gone(s))
			return FAIL_CLIENT_CLOSED;
		f = body_wait(s);
	}
	if (f == FAIL_OK)
		f = s->in_fail;
	if (f != FAIL_OK)
		return f;
	s->held = s->in;
	s->in = (struct inbuf){0};
	*out = (struct piece){.kind = PIECE_MEM, .mem = inbuf_span(&s->held), .last = s->in_done};
	s->req.body_received += (int64_t)out->mem.n;
	return s->max >= 0 && s->req.body_received > s->max ? FAIL_BODY_TOO_LARGE : FAIL_OK;
}

static MAY_SUSPEND enum fail h2_body_next(struct body *body, struct piece *out)
{
	struct h2_client *s = CONTAINER_OF(body, struct h2_client, body);
	enum fail f;

	if (s->in_fail != FAIL_OK)
		return s->in_fail;
	f = h2_body_pull(s, out);
	if (f == FAIL_OK && out->last) {
		body->done = true;
		if (s->trailer_head)
			body->trailers = &s->trailers;
	}
	if (f != FAIL_CANCELLED) /* a sender that was told to stop; another may go on */
		s->in_fail = f;
	return f;
}

static bool h2_body_ready(struct body *body)
{
	struct h2_client *s = CONTAINER_OF(body, struct h2_client, body);

	return inbuf_len(&s->in) || s->in_done || s->in_fail != FAIL_OK;
}

static void h2_body_close(struct body *body)
{
	/* What is unread goes with the stream. */
}

static const struct body_ops h2_body_ops = {
	.next = h2_body_next,
	.ready = h2_body_ready,
	.close = h2_body_close,
};

static void h2_body_start(struct h2_client *s)
{
	struct req *r = &s->req;

	s->body = (struct body){
		.ops = &h2_body_ops, .length = r->in.content_length, .accept = PIECE_MEM};
	s->expect_continue = r->in.expect_continue;
	r->body = &s->body;
}

void h2_body_limits(struct req *r)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	h2_of(r)->max = l->client_max_body_size > 0 ? l->client_max_body_size : -1;
}

static void wake_reader(struct h2_client *s)
{
	if (s->tunnel)
		h2_tunnel_event(s);
	if (s->reader)
		co_wake(s->reader, 0);
}

void h2_stream_in_fail(struct h2_client *s, enum fail f)
{
	s->in_fail = f;
	if (!s->closed)
		h2_conn_check(s->h2, nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE,
							       s->id, NGHTTP2_PROTOCOL_ERROR));
	wake_reader(s);
}

/* False: no memory for so many more bytes. */
static bool body_room(struct h2_client *s, size_t n)
{
	size_t have = inbuf_len(&s->in);

	return (s->in.p && s->in.cap - s->in.end >= n) ||
	       inbuf_reserve(&s->in, MAX_OF(have + n, 2 * have), NULL) ||
	       inbuf_reserve(&s->in, have + n, NULL);
}

static void body_store(struct h2_client *s, const uint8_t *p, size_t n)
{
	memcpy(s->in.p + s->in.end, p, n);
	s->in.end += (uint32_t)n;
}

/* Whether no more comes than was announced is not known before the stream's end; what turns out to
 * be malformed must not have been passed on as a whole (RFC 9113 8.1.1). So the last byte waits. */
void h2_stream_data(struct h2_client *s, const uint8_t *p, size_t n)
{
	if (MUTANT(up_window_early))
		nghttp2_session_consume_stream(s->h2->session, s->id, n);
	s->arrived += (int64_t)n;
	if (s->req.in.content_length >= 0 && s->arrived > s->req.in.content_length) {
		if (s->in_fail == FAIL_OK)
			h2_stream_in_fail(s, FAIL_BAD_CONTENT_LENGTH);
		return;
	}
	if (!body_room(s, n)) {
		h2_stream_in_fail(s, FAIL_NO_MEMORY);
		return;
	}
	if (n && s->arrived == s->req.in.content_length && !MUTANT(last_byte_early)) {
		s->held_back = true;
		s->last = p[--n];
	}
	body_store(s, p, n);
	wake_reader(s);
}

/* RFC 9113 8.1.1: what was announced must have come. */
void h2_stream_in_end(struct h2_client *s)
{
	if (s->req.in.content_length >= 0 && s->arrived != s->req.in.content_length) {
		h2_stream_in_fail(s, FAIL_BAD_CONTENT_LENGTH);
		return;
	}
	if (s->held_back && !body_room(s, 1)) {
		h2_stream_in_fail(s, FAIL_NO_MEMORY);
		return;
	}
	if (s->held_back)
		body_store(s, &s->last, 1);
	s->in_done = true;
	wake_reader(s);
}

bool h2_stream_trailers(struct h2_client *s)
{
	struct h2_limits lim = s->head.lim;

	s->trailer_head = arena_alloc(&s->req.arena, sizeof(*s->trailer_head));
	if (!s->trailer_head)
		return false;
	hdrs_init(&s->trailers, &s->req.arena);
	h2_head_trailers(s->trailer_head, &s->req.arena, &lim, &s->trailers, false);
	return true;
}

/* ---- life ---- */

static void stream_head_begin(struct h2_client *s)
{
	const struct core_srv *conf = req_conf(&s->req, &core_srv_mod);
	size_t line = (size_t)MAX_OF(conf->large_client_header_buffers.size,
				     conf->client_header_buffer_size);
	struct h2_limits lim = {
		.line_max = line,
		.total_max = MIN_OF(line * (size_t)conf->large_client_header_buffers.num,
				    (size_t)INBUF_MAX),
		.headers_max = (size_t)conf->max_headers,
		.ignore_invalid_headers = conf->ignore_invalid_headers,
		.underscores_in_headers = conf->underscores_in_headers,
		.extended_connect = s->h2->extended_connect,
	};

	h2_head_request(&s->head, &s->req.arena, &lim, &s->req.in);
}

struct h2_client *h2_stream_new(struct h2_conn *h, int32_t id)
{
	struct http_port *port = conn_port(h->conn);
	struct req *r = port ? req_new(h->conn, port) : NULL;
	struct h2_client *s;

	if (!r)
		return NULL;
	s = h2_of(r);
	memset((char *)s + sizeof(struct req), 0, sizeof(*s) - sizeof(struct req));
	r->server = conn_server(h->conn, port);
	r->scope = r->server->scope;
	r->sink = &h2_sink;
	r->conn_request = ++h->conn->requests;
	s->h2 = h;
	s->id = id;
	s->max = -1;
	s->left = -1;
	list_init(&s->start);
	timer_init(&s->timer, NULL);
	list_push(&h->streams, &s->link);
	h->nstreams++;
	h->forgotten = false;
	stream_head_begin(s);
	return s;
}

static void h2_stream_free(struct h2_client *s)
{
	const struct core_loc *l = req_conf(&s->req, &core_loc_mod);
	struct h2_conn *h = s->h2;

	if (!s->closed)
		nghttp2_session_set_stream_user_data(h->session, s->id, NULL);
	if (h->head == s)
		h->head = NULL;
	h2_ahead_forget(s);
	list_del(&s->link);
	list_del(&s->start);
	inbuf_free(&s->in);
	inbuf_free(&s->held);
	inbuf_free(&s->tunnel_out);
	timer_stop(&co_sched.wheel, &s->timer);
	h->nstreams--;
	h->conn->keepalive_ms = (uint32_t)MIN_OF(l->keepalive_timeout, (int64_t)UINT32_MAX);
	if (!h->nstreams)
		h->idle_ms = io_now_ms();
	h2_conn_touch(h);
	req_free(&s->req);
}

/* Why a stream ends before anything was done for it. */
static enum fail forsaken_fail(const struct h2_client *s, bool whole)
{
	const struct h2_conn *h = s->h2;

	if (whole && s->head.fail != FAIL_OK)
		return s->head.fail;
	if (!h->terminated)
		return FAIL_CLIENT_CLOSED;
	if (h->error == NGHTTP2_NO_ERROR)
		return FAIL_CLIENT_TIMEOUT_HEAD;
	return h->error == NGHTTP2_ENHANCE_YOUR_CALM ? FAIL_CLIENT_GLITCHES
						     : FAIL_CLIENT_H2_PROTOCOL;
}

/* Its request is there, or half of it, and is logged as such. */
static void stream_forsaken(struct h2_client *s)
{
	struct req *r = &s->req;
	bool whole = !list_empty(&s->start);
	enum fail f = forsaken_fail(s, whole);

	if (whole && s->head.fail == FAIL_OK && req_set_server(r) == FAIL_OK)
		(void)req_set_uri(r);
	r->status = req_fail(r, f);
	if (!whole && f == FAIL_CLIENT_CLOSED)
		r->status = 400; /* as of half a head in HTTP/1 */
	COUNT_UP(conn_counters()->requests);
	if (!MUTANT(missing_half))
		req_log_phase(r);
	h2_stream_free(s);
}

void h2_stream_abort(struct h2_client *s)
{
	if (!s->started) {
		stream_forsaken(s);
		return;
	}
	if (s->req.tunnelled) {
		h2_tunnel_event(s);
		return;
	}
	if (!s->end_sent && !s->req.aborted) {
		s->req.aborted = true;
		if (s->co && !s->req.ignore_client_abort)
			co_cancel(s->co);
	}
	if (s->reader)
		co_wake(s->reader, -ECONNRESET);
	if (s->writer)
		co_wake(s->writer, -ECONNRESET);
}

void h2_stream_cancel(struct h2_client *s)
{
	if (s->co)
		co_cancel(s->co);
}

/* Malformed (RFC 9113 8.1.1), as opposed to what can be answered: too large, or no host of ours. */
static bool is_malformed(enum fail f)
{
	return f == FAIL_BAD_PSEUDO_HEADER || f == FAIL_CONNECTION_FIELD ||
	       f == FAIL_BAD_HEADER_NAME || f == FAIL_BAD_HEADER_LINE || f == FAIL_BAD_METHOD ||
	       f == FAIL_BAD_URI || f == FAIL_BAD_CONTENT_LENGTH;
}

static void reset_stream(struct h2_client *s, uint32_t error)
{
	if (!h2_gone(s))
		h2_conn_check(s->h2, nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE,
							       s->id, error));
}

/* The coroutine's last deed: what remains of the stream on the wire. An answer that is complete
 * ends an upload that is not (RFC 9113 8.1). */
void h2_stream_end(struct h2_client *s)
{
	struct req *r = &s->req;

	if (r->dropped || (r->tunnelled && !s->end_sent))
		reset_stream(s, NGHTTP2_CANCEL);
	else if (s->end_sent && !r->broken)
		reset_stream(s, NGHTTP2_NO_ERROR);
	else
		reset_stream(s, NGHTTP2_INTERNAL_ERROR);
	if (s->end_sent && s->h2->glitches)
		s->h2->glitches--;
	COUNT_DOWN(conn_counters()->writing);
	h2_stream_free(s);
}

bool h2_may_keep(const struct req *r)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	const struct conn *c = r->conn;

	return l->keepalive_timeout > 0 && c->requests < l->keepalive_requests &&
	       io_now_ms() - c->opened_ms < (uint64_t)l->keepalive_time;
}

/* HTTP/1 wants a key with a WebSocket's upgrade, which HTTP/2 does without (RFC 8441 5.1). */
static bool make_key(struct h2_client *s)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct hdrs *h = &s->req.in.headers;
	char *p = arena_alloc(&s->req.arena, 24);
	uint64_t random = 0;

	hdrs_remove(h, HDR_SEC_WEBSOCKET_KEY);
	for (int i = 0; p && i < 22; i++) { /* 16 bytes: the last digit has two bits of them */
		if (i % 10 == 0)
			random = io_rand64();
		p[i] = digits[(random >> (i % 10 * 6)) & (i == 21 ? 48 : 63)];
	}
	if (!p)
		return false;
	p[22] = p[23] = '=';
	s->req.own_key = true;
	return hdrs_append(h, HDR_SEC_WEBSOCKET_KEY, SPAN("sec-websocket-key"), span_make(p, 24));
}

static MAY_SUSPEND void h2_serve(struct h2_client *s)
{
	struct req *r = &s->req;
	enum fail f = s->head.fail;

	if (s->head.ndropped)
		req_log(r, LOG_INFO, 0, "client sent invalid header line: \"%.*s\"",
			SPAN_ARG(s->head.dropped_name));
	if (f == FAIL_OK)
		f = req_set_server(r);
	if (f == FAIL_OK)
		f = req_set_uri(r);
	r->keep_alive = true;
	if (f != FAIL_OK) {
		req_serve_error(r, f);
		return;
	}
	if (s->head.protocol.n && !make_key(s)) {
		req_serve_error(r, FAIL_NO_MEMORY);
		return;
	}
	if (s->has_body && !s->head.protocol.n)
		h2_body_start(s);
	req_serve(r);
}

static void h2_stream_main(void *arg)
{
	struct h2_client *s = arg;

	s->co = co_current();
	if (s->req.aborted) /* before it began */
		co_cancel(s->co);
	h2_serve(s);
	s->co = NULL;
	if (s->req.tunnelled)
		tunnel_start(s->req.resp.tunnel); /* may free s */
	else
		h2_stream_end(s);
}

/* Not answered, but logged. */
static void refuse_malformed(struct h2_client *s)
{
	struct req *r = &s->req;

	r->status = req_fail(r, s->head.fail);
	req_log_phase(r);
	reset_stream(s, NGHTTP2_PROTOCOL_ERROR);
	COUNT_DOWN(conn_counters()->writing);
	h2_stream_free(s);
}

void h2_stream_start(struct h2_client *s)
{
	COUNT_UP(conn_counters()->requests);
	COUNT_UP(conn_counters()->writing);
	if (is_malformed(s->head.fail)) {
		refuse_malformed(s);
		return;
	}
	s->started = true;
	if (co_start(h2_stream_main, s) < 0) {
		fail_count(FAIL_NO_STACKS);
		reset_stream(s, NGHTTP2_REFUSED_STREAM);
		COUNT_DOWN(conn_counters()->writing);
		h2_stream_free(s);
	}
}
