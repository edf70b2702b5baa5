/* One immutable configuration. Made by the thread that loads, then read by all threads.
 *
 * Every thread has one current snapshot. A request takes a reference on the current one when it
 * starts and gives it back when it ends; references are counted per thread without atomics. When a
 * snapshot is no longer any thread's current one and its last request has ended, its destructors
 * run in reverse order of registration and its arena is freed (by the thread that let go last).
 * Pointers go from snapshot objects to registries (sockets, peers, zones), never back. */
#pragma once
#include "base/arena.h"
#include "conf/conf.h"

#define THREADS_MAX	   256
#define SNAPSHOT_ARENA_MAX ((size_t)1 << 30) /* bytes of configuration */

struct snapshot {
	struct arena arena;
	struct conf_scope *main; /* the main scope */
	void *http, *stream;	 /* struct http_main *, ...: set by their blocks */
	uint64_t generation;	 /* 1, 2, ... */
	bool net_raw;		 /* sockets with foreign addresses: the worker keeps CAP_NET_RAW */
	struct list on_free;	 /* destructors */
	unsigned nthreads;
	_Atomic unsigned
		holders; /* threads that have it as current or have requests on it, + the loader */
	struct {
		unsigned refs;
		bool current;
		char pad[56];
	} per_thread[]; /* nthreads of them */
};

/* Held by the loader. NULL: no memory. */
struct snapshot *snapshot_new(unsigned nthreads, uint64_t generation);
/* Runs fn(arg) when the snapshot dies. -ENOMEM when there is no memory; fn is then not registered.
 */
int snapshot_on_free(struct snapshot *s, void (*fn)(void *arg), void *arg);
/* The loader's own hold is dropped; called once when the snapshot is published or refused. */
void snapshot_drop_loader(struct snapshot *s);
/* How many there are in the process: one, but for those whose last requests still run. */
unsigned snapshots_alive(void);

/* The calling thread's current snapshot (NULL before the first). */
struct snapshot *snapshot_current(void);
/* Makes s current for the calling thread (takes a hold; the old one is let go). s may be NULL at
 * exit. */
void snapshot_switch(struct snapshot *s, unsigned thread);
/* Calling thread only; s must be its current one or have a reference of it already. */
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s);
