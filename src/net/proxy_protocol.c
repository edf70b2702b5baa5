#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include "base/bug.h"
#include "net/proxy_protocol.h"

#define V1_MAX	107 /* with CR LF */
#define V2_HEAD 16
#define V2_MAX	4096

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
				      0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* ---- version 1 ---- */

static bool v1_addr(struct span ip, struct span port, sa_family_t family, struct net_addr *out)
{
	uint64_t n;

	/* No leading zeros, as the specification writes ports. */
	if (!span_to_u64(port, 65535, &n) || (port.n > 1 && port.p[0] == '0') || ip.n == 0 ||
	    ip.p[0] == '[' || !addr_parse_ip(ip, out) || out->sa.sa_family != family)
		return false;
	addr_set_port(&out->sa, (int)n);
	return true;
}

static bool v1_line(struct span line, struct proxy_protocol *out)
{
	struct span word[5], part;
	sa_family_t family;
	size_t n = 0;

	while (span_split(&line, ' ', &part)) {
		if (n == ARRAY_LEN(word))
			return false;
		word[n++] = part;
	}
	if (n != 5)
		return false;
	if (span_eq(word[0], SPAN("TCP4")))
		family = AF_INET;
	else if (span_eq(word[0], SPAN("TCP6")))
		family = AF_INET6;
	else
		return false;
	return v1_addr(word[1], word[3], family, &out->src) &&
	       v1_addr(word[2], word[4], family, &out->dst);
}

static ssize_t parse_v1(struct span in, struct proxy_protocol *out)
{
	struct span part = span_cut(in, 0, V1_MAX), line;
	ssize_t lf = span_find_char(part, '\n', 0);

	if (lf < 0)
		return part.n == V1_MAX ? -EPROTO : PROXY_PROTOCOL_MORE;
	if (part.p[lf - 1] != '\r')
		return -EPROTO;
	line = span_cut(part, 6, (size_t)lf - 1); /* behind "PROXY " */
	out->version = 1;
	if (span_eq(line, SPAN("UNKNOWN")) || span_starts(line, SPAN("UNKNOWN ")))
		return lf + 1;
	return v1_line(line, out) ? lf + 1 : -EPROTO;
}

/* ---- version 2 ---- */

static void v2_inet(const uint8_t *p, struct proxy_protocol *out)
{
	struct net_addr *a[2] = {&out->src, &out->dst};

	for (int i = 0; i < 2; i++) {
		a[i]->len = sizeof(a[i]->in);
		a[i]->in.sin_family = AF_INET;
		memcpy(&a[i]->in.sin_addr, p + 4 * i, 4);
		memcpy(&a[i]->in.sin_port, p + 8 + 2 * i, 2);
	}
}

static void v2_inet6(const uint8_t *p, struct proxy_protocol *out)
{
	struct net_addr *a[2] = {&out->src, &out->dst};

	for (int i = 0; i < 2; i++) {
		a[i]->len = sizeof(a[i]->in6);
		a[i]->in6.sin6_family = AF_INET6;
		memcpy(&a[i]->in6.sin6_addr, p + 16 * i, 16);
		memcpy(&a[i]->in6.sin6_port, p + 32 + 2 * i, 2);
	}
}

/* The next TLV of a block; false at its end, *ok false when one is cut short. */
static bool tlv_next(struct span *rest, unsigned *type, struct span *value, bool *ok)
{
	size_t n;

	*ok = true;
	if (rest->n == 0)
		return false;
	*ok = false;
	if (rest->n < 3)
		return false;
	*type = (uint8_t)rest->p[0];
	n = (size_t)((uint8_t)rest->p[1] << 8 | (uint8_t)rest->p[2]);
	if (n > rest->n - 3)
		return false;
	*value = span_cut(*rest, 3, 3 + n);
	*rest = span_cut(*rest, 3 + n, rest->n);
	*ok = true;
	return true;
}

static bool tlvs_whole(struct span tlvs)
{
	struct span value;
	unsigned type;
	bool ok;

	while (tlv_next(&tlvs, &type, &value, &ok))
		;
	return ok;
}

static ssize_t v2_body(struct span body, uint8_t command, uint8_t family,
		       struct proxy_protocol *out)
{
	static const uint8_t sizes[] = {0, 12, 36, 216}; /* unspecified, IPv4, IPv6, Unix */
	size_t size;

	if (command == 0x20)
		return 0; /* LOCAL: whatever follows is skipped */
	if (command != 0x21 || family >> 4 >= ARRAY_LEN(sizes) || (family & 15) > 2)
		return -EPROTO;
	size = sizes[family >> 4];
	if (body.n < size)
		return -EPROTO;
	if (family >> 4 == 1)
		v2_inet((const uint8_t *)body.p, out);
	else if (family >> 4 == 2)
		v2_inet6((const uint8_t *)body.p, out);
	out->tlvs = span_cut(body, size, body.n);
	/* Of an unknown family the address's length is unknown too. */
	if (family >> 4 == 0)
		out->tlvs = (struct span){NULL, 0};
	return tlvs_whole(out->tlvs) ? 0 : -EPROTO;
}

static ssize_t parse_v2(struct span in, struct proxy_protocol *out)
{
	const uint8_t *p = (const uint8_t *)in.p;
	size_t n;
	ssize_t rc;

	if (in.n < V2_HEAD)
		return PROXY_PROTOCOL_MORE;
	if (p[12] != 0x20 && p[12] != 0x21)
		return -EPROTO;
	n = (size_t)(p[14] << 8 | p[15]);
	if (n > V2_MAX)
		return -EPROTO;
	if (in.n < V2_HEAD + n)
		return PROXY_PROTOCOL_MORE;
	out->version = 2;
	rc = v2_body(span_cut(in, V2_HEAD, V2_HEAD + n), p[12], p[13], out);
	return rc < 0 ? rc : (ssize_t)(V2_HEAD + n);
}

