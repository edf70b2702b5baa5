/* HTTP/2 connections to servers. One of them carries requests of many clients of its thread at the
 * same time; nobody owns it: it stays while it has streams, then idles for keepalive_timeout.
 *
 * It is driven by events on the loop's stack, with nghttp2; the coroutines of its streams only look
 * at their struct h2_stream and wait to be woken. What they submit leaves at the end of the turn,
 * all of it in one write.
 *
 * Flow control: bytes that arrive count against their stream's window until its reader has asked
 * for more, and not at all against that of the connection. So a slow reader stops its own stream
 * only, and a connection never holds more than its streams' windows (H2_WINDOW bytes each). */
#pragma once
#include "http/h2/h2_head.h"
#include "proxy/upconn.h"

#define H2_WINDOW	(256 * 1024) /* bytes of a response that may wait for its reader */
#define H2_INTERIMS_MAX 64	     /* 1xx answers before the final one */

struct h2_upconn;

/* A 103 that the stream's reader has not looked at; in the request's arena. */
struct h2_hint {
	struct h2_hint *next;
	struct hdrs headers;
	size_t bytes;
};

/* One request and its response on a connection. The struct is the exchange's; it belongs to the
 * connection's list from h2_upconn_take on, until it has ended or h2_stream_leave. */
struct h2_stream {
	struct h2_upconn *conn; /* NULL: on none, or over */
	struct list link;
	int32_t id;			     /* 0: nothing submitted yet */
	void (*event)(struct h2_stream *st); /* the same for a tunnel; NULL: none */
	struct co *reader, *writer; /* who waits for something to arrive, to have been sent; woken
				       with 0 */
	/* The response. Filled in before h2_stream_open: */
	struct arena *arena;	    /* for heads */
	struct http_response *resp; /* where the final head goes */
	struct h2_limits limits;
	enum http_method method; /* of the request */
	/* Then: */
	struct h2_head head;
	struct hdrs trailers;
	unsigned interims;
	struct h2_hint *hints, **hints_end; /* the oldest first */
	bool head_done;			    /* *resp is complete */
	bool bodiless;			    /* its status, or a HEAD, says so */
	bool ended;			    /* and so is the rest */
	enum fail fail;	 /* FAIL_OK: well up to now. Otherwise nothing more will come */
	struct inbuf in; /* body that nobody has taken yet */
	int64_t arrived; /* bytes of body */
	bool held_back;	 /* the last one of those announced is not in `in` yet */
	uint8_t last;
	int64_t announced;   /* content-length; -1: none */
	uint64_t arrived_ms; /* when anything came last */
	uint64_t sent_ms;    /* when some of the request went out last; 0: never */
	uint64_t out_end;    /* where what was made of it ends in the connection's output */
	int64_t wire_received, wire_sent;
	/* The request's body: the piece that is going out, pulled by the connection. */
	struct piece piece;
	bool has_body, piece_last; /* END_STREAM comes with the piece's end */
	bool deferred;		   /* nghttp2 waits for h2_stream_resume */
	bool head_sent;		   /* it is in the connection's output */
	bool sent;		   /* END_STREAM is */
	bool reused;		   /* the connection had answered before this request joined it */
	bool unseen;		   /* over, and no byte of the request ever reached the server */
	uint64_t mark;		   /* the connection's stream_mark before the request */
	const struct hdrs *trailers_out; /* may be NULL */
};

/* A stream on a connection to p->member: a connection that has room, or one that somebody is making
 * just now, or a new one. only: HTTP/2 whatever ALPN says (prior knowledge); otherwise a server
 * that does not choose h2 gives *plain, a connection for HTTP/1, and st stays empty. As
 * upconn_take. */
MAY_SUSPEND enum fail h2_upconn_take(struct pick *p, struct upconn_want *w, bool only,
				     struct h2_stream *st, struct upconn **plain,
				     int64_t *connect_us);
/* Submits the request. FAIL_UPSTREAM_REFUSED: the connection takes no more. */
enum fail h2_stream_open(struct h2_stream *st, const struct h2_fields *f);
/* A new piece is in st->piece. */
void h2_stream_resume(struct h2_stream *st);
/* The reader is done with so many bytes: the server may send as many more. */
void h2_stream_consume(struct h2_stream *st, size_t n);
/* The stream was silent for too long. Was the whole connection? Then it gets no more requests. */
void h2_stream_silent(struct h2_stream *st);
/* Ends it; what is still under way is cancelled (RST_STREAM). st->in is the caller's to free. */
void h2_stream_leave(struct h2_stream *st);
/* What the server said of itself. */
enum h2_known { H2_NOT_YET, H2_NO, H2_YES };
/* May extended CONNECT be used (RFC 8441)? */
enum h2_known h2_stream_extended_connect(const struct h2_stream *st);

/* Closes all connections of this thread. */
void h2_upconn_thread_fini(void);
/* Connections of this thread; streams on them. For tests. */
unsigned h2_upconn_count(unsigned *nstreams);
