#include <stdlib.h>
#include <string.h>
#include "base/bug.h"
#include "base/pool.h"

/* Allocations left before they fail; -1: no limit. */
static _Thread_local int64_t budget = -1;

void mem_fail_after(int64_t n)
{
	budget = n;
}

#ifdef SLUICE_SIM
#include <malloc.h>
#include <stdatomic.h>

int (*mem_fail_hook)(void);
static atomic_size_t objects_out, bytes_out;

struct mem_out mem_out(void)
{
	return (struct mem_out){objects_out, bytes_out};
}

void *mem_counted(void *p)
{
	if (p) {
		objects_out++;
		bytes_out += malloc_usable_size(p);
	}
	return p;
}

void *mem_uncounted(void *p)
{
	if (p) {
		objects_out--;
		bytes_out -= malloc_usable_size(p);
	}
	return p;
}

void *mem_plain_zalloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	BUG_ON(!p);
	return p;
}

void *mem_plain_resize(void *p, size_t n)
{
	p = realloc(p, n ? n : 1);
	BUG_ON(!p);
	return p;
}

void mem_plain_free(void *p)
{
	free(p);
}
#endif

int mem_must_fail(void)
{
#ifdef SLUICE_SIM
	if (mem_fail_hook && mem_fail_hook())
		return 1;
#endif
	if (likely(budget < 0))
		return 0;
	if (budget <= 1)
		return 1;
	budget--;
	return 0;
}

void *mem_alloc(size_t n)
{
	return mem_must_fail() ? NULL : mem_counted(malloc(n ? n : 1));
}

void *mem_zalloc(size_t n)
{
	return mem_must_fail() ? NULL : mem_counted(calloc(1, n ? n : 1));
}

void *mem_resize(void *p, size_t n)
{
	void *q;

	if (mem_must_fail())
		return NULL;
	q = realloc(mem_uncounted(p), n ? n : 1);
	(void)mem_counted(q ? q : p); /* that failed: the old one stays */
	return q;
}

void mem_free(void *p)
{
	free(mem_uncounted(p));
}

void slab_init(struct slab *s, size_t size, unsigned keep)
{
	*s = (struct slab){.size = MAX_OF(size, sizeof(void *)), .keep = keep};
#if defined(BUILT_WITH_ASAN) || defined(SLUICE_SIM)
	s->keep = 0;
#endif
}

void slab_fini(struct slab *s)
{
	BUG_ON(s->nused);
	while (s->free) {
		void *obj = s->free;

		memcpy(&s->free, obj, sizeof(void *));
		free(obj);
	}
	s->nfree = 0;
}

void *slab_take(struct slab *s)
{
	void *obj = s->free;

	if (mem_must_fail())
		return NULL;
	if (likely(obj)) {
		memcpy(&s->free, obj, sizeof(void *));
		s->nfree--;
	} else if (!(obj = mem_counted(malloc(s->size)))) {
		return NULL;
	}
	s->nused++;
	return obj;
}

void slab_give(struct slab *s, void *obj)
{
	BUG_ON(!s->nused);
	s->nused--;
	if (s->nfree >= s->keep) {
		free(mem_uncounted(obj));
		return;
	}
	memcpy(obj, &s->free, sizeof(void *));
	s->free = obj;
	s->nfree++;
}
