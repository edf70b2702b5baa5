/* Everything that reading a configuration opens outside of memory goes through an opener.
 *
 * The master's opener opens for real and records what it opened (a bundle); the worker's opener
 * replays a bundle, so the worker needs no privileges; `-t --offline` uses one that opens nothing.
 *
 * Keys are absolute paths or canonical socket names. All return 0 or a negative errno; texts are
 * copied into the given arena. */
#pragma once
#include <stdbool.h>
#include <sys/socket.h>
#include "base/arena.h"
#include "base/list.h"
#include "base/span.h"

/* One listening socket as the configuration wants it. */
struct listen_spec {
	struct sockaddr_storage sa;
	socklen_t salen;
	int type;	  /* SOCK_STREAM, SOCK_DGRAM */
	struct span name; /* canonical: "0.0.0.0:80", "[::]:80", "unix:/run/x.sock" */
	int backlog, rcvbuf, sndbuf, fastopen, setfib; /* -1: not set */
	int keepalive;				       /* -1 not set, 0 off, 1 on */
	int keepidle, keepintvl, keepcnt;	       /* s, s, number; 0: not set */
	bool ipv6only, ipv6only_set, reuseport, deferred, bind, multipath;
};

struct opener {
	const struct opener_ops *ops;
	bool offline; /* nothing is opened: missing files are not an error */
};

struct opener_ops {
	/* Whole content of a file (at most 16 MiB). */
	int (*read_file)(struct opener *o, struct span path, struct arena *a, struct span *text);
	/* Sorted matches of a glob pattern; none is not an error when the pattern has wildcards. */
	int (*glob)(struct opener *o, struct span pattern, struct arena *a, struct span **paths,
		    size_t *n);
	/* An append-only log. Returns a descriptor >= 0 that stays valid and is replaced in place
	 * (dup2) when logs are reopened. The same path gives the same descriptor. */
	int (*open_log)(struct opener *o, struct span path);
	/* A bound, listening, non-blocking socket; existing and inherited ones are reused by name.
	 * With reuseport, index tells the thread's own. */
	int (*listen)(struct opener *o, const struct listen_spec *spec, unsigned index);
	/* A folder for temporary files, made with mode 0700 for the worker's user. */
	int (*make_dir)(struct opener *o, struct span path);
	/* Blocking name resolution at start: fills at most max addresses, returns how many or
	 * -errno. */
	int (*resolve)(struct opener *o, struct span host, struct sockaddr_storage *sa, size_t max);
	/* stat of a path for start-up checks. */
	int (*exists)(struct opener *o, struct span path);
	/* A file of the configuration itself: the one thing that is read offline too. NULL:
	 * read_file. */
	int (*read_conf)(struct opener *o, struct span path, struct arena *a, struct span *text);
};

/* A number that is never an open descriptor: what openers give that open nothing. */
#define OPENER_NO_FD 0x7fffffff

/* -t --offline. Configuration files and globs are read through another opener; other files are
 * empty, logs and sockets OPENER_NO_FD, every name resolves to 192.0.2.1. */
struct opener_offline {
	struct opener opener;
	struct opener *files;
};
void opener_offline_init(struct opener_offline *o, struct opener *files);

/* For tests: a table of path and text that ends with an empty path. Names resolve to 127.0.0.1,
 * except those that end in ".invalid". */
struct opener_file {
	struct span path, text;
};
struct opener_memory {
	struct opener opener;
	const struct opener_file *files;
};
void opener_memory_init(struct opener_memory *o, const struct opener_file *files);
