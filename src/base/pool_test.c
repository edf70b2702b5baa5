#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/pool.h"

static void test_mem(void **state)
{
	char *p = mem_alloc(10), *q;

	assert_non_null(p);
	memcpy(p, "123456789", 10);
	p = mem_resize(p, 10000);
	assert_string_equal(p, "123456789");
	q = mem_zalloc(100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(q[i], 0);
	mem_free(q);
	mem_fail_after(1);
	assert_null(mem_resize(p, 20000));
	mem_fail_after(-1);
	assert_string_equal(p, "123456789");
	mem_free(p);
	mem_free(NULL);
	p = mem_alloc(0);
	assert_non_null(p);
	mem_free(p);
}

static void test_fail_after(void **state)
{
	void *p[3] = {0};

	mem_fail_after(3);
	p[0] = mem_alloc(1);
	p[1] = mem_zalloc(1);
	p[2] = mem_alloc(1);
	assert_non_null(p[0]);
	assert_non_null(p[1]);
	assert_null(p[2]);
	assert_null(mem_alloc(1));
	mem_fail_after(-1);
	assert_int_equal(mem_must_fail(), 0);
	mem_free(p[0]);
	mem_free(p[1]);
}

static void test_slab(void **state)
{
	struct slab s;
	void *p[10];

	slab_init(&s, 1, 4);
	assert_int_equal(s.size, sizeof(void *));
	slab_init(&s, 100, 4);
	for (int i = 0; i < 10; i++) {
		p[i] = slab_take(&s);
		assert_non_null(p[i]);
		memset(p[i], i, 100);
	}
	assert_int_equal(s.nused, 10);
	for (int i = 0; i < 10; i++)
		slab_give(&s, p[i]);
	assert_int_equal(s.nused, 0);
	assert_true(s.nfree == s.keep); /* none under ASan */
	if (s.keep) {
		assert_ptr_equal(slab_take(&s), p[3]); /* the last that was kept */
		slab_give(&s, p[3]);
	}
	mem_fail_after(0);
	assert_null(slab_take(&s));
	mem_fail_after(-1);
	assert_int_equal(s.nused, 0);
	p[0] = slab_take(&s);
	slab_disown(&s);
	mem_free(p[0]);
	slab_fini(&s);
	assert_int_equal(s.nfree, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mem),
		cmocka_unit_test(test_fail_after),
		cmocka_unit_test(test_slab),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
