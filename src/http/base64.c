#include "http/base64.h"

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	return c == '/' || c == '_' ? 63 : -1;
}

struct span base64_decode(struct arena *a, struct span s)
{
	uint32_t bits = 0;
	size_t n = 0;
	char *p;

	for (int pad = 0; pad < 2 && s.n && s.p[s.n - 1] == '='; pad++)
		s.n--;
	if (s.n % 4 == 1)
		return (struct span){0};
	p = arena_alloc(a, s.n / 4 * 3 + 3);
	if (!p)
		return (struct span){0};
	for (size_t i = 0; i < s.n; i++) {
		int v = base64_value(s.p[i]);

		if (v < 0)
			return (struct span){0};
		bits = bits << 6 | (uint32_t)v;
		if (i % 4 == 1)
			p[n++] = (char)(bits >> 4);
		else if (i % 4 == 2)
			p[n++] = (char)(bits >> 2);
		else if (i % 4 == 3)
			p[n++] = (char)bits;
	}
	return span_make(p, n);
}

size_t base64_encode(char *out, const char *in, size_t n)
{
	static const char abc[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)in;
	char *at = out;

	for (; n >= 3; n -= 3, p += 3) {
		*at++ = abc[p[0] >> 2];
		*at++ = abc[(p[0] & 3) << 4 | p[1] >> 4];
		*at++ = abc[(p[1] & 15) << 2 | p[2] >> 6];
		*at++ = abc[p[2] & 63];
	}
	if (n) {
		*at++ = abc[p[0] >> 2];
		*at++ = abc[(p[0] & 3) << 4 | (n > 1 ? p[1] >> 4 : 0)];
		*at++ = n > 1 ? abc[(p[1] & 15) << 2] : '=';
		*at++ = '=';
	}
	return (size_t)(at - out);
}
