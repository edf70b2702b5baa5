#include "base/page.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/bug.h"
#include "base/pool.h"

#define WORDS	   (PAGE_BYTES / sizeof(uint64_t))
#define PACK_WORDS (WORDS / 2) /* more are not worth it */

struct page_pack {
	uint64_t map[WORDS / 64]; /* which words are here: the others are zero */
	uint64_t words[];
};

static void page_drop(void *p);

struct page_pack *page_pack(void *p)
{
	const uint64_t *w = p;
	struct page_pack *k;
	size_t n = 0;

	for (size_t i = 0; i < WORDS; i++)
		n += w[i] != 0;
	k = n <= PACK_WORDS ? mem_alloc(sizeof(*k) + n * sizeof(*w)) : NULL;
	if (!k)
		return NULL;
	*k = (struct page_pack){0};
	n = 0;
	for (size_t i = 0; i < WORDS; i++) {
		if (w[i]) {
			k->map[i / 64] |= (uint64_t)1 << (i % 64);
			k->words[n++] = w[i];
		}
	}
	page_drop(p);
	return k;
}

static void page_fill(uint64_t *w, const struct page_pack *k)
{
	const uint64_t *from = k->words;

	for (size_t i = 0; i < WORDS / 64; i++)
		for (uint64_t left = k->map[i]; left; left &= left - 1)
			w[i * 64 + (size_t)__builtin_ctzll(left)] = *from++;
}

#if defined(SLUICE_SIM) || defined(BUILT_WITH_ASAN)

static void page_drop(void *p)
{
	memset(p, 0xdd, PAGE_BYTES);
}

void page_unpack(void *p, struct page_pack *pack)
{
	memset(p, 0, PAGE_BYTES);
	page_fill(p, pack);
	mem_free(pack);
}

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

/* Zeroes again, whether the system takes it or not. */
static void page_drop(void *p)
{
	if (madvise(p, PAGE_BYTES, MADV_DONTNEED) != 0)
		memset(p, 0, PAGE_BYTES);
}

void page_unpack(void *p, struct page_pack *pack)
{
	page_fill(p, pack);
	mem_free(pack);
}

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
