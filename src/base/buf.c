#include <stdio.h>
#include "base/buf.h"
#include "base/pool.h"

#define FIRST_CAP 256

void buf_init(struct buf *b, size_t ceiling)
{
	*b = (struct buf){.ceiling = ceiling};
}

void buf_fini(struct buf *b)
{
	mem_free(b->p);
	*b = (struct buf){.ceiling = b->ceiling};
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

static bool buf_grow(struct buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : FIRST_CAP;
	char *p;

	if (need > b->ceiling)
		return false;
	while (cap < need)
		if (__builtin_mul_overflow(cap, (size_t)2, &cap))
			cap = SIZE_MAX;
	cap = MIN_OF(cap, b->ceiling);
	p = mem_resize(b->p, cap);
	if (!p)
		return false;
	b->p = p;
	b->cap = cap;
	return true;
}

bool buf_reserve(struct buf *b, size_t n)
{
	size_t need;

	if (likely(n <= b->cap - b->len))
		return true;
	if (!__builtin_add_overflow(b->len, n, &need) && buf_grow(b, need))
		return true;
	b->failed = true;
	return false;
}

bool buf_add(struct buf *b, const void *p, size_t n)
{
	if (!buf_reserve(b, n))
		return false;
	if (n)
		memcpy(b->p + b->len, p, n);
	b->len += n;
	return true;
}

bool buf_add_span(struct buf *b, struct span s)
{
	return buf_add(b, s.p, s.n);
}

bool buf_add_char(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

bool buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	size_t room = b->cap - b->len;
	va_list again;
	char *whole;
	int n;

	va_copy(again, ap);
	n = vsnprintf(room ? b->p + b->len : NULL, room, fmt, again);
	va_end(again);
	if (n < 0) {
		b->failed = true;
		return false;
	}
	if ((size_t)n < room) {
		b->len += (size_t)n;
		return true;
	}
	/* It may fit without the zero that vsnprintf adds and the ceiling does not count. */
	whole = buf_reserve(b, (size_t)n) ? mem_alloc((size_t)n + 1) : NULL;
	if (!whole) {
		b->failed = true;
		return false;
	}
	vsnprintf(whole, (size_t)n + 1, fmt, ap);
	buf_add(b, whole, (size_t)n);
	mem_free(whole);
	return true;
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	ok = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return ok;
}

void buf_drop(struct buf *b, size_t n)
{
	BUG_ON(n > b->len);
	b->len -= n;
	if (b->len && n)
		memmove(b->p, b->p + n, b->len);
}
