#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include "base/buf.h"
#include "http/h1.h"

/* Runs text through in pieces of step bytes, each in a block of its own size. */
static enum chunked_result run(const char *text, size_t n, size_t step, struct buf *body,
			       size_t *at)
{
	enum chunked_result r = CHUNKED_MORE;
	struct chunked c;

	chunked_init(&c);
	*at = 0;
	while (*at < n && (r == CHUNKED_MORE || r == CHUNKED_DATA)) {
		size_t piece = step < n - *at ? step : n - *at, used = 0;
		char *block = malloc(piece);
		struct span data;

		memcpy(block, text + *at, piece);
		r = chunked_next(&c, block, piece, &used, &data);
		if (r == CHUNKED_DATA)
			assert_true(data.n > 0 && data.p >= block &&
				    data.p + data.n == block + used);
		buf_add_span(body, data);
		*at += used;
		if (r == CHUNKED_MORE)
			assert_int_equal(used, piece);
		free(block);
	}
	return r;
}

struct row {
	const char *text;
	enum chunked_result result;
	const char *body;
	const char *rest; /* behind the zero chunk's line */
};

static void check_row(const struct row *row)
{
	size_t n = strlen(row->text), at;

	for (size_t step = 1; step <= n; step++) {
		struct buf body;
		enum chunked_result r;

		buf_init(&body, 1 << 20);
		r = run(row->text, n, step, &body, &at);
		if (r == CHUNKED_DATA)
			r = CHUNKED_MORE; /* everything eaten, the end has not come */
		if (r != row->result)
			fail_msg("%s by %zu: %d", row->text, step, r);
		if (r != CHUNKED_BAD)
			assert_true(span_eq(buf_span(&body), span_of(row->body)));
		if (r == CHUNKED_LAST)
			assert_string_equal(row->text + at, row->rest);
		buf_fini(&body);
	}
}

static void framing(void **state)
{
	static const struct row rows[] = {
		{"0\r\n", CHUNKED_LAST, "", ""},
		{"000\r\n\r\n", CHUNKED_LAST, "", "\r\n"},
		{"5\r\nhello\r\n0\r\nX: y\r\n\r\n", CHUNKED_LAST, "hello", "X: y\r\n\r\n"},
		{"A\r\n0123456789\r\n001\r\na\r\n0\r\n", CHUNKED_LAST, "0123456789a", ""},
		{"a;x=y;z=\"w\t;\"\r\n0123456789\r\n0;\r\n", CHUNKED_LAST, "0123456789", ""},
		{"1 ;x\r\na\r\n1 \t\r\nb\r\n0\r\n", CHUNKED_LAST, "ab", ""},
		{"5\r\nhel", CHUNKED_MORE, "hel"},
		{"1000000000000000\r\nx", CHUNKED_MORE, "x"},
		{"1000000000000001\r\n", CHUNKED_BAD},
		{"10000000000000000\r\n", CHUNKED_BAD},
		{"ffffffffffffffffff\r\n", CHUNKED_BAD},
		{"5\nhello\r\n", CHUNKED_BAD},
		{"5\r\nhello\n0\r\n", CHUNKED_BAD},
		{"5\r\nhelloo\r\n", CHUNKED_BAD},
		{"5\rxhello", CHUNKED_BAD},
		{"0\n", CHUNKED_BAD},
		{"0\r\r\n", CHUNKED_BAD},
		{";x\r\n", CHUNKED_BAD},
		{" 5\r\n", CHUNKED_BAD},
		{"\r\n", CHUNKED_BAD},
		{"-5\r\n", CHUNKED_BAD},
		{"+5\r\n", CHUNKED_BAD},
		{"0x5\r\n", CHUNKED_BAD},
		{"5 5\r\n", CHUNKED_BAD},
		{"5,\r\n", CHUNKED_BAD},
		{"g\r\n", CHUNKED_BAD},
		{"5;a\nb\r\n", CHUNKED_BAD},
		{"5;a\rb\r\n", CHUNKED_BAD},
		{"5;a\x01\r\n", CHUNKED_BAD},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i]);
}

static void size_lines_have_an_end(void **state)
{
	char text[5000];
	struct chunked c;
	struct span data;
	size_t used;

	memset(text, '0', sizeof(text));
	chunked_init(&c);
	assert_int_equal(chunked_next(&c, text, sizeof(text), &used, &data), CHUNKED_BAD);
	text[1] = ';';
	chunked_init(&c);
	assert_int_equal(chunked_next(&c, text, 4096, &used, &data), CHUNKED_MORE);
	assert_int_equal(chunked_next(&c, text, 1, &used, &data), CHUNKED_BAD);
}

static void size_lines_out(void **state)
{
	static const struct {
		uint64_t size;
		const char *text;
	} rows[] = {
		{0, "0\r\n"},	{1, "1\r\n"},	    {15, "f\r\n"},
		{16, "10\r\n"}, {0x1a2, "1a2\r\n"}, {UINT64_MAX, "ffffffffffffffff\r\n"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[20];
		size_t n = chunked_head(out, rows[i].size);

		assert_true(span_eq(span_make(out, n), span_of(rows[i].text)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(framing),
		cmocka_unit_test(size_lines_have_an_end),
		cmocka_unit_test(size_lines_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
