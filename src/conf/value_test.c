#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "conf/fixture.h"

#define BAD (-1)

static const struct {
	const char *text;
	int64_t value;
} sizes[] =
	{
		{"0", 0},
		{"10", 10},
		{"4k", 4096},
		{"4K", 4096},
		{"1m", 1 << 20},
		{"1M", 1 << 20},
		{"1g", 1 << 30},
		{"2G", 2LL << 30},
		{"007", 7},
		{"9223372036854775807", INT64_MAX},
		{"9223372036854775808", BAD},
		{"9007199254740991k", 9007199254740991LL << 10},
		{"9007199254740992k", BAD},
		{"8589934591g", 8589934591LL << 30},
		{"8589934592g", BAD},
		{"", BAD},
		{"k", BAD},
		{"1kk", BAD},
		{"-1", BAD},
		{"+1", BAD},
		{" 1", BAD},
		{"1 k", BAD},
		{"1t", BAD},
		{"0x10", BAD},
		{"1.5k", BAD},
},
  times_ms[] =
	  {
		  {"0", 0},
		  {"30", 30000},
		  {"30s", 30000},
		  {"500ms", 500},
		  {"1m", 60000},
		  {"1h30m", 5400000},
		  {"1h 30m", 5400000},
		  {"1d", 86400000},
		  {"2w", 1209600000},
		  {"1h30", 3630000},
		  {"1s1", 2000},
		  {"30ms5", 5030},
		  {"5s30ms", 5030},
		  {"1d2", 86402000},
		  {"9999999999s", 9999999999000},
		  {"2147483648ms", 2147483648},
		  {"106751991167d", 106751991167LL * 86400000},
		  {"106751991168d", BAD},
		  {"9223372036854775s", 9223372036854775000},
		  {"9223372036854776s", BAD},
		  {"9223372036854775807ms", INT64_MAX},
		  {"9223372036854775808ms", BAD},
		  {"", BAD},
		  {"s", BAD},
		  {"ms", BAD},
		  {"30m1h", BAD},
		  {"1s1s", BAD},
		  {"1ms1s", BAD},
		  {"1M", BAD},
		  {"1y", BAD},
		  {"-1", BAD},
		  {"1x", BAD},
		  {"1.5s", BAD},
		  {"1S", BAD},
		  {"1 ", 1000},
		  {"1 1", 2000},
		  {"99999999999999999999", BAD},
},
  times_s[] = {
	  {"0", 0},
	  {"30", 30},
	  {"30s", 30},
	  {"1m", 60},
	  {"1M", 2592000},
	  {"1y", 31536000},
	  {"1y1M1w1d1h1m1s", 34822861},
	  {"500ms", BAD},
	  {"1M1y", BAD},
	  {"", BAD},
	  {"1w1w", BAD},
	  {"292471208677y", 292471208677LL * 31536000},
	  {"292471208678y", BAD},
	  {"9223372036854775807", INT64_MAX},
	  {"9223372036854775807s1", BAD},
};

#define CHECK(table, parse)                                                                        \
	do {                                                                                       \
		for (size_t i = 0; i < ARRAY_LEN(table); i++) {                                    \
			int64_t v = -7;                                                            \
			bool ok = parse(span_of((table)[i].text), &v);                             \
			if (ok != ((table)[i].value != BAD) || (ok && v != (table)[i].value))      \
				fail_msg(#parse "(\"%s\"): %d %lld", (table)[i].text, ok,          \
					 (long long)v);                                            \
		}                                                                                  \
	} while (0)

static void test_numbers(void **state)
{
	CHECK(sizes, conf_parse_size);
	CHECK(times_ms, conf_parse_msec);
	CHECK(times_s, conf_parse_sec);
}

/* Any time written in descending units is their sum. */
static void test_times_add_up(void **state)
{
	unsigned seed = 1;

	for (int i = 0; i < 2000; i++) {
		int64_t n[4], v, sum;
		char text[64];

		for (int k = 0; k < 4; k++)
			n[k] = rand_r(&seed) % 100000;
		sum = ((n[0] * 24 + n[1]) * 3600 + n[2]) * 1000 + n[3];
		snprintf(text, sizeof(text), "%lldd%lldh%llds%lldms", (long long)n[0],
			 (long long)n[1], (long long)n[2], (long long)n[3]);
		assert_true(conf_parse_msec(span_of(text), &v));
		assert_int_equal(v, sum);
	}
}

static void test_flags(void **state)
{
	bool on = false;

	assert_true(conf_parse_flag(SPAN("On"), &on) && on);
	assert_true(conf_parse_flag(SPAN("OFF"), &on) && !on);
	assert_false(conf_parse_flag(SPAN("yes"), &on));
	assert_false(conf_parse_flag(SPAN(""), &on));
	assert_false(conf_parse_flag(SPAN("onn"), &on));
}

static void test_param(void **state)
{
	struct span v;

	assert_true(conf_param(SPAN("zone=a:1m"), "zone", &v));
	assert_true(span_eq(v, SPAN("a:1m")));
	assert_true(conf_param(SPAN("zone="), "zone", &v));
	assert_int_equal(v.n, 0);
	assert_false(conf_param(SPAN("zone"), "zone", &v));
	assert_false(conf_param(SPAN("zones=1"), "zone", &v));
	assert_false(conf_param(SPAN("zon=1"), "zone", &v));
	assert_false(conf_param(SPAN(""), "zone", &v));
}

static void test_path(void **state)
{
	struct fixture f;

	fixture_init(&f, NULL);
	assert_string_equal(conf_path(&f.ctx, SPAN("/a/b"), true).p, "/a/b");
	assert_string_equal(conf_path(&f.ctx, SPAN("a"), true).p, "/c/a");
	assert_string_equal(conf_path(&f.ctx, SPAN("logs/a"), false).p, "/p/logs/a");
	assert_string_equal(conf_path(&f.ctx, SPAN(""), false).p, "/p/");
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_times_add_up),
		cmocka_unit_test(test_flags),	cmocka_unit_test(test_param),
		cmocka_unit_test(test_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
