#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "mod/map.h"

struct row {
	const char *key, *value;
};

static void fill(struct map_table *t, struct arena *a, const struct row *rows)
{
	arena_init(a, 1 << 20);
	map_table_init(t);
	for (; rows->key; rows++)
		if (map_table_add(t, a, span_of(rows->key), (void *)rows->value) != 0)
			fail_msg("%s was not added", rows->key);
}

static void check(const struct map_table *t, const struct row *rows)
{
	for (; rows->key; rows++) {
		const char *v = map_table_find(t, span_of(rows->key));

		if (!v != !rows->value || (v && strcmp(v, rows->value) != 0))
			fail_msg("%s: %s", rows->key, v ? v : "none");
	}
}

static char none[1];

static void strings_are_compared_without_case(void **state)
{
	static const struct row in[] = {
		{"a", "1"}, {"Two", "2"}, {"", "empty"}, {"*.x", "star"}, {NULL, NULL}};
	static const struct row out[] = {{"A", "1"},
					 {"tWO", "2"},
					 {"", "empty"},
					 {"*.x", "star"},
					 {"a.x", NULL},
					 {"b", NULL},
					 {"a longer one than any key", NULL},
					 {NULL, NULL}};
	struct map_table t = {0};
	struct arena a;

	fill(&t, &a, in);
	check(&t, out);
	assert_int_equal(map_table_add(&t, &a, SPAN("TWO"), none), -EEXIST);
	map_table_fini(&t);
	arena_fini(&a);
}

static void hostnames_prefer_the_longest(void **state)
{
	static const struct row in[] = {{"example.com", "exact"},
					{"*.example.com", "head"},
					{"*.deep.example.com", "deep"},
					{"www.*", "tail"},
					{"www.example.*", "long tail"},
					{".both.net", "both"},
					{NULL, NULL}};
	static const struct row out[] = {
		{"example.com", "exact"},
		{"EXAMPLE.com.", "exact"},
		{"x.example.com", "head"},
		{"x.y.example.com", "head"},
		{"x.deep.example.com", "deep"},
		{"deep.example.com", "head"},
		{"www.example.com", "head"},
		{"www.example.org", "long tail"},
		{"www.other.org", "tail"},
		{"www", NULL},
		{"both.net", "both"},
		{"a.both.net", "both"},
		{"aboth.net", NULL},
		{"", NULL},
		{".", NULL},
		{"..", NULL},
		{".example.com", NULL},
		{NULL, NULL},
	};
	static const char *const bad[] = {"a.*.b", "*", "*.", ".*", "*.a.*", "a..b"};
	struct map_table t = {.hostnames = true};
	struct arena a;

	fill(&t, &a, in);
	check(&t, out);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (map_table_add(&t, &a, span_of(bad[i]), none) != -EINVAL)
			fail_msg("%s was taken", bad[i]);
	assert_int_equal(map_table_add(&t, &a, SPAN("*.Both.net"), none), -EEXIST);
	map_table_fini(&t);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strings_are_compared_without_case),
		cmocka_unit_test(hostnames_prefer_the_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
