/* A simulated HTTP/2 client: requests that share a connection, and a way to behave. Make one, give
 * it asks, change what it (or one of its streams) shall do, start it. It obeys what the worker
 * says: streams that a GOAWAY leaves out, or that are refused, are asked again, on a new connection
 * when need be; a request of which that was said must not have reached a server. */
#pragma once
#include <nghttp2/nghttp2.h>
#include "ask.h"
#include "client.h"
#include "link.h"
#include "world.h"

#define MUX_ASKS 16

enum mux_state { MUX_WAITS, MUX_OPEN, MUX_OVER };

struct mux;
struct mux_timer {
	struct sim_timer t;
	struct mux *c;
	struct mux_ask *s;
};

struct mux_ask {
	struct mux *c;
	struct ask *a;
	/* what it shall do */
	bool trailers; /* behind the upload */
	bool stuck;    /* its window is never opened again */
	int bad_by;    /* ask.bad_body: so many bytes more (less) than announced */
	int64_t cancel_sent, cancel_read; /* bytes of body after which it is reset; -1: no */
	uint64_t cancel_us;		  /* time after which; 0: no */
	/* internal */
	enum mux_state state;
	int32_t id;
	struct parse in; /* the head that is being received, as HTTP/1 would have it */
	bool head_done, may_send, deferred, cancelled;
	int64_t up, tunnel_got;
	bool tunnelled, tunnel_done;
	size_t owed; /* bytes of its window that are to be given back */
	unsigned refused;
	uint64_t again_us;
	struct mux_timer cancel_timer, expect_timer, open_timer;
};

struct mux {
	uint64_t data_us; /* when DATA came last, of any answer */
	struct mux *next; /* of all */
	struct world_start start;
	unsigned index;
	/* what it shall do */
	struct mux_ask asks[MUX_ASKS];
	unsigned nasks;
	unsigned port;
	uint64_t after_us;  /* when it begins, after the worker serves */
	unsigned width;	    /* streams at a time */
	unsigned gap_us;    /* between two requests */
	uint32_t window;    /* of a stream */
	unsigned open_us;   /* after which what was read may come again */
	size_t frame, pad;  /* most bytes of a DATA frame, and of its padding */
	size_t step, rstep; /* bytes at a time; 0: as many as go */
	unsigned pause_us, rpause_us;
	unsigned chatter; /* PING, SETTINGS, ... in between: so many at most, ... */
	unsigned chats;	  /* ... where there is a chance so many times in 10,000 */
	bool goes;	  /* GOAWAY behind the last request */
	bool stays;	  /* when all is done: until the worker ends it */
	enum doom doom;
	int64_t doom_sent, doom_read; /* bytes after which; -1: no */
	uint64_t doom_us;	      /* time after which; 0: no */
	struct vanish_plan vanishes;
	/* internal: of the connection */
	struct link link;
	nghttp2_session *session;
	struct text out;
	size_t out_at, rtaken; /* rtaken: of the rstep under way */
	bool tunnels;	       /* has such asks */
	bool connected, read_paused, send_paused, half, deaf, was_reset, going, left, over;
	bool in_session; /* nghttp2 is on the stack */
	unsigned open, begun, heads, connections, peak;
	uint64_t sent, got, greeted_us, asked_us, quiet_us, next_us;
	struct mux_timer send_timer, read_timer, doom_timer, begin_timer, gap_timer;
};

struct mux *mux_new(void); /* plain, patient, all at once */
struct mux_ask *mux_add(struct mux *c, const struct route *r, enum ask_kind kind,
			const char *method);
/* chunked: without content-length. */
void mux_upload(struct mux_ask *s, int64_t length, bool chunked);
void mux_start(struct mux *c);
/* The worker begins its graceful end. */
void muxes_leaving(void);
/* Connections, and the most streams that these have had at a time. */
unsigned muxes_connected(unsigned *streams);
