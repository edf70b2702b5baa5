/* A growing byte string with a ceiling: [start, start+len) of a block of cap bytes.
 * Owner: whoever initialised it. Memory: mem_alloc. A failed append leaves the content as it was
 * and sets `failed`, which stays set, so a builder may check once at the end. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include "base/bug.h"
#include "base/span.h"

struct buf {
	char *p;
	size_t len, cap, ceiling;
	bool failed;
};

void buf_init(struct buf *b, size_t ceiling); /* takes no memory */
void buf_fini(struct buf *b);
void buf_clear(struct buf *b);		   /* len = 0, failed = false; memory kept */
bool buf_reserve(struct buf *b, size_t n); /* room for n more bytes */
bool buf_add(struct buf *b, const void *p, size_t n);
bool buf_add_span(struct buf *b, struct span s);
bool buf_add_char(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool buf_vprintf(struct buf *b, const char *fmt, va_list ap);
/* Removes the first n bytes. */
void buf_drop(struct buf *b, size_t n);
static inline struct span buf_span(const struct buf *b)
{
	return (struct span){b->p, b->len};
}
