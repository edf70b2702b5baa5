/* The rows were asked of nginx itself, but for those marked with N19. */
#include "proxy/proxy_fixture.h"

static const struct {
	const char *location, *pass, *uri; /* decoded */
	const char *sent_uri;		   /* as the client sent it; NULL: it was changed since */
	const char *args, *want;	   /* want NULL: refused */
} uris[] = {
	{"/a/", "http://127.0.0.1:1/", "/a/x", "/a/x", NULL, "/x"},
	{"/a/", "http://127.0.0.1:1/", "/a/x y", "/a/x%20y", NULL, "/x%20y"},
	{"/a/", "http://127.0.0.1:1/", "/a/x/y", "/a/x%2Fy", NULL, "/x/y"},
	{"/a/", "http://127.0.0.1:1/", "/a/", "/a/", NULL, "/"},
	{"/a/", "http://127.0.0.1:1/", "/a/z", "/a/../a/z", NULL, "/z"},
	{"/a/", "http://127.0.0.1:1/", "/a/x", "/a/x?k=v", "k=v", "/x?k=v"},
	{"/a/", "http://127.0.0.1:1/", "/a/%", "/a/%25", NULL, "/%25"},
	{"/a/", "http://127.0.0.1:1/", "/a/?q", "/a/%3Fq", NULL, "/%3Fq"},
	{"/a/", "http://127.0.0.1:1/", "/a/\303\244", "/a/%c3%a4", NULL, "/%C3%A4"},
	{"/b/", "http://127.0.0.1:1", "/b/x y/", "/b/x%20y%2f?a=b", "a=b", "/b/x%20y%2f?a=b"},
	{"/b/", "http://127.0.0.1:1", "/b/c", "/b/a/../c", NULL, "/b/a/../c"},
	{"/b/", "http://127.0.0.1:1", "/b/new x", NULL, "z=1", "/b/new%20x?z=1"},
	{"/c/", "http://127.0.0.1:1/pre/fix", "/c/x", "/c/x", NULL, "/pre/fixx"},
	{"/d", "http://127.0.0.1:1/y/", "/d", "/d", NULL, "/y/"},
	{"/d", "http://127.0.0.1:1/y/", "/dxx", "/dxx", NULL, "/y/xx"},
	{"/d", "http://127.0.0.1:1/y/", "/d/x", "/d/x", NULL, "/y//x"},
	{"/d", "http://127.0.0.1:1/y/", "/d../x", "/d../x", NULL, NULL}, /* N19 */
	{"/d", "http://127.0.0.1:1/y/", "/d..", "/d..", NULL, NULL},	 /* N19 */
	{"/d", "http://127.0.0.1:1/y/", "/d..x", "/d..x", NULL, "/y/..x"},
	{"/e/", "http://127.0.0.1:1/?q=1", "/e/z", "/e/z?k=v", "k=v", "/?q=1z?k=v"},
	{"/g/", "http://127.0.0.1:1/i/", "/new/x", NULL, NULL, "/new/x"}, /* rewrite ... break */
	{"~ ^/re/", "http://127.0.0.1:1", "/re/a b", "/re/a%20b?x=1", "x=1", "/re/a%20b?x=1"},
	{"@n", "http://127.0.0.1:1", "/tf/n m", NULL, "x", "/tf/n%20m?x"},
};

static void the_uri_follows_nginx(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(uris); i++) {
		struct proxy_fixture f;
		char directives[256];
		struct span got;
		enum fail rc;

		snprintf(directives, sizeof(directives), "proxy_pass %s;", uris[i].pass);
		proxy_load(&f, uris[i].location, directives);
		assert_int_equal(f.result, CONF_OK);
		proxy_request(&f, uris[i].uri, NULL);
		f.r.valid_unparsed_uri = uris[i].sent_uri;
		f.r.unparsed_uri = span_of(uris[i].sent_uri);
		f.r.args = span_of(uris[i].args);
		f.r.has_args = uris[i].args;
		rc = proxy_uri(&f.r, f.x.conf->pass, f.x.target, &got);
		assert_int_equal(rc, uris[i].want ? FAIL_OK : FAIL_BAD_URI);
		if (uris[i].want)
			assert_span(got, uris[i].want);
		proxy_done_with(&f);
	}
}

static const struct {
	const char *url, *host_header, *port, *uri, *host, *err;
} urls[] = {
	{"http://h", "h", "80", "", "h", NULL},
	{"http://h:80", "h", "80", "", "h", NULL},
	{"http://h:8080/x", "h:8080", "8080", "/x", "h", NULL},
	{"https://h/", "h", "443", "/", "h", NULL},
	{"https://h:443/a?b", "h", "443", "/a?b", "h", NULL},
	{"http://h?b", "h", "80", "/?b", "h", NULL},
	{"http://[::1]:81/", "[::1]:81", "81", "/", "[::1]", NULL},
	{"http://[::1]", "[::1]", "80", "", "[::1]", NULL},
	{"http://unix:/run/x.sock", "localhost", "", "", "localhost", NULL},
	{"http://unix:/run/x.sock:/u/v", "localhost", "", "/u/v", "localhost", NULL},
	{"ftp://h", NULL, NULL, NULL, NULL, "invalid URL prefix"},
	{"h:80", NULL, NULL, NULL, NULL, "invalid URL prefix"},
	{"http://", NULL, NULL, NULL, NULL, "no host in upstream"},
	{"http://h:x", NULL, NULL, NULL, NULL, "invalid port in upstream"},
	{"http://h:70000", NULL, NULL, NULL, NULL, "invalid port in upstream"},
};

static void urls_are_taken_apart(void **state)
{
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct proxy_target t;
		struct span host_port;
		bool no_port;
		const char *err;
		bool ok = proxy_url_parse(&a, span_of(urls[i].url), &t, &host_port, &no_port, &err);

		assert_int_equal(ok, urls[i].err == NULL);
		if (!ok) {
			assert_string_equal(err, urls[i].err);
			continue;
		}
		assert_span(t.host_header, urls[i].host_header);
		assert_span(t.port, urls[i].port);
		assert_span(t.uri, urls[i].uri);
		assert_span(t.host, urls[i].host);
	}
	arena_fini(&a);
}

static void mistakes_are_named_as_nginx_does(void **state)
{
	static const struct {
		const char *location, *directives, *message;
	} table[] = {
		{"~ x", "proxy_pass http://127.0.0.1:1/u;",
		 "\"proxy_pass\" cannot have URI part in location given by regular expression, or "
		 "inside named "
		 "location, or inside \"if\" statement, or inside \"limit_except\" block"},
		{"/x", "proxy_pass 127.0.0.1:1;", "invalid URL prefix"},
		{"/x", "proxy_pass http://127.0.0.1:1; proxy_pass http://127.0.0.1:2;",
		 "\"proxy_pass\" directive is duplicate"},
		{"/x", "proxy_redirect nonsense;", "invalid parameter \"nonsense\""},
		{"/x", "proxy_cookie_flags a nonsense;", "invalid parameter \"nonsense\""},
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct proxy_fixture f;

		proxy_load(&f, table[i].location, table[i].directives);
		assert_int_equal(f.result, CONF_ERR);
		assert_span(proxy_problem(&f), table[i].message);
		snapshot_drop_loader(f.snap);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_uri_follows_nginx),
		cmocka_unit_test(urls_are_taken_apart),
		cmocka_unit_test(mistakes_are_named_as_nginx_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
