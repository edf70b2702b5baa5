/* How answers leave on a stream: the head at once into nghttp2, pieces when nghttp2 asks for data.
 * Who sends a piece waits until all of it lies in frames. */
#include "serve/h2_stream.h"
#include <errno.h>
#include "base/pool.h"
#include "http/date.h"
#include "serve/h2_conf.h"
#include "serve/tunnel.h"

#define STALL_PATIENCE_MS 50 /* a client may keep its upstream waiting this long in all */
#define GATHER_ROOM	  8192
#define GATHER_MAX	  2048 /* longer pieces are not copied */

static enum fail gone_fail(struct h2_client *s)
{
	s->req.broken = true;
	return FAIL_CLIENT_CLOSED;
}

/* ---- waiting ---- */

/* A slow client: past the patience the body goes on in the background. */
static void be_patient(struct h2_client *s, uint64_t began)
{
	struct body *b = s->req.resp.body;

	s->stall_ms += (uint32_t)MIN_OF(io_now_ms() - began, (uint64_t)1000000);
	if (s->stall_ms > STALL_PATIENCE_MS && b && b->ops->stalled && piece_len(&s->piece) &&
	    s->req.head_sent)
		body_stalled(b, &s->piece);
}

uint64_t h2_others_moved_ms(const struct h2_client *s)
{
	bool window = nghttp2_session_get_stream_remote_window_size(s->h2->session, s->id) > 0;

	return window ? s->h2->moved_ms : 0;
}

static MAY_SUSPEND enum fail wait_writer(struct h2_client *s, uint64_t *progress, uint64_t *since)
{
	const struct core_loc *l = req_conf(&s->req, &core_loc_mod);
	uint64_t began = io_now_ms(), deadline, patience = CO_NEVER;
	int rc;

	if (*progress != s->taken) {
		*progress = s->taken;
		*since = began;
	}
	*since = MAX_OF(*since, h2_others_moved_ms(s));
	deadline = l->send_timeout ? *since + (uint64_t)l->send_timeout : CO_NEVER;
	if (s->stall_ms <= STALL_PATIENCE_MS)
		patience = began + STALL_PATIENCE_MS - s->stall_ms + 1;
	s->writer = co_current();
	rc = co_suspend(MIN_OF(deadline, patience));
	s->writer = NULL;
	if (s->end_sent)
		return FAIL_OK;
	if (h2_gone(s))
		return gone_fail(s);
	be_patient(s, began);
	if (rc == -ECANCELED) {
		s->req.broken = true;
		return s->req.aborted ? FAIL_CLIENT_CLOSED : FAIL_CANCELLED;
	}
	if (rc == -ETIMEDOUT && io_now_ms() >= deadline && *progress == s->taken &&
	    h2_others_moved_ms(s) <= *since) {
		s->req.broken = s->timed_out = true;
		return FAIL_CLIENT_TIMEOUT_SEND;
	}
	return FAIL_OK;
}

static size_t waiting_bytes(const struct h2_client *s)
{
	return s->gather_len - s->gather_at + piece_len(&s->piece);
}

void h2_data_ready(struct h2_client *s)
{
	if (s->deferred) {
		s->deferred = false;
		h2_conn_check(s->h2, nghttp2_session_resume_data(s->h2->session, s->id));
	}
}

/* Until everything lies in frames; with the last piece, until the end does. */
static MAY_SUSPEND enum fail send_waiting(struct h2_client *s)
{
	uint64_t progress = s->taken, since = io_now_ms();
	enum fail f = FAIL_OK;

	if (h2_gone(s))
		return gone_fail(s);
	h2_data_ready(s);
	h2_conn_pump(s->h2);
	while (f == FAIL_OK && (waiting_bytes(s) || (s->piece.last && !s->end_sent))) {
		if (h2_gone(s))
			return gone_fail(s);
		f = wait_writer(s, &progress, &since);
	}
	s->gather_len = s->gather_at = 0;
	return f;
}

/* ---- what nghttp2 asks for ---- */

