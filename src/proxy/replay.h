/* A request body that is streamed, and yet can be sent again: what it has given is kept, up to a
 * ceiling, until the answer begins. So a server that refuses a request without looking at it
 * (GOAWAY, REFUSED_STREAM) costs a gRPC call nothing. */
#pragma once
#include "http/body.h"
#include "net/stream.h"

#define REPLAY_MAX (64 * 1024) /* bytes kept */

struct replay {
	struct body body;
	struct body *inner; /* borrowed */
	struct inbuf kept;
	size_t at;    /* bytes of kept that were given since the last rewind */
	bool touched; /* something was asked for */
	bool lost;    /* more was given than is kept */
	bool stopped; /* no other reader will come */
};

struct body *replay_init(struct replay *p, struct body *inner);
/* May it be read from its start once more? */
bool replay_can(const struct replay *p);
/* From the start. Nobody reads at this moment, and replay_can. */
void replay_rewind(struct replay *p);
/* Keeps nothing from now on. The reader may go on. */
void replay_stop(struct replay *p);
/* Frees what is kept. Nobody reads any more. */
void replay_fini(struct replay *p);
