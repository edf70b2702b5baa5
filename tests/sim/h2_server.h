/* Simulated servers that speak HTTP/2, by prior knowledge or ALPN: those of groups with http2. Each
 * stream is read and checked as server.h does it for HTTP/1, and answered as honestly as the setup
 * says. */
#pragma once
#include "ask.h"
#include "world.h"

/* How a request is answered. The first ones are honest. */
enum hact {
	HACT_ANSWER,
	HACT_SLOW,  /* after a while, in pieces */
	HACT_EARLY, /* as soon as the head is here; then reads on */
	HACT_STOP,  /* the same, then RST_STREAM with NO_ERROR */
	HACT_LAZY,  /* opens its window slowly */
	HACT_ECHO,  /* answers as the upload comes: each byte of it allows one of the answer */
	HACT_LEAVE, /* the connection says GOAWAY twice, as it should; everything is answered */
	HACT_HONEST_END,
	HACT_RESET = HACT_HONEST_END, /* RST_STREAM instead of an answer */
	HACT_RESET_MIDDLE,	      /* after some bytes of it */
	HACT_REFUSE,		      /* RST_STREAM with REFUSED_STREAM */
	HACT_GOAWAY,		      /* GOAWAY that leaves this stream out */
	HACT_CLOSE,		      /* the connection closes */
	HACT_CUT,		      /* the connection is reset */
	HACT_HANG,		      /* never answers */
	HACT_STUCK,		      /* never opens its window, nor answers */
	HACT_HANG_MIDDLE,	      /* stops in the middle of the answer */
	HACT_STATUS,		      /* 403, 404, 429, 500, 502, 503, 504 */
	HACT_SHORT,		      /* less than content-length says */
	HACT_LONG,		      /* more */
	HACT_BAD_HEAD,		      /* a head that is none */
	HACT_SETTINGS, /* fewer streams (even none) and smaller windows from now on */
	HACT_END,
	/* In scripts only; honest: */
	HACT_PART = HACT_END, /* answers, and says GOAWAY to all that it has not begun to answer */
	HACT_VANISH	      /* not honest: its machine is gone without a word */
};

struct link;
/* Takes the connection over; its owner has begun to greet. */
void hserver_accepted(unsigned group, unsigned server, struct link *l);
/* What the next requests get instead of a drawn act. For scenarios. */
void hserver_script(const enum hact *acts, unsigned n);
/* From now on a PING follows each GOAWAY, which tells when no stream may begin any more. */
void hservers_probe(void);
/* Connections, and streams that these have had. */
unsigned hservers_connected(unsigned *streams);
void hservers_close(void);
