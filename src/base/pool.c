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

int mem_must_fail(void)
{
	if (likely(budget < 0))
		return 0;
	if (budget <= 1)
		return 1;
	budget--;
	return 0;
}

void *mem_alloc(size_t n)
{
	return mem_must_fail() ? NULL : malloc(n ? n : 1);
}

void *mem_zalloc(size_t n)
{
	return mem_must_fail() ? NULL : calloc(1, n ? n : 1);
}

void *mem_resize(void *p, size_t n)
{
	return mem_must_fail() ? NULL : realloc(p, n ? n : 1);
}

void mem_free(void *p)
{
	free(p);
}

void slab_init(struct slab *s, size_t size, unsigned keep)
{
	*s = (struct slab){.size = MAX_OF(size, sizeof(void *)), .keep = keep};
#ifdef BUILT_WITH_ASAN
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
	} else if (!(obj = malloc(s->size))) {
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
		free(obj);
		return;
	}
	memcpy(obj, &s->free, sizeof(void *));
	s->free = obj;
	s->nfree++;
}
