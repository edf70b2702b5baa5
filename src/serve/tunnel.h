/* Two connected streams that pass bytes to each other until both have ended: upgraded connections (WebSocket) and CONNECT.
 * Parked: no coroutine, no stack, no buffer while nothing moves. A side that does not read stops the other one.
 * Half-close is passed on. */
#pragma once
#include "base/list.h"
#include "base/wheel.h"
#include "net/stream.h"

struct tunnel_side {
	struct stream stream;      /* moved in; closed by the tunnel */
	struct inbuf in;           /* read from this side, not yet written to the other */
	bool eof, write_shut;
};

struct tunnel {
	struct list link;          /* of this thread: shutdown finds it */
	struct tunnel_side client, server;
	uint64_t idle_timeout_ms;  /* no byte in either direction */
	struct timer timer;
	/* Called once on the loop's stack when it ends; streams are closed by then. Reason as enum fail. Byte counts in
	 * stream.sent/received stay readable. */
	void (*ended)(struct tunnel *t, int fail);
	void *arg;
};

/* Takes both streams (their iofd must not be waited on). Starts to move at once. */
void tunnel_start(struct tunnel *t);
void tunnel_abort(struct tunnel *t, int fail);
