/* Stackful coroutines and their scheduler: one struct co_sched per thread.
 *
 * What is always true:
 *  1. Only the scheduler's own loop (co_run_ready and the event callbacks of io/) resumes a
 * coroutine; a coroutine never changes threads and never resumes another directly.
 *  2. A suspended coroutine is either on the ready list, or waits for exactly one wake-up.
 *  3. Every wait has an absolute deadline (ms of the monotonic clock; CO_NEVER for none).
 *  4. Cancelling asks: after co_cancel every wait returns -ECANCELED at once, until the coroutine
 *     has returned. Nothing is killed.
 *  5. A child is started and joined in the same function (co_child_start, co_child_join).
 *  6. The stack is a fixed slot with a guard page below; co_stack_census() tells the deepest use.
 *
 * A prototype that can suspend is marked MAY_SUSPEND: after the call, re-read what others may have
 * changed. Not to be called from a callback of OpenSSL, PCRE, zlib or nghttp2, nor on the loop's
 * own stack (BUG). ASan, TSan and valgrind are told of every switch. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"
#include "base/wheel.h"

#define MAY_SUSPEND
#define CO_NEVER      UINT64_MAX
#define CO_STACK_SIZE (128 * 1024) /* bytes, guard page not counted */

struct co;
typedef void co_fn(void *arg);

/* Per-thread scheduler. now_ms is kept current by io/ (once per loop turn). */
struct co_sched {
	struct co *current; /* NULL: on the loop's stack */
	struct list ready;  /* woken, to be resumed this turn */
	struct wheel wheel; /* all timers of the thread */
	uint64_t now_ms;    /* monotonic, as of this turn */
	uint64_t turn;	    /* counts loop turns, for fairness */
	unsigned live;	    /* coroutines that have not returned */
	uint64_t resumes;   /* counts switches into coroutines, for fairness */
};
extern _Thread_local struct co_sched co_sched;

/* Before the first coroutine of a thread, and after the last. stacks_max: ceiling on stacks of this
 * thread; 0: derived from vm.max_map_count where guards need mprotect. */
int co_thread_init(uint64_t now_ms, unsigned stacks_max);
void co_thread_fini(void);

/* Starts fn(arg) as a coroutine. Called on the loop's stack it runs at once until it first
 * suspends; called from a coroutine it is put on the ready list. Returns 0, or -ENOMEM/-EAGAIN when
 * no stack can be had (the caller answers 503 or closes). The coroutine ends by returning. */
int co_start(co_fn *fn, void *arg);
static inline struct co *co_current(void)
{
	return co_sched.current;
}

/* Suspends the current coroutine until co_wake, the deadline, or cancellation.
 * Returns the value given to co_wake, -ETIMEDOUT (at once when the deadline has passed), or
 * -ECANCELED. */
MAY_SUSPEND int co_suspend(uint64_t deadline_ms);
/* Makes a suspended coroutine ready; its co_suspend returns value. The first wake-up counts, later
 * ones are ignored until it suspends again. Same thread only. */
void co_wake(struct co *co, int value);
/* As co_wake, but when called on the loop's stack resumes it at once (I/O events: no list hop). */
void co_wake_now(struct co *co, int value);
/* Lets every other ready coroutine and I/O event go first. Returns 0 or -ECANCELED. */
MAY_SUSPEND int co_yield (void);
MAY_SUSPEND int
co_sleep_until(uint64_t deadline_ms); /* -ETIMEDOUT when it passed: the normal end */
/* Waits until *done, which comes with a co_wake. Like a join it cannot be cancelled: for what goes
 * on in the caller's memory and will end in bounded time. */
MAY_SUSPEND void co_wait_sure(const bool *done);
/* Asks the coroutine to unwind. */
void co_cancel(struct co *co);
bool co_cancelled(void); /* was the current one asked? */

/* A child task of the current coroutine. The struct lives in the parent's frame or arena until
 * joined. */
struct co_child {
	struct co *co;	   /* NULL when it has returned (or never started) */
	struct co *joiner; /* waits in co_child_join */
	co_fn *fn;
	void *arg;
};
int co_child_start(struct co_child *c, co_fn *fn, void *arg);
/* Waits until it has returned. Is itself not cancellable: cancel the child first if it must hurry.
 */
MAY_SUSPEND void co_child_join(struct co_child *c);
static inline bool co_child_running(const struct co_child *c)
{
	return c->co;
}
void co_child_cancel(struct co_child *c);

/* A place where coroutines wait for something that is not a descriptor: a queue, a fill. FIFO. */
struct co_waitq {
	struct list waiters;
};
void co_waitq_init(struct co_waitq *q);
/* Returns what co_waitq_wake* gave, -ETIMEDOUT or -ECANCELED. */
MAY_SUSPEND int co_waitq_wait(struct co_waitq *q, uint64_t deadline_ms);
bool co_waitq_wake_one(struct co_waitq *q, int value);
unsigned co_waitq_wake_all(struct co_waitq *q, int value);

/* For io/: resumes all that are on the ready list now (not those that become ready meanwhile). */
void co_run_ready(void);

/* Deepest stack use in bytes, of the coroutines of this thread that have returned (painted stacks;
 * for tests: co_census_enable(true) before the first coroutine). */
void co_census_enable(bool on);
unsigned co_stack_census(void);
/* Calls fn on the loop's (thread's) own big stack and returns its result: for library calls that
 * want deep stacks. fn must not suspend. */
int co_on_thread_stack(int (*fn)(void *), void *arg);
