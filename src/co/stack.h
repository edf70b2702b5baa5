/* Stacks for coroutines: slots of CO_STACK_SIZE bytes above a guard page, per thread.
 *
 * Slots are mapped CO_SLAB_SLOTS at a time and handed out last in, first out, so that the warm ones
 * are reused. What nobody has needed for CO_COOL_MS, above CO_IDLE_MIN of them, gives its pages
 * back to the kernel, coldest first and CO_COOL_MAX at a time; the address space is kept until
 * co_stacks_fini. Not at once: load swings within milliseconds, and each page that returns costs
 * two system calls' worth. Internal to co/, and to a debugger: `co` of a slot is the coroutine on
 * it. */
#pragma once
#include <stdbool.h>
#include "base/list.h"
#include "base/wheel.h"

#define CO_SLAB_SLOTS 32
#define CO_IDLE_MIN   64
#define CO_COOL_MS    500
#define CO_COOL_MAX   512 /* about a millisecond's work */

struct co_slot {
	struct list link;      /* on the idle list */
	struct timer deadline; /* of its coroutine's wait; rests while the slot is idle */
	char *lo;	       /* lowest usable byte; the guard page lies below */
	char *top; /* end of what may be used, below the slot's end by its cache colour */
	void *co;  /* NULL: idle */
	unsigned tell_id;
	bool warm; /* may hold pages */
	bool painted;
};

/* This thread's; of use to a debugger, which finds no static of that kind in an optimised build. */
struct co_stacks;
extern _Thread_local struct co_stacks co_stacks;

/* max: ceiling on the slots of this thread, 0: none but what the kernel sets. */
void co_stacks_init(unsigned max);
void co_stacks_fini(void);
/* NULL with *err = -ENOMEM or -EAGAIN. */
struct co_slot *co_slot_take(int *err);
void co_slot_give(struct co_slot *s);
void co_deadline_fired(struct timer *t); /* co.c */
/* Slots idle, and those of them that may hold pages: for tests and metrics. */
unsigned co_slots_idle(void);
unsigned co_slots_warm(void);
/* How many more stacks the kernel's limit on mappings allows a process; for tests. */
unsigned co_guard_ceiling(void);
/* Tests: guard with mprotect even where the kernel has MADV_GUARD_INSTALL. */
void co_guard_force_mprotect(bool on);
