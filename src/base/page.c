#include "base/page.h"
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/bug.h"
#include "base/pool.h"

#if defined(SLUICE_SIM) || defined(BUILT_WITH_ASAN)

void *page_take(void)
{
	return mem_zalloc(PAGE_BYTES);
}

void page_give(void *p)
{
	mem_free(p);
}

bool page_forget(void *p)
{
	return false;
}

void page_thread_fini(void)
{
}

#else

#define CHUNK_PAGES 64

/* The first page of a chunk says which chunk it is. */
struct chunk {
	struct chunk *next;
};
struct free_page {
	struct free_page *next;
};

static _Thread_local struct {
	struct chunk *chunks;	/* newest first */
	struct free_page *free; /* given back; not zeroes */
	unsigned fresh;		/* pages of the newest chunk that were never taken: zeroes */
	unsigned used;
} pages;

static bool page_chunk_new(void)
{
	void *p = mmap(NULL, CHUNK_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct chunk *c = p;

	if (p == MAP_FAILED)
		return false;
	c->next = pages.chunks;
	pages.chunks = c;
	pages.fresh = CHUNK_PAGES - 1;
	return true;
}

void *page_take(void)
{
	struct free_page *f = pages.free;

	if (mem_must_fail())
		return NULL;
	if (f) {
		pages.free = f->next;
		pages.used++;
		return memset(f, 0, PAGE_BYTES);
	}
	if (!pages.fresh && !page_chunk_new())
		return NULL;
	pages.used++;
	return (char *)pages.chunks + (size_t)(CHUNK_PAGES - pages.fresh--) * PAGE_BYTES;
}

void page_give(void *p)
{
	struct free_page *f = p;

	f->next = pages.free;
	pages.free = f;
	pages.used--;
}

bool page_forget(void *p)
{
	const char *bytes = p;

	/* Each byte equals the next one, and the first is zero. */
	if (bytes[0] || memcmp(bytes, bytes + 1, PAGE_BYTES - 1) != 0)
		return false;
	return madvise(p, PAGE_BYTES, MADV_DONTNEED) == 0;
}

void page_thread_fini(void)
{
	BUG_ON(pages.used);
	while (pages.chunks) {
		struct chunk *c = pages.chunks;

		pages.chunks = c->next;
		munmap(c, CHUNK_PAGES * PAGE_BYTES);
	}
	pages.free = NULL;
	pages.fresh = 0;
}

#endif
