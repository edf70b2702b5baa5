/* Virtual time: a heap of what is due when, and the clocks. */
#include "io/sim_int.h"

static struct sim_timer **heap; /* 1-based: heap[slot] */
static unsigned nheap, cap;

/* Things of one moment come in an order that the seed chooses. */
static bool timer_before(const struct sim_timer *a, const struct sim_timer *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->tie < b->tie;
}

static void heap_set(unsigned slot, struct sim_timer *t)
{
	heap[slot] = t;
	t->slot = slot;
}

static void heap_up(unsigned slot)
{
	struct sim_timer *t = heap[slot];

	for (; slot > 1 && timer_before(t, heap[slot / 2]); slot /= 2)
		heap_set(slot, heap[slot / 2]);
	heap_set(slot, t);
}

static void heap_down(unsigned slot)
{
	struct sim_timer *t = heap[slot];

	for (;;) {
		unsigned child = slot * 2;

		if (child > nheap)
			break;
		if (child < nheap && timer_before(heap[child + 1], heap[child]))
			child++;
		if (!timer_before(heap[child], t))
			break;
		heap_set(slot, heap[child]);
		slot = child;
	}
	heap_set(slot, t);
}

void sim_timer_stop(struct sim_timer *t)
{
	unsigned slot = t->slot;
	struct sim_timer *last;

	if (!slot)
		return;
	t->slot = 0;
	last = heap[nheap--];
	if (last == t)
		return;
	heap_set(slot, last);
	heap_up(slot);
	heap_down(last->slot);
}

void sim_timer_start(struct sim_timer *t, uint64_t at_us)
{
	sim_timer_stop(t);
	if (nheap + 2 > cap) {
		cap = cap ? cap * 2 : 1024;
		heap = mem_plain_resize(heap, cap * sizeof(struct sim_timer *));
	}
	t->at_us = MAX_OF(at_us, sim.now_us);
	t->tie = sim_scramble(sim.seed ^ ++sim.timers);
	heap_set(++nheap, t);
	heap_up(nheap);
}

uint64_t sim_timer_next(void)
{
	return nheap ? heap[1]->at_us : SIM_NEVER;
}

bool sim_timer_run_one(void)
{
	struct sim_timer *t = nheap ? heap[1] : NULL;

	if (!t || t->at_us > sim.now_us)
		return false;
	sim_timer_stop(t);
	t->run(t);
	return true;
}

void sim_time_free(void)
{
	while (nheap)
		sim_timer_stop(heap[nheap]);
	mem_plain_free(heap);
	heap = NULL;
	cap = 0;
}

/* ---- clocks ---- */

#define DAY_US ((int64_t)86400 * 1000000)

void sim_time_move(uint64_t at_us)
{
	sim.now_us = at_us;
	sim.stuck = 0;
	while (sim.o.faults.clock_jump && sim.wall_checked_s < at_us / 1000000) {
		sim.wall_checked_s++;
		if (!sim_chance(sim.o.faults.clock_jump))
			continue;
		sim.wall_jump_us += (int64_t)sim_draw(2 * (uint64_t)DAY_US) - DAY_US;
		SIM_LOG("fault: the wall clock jumps, now %ld s off", sim.wall_jump_us / 1000000);
	}
}

uint64_t sim_mono_us(void)
{
	/* Not zero: zero means "never" in places. */
	return sim.now_us + 1000000000;
}

uint64_t sim_wall_us(void)
{
	return (uint64_t)((int64_t)(sim.o.epoch_s * 1000000 + sim.now_us) + sim.wall_jump_us);
}
