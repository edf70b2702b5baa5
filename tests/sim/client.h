/* A simulated client: one connection, some requests on it, a way to behave. Make one, give it asks,
 * change what it shall do, start it. It lives as long as the process. */
#pragma once
#include "ask.h"
#include "feed.h"
#include "link.h"
#include "vanish.h"
#include "malformed.h"
#include "world.h"

#define CLIENT_ASKS 8

enum doom {
	DOOM_NONE,
	DOOM_RESET, /* the connection ends in the middle */
	DOOM_CLOSE,
	DOOM_HALF,   /* no more is sent, the rest is read */
	DOOM_DEAF,   /* nothing more is read for a long time, then it closes */
	DOOM_VANISH, /* it is gone without a word: by the plan in `vanishes` */
};

struct client;
struct client_timer {
	struct sim_timer t;
	struct client *c;
};

struct client {
	struct client *next; /* of all */
	struct world_start start;
	unsigned index;
	/* what it shall do */
	struct ask *asks[CLIENT_ASKS];
	unsigned nasks;
	unsigned port;
	uint64_t after_us; /* when it begins, after the worker serves */
	bool pipeline;	   /* requests are sent without waiting for answers */
	bool http10, absolute, websocket_key;
	unsigned think_us;  /* between an answer and the next request */
	size_t step, rstep; /* bytes at a time; 0: as many as go */
	unsigned pause_us, rpause_us;
	enum doom doom;
	int64_t doom_sent, doom_read; /* bytes after which; -1: no */
	uint64_t doom_us;	      /* time after which; 0: no */
	struct vanish_plan vanishes;
	const struct malformed *raw; /* sent as it is in place of requests: must be refused */
	bool silent;	  /* sends nothing (more): a time-out of the worker must end it */
	uint64_t stop_at; /* silent: bytes of all it sends before */
	/* internal */
	struct link link;
	struct feed feed;
	bool feed_ready, may_send_body, want_100, connected, read_paused, send_paused, half, deaf,
		reset;
	size_t rtaken; /* of the rstep under way */
	bool tunnelled, leaving, done, closes;
	unsigned sending, reading;
	struct parse in;
	uint64_t sent, got, last_sent_us, answered_us, connected_us;
	int64_t tunnel_sent, tunnel_got;
	bool tunnel_over; /* the other side's direction has ended */
	uint64_t last_got_us;
	struct client_timer send_timer, read_timer, think_timer, doom_timer, begin_timer,
		expect_timer;
};

struct client *client_new(void); /* plain, patient */
struct ask *client_ask(struct client *c, const struct route *r, enum ask_kind kind,
		       const char *method);
/* An upload for the last ask; a length and framing. */
void client_upload(struct client *c, int64_t length, bool chunked);
void client_start(struct client *c);
/* The worker begins its graceful end: which requests are still sure to be answered. */
void clients_leaving(void);
/* Notes those that are not done. */
void clients_note(void);
/* How many have a connection. */
unsigned clients_connected(void);
