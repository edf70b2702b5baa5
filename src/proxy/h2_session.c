/* HTTP/2 connections to servers: what nghttp2 tells, and the streams. Nothing here suspends. */
#include <errno.h>
#include "base/mutant.h"
#include "io/loop.h"
#include "proxy/h2_upconn_int.h"

#define CONNECTION_WINDOW (16 * 1024 * 1024) /* never the limit: streams have their own */

/* ---- memory ---- */

static void *session_malloc(size_t n, void *arg)
{
	return mem_alloc(n);
}

static void session_free(void *p, void *arg)
{
	mem_free(p);
}

static void *session_calloc(size_t n, size_t size, void *arg)
{
	return mem_zalloc(n * size);
}

/* nghttp2 1.52 frees an item twice when the queue it belongs into cannot grow: more than one
 * chance.
 */
#define RESIZE_TRIES 4

static void *session_realloc(void *p, size_t n, void *arg)
{
	void *to = NULL;

	for (int i = 0; i < RESIZE_TRIES && !to; i++)
		to = mem_resize(p, n);
	return to;
}

/* ---- streams ---- */

void h2_stream_wake(struct h2_stream *st)
{
	if (st->reader)
		co_wake(st->reader, 0);
	if (st->writer)
		co_wake(st->writer, 0);
	if (st->event)
		st->event(st);
}

static void stream_arrived(struct h2_stream *st)
{
	st->arrived_ms = io_now_ms();
	if (st->reader)
		co_wake(st->reader, 0);
	if (st->event)
		st->event(st);
}

/* The server broke the rules of one stream, or we cannot go on with it. */
static void stream_refuse(struct h2_stream *st, enum fail f, uint32_t code)
{
	struct h2_upconn *c = st->conn;

	h2_upconn_check(c, nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, st->id, code));
	h2_upconn_arm(c);
	h2_stream_detach(st, f);
}

static struct h2_stream *stream_of(nghttp2_session *s, int32_t id)
{
	return nghttp2_session_get_stream_user_data(s, id);
}

/* ---- heads ---- */

static int on_begin_headers(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2_stream *st = stream_of(s, frame->hd.stream_id);

	if (!st)
		return 0;
	if (st->head_done) {
		hdrs_init(&st->trailers, st->arena);
		h2_head_trailers(&st->head, st->arena, &st->limits, &st->trailers, true);
	} else {
		hdrs_init(&st->resp->headers, st->arena);
		h2_head_response(&st->head, st->arena, &st->limits, st->method, st->resp);
	}
	return 0;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name,
		     size_t namelen, const uint8_t *value, size_t valuelen, uint8_t flags,
		     void *arg)
{
	struct h2_stream *st = stream_of(s, frame->hd.stream_id);

	/* What is wrong is said again at the end: the block must be decoded anyway. */
	if (st)
		(void)!h2_head_field(&st->head, span_make((const char *)name, namelen),
				     span_make((const char *)value, valuelen));
	return 0;
}

/* False: no memory for so many more bytes. */
static bool stream_room(struct h2_stream *st, size_t n)
{
	struct inbuf *in = &st->in;

	return in->cap - in->end >= n ||
	       inbuf_reserve(in, MAX_OF(inbuf_len(in) + n, (size_t)in->cap * 2), NULL) ||
	       inbuf_reserve(in, inbuf_len(in) + n, NULL);
}

static void stream_store(struct h2_stream *st, const void *p, size_t n)
{
	memcpy(st->in.p + st->in.end, p, n);
	st->in.end += (uint32_t)n;
}

