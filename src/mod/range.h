/* Byte ranges of a body: the cutter that the range filter puts in front of the answer's body. Apart
 * from the filter so that it can be tested without a server. */
#pragma once
#include "http/body.h"
#include "http/range.h"

/* One piece of the new body: text (the head of a part), then the bytes [start, end) of the source.
 */
struct range_cut {
	struct span text;
	int64_t start, end;
};

struct range_body {
	struct body body;
	struct body *src;
	struct arena *arena;
	struct range_cut *cuts;
	size_t n, at;
	int64_t done;	     /* bytes of cuts[at] given */
	bool text_given;     /* of cuts[at] */
	struct piece window; /* what the source gave last; its bytes begin at window_at */
	int64_t window_at;
	bool have_window;
	char *buf; /* file bytes for consumers that want memory */
};

/* The cuts' own range must ascend unless the source gives everything in one piece
 * (range_source_whole). Closes src when closed. */
struct body *range_body_init(struct range_body *b, struct arena *a, struct body *src,
			     struct range_cut *cuts, size_t n);
/* Does the source hold all `length` bytes in its first piece, so that they may be taken in any
 * order? Takes that piece. */
MAY_SUSPEND bool range_source_whole(struct range_body *b, int64_t length);

/* The cuts of a multipart/byteranges answer (RFC 9110 14.6): n + 1 of them, the last is the closing
 * line. *total: bytes in all. NULL: no memory. */
struct range_cut *range_multipart(struct arena *a, const struct byte_range *v, size_t n,
				  int64_t length, struct span type, struct span boundary,
				  int64_t *total);
