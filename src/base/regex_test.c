#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <pthread.h>
#include <cmocka.h>
#include "base/bug.h"
#include "base/pool.h"
#include "base/regex.h"

static const struct {
	const char *re, *subject;
	bool nocase;
	int n; /* pairs; 0: no match */
	int caps[8];
} table[] = {
	{"a", "xay", false, 1, {1, 2}},
	{"^a", "xay", false, 0, {0}},
	{"", "", false, 1, {0, 0}},
	{"", "x", false, 1, {0, 0}},
	{"A", "xay", false, 0, {0}},
	{"A", "xay", true, 1, {1, 2}},
	{"^/(\\w+)/(\\d+)$", "/user/42", false, 3, {0, 8, 1, 5, 6, 8}},
	{"(a)|(b)|(c)", "b", false, 4, {0, 1, -1, -1, 0, 1, -1, -1}},
	{"(a)(b)?", "a", false, 3, {0, 1, 0, 1, -1, -1}},
	{"\\.php$", "/x.php", false, 1, {2, 6}},
	{"(?=ab\\K)", "ab", false, 1, {0, 0}},
};

static void test_match(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		char err[128];
		size_t at;
		int caps[8];
		struct regex *re =
			regex_new(span_of(table[i].re), table[i].nocase, err, sizeof(err), &at);

		if (!re) { /* newer PCRE2 refuses \K in a lookahead */
			assert_non_null(strstr(table[i].re, "\\K"));
			continue;
		}
		assert_int_equal(regex_match(re, span_of(table[i].subject), caps, 4), table[i].n);
		for (int k = 0; k < 2 * table[i].n && !strstr(table[i].re, "\\K"); k++)
			assert_int_equal(caps[k], table[i].caps[k]);
		for (int k = 0; k < table[i].n; k++)
			assert_true(caps[2 * k] <= caps[2 * k + 1]);
		assert_int_equal(regex_match(re, span_of(table[i].subject), NULL, 0) > 0,
				 table[i].n > 0);
		regex_free(re);
	}
}

static void test_few_pairs(void **state)
{
	struct regex *re = regex_new(SPAN("(a)(b)(c)"), false, NULL, 0, NULL);
	int caps[4] = {9, 9, 9, 9};

	assert_non_null(re);
	assert_int_equal(regex_captures(re), 3);
	assert_int_equal(regex_match(re, SPAN("abc"), caps, 1), 1);
	assert_int_equal(caps[1], 3);
	assert_int_equal(caps[2], 9);
	regex_free(re);
}

static void test_mistakes(void **state)
{
	char err[128] = "", many[70 * 3 + 1] = "", tiny[4];
	size_t at = 99;

	assert_null(regex_new(SPAN("a(b"), false, err, sizeof(err), &at));
	assert_non_null(strstr(err, "parenthes"));
	assert_int_equal(at, 3);
	assert_null(regex_new(SPAN("*a"), false, NULL, 0, NULL));
	assert_null(regex_new(SPAN("*a"), false, tiny, sizeof(tiny), &at));
	assert_true(strlen(tiny) < sizeof(tiny));
	for (int i = 0; i < 70; i++)
		strcat(many, "(a)");
	assert_null(regex_new(span_of(many), false, err, sizeof(err), &at));
	assert_non_null(strstr(err, "captures"));
	many[63 * 3] = 0;
	regex_free(regex_new(span_of(many), false, err, sizeof(err), &at));
	regex_free(NULL);
}

static void test_names(void **state)
{
	struct regex *re = regex_new(SPAN("(x)(?<year>\\d+)-(?<mon>\\d+)"), false, NULL, 0, NULL);
	struct span name;
	unsigned number, seen = 0;

	assert_non_null(re);
	for (unsigned i = 0; regex_name_at(re, i, &name, &number); i++) {
		assert_true((span_eq(name, SPAN("year")) && number == 2) ||
			    (span_eq(name, SPAN("mon")) && number == 3));
		seen += number;
	}
	assert_int_equal(seen, 5);
	regex_free(re);
	re = regex_new(SPAN("(x)"), false, NULL, 0, NULL);
	assert_false(regex_name_at(re, 0, &name, &number));
	regex_free(re);
}

/* Exponential backtracking ends soon, as no match and one counted error. */
static void test_hostile(void **state)
{
	struct regex *re = regex_new(SPAN("^(([a-z])+.)+[A-Z]([a-z])+$"), false, NULL, 0, NULL);
	struct regex *deep = regex_new(SPAN("^(?:(x)|y)*$"), false, NULL, 0, NULL);
	static char subject[1 << 20];
	int caps[2];
	uint64_t before = regex_errors;

	assert_non_null(re);
	memset(subject, 'a', sizeof(subject));
	assert_int_equal(regex_match(re, span_make(subject, 5000), caps, 1), 0);
	assert_int_equal(regex_errors, before + 1);
	memset(subject, 'x', sizeof(subject));
	assert_true(regex_match(deep, span_make(subject, sizeof(subject)), caps, 1) >= 0);
	regex_free(re);
	regex_free(deep);
}

static void *match_thread(void *arg)
{
	const struct regex *re = arg;
	long ok = 0;
	int caps[4];

	for (int i = 0; i < 2000; i++)
		ok += regex_match(re, SPAN("key=value"), caps, 2) == 2 && caps[3] == 3;
	regex_thread_fini();
	return (void *)ok;
}

static void test_threads(void **state)
{
	struct regex *re = regex_new(SPAN("^(\\w+)="), false, NULL, 0, NULL);
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, match_thread, re);
	for (int i = 0; i < 2; i++) {
		void *ok;

		pthread_join(t[i], &ok);
		assert_int_equal((long)ok, 2000);
	}
	regex_free(re);
}

static void test_no_memory(void **state)
{
	struct regex *re = NULL;
	int caps[2], r = 0;

	for (int i = 0; i < 50 && !re; i++) {
		mem_fail_after(i);
		re = regex_new(SPAN("(a|b)+"), false, NULL, 0, NULL);
		mem_fail_after(-1);
	}
	assert_non_null(re);
	regex_thread_fini();
	for (int i = 0; i < 50 && r == 0; i++) {
		mem_fail_after(i);
		r = regex_match(re, SPAN("abab"), caps, 1);
		mem_fail_after(-1);
	}
	assert_int_equal(r, 1);
	regex_free(re);
}

static int leave(void **state)
{
	regex_thread_fini();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_match),	  cmocka_unit_test(test_few_pairs),
		cmocka_unit_test(test_mistakes),  cmocka_unit_test(test_names),
		cmocka_unit_test(test_hostile),	  cmocka_unit_test(test_threads),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, leave);
}
