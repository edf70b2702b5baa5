/* Between upconn.c (one thread's connections) and upconn_share.c (handing them to another). */
#pragma once
#include "proxy/upconn.h"

/* A connection without its thread. */
struct upconn_gift {
	int fd; /* -1: none */
	uint64_t opened_ms;
	uint32_t requests;
};

/* The calling thread can be asked from now on, until it leaves. Its loop must run on for a turn
 * after it has left. */
void upconn_share_join(void);
void upconn_share_leave(void);
/* An idle plain connection of another thread; out->fd is the caller's. Waits a few ms at most. */
MAY_SUSPEND bool upconn_ask(struct peer *peer, uint64_t identity, struct upconn_gift *out);
/* Takes an idle plain one out of this thread's pool, when it has more than one. */
void upconn_give_away(struct peer *peer, uint64_t identity, struct upconn_gift *out);