/* All of the response is here, as far as the server is concerned. */
static void stream_ended(struct h2_stream *st)
{
	if (st->announced >= 0 && st->arrived != st->announced && !st->bodiless) {
		stream_refuse(st, FAIL_UPSTREAM_TRUNCATED, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	if (st->held_back && !stream_room(st, 1)) {
		stream_refuse(st, FAIL_NO_MEMORY, NGHTTP2_INTERNAL_ERROR);
		return;
	}
	if (st->held_back)
		stream_store(st, &st->last, 1);
	st->held_back = false;
	st->ended = true;
	stream_arrived(st);
}

/* The next head will be written where this one is. */
static enum fail stream_interim(struct h2_stream *st)
{
	struct h2_hint *hint;

	if (++st->interims > H2_INTERIMS_MAX)
		return FAIL_UPSTREAM_BAD_HEAD;
	if (st->resp->status != 103)
		return FAIL_OK;
	hint = arena_alloc(st->arena, sizeof(*hint));
	if (!hint)
		return FAIL_NO_MEMORY;
	*hint = (struct h2_hint){.headers = st->resp->headers, .bytes = st->resp->head_size};
	*(st->hints ? st->hints_end : &st->hints) = hint;
	st->hints_end = &hint->next;
	return FAIL_OK;
}

static void stream_head(struct h2_stream *st, bool end)
{
	enum fail f = h2_head_end(&st->head, end);

	if (f == FAIL_OK && st->head_done && !end)
		f = FAIL_UPSTREAM_BAD_HEAD; /* trailers end the stream */
	if (f == FAIL_OK && !st->head_done && st->resp->status < 200)
		f = stream_interim(st);
	if (f != FAIL_OK) {
		stream_refuse(st, f, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	if (!st->head_done && st->resp->status >= 200) {
		st->head_done = true;
		st->bodiless = !http_response_has_body(st->method, st->resp->status);
		/* Nothing follows: then the client's head must end its stream, too (gRPC's
		 * trailers-only answers). */
		if (end && !st->bodiless) {
			st->resp->content_length = 0;
			st->resp->chunked = false;
		}
		st->announced = st->resp->content_length;
	}
	if (end)
		stream_ended(st);
	else
		stream_arrived(st);
}

/* ---- frames in ---- */

static int on_begin_frame(nghttp2_session *s, const nghttp2_frame_hd *hd, void *arg)
{
	struct h2_upconn *c = arg;

	if (hd->type == NGHTTP2_HEADERS)
		c->head_stream = hd->stream_id;
	return 0;
}

/* Begun before the server said how many it takes: what nghttp2 holds back would wait until others
 * have ended, however long they take, and no connection is made for it. Who takes none at all (yet)
 * would not on another one either. */
static void refuse_waiting(struct h2_upconn *c)
{
	unsigned sent = 0;
	struct list *l, *tmp;

	if (!c->limit)
		return;
	list_each (l, &c->streams)
		sent += CONTAINER_OF(l, struct h2_stream, link)->head_sent;
	list_each_safe (l, tmp, &c->streams) {
		struct h2_stream *st = CONTAINER_OF(l, struct h2_stream, link);

		if (st->id > 0 && !st->head_sent && ++sent > c->limit)
			stream_refuse(st, FAIL_UPSTREAM_FULL, NGHTTP2_CANCEL);
	}
}

static void on_settings(struct h2_upconn *c)
{
	uint32_t n = nghttp2_session_get_remote_settings(c->session,
							 NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	struct list *l;

	c->settings = true;
	c->limit = MIN_OF(n, (uint32_t)H2_STREAMS_MAX);
	atomic_store_explicit(&c->u->peer->streams, MAX_OF(c->limit, 1u), memory_order_relaxed);
	refuse_waiting(c);
	/* Some wait to learn what the server can do. */
	list_each (l, &c->streams)
		h2_stream_wake(CONTAINER_OF(l, struct h2_stream, link));
}

static int on_frame_recv(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2_upconn *c = arg;
	struct h2_stream *st = frame->hd.stream_id ? stream_of(s, frame->hd.stream_id) : NULL;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (frame->hd.type == NGHTTP2_HEADERS)
		c->head_stream = 0;
	if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
		on_settings(c);
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		c->draining = true;
		c->http1 = frame->goaway.error_code == NGHTTP2_HTTP_1_1_REQUIRED;
	}
	if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) {
		c->pings = 0;
		c->served = true;
	}
	if (!st)
		return 0;
	st->wire_received += (int64_t)frame->hd.length + H2_FRAME_HEAD;
	if (frame->hd.type == NGHTTP2_HEADERS)
		stream_head(st, end);
	else if (frame->hd.type == NGHTTP2_DATA && end && st->head_done)
		stream_ended(st);
	return 0;
}

/* Whether no more comes than was announced is not known before the stream's end; what turns out to
 * be malformed must not have been passed on as a whole (RFC 9113 8.1.1). So the last byte waits. */
static void stream_data(struct h2_stream *st, const uint8_t *p, size_t n)
{
	if (!stream_room(st, n)) {
		stream_refuse(st, FAIL_NO_MEMORY, NGHTTP2_INTERNAL_ERROR);
		return;
	}
	if (n && st->arrived == st->announced && !MUTANT(last_byte_early)) {
		st->held_back = true;
		st->last = p[--n];
	}
	if (n)
		stream_store(st, p, n);
	stream_arrived(st);
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		   void *arg)
{
	struct h2_upconn *c = arg;
	struct h2_stream *st = stream_of(s, id);

	h2_upconn_check(c, nghttp2_session_consume_connection(s, n));
	h2_upconn_arm(c);
	if (!st)
		return 0;
	if (MUTANT(down_window_early))
		nghttp2_session_consume_stream(s, id, n);
	st->arrived += (int64_t)n;
	if (!st->head_done || st->bodiless || (st->announced >= 0 && st->arrived > st->announced))
		stream_refuse(st, FAIL_UPSTREAM_H2, NGHTTP2_PROTOCOL_ERROR);
	else
		stream_data(st, p, n);
	return 0;
}

static int on_stream_close(nghttp2_session *s, int32_t id, uint32_t code, void *arg)
{
	struct h2_upconn *c = arg;
	struct h2_stream *st = stream_of(s, id);

	if (!st)
		return 0;
	h2_upconn_arm(c);
	if (st->ended) {
		h2_stream_detach(st, FAIL_OK);
	} else if (!st->head_done && (code == NGHTTP2_HTTP_1_1_REQUIRED ||
				      (code == NGHTTP2_REFUSED_STREAM && c->http1))) {
		atomic_store_explicit(&c->u->peer->http1_until_ms, io_now_ms() + H2_HTTP1_MS,
				      memory_order_relaxed);
		h2_stream_detach(st, FAIL_UPSTREAM_HTTP1);
	} else if ((code == NGHTTP2_REFUSED_STREAM || MUTANT(reset_is_refused)) && !st->head_done &&
		   !st->interims) {
		h2_stream_detach(st, h2_refused(c));
	} else if (!st->head_sent) { /* nor what came too late for a connection that ends */
		h2_stream_detach(st, h2_refused(c));
	} else if (MUTANT(reset_is_end) && st->head_done && !st->held_back) {
		st->ended = true;
		h2_stream_detach(st, FAIL_OK);
	} else {
		h2_stream_detach(st, st->head_done ? FAIL_UPSTREAM_TRUNCATED : FAIL_UPSTREAM_RESET);
	}
	return 0;
}

/* ---- frames out ---- */

/* Where the request begins among the connection's bytes. What waits in c->out goes before it, but
 * only without TLS is it known how many bytes that will be. */
static int before_frame_send(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2_upconn *c = arg;
	struct h2_stream *st = stream_of(s, frame->hd.stream_id);
	struct stream *to = &c->u->stream;

	if (st && frame->hd.type == NGHTTP2_HEADERS && !st->head_sent)
		st->mark = stream_mark(to) + (to->tls ? 0 : inbuf_len(&c->out));
	return 0;
}

static int on_frame_send(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2_stream *st = frame->hd.stream_id ? stream_of(s, frame->hd.stream_id) : NULL;
	struct h2_upconn *c = arg;

	if (frame->hd.type == NGHTTP2_GOAWAY)
		c->undecodable = frame->goaway.error_code == NGHTTP2_COMPRESSION_ERROR;
	if (!st)
		return 0;
	st->wire_sent += (int64_t)frame->hd.length + H2_FRAME_HEAD;
	if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) {
		st->sent_ms = io_now_ms();
		st->out_end = c->out_gone + inbuf_len(&c->out);
	}
	if (frame->hd.type == NGHTTP2_HEADERS)
		st->head_sent = true;
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
		st->sent = true;
		if (st->writer)
			co_wake(st->writer, 0);
		if (st->reader) /* from now on it waits for the answer */
			co_wake(st->reader, 0);
	}
	return 0;
}

/* Whether there are any. Without memory the stream is reset: a request without its trailers is
 * another request. */
static int submit_trailers(nghttp2_session *s, struct h2_stream *st)
{
	struct h2_fields f;

	if (MUTANT(lost_up_trailers))
		return 0;
	h2_fields_init(&f, st->arena, st->trailers_out->n);
	h2_fields_add_hdrs(&f, st->trailers_out);
	if (f.failed || (f.n && nghttp2_submit_trailer(s, st->id, f.v, f.n) != 0)) {
		st->fail = FAIL_NO_MEMORY;
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return f.n > 0;
}

/* How much of the piece goes next. The bytes themselves are fetched by send_data. */
static ssize_t read_data(nghttp2_session *s, int32_t id, uint8_t *buf, size_t length,
			 uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct h2_stream *st = stream_of(s, id);
	size_t n;
	int rc;

	if (!st)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = MIN_OF(piece_len(&st->piece), length);
	if (!n && !st->piece_last) {
		st->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (st->piece_last && n == piece_len(&st->piece)) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		rc = st->trailers_out ? submit_trailers(s, st) : 0;
		if (rc < 0)
			return rc;
		if (rc)
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	}
	return (ssize_t)n;
}

static enum fail append_piece(struct h2_upconn *c, struct piece *p, size_t n)
{
	if (p->kind == PIECE_MEM) {
		if (n && !h2_upconn_append(c, p->mem.p, n))
			return FAIL_NO_MEMORY;
		p->mem = span_cut(p->mem, n, p->mem.n);
		return FAIL_OK;
	}
	if (c->out.cap - c->out.end < n && !inbuf_reserve(&c->out, inbuf_len(&c->out) + n, NULL))
		return FAIL_NO_MEMORY;
	while (n) {
		ssize_t k = sys->pread(p->fd, c->out.p + c->out.end, n, p->off);

		if (k <= 0)
			return FAIL_FILE_ERROR;
		c->out.end += (uint32_t)k;
		p->off += k;
		p->len -= (size_t)k;
		n -= (size_t)k;
	}
	return FAIL_OK;
}

static int send_data(nghttp2_session *s, nghttp2_frame *frame, const uint8_t *framehd,
		     size_t length, nghttp2_data_source *source, void *arg)
{
	struct h2_upconn *c = arg;
	struct h2_stream *st = stream_of(s, frame->hd.stream_id);
	uint32_t end = c->out.end - c->out.start;
	enum fail f;

	if (!st)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	f = h2_upconn_append(c, framehd, H2_FRAME_HEAD) ? append_piece(c, &st->piece, length)
							: FAIL_NO_MEMORY;
	if (f != FAIL_OK) { /* ours, not the server's, though its stream is reset for it */
		c->out.end = c->out.start + end;
		st->fail = f;
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	if (!piece_len(&st->piece) && st->writer)
		co_wake(st->writer, 0);
	if (!piece_len(&st->piece) && st->event)
		st->event(st);
	/* nghttp2 would go on as long as the windows allow. */
	return inbuf_len(&c->out) >= H2_OUT_SOFT ? NGHTTP2_ERR_PAUSE : 0;
}

/* ---- the session ---- */

bool h2_session_new(struct h2_upconn *c)
{
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW},
	};
	nghttp2_mem mem = {NULL, session_malloc, session_free, session_calloc, session_realloc};
	nghttp2_session_callbacks *cb;
	nghttp2_option *opt = NULL;
	bool ok = false;

	if (nghttp2_session_callbacks_new(&cb) < 0)
		return false;
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_before_frame_send_callback(cb, before_frame_send);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
	if (nghttp2_option_new(&opt) == 0) {
		nghttp2_option_set_no_auto_window_update(opt, 1);
		nghttp2_option_set_no_http_messaging(opt, 1);
		nghttp2_option_set_no_closed_streams(opt, 1);
		nghttp2_option_set_peer_max_concurrent_streams(opt, H2_STREAMS_BEFORE_SETTINGS);
		ok = nghttp2_session_client_new3(&c->session, cb, c, opt, &mem) == 0;
		nghttp2_option_del(opt);
	}
	nghttp2_session_callbacks_del(cb);
	if (!ok)
		return false;
	if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) ==
		    0 &&
	    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
						  CONNECTION_WINDOW) == 0)
		return true;
	nghttp2_session_del(c->session);
	return false;
}

