/* What an opener opened, recorded: texts, listings, addresses, descriptors. The master records one
 * per load; a worker replays it (DESIGN section 6). Failures are recorded too, so that both see the
 * same.
 *
 * A bundle owns its texts (arena) and its descriptors. Between processes it travels as bytes and a
 * list of descriptors, in the order of the items that have one. Not thread-safe. */
#pragma once
#include <stdbool.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"

#define BUNDLE_MAX ((size_t)1 << 30) /* bytes */

enum bundle_kind {
	BUNDLE_FILE,	/* key: path; text */
	BUNDLE_GLOB,	/* key: pattern; paths */
	BUNDLE_LOG,	/* key: path; fd */
	BUNDLE_LISTEN,	/* key: name, index: thread with reuseport; fd; sub: SOCK_STREAM, ... */
	BUNDLE_DIR,	/* key: path */
	BUNDLE_RESOLVE, /* key: host; text: struct sockaddr_storage[] */
	BUNDLE_EXISTS,	/* key: path */
	BUNDLE_KINDS,
};

struct bundle_item {
	struct hash_node node;
	struct bundle_item *next; /* in order of recording */
	enum bundle_kind kind;
	unsigned index;
	int sub;
	struct span key;
	int err; /* 0 or -errno: what the opener answers */
	int fd;	 /* -1: none */
	struct span text;
	struct span *paths;
	size_t npaths;
};

struct bundle {
	struct arena arena;
	struct hash hash;
	struct bundle_item *first, **last;
	size_t nitems;
};

/* NULL: no memory. */
struct bundle *bundle_new(void);
/* Closes the descriptors that keep (may be NULL) does not have, and frees it. */
void bundle_free(struct bundle *b, const struct bundle *keep);
struct bundle_item *bundle_find(const struct bundle *b, enum bundle_kind kind, struct span key,
				int sub, unsigned index);
/* A new item, copied key, fd -1. NULL: no memory. BUG when it is there already. */
struct bundle_item *bundle_add(struct bundle *b, enum bundle_kind kind, struct span key, int sub,
			       unsigned index);
/* for (item = bundle_next(b, NULL, kind); item; item = bundle_next(b, item, kind)) */
struct bundle_item *bundle_next(const struct bundle *b, const struct bundle_item *after,
				enum bundle_kind kind);

/* Bytes are appended to out; fds gets the descriptors (mem_free it). 0 or -ENOMEM. */
int bundle_pack(const struct bundle *b, struct buf *out, int **fds, size_t *nfds);
/* The opposite. Takes over the descriptors, also on failure. NULL: malformed or no memory. */
struct bundle *bundle_unpack(struct span bytes, const int *fds, size_t nfds);
