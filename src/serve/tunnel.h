/* Two ends that pass bytes to each other until both have ended: upgraded connections
 * (WebSocket) and CONNECT. Parked: no coroutine, no stack, no buffer while nothing moves. A side
 * that does not read stops the other one. Half-close is passed on.
 *
 * An end is a connection, or a stream of one that carries many (HTTP/2): struct tunnel_end_ops. A
 * connection stays where it is (in the client's conn, in the upconn): the tunnel borrows it and
 * sets its parked callback and `owner`. Whoever makes the tunnel fills in the server's side
 * (stream, or ops and end; `in`: bytes that were read behind the 101) and idle_timeout_ms; the sink
 * of the request fills in the client's side, serve/ fills in `ended`. */
#pragma once
#include "base/list.h"
#include "base/wheel.h"
#include "net/stream.h"

struct tunnel;
struct tunnel_side;

/* What a tunnel asks of an end. Nothing waits; nothing ends the tunnel from inside. */
struct tunnel_end_ops {
	/* Events from now on: tunnel_wake, or a call of tunnel_event's kind. 0 or -errno. */
	int (*attach)(struct tunnel_side *s, struct tunnel *t);
	void (*detach)(struct tunnel_side *s);
	/* Would recv give bytes, the end or an error? */
	bool (*readable)(struct tunnel_side *s);
	/* Bytes behind those of s->in, which has room: > 0, 0 at the end, -EAGAIN, -errno. */
	ssize_t (*recv)(struct tunnel_side *s);
	/* What it takes now of those bytes: > 0, -EAGAIN or 0, -errno. After -EAGAIN the same bytes
	 * come first next time. */
	ssize_t (*send)(struct tunnel_side *s, struct span bytes);
	/* Nothing more will be sent. 0, or -EAGAIN: that could not be said yet. */
	int (*shutdown)(struct tunnel_side *s);
	/* Both directions are gone. */
	bool (*hung_up)(struct tunnel_side *s);
	/* When what it took waits for its turn behind others': when those last moved; else 0. NULL:
	 * there are no others. */
	uint64_t (*others_moved_ms)(struct tunnel_side *s);
};

struct tunnel_side {
	const struct tunnel_end_ops *ops; /* NULL: a connection, `stream` */
	struct stream *stream;		  /* borrowed */
	void *end;			  /* the ops' own */
	struct inbuf
		in;	/* read from this side, not yet written to the other; freed by the tunnel */
	uint64_t moved; /* bytes read from this side and delivered to the other */
	bool eof, write_shut;
	bool dry; /* nothing was there, whatever an event said: until the next one */
};

struct tunnel {
	struct list link; /* of this thread: shutdown finds it */
	struct tunnel_side client, server;
	uint64_t idle_timeout_ms; /* no byte in either direction, and none waits for its turn; 0:
				     none */
	uint64_t moved_ms;	  /* when the last byte moved; an end may tell of later ones */
	struct timer timer;
	bool woken; /* the timer runs because something happened */
	/* Called once on the loop's stack when it has ended: the tunnel no longer touches the
	 * streams, which are still open and registered; the callee closes them and frees the
	 * tunnel's memory. Reason as enum fail (FAIL_OK: both sides ended). */
	void (*ended)(struct tunnel *t, int fail);
	void *arg;
};

/* Takes both streams (nobody may wait on them). Starts to move at once, from a coroutine or the
 * loop's stack; may call ended() before it returns. */
void tunnel_start(struct tunnel *t);
/* Something happened at an end: the tunnel looks at both in the next turn. From anywhere on its
 * thread. */
void tunnel_wake(struct tunnel *t);
/* Ends all of this thread: shutdown time-out. */
void tunnels_abort(void);
unsigned tunnels_count(void);
