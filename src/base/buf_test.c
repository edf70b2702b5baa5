#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/pool.h"

static void test_add(void **state)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	assert_null(b.p);
	assert_true(buf_add(&b, NULL, 0));
	assert_int_equal(buf_span(&b).n, 0);
	assert_true(buf_add(&b, "ab", 2));
	assert_true(buf_add_char(&b, 'c'));
	assert_true(buf_add_span(&b, SPAN("de")));
	assert_true(buf_printf(&b, "%d", 42));
	assert_true(span_eq(buf_span(&b), SPAN("abcde42")));
	buf_drop(&b, 2);
	assert_true(span_eq(buf_span(&b), SPAN("cde42")));
	buf_drop(&b, 0);
	buf_drop(&b, 5);
	assert_int_equal(b.len, 0);
	for (int i = 0; i < 10000; i++)
		assert_true(buf_printf(&b, "%05d", i));
	assert_int_equal(b.len, 50000);
	assert_memory_equal(b.p + 49995, "09999", 5);
	buf_clear(&b);
	assert_int_equal(b.len, 0);
	assert_true(b.cap >= 50000);
	buf_fini(&b);
	assert_null(b.p);
}

static void test_ceiling(void **state)
{
	struct buf b;

	buf_init(&b, 10);
	assert_true(buf_printf(&b, "%s", "12345"));
	assert_true(buf_printf(&b, "%s", "67890")); /* exactly: the zero does not count */
	assert_false(b.failed);
	assert_false(buf_add_char(&b, 'x'));
	assert_true(b.failed);
	assert_true(span_eq(buf_span(&b), SPAN("1234567890")));
	assert_false(buf_printf(&b, "y"));
	assert_true(buf_printf(&b, "%s", ""));
	assert_true(span_eq(buf_span(&b), SPAN("1234567890")));
	buf_drop(&b, 9);
	assert_true(buf_add(&b, "z", 1));
	assert_true(b.failed); /* stays */
	buf_clear(&b);
	assert_false(b.failed);
	assert_false(buf_reserve(&b, SIZE_MAX));
	assert_true(b.cap <= 10);
	buf_fini(&b);
}

static void test_no_memory(void **state)
{
	struct buf b;

	buf_init(&b, 1000);
	mem_fail_after(0);
	assert_false(buf_add(&b, "a", 1));
	assert_false(buf_printf(&b, "a"));
	assert_true(b.failed);
	mem_fail_after(-1);
	assert_true(buf_add(&b, "a", 1));
	mem_fail_after(0);
	assert_true(buf_printf(&b, "b")); /* there is room */
	assert_false(buf_reserve(&b, 900));
	mem_fail_after(-1);
	assert_true(span_eq(buf_span(&b), SPAN("ab")));
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