ssize_t proxy_protocol_parse(struct span in, struct proxy_protocol *out)
{
	static const struct span v1 = SPAN_INIT("PROXY ");
	ssize_t n;

	*out = (struct proxy_protocol){.version = 0};
	if (in.n == 0)
		return PROXY_PROTOCOL_MORE;
	if (memcmp(in.p, v1.p, MIN_OF(in.n, v1.n)) == 0)
		n = in.n < v1.n ? PROXY_PROTOCOL_MORE : parse_v1(in, out);
	else if (memcmp(in.p, signature, MIN_OF(in.n, sizeof(signature))) == 0)
		n = parse_v2(in, out);
	else
		n = -EPROTO;
	if (n < 0)
		*out = (struct proxy_protocol){.version = 0};
	return n;
}

/* ---- TLVs ---- */

struct tlv_name {
	struct span name;
	unsigned type;
};
static const struct tlv_name names[] = {
	{SPAN_INIT("alpn"), 0x01}, {SPAN_INIT("authority"), 0x02}, {SPAN_INIT("unique_id"), 0x05},
	{SPAN_INIT("ssl"), 0x20},  {SPAN_INIT("netns"), 0x30},
};
static const struct tlv_name ssl_names[] = {
	{SPAN_INIT("ssl_version"), 0x21}, {SPAN_INIT("ssl_cn"), 0x22},
	{SPAN_INIT("ssl_cipher"), 0x23},  {SPAN_INIT("ssl_sig_alg"), 0x24},
	{SPAN_INIT("ssl_key_alg"), 0x25},
};
#define SSL_HEAD 5 /* client byte, verify word; then TLVs of its own */

static bool tlv_find(struct span tlvs, unsigned want, struct span *value)
{
	unsigned type;
	bool ok;

	while (tlv_next(&tlvs, &type, value, &ok))
		if (type == want)
			return true;
	return false;
}

static bool name_find(const struct tlv_name *t, size_t n, struct span name, unsigned *type)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq(t[i].name, name)) {
			*type = t[i].type;
			return true;
		}
	return false;
}

bool proxy_protocol_tlv(struct span tlvs, struct span name, struct span *value)
{
	struct span ssl;
	unsigned type;
	uint64_t n;

	if (span_starts(name, SPAN("0x")) && span_hex_to_u64(span_cut(name, 2, name.n), 255, &n))
		return tlv_find(tlvs, (unsigned)n, value);
	if (span_to_u64(name, 255, &n))
		return tlv_find(tlvs, (unsigned)n, value);
	if (name_find(names, ARRAY_LEN(names), name, &type))
		return tlv_find(tlvs, type, value);
	if (!tlv_find(tlvs, 0x20, &ssl) || ssl.n < SSL_HEAD)
		return false;
	if (span_eq(name, SPAN("ssl_verify"))) {
		*value = span_cut(ssl, 1, SSL_HEAD);
		return true;
	}
	return name_find(ssl_names, ARRAY_LEN(ssl_names), name, &type) &&
	       tlv_find(span_cut(ssl, SSL_HEAD, ssl.n), type, value);
}

/* ---- writing ---- */

static bool both(const struct sockaddr *src, const struct sockaddr *dst, sa_family_t family)
{
	return src && dst && src->sa_family == family && dst->sa_family == family;
}

size_t proxy_protocol_write_v1(const struct sockaddr *src, const struct sockaddr *dst, char *out,
			       size_t size)
{
	char a[ADDR_TEXT_MAX], b[ADDR_TEXT_MAX];
	int n, v6 = both(src, dst, AF_INET6);

	if (!v6 && !both(src, dst, AF_INET)) {
		n = snprintf(out, size, "PROXY UNKNOWN\r\n");
	} else {
		int na = (int)addr_format_ip(src, a, sizeof(a)),
		    nb = (int)addr_format_ip(dst, b, sizeof(b));

		n = snprintf(out, size, "PROXY %s %.*s %.*s %d %d\r\n", v6 ? "TCP6" : "TCP4", na, a,
			     nb, b, addr_port(src), addr_port(dst));
	}
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

size_t proxy_protocol_write_v2(const struct sockaddr *src, const struct sockaddr *dst, char *out,
			       size_t size)
{
	uint8_t buf[V2_HEAD + 36], *p = buf + V2_HEAD;
	bool v6 = both(src, dst, AF_INET6), v4 = both(src, dst, AF_INET);
	const struct sockaddr *a[2] = {src, dst};

	memcpy(buf, signature, sizeof(signature));
	buf[12] = v4 || v6 ? 0x21 : 0x20; /* PROXY, or LOCAL */
	buf[13] = v4 ? 0x11 : v6 ? 0x21 : 0x00;
	if (v4 || v6) {
		for (int i = 0; i < 2; i++) {
			struct span b = addr_bytes(a[i]);

			memcpy(p, b.p, b.n);
			p += b.n;
		}
		for (int i = 0; i < 2; i++) {
			*p++ = (uint8_t)(addr_port(a[i]) >> 8);
			*p++ = (uint8_t)addr_port(a[i]);
		}
	}
	buf[14] = 0;
	buf[15] = (uint8_t)(p - buf - V2_HEAD);
	if ((size_t)(p - buf) > size)
		return 0;
	memcpy(out, buf, (size_t)(p - buf));
	return (size_t)(p - buf);
}
