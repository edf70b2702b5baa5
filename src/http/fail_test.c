#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include "base/bug.h"
#include "http/fail.h"

static void every_reason_is_whole(void **state)
{
	for (int f = 0; f < FAIL_COUNT; f++) {
		char whose = fail_whose((enum fail)f);

		assert_true(whose == 'C' || whose == 'S' || whose == 'U');
		if (f == FAIL_OK)
			continue;
		assert_true(fail_name((enum fail)f).n > 0);
		assert_true(fail_words((enum fail)f).n > 0);
		assert_true(fail_status((enum fail)f) == 0 || fail_status((enum fail)f) >= 400);
	}
}

static void names_are_lower_case(void **state)
{
	assert_true(span_eq(fail_name(FAIL_UPSTREAM_CONNECT), SPAN("upstream_connect")));
	assert_true(span_eq(fail_name(FAIL_OK), SPAN("")));
	assert_int_equal(fail_status(FAIL_URI_TOO_LONG), 414);
	assert_int_equal(fail_whose(FAIL_BAD_HOST), 'C');
	assert_int_equal(fail_next_bit(FAIL_UPSTREAM_READ_TIMEOUT), NEXT_TIMEOUT);
}

static void bridges(void **state)
{
	static const struct {
		int err;
		enum fail client, upstream;
	} rows[] = {
		{-ETIMEDOUT, FAIL_CLIENT_TIMEOUT_BODY, FAIL_UPSTREAM_READ_TIMEOUT},
		{-ECANCELED, FAIL_CANCELLED, FAIL_CANCELLED},
		{-ENOMEM, FAIL_NO_MEMORY, FAIL_NO_MEMORY},
		{-EMFILE, FAIL_NO_DESCRIPTORS, FAIL_NO_DESCRIPTORS},
		{-EPIPE, FAIL_CLIENT_CLOSED, FAIL_UPSTREAM_CLOSED},
		{-ECONNRESET, FAIL_CLIENT_RESET, FAIL_UPSTREAM_CLOSED},
		{0, FAIL_OK, FAIL_UPSTREAM_CLOSED},
		{-ECONNREFUSED, FAIL_CLIENT_RESET, FAIL_UPSTREAM_CONNECT},
		{-EIO, FAIL_CLIENT_RESET, FAIL_UPSTREAM_RESET},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(fail_of_client(rows[i].err, FAIL_CLIENT_TIMEOUT_BODY),
				 rows[i].client);
		assert_int_equal(fail_of_upstream(rows[i].err, FAIL_UPSTREAM_READ_TIMEOUT,
						  FAIL_UPSTREAM_CLOSED),
				 rows[i].upstream);
	}
}

static void *count_some(void *arg)
{
	for (int i = 0; i < 1000; i++)
		fail_count(FAIL_BAD_URI);
	return NULL;
}

static void counts_of_all_threads_are_summed_and_outlive_them(void **state)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_some, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	fail_count(FAIL_BAD_URI);
	assert_int_equal(fail_total(FAIL_BAD_URI), 4001);
	assert_int_equal(fail_total(FAIL_BAD_HOST), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reason_is_whole),
		cmocka_unit_test(names_are_lower_case),
		cmocka_unit_test(bridges),
		cmocka_unit_test(counts_of_all_threads_are_summed_and_outlive_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
