/* A response body that frees its source from a slow reader (proxy_buffering).
 *
 * While the reader keeps up, pieces pass through untouched. When the reader reports that it is
 * stalled, the rest of the piece it has is moved to memory of our own and a child task (the filler)
 * goes on pulling from the source: into memory up to `memory` bytes, then into a nameless temporary
 * file up to `file` bytes; above both it waits. As soon as the reader has caught up the filler
 * hands its piece over as it is and ends: pieces pass through again.
 *
 * Always true: bytes in memory are older than bytes in the file; while the file holds bytes nothing
 * new goes to memory. The filler is cancelled and joined in close, so close may suspend. With `off`
 * there never is a filler. */
#pragma once
#include "base/list.h"
#include "http/body.h"

struct buffered_conf {
	bool off;
	size_t memory; /* bytes */
	size_t block;  /* bytes of one block, at least */
	int64_t file;  /* bytes; 0: no file */
	struct span temp_path;
	const struct logger *log; /* NULL: the instance's */
	int64_t rate;		  /* proxy_limit_rate: bytes/s read from the source; 0: no limit */
	bool trailers;		  /* the source's trailers are ours */
};

struct buffered_block {
	struct list link;
	size_t start, end, cap;
	char data[];
};

struct buffered {
	struct body body;
	struct body *inner;
	const struct buffered_conf *conf;
	struct co_child filler;
	bool filling;	   /* the filler was started and not yet joined */
	bool filled;	   /* the filler has ended: nothing more will come into the store */
	bool reader_waits; /* ... in `more`, with nothing in store */
	bool handed_over;  /* `handed` goes to the reader as it is */
	struct piece handed;
	bool inner_done; /* the source gave its last piece, or failed */
	enum fail inner_fail;
	struct list blocks;			     /* oldest first */
	size_t in_memory;			     /* bytes of blocks */
	struct buffered_block *given;		     /* block whose bytes the reader has now */
	int fd;					     /* -1: none yet */
	int64_t file_read, file_given, file_written; /* offsets: read <= given <= written */
	bool file_full; /* writing failed or the limit was reached: only memory from now on */
	char *copy, *read_copy; /* the filler's, for pipes; the reader's, when it takes no files:
				   COPY_SIZE bytes */
	struct co_waitq more, room;
	uint64_t began_ms;
	int64_t pulled;
	struct piece slice; /* for the rate: what it does not allow yet */
	/* Called once each: when the source fails; when this body was closed. */
	void (*failed)(void *arg, enum fail f);
	void (*closed)(void *arg);
	void *arg;
};

/* The struct is the caller's (arena). inner is owned from now on. */
struct body *buffered_init(struct buffered *b, struct body *inner,
			   const struct buffered_conf *conf);
