/* Two connected streams that pass bytes to each other until both have ended: upgraded connections
 * (WebSocket) and CONNECT. Parked: no coroutine, no stack, no buffer while nothing moves. A side
 * that does not read stops the other one. Half-close is passed on.
 *
 * The streams stay where they are (in the client's conn, in the upconn): the tunnel borrows them
 * and sets their parked callback and `owner`. Whoever makes the tunnel fills in server.stream,
 * server.in (bytes that were read behind the 101), idle_timeout_ms; serve/ fills in the client's
 * side and `ended`. */
#pragma once
#include "base/list.h"
#include "base/wheel.h"
#include "net/stream.h"

struct tunnel_side {
	struct stream *stream; /* borrowed */
	struct inbuf
		in;	/* read from this side, not yet written to the other; freed by the tunnel */
	uint64_t moved; /* bytes read from this side and delivered to the other */
	bool eof, write_shut;
};

struct tunnel {
	struct list link; /* of this thread: shutdown finds it */
	struct tunnel_side client, server;
	uint64_t idle_timeout_ms; /* no byte in either direction; 0: none */
	uint64_t moved_ms;	  /* when the last byte moved */
	struct timer timer;
	/* Called once on the loop's stack when it has ended: the tunnel no longer touches the
	 * streams, which are still open and registered; the callee closes them and frees the
	 * tunnel's memory. Reason as enum fail (FAIL_OK: both sides ended). */
	void (*ended)(struct tunnel *t, int fail);
	void *arg;
};

/* Takes both streams (nobody may wait on them). Starts to move at once, from a coroutine or the
 * loop's stack; may call ended() before it returns. */
void tunnel_start(struct tunnel *t);
/* Ends all of this thread: shutdown time-out. */
void tunnels_abort(void);
unsigned tunnels_count(void);
