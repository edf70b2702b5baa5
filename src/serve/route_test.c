#include "serve/serve_fixture.h"
#include "serve/route.h"

static struct serve_fixture fixture;
static struct conn nobody; /* requests of these tests came in on no connection */

static MAY_SUSPEND int say_ok(struct req *r, const struct conf_node *say)
{
	return req_answer_text(r, 200, SPAN("text/plain"), say->words[2].text);
}
static const struct say_word words[] = {{"ok", say_ok}, {NULL, NULL}};

static void load(const char *http)
{
	say_words = words;
	serve_load_ok(&fixture, http);
	snapshot_switch(fixture.snap, 0);
	nobody.listener = &fixture.listeners[0];
}

static void unload(void)
{
	snapshot_switch(NULL, 0);
	serve_unload(&fixture);
	req_thread_fini();
}

/* ---- server names ---- */

/* $server_name of the server that answers for that host on port i. */
static struct span server_for(unsigned i, const char *host)
{
	return vnames_find(fixture.http->ports[i], span_of(host), NULL)->name;
}

static void names_in_nginx_order(void **state)
{
	load("server { listen 80; server_name default.net; }"
	     "server { listen 80; server_name ~^www\\.ex; }"
	     "server { listen 80; server_name www.example.*; }"
	     "server { listen 80; server_name *.example.com; }"
	     "server { listen 80; server_name www.example.com exact; }"
	     "server { listen 80; server_name .dot.org; }"
	     "server { listen 80; server_name *.b.example.com; }"
	     "server { listen 80; server_name www.*; }"
	     "server { listen 80; server_name ~^later; }"
	     "server { listen 80; server_name ~^late; }"
	     "server { listen 80; server_name Mixed.COM TRAILING.; }");
	assert_span(server_for(0, "www.example.com"), "www.example.com");
	assert_span(server_for(0, "exact"), "www.example.com");
	assert_span(server_for(0, "a.example.com"), "*.example.com");
	assert_span(server_for(0, "a.b.c.example.com"), "*.example.com");
	assert_span(server_for(0, "a.b.example.com"), "*.b.example.com");
	assert_span(server_for(0, "b.example.com"), "*.example.com");
	assert_span(server_for(0, "example.com"), "default.net");
	assert_span(server_for(0, "www.example.net"), "www.example.*");
	assert_span(server_for(0, "www.example.co.uk"), "www.example.*");
	assert_span(server_for(0, "www.other"), "www.*");
	assert_span(server_for(0, "wwwx.other"), "default.net");
	assert_span(server_for(0, "www.exotic"), "www.*"); /* a wildcard before a regex */
	assert_span(server_for(0, "dot.org"), "dot.org");
	assert_span(server_for(0, "a.dot.org"), "dot.org");
	assert_span(server_for(0, "a.b.dot.org"), "dot.org");
	assert_span(server_for(0, "xdot.org"), "default.net");
	assert_span(server_for(0, "later"), "~^later"); /* the first regex in the file */
	assert_span(server_for(0, "mixed.com"), "mixed.com");
	assert_span(server_for(0, "trailing"), "mixed.com");
	assert_span(server_for(0, "unknown"), "default.net");
	assert_span(server_for(0, ""), "default.net");
	assert_span(server_for(0, "."), "default.net");
	assert_span(server_for(0, ".example.com"), "*.example.com");
	unload();
}

static void empty_name_and_default(void **state)
{
	load("server { listen 80; server_name a; }"
	     "server { listen 80; server_name \"\"; }"
	     "server { listen 80 default_server; server_name d; }");
	assert_span(server_for(0, "a"), "a");
	assert_span(server_for(0, ""), ""); /* no Host: the server that is called "" */
	assert_span(server_for(0, "x"), "d");
	unload();
}

static void captures_of_a_name(void **state)
{
	struct req *r;

	load("server { listen 80; server_name plain; }"
	     "server { listen 80; server_name ~^(?<user>\\w+)\\.(home|away)\\.net$; "
	     "root /$user/$2; }");
	r = serve_request(&nobody, fixture.http->ports[0], fixture.http->ports[0]->default_server,
			  "/x");
	r->server = vnames_find(fixture.http->ports[0], SPAN("bob.away.net"), r);
	r->scope = r->server->scope;
	assert_span(req_path(r), "/bob/away/x");
	req_free(r);
	unload();
}

