/* Work that would hold up a loop (hashing a password takes milliseconds) is done by a helper thread
 * while the coroutine that wants it waits. One helper serves the whole process, in the order in
 * which it was asked; it is started when it is first needed.
 *
 * What is always true:
 *  1. A job is its asker's: it may lie in the request's arena. From offload_run until that returns
 *     the helper may touch it.
 *  2. At most OFFLOAD_QUEUE_MAX jobs wait. Who comes then is told at once.
 *  3. A job that has begun is waited for, whatever happens to the asker; one that has not begun is
 *     given up when the asker is cancelled or its deadline passes.
 *  4. All threads that may ask have called offload_join; the last one to leave ends the helper. */
#pragma once
#include "io/loop.h"

#define OFFLOAD_QUEUE_MAX 256

struct offload_job {
	/* On the helper: may block and make sys-> calls, must not suspend. Set by the asker. */
	void (*run)(struct offload_job *j);
	/* the rest is offload.c's */
	struct list link;
	struct io_msg told;
	struct io_loop *loop;
	struct co *co;
	int result;
	bool begun, done;
};

/* This thread may ask from here on. */
void offload_join(void);
/* It asks no more: none of its coroutines is in offload_run. May wait for the helper to end. */
void offload_leave(void);

/* j->run has been called: 0. Or it will never be: -EAGAIN when too many wait, -ETIMEDOUT,
 * -ECANCELED, -errno when there is no helper. */
MAY_SUSPEND int offload_run(struct offload_job *j, uint64_t deadline_ms);

/* What the helper calls when it starts, before its first job: set before threads start; may be
 * NULL. A thread inherits the processor of the one that happened to start it. */
extern void (*offload_begin)(void);