static int submit_trailers(struct h2_client *s)
{
	const struct hdrs *sets[2] = {&s->req.resp.trailers,
				      s->req.resp.body ? s->req.resp.body->trailers : NULL};
	struct h2_fields f;

	h2_fields_init(&f, &s->req.arena, 8);
	for (int i = 0; i < 2; i++)
		if (sets[i])
			h2_fields_add_hdrs(&f, sets[i]);
	if (f.failed)
		return NGHTTP2_ERR_NOMEM;
	return f.n ? nghttp2_submit_trailer(s->h2->session, s->id, f.v, f.n) : 1;
}

/* How many bytes go into the next DATA frame, and is it the last? */
static ssize_t h2_read_data(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
			    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct h2_client *s = source->ptr;
	const struct h2_loc *l = req_conf(&s->req, &h2_loc_mod);
	size_t all = waiting_bytes(s), n = MIN_OF(MIN_OF(all, length), (size_t)l->chunk_size);
	int rc;

	if (!all && !s->piece.last) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == all && s->piece.last) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		rc = submit_trailers(s);
		if (rc < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		if (rc == 0)
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	}
	return (ssize_t)n;
}

/* ---- files ---- */

/* A file is read ahead of the frames that it goes into, into the thread's room: streams of the same
 * urgency are served one after the other, so what was read ahead is nearly always what is asked for
 * next. */
#define AHEAD_ROOM (64 * 1024)

static _Thread_local struct {
	char *p;
	struct h2_client *of; /* NULL: nobody's */
	off_t off;
	size_t n;
} ahead;

void h2_ahead_free(void)
{
	mem_free(ahead.p);
	ahead.p = NULL;
	ahead.of = NULL;
}

void h2_ahead_forget(struct h2_client *s)
{
	if (ahead.of == s)
		ahead.of = NULL;
}

/* How much of the file can go soon; not less than n. */
static size_t ahead_worth(const struct h2_client *s, size_t n)
{
	int32_t window = nghttp2_session_get_stream_remote_window_size(s->h2->session, s->id);
	size_t soon = MIN_OF(s->piece.len, (size_t)AHEAD_ROOM);

	/* nghttp2 has not yet taken this frame off the window */
	return MAX_OF(n, MIN_OF(soon, (size_t)MAX_OF(window, 0)));
}

static bool ahead_fill(struct h2_client *s, size_t n)
{
	const struct piece *pc = &s->piece;
	ssize_t got;

	if (!ahead.p && !(ahead.p = mem_alloc(AHEAD_ROOM)))
		return false;
	ahead.of = NULL;
	got = sys->pread(pc->fd, ahead.p, MIN_OF(ahead_worth(s, n), (size_t)AHEAD_ROOM), pc->off);
	if (got <= 0)
		return false;
	ahead.of = s;
	ahead.off = pc->off;
	ahead.n = (size_t)got;
	return true;
}

static bool take_file(struct h2_client *s, char *p, size_t n)
{
	struct piece *pc = &s->piece;

	while (n) {
		size_t at = (size_t)(pc->off - ahead.off), k;

		if (ahead.of != s || pc->off < ahead.off || at >= ahead.n) {
			if (!ahead_fill(s, n))
				return false;
			at = 0;
		}
		k = MIN_OF(n, ahead.n - at);
		memcpy(p, ahead.p + at, k);
		p += k;
		n -= k;
		pc->off += (off_t)k;
		pc->len -= k;
	}
	return true;
}

/* n bytes of what is waiting, into p. */
static bool take_data(struct h2_client *s, char *p, size_t n)
{
	struct piece *pc = &s->piece;
	size_t k = MIN_OF(n, (size_t)(s->gather_len - s->gather_at));

	if (k)
		memcpy(p, s->gather + s->gather_at, k);
	s->gather_at += (uint32_t)k;
	s->taken += n;
	p += k;
	n -= k;
	if (n && pc->kind == PIECE_FILE)
		return take_file(s, p, n);
	if (n)
		memcpy(p, pc->mem.p, n);
	pc->mem = span_cut(pc->mem, n, pc->mem.n);
	return true;
}

