/* What nghttp2 reports while it reads. Nothing here suspends, starts or cancels at once: streams
 * are put in line or woken. */
#include <stdatomic.h>
#include "base/mutant.h"
#include "serve/h2_stream.h"

#define GLITCH_DECAY_MS 100 /* one is forgiven in so many ms */
#define UPDATES_A_FRAME 4   /* WINDOW_UPDATEs that a frame of DATA pays for */
#define UPDATES_FREE	100 /* that need not be paid for */

/* ---- the account ---- */

/* What is wrong or useless is counted; time and requests that went well are taken off. So somebody
 * who cancels now and then never gets there, and a flood costs no more than the limit says. */
bool h2_glitch(struct h2_conn *h, unsigned n)
{
	uint64_t now = io_now_ms(), forgiven = (now - h->glitch_ms) / GLITCH_DECAY_MS;

	h->glitches -= (uint32_t)MIN_OF(forgiven, (uint64_t)h->glitches);
	h->glitch_ms += forgiven * GLITCH_DECAY_MS;
	h->glitches += MUTANT(free_glitches) ? 0 : n;
	if (!h->max_glitches || h->glitches <= h->max_glitches)
		return false;
	h->error = NGHTTP2_ENHANCE_YOUR_CALM;
	return true;
}

static int glitch(struct h2_conn *h)
{
	return h2_glitch(h, 1) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* The connection ends, if there is an error. */
static int error_found(struct h2_conn *h, uint32_t error)
{
	if (error == NGHTTP2_NO_ERROR)
		return 0;
	h->error = error;
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static struct h2_client *h2_stream_of(nghttp2_session *session, int32_t id)
{
	return id ? nghttp2_session_get_stream_user_data(session, id) : NULL;
}

/* ---- heads ---- */

static void refuse_stream(struct h2_conn *h, int32_t id)
{
	h2_conn_check(h, nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, id,
						   NGHTTP2_REFUSED_STREAM));
	h2_check_cut(h, id);
}

static int h2_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2_conn *h = arg;
	int32_t id = frame->hd.stream_id;
	struct h2_client *s;

	h->head_ms = io_now_ms();
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
		s = h2_stream_of(session, id);
		h->head = s;
		if (s && !h2_stream_trailers(s))
			h->head = NULL;
		return 0;
	}
	/* Between the last GOAWAY's submission and its departure nghttp2 still lets in what that
	 * says is not served. */
	h->head = s = h->nstreams < h->max_streams && h->phase != H2_LEAVING ? h2_stream_new(h, id)
									     : NULL;
	if (!s) /* refused when the head is whole: nobody would tell that it is, of a stream that
		   was reset */
		return glitch(h);
	nghttp2_session_set_stream_user_data(session, id, s);
	return 0;
}

static int h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
			size_t namelen, const uint8_t *value, size_t valuelen, uint8_t flags,
			void *arg)
{
	struct h2_conn *h = arg;
	struct h2_client *s = h->head;

	if (s) /* the first error sticks */
		(void)h2_head_field(s->trailer_head ? s->trailer_head : &s->head,
				    span_make(name, namelen), span_make(value, valuelen));
	return 0;
}

static void stream_set_priority(struct h2_client *s)
{
	nghttp2_extpri pri = {s->head.urgency, s->head.incremental};

	/* PRIORITY_UPDATE wins over the field (RFC 9218 7.1). */
	if (h2_priority_early(s->h2, s->id, &pri) || s->head.has_priority)
		nghttp2_session_change_extpri_stream_priority(s->h2->session, s->id, &pri, 0);
}

static int headers_received(struct h2_conn *h, const nghttp2_frame *frame)
{
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct h2_client *s = h->head;
	enum fail f;

	h->head = NULL;
	h->head_ms = 0;
	if (!s && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		refuse_stream(h, frame->hd.stream_id);
	if (!s)
		return 0;
	s->req.request_length += (int64_t)frame->hd.length;
	if (s->trailer_head) {
		f = h2_head_end(s->trailer_head, end);
		if (f != FAIL_OK)
			h2_stream_in_fail(s, f);
		else
			h2_stream_in_end(s);
		return 0;
	}
	(void)h2_head_end(&s->head, end); /* remembers */
	s->in_done = end;
	s->has_body = !end;
	stream_set_priority(s);
	list_push(&h->starting, &s->start);
	return 0;
}

/* ---- frames ---- */

/* WINDOW_UPDATEs are for DATA: whoever sends many more than we send of that does it for our sake.
 */
static int update_received(struct h2_conn *h)
{
	return ++h->updates <= h->updates_paid + UPDATES_FREE ? 0 : glitch(h);
}

static int h2_on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2_conn *h = arg;
	struct h2_client *s;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		return headers_received(h, frame);
	case NGHTTP2_DATA:
		s = h2_stream_of(session, frame->hd.stream_id);
		if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
			if (s)
				h2_stream_in_end(s);
			return 0;
		}
		return frame->data.padlen >= frame->hd.length ? glitch(h) : 0;
	case NGHTTP2_WINDOW_UPDATE:
		return update_received(h);
	case NGHTTP2_SETTINGS:
		return frame->hd.flags & NGHTTP2_FLAG_ACK ? 0
							  : error_found(h, h2_check_settings(h));
	case NGHTTP2_PING:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK)
			h2_conn_noticed(h);
		return 0;
	default:
		return 0;
	}
}

