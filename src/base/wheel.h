/* Timers: a hierarchical timing wheel in milliseconds. Start, move and stop are O(1); the tick that
 * fires them is O(1) per timer. Time-outs, which are moved with every request and hardly ever fire,
 * are held and rest instead: that leaves the wheel as it is. Knows no clock: the owner says what
 * time it is, so the simulator and epoll share it. Single-threaded. A timer may be started, stopped
 * and freed from any callback, its own included. Fires never early, at most one tick (1 ms) late
 * with respect to the `now` given to wheel_run. Timers of the same ms fire in the order they were
 * started (held ones among them in that of their coming there). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"

#define WHEEL_LEVELS 6 /* 64^6 ms: beyond any time-out; longer ones wait on a list of their own */
#define WHEEL_SLOTS  64

struct timer {
	struct list link;
	uint64_t at;  /* ms: its place in the wheel, never after `due` */
	uint64_t due; /* ms: when it fires; TIMER_RESTS: not at all */
	void (*fire)(struct timer *t);
};

#define TIMER_RESTS UINT64_MAX

struct wheel {
	uint64_t now;		     /* ms of the last wheel_run, or of the tick it is firing */
	uint64_t used[WHEEL_LEVELS]; /* bitmap: slot not empty */
	struct list slot[WHEEL_LEVELS][WHEEL_SLOTS];
	struct list due; /* started when already past: for the next wheel_run */
	struct list far; /* beyond the highest level */
	unsigned count;	 /* pending timers, those at rest not among them */
};

void wheel_init(struct wheel *w, uint64_t now_ms);
void timer_init(struct timer *t, void (*fire)(struct timer *));
static inline bool timer_pending(const struct timer *t)
{
	return t->due != TIMER_RESTS;
}
/* Starts or moves. at_ms in the past fires at the next wheel_run. */
void timer_start(struct wheel *w, struct timer *t, uint64_t at_ms);
void timer_stop(struct wheel *w, struct timer *t); /* no-op when not pending */
/* timer_start for a time-out: one that has a place before at_ms keeps it, and goes on from there
 * when its time comes. */
static inline void timer_hold(struct wheel *w, struct timer *t, uint64_t at_ms)
{
	if (t->at > at_ms || t->at <= w->now || list_empty(&t->link)) {
		timer_start(w, t, at_ms);
		return;
	}
	w->count += !timer_pending(t);
	t->due = at_ms;
}
/* timer_stop for a time-out: it keeps its place and does not fire. Before its memory goes it must
 * be stopped. */
static inline void timer_rest(struct wheel *w, struct timer *t)
{
	w->count -= timer_pending(t);
	t->due = TIMER_RESTS;
}
/* Fires everything due at now_ms; now never goes backwards. */
void wheel_run(struct wheel *w, uint64_t now_ms);
/* The earliest time at which wheel_run may have something to do (never later than the earliest
 * timer), or UINT64_MAX. */
uint64_t wheel_next(const struct wheel *w);
