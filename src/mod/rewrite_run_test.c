#include "mod/rewrite.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static void redirects_keep_escapes_that_matter(void **state)
{
	static const char *const rows[][2] = {
		{"/plain", "/plain"},	{"", ""},
		{"/%41%5a%2f", "/AZ/"}, {"/a%20b%7f%c3", "/a%20b%7f%c3"},
		{"/%25%0a", "/%25%0a"}, {"/%26%7E", "/&~"},
		{"/a?%41", "/a?%41"},	{"/a%3f%41", "/a?%41"},
		{"/%", "/%"},		{"/%4", "/%4"},
		{"/%zz%4z", "/%zz%4z"}, {"/%%41", "/%A"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[64];
		size_t n;

		snprintf(text, sizeof(text), "%s", rows[i][0]);
		n = rewrite_unescape_redirect(text, strlen(text));
		if (!span_eq(span_make(text, n), span_of(rows[i][1])))
			fail_msg("%s: %.*s", rows[i][0], (int)n, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(redirects_keep_escapes_that_matter)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
