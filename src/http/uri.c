#include "base/bug.h"
#include "http/uri.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of "%XX" at s, or -1. */
static int percent_byte(const char *s, const char *end)
{
	int high, low;

	if (end - s < 3)
		return -1;
	high = hex_value(s[1]);
	low = hex_value(s[2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Most paths need nothing done: no escape, no "//", no segment that begins with a dot. */
static bool path_is_plain(struct span path, bool merge_slashes)
{
	const char *s = path.p, *end = s + path.n;

	for (; s < end; s++) {
		char c = *s;

		if (c == '/') {
			if (s + 1 < end && (s[1] == '.' || (s[1] == '/' && merge_slashes)))
				return false;
		} else if (c == '%' || c == '#' || c == '?' || c == '\0') {
			return false;
		}
	}
	return true;
}

/* A path as it is being written: `at` bytes so far, the last segment begins at seg. */
struct path_out {
	char *p;
	size_t at, seg;
	bool merge_slashes;
};

/* Resolves the last segment when it is "." or "..". False: above the root. */
static bool end_segment(struct path_out *o, bool *gone)
{
	size_t n = o->at - o->seg;

	*gone = true;
	if (n == 1 && o->p[o->seg] == '.') {
		o->at = o->seg;
	} else if (n == 2 && o->p[o->seg] == '.' && o->p[o->seg + 1] == '.') {
		if (o->seg == 1)
			return false;
		o->seg--; /* onto the slash before, then back behind the one before that */
		while (o->p[o->seg - 1] != '/')
			o->seg--;
		o->at = o->seg;
	} else {
		*gone = n == 0 && o->merge_slashes;
	}
	return true;
}

static bool put_path_byte(struct path_out *o, char c)
{
	bool gone;

	if (c != '/') {
		o->p[o->at++] = c;
		return true;
	}
	if (!end_segment(o, &gone))
		return false;
	if (!gone) {
		o->p[o->at++] = '/';
		o->seg = o->at;
	}
	return true;
}

static enum fail normalise_into(struct path_out *o, struct span path)
{
	const char *end = path.p + path.n;
	bool gone;

	o->p[0] = '/';
	o->at = o->seg = 1;
	for (const char *s = path.p + 1; s < end && *s != '#' && *s != '?'; s++) {
		int c = (uint8_t)*s;

		if (c == '%') {
			c = percent_byte(s, end);
			s += 2;
		}
		if (c <= 0 || !put_path_byte(o, (char)c))
			return FAIL_BAD_URI;
	}
	return end_segment(o, &gone) ? FAIL_OK : FAIL_BAD_URI;
}

enum fail uri_normalise(struct span path, bool merge_slashes, struct arena *a, struct span *out)
{
	struct path_out o = {.merge_slashes = merge_slashes};
	enum fail f;

	*out = path;
	if (path.n == 0 || path.p[0] != '/')
		return span_eq(path, SPAN("*")) ? FAIL_OK : FAIL_BAD_URI;
	if (likely(path_is_plain(path, merge_slashes)))
		return FAIL_OK;
	o.p = arena_alloc(a, path.n);
	if (!o.p)
		return FAIL_NO_MEMORY;
	f = normalise_into(&o, path);
	if (!f)
		*out = span_make(o.p, o.at);
	return f;
}

/* A bit per byte: 1 is escaped. uri_test.c spells them out. */
static const uint64_t escape_bits[][4] = {
	[URI_ESCAPE_PATH] = {0xd000002dffffffff, 0xb800000150000000, 0xffffffffffffffff,
			     0xffffffffffffffff},
	[URI_ESCAPE_ARGS] = {0xd800086dffffffff, 0xb800000150000000, 0xffffffffffffffff,
			     0xffffffffffffffff},
	[URI_ESCAPE_COMPONENT] = {0xfc009fffffffffff, 0xb800000178000001, 0xffffffffffffffff,
				  0xffffffffffffffff},
	[URI_ESCAPE_HTML] = {0x500000adffffffff, 0xb800000150000000, 0xffffffffffffffff,
			     0xffffffffffffffff},
	[URI_ESCAPE_REFRESH] = {0x50000085ffffffff, 0xd800000150000000, 0xffffffffffffffff,
				0xffffffffffffffff},
	[URI_ESCAPE_MEMCACHED] = {0x00000021ffffffff, 0x0000000000000000, 0x0000000000000000,
				  0x0000000000000000},
};

static inline bool must_escape(const uint64_t *bits, char c)
{
	uint8_t b = (uint8_t)c;

	return bits[b >> 6] >> (b & 63) & 1;
}

struct span uri_escape(struct arena *a, struct span s, enum uri_escape kind)
{
	static const char hex[] = "0123456789ABCDEF";
	const uint64_t *bits = escape_bits[kind];
	size_t more = 0;
	char *text, *at;

	for (size_t i = 0; i < s.n; i++)
		more += must_escape(bits, s.p[i]);
	if (more == 0)
		return s;
	text = at = arena_alloc(a, s.n + 2 * more);
	if (!text)
		return span_make(NULL, 0);
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];

		if (!must_escape(bits, s.p[i])) {
			*at++ = s.p[i];
			continue;
		}
		*at++ = '%';
		*at++ = hex[c >> 4];
		*at++ = hex[c & 15];
	}
	return span_make(text, s.n + 2 * more);
}

struct span uri_unescape(struct arena *a, struct span s)
{
	const char *end = s.p + s.n;
	char *text, *at;

	if (s.n == 0 || !memchr(s.p, '%', s.n))
		return s;
	text = at = arena_alloc(a, s.n);
	if (!text)
		return span_make(NULL, 0);
	for (const char *p = s.p; p < end; p++) {
		int c = *p == '%' ? percent_byte(p, end) : -1;

		*at++ = c < 0 ? *p : (char)c;
		p += c < 0 ? 0 : 2;
	}
	return span_make(text, (size_t)(at - text));
}

static struct span html_entity(char c)
{
	switch (c) {
	case '<':
		return SPAN("&lt;");
	case '>':
		return SPAN("&gt;");
	case '&':
		return SPAN("&amp;");
	case '"':
		return SPAN("&quot;");
	default:
		return SPAN("");
	}
}

struct span html_escape(struct arena *a, struct span s)
{
	size_t n = 0;
	char *text, *at;

	for (size_t i = 0; i < s.n; i++) {
		size_t len = html_entity(s.p[i]).n;

		n += len ? len : 1;
	}
	if (n == s.n)
		return s;
	text = at = arena_alloc(a, n);
	if (!text)
		return span_make(NULL, 0);
	for (size_t i = 0; i < s.n; i++) {
		struct span e = html_entity(s.p[i]);

		if (e.n == 0)
			e = span_make(s.p + i, 1);
		memcpy(at, e.p, e.n);
		at += e.n;
	}
	return span_make(text, n);
}

bool uri_arg(struct span query, struct span name, struct span *value)
{
	struct span part;

	if (name.n == 0)
		return false;
	while (span_split(&query, '&', &part)) {
		if (part.n <= name.n || part.p[name.n] != '=' || !span_starts_nocase(part, name))
			continue;
		*value = span_cut(part, name.n + 1, part.n);
		return true;
	}
	return false;
}

static struct span without_spaces(struct span s)
{
	while (s.n && s.p[0] == ' ')
		s = span_cut(s, 1, s.n);
	return s;
}

/* nginx's reading, which differs from RFC 6265 in small ways: a comma, too, begins another pair,
 * but does not end a value; blanks around '=' are skipped; quotes and blanks behind a value are
 * part of it. */
bool cookie_value(struct span cookie, struct span name, struct span *value)
{
	struct span rest = cookie, tail;

	while (name.n && (rest = without_spaces(rest)).n) {
		size_t i = 0;

		if (span_starts_nocase(rest, name)) {
			tail = without_spaces(span_cut(rest, name.n, rest.n));
			if (tail.n && tail.p[0] == '=') {
				tail = without_spaces(span_cut(tail, 1, tail.n));
				while (i < tail.n && tail.p[i] != ';')
					i++;
				*value = span_cut(tail, 0, i);
				return true;
			}
		}
		while (i < rest.n && rest.p[i] != ';' && rest.p[i] != ',')
			i++;
		rest = span_cut(rest, i + 1, rest.n);
	}
	return false;
}
