#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/page.h"
#include "base/pool.h"
#include <cmocka.h>

static bool is_zero(const char *p)
{
	for (int i = 0; i < PAGE_BYTES; i++)
		if (p[i])
			return false;
	return true;
}

static void test_zeroes_and_apart(void **state)
{
	char *p[200];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 200; i++) {
			p[i] = page_take();
			assert_non_null(p[i]);
			assert_true(is_zero(p[i]));
			memset(p[i], i + 1, PAGE_BYTES);
		}
		for (int i = 0; i < 200; i++) {
			assert_int_equal((uint8_t)p[i][0], (uint8_t)(i + 1));
			assert_int_equal((uint8_t)p[i][PAGE_BYTES - 1], (uint8_t)(i + 1));
			page_give(p[i]);
		}
	}
	page_thread_fini();
}

static void test_only_zeroes_are_forgotten(void **state)
{
	char *p = page_take();

	p[PAGE_BYTES - 1] = 1;
	assert_false(page_forget(p));
	assert_int_equal(p[PAGE_BYTES - 1], 1);
	p[PAGE_BYTES - 1] = 0;
	p[0] = 1;
	assert_false(page_forget(p));
	p[0] = 0;
	page_forget(p);
	assert_true(is_zero(p));
	p[7] = 1;
	assert_int_equal(p[7], 1);
	page_give(p);
	page_thread_fini();
}

static void test_packed(void **state)
{
	uint64_t was[PAGE_BYTES / 8], *p = page_take();
	struct page_pack *k;

	for (unsigned step = 2; step < 600; step += 7) {
		memset(p, 0, PAGE_BYTES);
		for (unsigned i = step % 3; i < PAGE_BYTES / 8; i += step)
			p[i] = (uint64_t)i * 0x9e3779b97f4a7c15 + step;
		memcpy(was, p, PAGE_BYTES);
		k = page_pack(p);
		assert_non_null(k);
		page_unpack(p, k);
		assert_memory_equal(p, was, PAGE_BYTES);
	}
	page_give(p);
	page_thread_fini();
}

static void test_not_packed(void **state)
{
	char *p = page_take();

	memset(p, 1, PAGE_BYTES / 2 + 1);
	assert_null(page_pack(p));
	memset(p + PAGE_BYTES / 4, 0, PAGE_BYTES / 2);
	mem_fail_after(1);
	assert_null(page_pack(p));
	mem_fail_after(-1);
	assert_int_equal(p[PAGE_BYTES / 4 - 1], 1);
	assert_int_equal(p[PAGE_BYTES / 4], 0);
	page_give(p);
	page_thread_fini();
}

static void test_no_memory(void **state)
{
	mem_fail_after(1);
	assert_null(page_take());
	mem_fail_after(-1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zeroes_and_apart),
		cmocka_unit_test(test_only_zeroes_are_forgotten),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_not_packed),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
