#include "mod/auth_cache.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/pool.h"

#define NOW 1000000

static const struct file_version version = {1, 2, 3, 4, 5};

static struct auth_key key_of(const struct file_version *v, const char *user, const char *password)
{
	struct auth_key k;
	struct arena a;

	arena_init(&a, 1 << 16);
	assert_true(auth_key_make(&a, v, span_of(user), span_of(password), &k));
	arena_fini(&a);
	return k;
}

static int setup(void **state)
{
	auth_cache_clear();
	return 0;
}

static bool has(const char *user, const char *password)
{
	struct auth_key k = key_of(&version, user, password);

	return auth_cache_has(&k, NOW);
}

static void test_only_what_was_put_in(void **state)
{
	struct auth_key k = key_of(&version, "user", "secret");

	assert_false(has("user", "secret"));
	auth_cache_add(&k, NOW);
	assert_true(has("user", "secret"));
	assert_false(has("user", "secret2"));
	assert_false(has("user", ""));
	assert_false(has("users", "ecret")); /* where the name ends matters */
	assert_false(has("use", "rsecret"));
	auth_cache_add(&k, NOW); /* again: nothing changes */
	assert_true(has("user", "secret"));
}

static void test_every_part_of_the_version_counts(void **state)
{
	struct auth_key k = key_of(&version, "user", "secret");

	auth_cache_add(&k, NOW);
	for (unsigned i = 0; i < sizeof(version) / sizeof(uint64_t); i++) {
		struct file_version v = version;

		((uint64_t *)&v)[i]++;
		k = key_of(&v, "user", "secret");
		assert_false(auth_cache_has(&k, NOW));
	}
}

static void test_time(void **state)
{
	struct auth_key k = key_of(&version, "user", "secret");

	auth_cache_add(&k, NOW);
	assert_true(auth_cache_has(&k, NOW + AUTH_CACHE_MS - 1));
	assert_false(auth_cache_has(&k, NOW + AUTH_CACHE_MS));
	auth_cache_add(&k, NOW + AUTH_CACHE_MS);
	assert_true(auth_cache_has(&k, NOW + AUTH_CACHE_MS));
}

/* However many come: there never are more, the newest is there, and the old ones go first. */
static void test_ceiling(void **state)
{
	unsigned left = 0, recent = 0;
	char user[32];

	for (unsigned i = 0; i < 4 * AUTH_CACHE_MAX; i++) {
		struct auth_key k;

		snprintf(user, sizeof(user), "user%u", i);
		k = key_of(&version, user, "secret");
		auth_cache_add(&k, NOW + i);
		assert_true(auth_cache_has(&k, NOW + i));
	}
	for (unsigned i = 0; i < 4 * AUTH_CACHE_MAX; i++) {
		snprintf(user, sizeof(user), "user%u", i);
		left += has(user, "secret");
		if (i >= 7 * AUTH_CACHE_MAX / 2)
			recent += has(user, "secret");
	}
	assert_in_range(left, AUTH_CACHE_MAX * 9 / 10, AUTH_CACHE_MAX);
	assert_true(recent > AUTH_CACHE_MAX / 2 * 8 / 10);
}

static void test_no_memory(void **state)
{
	struct auth_key k;
	struct arena a;

	arena_init(&a, 1 << 16);
	mem_fail_after(0);
	assert_false(auth_key_make(&a, &version, SPAN("a"), SPAN("b"), &k));
	mem_fail_after(-1);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_only_what_was_put_in, setup),
		cmocka_unit_test_setup(test_every_part_of_the_version_counts, setup),
		cmocka_unit_test_setup(test_time, setup),
		cmocka_unit_test_setup(test_ceiling, setup),
		cmocka_unit_test_setup(test_no_memory, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
