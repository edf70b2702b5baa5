/* Bodies are pulled. body_next gives the next piece and may suspend; a filter is a body that pulls
 * from another. Back-pressure is the call itself.
 *
 * A piece stays valid until the next call on the same body. `last` comes with the last piece (which
 * may be empty). After a failure or the last piece body_next must not be called again. body_close
 * releases what the body holds and may be called at any time, once; closing an unfinished upstream
 * body gives its connection up. */
#pragma once
#include "http/fail.h"
#include "http/hdrs.h"
#include "co/co.h"

enum piece_kind { PIECE_MEM = 1, PIECE_FILE = 2, PIECE_PIPE = 4 };

struct piece {
	enum piece_kind kind;
	bool last;	 /* nothing follows */
	bool flush;	 /* do not hold this back waiting for more */
	struct span mem; /* PIECE_MEM */
	int fd; /* PIECE_FILE: [off, off+len); PIECE_PIPE: len bytes are in the pipe's read end */
	off_t off;
	size_t len; /* FILE and PIPE */
};
static inline size_t piece_len(const struct piece *p)
{
	return p->kind == PIECE_MEM ? p->mem.n : p->len;
}

struct body;
struct body_ops {
	MAY_SUSPEND enum fail (*next)(struct body *b, struct piece *out);
	/* True when next would not suspend. NULL: never known, false. */
	bool (*ready)(struct body *b);
	void (*close)(struct body *b);
	/* The consumer waits for a slow reader and still has *rest of the piece given last. The
	 * body may move those bytes to memory of its own (changing *rest) and go on producing in
	 * the background, so that what it reads from is not held. NULL: it does nothing. Filters
	 * pass it on to what they pull from only when *rest is not theirs. */
	void (*stalled)(struct body *b, struct piece *rest);
};

struct body {
	const struct body_ops *ops;
	int64_t length; /* bytes in all, -1 unknown */
	uint8_t accept; /* enum piece_kind bits that the consumer can take; set by the consumer
			   before the first next; filters that look at bytes set PIECE_MEM on what
			   they pull from */
	bool done;	/* last piece was given */
	struct hdrs *trailers; /* valid after the last piece; NULL: none */
};

static inline MAY_SUSPEND enum fail body_next(struct body *b, struct piece *out)
{
	return b->ops->next(b, out);
}
static inline bool body_ready(struct body *b)
{
	return b->ops->ready && b->ops->ready(b);
}
void body_close(struct body *b); /* NULL is fine */
static inline void body_stalled(struct body *b, struct piece *rest)
{
	if (b->ops->stalled)
		b->ops->stalled(b, rest);
}

/* Bodies made of what is there already. Memory: the struct is the caller's (arena). */
struct body_mem {
	struct body body;
	struct span text;
};
struct body *body_of_span(struct body_mem *m, struct span text);
struct body_file {
	struct body body;
	int fd;
	off_t off;
	int64_t left;
	void (*on_close)(struct body_file *f);
	char *buf;
	struct arena *arena;
	void *owner;
};
/* [off, off+n) of fd, which stays open until on_close. Gives PIECE_FILE when accepted, else reads
 * into a buffer. */
struct body *body_of_file(struct body_file *f, struct arena *a, int fd, off_t off, int64_t n);
/* Reads everything away; ceiling in bytes. */
MAY_SUSPEND enum fail body_drain(struct body *b, int64_t ceiling);
