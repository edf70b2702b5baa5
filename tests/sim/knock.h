/* Clients that say something once, given as bytes, and what the access log must say of each: lines
 * with these statuses and first lines, or none. For what is refused before there is a request. The
 * setup must have log_clients. */
#pragma once
#include "feed.h"
#include "link.h"
#include "world.h"

#define KNOCK_LINES 3

enum knock_end {
	KNOCK_WAITS, /* for the worker to close */
	KNOCK_CLOSES,
	KNOCK_RESETS
};

struct knock_line {
	int status, or_status; /* one of these */
	const char *request;   /* as the log has it */
};

struct knock_kind {
	const char *name;
	unsigned port;
	bool tls;	   /* on that port, with a handshake */
	const char *words; /* what it says; or make does */
	void (*make)(struct text *t);
	enum knock_end end;
	struct knock_line lines[KNOCK_LINES]; /* those with a request */
};

/* Begins so long after the worker serves; kind lives as long as the process. */
void knock_start(const struct knock_kind *kind, uint64_t after_us);
/* A line of the access log: whose address, status, first line. False: nobody of us. */
bool knock_check_line(struct span addr, int status, struct span request);
/* The log has been read: every line that should be there was. */
void knocks_check(void);
