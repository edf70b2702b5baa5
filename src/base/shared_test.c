#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/shared.h"

#define EACH 100000

static _Atomic uint64_t sum;
static _Atomic unsigned users;

static void *add_many(void *arg)
{
	for (int i = 0; i < EACH; i++) {
		SHARED_ADD(&sum, 3);
		SHARED_ADD(&users, i % 2 ? -1 : 1);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t other[3];

	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&other[i], NULL, add_many, NULL), 0);
	add_many(NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(other[i], NULL);
	assert_int_equal(sum, 4 * 3 * EACH);
	assert_int_equal(users, 0);
}

static void test_before(void **state)
{
	for (int alone = 0; alone < 2; alone++) {
		_Atomic unsigned n = 1;

		shared_alone = alone;
		assert_int_equal(SHARED_ADD(&n, 4), 1);
		assert_int_equal(SHARED_ADD(&n, -5), 5);
		assert_int_equal(n, 0);
	}
	shared_alone = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
