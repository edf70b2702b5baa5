#include <stdio.h>
#include <stdlib.h>
#include "base/arena.h"
#include "base/pool.h"

struct arena_chunk {
	struct arena_chunk *next;
	size_t size; /* bytes asked of the system, this header included */
};
_Static_assert(sizeof(struct arena_chunk) == 16, "keeps allocations aligned to 16 bytes");

/* Each allocation is its own malloc, of exactly its size. */
#if defined(BUILT_WITH_ASAN) || defined(SLUICE_SIM)
#define EACH_ITS_OWN 1
#endif

#define STASH_MAX 256	      /* chunks a thread keeps: 1 MiB */
#define BIG_ARENA (64 * 1024) /* from here on, an arena grows in larger steps */
#define BIG_CHUNK (8 * ARENA_CHUNK)

static _Thread_local struct arena_chunk *stash;
static _Thread_local unsigned nstash;

void arena_thread_fini(void)
{
	while (stash) {
		struct arena_chunk *c = stash;

		stash = c->next;
		free(c);
	}
	nstash = 0;
}

static struct arena_chunk *chunk_new(size_t size)
{
	struct arena_chunk *c = NULL;

	if (mem_must_fail())
		return NULL;
	if (size == ARENA_CHUNK && stash) {
		c = stash;
		stash = c->next;
		nstash--;
	} else {
		c = mem_counted(malloc(size));
	}
	if (c)
		c->size = size;
	return c;
}

static void chunk_free(struct arena_chunk *c)
{
#ifndef EACH_ITS_OWN
	if (c->size == ARENA_CHUNK && nstash < STASH_MAX) {
		c->next = stash;
		stash = c;
		nstash++;
		return;
	}
#endif
	free(mem_uncounted(c));
}

void arena_init(struct arena *a, size_t ceiling)
{
	*a = (struct arena){.ceiling = ceiling};
}

void arena_fini(struct arena *a)
{
	while (a->chunks) {
		struct arena_chunk *c = a->chunks;

		a->chunks = c->next;
		chunk_free(c);
	}
	a->at = a->end = NULL;
	a->used = 0;
}

/* How large a chunk to get for an allocation of r bytes; 0 when the ceiling forbids it. */
static size_t chunk_size_for(const struct arena *a, size_t r)
{
	size_t least = sizeof(struct arena_chunk) + r, left = a->ceiling - a->used, size;

	if (a->used > a->ceiling || least > left || least < r)
		return 0;
#ifdef EACH_ITS_OWN
	size = least;
#else
	size = a->used < BIG_ARENA ? ARENA_CHUNK : BIG_CHUNK;
	/* The last chunk below a ceiling is what is left; a large allocation is its own chunk. */
	if (size > left)
		size = left & ~(size_t)15;
	if (size < least)
		size = least;
#endif
	return size;
}

void *arena_alloc_slow(struct arena *a, size_t n)
{
	size_t r, size;
	struct arena_chunk *c;
	char *p;

	n += !n; /* also nothing has an address */
	r = (n + 15) & ~(size_t)15;
	if (r < n)
		return NULL;
#ifdef EACH_ITS_OWN
	r = n; /* exact, so that the first byte too many is seen */
#endif
	size = chunk_size_for(a, r);
	c = size ? chunk_new(size) : NULL;
	if (!c)
		return NULL;
	a->used += size;
	p = (char *)(c + 1);
	/* Go on in whichever chunk has more room. */
	if (!a->chunks || (char *)c + size - (p + r) > a->end - a->at) {
		c->next = a->chunks;
		a->chunks = c;
		a->at = p + r;
		a->end = (char *)c + size;
	} else {
		c->next = a->chunks->next;
		a->chunks->next = c;
	}
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);

	return p ? memset(p, 0, n) : NULL;
}

void *arena_copy(struct arena *a, const void *p, size_t n)
{
	void *copy = arena_alloc(a, n);

	return copy && n ? memcpy(copy, p, n) : copy;
}

char *arena_cstr(struct arena *a, struct span s)
{
	char *p = s.n < SIZE_MAX ? arena_alloc(a, s.n + 1) : NULL;

	if (!p)
		return NULL;
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

struct span arena_dup(struct arena *a, struct span s)
{
	char *p = arena_cstr(a, s);

	return (struct span){p, p ? s.n : 0};
}

struct span arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	va_list again;
	char *p;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
	if (!p)
		return (struct span){NULL, 0};
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	return (struct span){p, (size_t)n};
}

struct span arena_printf(struct arena *a, const char *fmt, ...)
{
	struct span s;
	va_list ap;

	va_start(ap, fmt);
	s = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return s;
}

void *arena_push(struct arena *a, void **items, size_t *n, size_t *cap, size_t size)
{
	if (*n == *cap) {
		size_t more = *cap ? *cap * 2 : 4, bytes;
		void *p;

		if (more < *cap || __builtin_mul_overflow(more, size, &bytes))
			return NULL;
		p = arena_alloc(a, bytes);
		if (!p)
			return NULL;
		if (*n)
			memcpy(p, *items, *n * size);
		*items = p;
		*cap = more;
	}
	return (char *)*items + (*n)++ * size;
}