/* A name that is found without its captures: only the regular expression sets them. */
static void single_server_with_captures(void **state)
{
	struct req *r;

	load("server { listen 80; server_name plain.net ~^(?<user>\\w+)\\.net$; root /[$user]; }");
	r = serve_request(&nobody, fixture.http->ports[0], fixture.http->ports[0]->default_server,
			  "/x");
	vnames_find(fixture.http->ports[0], SPAN("plain.net"), r);
	assert_span(req_path(r), "/[]/x");
	req_free(r);
	r = serve_request(&nobody, fixture.http->ports[0], fixture.http->ports[0]->default_server,
			  "/x");
	vnames_find(fixture.http->ports[0], SPAN("bob.net"), r);
	assert_span(req_path(r), "/[bob]/x");
	req_free(r);
	unload();
}

/* ---- ports ---- */

static struct http_port *port_for(unsigned listener, const char *local)
{
	struct net_addr a;

	assert_true(addr_parse(span_of(local), 0, &a));
	return http_port_find(fixture.http, &fixture.listeners[listener], &a.sa);
}

static void wildcard_covers_addresses(void **state)
{
	load("server { listen 127.0.0.1:80; server_name one; }"
	     "server { listen 80; server_name any; }"
	     "server { listen 127.0.0.2:80; server_name two; }"
	     "server { listen 127.0.0.3:80 bind; server_name own; }"
	     "server { listen 127.0.0.1:81; server_name other_port; }"
	     "server { listen [::1]:80; server_name six; }");
	assert_ptr_equal(serve_port(&fixture, "127.0.0.1:80")->covers,
			 serve_port(&fixture, "0.0.0.0:80"));
	assert_null(serve_port(&fixture, "127.0.0.3:80")->covers);
	assert_null(serve_port(&fixture, "127.0.0.1:81")->covers);
	assert_null(serve_port(&fixture, "[::1]:80")->covers);
	assert_true(serve_port(&fixture, "0.0.0.0:80")->covered);
	assert_span(port_for(1, "127.0.0.1:80")->default_server->name, "one");
	assert_span(port_for(1, "127.0.0.2:80")->default_server->name, "two");
	assert_span(port_for(1, "127.0.0.9:80")->default_server->name, "any");
	assert_span(port_for(3, "127.0.0.3:80")->default_server->name, "own");
	assert_null(http_port_find(fixture.http, &fixture.listeners[9], NULL));
	unload();
}

/* ---- locations ---- */

/* Routes a URI: the name of its location as written, "301 URL", or "404". */
static const char *route_of(const char *uri)
{
	static char text[256];
	struct http_port *p = fixture.http->ports[0];
	struct req *r = serve_request(&nobody, p, p->default_server, uri);
	int rc = location_find(r);

	if (rc == 301)
		snprintf(text, sizeof(text), "301 %.*s", SPAN_ARG(r->resp.location));
	else if (rc)
		snprintf(text, sizeof(text), "%d", rc);
	else
		snprintf(text, sizeof(text), "%.*s", SPAN_ARG(r->location->name));
	assert_non_null(r->location);
	assert_ptr_equal(r->scope, r->location->scope);
	req_free(r);
	return text;
}

static void expect_routes(const char *locations, const char *const *pairs)
{
	char text[4096];

	snprintf(text, sizeof(text), "server { listen 80; %s }", locations);
	load(text);
	for (; *pairs; pairs += 2) {
		const char *got = route_of(pairs[0]);

		if (strcmp(got, pairs[1]))
			print_error("%s goes to %s\n", pairs[0], got);
		assert_string_equal(got, pairs[1]);
	}
	unload();
}

