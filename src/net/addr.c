#include <arpa/inet.h>
#include <stdio.h>
#include "net/addr.h"

static size_t put(char *buf, size_t size, size_t at, const char *p, size_t n)
{
	if (at >= size)
		return at;
	n = MIN_OF(n, size - at);
	memcpy(buf + at, p, n);
	return at + n;
}

/* Decimal without printf: client addresses are written for every request. */
static size_t put_number(char *buf, size_t size, size_t at, unsigned v)
{
	char tmp[10];
	size_t n = sizeof(tmp);

	do {
		tmp[--n] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return put(buf, size, at, tmp + n, sizeof(tmp) - n);
}

static size_t put_v4(char *buf, size_t size, size_t at, const uint8_t *b)
{
	for (int i = 0; i < 4; i++) {
		if (i)
			at = put(buf, size, at, ".", 1);
		at = put_number(buf, size, at, b[i]);
	}
	return at;
}

static size_t put_v6(char *buf, size_t size, size_t at, const struct in6_addr *a)
{
	char text[INET6_ADDRSTRLEN];

	if (!inet_ntop(AF_INET6, a, text, sizeof(text)))
		return at;
	return put(buf, size, at, text, strlen(text));
}

static size_t put_unix(char *buf, size_t size, const struct sockaddr_un *un)
{
	size_t at = put(buf, size, 0, "unix:", 5);
	bool abstract = !un->sun_path[0] && un->sun_path[1];

	if (abstract)
		at = put(buf, size, at, "@", 1);
	return put(buf, size, at, un->sun_path + abstract,
		   strnlen(un->sun_path + abstract, sizeof(un->sun_path) - abstract));
}

size_t addr_format(const struct sockaddr *sa, bool with_port, char *buf, size_t size)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
	size_t n = 0;

	switch (sa->sa_family) {
	case AF_INET:
		n = put_v4(buf, size, 0, (const uint8_t *)&in->sin_addr);
		break;
	case AF_INET6:
		n = put(buf, size, 0, "[", 1);
		n = put_v6(buf, size, n, &in6->sin6_addr);
		n = put(buf, size, n, "]", 1);
		break;
	case AF_UNIX:
		return put_unix(buf, size, (const struct sockaddr_un *)sa);
	default:
		return 0;
	}
	if (with_port) {
		n = put(buf, size, n, ":", 1);
		n = put_number(buf, size, n, (unsigned)addr_port(sa));
	}
	return n;
}

size_t addr_format_ip(const struct sockaddr *sa, char *buf, size_t size)
{
	if (sa->sa_family == AF_INET6)
		return put_v6(buf, size, 0, &((const struct sockaddr_in6 *)sa)->sin6_addr);
	if (sa->sa_family == AF_UNIX)
		return put(buf, size, 0, "unix:", 5);
	return addr_format(sa, false, buf, size);
}

int addr_port(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)sa)->sin_port);
	if (sa->sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)sa)->sin6_port);
	return 0;
}

void addr_set_port(struct sockaddr *sa, int port)
{
	if (sa->sa_family == AF_INET)
		((struct sockaddr_in *)sa)->sin_port = htons((uint16_t)port);
	else if (sa->sa_family == AF_INET6)
		((struct sockaddr_in6 *)sa)->sin6_port = htons((uint16_t)port);
}

bool addr_parse_ip(struct span s, struct net_addr *out)
{
	char text[INET6_ADDRSTRLEN];
	bool bracketed = s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']';

	*out = (struct net_addr){.len = 0};
	if (bracketed)
		s = span_cut(s, 1, s.n - 1);
	if (!span_to_cstr(s, text, sizeof(text)))
		return false;
	if (!bracketed && inet_pton(AF_INET, text, &out->in.sin_addr) == 1) {
		out->len = sizeof(out->in);
		out->in.sin_family = AF_INET;
		return true;
	}
	if (inet_pton(AF_INET6, text, &out->in6.sin6_addr) != 1)
		return false;
	out->len = sizeof(out->in6);
	out->in6.sin6_family = AF_INET6;
	return true;
}

