#include <errno.h>
#include "base/bug.h"
#include "base/pool.h"
#include "net/stream.h"

#define CLASSES 4
static const unsigned class_size[CLASSES] = {1024, 4096, 16384, 65536};
static const unsigned class_keep[CLASSES] = {256, 256, 64, 16}; /* at most 3.3 MiB a thread */
static _Thread_local struct slab slabs[CLASSES];

/* The class that serves size bytes, or CLASSES. */
static int class_of(size_t size)
{
	int i = 0;

	while (i < CLASSES && size > class_size[i])
		i++;
	return i;
}

static char *room_take(size_t size, uint32_t *cap)
{
	int i = class_of(size);

	if (i == CLASSES) {
		*cap = (uint32_t)((size + 65535) & ~(size_t)65535);
		return mem_alloc(*cap);
	}
	if (!slabs[i].size)
		slab_init(&slabs[i], class_size[i], class_keep[i]);
	*cap = class_size[i];
	return slab_take(&slabs[i]);
}

static void room_give(char *p, uint32_t cap)
{
	int i = class_of(cap);

	if (i == CLASSES)
		mem_free(p);
	else
		slab_give(&slabs[i], p);
}

bool inbuf_reserve(struct inbuf *b, size_t size, const char **from)
{
	uint32_t cap, n = b->end - b->start;
	char *p;

	if (from)
		*from = b->p ? b->p + b->start : NULL;
	if (size <= b->cap) {
		if (b->start) {
			memmove(b->p, b->p + b->start, n);
			b->start = 0;
			b->end = n;
		}
		return true;
	}
	if (size > INBUF_MAX || !(p = room_take(size, &cap)))
		return false;
	if (b->p) {
		memcpy(p, b->p + b->start, n);
		room_give(b->p, b->cap);
	}
	*b = (struct inbuf){.p = p, .end = n, .cap = cap};
	return true;
}

void inbuf_free(struct inbuf *b)
{
	if (b->p)
		room_give(b->p, b->cap);
	*b = (struct inbuf){.p = NULL};
}

ssize_t inbuf_read(struct inbuf *b, struct stream *s, uint64_t deadline_ms)
{
	ssize_t got;

	BUG_ON(b->end == b->cap);
	got = stream_read(s, b->p + b->end, b->cap - b->end, deadline_ms);
	if (got > 0)
		b->end += (uint32_t)got;
	return got;
}

ssize_t inbuf_recv(struct inbuf *b, struct stream *s)
{
	ssize_t got;

	BUG_ON(b->end == b->cap);
	got = stream_recv(s, b->p + b->end, b->cap - b->end);
	if (got > 0)
		b->end += (uint32_t)got;
	return got;
}

void inbuf_thread_fini(void)
{
	for (int i = 0; i < CLASSES; i++)
		if (slabs[i].size)
			slab_fini(&slabs[i]);
}
