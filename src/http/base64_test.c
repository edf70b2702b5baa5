#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "http/base64.h"

static void decodes(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {{"", ""},
		    {"Zg==", "f"},
		    {"Zg", "f"},
		    {"Zm8=", "fo"},
		    {"Zm9v", "foo"},
		    {"Zm9vYg==", "foob"},
		    {"Zm9vYmE=", "fooba"},
		    {"Zm9vYmFy", "foobar"},
		    {"dXNlcjpwYXNz", "user:pass"},
		    {"-_-_", "\xfb\xff\xbf"},
		    {"+/+/", "\xfb\xff\xbf"}};
	struct arena a;

	arena_init(&a, 65536);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span got = base64_decode(&a, span_of(rows[i].in));

		assert_non_null(got.p);
		assert_true(span_eq(got, span_of(rows[i].out)));
	}
	arena_fini(&a);
}

static void refuses(void **state)
{
	static const char *const rows[] = {"Z", "Zm9vY", "Zg===", "Z g=", "Zm9v\n", "=Zg=", "Zm=9"};
	struct arena a;

	arena_init(&a, 65536);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_null(base64_decode(&a, span_of(rows[i])).p);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(decodes), cmocka_unit_test(refuses)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
