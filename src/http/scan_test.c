#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/bug.h"
#include "http/scan.h"

static bool is_alnum(int b)
{
	return (b >= '0' && b <= '9') || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z');
}

static bool is_tchar(int b)
{
	return is_alnum(b) || (b && b < 128 && strchr("!#$%&'*+-.^_`|~", b));
}

static uint8_t name_class(int b)
{
	if (b <= ' ' || b == 0x7f || b == ':')
		return NAME_STOP;
	if (is_alnum(b) || b == '-')
		return NAME_PLAIN;
	if (b == '_')
		return NAME_UNDERSCORE;
	return is_tchar(b) ? NAME_TOKEN : NAME_OTHER;
}

static void tables_follow_their_rules(void **state)
{
	for (int b = 0; b < 256; b++) {
		uint8_t c = scan_byte_class[b];

		assert_int_equal(scan_name_class[b], name_class(b));
		assert_int_equal(!!(c & BYTE_VALUE), (b >= ' ' || b == '\t') && b != 0x7f);
		assert_int_equal(!!(c & BYTE_TARGET), b > ' ' && b != 0x7f);
		assert_int_equal(!!(c & BYTE_TOKEN), is_tchar(b));
		assert_int_equal(!!(c & BYTE_METHOD),
				 (b >= 'A' && b <= 'Z') || b == '-' || b == '_');
	}
}

/* Each byte at each place of runs of each length up to three vectors. */
static void wide_loops_agree_with_the_tables(void **state)
{
	char text[48];

	for (size_t n = 1; n <= sizeof(text); n++)
		for (size_t at = 0; at < n; at++)
			for (int b = 0; b < 256; b++) {
				const char *hit = text + at, *end = text + n;
				uint8_t seen = 0;

				memset(text, 'a', sizeof(text));
				text[at] = (char)b;
				assert_ptr_equal(scan_value(text, end),
						 scan_byte_class[b] & BYTE_VALUE ? end : hit);
				assert_ptr_equal(scan_target(text, end),
						 scan_byte_class[b] & BYTE_TARGET ? end : hit);
				assert_ptr_equal(scan_name(text, end, &seen),
						 name_class(b) == NAME_STOP ? hit : end);
				if (name_class(b) != NAME_STOP && name_class(b) != NAME_PLAIN)
					assert_true(seen & name_class(b));
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_follow_their_rules),
		cmocka_unit_test(wide_loops_agree_with_the_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