static void prefixes_and_exact(void **state)
{
	expect_routes("location / {} location /a {} location /ab/ {} location = /a {}"
		      "location = /ab/c {} location /abc {} location /ab/cd {} location /A {}",
		      (const char *const[]){"/",       "/",	 "/x",	  "/",	    "/a",
					    "/a",      "/ax",	 "/a",	  "/ab",    "/a",
					    "/ab/",    "/ab/",	 "/abc",  "/abc",   "/abcd",
					    "/abc",    "/ab/c",	 "/ab/c", "/ab/cc", "/ab/",
					    "/ab/cdx", "/ab/cd", "/Ax",	  "/A",	    NULL});
	expect_routes("", (const char *const[]){"/", "", "/x", "", NULL});
	expect_routes("location /x {}", (const char *const[]){"/y", "", "/xy", "/x", NULL});
}

static void regexes(void **state)
{
	expect_routes("location / {} location ^~ /static/ {} location /img/ {}"
		      "location ~ \\.gif$ {} location ~* \\.JPG$ {} location ~ ^/img/.*\\.gif$ {}"
		      "location = /one.gif {}",
		      (const char *const[]){"/a.gif", "\\.gif$", "/a.GIF", "/", "/a.jPg", "\\.JPG$",
					    "/static/a.gif", "/static/", "/img/a.gif", "\\.gif$",
					    "/img/x", "/img/", "/one.gif", "/one.gif", NULL});
}

/* ^~ ends the search for regular expressions only on its own level. */
static void final_prefix_per_level(void **state)
{
	expect_routes(
		"location ^~ /a/ { location /a/b/ {} location ~ \\.in$ {} } location ~ \\.x$ {}"
		"location /c/ { location ^~ /c/d/ {} location ~ \\.x$ {} }"
		"location ~ out$ {}",
		(const char *const[]){"/a/b/1.x", "/a/b/", "/a/1.x", "/a/", "/a/b/1.in", "\\.in$",
				      "/c/d/1.x", "\\.x$", "/c/1.x", "\\.x$", "/c/d/out", "out$",
				      "/c/d/1", "/c/d/", NULL});
}

static void nested(void **state)
{
	expect_routes("location /a/ { location = /a/exact {} location /a/b/ { location ~ z$ {} }"
		      "  location ~ y$ {} }"
		      "location ~ [xyz]$ { location ~ ^/r/ { location /r/p {} } }",
		      (const char *const[]){"/a/exact", "/a/exact", "/a/b/1z", "z$", "/a/b/1y",
					    "y$", "/a/b/1x", "[xyz]$", "/a/b/1", "/a/b/", "/a/y",
					    "y$", "/r/1z", "^/r/", "/r/pz", "/r/p", "/q/z",
					    "[xyz]$", NULL});
}

static void slash_is_added(void **state)
{
	expect_routes("location / {} location /p/ { say ok; } location = /e/ { say ok; }"
		      "location /q/ { say ok; } location /q {} location = /r {}"
		      "location /r/ { say ok; } location ~ ^/p$ {} location /n/ {}"
		      "location /o/ { location /o/s/ { say ok; } }"
		      "location '/sp ace/' { say ok; }",
		      (const char *const[]){"/p",  "301 /p/", "/p/",	 "/p/",
					    "/px", "/",	      "/e",	 "301 /e/",
					    "/q",  "/q",      "/r",	 "/r",
					    "/n",  "/",	      "/o/s",	 "301 /o/s/",
					    "/o",  "/",	      "/sp ace", "301 /sp%20ace/",
					    NULL});
}

static void slash_keeps_arguments(void **state)
{
	struct req *r;

	load("server { listen 80; location /p/ { say ok; } }");
	r = serve_request(&nobody, fixture.http->ports[0], fixture.http->ports[0]->default_server,
			  "/p");
	r->args = SPAN("a=b");
	assert_int_equal(location_find(r), 301);
	assert_span(r->resp.location, "/p/?a=b");
	req_free(r);
	unload();
}

