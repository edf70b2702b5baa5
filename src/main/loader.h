/* A configuration on its way into use: read on a thread of its own, so that a large one holds up
 * nobody's requests, then served by one thread after the other. One at a time.
 *
 * The worker and the simulator's worlds do it with this; what it is read from is theirs. */
#pragma once
#include <pthread.h>
#include "conf/snapshot.h"
#include "io/loop.h"

enum loader_end {
	LOADER_SERVES,	/* every thread serves the snapshot */
	LOADER_FAILED,	/* there was none */
	LOADER_UNWANTED /* there was one, but nobody shall serve it any more */
};

struct loader {
	/* Makes the snapshot, held as loader, or leaves NULL and has reported why; says for how
	 * many connections it is. On the loader's own thread, or where the user calls it. */
	void (*load)(struct loader *l);
	/* On thread 0, when it is loaded: shall it be served? */
	bool (*wanted)(struct loader *l);
	/* On thread 0, last of all. Not valid any more: the snapshot, which is held by those who
	 * serve it, or dead. */
	void (*over)(struct loader *l, enum loader_end end);
	struct snapshot *snapshot;
	unsigned connections; /* net_conn_ceiling */
	/* For load(): the one in use, NULL: none. */
	struct snapshot *before;
	/* internal */
	struct io_msg loaded;
	pthread_t thread;
	bool running; /* the thread is to be joined */
};

/* Loads on a thread of its own. 0 or -errno: then nothing happens any more. */
int loader_start(struct loader *l);
/* The same on the calling thread, thread 0. */
void loader_run(struct loader *l);
/* The same for one that is certainly wanted, and has a snapshot: before the loop runs, too. */
void loader_publish(struct loader *l);
/* The loop of thread 0 has ended before it was over: the snapshot is given back, `over` is not
 * called. */
void loader_abandon(struct loader *l);
