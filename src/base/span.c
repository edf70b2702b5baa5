#include "base/span.h"

bool span_eq_nocase(struct span a, struct span b)
{
	if (a.n != b.n)
		return false;
	if (a.n == 0 || memcmp(a.p, b.p, a.n) == 0) /* mostly they are written the usual way */
		return true;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	return true;
}

int span_cmp(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int r = n ? memcmp(a.p, b.p, n) : 0;

	return r ? r : (a.n > b.n) - (a.n < b.n);
}

bool span_starts(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_eq(span_make(s.p, prefix.n), prefix);
}

bool span_starts_nocase(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_eq_nocase(span_make(s.p, prefix.n), prefix);
}

bool span_ends(struct span s, struct span suffix)
{
	if (s.n < suffix.n)
		return false;
	return suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0;
}

ssize_t span_find_char(struct span s, char c, size_t from)
{
	const char *hit;

	if (from >= s.n)
		return -1;
	hit = memchr(s.p + from, c, s.n - from);
	return hit ? hit - s.p : -1;
}

ssize_t span_rfind_char(struct span s, char c)
{
	const char *hit = s.n ? memrchr(s.p, c, s.n) : NULL;

	return hit ? hit - s.p : -1;
}

ssize_t span_find(struct span s, struct span needle)
{
	const char *hit;

	if (needle.n == 0)
		return 0;
	if (needle.n > s.n)
		return -1;
	hit = memmem(s.p, s.n, needle.p, needle.n);
	return hit ? hit - s.p : -1;
}

struct span span_cut(struct span s, size_t from, size_t to)
{
	if (to > s.n)
		to = s.n;
	if (from > to)
		from = to;
	/* {NULL, 0} + 0 is undefined in C before C2y. */
	return s.p ? (struct span){s.p + from, to - from} : s;
}

struct span span_trim(struct span s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

bool span_split(struct span *rest, char sep, struct span *part)
{
	ssize_t at;

	if (!rest->p)
		return false;
	at = span_find_char(*rest, sep, 0);
	if (at < 0) {
		*part = *rest;
		*rest = (struct span){NULL, 0};
	} else {
		*part = span_make(rest->p, (size_t)at);
		rest->p += at + 1;
		rest->n -= (size_t)at + 1;
	}
	return true;
}

/* The value of a digit in any base up to 16, or 16. */
static unsigned digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

static bool number_in_base(struct span s, unsigned base, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned d = digit_value(s.p[i]);

		if (d >= base || __builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, d, &v) || v > max)
			return false;
	}
	*out = v;
	return true;
}

bool span_to_u64(struct span s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 19) /* 20 digits may not fit, or begin with zeros */
		return number_in_base(s, 10, max, out);
	for (size_t i = 0; i < s.n; i++) {
		unsigned d = (unsigned)(uint8_t)s.p[i] - '0';

		if (d > 9)
			return false;
		v = v * 10 + d;
	}
	if (v > max)
		return false;
	*out = v;
	return true;
}

bool span_hex_to_u64(struct span s, uint64_t max, uint64_t *out)
{
	return number_in_base(s, 16, max, out);
}

bool span_to_cstr(struct span s, char *buf, size_t size)
{
	if (s.n >= size || span_find_char(s, '\0', 0) >= 0)
		return false;
	if (s.n)
		memcpy(buf, s.p, s.n);
	buf[s.n] = '\0';
	return true;
}
