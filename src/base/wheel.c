#include "base/wheel.h"

/* A timer stands on the level of the highest group of six bits in which its time differs from now,
 * in the slot that group names. So on every level all used slots lie ahead of now's own slot, a
 * lower level is always due before a higher one, and a slot is empty until the block it belongs to
 * becomes current: spreading a slot over the level below keeps the order of equal times. */

#define BITS 6
#define TOP  (BITS * WHEEL_LEVELS) /* bits the levels cover */

void wheel_init(struct wheel *w, uint64_t now_ms)
{
	*w = (struct wheel){.now = now_ms};
	for (int l = 0; l < WHEEL_LEVELS; l++)
		for (int s = 0; s < WHEEL_SLOTS; s++)
			list_init(&w->slot[l][s]);
	list_init(&w->due);
	list_init(&w->far);
}

void timer_init(struct timer *t, void (*fire)(struct timer *))
{
	list_init(&t->link);
	t->at = 0;
	t->due = TIMER_RESTS;
	t->fire = fire;
}

static unsigned level_of(const struct wheel *w, uint64_t at)
{
	return (63u - (unsigned)__builtin_clzll(at ^ w->now)) / BITS;
}

static unsigned slot_of(uint64_t at, unsigned level)
{
	return (at >> (BITS * level)) & (WHEEL_SLOTS - 1);
}

static void wheel_place(struct wheel *w, struct timer *t)
{
	unsigned l, s;

	if (t->at <= w->now) {
		list_push(&w->due, &t->link);
		return;
	}
	l = level_of(w, t->at);
	if (l >= WHEEL_LEVELS) {
		list_push(&w->far, &t->link);
		return;
	}
	s = slot_of(t->at, l);
	list_push(&w->slot[l][s], &t->link);
	w->used[l] |= 1ull << s;
}

void timer_stop(struct wheel *w, struct timer *t)
{
	unsigned l, s;

	if (list_empty(&t->link))
		return;
	list_del(&t->link);
	timer_rest(w, t);
	if (t->at <= w->now)
		return;
	l = level_of(w, t->at);
	if (l >= WHEEL_LEVELS)
		return;
	s = slot_of(t->at, l);
	if (list_empty(&w->slot[l][s]))
		w->used[l] &= ~(1ull << s);
}

void timer_start(struct wheel *w, struct timer *t, uint64_t at_ms)
{
	timer_stop(w, t);
	t->at = t->due = at_ms;
	w->count += timer_pending(t);
	wheel_place(w, t);
}

/* Moves everything on `from` to the (empty, uninitialised) list `to`. */
static void list_steal(struct list *to, struct list *from)
{
	list_init(to);
	if (list_empty(from))
		return;
	list_insert_between(to, from->prev, from->next);
	list_init(from);
}

static void wheel_fire(struct wheel *w, struct list *due)
{
	struct list *l;

	/* A callback may stop, move or free any timer, also those still on this list. */
	while ((l = list_take(due))) {
		struct timer *t = CONTAINER_OF(l, struct timer, link);

		if (!timer_pending(t))
			continue;
		if (t->due > w->now) { /* held for later */
			t->at = t->due;
			wheel_place(w, t);
			continue;
		}
		timer_rest(w, t);
		t->fire(t);
	}
}

/* Spreads a list over the levels below, now that its block has begun. */
static void wheel_spread(struct wheel *w, struct list *from)
{
	struct list all, *l;

	list_steal(&all, from);
	while ((l = list_take(&all)))
		wheel_place(w, CONTAINER_OF(l, struct timer, link));
}

/* The lowest level in use and when its first slot begins; UINT64_MAX when nothing is pending. */
static uint64_t wheel_next_block(const struct wheel *w, unsigned *level)
{
	unsigned l;

	for (l = 0; l < WHEEL_LEVELS; l++) {
		if (w->used[l]) {
			uint64_t above = ~0ull << (BITS * (l + 1));

			*level = l;
			return (w->now & above) | (uint64_t)__builtin_ctzll(w->used[l])
							  << (BITS * l);
		}
	}
	*level = l;
	if (list_empty(&w->far) || w->now >> TOP == UINT64_MAX >> TOP)
		return UINT64_MAX;
	return ((w->now >> TOP) + 1) << TOP;
}

uint64_t wheel_next(const struct wheel *w)
{
	unsigned level;

	return list_empty(&w->due) ? wheel_next_block(w, &level) : w->now;
}

/* Begins the block at `at` of a level: what is due at once goes to *due. */
static void wheel_begin_block(struct wheel *w, unsigned level, uint64_t at, struct list *due)
{
	struct list *from = &w->far, late;

	w->now = at;
	if (level < WHEEL_LEVELS) {
		unsigned s = slot_of(at, level);

		from = &w->slot[level][s];
		w->used[level] &= ~(1ull << s);
	}
	if (level == 0) {
		list_steal(due, from);
		return;
	}
	/* Spreading puts the timers of this very ms on w->due; what callbacks of this run put there
	 * before must wait for the next run. */
	list_steal(&late, &w->due);
	wheel_spread(w, from);
	list_steal(due, &w->due);
	list_steal(&w->due, &late);
}

void wheel_run(struct wheel *w, uint64_t now_ms)
{
	struct list due;
	unsigned level;
	uint64_t at;

	list_steal(&due, &w->due);
	wheel_fire(w, &due);
	while ((at = wheel_next_block(w, &level)) <= now_ms && at != UINT64_MAX) {
		wheel_begin_block(w, level, at, &due);
		wheel_fire(w, &due);
	}
	if (now_ms > w->now)
		w->now = now_ms;
}
