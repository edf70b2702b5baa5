/* Rules of RFC 9113 that nghttp2 (1.52) does not enforce. It passes over what comes on closed
 * streams, mostly without a callback, since it does not remember which of them were used and who
 * ended them. So frames are followed here before nghttp2 gets them, by their heads alone, and three
 * numbers tell what may still come. */
#include "serve/h2_conn.h"

#define FRAME_MAX   16384 /* we announce no other SETTINGS_MAX_FRAME_SIZE */
#define PREFACE_LEN 24

void h2_scan_init(struct h2_scan *s)
{
	*s = (struct h2_scan){.next_id = 1};
	h2_frames_init(&s->frames, PREFACE_LEN);
}

void h2_check_cut(struct h2_conn *h, int32_t id)
{
	h->scan.cut_id = MAX_OF(h->scan.cut_id, (uint32_t)id);
}

/* 5.1.1: numbers only grow, and what is passed over is never used. */
static void number_used(struct h2_scan *s, uint32_t id)
{
	if (id > s->next_id) {
		s->gap_from = s->next_id;
		s->gap_to = id - 2;
	}
	s->next_id = id + 2;
}

static uint64_t ended_bit(uint32_t id)
{
	return (uint64_t)1 << (id / 2 % 64);
}

/* Is it a frame that only an open stream may have, on one that may be closed? What nghttp2 has not
 * seen yet may close it. */
static bool scan_doubts(struct h2_conn *h)
{
	struct h2_scan *s = &h->scan;
	const struct h2_frames *f = &s->frames;
	bool used = f->id < s->next_id, doubt = false;

	if (f->id % 2 == 0) /* nghttp2 knows */
		return false;
	if (f->type == NGHTTP2_HEADERS && !used)
		number_used(s, f->id);
	else if (used && (f->type == NGHTTP2_HEADERS || f->type == NGHTTP2_DATA))
		doubt = (s->ended & ended_bit(f->id)) ||
			!nghttp2_session_find_stream(h->session, (int32_t)f->id);
	if (f->type == NGHTTP2_RST_STREAM ||
	    (f->type <= NGHTTP2_HEADERS && (f->flags & NGHTTP2_FLAG_END_STREAM)))
		s->ended |= ended_bit(f->id);
	return doubt;
}

size_t h2_scan(struct h2_conn *h, const uint8_t *p, size_t n, bool *doubt)
{
	size_t at = 0;
	bool whole;

	*doubt = false;
	while (at < n && !*doubt) {
		at += h2_frames_next(&h->scan.frames, p + at, n - at, &whole);
		*doubt = whole && scan_doubts(h);
	}
	return at;
}

/* 5.1: a client that has ended a stream says no more on it. What we have ended ourselves may still
 * be written to by a client that has not heard of it; of the streams below one of these nobody
 * knows any more. */
uint32_t h2_scan_verdict(struct h2_conn *h)
{
	struct h2_scan *s = &h->scan;
	uint32_t id = s->frames.id;

	s->ended = 0;
	if (h->phase == H2_LEAVING || nghttp2_session_find_stream(h->session, (int32_t)id))
		return NGHTTP2_NO_ERROR;
	if (s->frames.type == NGHTTP2_HEADERS && id >= s->gap_from && id <= s->gap_to)
		return NGHTTP2_PROTOCOL_ERROR;
	if (id > s->cut_id)
		return NGHTTP2_STREAM_CLOSED;
	return s->frames.len == 0 && h2_glitch(h, 1) ? h->error : NGHTTP2_NO_ERROR;
}

void h2_check_part(struct h2_conn *h)
{
	h->queued = (uint32_t)nghttp2_session_get_outbound_queue_size(h->session);
}

uint32_t h2_check_frame(struct h2_conn *h, const nghttp2_frame_hd *hd)
{
	switch (hd->type) {
	case NGHTTP2_CONTINUATION: /* 4.2 */
		return hd->length > FRAME_MAX ? NGHTTP2_FRAME_SIZE_ERROR : NGHTTP2_NO_ERROR;
	case NGHTTP2_PRIORITY: /* 6.3 */
		return hd->stream_id ? NGHTTP2_NO_ERROR : NGHTTP2_PROTOCOL_ERROR;
	case NGHTTP2_SETTINGS:
		h2_check_part(h);
		return NGHTTP2_NO_ERROR;
	case NGHTTP2_PRIORITY_UPDATE: /* RFC 9218 7.1 */
		if (hd->stream_id)
			return NGHTTP2_PROTOCOL_ERROR;
		return hd->length < 4 ? NGHTTP2_FRAME_SIZE_ERROR : NGHTTP2_NO_ERROR;
	default:
		return NGHTTP2_NO_ERROR;
	}
}

/* 6.9.2: a window that a new SETTINGS_INITIAL_WINDOW_SIZE makes too large is the connection's
 * error. nghttp2 resets the stream: then more waits to be sent than the acknowledgement. */
uint32_t h2_check_settings(const struct h2_conn *h)
{
	return nghttp2_session_get_outbound_queue_size(h->session) > h->queued + 1
		       ? NGHTTP2_FLOW_CONTROL_ERROR
		       : NGHTTP2_NO_ERROR;
}