/* ---- verbs ---- */

enum fail h2_stream_open(struct h2_stream *st, const struct h2_fields *f)
{
	const nghttp2_data_provider prd = {.read_callback = read_data};
	struct h2_upconn *c = st->conn;
	int32_t id;

	if (!c)
		return st->fail;
	id = nghttp2_submit_request(c->session, NULL, f->v, f->n, st->has_body ? &prd : NULL, st);
	if (id == NGHTTP2_ERR_NOMEM)
		return FAIL_NO_MEMORY;
	if (id < 0) {
		c->draining = true;
		return h2_refused(c);
	}
	st->id = id;
	st->announced = -1;
	h2_upconn_arm(c);
	return FAIL_OK;
}

void h2_stream_resume(struct h2_stream *st)
{
	if (!st->conn)
		return;
	if (st->deferred) {
		st->deferred = false;
		h2_upconn_check(st->conn, nghttp2_session_resume_data(st->conn->session, st->id));
	}
	h2_upconn_arm(st->conn);
}

void h2_stream_consume(struct h2_stream *st, size_t n)
{
	if (!st->conn || !n)
		return;
	if (!MUTANT(down_window_never))
		h2_upconn_check(st->conn,
				nghttp2_session_consume_stream(st->conn->session, st->id, n));
	h2_upconn_arm(st->conn);
}

void h2_stream_silent(struct h2_stream *st)
{
	if (st->conn && st->conn->heard_ms <= st->arrived_ms)
		st->conn->draining = true;
}

void h2_stream_leave(struct h2_stream *st)
{
	struct h2_upconn *c = st->conn;

	if (!c)
		return;
	if (st->id > 0)
		h2_upconn_check(c, nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, st->id,
							     st->ended ? NGHTTP2_NO_ERROR
								       : NGHTTP2_CANCEL));
	h2_upconn_arm(c);
	h2_stream_detach(st, st->ended ? FAIL_OK : FAIL_CANCELLED);
}

enum h2_known h2_stream_extended_connect(const struct h2_stream *st)
{
	const struct h2_upconn *c = st->conn;

	if (!c)
		return H2_NO;
	if (!c->settings)
		return H2_NOT_YET;
	return nghttp2_session_get_remote_settings(c->session,
						   NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
		       ? H2_YES
		       : H2_NO;
}
