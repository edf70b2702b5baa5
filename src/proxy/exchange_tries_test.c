#include <setjmp.h>
#include <stdarg.h>
#include "proxy/exchange.h"
#include <cmocka.h>
#undef fail

#define DFLT (NEXT_ERROR | NEXT_TIMEOUT)

static const struct {
	const char *what;
	struct tries_state s;
	unsigned bit;
	bool again;
} table[] = {
	{"default, connect failed", {DFLT, 1, false, false, METHOD_GET, false}, NEXT_ERROR, true},
	{"nobody left", {DFLT, 0, false, false, METHOD_GET, false}, NEXT_ERROR, false},
	{"a POST that did not leave",
	 {DFLT, 1, false, false, METHOD_POST, false},
	 NEXT_ERROR,
	 true},
	{"a POST that left", {DFLT, 1, true, false, METHOD_POST, false}, NEXT_ERROR, false},
	{"a POST that left, allowed",
	 {DFLT | NEXT_NON_IDEMPOTENT, 1, true, false, METHOD_POST, false},
	 NEXT_ERROR,
	 true},
	{"a PATCH that left", {DFLT, 1, true, false, METHOD_PATCH, false}, NEXT_TIMEOUT, false},
	{"a LOCK that left", {DFLT, 1, true, false, METHOD_LOCK, false}, NEXT_TIMEOUT, false},
	{"a PUT that left", {DFLT, 1, true, false, METHOD_PUT, false}, NEXT_TIMEOUT, true},
	{"a DELETE that left", {DFLT, 1, true, false, METHOD_DELETE, false}, NEXT_ERROR, true},
	{"off", {NEXT_OFF, 1, false, false, METHOD_GET, false}, NEXT_ERROR, false},
	{"a streamed body was begun", {DFLT, 1, true, true, METHOD_GET, false}, NEXT_ERROR, false},
	{"time is up", {DFLT, 1, false, false, METHOD_GET, true}, NEXT_ERROR, false},
	{"a status not named", {DFLT, 1, true, false, METHOD_GET, false}, NEXT_HTTP_503, false},
	{"a status named",
	 {DFLT | NEXT_HTTP_503, 1, true, false, METHOD_GET, false},
	 NEXT_HTTP_503,
	 true},
	{"a status named, POST",
	 {DFLT | NEXT_HTTP_503, 1, true, false, METHOD_POST, false},
	 NEXT_HTTP_503,
	 false},
	{"invalid header", {DFLT, 1, true, false, METHOD_GET, false}, NEXT_INVALID_HEADER, false},
};

static void follows_the_table(void **state)
{
	bool bad = false;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (tries_again(&table[i].s, table[i].bit) != table[i].again)
			print_error("%s\n", table[i].what), bad = true;
	assert_false(bad);
}

static void statuses_have_bits(void **state)
{
	static const int statuses[] = {500, 502, 503, 504, 403, 404, 429};
	unsigned all = 0;

	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		unsigned bit = tries_status_bit(statuses[i]);

		assert_true(bit && !(all & bit));
		all |= bit;
	}
	assert_int_equal(tries_status_bit(200), 0);
	assert_int_equal(tries_status_bit(501), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follows_the_table),
		cmocka_unit_test(statuses_have_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
