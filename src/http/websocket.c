#include "http/websocket.h"
#include <string.h>
#include "http/base64.h"

static uint32_t rotate(uint32_t v, unsigned n)
{
	return v << n | v >> (32 - n);
}

/* The function and the constant of step t (RFC 3174 5). */
static uint32_t sha1_mix(int t, uint32_t b, uint32_t c, uint32_t d)
{
	if (t < 20)
		return ((b & c) | (~b & d)) + 0x5a827999;
	if (t < 40)
		return (b ^ c ^ d) + 0x6ed9eba1;
	if (t < 60)
		return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
	return (b ^ c ^ d) + 0xca62c1d6;
}

static void sha1_block(uint32_t h[5], const uint8_t *p)
{
	uint32_t w[80], v[5];

	for (int t = 0; t < 16; t++)
		w[t] = (uint32_t)p[4 * t] << 24 | (uint32_t)p[4 * t + 1] << 16 |
		       (uint32_t)p[4 * t + 2] << 8 | p[4 * t + 3];
	for (int t = 16; t < 80; t++)
		w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
	memcpy(v, h, sizeof(v));
	for (int t = 0; t < 80; t++) {
		uint32_t next = rotate(v[0], 5) + sha1_mix(t, v[1], v[2], v[3]) + v[4] + w[t];

		v[4] = v[3];
		v[3] = v[2];
		v[2] = rotate(v[1], 30);
		v[1] = v[0];
		v[0] = next;
	}
	for (int i = 0; i < 5; i++)
		h[i] += v[i];
}

void sha1_sum(const void *text, size_t n, uint8_t out[20])
{
	uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
	const uint8_t *p = text;
	uint64_t bits = (uint64_t)n * 8;
	uint8_t last[128] = {0};
	size_t end;

	for (; n >= 64; n -= 64, p += 64)
		sha1_block(h, p);
	if (n)
		memcpy(last, p, n);
	last[n] = 0x80;
	end = n < 56 ? 64 : 128;
	for (int i = 0; i < 8; i++)
		last[end - 1 - (size_t)i] = (uint8_t)(bits >> (8 * i));
	for (size_t at = 0; at < end; at += 64)
		sha1_block(h, last + at);
	for (int i = 0; i < 20; i++)
		out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

void websocket_accept(struct span key, char out[WEBSOCKET_ACCEPT_LEN])
{
	static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[64 + sizeof(magic)];
	uint8_t sum[20];

	key.n = key.n < 64 ? key.n : 64;
	if (key.n)
		memcpy(text, key.p, key.n);
	memcpy(text + key.n, magic, sizeof(magic) - 1);
	sha1_sum(text, key.n + sizeof(magic) - 1, sum);
	(void)base64_encode(out, (const char *)sum, sizeof(sum));
}
