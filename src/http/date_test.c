#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>
#include "base/bug.h"
#include "http/date.h"

#define NOV94 784111777 /* the date of RFC 9110's examples */

static void the_three_forms(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} rows[] = {
		{"Sun, 06 Nov 1994 08:49:37 GMT", NOV94},
		{"Sunday, 06-Nov-94 08:49:37 GMT", NOV94},
		{"Sun Nov  6 08:49:37 1994", NOV94},
		{"Wed Nov 16 08:49:37 1994", NOV94 + 10 * 86400},
		{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
		{"Wed, 31 Dec 1969 23:59:59 GMT", -1},
		{"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
		{"Tue, 29 Feb 2000 00:00:00 GMT", 951782400},
		{"Thu, 29 Feb 2024 12:00:00 GMT", 1709208000},
		{"Wednesday, 29-Feb-40 00:00:00 GMT", 2214086400},
		{"Thursday, 01-Jan-70 00:00:00 GMT", 0},
		{"Mon, 06 Nov 1994 08:49:37 GMT", NOV94}, /* the wrong day is forgiven */
		{"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t t = -12345;

		if (!http_date_parse(span_of(rows[i].text), &t) || t != rows[i].seconds)
			fail_msg("%s: %lld", rows[i].text, (long long)t);
	}
}

static void nothing_looser(void **state)
{
	static const char *const rows[] = {
		"",
		"0",
		"784111777",
		"Sun",
		"Sun,",
		"Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 08:49:37 UTC",
		"Sun, 06 Nov 1994 08:49:37 GMT ",
		" Sun, 06 Nov 1994 08:49:37 GMT",
		"sun, 06 Nov 1994 08:49:37 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT",
		"Xyz, 06 Nov 1994 08:49:37 GMT",
		"Sun,06 Nov 1994 08:49:37 GMT",
		"Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 94 08:49:37 GMT",
		"Sun, 06-Nov-1994 08:49:37 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 31 Nov 1994 08:49:37 GMT",
		"Sun, 29 Feb 1900 08:49:37 GMT",
		"Sun, 29 Feb 2023 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:00:00 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:61 GMT",
		"Sun, 06 Nov 1994 8:49:37 GMT",
		"Sun, 06 Nov 1994 +8:49:37 GMT",
		"Sun, 06 Nov 19 4 08:49:37 GMT",
		"Sun, 06-Nov-94 08:49:37 GMT",
		"Sunday, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-1994 08:49:37 GMT",
		"Sun Nov 6 08:49:37 1994",
		"Sun Nov 06 08:49:37 94",
		"Sun Nov  6 08:49:37 1994 GMT",
		"Sun Nov   6 08:49:37 1994",
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t t;

		if (http_date_parse(span_of(rows[i]), &t))
			fail_msg("%s", rows[i]);
	}
}

static void check_round_trip(int64_t t)
{
	static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y",
					    "%A, %d-%b-%y %H:%M:%S GMT"};
	char text[64], ours[HTTP_DATE_LEN];
	time_t tt = t;
	struct tm tm;
	int64_t back = -1;

	gmtime_r(&tt, &tm);
	strftime(text, sizeof(text), forms[0], &tm);
	http_date_format(t, ours);
	if (strlen(text) != HTTP_DATE_LEN || memcmp(text, ours, HTTP_DATE_LEN) != 0)
		fail_msg("%lld: %s, %.29s", (long long)t, text, ours);
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (i == 2 && (tm.tm_year < 70 || tm.tm_year >= 170))
			continue;
		strftime(text, sizeof(text), forms[i], &tm);
		if (!http_date_parse(span_of(text), &back) || back != t)
			fail_msg("%s: %lld", text, (long long)back);
	}
}

static void formatting_is_strftimes(void **state)
{
	uint64_t x = 88172645463325252ull;

	for (int64_t day = -30000; day < 60000; day++)
		check_round_trip(day * 86400 + (day * 7919 % 86400 + 86400) % 86400);
	for (int i = 0; i < 100000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		check_round_trip((int64_t)(x % (253402300800ull - 30000000000ull)) - 30000000000);
	}
	check_round_trip(253402300799);
	check_round_trip(-30610224000); /* year 1000: before, strftime writes no leading zeros */
}

static void years_have_four_digits(void **state)
{
	char text[HTTP_DATE_LEN];
	int64_t t;

	http_date_format(INT64_MAX, text);
	assert_memory_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT", HTTP_DATE_LEN);
	http_date_format(INT64_MIN, text);
	assert_memory_equal(text, "Sat, 01 Jan 0000 00:00:00 GMT", HTTP_DATE_LEN);
	assert_true(http_date_parse(span_make(text, HTTP_DATE_LEN), &t));
	assert_true(t == -62167219200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_three_forms),
		cmocka_unit_test(nothing_looser),
		cmocka_unit_test(formatting_is_strftimes),
		cmocka_unit_test(years_have_four_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
