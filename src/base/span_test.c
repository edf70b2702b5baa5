#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/span.h"

static void test_eq(void **state)
{
	assert_true(span_eq(SPAN("abc"), span_of("abc")));
	assert_false(span_eq(SPAN("abc"), SPAN("abd")));
	assert_false(span_eq(SPAN("abc"), SPAN("ab")));
	assert_true(span_eq(span_of(NULL), SPAN("")));
	assert_true(span_eq_nocase(SPAN("Content-Length"), SPAN("cONTENT-lENGTH")));
	assert_false(span_eq_nocase(SPAN("a"), SPAN("ab")));
	/* Only letters fold: these pairs differ by the same bit. */
	assert_false(span_eq_nocase(SPAN("@"), SPAN("`")));
	assert_false(span_eq_nocase(SPAN("["), SPAN("{")));
	assert_false(span_eq_nocase(SPAN("\xc0"), SPAN("\xe0")));
}

static void test_cmp(void **state)
{
	assert_int_equal(span_cmp(SPAN(""), span_of(NULL)), 0);
	assert_true(span_cmp(SPAN("a"), SPAN("b")) < 0);
	assert_true(span_cmp(SPAN("b"), SPAN("ab")) > 0);
	assert_true(span_cmp(SPAN("a"), SPAN("ab")) < 0);
	assert_true(span_cmp(SPAN("ab"), SPAN("a")) > 0);
	assert_true(span_cmp(SPAN("\xff"), SPAN("a")) > 0);
}

static void test_starts_ends(void **state)
{
	assert_true(span_starts(SPAN("/images/a"), SPAN("/images/")));
	assert_true(span_starts(SPAN("a"), SPAN("")));
	assert_true(span_starts(span_of(NULL), span_of(NULL)));
	assert_false(span_starts(SPAN("a"), SPAN("ab")));
	assert_false(span_starts(SPAN("Ab"), SPAN("ab")));
	assert_true(span_starts_nocase(SPAN("HTTPS://x"), SPAN("https://")));
	assert_false(span_starts_nocase(SPAN("HTTP"), SPAN("https")));
	assert_true(span_ends(SPAN("a.php"), SPAN(".php")));
	assert_true(span_ends(span_of(NULL), SPAN("")));
	assert_false(span_ends(SPAN("php"), SPAN(".php")));
	assert_false(span_ends(SPAN("a.phq"), SPAN(".php")));
}

static void test_find(void **state)
{
	struct span s = SPAN("a=b=c");

	assert_int_equal(span_find_char(s, '=', 0), 1);
	assert_int_equal(span_find_char(s, '=', 2), 3);
	assert_int_equal(span_find_char(s, '=', 4), -1);
	assert_int_equal(span_find_char(s, 'c', 5), -1);
	assert_int_equal(span_find_char(s, 'c', 99), -1);
	assert_int_equal(span_find_char(span_of(NULL), 'c', 0), -1);
	assert_int_equal(span_rfind_char(s, '='), 3);
	assert_int_equal(span_rfind_char(s, 'x'), -1);
	assert_int_equal(span_rfind_char(span_of(NULL), 'x'), -1);
	assert_int_equal(span_find(s, SPAN("=c")), 3);
	assert_int_equal(span_find(s, SPAN("")), 0);
	assert_int_equal(span_find(s, SPAN("a=b=c=d")), -1);
	assert_int_equal(span_find(span_of(NULL), SPAN("x")), -1);
	assert_int_equal(span_find(s, SPAN("bc")), -1);
}

static void test_cut_trim(void **state)
{
	assert_true(span_eq(span_cut(SPAN("hello"), 1, 3), SPAN("el")));
	assert_true(span_eq(span_cut(SPAN("hello"), 3, 99), SPAN("lo")));
	assert_int_equal(span_cut(SPAN("hello"), 9, 99).n, 0);
	assert_int_equal(span_cut(SPAN("hello"), 3, 1).n, 0);
	assert_null(span_cut(span_of(NULL), 1, 2).p);
	assert_true(span_eq(span_trim(SPAN(" \t a b\t ")), SPAN("a b")));
	assert_int_equal(span_trim(SPAN(" \t ")).n, 0);
	assert_true(span_eq(span_trim(SPAN("\na")), SPAN("\na")));
	assert_int_equal(span_trim(span_of(NULL)).n, 0);
}

static void test_split(void **state)
{
	struct span rest = SPAN("a,,b,"), part;
	const char *want[] = {"a", "", "b", ""};

	for (int i = 0; i < 4; i++) {
		assert_true(span_split(&rest, ',', &part));
		assert_true(span_eq(part, span_of(want[i])));
		assert_non_null(part.p);
	}
	assert_false(span_split(&rest, ',', &part));
	rest = SPAN("");
	assert_true(span_split(&rest, ',', &part));
	assert_int_equal(part.n, 0);
	assert_false(span_split(&rest, ',', &part));
}

static void test_numbers(void **state)
{
	uint64_t v = 7;

	assert_true(span_to_u64(SPAN("0"), 10, &v));
	assert_int_equal(v, 0);
	assert_true(span_to_u64(SPAN("0010"), 10, &v));
	assert_int_equal(v, 10);
	assert_true(span_to_u64(SPAN("18446744073709551615"), UINT64_MAX, &v));
	assert_true(v == UINT64_MAX);
	v = 7;
	assert_false(span_to_u64(SPAN("18446744073709551616"), UINT64_MAX, &v));
	assert_false(span_to_u64(SPAN("99999999999999999999999"), UINT64_MAX, &v));
	assert_false(span_to_u64(SPAN("11"), 10, &v));
	assert_false(span_to_u64(SPAN(""), 10, &v));
	assert_false(span_to_u64(SPAN("+1"), 10, &v));
	assert_false(span_to_u64(SPAN("-1"), 10, &v));
	assert_false(span_to_u64(SPAN(" 1"), 10, &v));
	assert_false(span_to_u64(SPAN("1a"), 10, &v));
	assert_false(span_to_u64(SPAN("1\0"), 10, &v));
	assert_int_equal(v, 7);
	assert_true(span_hex_to_u64(SPAN("fFffFFFFffffffff"), UINT64_MAX, &v));
	assert_true(v == UINT64_MAX);
	assert_true(span_hex_to_u64(SPAN("1A"), 26, &v));
	assert_int_equal(v, 26);
	assert_false(span_hex_to_u64(SPAN("1B"), 26, &v));
	assert_false(span_hex_to_u64(SPAN("10000000000000000"), UINT64_MAX, &v));
	assert_false(span_hex_to_u64(SPAN("0x1"), 26, &v));
	assert_false(span_hex_to_u64(SPAN("g"), 26, &v));
	assert_false(span_hex_to_u64(SPAN(""), 26, &v));
}

static void test_cstr(void **state)
{
	char p[4];

	assert_true(span_to_cstr(SPAN("abc"), p, sizeof(p)));
	assert_string_equal(p, "abc");
	assert_false(span_to_cstr(SPAN("abcd"), p, sizeof(p)));
	assert_false(span_to_cstr(SPAN("a\0b"), p, sizeof(p)));
	assert_true(span_to_cstr(span_of(NULL), p, sizeof(p)));
	assert_string_equal(p, "");
	assert_false(span_to_cstr(span_of(NULL), p, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eq),	    cmocka_unit_test(test_cmp),
		cmocka_unit_test(test_starts_ends), cmocka_unit_test(test_find),
		cmocka_unit_test(test_cut_trim),    cmocka_unit_test(test_split),
		cmocka_unit_test(test_numbers),	    cmocka_unit_test(test_cstr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
