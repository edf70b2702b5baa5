#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "http/h1.h"

static void heads_are_written_as_given(void **state)
{
	struct buf out;
	struct arena a;
	struct hdrs h;

	arena_init(&a, 1 << 16);
	buf_init(&out, 1 << 16);
	hdrs_init(&h, &a);
	assert_int_equal(hdrs_add(&h, SPAN("A"), SPAN("b")), FAIL_OK);
	assert_int_equal(hdrs_add(&h, SPAN("Gone"), SPAN("x")), FAIL_OK);
	assert_int_equal(hdrs_add(&h, SPAN("C"), SPAN("")), FAIL_OK);
	hdrs_remove_name(&h, SPAN("gone"));
	h1_write_status_line(&out, 404, SPAN(""));
	h1_write_fields(&out, &h);
	h1_write_field(&out, SPAN("D"), SPAN("e f"));
	h1_write_end(&out);
	assert_true(span_eq(buf_span(&out),
			    SPAN("HTTP/1.1 404 Not Found\r\nA: b\r\nC: \r\nD: e f\r\n\r\n")));
	buf_clear(&out);
	h1_write_status_line(&out, 299, SPAN(""));
	h1_write_status_line(&out, 200, SPAN("Fine"));
	h1_write_request_line(&out, SPAN("GET"), SPAN("/a?b"));
	assert_true(span_eq(buf_span(&out),
			    SPAN("HTTP/1.1 299 \r\nHTTP/1.1 200 Fine\r\nGET /a?b HTTP/1.1\r\n")));
	buf_fini(&out);
	arena_fini(&a);
}

static void a_ceiling_fails_the_buffer(void **state)
{
	struct buf out;

	buf_init(&out, 20);
	h1_write_status_line(&out, 200, SPAN(""));
	h1_write_field(&out, SPAN("Name"), SPAN("value"));
	assert_true(out.failed);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_are_written_as_given),
		cmocka_unit_test(a_ceiling_fails_the_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
