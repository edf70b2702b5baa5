/* What nghttp2 gets for memory. Of the 25 KB that it asks for, an idle connection is to keep what
 * is not zero and not the same for all. */
#include "base/page.h"
#include "base/pool.h"
#include "serve/h2_conn.h"

/* A session has a buffer of 16 KiB in which it makes frames. Between two calls of the pump there is
 * nothing in it, and the pump runs one session at a time: all sessions of a thread share one. */
#define FRAME_ROOM_MIN 16384
static _Thread_local char *frame_room;
static _Thread_local size_t frame_room_size;

/* HPACK's two tables begin with places for 128 entries each, the sender's first. We use no table to
 * send (max_deflate_dynamic_table_size 0), so nothing is ever written there. */
#define RING_BYTES 1024
static const char no_entries[RING_BYTES];

static void *core_new(struct h2_conn *h, size_t size)
{
	h->core = page_take();
	h->core_used = (uint16_t)((size + 15) & ~(size_t)15);
	return h->core;
}

static bool in_core(const struct h2_conn *h, const void *p)
{
	return h->core && (const char *)p >= h->core && (const char *)p < h->core + PAGE_BYTES;
}

/* While the session is being made: one of the two rings. */
static void *ring_new(struct h2_conn *h)
{
	char *p = h->core + h->core_used;

	if (++h->rings == 1)
		return (void *)no_entries;
	if (h->rings > 2 || !h->core || h->core_used + RING_BYTES > PAGE_BYTES)
		return mem_alloc(RING_BYTES);
	h->core_used += RING_BYTES;
	return p;
}

static void *room_malloc(size_t size, void *arg)
{
	struct h2_conn *h = arg;

	if (size == RING_BYTES && !h->session)
		return ring_new(h);
	if (size < FRAME_ROOM_MIN || h->has_frame_room)
		return mem_alloc(size);
	if (!frame_room) {
		frame_room = mem_alloc(size);
		frame_room_size = size;
	}
	if (!frame_room || size != frame_room_size)
		return mem_alloc(size);
	h->has_frame_room = true;
	return frame_room;
}

static void room_free(void *p, void *arg)
{
	struct h2_conn *h = arg;

	if (!p || p == no_entries)
		return;
	if (p == frame_room) {
		h->has_frame_room = false;
	} else if (p == h->table) {
		page_give(p);
		h->table = NULL;
	} else if (p == h->core) { /* the session itself, last */
		page_give(p);
		h->core = NULL;
	} else if (!in_core(h, p)) {
		mem_free(p);
	}
}

/* The session comes first; the table of streams has 256 places from the start, all empty while
 * there are no streams: a page that can be forgotten. */
static void *room_calloc(size_t n, size_t size, void *arg)
{
	struct h2_conn *h = arg;

	if (n && size > SIZE_MAX / n)
		return NULL;
	if (!h->session && !h->core && n * size < PAGE_BYTES)
		return core_new(h, n * size);
	if (n * size != PAGE_BYTES || h->table)
		return mem_zalloc(n * size);
	return h->table = page_take();
}

/* nghttp2 1.52 frees an item twice when the queue it belongs into cannot grow: what it resizes gets
 * more than one chance. */
#define RESIZE_TRIES 4

static void *room_resize(void *p, size_t size)
{
	void *to = NULL;

	for (int i = 0; i < RESIZE_TRIES && !to; i++)
		to = mem_resize(p, size);
	return to;
}

static void *room_realloc(void *p, size_t size, void *arg)
{
	struct h2_conn *h = arg;
	void *to;

	if (!p) {
		for (int i = 0; i < RESIZE_TRIES && !p; i++)
			p = room_malloc(size, arg);
		return p;
	}
	BUG_ON(p == h->table || p == no_entries || in_core(h, p));
	if (p != frame_room)
		return room_resize(p, size);
	to = mem_alloc(size);
	if (to) {
		memcpy(to, p, MIN_OF(size, frame_room_size));
		room_free(p, arg);
	}
	return to;
}

nghttp2_mem h2_memory(struct h2_conn *h)
{
	return (nghttp2_mem){h, room_malloc, room_free, room_calloc, room_realloc};
}

void h2_memory_rest(struct h2_conn *h)
{
	if (h->packed)
		return;
	if (h->table)
		page_forget(h->table);
	if (h->core)
		h->packed = page_pack(h->core);
}

void h2_memory_unpack(struct h2_conn *h)
{
	page_unpack(h->core, h->packed);
	h->packed = NULL;
}

void h2_memory_thread_fini(void)
{
	mem_free(frame_room);
	frame_room = NULL;
	page_thread_fini();
}
