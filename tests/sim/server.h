/* Simulated servers: they read requests byte by byte, check them against the oracle, and answer as
 * honestly as their setup says. */
#pragma once
#include "ask.h"
#include "feed.h"
#include "world.h"

/* How a request is answered. The first four are honest. */
enum act {
	ACT_ANSWER,
	ACT_SLOW,  /* after a while, in pieces */
	ACT_EARLY, /* as soon as the head is here; then reads on */
	ACT_LAZY,  /* reads the request slowly */
	ACT_HONEST_END,
	ACT_EARLY_CLOSE = ACT_HONEST_END, /* answers at the head and closes, the rest unread */
	ACT_SHORT_FIN,			  /* less than announced, then the end */
	ACT_SHORT_RESET,		  /* the same, with a reset */
	ACT_GARBAGE,			  /* a head that is none */
	ACT_LONG_HEAD,			  /* larger than anybody takes */
	ACT_CLOSE,			  /* reads all, says nothing, closes */
	ACT_RESET,			  /* resets when the first line is here */
	ACT_CLOSE_UPLOAD,		  /* closes in the middle of the body */
	ACT_HANG,			  /* never answers */
	ACT_HANG_MIDDLE,		  /* stops in the middle of the answer */
	ACT_STATUS,			  /* 403, 404, 429, 500, 502, 503, 504 */
	ACT_LONG,			  /* more bytes than announced */
	ACT_CLOSE_IDLE,			  /* answers, and closes soon after without a word */
	ACT_SPEAK_IDLE,			  /* answers, and says something unasked later */
	ACT_BAD_CHUNK,
	ACT_UNASKED_101,
	ACT_END,
	/* for scripts: */
	ACT_STUCK,	   /* reads the head and no more for long, says nothing */
	ACT_VANISH,	   /* is gone without a word, ... */
	ACT_VANISH_MIDDLE, /* ... in the middle of the answer, ... */
	ACT_VANISH_IDLE,   /* ... when it is out */
};

/* One listens at each address of the setup. */
void servers_start(void);
/* What the next requests get instead of a drawn act; ACT_END: drawn again. For scenarios. */
void server_script(const enum act *acts, unsigned n);
/* Connections that are open now, and that some answer is being sent on. */
unsigned servers_connected(void);
/* Notes those of HTTP/1. */
void servers_note(void);
/* Closes everything: the end of a world. */
void servers_close(void);

/* Mischief begins with the handshake each time, not now and then. */
extern bool server_always_greets_badly;
struct link;
void server_check_tls(const struct link *l, unsigned group, const struct ask *a);

struct sconn;
/* For scenarios: called when a request's head is here (its ask is known) instead of anything else;
 * true: the hook has dealt with it. */
extern bool (*server_hook)(struct sconn *s, struct ask *a);
struct sim_conn *sconn_conn(struct sconn *s);
void sconn_answer(struct sconn *s, enum act act);
void sconn_end(struct sconn *s, bool reset);
