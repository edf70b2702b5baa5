#include <errno.h>
#include "base/bug.h"
#include "co/co.h"
#include "co/stack.h"
#include "co/switch.h"
#include "co/tell.h"

enum co_state { CO_READY, CO_RUNNING, CO_WAITING, CO_DONE };

/* Lies at the top of its own stack slot: a coroutine costs no other memory. */
struct co {
	struct co_ctx ctx; /* where it stands while it does not run */
	struct list link;  /* on the ready list */
	enum co_state state;
	int value; /* what the wait returns */
	bool cancelled, joining;
	co_fn *fn;
	void *arg;
	struct co_child *child; /* told when it returns, or NULL */
	struct co_slot *slot;
	struct co_tell tell;
};

_Thread_local struct co_sched co_sched;

/* The thread's own side: where co_resume stands while a coroutine runs, and the call a coroutine
 * asked it to make. */
static _Thread_local struct {
	struct co_ctx ctx;
	struct co_tell tell;
	int (*call)(void *);
	void *call_arg;
	int call_result;
	bool calling; /* on the thread's stack on behalf of a coroutine */
	bool init;
} home;

int co_thread_init(uint64_t now_ms, unsigned stacks_max)
{
	BUG_ON(home.init);
	co_sched = (struct co_sched){.now_ms = now_ms};
	list_init(&co_sched.ready);
	wheel_init(&co_sched.wheel, now_ms);
	co_stacks_init(stacks_max);
	tell_thread_stack(&home.tell);
	home.init = true;
	return 0;
}

void co_thread_fini(void)
{
	BUG_ON(!home.init || co_sched.live || co_sched.current);
	co_stacks_fini();
	home.init = false;
}

/* ---- switching ---- */

static void co_slot_release(struct co *co)
{
	struct co_slot *slot = co->slot;

	timer_rest(&co_sched.wheel, &slot->deadline);
	tell_free(&co->tell);
	co_sched.live--;
	co_slot_give(slot);
}

/* These two are inlined because after a switch the processor's guess is wrong for every return from
 * a function that was entered on the other side: each level between a caller and the switch costs
 * some 5 ns. */

/* From the thread's stack to a coroutine, until it suspends or returns. */
static inline __attribute__((always_inline)) void co_resume(struct co *co)
{
	BUG_ON(co_sched.current || home.calling);
	co->state = CO_RUNNING;
	co_sched.resumes++;
	for (;;) {
		co_sched.current = co;
		tell_leave(&home.tell, &co->tell, false);
		co_ctx_switch(&home.ctx, &co->ctx);
		tell_arrive(&home.tell, &co->tell);
		co_sched.current = NULL;
		if (likely(!home.call))
			break;
		home.calling = true;
		home.call_result = home.call(home.call_arg);
		home.calling = false;
		home.call = NULL;
	}
	if (co->state == CO_DONE)
		co_slot_release(co);
}

/* From a coroutine back to the thread's stack. */
static inline __attribute__((always_inline)) void co_leave(struct co *co, bool forever)
{
	tell_leave(&co->tell, &home.tell, forever);
	co_ctx_switch(&co->ctx, &home.ctx);
	tell_arrive(&co->tell, &home.tell);
}

static void co_entry(void)
{
	struct co *co = co_sched.current;

	tell_arrive(&co->tell, &home.tell);
	co->fn(co->arg);
	co->state = CO_DONE;
	if (co->child) {
		struct co_child *c = co->child;

		c->co = NULL;
		if (c->joiner)
			co_wake(c->joiner, 0);
	}
	co_leave(co, true);
	__builtin_unreachable();
}

/* ---- starting ---- */

static struct co *co_new(co_fn *fn, void *arg, struct co_child *child, int *err)
{
	struct co_slot *slot;
	struct co *co;

	BUG_ON(!home.init);
	slot = co_slot_take(err);
	if (!slot)
		return NULL;
	co = (struct co *)((uintptr_t)(slot->top - sizeof(*co)) & ~(uintptr_t)63);
	*co = (struct co){.fn = fn, .arg = arg, .child = child, .slot = slot, .state = CO_READY};
	slot->co = co;
	list_init(&co->link);
	tell_new(&co->tell, slot->lo, CO_STACK_SIZE);
	co_ctx_init(&co->ctx, slot->lo, (char *)co, co_entry);
	co_sched.live++;
	return co;
}

int co_start(co_fn *fn, void *arg)
{
	int err;
	struct co *co = co_new(fn, arg, NULL, &err);

	if (!co)
		return err;
	if (co_sched.current || home.calling)
		list_push(&co_sched.ready, &co->link);
	else
		co_resume(co);
	return 0;
}

void co_run_ready(void)
{
	struct list now, *l;

	BUG_ON(co_sched.current || home.calling);
	list_init(&now);
	if (list_empty(&co_sched.ready))
		return;
	/* Those that become ready meanwhile run in the next turn. */
	list_insert_between(&now, co_sched.ready.prev, co_sched.ready.next);
	list_init(&co_sched.ready);
	while ((l = list_take(&now)))
		co_resume(CONTAINER_OF(l, struct co, link));
}

