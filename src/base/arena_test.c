#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/arena.h"
#include "base/pool.h"

static int teardown(void **state)
{
	arena_thread_fini();
	mem_fail_after(-1);
	return 0;
}

static void test_alloc(void **state)
{
	enum { N = 5000 };
	static unsigned char *p[N];
	static size_t n[N];
	struct arena a;

	arena_init(&a, SIZE_MAX);
	assert_int_equal(a.used, 0);
	srand(1);
	for (int i = 0; i < N; i++) {
		n[i] = (size_t)rand() % (i % 50 ? 300 : 9000);
		p[i] = arena_alloc(&a, n[i]);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % 16, 0);
		memset(p[i], i & 0xff, n[i]);
	}
	for (int i = 0; i < N; i++)
		for (size_t k = 0; k < n[i]; k++)
			assert_int_equal(p[i][k], i & 0xff);
	arena_fini(&a);
	assert_int_equal(a.used, 0);
	assert_non_null(arena_alloc(&a, 10)); /* may be used again */
	arena_fini(&a);
	arena_fini(&a);
}

static void test_ceiling(void **state)
{
	struct arena a;
	size_t got = 0;

	arena_init(&a, 10000);
	while (arena_alloc(&a, 100)) {
		got += 100;
		assert_true(a.used <= 10000);
	}
	assert_in_range(got, 8000, 10000);
	assert_null(arena_alloc(&a, 5000));
	assert_true(a.used <= 10000);
	arena_fini(&a);
	assert_null(arena_alloc(&a, 10001));
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 15));
	assert_non_null(arena_alloc(&a, 9900)); /* larger than a chunk, below the ceiling */
	arena_fini(&a);
	arena_init(&a, 500); /* smaller than a chunk */
	assert_non_null(arena_alloc(&a, 400));
	assert_null(arena_alloc(&a, 400));
	arena_fini(&a);
	arena_init(&a, 0);
	assert_null(arena_alloc(&a, 1));
	arena_fini(&a);
}

/* Goes on in the chunk with room after a large one in between. */
static void test_large_keeps_chunk(void **state)
{
#ifndef BUILT_WITH_ASAN
	struct arena a;
	char *p, *q;

	arena_init(&a, SIZE_MAX);
	p = arena_alloc(&a, 16);
	assert_non_null(arena_alloc(&a, 100000));
	q = arena_alloc(&a, 16);
	assert_ptr_equal(q, p + 16);
	arena_fini(&a);
#endif
}

/* A warm thread asks the system for nothing. */
static void test_stash(void **state)
{
#ifndef BUILT_WITH_ASAN
	struct arena a;
	void *p;

	arena_init(&a, SIZE_MAX);
	p = arena_alloc(&a, 1000);
	arena_fini(&a);
	assert_ptr_equal(arena_alloc(&a, 1000), p);
	arena_fini(&a);
#endif
}

static void test_no_memory(void **state)
{
	struct arena a;
	void *items = NULL;
	size_t n = 0, cap = 0;

	arena_init(&a, SIZE_MAX);
	mem_fail_after(0);
	assert_null(arena_alloc(&a, 1));
	assert_null(arena_zalloc(&a, 1));
	assert_null(arena_copy(&a, "x", 1));
	assert_null(arena_dup(&a, SPAN("x")).p);
	assert_int_equal(arena_dup(&a, SPAN("x")).n, 0);
	assert_null(arena_cstr(&a, SPAN("x")));
	assert_null(arena_printf(&a, "%d", 1).p);
	assert_null(arena_push(&a, &items, &n, &cap, 8));
	assert_int_equal(n, 0);
	mem_fail_after(2);
	assert_non_null(arena_alloc(&a, 5000));
	assert_null(arena_alloc(&a, 5000));
	assert_null(arena_alloc(&a, 5000));
	mem_fail_after(-1);
	assert_non_null(arena_alloc(&a, 5000));
	arena_fini(&a);
}

static void test_copies(void **state)
{
	struct arena a;
	struct span s;
	char *p;

	arena_init(&a, 1 << 20);
	p = arena_zalloc(&a, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(p[i], 0);
	assert_memory_equal(arena_copy(&a, "abc", 3), "abc", 3);
	assert_non_null(arena_copy(&a, NULL, 0));
	s = arena_dup(&a, SPAN("hello"));
	assert_true(span_eq(s, SPAN("hello")));
	assert_int_equal(s.p[5], 0);
	s = arena_dup(&a, span_of(NULL));
	assert_non_null(s.p);
	assert_int_equal(s.n, 0);
	assert_string_equal(arena_cstr(&a, SPAN("x")), "x");
	s = arena_printf(&a, "%s-%05d", "ab", 42);
	assert_true(span_eq(s, SPAN("ab-00042")));
	assert_int_equal(s.p[s.n], 0);
	arena_fini(&a);
}

static void test_nothing_has_an_address(void **state)
{
	struct arena a;

	arena_init(&a, ARENA_CHUNK);
	for (int i = 0; i < 10; i++)
		assert_non_null(arena_alloc(&a, 0)); /* the first one too */
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 14));
	arena_fini(&a);
}

static void test_push(void **state)
{
	struct arena a;
	int *items = NULL;
	size_t n = 0, cap = 0;

	arena_init(&a, 1 << 20);
	for (int i = 0; i < 1000; i++) {
		int *at = ARENA_PUSH(&a, items, &n, &cap);

		assert_non_null(at);
		*at = i;
	}
	assert_int_equal(n, 1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(items[i], i);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_has_an_address),
		cmocka_unit_test_teardown(test_alloc, teardown),
		cmocka_unit_test_teardown(test_ceiling, teardown),
		cmocka_unit_test_teardown(test_large_keeps_chunk, teardown),
		cmocka_unit_test_teardown(test_stash, teardown),
		cmocka_unit_test_teardown(test_no_memory, teardown),
		cmocka_unit_test_teardown(test_copies, teardown),
		cmocka_unit_test_teardown(test_push, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