static bool parse_unix(struct span path, struct net_addr *out)
{
	bool abstract = path.n && path.p[0] == '@';

	*out = (struct net_addr){.len = 0};
	if (path.n == 0 || (abstract && path.n == 1) || path.n >= sizeof(out->un.sun_path) ||
	    memchr(path.p, 0, path.n))
		return false;
	out->un.sun_family = AF_UNIX;
	memcpy(out->un.sun_path, path.p, path.n);
	if (abstract)
		out->un.sun_path[0] = '\0';
	/* A path's terminating zero counts; an abstract name has none. */
	out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + !abstract);
	return true;
}

bool addr_parse(struct span s, int default_port, struct net_addr *out)
{
	uint64_t port = (uint64_t)default_port;
	ssize_t colon = span_rfind_char(s, ':');
	ssize_t close = span_rfind_char(s, ']');

	if (span_starts(s, SPAN("unix:")))
		return parse_unix(span_cut(s, 5, s.n), out);
	/* The colon is a port's unless it lies in brackets or in a bare IPv6 address. */
	if (colon > close && (close >= 0 || span_find_char(s, ':', 0) == colon)) {
		if (!span_to_u64(span_cut(s, (size_t)colon + 1, s.n), 65535, &port) || port == 0)
			return false;
		s.n = (size_t)colon;
	}
	if (!addr_parse_ip(s, out))
		return false;
	addr_set_port(&out->sa, (int)port);
	return true;
}

bool addr_eq(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_UNIX) {
		const char *x = ((const struct sockaddr_un *)a)->sun_path;
		const char *y = ((const struct sockaddr_un *)b)->sun_path;

		if (!x[0] != !y[0])
			return false;
		return strncmp(x + !x[0], y + !x[0],
			       sizeof(struct sockaddr_un) - offsetof(struct sockaddr_un, sun_path) -
				       !x[0]) == 0;
	}
	return addr_port(a) == addr_port(b) && span_eq(addr_bytes(a), addr_bytes(b));
}

struct span addr_bytes(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return span_make(&((const struct sockaddr_in *)sa)->sin_addr, 4);
	if (sa->sa_family == AF_INET6)
		return span_make(&((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	return (struct span){NULL, 0};
}

static void cidr_fill_mask(uint8_t *mask, unsigned bits)
{
	memset(mask, 0, 16);
	for (unsigned i = 0; i < bits; i++)
		mask[i / 8] |= (uint8_t)(0x80 >> (i % 8));
}

bool cidr_parse(struct span s, struct cidr *out, bool *had_host_bits)
{
	ssize_t slash = span_find_char(s, '/', 0);
	struct span ip = slash < 0 ? s : span_cut(s, 0, (size_t)slash), bytes;
	struct net_addr a;
	uint64_t bits;
	bool host = false;

	if (!addr_parse_ip(ip, &a))
		return false;
	bytes = addr_bytes(&a.sa);
	bits = bytes.n * 8;
	if (slash >= 0 && !span_to_u64(span_cut(s, (size_t)slash + 1, s.n), bytes.n * 8, &bits))
		return false;
	*out = (struct cidr){.v6 = bytes.n == 16};
	cidr_fill_mask(out->mask, (unsigned)bits);
	for (size_t i = 0; i < bytes.n; i++) {
		uint8_t b = (uint8_t)bytes.p[i];

		out->addr[i] = b & out->mask[i];
		host |= out->addr[i] != b;
	}
	if (had_host_bits)
		*had_host_bits = host;
	return true;
}

bool cidr_match(const struct cidr *c, const struct sockaddr *sa)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct span b = addr_bytes(sa);

	if (!c->v6 && b.n == 16 && memcmp(b.p, mapped, 12) == 0)
		b = span_cut(b, 12, 16);
	if (b.n != (c->v6 ? 16 : 4))
		return false;
	for (size_t i = 0; i < b.n; i++)
		if (((uint8_t)b.p[i] & c->mask[i]) != c->addr[i])
			return false;
	return true;
}