int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
		 size_t length, nghttp2_data_source *source, void *arg)
{
	struct h2_client *s = source->ptr;
	struct h2_conn *h = arg;
	char *p = h2_conn_room(h, H2_FRAME_HEAD + length);

	if (!p)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	memcpy(p, framehd, H2_FRAME_HEAD);
	if (!take_data(s, p + H2_FRAME_HEAD, length))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	h2_conn_put(h, H2_FRAME_HEAD + length);
	if (s->writer && !waiting_bytes(s) && !s->piece.last)
		co_wake(s->writer, 0);
	if (s->tunnel)
		h2_tunnel_sent(s, !waiting_bytes(s));
	return h2_conn_full(h) ? NGHTTP2_ERR_PAUSE : 0;
}

/* ---- the head ---- */

#define LOWER NGHTTP2_NV_FLAG_NO_COPY_NAME

static struct span number_text(struct arena *a, uint64_t v)
{
	char tmp[20], *p = arena_alloc(a, sizeof(tmp));
	size_t n = 0;

	do {
		tmp[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	for (size_t i = 0; p && i < n; i++)
		p[i] = tmp[n - 1 - i];
	return span_make(p, p ? n : 0);
}

/* Without memory the head must not leave: an empty value would be malformed. */
static void h2_add_number(struct h2_fields *f, struct span name, uint64_t v)
{
	struct span text = number_text(f->arena, v);

	f->failed |= !text.n;
	h2_fields_add(f, name, text, LOWER);
}

static struct span type_text(struct arena *a, const struct resp *resp)
{
	return resp->charset.n ? arena_printf(a, "%.*s; charset=%.*s", SPAN_ARG(resp->content_type),
					      SPAN_ARG(resp->charset))
			       : resp->content_type;
}

static void h2_add_standard(struct h2_fields *f, struct h2_client *s, const struct resp *resp)
{
	const struct core_loc *l = req_conf(&s->req, &core_loc_mod);
	struct arena *a = f->arena;
	char *date;

	h2_fields_add(f, SPAN("server"), resp->server.n ? resp->server : server_token(l), LOWER);
	h2_fields_add(f, SPAN("date"), resp->date.n ? resp->date : io_time_http(), LOWER);
	if (resp->content_type.n)
		h2_fields_add(f, SPAN("content-type"), type_text(a, resp), LOWER);
	if (resp->content_length >= 0)
		h2_add_number(f, SPAN("content-length"), (uint64_t)resp->content_length);
	date = resp->last_modified >= 0 ? arena_alloc(a, HTTP_DATE_LEN + 1) : NULL;
	if (date) {
		http_date_format(resp->last_modified, date);
		h2_fields_add(f, SPAN("last-modified"), span_make(date, HTTP_DATE_LEN), LOWER);
	}
	if (resp->location.p)
		h2_fields_add(f, SPAN("location"), resp->location, LOWER);
}

static enum fail submit_head(struct h2_client *s, struct resp *resp, bool data)
{
	nghttp2_data_provider source = {.source = {.ptr = s}, .read_callback = h2_read_data};
	int status = resp->tunnel ? 200 : resp->status;
	struct h2_fields f;

	h2_fields_init(&f, &s->req.arena, resp->headers.n + 8);
	h2_add_number(&f, SPAN(":status"), (uint64_t)status);
	h2_add_standard(&f, s, resp);
	h2_fields_add_hdrs(&f, &resp->headers);
	if (f.failed ||
	    nghttp2_submit_response(s->h2->session, s->id, f.v, f.n, data ? &source : NULL) != 0)
		return FAIL_NO_MEMORY;
	s->submitted = true;
	s->piece = (struct piece){.kind = PIECE_MEM, .last = !data};
	return FAIL_OK;
}

/* RFC 8441 5: a 101 becomes 200, and nothing else may be a success. */
static enum fail connect_head(struct h2_client *s, struct resp *resp)
{
	if (!resp->tunnel)
		return resp->status < 300 ? FAIL_NO_UPGRADE : FAIL_OK;
	s->req.status = 200;
	resp->content_length = -1;
	hdrs_remove_name(&resp->headers, SPAN("Sec-WebSocket-Accept"));
	return FAIL_OK;
}

static enum fail h2_put_head(struct req *r, struct resp *resp, bool has_body)
{
	struct h2_client *s = h2_of(r);
	enum fail f = s->head.protocol.n ? connect_head(s, resp) : FAIL_OK;

	if (f != FAIL_OK)
		return f;

	if (h2_gone(s))
		return gone_fail(s);
	s->no_body = !http_response_has_body(r->in.method, resp->status) && !resp->tunnel;
	if (resp->status == 204)
		resp->content_length = -1;
	if (!has_body && !s->no_body && resp->content_length < 0 && !resp->tunnel)
		resp->content_length = 0;
	s->left = s->no_body ? -1 : resp->content_length;
	if (!h2_may_keep(r))
		h2_conn_leave(s->h2);
	h2_conn_touch(s->h2);
	return submit_head(s, resp, (has_body && !s->no_body) || resp->tunnel);
}

/* ---- pieces ---- */

static bool h2_gather(struct h2_client *s, const struct piece *pc)
{
	if (pc->last || pc->flush || pc->kind != PIECE_MEM || pc->mem.n > GATHER_MAX ||
	    s->gather_len + pc->mem.n > GATHER_ROOM)
		return false;
	if (!s->gather && !(s->gather = arena_alloc(&s->req.arena, GATHER_ROOM)))
		return false;
	memcpy(s->gather + s->gather_len, pc->mem.p, pc->mem.n);
	s->gather_len += (uint32_t)pc->mem.n;
	return true;
}

static MAY_SUSPEND enum fail h2_flush(struct req *r)
{
	return send_waiting(h2_of(r));
}

static MAY_SUSPEND enum fail h2_data(struct req *r, const struct piece *pc)
{
	struct h2_client *s = h2_of(r);

	if (s->no_body)
		return pc->last ? h2_flush(r) : FAIL_OK;
	if (s->left >= 0) {
		size_t n = piece_len(pc);

		if (n > (uint64_t)s->left || (pc->last && n < (uint64_t)s->left)) {
			r->broken = true; /* the client must see that it is not whole */
			return FAIL_INTERNAL;
		}
		s->left -= (int64_t)n;
	}
	if (h2_gather(s, pc))
		return FAIL_OK;
	s->piece = *pc;
	h2_ahead_forget(s); /* it may be another file */
	return send_waiting(s);
}

static MAY_SUSPEND enum fail h2_interim(struct req *r, int status, const struct hdrs *headers)
{
	struct h2_client *s = h2_of(r);
	struct h2_fields f;

	if (r->head_sent || s->submitted || h2_gone(s))
		return FAIL_OK;
	h2_fields_init(&f, &r->arena, 8);
	h2_add_number(&f, SPAN(":status"), (uint64_t)status);
	if (headers)
		h2_fields_add_hdrs(&f, headers);
	if (f.failed || nghttp2_submit_headers(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, f.v,
					       f.n, NULL) != 0)
		return FAIL_NO_MEMORY;
	h2_conn_touch(s->h2);
	return FAIL_OK;
}

static bool h2_trailers(struct req *r)
{
	return true;
}

static unsigned h2_accepts(struct req *r)
{
	return PIECE_MEM | PIECE_FILE;
}

static bool h2_client_gone(struct req *r)
{
	return r->aborted || h2_gone(h2_of(r));
}

const struct sink_ops h2_sink = {
	.head = h2_put_head,
	.data = h2_data,
	.flush = h2_flush,
	.interim = h2_interim,
	.trailers = h2_trailers,
	.accepts = h2_accepts,
	.client_gone = h2_client_gone,
	.body_limits = h2_body_limits,
	.tunnel = h2_tunnel,
	.tunnel_over = h2_tunnel_over,
};
