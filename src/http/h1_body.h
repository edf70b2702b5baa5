/* A message body on an HTTP/1 connection: Content-Length, chunked, or until the connection closes.
 * Reads from an inbuf (what came behind the head) and then from its stream. Used for requests from
 * clients and for responses from upstreams; the two ways in which they differ (time-outs and
 * reasons) are parameters. RFC 9112 6, 7. */
#pragma once
#include "http/body.h"
#include "http/h1.h"
#include "net/stream.h"

struct h1_body {
	struct body body;
	struct stream *stream;
	struct inbuf *in;
	enum { H1_BODY_LENGTH, H1_BODY_CHUNKED, H1_BODY_UNTIL_CLOSE } framing;
	int64_t left; /* LENGTH: bytes still to come */
	struct chunked chunked;
	struct h1_parser trailer_parser;
	struct hdrs trailer_fields;
	const struct h1_limits *limits;	      /* for the trailer section */
	uint64_t timeout_ms;		      /* longest wait between two reads */
	uint64_t until_ms;		      /* no longer than until then; 0: without that */
	enum fail on_timeout, on_end, on_bad; /* reasons: silence, early end, malformed chunk */
	bool client;			      /* which errno bridge */
	bool in_trailers;
	bool reset; /* set by who writes to the stream: it was reset, so its end proves nothing */
	uint32_t held;	    /* bytes of the piece given last, still in `in` */
	uint32_t read_size; /* room to read into: grows to 64 KiB for long bodies */
	int pipe[2];
	uint32_t in_pipe;	  /* splice: -1 when none */
	int64_t received;	  /* body bytes given so far */
	int64_t max;		  /* more than this fails with FAIL_BODY_TOO_LARGE; -1: no limit */
	struct span pending;	  /* chunked: the next run of data, already found in `in` */
	const char *trailer_base; /* where trailer_fields point into */
	/* Called once when the body is complete (last piece about to be given), e.g. to give the
	 * connection back; and never when it is closed before. May be NULL. */
	void (*complete)(struct h1_body *b);
	void (*abandoned)(struct h1_body *b); /* closed before the end, or failed */
};

/* Initialises the parts that do not depend on the caller; length < 0 with !chunked: until close.
 * arena: trailers. */
void h1_body_init(struct h1_body *b, struct stream *s, struct inbuf *in, bool chunked,
		  int64_t length, struct arena *a);
