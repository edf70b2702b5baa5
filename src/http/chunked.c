/* Chunked coding (RFC 9112 7.1). Control bytes are few, so they go through a small state machine;
 * body bytes are handed out in runs. */
#include "http/h1.h"
#include "http/scan.h"

#define SIZE_MAX_CHUNK (1ull << 60)
#define LINE_MAX_EXT   4096

enum chunked_state {
	AT_SIZE_FIRST, /* a digit must come */
	AT_SIZE,
	AT_BLANK, /* blanks behind the size: only ';' or the end may follow */
	AT_EXT,
	AT_SIZE_LF, /* LF of the size line */
	AT_DATA,
	AT_DATA_CR,
	AT_DATA_LF,
	AT_LAST,
};

void chunked_init(struct chunked *c)
{
	*c = (struct chunked){.state = AT_SIZE_FIRST};
}

static int hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static bool take_size_digit(struct chunked *c, int digit)
{
	if (c->left > (SIZE_MAX_CHUNK >> 4))
		return false;
	c->left = c->left << 4 | (uint64_t)digit;
	return c->left <= SIZE_MAX_CHUNK;
}

/* Behind the digits of a size. */
static bool take_after_size(struct chunked *c, char ch)
{
	if (ch == '\r')
		c->state = AT_SIZE_LF;
	else if (ch == ';')
		c->state = AT_EXT;
	else if (ch == ' ' || ch == '\t')
		c->state = AT_BLANK;
	else
		return false;
	return true;
}

/* One byte of a size line up to its CR; false: malformed. */
static bool take_size_line(struct chunked *c, char ch)
{
	int digit = hex_digit(ch);

	if (++c->ext_bytes > LINE_MAX_EXT)
		return false;
	switch (c->state) {
	case AT_SIZE_FIRST:
		if (digit < 0)
			return false;
		c->left = (uint64_t)digit;
		c->state = AT_SIZE;
		return true;
	case AT_SIZE:
		return digit >= 0 ? take_size_digit(c, digit) : take_after_size(c, ch);
	case AT_BLANK:
		return take_after_size(c, ch);
	default: /* AT_EXT */
		if (ch == '\r')
			c->state = AT_SIZE_LF;
		return ch == '\r' || (scan_byte_class[(uint8_t)ch] & BYTE_VALUE);
	}
}

/* One byte that is not body; false: malformed. */
static inline bool take_framing(struct chunked *c, char ch)
{
	switch (c->state) {
	case AT_SIZE_LF:
		c->ext_bytes = 0;
		c->state = c->left ? AT_DATA : AT_LAST;
		return ch == '\n';
	case AT_DATA_CR:
		c->state = AT_DATA_LF;
		return ch == '\r';
	case AT_DATA_LF:
		c->state = AT_SIZE_FIRST;
		return ch == '\n';
	default:
		return take_size_line(c, ch);
	}
}

enum chunked_result chunked_next(struct chunked *c, const char *in, size_t n, size_t *used,
				 struct span *data)
{
	size_t i = 0;

	BUG_ON(c->state == AT_LAST);
	*data = span_make(NULL, 0);
	while (i < n) {
		if (c->state == AT_DATA) {
			size_t run = c->left < n - i ? (size_t)c->left : n - i;

			*data = span_make(in + i, run);
			*used = i + run;
			c->left -= run;
			if (c->left == 0)
				c->state = AT_DATA_CR;
			return CHUNKED_DATA;
		}
		if (!take_framing(c, in[i++]))
			return CHUNKED_BAD;
		if (c->state == AT_LAST) {
			*used = i;
			return CHUNKED_LAST;
		}
	}
	*used = n;
	return CHUNKED_MORE;
}

size_t chunked_head(char *out, uint64_t size)
{
	static const char digits[] = "0123456789abcdef";
	unsigned n = size ? (67 - (unsigned)__builtin_clzll(size)) / 4 : 1;

	for (unsigned i = n; i-- > 0; size >>= 4)
		out[i] = digits[size & 15];
	out[n] = '\r';
	out[n + 1] = '\n';
	return n + 2;
}
