#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include "proxy/grpc.h"
#include <cmocka.h>
#undef fail

static void timeouts(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t ms;
	} t[] = {
		{"1H", true, 3600000},	  {"2M", true, 120000},
		{"3S", true, 3000},	  {"100m", true, 100},
		{"1u", true, 1},	  {"1000n", true, 1},
		{"0m", true, 0},	  {"99999999H", true, 99999999ull * 3600000},
		{"123456789m", false, 0}, {"m", false, 0},
		{"", false, 0},		  {"1", false, 0},
		{"1s", false, 0},	  {"-1m", false, 0},
		{"1.5S", false, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		uint64_t ms = 0;

		assert_int_equal(grpc_timeout_parse(span_of(t[i].text), &ms), t[i].ok);
		if (t[i].ok)
			assert_int_equal(ms, t[i].ms);
	}
}

static void dialects(void **state)
{
	assert_int_equal(grpc_web_of(SPAN("application/grpc-web")), GRPC_WEB_BINARY);
	assert_int_equal(grpc_web_of(SPAN("application/grpc-web+proto")), GRPC_WEB_BINARY);
	assert_int_equal(grpc_web_of(SPAN("application/grpc-web-text")), GRPC_WEB_TEXT);
	assert_int_equal(grpc_web_of(SPAN("APPLICATION/GRPC-web-text+json; x")), GRPC_WEB_TEXT);
	assert_int_equal(grpc_web_of(SPAN("application/grpc")), GRPC_WEB_NONE);
	assert_int_equal(grpc_web_of(SPAN("application/grpc-webby")), GRPC_WEB_NONE);
	assert_int_equal(grpc_web_of(SPAN("application/grpc-web-texts")), GRPC_WEB_NONE);
	assert_int_equal(grpc_web_of(SPAN("")), GRPC_WEB_NONE);
}

/* Groups with padding of their own, cut at any byte. */
static void base64_in_pieces(void **state)
{
	static const char text[] = "YQ==YmM=ZGVmaGVsbG8=";

	for (size_t cut = 0; cut <= sizeof(text) - 1; cut++) {
		struct base64_stream s = {0};
		char out[64];
		ssize_t a = base64_stream_decode(&s, text, cut, out), b;

		assert_true(a >= 0);
		b = base64_stream_decode(&s, text + cut, sizeof(text) - 1 - cut, out + a);
		assert_true(b >= 0);
		assert_int_equal(s.nchars, 0);
		assert_int_equal(a + b, 11);
		assert_memory_equal(out, "abcdefhello", 11);
	}
}

static void base64_refused(void **state)
{
	static const char *const bad[] = {"=", "A===", "AA=A", "A B=", "AAA\n", "AA-_", "AA=\n"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct base64_stream s = {0};
		char out[16];

		assert_int_equal(base64_stream_decode(&s, bad[i], strlen(bad[i]), out), -1);
	}
}

static void statuses(void **state)
{
	assert_int_equal(grpc_status_of(502), 14);
	assert_int_equal(grpc_status_of(504), 14);
	assert_int_equal(grpc_status_of(401), 16);
	assert_int_equal(grpc_status_of(500), 13);
	assert_int_equal(grpc_status_of(418), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timeouts),	    cmocka_unit_test(dialects),
		cmocka_unit_test(base64_in_pieces), cmocka_unit_test(base64_refused),
		cmocka_unit_test(statuses),
	};

	return cmocka_run_group_tests_name("grpc", tests, NULL, NULL);
}
