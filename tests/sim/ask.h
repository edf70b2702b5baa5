/* The oracle: every request of a world, what may become of it, and what did. Clients and servers
 * tell it what they see; whatever must not be breaks the world. The names of the invariants are in
 * doc/simulator.md. */
#pragma once
#include "parse.h"
#include "setup.h"

#define ASKS_MAX	  4096
#define TRIES_MAX	  80		   /* GOAWAY may refuse one 64 times */
#define REASON_OF_SERVERS "Whatever It Is" /* nobody else says that */

enum ask_kind {
	ASK_PROXIED,
	ASK_TUNNEL,  /* WebSocket */
	ASK_CONNECT, /* to a server of its own: raw.h */
	ASK_RETURN,
	ASK_FILE
};

/* One time that a server's application read this request's first line. */
struct ask_try {
	unsigned group, server;
	bool fresh; /* the first request of its connection */
	bool clean; /* the answer's head is a right one: a client may see it */
	bool whole; /* the request was read to its end */
	int status;
	int64_t declared; /* bytes of body that the answer has when it is whole */
	bool until_close; /* the connection's end is the body's */
	bool cut;	  /* ... and it came too early: nobody can tell */
	int64_t written;  /* bytes of the answer that left the server */
	unsigned bits; /* NEXT_* of which one must be configured for another try; 0: none may follow
			*/
	uint64_t read_us;   /* when the request was read to its end; 0: not */
	uint64_t stuck_us;  /* when its server read the last byte before it stopped doing so; 0: it
			       did not */
	bool trailers;	    /* are behind the answer */
	bool hung;	    /* no byte of an answer ever came */
	bool refused;	    /* HTTP/2: the server said that it has not done anything for it */
	const char *reason; /* as its status line said it; NULL: HTTP/2 has none */
	bool unclear; /* bytes of its connection are changed or lost below HTTP: nobody knows what
			 the worker saw of the answer */
	bool crossed; /* bytes that nobody asked for were on their way as the request came: the
			 worker     cannot tell them from an answer */
};

struct ask {
	unsigned id;
	enum ask_kind kind;
	const struct route *route;
	const char *method;
	char target[160];
	int status; /* of the honest answer */
	int64_t length, upload;
	int64_t tunnel_up;	 /* bytes that the client sends through a tunnel */
	bool half_up, half_down; /* of a tunnel: that side ends its direction and goes on with the
				    other */
	bool idles;		 /* nobody ends the tunnel: a time-out must */
	int64_t from;		 /* of a file: the first byte that is asked for */
	unsigned file;
	bool resolves; /* of a name: it leads to servers, however it is asked for */
	bool chunked, expect, bad_body;
	bool up_trailers; /* behind the upload */
	bool muxed;	  /* its client speaks HTTP/2 */
	bool stalls; /* its client reads nothing from the start, and the answer is too large for
			sockets */
	const char *excuse; /* why it need not be answered; NULL: it must be */
	struct ask_try tries[TRIES_MAX];
	unsigned ntries;
	/* what the client saw */
	bool begun, sent, ended;
	bool own;     /* the answer is the proxy's */
	int seen_try; /* whose answer it is; -1: none yet */
	int got_status;
	int64_t got_body, got_wire;
	bool got_whole, got_chunked, got_trailers;
	bool early; /* a server answered before it had read the request: the connection may end with
		       that */
	uint64_t sent_us;  /* its last byte left the client */
	uint64_t ended_us; /* the last one of its answer came */
	/* the log */
	unsigned lines;
	int64_t log_ms;
};

struct ask *ask_new(const struct route *r, enum ask_kind kind, const char *method);
/* Where it goes by its route and kind. */
void ask_target(struct ask *a);
struct ask *ask_find(uint64_t id); /* NULL */
struct ask *ask_nth(unsigned i);
unsigned asks_count(void);
/* The first reason stays. */
void ask_excuse(struct ask *a, const char *why);
/* Everything that is not over yet. */
void asks_excuse(const char *why);
/* Nothing can go wrong with this one: it must be answered by its server (or be what the worker
 * says itself). */
bool ask_is_sure(const struct ask *a);
bool ask_is_unsafe(const struct ask *a); /* POST, PATCH, LOCK */
static inline bool ask_is_tunnel(const struct ask *a)
{
	return a->kind == ASK_TUNNEL || a->kind == ASK_CONNECT;
}

/* ---- a server saw ---- */

/* The first line of a request. Breaks the world when it should not have come here (again). */
struct ask_try *ask_try_begin(struct ask *a, unsigned group, unsigned server, bool fresh,
			      bool unclear);
unsigned ask_try_nth(const struct ask *a, const struct ask_try *t);
uint64_t ask_answer_key(const struct ask *a, unsigned nth);

/* ---- a client saw ---- */

/* The head of the final answer. Returns how the body is framed; *length as announced or -1. */
enum parse_framing ask_check_head(struct ask *a, const struct parse *p, int64_t *length);
/* CONNECT was answered with 200. */
void ask_check_connected(struct ask *a, const struct parse *p);
void ask_check_data(struct ask *a, struct span data);
/* whole: the framing says that it is complete. */
void ask_check_end(struct ask *a, bool whole);
/* No (whole) answer will come: how says why. */
void ask_lost(struct ask *a, const char *how);

/* ---- the end ---- */

void asks_check_log(struct span text, bool may_lack_lines);
/* The log was opened again then: what had ended before must have its line. */
void asks_check_rotated(uint64_t at_us);
void asks_check_all(void);
struct ask_counts {
	unsigned asked, whole, own, lost, excused, tries;
};
struct ask_counts asks_counted(void);
