/* A span is a borrowed run of bytes: a pointer and a length, never owned, not terminated by zero.
 * {NULL, 0} is the empty span; p may also be non-NULL with n == 0. A span lives as long as what it
 * points into. Case-insensitive verbs fold ASCII only, as HTTP does. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

struct span {
	const char *p;
	size_t n;
};

/* SPAN("literal") for string literals only; span_of() for zero-terminated strings. */
#define SPAN(lit) ((struct span){(lit), sizeof(lit) - 1})
#define SPAN_INIT(lit)                                                                             \
	{                                                                                          \
		(lit), sizeof(lit) - 1                                                             \
	}
/* For printf: printf("%.*s", SPAN_ARG(s)). */
#define SPAN_ARG(s) (int)(s).n, (s).n ? (s).p : ""

static inline struct span span_of(const char *s)
{
	return (struct span){s, s ? strlen(s) : 0};
}

static inline struct span span_make(const void *p, size_t n)
{
	return (struct span){p, n};
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* ASCII case-insensitive equality. */
bool span_eq_nocase(struct span a, struct span b);
/* <0, 0, >0 as memcmp of the common part, then by length. */
int span_cmp(struct span a, struct span b);
bool span_starts(struct span s, struct span prefix);
bool span_starts_nocase(struct span s, struct span prefix);
bool span_ends(struct span s, struct span suffix);
/* Index of the first byte c at or after from, or -1. */
ssize_t span_find_char(struct span s, char c, size_t from);
ssize_t span_rfind_char(struct span s, char c);
/* Index of the first occurrence of needle, or -1. */
ssize_t span_find(struct span s, struct span needle);
/* The bytes [from, to) with both ends clamped to s. */
struct span span_cut(struct span s, size_t from, size_t to);
/* Without spaces and tabs (SP, HTAB) at both ends. */
struct span span_trim(struct span s);
/* Takes the part before the first sep off the front of *rest (and the sep with it) and returns it;
 * when there is no sep, takes everything. Returns false when *rest was already exhausted
 * (rest->p == NULL): "a,,b" gives "a", "", "b". */
bool span_split(struct span *rest, char sep, struct span *part);

/* Whole-span decimal: every byte a digit, no sign, no overflow of max. Returns false otherwise;
 * the empty span is not a number. */
bool span_to_u64(struct span s, uint64_t max, uint64_t *out);
/* The same for hexadecimal, either case, no 0x. */
bool span_hex_to_u64(struct span s, uint64_t max, uint64_t *out);

/* Copies s with a zero behind it into buf of size bytes; false when it does not fit or s holds a
 * zero byte (a path must not be cut short by one). */
bool span_to_cstr(struct span s, char *buf, size_t size);
