/* An arena hands out memory that is given back all at once: a snapshot's, a request's.
 *
 * Owner: one thread at a time. Allocations are aligned to 16 bytes and live until
 * arena_fini. Every arena has a ceiling in bytes; above it, and when the system has no memory,
 * arena_alloc returns NULL and the request fails with FAIL_NO_MEMORY. Chunks of ARENA_CHUNK bytes
 * come from a per-thread stash, so a request arena costs no malloc when warm. Under ASan each
 * allocation is its own malloc, so that overruns are seen. */
#pragma once
#include <stdarg.h>
#include "base/bug.h"
#include "base/span.h"

#define ARENA_CHUNK 4096 /* bytes, header included */

struct arena_chunk;

struct arena {
	char *at, *end;		    /* free part of the current chunk */
	struct arena_chunk *chunks; /* newest first */
	size_t used, ceiling;	    /* bytes asked of the system, and the most there may be */
};

/* No memory is taken before the first allocation. ceiling in bytes. */
void arena_init(struct arena *a, size_t ceiling);
/* Gives everything back. The arena may be used again. */
void arena_fini(struct arena *a);

/* Frees the calling thread's stash of chunks: at the end of a thread (io_loop_fini does it). */
void arena_thread_fini(void);

void *arena_alloc_slow(struct arena *a, size_t n);

/* n bytes, not cleared; NULL above the ceiling. n == 0 gives a valid unique-enough pointer. */
static inline void *arena_alloc(struct arena *a, size_t n)
{
#if !defined(BUILT_WITH_ASAN)
	size_t r = (n + !n + 15) & ~(size_t)15;

	if (likely(r >= n && r <= (size_t)(a->end - a->at))) {
		void *p = a->at;

		a->at += r;
		return p;
	}
#endif
	return arena_alloc_slow(a, n);
}

/* Cleared to zero. */
void *arena_zalloc(struct arena *a, size_t n);
/* A copy of n bytes. */
void *arena_copy(struct arena *a, const void *p, size_t n);
/* A copy of s with a zero behind it (not counted in the span); p == NULL on failure. */
struct span arena_dup(struct arena *a, struct span s);
/* A zero-terminated copy; NULL on failure. */
char *arena_cstr(struct arena *a, struct span s);
/* Formatted; p == NULL on failure. Zero-terminated. */
struct span arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct span arena_vprintf(struct arena *a, const char *fmt, va_list ap);
/* Grows an array in the arena: returns a place for item number *n and counts it up. items is the
 * array of elements of size bytes; *cap its capacity. The old array is left where it was (pointers
 * into it stay readable). NULL on failure. */
void *arena_push(struct arena *a, void **items, size_t *n, size_t *cap, size_t size);
#define ARENA_PUSH(a, items, n, cap)                                                               \
	((__typeof__(*(items)) *)arena_push((a), (void **)&(items), (n), (cap), sizeof(*(items))))
