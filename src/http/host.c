/* Authorities: host[:port] (RFC 3986 3.2.2). */
#include <arpa/inet.h>
#include <string.h>
#include "base/bug.h"
#include "http/uri.h"

#define HOST_IP6_MAX 45 /* "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255" */
#define PORT_MAX     65535

/* 1: unreserved or sub-delims, the bytes of a registered name apart from percent escapes; 2: the
 * dot among them. */
enum { NAME_BYTE = 1, NAME_DOT = 2 };
static const uint8_t reg_name[256] = {
	['!'] = 1,	   ['$'] = 1,	      ['&'] = 1,	 ['\''] = 1, ['('] = 1,
	[')'] = 1,	   ['*'] = 1,	      ['+'] = 1,	 [','] = 1,  [';'] = 1,
	['='] = 1,	   ['-'] = 1,	      ['.'] = NAME_DOT,	 ['_'] = 1,  ['~'] = 1,
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Length of "[...]" at the front, or 0. */
static size_t ip6_literal_len(struct span s)
{
	char text[HOST_IP6_MAX + 1];
	unsigned char addr[16];
	ssize_t close = span_find_char(s, ']', 1);

	if (close < 0 || !span_to_cstr(span_cut(s, 1, (size_t)close), text, sizeof(text)) ||
	    inet_pton(AF_INET6, text, addr) != 1)
		return 0;
	return (size_t)close + 1;
}

/* Length of the registered name or IPv4 address at the front; 0: none, or it has an empty label. */
static size_t reg_name_len(struct span s)
{
	size_t i = 0;

	for (; i < s.n && s.p[i] != ':'; i++) {
		unsigned kind = reg_name[(uint8_t)s.p[i]];

		if (likely(kind == NAME_BYTE))
			continue;
		if (kind == NAME_DOT) {
			if (i && s.p[i - 1] == '.')
				return 0;
		} else if (s.p[i] == '%' && s.n - i > 2 && is_hex(s.p[i + 1]) &&
			   is_hex(s.p[i + 2])) {
			i += 2;
		} else {
			return 0;
		}
	}
	return i == 1 && s.p[0] == '.' ? 0 : i;
}

struct authority {
	size_t host_len;
	int port;
};

static bool authority_split(struct span authority, struct authority *out)
{
	size_t n = authority.n && authority.p[0] == '[' ? ip6_literal_len(authority)
							: reg_name_len(authority);
	struct span digits = span_cut(authority, n + 1, authority.n);
	uint64_t v = 0;

	if (n == 0 || (n < authority.n && authority.p[n] != ':'))
		return false;
	if (digits.n && !span_to_u64(digits, PORT_MAX, &v))
		return false;
	*out = (struct authority){n, digits.n ? (int)v : -1};
	return true;
}

bool host_is_valid(struct span authority, size_t *host_len, int *port)
{
	/* The one that was valid last: most requests repeat it. */
	static _Thread_local struct {
		char text[64];
		size_t n; /* 0: none */
		struct authority parts;
	} last;
	struct authority a;

	if (authority.n && authority.n == last.n && !memcmp(authority.p, last.text, last.n)) {
		a = last.parts;
	} else if (!authority_split(authority, &a)) {
		return false;
	} else if (authority.n <= sizeof(last.text)) {
		memcpy(last.text, authority.p, authority.n);
		last.n = authority.n;
		last.parts = a;
	}
	if (host_len)
		*host_len = a.host_len;
	if (port)
		*port = a.port;
	return true;
}

/* Eight bytes, capital letters of ASCII in lower case: bit 7 of a sum tells whether a byte is above
 * a limit. */
static inline uint64_t word_lower(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101ull, low = w & ones * 0x7f;
	uint64_t from_a = low + ones * (0x80 - 'A'), above_z = low + ones * (0x7f - 'Z');

	return w | ((from_a ^ above_z) & ~w & ones * 0x80) >> 2;
}

static void bytes_lower(char *to, const char *from, size_t n)
{
	uint64_t w;

	if (n < sizeof(w)) {
		for (size_t i = 0; i < n; i++)
			to[i] = ascii_lower(from[i]);
		return;
	}
	for (size_t i = 0; i < n; i += sizeof(w)) {
		size_t at = MIN_OF(i, n - sizeof(w)); /* the last overlaps */

		memcpy(&w, from + at, sizeof(w));
		w = word_lower(w);
		memcpy(to + at, &w, sizeof(w));
	}
}

enum fail host_lower(struct span name, struct arena *a, struct span *host)
{
	size_t n = name.n - (name.p[name.n - 1] == '.');
	char *text = arena_alloc(a, n);

	if (!text)
		return FAIL_NO_MEMORY;
	bytes_lower(text, name.p, n);
	*host = span_make(text, n);
	return FAIL_OK;
}

enum fail host_parse(struct span authority, struct arena *a, struct span *host, int *port)
{
	size_t n;

	if (!host_is_valid(authority, &n, port))
		return FAIL_BAD_HOST;
	return host_lower(span_cut(authority, 0, n), a, host);
}

static bool is_scheme(struct span s)
{
	if (s.n == 0 || (s.p[0] | 0x20) < 'a' || (s.p[0] | 0x20) > 'z')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i] | 0x20;

		if (!(c >= 'a' && c <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') && s.p[i] != '+' &&
		    s.p[i] != '-' && s.p[i] != '.')
			return false;
	}
	return true;
}

/* "unix:/path/of/socket:/uri": the socket's path ends at the last thing that can be told, a
 * colon. */
static void split_unix(struct span rest, struct url_parts *out)
{
	ssize_t colon = span_find_char(rest, ':', 0);

	out->is_unix = true;
	out->host = span_cut(rest, 0, colon < 0 ? rest.n : (size_t)colon);
	out->path = colon < 0 ? SPAN("") : span_cut(rest, (size_t)colon + 1, rest.n);
}

bool url_split(struct span url, struct url_parts *out)
{
	ssize_t at = span_find(url, SPAN("://"));
	struct span rest;
	size_t end = 0, host;

	*out = (struct url_parts){.port = -1};
	if (at < 0 || !is_scheme(span_cut(url, 0, (size_t)at)))
		return false;
	out->scheme = span_cut(url, 0, (size_t)at);
	rest = span_cut(url, (size_t)at + 3, url.n);
	if (span_starts_nocase(rest, SPAN("unix:"))) {
		split_unix(span_cut(rest, 5, rest.n), out);
		return out->host.n > 0;
	}
	while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?' && rest.p[end] != '#')
		end++;
	if (!host_is_valid(span_cut(rest, 0, end), &host, &out->port))
		return false;
	out->host = span_cut(rest, 0, host);
	out->path = span_cut(rest, end, rest.n);
	return true;
}
