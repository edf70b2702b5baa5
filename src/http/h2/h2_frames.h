/* Follows frames by their heads (RFC 9113 4.1), in bytes that are on their way to nghttp2. Each
 * head is passed on whole: nghttp2 (1.52) takes every piece of a CONTINUATION's for another
 * CONTINUATION, of which it allows eight. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_FRAME_HEAD 9 /* bytes in front of a frame */

struct h2_frames {
	uint32_t left;		   /* bytes until the next frame */
	uint32_t len, id;	   /* of the frame whose head was last complete */
	uint8_t have, type, flags; /* have: bytes of a head that is not complete */
	uint8_t head[H2_FRAME_HEAD];
};

/* preface: bytes ahead of the first frame. */
void h2_frames_init(struct h2_frames *s, uint32_t preface);
/* Goes over the bytes to behind the next head, or to their end; how far. *whole: there was one. */
size_t h2_frames_next(struct h2_frames *s, const uint8_t *p, size_t n, bool *whole);
/* Passes n bytes on. `feed` gets them once or twice, goes over all behind the first `seen` with
 * h2_frames_next, and leaves the last s->have of them out: they will come again, with the rest of
 * their head. False ends it. */
bool h2_frames_feed(struct h2_frames *s, const uint8_t *p, size_t n,
		    bool (*feed)(void *arg, const uint8_t *p, size_t n, size_t seen), void *arg);
