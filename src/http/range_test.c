#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "base/bug.h"
#include "base/arena.h"
#include "http/range.h"

#define MODIFIED "Sun, 06 Nov 1994 08:49:37 GMT"
#define EARLIER	 "Sun, 06 Nov 1994 08:49:36 GMT"
#define LATER	 "Sun, 06 Nov 1994 08:49:38 GMT"

static const struct http_validators both = {SPAN_INIT("\"x-1\""), 784111777};
static const struct http_validators weak = {SPAN_INIT("W/\"x-1\""), 784111777};
static const struct http_validators none = {{NULL, 0}, -1};

struct cond {
	const char *fields[2][2];
	int status, status_exact_off[2]; /* IMS_BEFORE, then IMS_EXACT and IMS_OFF */
};

static struct http_request request(struct arena *a, const char *const fields[2][2])
{
	struct http_request req = {.method = METHOD_GET};

	hdrs_init(&req.headers, a);
	for (int i = 0; i < 2 && fields[i][0]; i++)
		assert_int_equal(
			hdrs_add(&req.headers, span_of(fields[i][0]), span_of(fields[i][1])),
			FAIL_OK);
	return req;
}

static void conditions(void **state)
{
	static const struct cond rows[] = {
		{{{NULL}}, 0, {0, 0}},
		{{{"If-Modified-Since", MODIFIED}}, 304, {304, 0}},
		{{{"If-Modified-Since", LATER}}, 304, {0, 0}},
		{{{"If-Modified-Since", EARLIER}}, 0, {0, 0}},
		{{{"If-Modified-Since", "rubbish"}}, 0, {0, 0}},
		{{{"If-Unmodified-Since", MODIFIED}}, 0, {0, 0}},
		{{{"If-Unmodified-Since", EARLIER}}, 412, {412, 412}},
		{{{"If-Unmodified-Since", "rubbish"}}, 0, {0, 0}},
		{{{"If-Match", "\"x-1\""}}, 0, {0, 0}},
		{{{"If-Match", "W/\"x-1\""}}, 412, {412, 412}},
		{{{"If-Match", "\"y\""}}, 412, {412, 412}},
		{{{"If-Match", "*"}}, 0, {0, 0}},
		{{{"If-Match", "\"y\""}, {"If-Match", "\"x-1\""}}, 0, {0, 0}},
		{{{"If-Match", "\"x-1\""}, {"If-Unmodified-Since", EARLIER}}, 0, {0, 0}},
		{{{"If-None-Match", "\"x-1\""}}, 304, {304, 304}},
		{{{"If-None-Match", "W/\"x-1\""}}, 304, {304, 304}},
		{{{"If-None-Match", "\"y\", \"x-1\""}}, 304, {304, 304}},
		{{{"If-None-Match", "*"}}, 304, {304, 304}},
		{{{"If-None-Match", "\"y\""}}, 0, {0, 0}},
		{{{"If-None-Match", "\"y\""}, {"If-Modified-Since", MODIFIED}}, 0, {0, 0}},
		{{{"If-None-Match", "\"x-1\""}, {"If-Modified-Since", EARLIER}}, 304, {304, 304}},
		{{{"If-Match", "\"y\""}, {"If-None-Match", "\"x-1\""}}, 412, {412, 412}},
	};
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_request req = request(&a, rows[i].fields);

		if (http_conditions(&req, &both, IMS_BEFORE) != rows[i].status ||
		    http_conditions(&req, &both, IMS_EXACT) != rows[i].status_exact_off[0] ||
		    http_conditions(&req, &both, IMS_OFF) != rows[i].status_exact_off[1])
			fail_msg("row %zu", i);
	}
	arena_fini(&a);
}

static void conditions_of_other_methods_and_without_validators(void **state)
{
	static const char *const inm[2][2] = {{"If-None-Match", "\"x-1\""}};
	static const char *const ims[2][2] = {{"If-Modified-Since", MODIFIED}};
	static const char *const ius[2][2] = {{"If-Unmodified-Since", EARLIER}};
	static const char *const im[2][2] = {{"If-Match", "\"x-1\""}};
	struct http_request req;
	struct arena a;

	arena_init(&a, 1 << 20);
	req = request(&a, inm);
	assert_int_equal(http_conditions(&req, &none, IMS_EXACT), 0);
	req.method = METHOD_PUT;
	assert_int_equal(http_conditions(&req, &both, IMS_EXACT), 412);
	req = request(&a, ims);
	assert_int_equal(http_conditions(&req, &none, IMS_EXACT), 0);
	req.method = METHOD_POST;
	assert_int_equal(http_conditions(&req, &both, IMS_EXACT), 0);
	req = request(&a, ius);
	assert_int_equal(http_conditions(&req, &none, IMS_EXACT), 0);
	req = request(&a, im);
	assert_int_equal(http_conditions(&req, &weak, IMS_EXACT), 412);
	assert_int_equal(http_conditions(&req, &none, IMS_EXACT), 412);
	arena_fini(&a);
}

static void if_range(void **state)
{
	static const struct {
		const char *value;
		bool both, weak;
	} rows[] = {
		{"\"x-1\"", true, false},
		{"W/\"x-1\"", false, false},
		{"\"y\"", false, false},
		{MODIFIED, true, true},
		{LATER, false, false},
		{EARLIER, false, false},
		{"", false, false},
		{"*", false, false},
		{"\"x-1\", \"y\"", false, false},
	};
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *const fields[2][2] = {{"If-Range", rows[i].value}};
		struct http_request req = request(&a, fields);

		assert_int_equal(http_if_range(&req, &both), rows[i].both);
		assert_int_equal(http_if_range(&req, &weak), rows[i].weak);
		assert_false(http_if_range(&req, &none));
	}
	struct http_request plain = {0};

	assert_true(http_if_range(&plain, &both));
	arena_fini(&a);
}

