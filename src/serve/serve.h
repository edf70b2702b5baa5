/* The door for main/: threads, snapshots, shutdown. */
#pragma once
#include "conf/snapshot.h"

struct opener;

/* Opens the listening sockets that the snapshot's http{} wants, through the opener, into the
 * registry (net/listener). Called once per snapshot, by the loader, after it was applied without
 * errors. Returns 0 or CONF_ERR with a message logged ("bind() to 0.0.0.0:80 failed (98: Address
 * already in use)"). */
int serve_open_listeners(struct snapshot *s, struct opener *o, unsigned nthreads);
/* Closes listeners that no snapshot wants any more. After all threads have switched. */
void serve_close_listeners(struct snapshot *current);

/* On each thread, its loop running: modules' thread_start. */
int serve_thread_start(void);
/* This thread now serves that snapshot: switches, joins and leaves listeners. New requests of old
 * connections use it. */
void serve_switch(struct snapshot *s);
/* Graceful end: no more accepting, idle connections close, requests finish; calls done() on the
 * loop when none is left. timeout_ms (worker_shutdown_timeout; 0: none): what is still open then is
 * closed. */
void serve_shutdown(uint64_t timeout_ms, void (*done)(void));
/* On each thread: modules' flush_logs. */
void serve_flush_logs(void);
/* After shutdown: frees the thread's caches. */
void serve_thread_stop(void);

/* Counters of stub_status, summed over threads. */
struct serve_counters {
	uint64_t accepted, handled, requests, active, reading, writing, waiting;
};
void serve_counters_get(struct serve_counters *out);
