#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/bug.h"
#include "http/hdrs.h"

static struct arena arena;
static struct hdrs list;

static int setup(void **state)
{
	arena_init(&arena, 1 << 20);
	hdrs_init(&list, &arena);
	return 0;
}

static int teardown(void **state)
{
	arena_fini(&arena);
	return 0;
}

static void add(const char *name, const char *value)
{
	assert_int_equal(hdrs_add(&list, span_of(name), span_of(value)), FAIL_OK);
}

static void every_known_name_is_found_in_any_case(void **state)
{
	for (unsigned id = 1; id < HDR_COUNT; id++) {
		struct span name = hdr_name((enum hdr_id)id);
		char text[64];

		for (int variant = 0; variant < 3; variant++) {
			for (size_t i = 0; i < name.n; i++) {
				char low = ascii_lower(name.p[i]);
				bool up = low >= 'a' && low <= 'z' &&
					  (variant == 1 || (variant == 2 && i % 2));

				text[i] = up ? low & ~0x20 : low;
			}
			assert_int_equal(hdr_id_of(span_make(text, name.n)), id);
		}
		/* Nothing that differs in one bit of one byte, the case bit of letters aside. */
		for (size_t i = 0; i < name.n; i++)
			for (int bit = 0; bit < 8; bit++) {
				memcpy(text, name.p, name.n);
				text[i] ^= (char)(1 << bit);
				if (ascii_lower(text[i]) != ascii_lower(name.p[i]))
					assert_int_not_equal(hdr_id_of(span_make(text, name.n)),
							     id);
			}
		assert_int_not_equal(hdr_id_of(span_cut(name, 1, name.n)), id);
	}
	assert_int_equal(hdr_id_of(SPAN("")), HDR_OTHER);
	assert_int_equal(hdr_id_of(SPAN("X-Very-Long-Name-That-Nobody-Has-Heard-Of")), HDR_OTHER);
}

static void lists_keep_order_and_find_by_id_and_name(void **state)
{
	const struct hdr *hd;

	assert_null(hdrs_find(&list, HDR_HOST));
	assert_null(hdrs_find_name(&list, SPAN("x-a")));
	assert_null(hdrs_find_name(&list, SPAN("")));
	for (int i = 0; i < 20; i++)
		add("X-Fill", "f");
	add("X-A", "1");
	add("HOST", "h");
	add("x-a", "2");
	assert_true(span_eq(hdrs_value(&list, HDR_HOST), SPAN("h")));
	assert_int_equal(hdrs_value(&list, HDR_COOKIE).n, 0);
	hd = hdrs_find_name(&list, SPAN("X-a"));
	assert_true(span_eq(hd->value, SPAN("1")));
	hd = hdrs_find_next(&list, hd);
	assert_true(span_eq(hd->value, SPAN("2")) && span_eq(hd->name, SPAN("x-a")));
	assert_null(hdrs_find_next(&list, hd));
	assert_true(span_eq(hdrs_find_name(&list, SPAN("hOst"))->value, SPAN("h")));
}

static void setting_replaces_all(void **state)
{
	size_t n = 0;

	add("Via", "a");
	add("X", "x");
	add("via", "b");
	assert_int_equal(hdrs_set(&list, HDR_VIA, SPAN("c")), FAIL_OK);
	assert_int_equal(hdrs_set(&list, HDR_HOST, SPAN("h")), FAIL_OK);
	hdrs_each (hd, &list)
		n++;
	assert_int_equal(n, 3);
	assert_true(span_eq(list.v[0].value, SPAN("c")));
	assert_null(hdrs_find_next(&list, &list.v[0]));
}

static void removing(void **state)
{
	add("Via", "a");
	add("x-b", "1");
	add("via", "b");
	add("X-B", "2");
	hdrs_remove(&list, HDR_VIA);
	assert_null(hdrs_find(&list, HDR_VIA));
	hdrs_remove_name(&list, SPAN("X-b"));
	assert_null(hdrs_find_name(&list, SPAN("x-b")));
	hdrs_each (hd, &list)
		fail_msg("still there");
	add("Via", "c");
	assert_true(span_eq(hdrs_value(&list, HDR_VIA), SPAN("c")));
	hdrs_remove_name(&list, SPAN("VIA"));
	assert_null(hdrs_find(&list, HDR_VIA));
}