static void etag_lists(void **state)
{
	struct span e = SPAN("\"a\"");

	assert_true(etag_in_list(SPAN("\"a\""), e, false));
	assert_true(etag_in_list(SPAN(" \"b\" ,, \"a\" , c"), e, false));
	assert_true(etag_in_list(SPAN("\"b,\", W/\"a\""), e, true));
	assert_false(etag_in_list(SPAN("W/\"a\""), e, false));
	assert_false(etag_in_list(SPAN("\"a\""), SPAN("W/\"a\""), false));
	assert_true(etag_in_list(SPAN("\"a\""), SPAN("W/\"a\""), true));
	assert_false(etag_in_list(SPAN("a"), e, true));
	assert_false(etag_in_list(SPAN("\"b\"\"a\""), e, true));
	assert_false(etag_in_list(SPAN("*, \"b\""), e, true));
	assert_false(etag_in_list(SPAN("\"a"), e, true));
	assert_false(etag_in_list(SPAN(""), e, true));
	assert_false(etag_in_list(SPAN("w/\"a\""), e, true));
	assert_false(etag_in_list(SPAN("\"\""), SPAN(""), true));
	assert_true(etag_in_list(SPAN(" * "), SPAN(""), true));
}

/* As nginx answers for a file of 100 bytes. */
static void ranges_are_nginxs(void **state)
{
	static const struct {
		const char *value, *ranges; /* "200", "416", or start-end (inclusive) each */
	} rows[] = {
		{"0-", "0-99 "},
		{"5-", "5-99 "},
		{"-5", "95-99 "},
		{"5-2", "416"},
		{"0-0", "0-0 "},
		{"99-", "99-99 "},
		{"100-", "416"},
		{"-0", "416"},
		{"-200", "0-99 "},
		{"0-200", "0-99 "},
		{"0-1,2-3", "0-1 2-3 "},
		{"0-1, 50-60", "0-1 50-60 "},
		{"0-49,0-49", "0-49 0-49 "},
		{"0-50,0-50", "200"},
		{"0-50,0-48", "0-50 0-48 "},
		{"0-1,200-300", "0-1 "},
		{"200-300", "416"},
		{"a-b", "416"},
		{"0-1,", "416"},
		{"0-1,,2-3", "416"},
		{",0-1", "416"},
		{"- 5", "416"},
		{" 0 - 5 ", "0-5 "},
		{"0 -5", "0-5 "},
		{"-", "416"},
		{"--5", "416"},
		{"0-1-2", "416"},
		{"0-99999999999999999999", "416"},
		{"99999999999999999999-", "416"},
		{"0-5;", "416"},
		{"0-5 x", "416"},
		{"", "200"},
		{"0-99,0-0", "200"},
		{"5-2,0-1", "0-1 "},
		{"0-1,5-2", "0-1 "},
		{"10-19,0-4", "10-19 0-4 "},
		{"-5,0-1", "95-99 0-1 "},
		{"-99999999999999999999", "416"},
		{"0- ,1-", "200"},
		{"9223372036854775807-", "416"},
		{"0-9223372036854775807", "0-99 "},
		{"0-0,1-1,2-2,3-3", "0-0 1-1 2-2 3-3 "},
		{"0-0,1-1,2-2,3-3,4-4", "200"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char value[64], text[256] = "";
		struct byte_range r[4];
		size_t n = 4;
		enum range_result res;

		snprintf(value, sizeof(value), "bytes=%s", rows[i].value);
		res = http_ranges(span_of(value), 100, r, &n);
		if (res != RANGE_OK)
			strcpy(text, res == RANGE_NONE ? "200" : "416");
		for (size_t k = 0; res == RANGE_OK && k < n; k++)
			snprintf(text + strlen(text), 60, "%d-%d ", (int)r[k].start,
				 (int)r[k].end - 1);
		if (strcmp(text, rows[i].ranges) != 0)
			fail_msg("%s: %s", value, text);
	}
}

static void other_units_and_empty_files(void **state)
{
	struct byte_range r[2];
	size_t n = 2;

	assert_int_equal(http_ranges(SPAN("BYTES=0-1"), 100, r, &n), RANGE_OK);
	assert_int_equal(n, 1);
	n = 2;
	assert_int_equal(http_ranges(SPAN("items=0-1"), 100, r, &n), RANGE_NONE);
	assert_int_equal(http_ranges(SPAN("bytes = 0-1"), 100, r, &n), RANGE_NONE);
	n = 2;
	assert_int_equal(http_ranges(SPAN("bytes=0-"), 0, r, &n), RANGE_NONE);
	n = 2;
	assert_int_equal(http_ranges(SPAN("bytes=-5"), 0, r, &n), RANGE_NONE);
	n = 2;
	assert_int_equal(http_ranges(SPAN("bytes=5-"), 0, r, &n), RANGE_UNSATISFIABLE);
	n = 0;
	assert_int_equal(http_ranges(SPAN("bytes=0-1"), 100, r, &n), RANGE_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conditions),
		cmocka_unit_test(conditions_of_other_methods_and_without_validators),
		cmocka_unit_test(if_range),
		cmocka_unit_test(etag_lists),
		cmocka_unit_test(ranges_are_nginxs),
		cmocka_unit_test(other_units_and_empty_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
