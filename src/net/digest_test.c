#include "net/digest.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void assert_hex(const char *p, size_t n, const char *hex)
{
	char text[2 * DIGEST_MAX + 1] = "";

	for (size_t i = 0; i < n; i++)
		sprintf(text + 2 * i, "%02x", (unsigned char)p[i]);
	assert_string_equal(text, hex);
}

static void check(enum digest d, const char *text, const char *hex)
{
	struct span whole = span_of(text), parts[3];
	char out[DIGEST_MAX];
	size_t n = digest_parts(d, &whole, 1, out);

	assert_hex(out, n, hex);
	for (size_t cut = 0; cut <= whole.n; cut++) { /* however it is cut */
		parts[0] = span_cut(whole, 0, cut);
		parts[1] = (struct span){0};
		parts[2] = span_cut(whole, cut, whole.n);
		n = digest_parts(d, parts, 3, out);
		assert_hex(out, n, hex);
	}
}

/* RFC 1321 A.5, FIPS 180 examples. */
static void test_known(void **state)
{
	check(DIGEST_MD5, "", "d41d8cd98f00b204e9800998ecf8427e");
	check(DIGEST_MD5, "abc", "900150983cd24fb0d6963f7d28e17f72");
	check(DIGEST_SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
	check(DIGEST_SHA256, "abc",
	      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* RFC 4231, cases 1, 2 and 6 (a key longer than a block). */
static void test_hmac(void **state)
{
	char key[131], out[DIGEST_MAX];

	memset(key, 0x0b, 20);
	assert_true(digest_hmac(span_make(key, 20), SPAN("Hi There"), out));
	assert_hex(out, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	assert_true(digest_hmac(SPAN("Jefe"), SPAN("what do ya want for nothing?"), out));
	assert_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	assert_true(digest_hmac(span_make(key, sizeof(key)),
				SPAN("Test Using Larger Than Block-Size Key - Hash Key First"),
				out));
	assert_hex(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void test_equal(void **state)
{
	assert_true(digest_equal("abc", "abd", 2));
	assert_false(digest_equal("abc", "abd", 3));
	assert_true(digest_equal("", "", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_hmac),
		cmocka_unit_test(test_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
