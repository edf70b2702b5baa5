/* Between h2_upconn.c (connections) and h2_session.c (what nghttp2 tells of their streams). */
#pragma once
#include "base/pool.h"
#include "http/h2/h2_frames.h"
#include "proxy/h2_upconn.h"

#define H2_STREAMS_BEFORE_SETTINGS 100	       /* RFC 9113 6.5.2 recommends no less */
#define H2_HTTP1_MS		   300000      /* that long HTTP_1_1_REQUIRED is remembered */
#define H2_OUT_SOFT		   (64 * 1024) /* bytes of frames that wait for the socket, about */
#define H2_OUT_CONTROL		   (80 * 1024) /* the same, as long as they are not DATA */
#define H2_LIKED_MS		   10000       /* that long it is remembered how many it refused */
#define H2_LIKED_LOW_MS		   1000	       /* and that long more than that is not believed */
#define H2_LIKED_MIN		   4u	       /* of connections that end, some may be idle ones */
#define H2_STREAMS_MAX		   256	       /* on one connection, whatever the server allows */
#define H2_LAST_WORDS_MS	   5000	       /* for a server that reads late to hear GOAWAY */

struct h2_upconn {
	struct upconn *u;
	uint64_t identity;
	nghttp2_session *session;
	struct list link, idle; /* all of the thread; while idle */
	struct list streams;
	unsigned nstreams, limit;
	unsigned first, answered; /* limit of the first streams; how many ended well */
	uint64_t first_until_ms;  /* that long it counts */
	struct h2_frames frames;  /* coming in */
	struct inbuf out;	  /* frames that wait for the socket */
	uint64_t out_gone;	  /* bytes that have left `out` */
	struct io_turn_end flush;
	struct timer timer;  /* idle; or more to read, in the next turn */
	struct timer watch;  /* is the server still there? h2_watch.c */
	int32_t head_stream; /* whose head is arriving; 0: none is */
	uint64_t heard_ms;
	uint64_t pinged_ms; /* when a PING was sent last */
	uint8_t pings;	    /* since the server said anything of a stream */
	bool pinging;	    /* and nothing was heard since */
	bool silent;	    /* for too long: gets no requests until something is heard */
	bool undecodable;   /* nghttp2 gave up over that head */
	bool served;	    /* it has answered something */
	bool reset;	    /* the server's TCP said so */
	bool http1;	    /* the server did: with HTTP_1_1_REQUIRED */
	enum fail broken;   /* FAIL_OK: not */
	bool draining;	    /* gets no more requests */
	bool deaf;	    /* the server reads no more */
	bool closed;	    /* it has ended the connection */
	bool shut;	    /* we have, and read only */
	uint64_t last_ms;   /* broken, and GOAWAY waits for the socket: until then */
	bool more;	    /* there is more to read */
	bool behind;	    /* the socket did not take all of `out` */
	bool settings;	    /* the server's have arrived */
	/* of the group */
	unsigned keepalive;
	int64_t keepalive_requests;
	uint64_t keepalive_time_ms, keepalive_timeout_ms;
};

/* Makes c->session. False: no memory. */
bool h2_session_new(struct h2_upconn *c);
bool h2_upconn_append(struct h2_upconn *c, const void *p, size_t n);
/* Something was submitted: it goes out at the end of this turn. */
void h2_upconn_arm(struct h2_upconn *c);
/* What nghttp2 said to a frame of ours, or to window that was given back: without memory neither
 * ever leaves, and the connection is of no more use. */
void h2_upconn_check(struct h2_upconn *c, int rc);
void h2_stream_detach(struct h2_stream *st, enum fail f);
/* The server did nothing with one of its streams, and says so: what is to be done with it. */
enum fail h2_refused(struct h2_upconn *c);
void h2_stream_wake(struct h2_stream *st);
/* Something happened that c->broken and the like tell of: ends it, parks it, or lets it be. */
void h2_upconn_settle(struct h2_upconn *c);

/* h2_watch.c: a connection whose server vanished without a word is found out by PING. */
void h2_watch_init(struct h2_upconn *c);
/* A request comes, or came. */
void h2_watch_start(struct h2_upconn *c);
/* Bytes came. */
void h2_watch_heard(struct h2_upconn *c);