/* Frames that ask for nothing that a request needs cost one each. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
	struct h2_conn *h = arg;
	int rc = error_found(h, h2_check_frame(h, hd));

	h->update_len = 0;
	if (rc)
		return rc;
	switch (hd->type) {
	case NGHTTP2_DATA:
	case NGHTTP2_HEADERS:
	case NGHTTP2_WINDOW_UPDATE:
	case NGHTTP2_CONTINUATION: /* nghttp2 counts them */
		return 0;
	case NGHTTP2_SETTINGS:
	case NGHTTP2_PING:
	case NGHTTP2_RST_STREAM:
	case NGHTTP2_PRIORITY:
	case NGHTTP2_PRIORITY_UPDATE:
	case NGHTTP2_PUSH_PROMISE:
	case NGHTTP2_GOAWAY:
		return glitch(arg);
	default: /* unpack_extension */
		return 0;
	}
}

static int on_extension_chunk(nghttp2_session *session, const nghttp2_frame_hd *hd,
			      const uint8_t *p, size_t n, void *arg)
{
	struct h2_conn *h = arg;

	n = MIN_OF(n, sizeof(h->update) - h->update_len);
	memcpy(h->update + h->update_len, p, n);
	h->update_len += (uint8_t)n;
	return 0;
}

/* Of types that we do not know: passed over, and counted. */
static int unpack_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *hd,
			    void *arg)
{
	if (hd->type == NGHTTP2_PRIORITY_UPDATE) { /* counted already */
		int rc = error_found(arg, h2_priority_update(arg, hd));

		return rc ? rc : NGHTTP2_ERR_CANCEL;
	}
	return h2_glitch(arg, 1) ? NGHTTP2_ERR_CALLBACK_FAILURE : NGHTTP2_ERR_CANCEL;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
			    void *arg)
{
	struct h2_conn *h = arg;

	if (frame->hd.type == NGHTTP2_HEADERS) {
		h->head = NULL;
		h->head_ms = 0;
		h2_check_cut(h, frame->hd.stream_id);
	}
	return glitch(h);
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
			 size_t n, void *arg)
{
	struct h2_client *s = h2_stream_of(session, id);

	h2_conn_check(arg, nghttp2_session_consume_connection(session, n));
	if (s)
		h2_stream_data(s, p, n);
	else
		h2_conn_check(arg, nghttp2_session_consume_stream(session, id, n));
	return 0;
}

static int h2_on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	struct h2_client *s = h2_stream_of(session, id);

	if (!s)
		return 0;
	s->closed = true;
	h2_stream_abort(s);
	return 0;
}

/* Resets that are our answer to something wrong: whoever makes us reset pays as if he had done it.
 */
static bool is_rebuke(uint32_t error)
{
	return error == NGHTTP2_PROTOCOL_ERROR || error == NGHTTP2_FLOW_CONTROL_ERROR ||
	       error == NGHTTP2_STREAM_CLOSED || error == NGHTTP2_FRAME_SIZE_ERROR;
}

static int h2_on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2_conn *h = arg;
	struct h2_client *s;

	/* an error that nghttp2 found itself */
	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
		(void)h2_conn_blame(
			h, frame->goaway.error_code,
			span_make(frame->goaway.opaque_data, frame->goaway.opaque_data_len));
	if (frame->hd.type == NGHTTP2_RST_STREAM) {
		h2_check_cut(h, frame->hd.stream_id);
		if (is_rebuke(frame->rst_stream.error_code))
			h2_glitch(h, 1); /* the end of the turn sees to it */
		return 0;
	}
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	s = h2_stream_of(session, frame->hd.stream_id);
	if (!s)
		return 0;
	s->req.bytes_sent += frame->hd.length + H2_FRAME_HEAD;
	s->req.header_bytes += H2_FRAME_HEAD;
	if (frame->hd.type == NGHTTP2_DATA)
		h->updates_paid += UPDATES_A_FRAME;
	else
		s->req.header_bytes += frame->hd.length;
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
		s->end_sent = true;
		if (s->writer)
			co_wake(s->writer, 0);
		if (s->req.tunnelled)
			h2_tunnel_event(s);
	}
	return 0;
}

const nghttp2_session_callbacks *h2_callbacks(void)
{
	static nghttp2_session_callbacks *_Atomic made;
	nghttp2_session_callbacks *cb = made, *other = NULL;

	if (cb || nghttp2_session_callbacks_new(&cb) != 0)
		return cb;
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, h2_on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, h2_on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, h2_on_frame_recv);
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, h2_on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, h2_on_frame_send);
	nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(cb, on_extension_chunk);
	nghttp2_session_callbacks_set_unpack_extension_callback(cb, unpack_extension);
	nghttp2_session_callbacks_set_send_data_callback(cb, h2_send_data);
	if (!atomic_compare_exchange_strong(&made, &other, cb)) {
		nghttp2_session_callbacks_del(cb);
		return other;
	}
	return cb;
}
