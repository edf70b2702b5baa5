/* What nginx answers to the same. */
#include "proxy/proxy_fixture.h"

#define PASS "proxy_pass http://b:1/; "

static const struct {
	const char *directives, *value, *want; /* NULL: unchanged */
	bool refresh;
} locations[] = {
	{PASS, "http://b:1/abc", "/r/abc", false},
	{PASS, "http://other/x", NULL, false},
	{PASS, "/rel/x", NULL, false},
	{PASS "proxy_redirect off;", "http://b:1/abc", NULL, false},
	{PASS "proxy_redirect default;", "http://b:1/abc", "/r/abc", false},
	{PASS "proxy_redirect http://x/ /y/;", "http://x/q/w", "/y/q/w", false},
	{PASS "proxy_redirect http://x/ /y/;", "http://b:1/abc", NULL, false},
	{PASS "proxy_redirect http://x/ /y/; proxy_redirect default;", "http://b:1/abc", "/r/abc",
	 false},
	{PASS "proxy_redirect ~^http://([^/]+)/(.*)$ https://front/$1/$2;", "http://h:2/a/b",
	 "https://front/h:2/a/b", false},
	{PASS "proxy_redirect ~*^/UP(.*) http://$v$1;", "/upper", "http://mehost!per", false},
	{PASS "proxy_redirect ~^/UP(.*) http://$v$1;", "/upper", NULL, false},
	{PASS "proxy_redirect http://$v/ /;", "http://mehost!/p", "/p", false},
	{PASS "proxy_redirect ~^/(?<w>[a-z]+)/ /n/$w/;", "/abc/d", "/n/abc/", false},
	{PASS, "5; url=http://b:1/abc", "5; url=/r/abc", true},
	{PASS, "5; URL=http://b:1/abc", "5; URL=/r/abc", true},
	{PASS, "5", NULL, true},
	{"proxy_pass http://b:1;", "http://b:1/abc", "/abc", false},
};

static void locations_are_rewritten(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(locations); i++) {
		struct proxy_fixture f;
		struct span out;

		proxy_load(&f, "/r/", locations[i].directives);
		assert_int_equal(f.result, CONF_OK);
		proxy_request(&f, "/r/", NULL);
		f.r.host = SPAN("mehost!");
		assert_int_equal(proxy_rewrite_location(&f.x, locations[i].refresh,
							span_of(locations[i].value), &out),
				 FAIL_OK);
		assert_int_equal(out.p != NULL, locations[i].want != NULL);
		if (out.p)
			assert_span(out, locations[i].want);
		proxy_done_with(&f);
	}
}

#define K1                                                                                         \
	PASS "proxy_cookie_domain localhost .example.org; proxy_cookie_path /one/ /; "             \
	     "proxy_cookie_flags one secure samesite=lax; proxy_cookie_flags ~ nohttponly "        \
	     "nosecure;"
#define K2                                                                                         \
	PASS "proxy_cookie_domain ~\\.(?P<d>[a-z]+)\\.com$ $d.net; proxy_cookie_path "             \
	     "~*^/User/(.+) /u/$1;"

static const struct {
	const char *directives, *value, *want;
} cookies[] = {
	{K1, "one=1; Domain=localhost; Path=/one/two; HttpOnly",
	 "one=1; Domain=example.org; Path=/two; HttpOnly; Secure; SameSite=Lax"},
	{K1, "two=2;path=/one/;domain=.localhost;Secure;HttpOnly",
	 "two=2; path=/; domain=.example.org"},
	{K1, "a=b; Domain=x.foo.com; Path=/user/joe; SameSite=Strict", NULL},
	{K1, "plain=1", NULL},
	{K1, "one=; secure", "one=; secure; SameSite=Lax"},
	{K2, "one=1; Domain=localhost; Path=/one/two; HttpOnly", NULL},
	{K2, "two=2;path=/one/;domain=.localhost;Secure;HttpOnly", NULL},
	{K2, "a=b; Domain=x.foo.com; Path=/user/joe; SameSite=Strict",
	 "a=b; Domain=foo.net; Path=/u/joe; SameSite=Strict"},
	{PASS "proxy_cookie_path off;", "a=b; path=/", NULL},
	{PASS "proxy_cookie_flags $v httponly;", "MEHOST!=b", "MEHOST!=b; HttpOnly"},
};

static void cookies_are_rewritten(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(cookies); i++) {
		struct proxy_fixture f;
		struct span out;

		proxy_load(&f, "/r/", cookies[i].directives);
		assert_int_equal(f.result, CONF_OK);
		proxy_request(&f, "/r/", NULL);
		f.r.host = SPAN("mehost!");
		assert_int_equal(proxy_rewrite_cookie(&f.x, span_of(cookies[i].value), &out),
				 FAIL_OK);
		assert_int_equal(out.p != NULL, cookies[i].want != NULL);
		if (out.p)
			assert_span(out, cookies[i].want);
		proxy_done_with(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(locations_are_rewritten),
		cmocka_unit_test(cookies_are_rewritten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