static void internal_and_named(void **state)
{
	struct http_port *p;
	struct req *r;

	load("server { listen 80; location /in { internal; } location @n { root /named; }"
	     "location @n { root /second; }"
	     "location /deep/ { internal; location /deep/er { } location ~ x$ { } } }");
	p = fixture.http->ports[0];
	assert_string_equal(route_of("/in"), "404");
	assert_string_equal(route_of("/deep/er"), "404");
	assert_string_equal(route_of("/deep/x"), "404");
	assert_string_equal(route_of("/@n"), "");
	r = serve_request(&nobody, p, p->default_server, "/in");
	r->internal = true;
	assert_int_equal(location_find(r), 0);
	assert_int_equal(req_redirect_named(r, SPAN("@n")), PHASE_AGAIN);
	assert_span(req_path(r), "/named/in");
	assert_int_equal(req_redirect_named(r, SPAN("@none")), 500);
	req_free(r);
	unload();
}

static void captures_of_a_location(void **state)
{
	struct http_port *p;
	struct req *r;

	load("server { listen 80; location ~ ^/(?<who>[a-z]+)/(\\d*) { root /$who/$2; } }");
	p = fixture.http->ports[0];
	r = serve_request(&nobody, p, p->default_server, "/bob/42");
	assert_int_equal(location_find(r), 0);
	assert_span(req_path(r), "/bob/42/bob/42");
	req_free(r);
	unload();
}

/* An eleventh redirect is refused, and so is every one after it. */
static void redirects_end(void **state)
{
	struct http_port *p;
	struct req *r;

	load("server { listen 80; location @n {} }");
	p = fixture.http->ports[0];
	r = serve_request(&nobody, p, p->default_server, "/");
	for (int i = 0; i < 10; i++)
		assert_int_equal(i % 2 ? req_redirect(r, SPAN("/x"), SPAN(""))
				       : req_redirect_named(r, SPAN("@n")),
				 PHASE_AGAIN);
	for (int i = 0; i < 300; i++)
		assert_int_equal(i % 2 ? req_redirect(r, SPAN("/x"), SPAN(""))
				       : req_redirect_named(r, SPAN("@n")),
				 500);
	req_free(r);
	unload();
}

static void location_mistakes(void **state)
{
	static const char *const pairs[] = {
		"location x {} location x {}",
		"duplicate location \"x\"\n",
		"location = x {} location x {}",
		"",
		"location = x {} location = x {}",
		"duplicate location \"x\"\n",
		"location ^~ x {} location x {}",
		"duplicate location \"x\"\n",
		"location ~ x {} location ~ x {}",
		"",
		"location foo bar {}",
		"invalid location modifier \"foo\"\n",
		"location /a { location /b {} }",
		"location \"/b\" is outside location \"/a\"\n",
		"location /a { location ~ b {} }",
		"",
		"location = /a { location /a/b {} }",
		"location \"/a/b\" cannot be inside the exact location \"/a\"\n",
		"location @a { location /b {} }",
		"location \"/b\" cannot be inside the named location \"@a\"\n",
		"location /a { location @b {} }",
		"named location \"@b\" can be on the server level only\n",
		"location ~ \"(\" {}",
		"pcre2_compile() failed: missing closing parenthesis in \"(\"\n",
		"location /a { limit_except FOO {} }",
		"invalid method \"FOO\"\n",
		"location /a { limit_except TRACE {} }",
		"invalid method \"TRACE\"\n",
		"location /a { limit_except get Put {} }",
		"",
		"location /a { limit_except GET {} limit_except POST {} }",
		"\"limit_except\" directive is duplicate\n",
		NULL};

	for (int i = 0; pairs[i]; i += 2) {
		char text[256];

		snprintf(text, sizeof(text), "server { listen 80; %s }", pairs[i]);
		expect_problems(text, pairs[i + 1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_in_nginx_order),
		cmocka_unit_test(empty_name_and_default),
		cmocka_unit_test(captures_of_a_name),
		cmocka_unit_test(single_server_with_captures),
		cmocka_unit_test(wildcard_covers_addresses),
		cmocka_unit_test(prefixes_and_exact),
		cmocka_unit_test(regexes),
		cmocka_unit_test(final_prefix_per_level),
		cmocka_unit_test(nested),
		cmocka_unit_test(slash_is_added),
		cmocka_unit_test(slash_keeps_arguments),
		cmocka_unit_test(internal_and_named),
		cmocka_unit_test(captures_of_a_location),
		cmocka_unit_test(redirects_end),
		cmocka_unit_test(location_mistakes),
	};

	return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
