/* General and pooled memory: the only malloc of the tree besides base/arena.c.
 *
 * mem_* is for things that grow or live long (tables, registries). A slab is a per-thread LIFO
 * stash of objects of one size: connections, buffers, timers. A slab object must be given back on
 * the thread that took it or through mem_free on any other; the slab keeps at most `keep` free
 * ones. Under ASan every object is its own malloc, so that use after slab_give is seen. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* NULL when the system has no memory, or when a test's allocation budget (mem_fail_after) is hit.
 */
void *mem_alloc(size_t n);
void *mem_zalloc(size_t n);
/* Like realloc. On NULL the old block is untouched. */
void *mem_resize(void *p, size_t n);
void mem_free(void *p);

/* Tests and the simulator: the n-th allocation from now on (over mem, slabs and arenas) fails, and
 * every one after it, until called with -1. Per thread. */
void mem_fail_after(int64_t n);
/* Internal to base/: true when this allocation must fail. */
int mem_must_fail(void);

/* The simulator's build (SLUICE_SIM) counts what is out, over mem, slabs and arenas, and keeps
 * nothing back: each object and each arena allocation is its own malloc, with and without the
 * sanitizers, so that the same allocation fails in both. Elsewhere none of this exists. */
struct mem_out {
	size_t objects, bytes;
};
struct mem_out mem_out(void);
extern int (*mem_fail_hook)(void); /* asked for each allocation; NULL: none fails */
/* For the simulator itself: neither counted nor made to fail; ends the process without memory. */
void *mem_plain_zalloc(size_t n);
void *mem_plain_resize(void *p, size_t n);
void mem_plain_free(void *p);
#ifdef SLUICE_SIM /* internal to base/ */
void *mem_counted(void *p);
void *mem_uncounted(void *p);
#else
#define mem_counted(p)	 (p)
#define mem_uncounted(p) (p)
#endif

struct slab {
	size_t size;	/* bytes of one object, at least sizeof(void *) */
	unsigned keep;	/* free objects kept at most */
	unsigned nfree; /* free objects now */
	unsigned nused; /* objects out */
	void *free;	/* LIFO */
};

void slab_init(struct slab *s, size_t size, unsigned keep);
/* Frees what is kept. BUG when objects are still out. */
void slab_fini(struct slab *s);
/* Not cleared; NULL when there is no memory. */
void *slab_take(struct slab *s);
void slab_give(struct slab *s, void *obj);
/* An object leaves for good: another thread will mem_free it. Called by the thread that took it. */
static inline void slab_disown(struct slab *s)
{
	s->nused--;
}
