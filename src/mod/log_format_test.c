#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <zlib.h>
#include "base/buf.h"
#include "base/pool.h"
#include "mod/log.h"

static void escapes_are_nginx_s(void **state)
{
	static const struct {
		struct span in;
		const char *out[3];
	} rows[] = {
		{SPAN_INIT(""), {"", "", ""}},
		{SPAN_INIT("plain ~ !"), {"plain ~ !", "plain ~ !", "plain ~ !"}},
		{SPAN_INIT("a\"b\\c"), {"a\\x22b\\x5Cc", "a\\\"b\\\\c", "a\"b\\c"}},
		{SPAN_INIT("\t\n\r\b\f"),
		 {"\\x09\\x0A\\x0D\\x08\\x0C", "\\t\\n\\r\\b\\f", "\t\n\r\b\f"}},
		{SPAN_INIT("\x01\x1f"), {"\\x01\\x1F", "\\u0001\\u001F", "\x01\x1f"}},
		{SPAN_INIT("\x7f\x80\xff"), {"\\x7F\\x80\\xFF", "\x7f\x80\xff", "\x7f\x80\xff"}},
	};
	struct log_line l = {0};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (int how = 0; how < 3; how++) {
			l.n = 0;
			log_line_escape(&l, rows[i].in, (enum log_escape)how);
			if (!span_eq(span_make(l.p, l.n), span_of(rows[i].out[how])))
				fail_msg("row %zu way %d: %.*s", i, how, (int)l.n, l.p);
		}
	}
	l.n = 0;
	log_line_escape(&l, SPAN("\0x"), LOG_ESCAPE_JSON);
	assert_true(span_eq(span_make(l.p, l.n), SPAN("\\u0000x")));
	log_line_fini(&l);
}

static void lines_grow_up_to_a_ceiling(void **state)
{
	static char big[LOG_LINE_CEILING / 4];
	struct log_line l = {0};

	memset(big, 1, sizeof(big));
	log_line_escape(&l, span_make(big, sizeof(big) - 1), LOG_ESCAPE_DEFAULT);
	assert_false(l.failed);
	assert_int_equal(l.n, 4 * (sizeof(big) - 1));
	log_line_escape(&l, SPAN("\"x"), LOG_ESCAPE_DEFAULT);
	assert_true(l.failed);
	log_line_fini(&l);
	mem_fail_after(0);
	log_line_add(&l, SPAN("x"));
	mem_fail_after(-1);
	assert_true(l.failed);
	assert_int_equal(l.n, 0);
	log_line_fini(&l);
}

static void members_of_gzip_follow_each_other(void **state)
{
	struct buf out;
	char text[64];
	z_stream z = {0};

	buf_init(&out, 65536);
	assert_true(log_gzip(SPAN("one\n"), 1, &out));
	z.next_in = (Bytef *)out.p;
	z.avail_in = (uInt)out.len;
	z.next_out = (Bytef *)text;
	z.avail_out = sizeof(text);
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_memory_equal(text, "one\n", 4);
	assert_int_equal(z.total_out, 4);
	inflateEnd(&z);
	assert_true(log_gzip(SPAN("two\n"), 9, &out));
	assert_true(out.len > 40);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escapes_are_nginx_s),
		cmocka_unit_test(lines_grow_up_to_a_ceiling),
		cmocka_unit_test(members_of_gzip_follow_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
