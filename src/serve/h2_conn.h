/* Within serve/: HTTP/2 to clients (RFC 9113). A struct conn that speaks it has a struct h2_conn,
 * which stands between nghttp2's session and the streams; each stream whose head is complete is a
 * coroutine with a struct h2_client, as each HTTP/1 request is one with a struct h1_client.
 *
 * What is always true:
 *  1. Input is given to nghttp2 on the loop's stack (once, at the start, by the connection's first
 *     coroutine), all of it: no input buffer is kept. Streams whose heads came start when nghttp2
 *     has returned; nothing suspends or starts inside its callbacks.
 *  2. Output is taken from nghttp2 (h2_conn_pump) whenever there is some, and until it has no more
 *     or `out` is full; the socket is written at the end of the turn, or when `out` is full.
 * Between two calls of the pump no frame is half out of nghttp2.
 *  3. `nstreams` counts struct h2_clients: a stream that was reset counts until its coroutine has
 *     returned, so max_streams bounds the work and not just the protocol's idea of it.
 *  4. A connection is freed at the end of a turn, when it is dead and has no streams.
 *  5. Without streams and output it is this struct, the session and nothing else; after a second of
 *     that the session is packed (h2_memory_rest), and h2_conn_touch, which is the first thing that
 *     anything that happens does, unpacks it. */
#pragma once
#include <nghttp2/nghttp2.h>
#include "http/h2/h2_frames.h"
#include "http/h2/h2_head.h"
#include "serve/conn.h"
#include "serve/req_internal.h"

enum h2_phase {
	H2_OPEN,
	H2_NOTICED, /* the first GOAWAY is out: new streams are still served */
	H2_LEAVING, /* the last GOAWAY is out: only what is there is finished */
	H2_DEAD	    /* nothing is sent or received any more */
};

#define H2_UPDATE_MAX 36 /* bytes of a PRIORITY_UPDATE that are looked at */

/* Where in the input we are, and what is known of the streams' numbers. */
struct h2_scan {
	struct h2_frames frames;
	uint32_t next_id;	   /* the lowest number that was not used yet */
	uint32_t gap_from, gap_to; /* numbers that were last passed over; gap_to 0: none */
	uint32_t cut_id;	   /* the highest that we ended: more of it may be on its way */
	uint64_t ended; /* what the client has ended since nghttp2 was fed (a bit is shared) */
};

/* Priorities of streams that are not open yet (RFC 9218 7.1), in no order. */
struct h2_early_item {
	uint32_t id;
	uint8_t urgency;
	bool incremental;
};
struct h2_early {
	struct h2_early_item *v; /* NULL: none */
	uint32_t n, cap;
};

struct h2_conn {
	struct conn *conn;
	nghttp2_session *session;
	struct list streams;	/* struct h2_client.link */
	struct list starting;	/* struct h2_client.start: heads complete, no coroutine yet */
	struct io_turn_end end; /* armed whenever something happened */
	struct inbuf out;	/* frames on their way; held only while there are some */
	struct h2_client *head; /* whose header block is being received; NULL: nobody's */
	uint64_t head_ms;	/* since when it is */
	uint64_t moved_ms;	/* when output last moved, while it is blocked */
	uint64_t idle_ms;	/* since when there are no streams */
	uint64_t leave_ms;	/* H2_NOTICED: when the last GOAWAY is due at the latest */
	uint64_t last_ms;	/* terminated: until then the client may read why; 0: not yet */
	uint64_t updates, updates_paid; /* WINDOW_UPDATEs that came; that our DATA has paid for */
	uint64_t glitch_ms;		/* when the account was last looked at */
	uint32_t nstreams, max_streams;
	uint32_t glitches, max_glitches; /* max 0: no limit */
	uint32_t window, recv_window;	 /* of a stream: at first, and when its body is read */
	uint32_t header_timeout_ms, send_timeout_ms, keepalive_timeout_ms;
	uint32_t error;	 /* a receive callback wants to end the connection so */
	uint32_t queued; /* frames that waited to be sent when nghttp2 got what it looks at */
	struct h2_scan scan;
	struct h2_early early;	  /* priorities that came before their requests */
	void *table;		  /* of nghttp2's memory: a page (base/page.h) */
	char *core;		  /* the same: the session, and what the client's HPACK needs */
	struct page_pack *packed; /* what is in `core`, while it rests; NULL: it does not */
	uint16_t core_used;
	uint8_t rings;
	uint8_t phase;	     /* enum h2_phase */
	bool blocked;	     /* the socket is full */
	bool terminated;     /* a GOAWAY with the reason is on its way */
	bool linger;	     /* and has left: the client may read it */
	bool cut;	     /* that took the streams along */
	bool more;	     /* there may be input that was not read: next turn */
	bool has_frame_room; /* of nghttp2's memory: the thread's frame buffer is lent */
	bool starved;	     /* a frame that the client waits for was lost for want of memory */
	bool forgotten;	     /* the table's memory was given back since the last stream */
	bool waiting;	     /* counted as such */
	bool extended_connect;
	uint8_t update_len; /* of a PRIORITY_UPDATE that is being received */
	char update[H2_UPDATE_MAX];
};

