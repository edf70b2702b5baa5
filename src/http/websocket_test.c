#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "http/websocket.h"
#include <cmocka.h>

static void assert_sha1(const char *text, size_t n, const char *hex)
{
	uint8_t sum[20];
	char got[41];

	sha1_sum(text, n, sum);
	for (int i = 0; i < 20; i++)
		snprintf(got + 2 * i, 3, "%02x", sum[i]);
	assert_string_equal(got, hex);
}

/* The examples of RFC 3174 and the lengths around the end of a block. */
static void sums(void **state)
{
	static char many[200];

	assert_sha1("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
	assert_sha1("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
	assert_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
		    "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
	memset(many, 'a', sizeof(many));
	assert_sha1(many, 55, "c1c8bbdc22796e28c0e15163d20899b65621d65a");
	assert_sha1(many, 64, "0098ba824b5c16427bd7a1122a5a442a25ec644d");
}

static void example_of_the_rfc(void **state)
{
	char out[WEBSOCKET_ACCEPT_LEN + 1] = {0};

	websocket_accept(SPAN("dGhlIHNhbXBsZSBub25jZQ=="), out);
	assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums),
		cmocka_unit_test(example_of_the_rfc),
	};

	return cmocka_run_group_tests_name("websocket", tests, NULL, NULL);
}
