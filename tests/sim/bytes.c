#include "bytes.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bug.h"

static uint64_t bytes_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

uint64_t bytes_key(enum bytes_of what, uint64_t id, unsigned nth)
{
	return bytes_mix(id << 16 | (uint64_t)what << 8 | nth);
}

void bytes_fill(uint64_t key, uint64_t off, char *p, size_t n)
{
	while (n) {
		uint64_t word = bytes_mix(key + off / 8);
		size_t skip = off % 8, k = 8 - skip < n ? 8 - skip : n;

		memcpy(p, (char *)&word + skip, k);
		p += k;
		off += k;
		n -= k;
	}
}

size_t bytes_check(uint64_t key, uint64_t off, const char *p, size_t n)
{
	char want[1024];

	for (size_t at = 0; at < n;) {
		size_t k = n - at < sizeof(want) ? n - at : sizeof(want), same = 0;

		bytes_fill(key, off + at, want, k);
		if (memcmp(want, p + at, k) == 0)
			same = k;
		while (same < k && want[same] == p[at + same])
			same++;
		at += same;
		if (same < k)
			return at;
	}
	return n;
}

void text_add(struct text *t, const void *p, size_t n)
{
	if (t->n + n + 1 > t->cap) {
		t->cap = (t->n + n + 1) * 2;
		t->p = realloc(t->p, t->cap);
		BUG_ON(!t->p);
	}
	if (n)
		memcpy(t->p + t->n, p, n);
	t->n += n;
	t->p[t->n] = 0;
}

void text_printf(struct text *t, const char *fmt, ...)
{
	char line[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	BUG_ON(n < 0 || (size_t)n >= sizeof(line));
	text_add(t, line, (size_t)n);
}

void text_fini(struct text *t)
{
	free(t->p);
	*t = (struct text){0};
}