/* Bytes of output that are gathered before the socket is written; with one frame more they mostly
 * fit the room. */
#define H2_OUT_FULL (48 * 1024)
#define H2_OUT_ROOM (64 * 1024)

/* ---- h2_conn.c ---- */

/* Something happened: the end of the turn looks after output, timers and the end. */
void h2_conn_touch(struct h2_conn *h);
/* Takes what nghttp2 has to send, and writes when `out` is full: until nothing is left or the
 * socket is full. Not from nghttp2's callbacks. */
void h2_conn_pump(struct h2_conn *h);
/* Room for n more bytes of output; NULL: no memory. */
char *h2_conn_room(struct h2_conn *h, size_t n);
static inline void h2_conn_put(struct h2_conn *h, size_t n)
{
	h->out.end += (uint32_t)n;
}
static inline bool h2_conn_full(const struct h2_conn *h)
{
	return inbuf_len(&h->out) >= H2_OUT_FULL;
}
/* Nothing more is said or heard: all streams are told. */
void h2_conn_die(struct h2_conn *h);
/* What nghttp2 said to a frame of ours, or to window that was given back. Without memory neither
 * ever leaves, and a client that waits for it would wait for good: the connection ends, with its
 * turn, so that nothing is taken from under a callback. */
void h2_conn_check(struct h2_conn *h, int rc);
/* Age, number of requests, or shutdown: two GOAWAYs (RFC 9113 6.8), then the end. */
void h2_conn_leave(struct h2_conn *h);
/* The connection ends because the client did something wrong: counted and logged, once. words: what
 * it was, may be empty. False: it was known already. */
bool h2_conn_blame(struct h2_conn *h, uint32_t error, struct span words);
/* The client has acknowledged what was sent with the first GOAWAY. */
void h2_conn_noticed(struct h2_conn *h);
/* At the end of a thread. */
void h2_thread_fini(void);

/* ---- h2_memory.c ---- */

/* nghttp2's; h->session is NULL until it has been made. */
nghttp2_mem h2_memory(struct h2_conn *h);
/* The connection has been idle for a while: nobody looks at the session until h2_memory_wake. */
void h2_memory_rest(struct h2_conn *h);
void h2_memory_unpack(struct h2_conn *h);
static inline void h2_memory_wake(struct h2_conn *h)
{
	if (h->packed)
		h2_memory_unpack(h);
}
void h2_memory_thread_fini(void);

/* ---- h2_recv.c ---- */

/* The callbacks for a new session; of the process, made once. NULL: no memory. */
const nghttp2_session_callbacks *h2_callbacks(void);
/* Puts n on the account. True: too much, and `error` is set: the turn ends with
 * ENHANCE_YOUR_CALM. */
bool h2_glitch(struct h2_conn *h, unsigned n);

/* ---- h2_check.c: what nghttp2 lets pass though RFC 9113 says "MUST treat as an error" ---- */

void h2_scan_init(struct h2_scan *s);
/* Follows n bytes of input that nghttp2 has not got yet; how far it came. doubt: to the end of the
 * head of a frame that may be an error; when nghttp2 has got all but the last byte of that,
 * h2_scan_verdict says whether it is. */
size_t h2_scan(struct h2_conn *h, const uint8_t *p, size_t n, bool *doubt);
uint32_t h2_scan_verdict(struct h2_conn *h);
/* nghttp2 gets input now: what is said in between says nothing of a frame that comes in pieces. */
void h2_check_part(struct h2_conn *h);
/* A frame begins: NGHTTP2_NO_ERROR, or the connection's error. */
uint32_t h2_check_frame(struct h2_conn *h, const nghttp2_frame_hd *hd);
/* nghttp2 has looked at a SETTINGS frame: as above. */
uint32_t h2_check_settings(const struct h2_conn *h);
/* We end a stream whose client may not have done so yet. */
void h2_check_cut(struct h2_conn *h, int32_t id);

/* ---- h2_priority.c: RFC 9218 ---- */

/* A PRIORITY_UPDATE has come, its payload is in `update`. The connection's error, or none. */
uint32_t h2_priority_update(struct h2_conn *h, const nghttp2_frame_hd *hd);
/* A stream opens: is there something that came before it? Entries that it makes useless go. */
bool h2_priority_early(struct h2_conn *h, int32_t id, nghttp2_extpri *pri);
void h2_priority_free(struct h2_conn *h);
