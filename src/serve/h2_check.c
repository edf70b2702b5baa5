/* Rules of RFC 9113 that nghttp2 (1.52) does not enforce. It passes over what comes on closed
 * streams, mostly without a callback, since it does not remember which of them were used and who
 * ended them. So frames are followed here before nghttp2 gets them, by their heads alone, and three
 * numbers tell what may still come. */
#include "serve/h2_conn.h"

#define FRAME_MAX   16384 /* we announce no other SETTINGS_MAX_FRAME_SIZE */
#define PREFACE_LEN 24

void h2_scan_init(struct h2_scan *s)
{
	*s = (struct h2_scan){.left = PREFACE_LEN, .next_id = 1};
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
	bool used = s->id < s->next_id, doubt = false;

	if (s->id % 2 == 0) /* nghttp2 knows */
		return false;
	if (s->type == NGHTTP2_HEADERS && !used)
		number_used(s, s->id);
	else if (used && (s->type == NGHTTP2_HEADERS || s->type == NGHTTP2_DATA))
		doubt = (s->ended & ended_bit(s->id)) ||
			!nghttp2_session_find_stream(h->session, (int32_t)s->id);
	if (s->type == NGHTTP2_RST_STREAM ||
	    (s->type <= NGHTTP2_HEADERS && (s->flags & NGHTTP2_FLAG_END_STREAM)))
		s->ended |= ended_bit(s->id);
	return doubt;
}

static void scan_head(struct h2_scan *s)
{
	const uint8_t *p = s->head;

	s->len = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
	s->type = p[3];
	s->flags = p[4];
	s->id = ((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]) &
		INT32_MAX;
	s->left = s->len;
	s->have = 0;
}

size_t h2_scan(struct h2_conn *h, const uint8_t *p, size_t n, bool *doubt)
{
	struct h2_scan *s = &h->scan;
	size_t at = 0, k;

	*doubt = false;
	while (at < n && !*doubt) {
		k = MIN_OF(n - at, (size_t)s->left);
		at += k;
		s->left -= (uint32_t)k;
		k = MIN_OF(n - at, (size_t)(H2_FRAME_HEAD - s->have));
		memcpy(s->head + s->have, p + at, k);
		at += k;
		s->have += (uint8_t)k;
		if (s->have == H2_FRAME_HEAD) {
			scan_head(s);
			*doubt = scan_doubts(h);
		}
	}
	return at;
}

/* 5.1: a client that has ended a stream says no more on it. What we have ended ourselves may still
 * be written to by a client that has not heard of it; of the streams below one of these nobody
 * knows any more. */
uint32_t h2_scan_verdict(struct h2_conn *h)
{
	struct h2_scan *s = &h->scan;
	uint32_t id = s->id;

	s->ended = 0;
	if (h->phase == H2_LEAVING || nghttp2_session_find_stream(h->session, (int32_t)id))
		return NGHTTP2_NO_ERROR;
	if (s->type == NGHTTP2_HEADERS && id >= s->gap_from && id <= s->gap_to)
		return NGHTTP2_PROTOCOL_ERROR;
	if (id > s->cut_id)
		return NGHTTP2_STREAM_CLOSED;
	return s->len == 0 && h2_glitch(h, 1) ? h->error : NGHTTP2_NO_ERROR;
}

uint32_t h2_check_frame(struct h2_conn *h, const nghttp2_frame_hd *hd)
{
	switch (hd->type) {
	case NGHTTP2_CONTINUATION: /* 4.2 */
		return hd->length > FRAME_MAX ? NGHTTP2_FRAME_SIZE_ERROR : NGHTTP2_NO_ERROR;
	case NGHTTP2_PRIORITY: /* 6.3 */
		return hd->stream_id ? NGHTTP2_NO_ERROR : NGHTTP2_PROTOCOL_ERROR;
	case NGHTTP2_SETTINGS:
		h->queued = (uint32_t)nghttp2_session_get_outbound_queue_size(h->session);
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
