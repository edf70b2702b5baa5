/* Byte classes and scanning loops of the HTTP/1 parsers: find the first byte in [p, end) that may
 * not be there. Sixteen bytes at a step with SSE2, eight without; never a byte at or after end is
 * read. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Classes of a byte in a field name. */
enum {
	NAME_PLAIN = 1,	     /* letters, digits, '-' */
	NAME_UNDERSCORE = 2, /* '_' */
	NAME_TOKEN = 4,	     /* the other token bytes */
	NAME_OTHER = 8,	     /* visible or high, but no token */
	NAME_STOP = 16,	     /* ':', space, controls, DEL */
};
extern const uint8_t scan_name_class[256];
/* 1: a byte of a field value, of a request target, of a token, of a method. */
enum { BYTE_VALUE = 1, BYTE_TARGET = 2, BYTE_TOKEN = 4, BYTE_METHOD = 8 };
extern const uint8_t scan_byte_class[256];

#ifdef __SSE2__
/* 0xff where v <= max, unsigned. */
static inline __m128i scan_at_most(__m128i v, char max)
{
	return _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(max)), v);
}
#else
#define SCAN_ONES 0x0101010101010101ull
/* High bit set where a byte of x is zero, or may be (bytes above a zero one only). */
static inline uint64_t scan_zero_bytes(uint64_t x)
{
	return (x - SCAN_ONES) & ~x & (SCAN_ONES << 7);
}

/* Is there a byte below limit (at most 128) or DEL in x? May say yes for nothing, never no. */
static inline bool scan_has_below(uint64_t x, uint8_t limit)
{
	return ((x - SCAN_ONES * limit) & ~x & (SCAN_ONES << 7)) ||
	       scan_zero_bytes(x ^ SCAN_ONES * 0x7f);
}
#endif

static inline const char *scan_class(const char *p, const char *end, uint8_t class)
{
	while (p < end && (scan_byte_class[(uint8_t)*p] & class))
		p++;
	return p;
}

/* A field value ends at a control byte other than HTAB, or at DEL. */
static inline const char *scan_value(const char *p, const char *end)
{
#ifdef __SSE2__
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)p);
		__m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
		__m128i bad = _mm_andnot_si128(tab, scan_at_most(v, 0x1f));
		int hits = _mm_movemask_epi8(
			_mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f))));

		if (hits)
			return p + __builtin_ctz((unsigned)hits);
		p += 16;
	}
#else
	for (uint64_t x; end - p >= 8; p += 8) {
		memcpy(&x, p, 8);
		if (scan_has_below(x, 0x20)) {
			const char *stop = scan_class(p, p + 8, BYTE_VALUE);

			if (stop < p + 8)
				return stop;
		}
	}
#endif
	return scan_class(p, end, BYTE_VALUE);
}

/* Are all n bytes such? Short texts, which most are, in two overlapping loads. */
static inline bool scan_value_all(const char *p, size_t n)
{
#ifdef __SSE2__
	if (n >= 8 && n < 16) {
		__m128i v = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)p),
					       _mm_loadl_epi64((const __m128i *)(p + n - 8)));
		__m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
		__m128i bad = _mm_andnot_si128(tab, scan_at_most(v, 0x1f));

		return !_mm_movemask_epi8(
			_mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f))));
	}
#endif
	return n == 0 || scan_value(p, p + n) == p + n;
}

/* A request target ends at a control byte, space or DEL. */
static inline const char *scan_target(const char *p, const char *end)
{
#ifdef __SSE2__
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)p);
		__m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
		int hits = _mm_movemask_epi8(_mm_or_si128(scan_at_most(v, 0x20), del));

		if (hits)
			return p + __builtin_ctz((unsigned)hits);
		p += 16;
	}
#else
	for (uint64_t x; end - p >= 8; p += 8) {
		memcpy(&x, p, 8);
		if (scan_has_below(x, 0x21))
			break;
	}
#endif
	return scan_class(p, end, BYTE_TARGET);
}

/* The first colon, when it is among the next sixteen bytes and these are all before end. NULL: look
 * further. */
static inline const char *scan_colon(const char *p, const char *end)
{
#ifdef __SSE2__
	if (end - p >= 16) {
		int hits = _mm_movemask_epi8(
			_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)p), _mm_set1_epi8(':')));

		return hits ? p + __builtin_ctz((unsigned)hits) : NULL;
	}
#endif
	return NULL;
}

/* A field name ends at NAME_STOP; the classes that were seen are added to *seen. */
static inline const char *scan_name(const char *p, const char *end, uint8_t *seen)
{
	uint8_t bits = *seen, class;

#ifdef __SSE2__
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)p);
		__m128i low = _mm_or_si128(v, _mm_set1_epi8(0x20));
		__m128i alpha = _mm_and_si128(_mm_cmpgt_epi8(low, _mm_set1_epi8('a' - 1)),
					      _mm_cmpgt_epi8(_mm_set1_epi8('z' + 1), low));
		__m128i digit = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8('0' - 1)),
					      _mm_cmpgt_epi8(_mm_set1_epi8('9' + 1), v));
		__m128i dash = _mm_cmpeq_epi8(v, _mm_set1_epi8('-'));
		unsigned plain =
			(unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(alpha, digit), dash));

		if (plain != 0xffff) {
			p += __builtin_ctz(~plain);
			break;
		}
		p += 16;
	}
#endif
	while (p < end && (class = scan_name_class[(uint8_t)*p]) != NAME_STOP) {
		bits |= class;
		p++;
	}
	*seen = bits;
	return p;
}