/* ---- waiting ---- */

/* A wake-up leaves the timer as it is, and a coroutine that ends leaves it to the next one in its
 * slot: who waits often with deadlines that only grow touches the wheel once per time-out, not once
 * per wait. */
static void co_arm(struct co *co, uint64_t deadline_ms)
{
	if (deadline_ms == CO_NEVER)
		timer_rest(&co_sched.wheel, &co->slot->deadline);
	else
		timer_hold(&co_sched.wheel, &co->slot->deadline, deadline_ms);
}

/* False when it is not waiting. */
static bool co_make_ready(struct co *co, int value)
{
	if (co->state != CO_WAITING)
		return false;
	co->state = CO_READY;
	co->value = value;
	return true;
}

void co_deadline_fired(struct timer *t)
{
	co_wake(CONTAINER_OF(t, struct co_slot, deadline)->co, -ETIMEDOUT);
}

static int co_wait(struct co *co, uint64_t deadline_ms)
{
	co_arm(co, deadline_ms);
	co->state = CO_WAITING;
	co_leave(co, false);
	return co->value;
}

int co_suspend(uint64_t deadline_ms)
{
	struct co *co = co_sched.current;

	BUG_ON(!co);
	if (co->cancelled)
		return -ECANCELED;
	if (deadline_ms <= co_sched.now_ms)
		return -ETIMEDOUT;
	return co_wait(co, deadline_ms);
}

void co_wake(struct co *co, int value)
{
	if (co_make_ready(co, value))
		list_push(&co_sched.ready, &co->link);
}

void co_wake_now(struct co *co, int value)
{
	if (co_sched.current || home.calling)
		co_wake(co, value);
	else if (co_make_ready(co, value))
		co_resume(co);
}

int co_yield (void)
{
	struct co *co = co_sched.current;

	BUG_ON(!co);
	if (co->cancelled)
		return -ECANCELED;
	co->state = CO_READY;
	co->value = 0;
	list_push(&co_sched.ready, &co->link);
	co_leave(co, false);
	return co->cancelled ? -ECANCELED : 0;
}

int co_sleep_until(uint64_t deadline_ms)
{
	return co_suspend(deadline_ms);
}

void co_cancel(struct co *co)
{
	co->cancelled = true;
	if (!co->joining)
		co_wake(co, -ECANCELED);
}

bool co_cancelled(void)
{
	return co_sched.current && co_sched.current->cancelled;
}

void co_wait_sure(const bool *done)
{
	struct co *me = co_sched.current;

	BUG_ON(!me);
	me->joining = true;
	while (!*done) /* some other wake-up is not the end */
		co_wait(me, CO_NEVER);
	me->joining = false;
}

/* ---- children ---- */

int co_child_start(struct co_child *c, co_fn *fn, void *arg)
{
	struct co *co;
	int err;

	BUG_ON(!co_sched.current);
	*c = (struct co_child){.fn = fn, .arg = arg};
	co = co_new(fn, arg, c, &err);
	if (!co)
		return err;
	c->co = co;
	list_push(&co_sched.ready, &co->link);
	return 0;
}

void co_child_join(struct co_child *c)
{
	struct co *me = co_sched.current;

	BUG_ON(!me || (c->joiner && c->joiner != me));
	c->joiner = me;
	me->joining = true;
	/* Some other wake-up, of a descriptor say, is not the child's return. */
	while (c->co)
		co_wait(me, CO_NEVER);
	me->joining = false;
	c->joiner = NULL;
}

void co_child_cancel(struct co_child *c)
{
	if (c->co)
		co_cancel(c->co);
}

/* ---- queues ---- */

struct co_waiter {
	struct list link;
	struct co *co;
};

void co_waitq_init(struct co_waitq *q)
{
	list_init(&q->waiters);
}

int co_waitq_wait(struct co_waitq *q, uint64_t deadline_ms)
{
	struct co_waiter w = {.co = co_sched.current};
	int r;

	list_push(&q->waiters, &w.link);
	r = co_suspend(deadline_ms);
	list_del(&w.link);
	return r;
}

bool co_waitq_wake_one(struct co_waitq *q, int value)
{
	struct list *l;

	/* One that timed out or was cancelled, but has not run yet, must not swallow the wake-up.
	 */
	while ((l = list_take(&q->waiters))) {
		struct co *co = CONTAINER_OF(l, struct co_waiter, link)->co;

		if (co_make_ready(co, value)) {
			list_push(&co_sched.ready, &co->link);
			return true;
		}
	}
	return false;
}

unsigned co_waitq_wake_all(struct co_waitq *q, int value)
{
	unsigned n = 0;

	while (co_waitq_wake_one(q, value))
		n++;
	return n;
}

/* ---- the thread's stack ---- */

int co_on_thread_stack(int (*fn)(void *), void *arg)
{
	struct co *co = co_sched.current;

	if (!co)
		return fn(arg);
	home.call = fn;
	home.call_arg = arg;
	co_leave(co, false);
	return home.call_result;
}
