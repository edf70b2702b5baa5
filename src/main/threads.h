/* The threads of a worker, each with its loop, and what is done on all of them. Thread 0 is the
 * caller of threads_start. All calls are its, except where said. */
#pragma once
#include "conf/snapshot.h"
#include "io/loop.h"
#include "main/core_main.h"

/* Starts n - 1 threads besides the calling one; each has its loop running and serve_thread_start
 * done, the calling one too but for io_loop_run. 0 or -errno (nothing runs then). */
int threads_start(const struct settings *s, unsigned n);
/* All threads switch to s; then done() is called on thread 0. One at a time. */
void threads_switch(struct snapshot *s, void (*done)(void));
/* All threads write what they hold back of their logs; then done() is called on thread 0. One at a
 * time; not while the threads end: a loop that has stopped would never be through. */
void threads_flush_logs(void (*done)(void));
/* All threads end gracefully (timeout_ms as serve_shutdown) and their loops stop. May be called a
 * second time to hurry. */
void threads_shutdown(uint64_t timeout_ms, bool hurry);
/* After io_loop_run has returned on thread 0: waits for the others and cleans up. */
void threads_join(void);
/* Any thread: posts to thread 0. */
void threads_post_first(struct io_msg *m);
