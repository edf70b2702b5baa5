/* Files opened for requests, and the per-thread cache of descriptors and facts about them
 * (open_file_cache).
 *
 * Every lookup gives a struct open_file: facts, and a descriptor when one was asked for. It must be
 * given back with open_file_give, which closes the descriptor or lets the cache have it; a cached
 * descriptor stays open as long as somebody holds it, whatever happens to its entry. Without
 * open_file_cache this is openat and fstat, or a warm file (mod/warm_file.h).
 *
 * An entry is known by its path and by how symbolic links were treated. It is believed for `valid`
 * seconds, then looked at again: the same inode keeps its descriptor. It goes when nobody asked for
 * `inactive` seconds, or when there are more than `max` and it was used longest ago. Directories
 * are kept, errors when configured. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/span.h"

struct req;
struct ofc_entry;
struct warm_file;

struct file_facts {
	bool is_dir, is_file;
	int64_t size, mtime; /* bytes; seconds since the epoch */
	uint64_t inode, device;
};

/* How to open. */
struct file_ask {
	struct span path;     /* absolute, with a zero behind it */
	int symlinks;	      /* SYMLINKS_* of serve/core.h */
	size_t symlinks_from; /* bytes at the front of path where links are fine */
	/* the cache; max 0: none */
	int64_t max, inactive_s, valid_s, min_uses;
	bool errors;
	uint64_t generation; /* of the configuration: with a new one, max starts anew */
};

struct open_file {
	int fd;		    /* -1: facts only */
	int err;	    /* 0, or a positive errno: then nothing else is set but `failed` */
	const char *failed; /* "open()", "stat()", "openat()": for the log line */
	struct file_facts facts;
	struct ofc_entry *entry; /* the cache's, */
	struct warm_file *warm;	 /* or a warm one; both NULL: the descriptor is the holder's */
};

/* What the request's scope says about links and caching, for a path. False: out of memory. */
bool file_ask_init(struct file_ask *ask, struct req *r, struct span path);
/* Opens a file or directory for reading, or looks it up. 0 or of->err. */
int open_file_get(struct open_file *of, const struct file_ask *ask);
/* The same without a need for a descriptor: is there something, and what? fd stays -1; nothing to
 * give back. */
int open_file_test(struct open_file *of, const struct file_ask *ask);
/* Idempotent. */
void open_file_give(struct open_file *of);
/* At a thread's end, and in tests: forgets all entries. */
void open_file_cache_clear(void);
/* Entries of this thread's cache. */
size_t open_file_cache_count(void);

/* The status that answers err, as nginx: 404, 403 or 500; whether the log line is an ordinary error
 * or worse. */
int file_error_status(int err, bool *ordinary);
