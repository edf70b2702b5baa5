#include "serve/serve_fixture.h"

static struct serve_fixture fixture;
static struct conn nobody;

/* The file of a URI, "" when there is none. */
static void expect_path(const char *locations, const char *uri, const char *path)
{
	char text[1024];
	struct http_port *p;
	struct req *r;
	struct span got;

	snprintf(text, sizeof(text), "server { listen 80; root /srv; %s }", locations);
	serve_load_ok(&fixture, text);
	snapshot_switch(fixture.snap, 0);
	nobody.listener = &fixture.listeners[0];
	p = fixture.http->ports[0];
	r = serve_request(&nobody, p, p->default_server, uri);
	assert_int_equal(location_find(r), 0);
	got = req_path(r);
	assert_span(got, path);
	if (got.n)
		assert_int_equal(got.p[got.n], 0);
	req_free(r);
	snapshot_switch(NULL, 0);
	serve_unload(&fixture);
	req_thread_fini();
}

static void roots(void **state)
{
	expect_path("", "/a/b", "/srv/a/b");
	expect_path("", "/", "/srv/");
	expect_path("location /a/ { root /other/; }", "/a/b", "/other/a/b");
	expect_path("location /a/ { root rel; }", "/a/b", "/p/rel/a/b");
	expect_path("location /a/ { root /x; location /a/b/ {} }", "/a/b/c", "/x/a/b/c");
	expect_path("location ~ ^/u/(\\w+) { root /home/$1; }", "/u/bob/x", "/home/bob/u/bob/x");
	expect_path("location / { root /d$uri; }", "/x", "/d/x/x");
	expect_path("location / { root /; }", "/x", "//x");
}

static void aliases(void **state)
{
	expect_path("location /a/ { alias /x/; }", "/a/b/c", "/x/b/c");
	expect_path("location /a { alias /x; }", "/a/b", "/x/b");
	expect_path("location /a { alias /x; }", "/ab", "/xb");
	expect_path("location = /f { alias /x/file; }", "/f", "/x/file");
	expect_path("location ~ ^/d/(.*)\\.(jpg|png)$ { alias /x/$2/$1; }", "/d/p.png", "/x/png/p");
	expect_path("location /a/ { alias /x/; location /a/b/ {} }", "/a/b/c", "/x/b/c");
	expect_path("location /a/ { alias /x/; location ~ c$ {} }", "/a/b/c", "/x/b/c");
	expect_path("location /a/ { alias /x/; location /a/b/ { root /r; } }", "/a/b/c",
		    "/r/a/b/c");
	expect_path("location /a/ { alias rel/; }", "/a/b", "/p/rel/b");
	expect_path("location /v/ { alias /$host/; }", "/v/b", "//b");
}

/* N19: no ".." behind a root or an alias, whoever made the URI. */
static void nothing_leaves_the_root(void **state)
{
	expect_path("location /a { alias /x/; }", "/a../etc/passwd", "");
	expect_path("location /a { alias /x; }", "/a/../etc", "");
	expect_path("location /a { alias /x/; }", "/a..", "");
	expect_path("", "/..", "");
	expect_path("", "/a/../b", "");
	expect_path("", "/a/..", "");
	expect_path("", "/a..b/..c/d../...", "/srv/a..b/..c/d../...");
	expect_path("location /a { alias /x/; }", "/a..b", "/x/..b");
}

static void zero_bytes(void **state)
{
	struct http_port *p;
	struct req *r;

	serve_load_ok(&fixture, "server { listen 80; }");
	snapshot_switch(fixture.snap, 0);
	nobody.listener = &fixture.listeners[0];
	p = fixture.http->ports[0];
	r = serve_request(&nobody, p, p->default_server, "/");
	assert_null(req_path_of(r, span_make("/a\0b", 4)).p);
	assert_span(req_path_of(r, SPAN("/other")), "/p/html/other");
	req_free(r);
	snapshot_switch(NULL, 0);
	serve_unload(&fixture);
}

static void mistakes(void **state)
{
	static const char *const pairs[] = {
		"root /x; root /y;",
		"\"root\" directive is duplicate\n",
		"alias /x; alias /y;",
		"\"alias\" directive is duplicate\n",
		"alias /x; root /y;",
		"\"root\" directive is duplicate, \"alias\" directive was specified earlier\n",
		"root /x; alias /y;",
		"\"alias\" directive is duplicate, \"root\" directive was specified earlier\n",
		NULL};

	for (int i = 0; pairs[i]; i += 2) {
		char text[256];

		snprintf(text, sizeof(text), "server { listen 80; location /a { %s } }", pairs[i]);
		expect_problems(text, pairs[i + 1]);
	}
	expect_problems("server { listen 80; location @a { alias /x; } }",
			"the \"alias\" directive cannot be used inside the named location\n");
	expect_problems("root /x; server { listen 80; root /y; location / { root /z; } }", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roots),
		cmocka_unit_test(aliases),
		cmocka_unit_test(nothing_leaves_the_root),
		cmocka_unit_test(zero_bytes),
		cmocka_unit_test(mistakes),
	};

	return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