static void code_cannot_add_what_would_split_a_head(void **state)
{
	static const struct {
		struct span name, value;
	} rows[] = {
		{SPAN_INIT(""), SPAN_INIT("v")},	{SPAN_INIT("a b"), SPAN_INIT("v")},
		{SPAN_INIT("a:"), SPAN_INIT("v")},	{SPAN_INIT("a\n"), SPAN_INIT("v")},
		{SPAN_INIT("\xc3"), SPAN_INIT("v")},	{SPAN_INIT("a"), SPAN_INIT("v\r")},
		{SPAN_INIT("a"), SPAN_INIT("v\nb: c")}, {SPAN_INIT("a"), SPAN_INIT("v\0w")},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(hdrs_add(&list, rows[i].name, rows[i].value),
				 FAIL_BAD_CONFIG_VALUE);
	assert_int_equal(hdrs_set(&list, HDR_VIA, SPAN("a\rb")), FAIL_BAD_CONFIG_VALUE);
	assert_int_equal(list.n, 0);
}

static void joining(void **state)
{
	assert_null(hdrs_join(&list, SPAN("a"), SPAN(", ")).p);
	add("A", "1");
	assert_true(span_eq(hdrs_join(&list, SPAN("a"), SPAN(", ")), SPAN("1")));
	add("a", "");
	add("a", "3");
	assert_true(span_eq(hdrs_join(&list, SPAN("a"), SPAN(", ")), SPAN("1, , 3")));
}

static void tokens_of_lists(void **state)
{
	add("Connection", "a, \"b, close\" ,c");
	assert_false(hdrs_has_token(&list, HDR_CONNECTION, SPAN("close")));
	assert_true(hdrs_has_token(&list, HDR_CONNECTION, SPAN("C")));
	add("Connection", ",, , Close");
	assert_true(hdrs_has_token(&list, HDR_CONNECTION, SPAN("close")));
	assert_false(hdrs_has_token(&list, HDR_CONNECTION, SPAN("clos")));
	assert_false(hdrs_has_token(&list, HDR_CONNECTION, SPAN("")));
}

static void elements_of_lists(void **state)
{
	static const struct {
		const char *list, *elements;
	} rows[] = {
		{"", ""},
		{" , ,", ""},
		{"a", "a|"},
		{" a ,\tb,,c ", "a|b|c|"},
		{"\"a,b\",c", "\"a,b\"|c|"},
		{"\"a\\\",b\",c", "\"a\\\",b\"|c|"},
		{"\"open,a", "\"open,a|"},
		{"x;q=\",\", y\\,z", "x;q=\",\"|y\\|z|"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span rest = span_of(rows[i].list), e;
		char text[64] = "";

		while (hdr_list_next(&rest, &e)) {
			strncat(text, e.p, e.n);
			strcat(text, "|");
		}
		assert_string_equal(text, rows[i].elements);
	}
}

static void tokens_and_values(void **state)
{
	assert_true(http_is_token(SPAN("a!#$%&'*+-.^_`|~Z09")));
	assert_false(http_is_token(SPAN("")));
	assert_false(http_is_token(SPAN("a b")));
	assert_false(http_is_token(SPAN("a/b")));
	assert_true(http_is_field_value(SPAN("")));
	assert_true(http_is_field_value(SPAN("a\tb \xff\"")));
	assert_false(http_is_field_value(SPAN("a\nb")));
	assert_false(http_is_field_value(SPAN("a\0b")));
	assert_false(http_is_field_value(SPAN("a\x7f")));
}

static void no_memory_leaves_the_list_whole(void **state)
{
	arena_fini(&arena);
	arena_init(&arena, 1024);
	for (int i = 0; i < 16; i++)
		add("A", "b");
	assert_int_equal(hdrs_add(&list, SPAN("A"), SPAN("c")), FAIL_NO_MEMORY);
	assert_int_equal(list.n, 16);
	assert_true(span_eq(list.v[15].value, SPAN("b")));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_known_name_is_found_in_any_case),
		T(lists_keep_order_and_find_by_id_and_name),
		T(setting_replaces_all),
		T(removing),
		T(code_cannot_add_what_would_split_a_head),
		T(joining),
		T(tokens_of_lists),
		T(elements_of_lists),
		T(tokens_and_values),
		T(no_memory_leaves_the_list_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
