#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/bug.h"
#include "http/uri.h"

static void hosts(void **state)
{
	static const struct {
		const char *text, *host; /* NULL: refused */
		int port;
	} rows[] = {
		{"a", "a", -1},
		{"A.B.", "a.b", -1},
		{"a:80", "a", 80},
		{"a:", "a", -1},
		{"a:0", "a", 0},
		{"a:65535", "a", 65535},
		{"a.:1", "a", 1},
		{".a", ".a", -1},
		{"-", "-", -1},
		{"a_b-c~1", "a_b-c~1", -1},
		{"a!$&'()*+,;=b", "a!$&'()*+,;=b", -1},
		{"a%20%C3b", "a%20%c3b", -1},
		{"127.0.0.1:1", "127.0.0.1", 1},
		{"[::1]", "[::1]", -1},
		{"[FE80::A]:80", "[fe80::a]", 80},
		{"[::ffff:1.2.3.4]:", "[::ffff:1.2.3.4]", -1},
		{"", NULL, 0},
		{".", NULL, 0},
		{"a..b", NULL, 0},
		{"a..", NULL, 0},
		{":80", NULL, 0},
		{"a:xx", NULL, 0},
		{"a:65536", NULL, 0},
		{"a:-1", NULL, 0},
		{"a:80:80", NULL, 0},
		{"a b", NULL, 0},
		{"a/b", NULL, 0},
		{"a\\b", NULL, 0},
		{"a@b", NULL, 0},
		{"a#b", NULL, 0},
		{"a?b", NULL, 0},
		{"a\"b", NULL, 0},
		{"a<b", NULL, 0},
		{"a|b", NULL, 0},
		{"a^b", NULL, 0},
		{"a%4", NULL, 0},
		{"a%zz", NULL, 0},
		{"\xc3\xa9", NULL, 0},
		{"a]", NULL, 0},
		{"[::1", NULL, 0},
		{"[::1]x", NULL, 0},
		{"[]", NULL, 0},
		{"[zz]", NULL, 0},
		{"[v1.a]", NULL, 0},
		{"[::1%25eth0]", NULL, 0},
		{"[1.2.3.4]", NULL, 0},
		{"::1", NULL, 0},
	};
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span host = {NULL, 0};
		int port = -2;
		enum fail f = host_parse(span_of(rows[i].text), &a, &host, &port);

		if (f != (rows[i].host ? FAIL_OK : FAIL_BAD_HOST))
			fail_msg("%s: %d", rows[i].text, (int)f);
		if (f == FAIL_OK && (!span_eq(host, span_of(rows[i].host)) || port != rows[i].port))
			fail_msg("%s: <%.*s> %d", rows[i].text, SPAN_ARG(host), port);
	}
	arena_fini(&a);
}

static void a_zero_byte_is_no_host(void **state)
{
	assert_false(host_is_valid(SPAN("a\0b"), NULL, NULL));
	assert_false(host_is_valid(SPAN("[::1\0]"), NULL, NULL));
}

/* What is said of one that came before is what was said then, and never of another. */
static void hosts_that_come_again(void **state)
{
	static char longest[66];
	size_t n;
	int port;

	memset(longest, 'a', sizeof(longest));
	for (int i = 0; i < 3; i++) {
		assert_true(host_is_valid(SPAN("a.example:81"), &n, &port));
		assert_int_equal(n, 9);
		assert_int_equal(port, 81);
		assert_true(host_is_valid(SPAN("a.example:82"), &n, &port));
		assert_int_equal(port, 82);
		assert_true(host_is_valid(SPAN("a.example"), &n, &port));
		assert_int_equal(port, -1);
		assert_false(host_is_valid(SPAN("a.exampl/"), &n, &port));
		assert_false(host_is_valid(SPAN(""), &n, &port));
		for (size_t len = 62; len <= sizeof(longest); len++) {
			assert_true(host_is_valid(span_make(longest, len), &n, &port));
			assert_int_equal(n, len);
		}
	}
}

static void urls(void **state)
{
	static const struct {
		const char *url, *scheme, *host, *path;
		int port;
		bool is_unix;
	} rows[] = {
		{"http://a", "http", "a", "", -1, false},
		{"http://a:8080/b?c", "http", "a", "/b?c", 8080, false},
		{"https://[::1]:1/", "https", "[::1]", "/", 1, false},
		{"http://a?b", "http", "a", "?b", -1, false},
		{"http://unix:/run/x.sock", "http", "/run/x.sock", "", -1, true},
		{"http://unix:/run/x.sock:/uri/", "http", "/run/x.sock", "/uri/", -1, true},
		{"a://b", "a", "b", "", -1, false},
	};
	static const char *const bad[] = {"",		"a",	     "/a",	    "http:/a",
					  "http://",	"://a",	     "1://a",	    "http://a b/",
					  "http://a:x", "http:///x", "http://unix:"};
	struct url_parts out;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(url_split(span_of(rows[i].url), &out));
		assert_true(span_eq(out.scheme, span_of(rows[i].scheme)));
		assert_true(span_eq(out.host, span_of(rows[i].host)));
		assert_true(span_eq(out.path, span_of(rows[i].path)));
		assert_int_equal(out.port, rows[i].port);
		assert_int_equal(out.is_unix, rows[i].is_unix);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (url_split(span_of(bad[i]), &out))
			fail_msg("%s", bad[i]);
}

/* Each byte at each place of texts of each length up to three words. */
static void lower_case(void **s)
{
	char text[24], want;
	struct span host;
	struct arena a;

	arena_init(&a, 1 << 26);
	for (size_t n = 1; n <= sizeof(text); n++) {
		for (size_t at = 0; at < n; at++) {
			for (int c = 1; c < 256; c++) {
				if (c == '.' && at == n - 1)
					continue; /* is cut off */
				memset(text, 'Q', sizeof(text));
				text[at] = (char)c;
				want = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
				assert_int_equal(host_lower(span_make(text, n), &a, &host),
						 FAIL_OK);
				assert_int_equal(host.n, n);
				for (size_t i = 0; i < n; i++)
					assert_int_equal(host.p[i], i == at ? want : 'q');
			}
		}
	}
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts),
		cmocka_unit_test(a_zero_byte_is_no_host),
		cmocka_unit_test(hosts_that_come_again),
		cmocka_unit_test(urls),
		cmocka_unit_test(lower_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
