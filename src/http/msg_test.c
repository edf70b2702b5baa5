#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/bug.h"
#include "http/msg.h"

static void methods(void **state)
{
	static const struct {
		const char *name;
		enum http_method method;
		bool safe, idempotent;
	} rows[] = {
		{"GET", METHOD_GET, true, true},
		{"HEAD", METHOD_HEAD, true, true},
		{"POST", METHOD_POST, false, false},
		{"PUT", METHOD_PUT, false, true},
		{"DELETE", METHOD_DELETE, false, true},
		{"OPTIONS", METHOD_OPTIONS, true, true},
		{"PATCH", METHOD_PATCH, false, false},
		{"CONNECT", METHOD_CONNECT, false, false},
		{"TRACE", METHOD_TRACE, true, true},
		{"MKCOL", METHOD_MKCOL, false, true},
		{"COPY", METHOD_COPY, false, true},
		{"MOVE", METHOD_MOVE, false, true},
		{"LOCK", METHOD_LOCK, false, false},
		{"UNLOCK", METHOD_UNLOCK, false, true},
		{"PROPFIND", METHOD_PROPFIND, true, true},
		{"PROPPATCH", METHOD_PROPPATCH, false, true},
		{"get", METHOD_OTHER, false, false},
		{"", METHOD_OTHER, false, false},
		{"GETX", METHOD_OTHER, false, false},
		{"PATCHY", METHOD_OTHER, false, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(http_method_of(span_of(rows[i].name)), rows[i].method);
		assert_int_equal(http_method_is_safe(rows[i].method), rows[i].safe);
		assert_int_equal(http_method_is_idempotent(rows[i].method), rows[i].idempotent);
	}
}

static void reasons(void **state)
{
	assert_true(span_eq(http_reason(200), SPAN("OK")));
	assert_true(span_eq(http_reason(302), SPAN("Moved Temporarily")));
	assert_true(span_eq(http_reason(405), SPAN("Not Allowed")));
	assert_true(span_eq(http_reason(503), SPAN("Service Temporarily Unavailable")));
	assert_true(span_eq(http_reason(504), SPAN("Gateway Time-out")));
	assert_true(span_eq(http_reason(507), SPAN("Insufficient Storage")));
	for (int status = -1; status < 1100; status++)
		assert_true(http_reason(status).p != NULL);
	assert_int_equal(http_reason(203).n, 0);
	assert_int_equal(http_reason(418).n, 0);
	assert_int_equal(http_reason(999).n, 0);
}

static void versions(void **state)
{
	assert_true(span_eq(http_version_name(HTTP_09), SPAN("HTTP/0.9")));
	assert_true(span_eq(http_version_name(HTTP_11), SPAN("HTTP/1.1")));
	assert_true(span_eq(http_version_name(HTTP_2), SPAN("HTTP/2.0")));
	assert_true(span_eq(http_version_name(HTTP_3), SPAN("HTTP/3.0")));
}

static void which_responses_have_bodies(void **state)
{
	assert_true(http_response_has_body(METHOD_GET, 200));
	assert_true(http_response_has_body(METHOD_GET, 404));
	assert_false(http_response_has_body(METHOD_HEAD, 200));
	assert_false(http_response_has_body(METHOD_GET, 100));
	assert_false(http_response_has_body(METHOD_GET, 204));
	assert_false(http_response_has_body(METHOD_GET, 304));
	assert_false(http_response_has_body(METHOD_CONNECT, 200));
	assert_true(http_response_has_body(METHOD_CONNECT, 407));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(methods),
		cmocka_unit_test(reasons),
		cmocka_unit_test(versions),
		cmocka_unit_test(which_responses_have_bodies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
