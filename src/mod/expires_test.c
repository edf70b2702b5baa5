#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>
#include "base/bug.h"
#include "mod/expires.h"

#define DAY 86400

static void test_forms(void **state)
{
	static const struct {
		struct span s;
		bool modified;
		int kind;
		int64_t seconds;
	} good[] = {
		{SPAN_INIT("1h"), false, EXPIRES_ACCESS, 3600},
		{SPAN_INIT("+1h30m"), false, EXPIRES_ACCESS, 5400},
		{SPAN_INIT("-1"), false, EXPIRES_ACCESS, -1},
		{SPAN_INIT("0"), false, EXPIRES_ACCESS, 0},
		{SPAN_INIT("1d"), true, EXPIRES_MODIFIED, DAY},
		{SPAN_INIT("-1h"), true, EXPIRES_MODIFIED, -3600},
		{SPAN_INIT("@15h30m"), false, EXPIRES_DAILY, 55800},
		{SPAN_INIT("@24h"), false, EXPIRES_DAILY, DAY},
		{SPAN_INIT("epoch"), false, EXPIRES_EPOCH, 0},
		{SPAN_INIT("max"), false, EXPIRES_MAX, 0},
		{SPAN_INIT("off"), false, EXPIRES_OFF, 0},
	};
	static const struct {
		struct span s;
		bool modified;
	} bad[] = {
		{SPAN_INIT(""), false},	    {SPAN_INIT("-"), false},
		{SPAN_INIT("x"), false},    {SPAN_INIT("1x"), false},
		{SPAN_INIT("@25h"), false}, {SPAN_INIT("@-3h"), false},
		{SPAN_INIT("@3h"), true},   {SPAN_INIT("epoch"), true},
		{SPAN_INIT("off"), true},   {SPAN_INIT("modified"), false},
		{SPAN_INIT("--1"), false},
	};
	struct expires e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_null(expires_parse(good[i].s, good[i].modified, &e));
		assert_int_equal(e.kind, good[i].kind);
		assert_int_equal(e.seconds, good[i].seconds);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_non_null(expires_parse(bad[i].s, bad[i].modified, &e));
}

static void when_is(const char *text, bool modified, int64_t now, int64_t lm, int64_t when)
{
	struct expires e;
	int64_t got, age;

	assert_null(expires_parse(span_of(text), modified, &e));
	expires_when(&e, now, lm, &got, &age);
	assert_int_equal(got, when);
	assert_int_equal(age, when - now);
}

static void test_when(void **state)
{
	int64_t noon = 20000 * (int64_t)DAY + 43200;

	(void)state;
	when_is("1h", false, 1000, 5, 4600);
	when_is("-1h", false, 5000, 5, 1400);
	when_is("1h", true, 1000, 5, 3605);
	when_is("1h", true, 1000, -1, 4600); /* unknown: as from now */
	when_is("@13h", false, noon, -1, noon + 3600);
	when_is("@11h", false, noon, -1, noon + DAY - 3600);
	when_is("@12h", false, noon, -1, noon + DAY); /* never now */
	when_is("@24h", false, noon, -1, noon + DAY / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms),
					   cmocka_unit_test(test_when)};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
