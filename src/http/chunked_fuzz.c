/* Chunked text decodes the same whole and byte by byte, and what was decoded, coded again, comes
 * back. */
#include <stdlib.h>
#include "base/buf.h"
#include "base/bug.h"
#include "http/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum chunked_result decode(const char *text, size_t n, size_t step, struct buf *body,
				  size_t *at)
{
	enum chunked_result r = CHUNKED_MORE;
	struct chunked c;

	chunked_init(&c);
	*at = 0;
	while (*at < n && (r == CHUNKED_MORE || r == CHUNKED_DATA)) {
		size_t piece = MIN_OF(step, n - *at), used = 0;
		struct span run;

		r = chunked_next(&c, text + *at, piece, &used, &run);
		if (r == CHUNKED_BAD)
			break;
		BUG_ON(used == 0 || used > piece || (r == CHUNKED_MORE && used != piece));
		buf_add_span(body, run);
		*at += used;
	}
	return r == CHUNKED_DATA ? CHUNKED_MORE : r;
}

static void check_coded_again(struct span body)
{
	struct buf out, back;
	char head[20];
	size_t at;

	buf_init(&out, 1 << 20);
	buf_init(&back, 1 << 20);
	for (size_t i = 0; i < body.n;) {
		size_t n = MIN_OF(body.n - i, i % 37 + 1);

		buf_add(&out, head, chunked_head(head, n));
		buf_add(&out, body.p + i, n);
		buf_add_span(&out, SPAN("\r\n"));
		i += n;
	}
	buf_add(&out, head, chunked_head(head, 0));
	BUG_ON(decode(out.p, out.len, 11, &back, &at) != CHUNKED_LAST || at != out.len);
	BUG_ON(!span_eq(buf_span(&back), body));
	buf_fini(&out);
	buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct buf whole;
	enum chunked_result r;
	size_t at;

	if (size > 8192)
		return 0;
	buf_init(&whole, 1 << 20);
	r = decode(text, size, SIZE_MAX, &whole, &at);
	for (size_t step = 1; step < 8; step += 3) {
		struct buf parts;
		size_t parts_at;

		buf_init(&parts, 1 << 20);
		BUG_ON(decode(text, size, step, &parts, &parts_at) != r);
		BUG_ON(r != CHUNKED_BAD && parts_at != at);
		BUG_ON(!span_eq(buf_span(&parts), buf_span(&whole)));
		buf_fini(&parts);
	}
	check_coded_again(buf_span(&whole));
	buf_fini(&whole);
	return 0;
}
