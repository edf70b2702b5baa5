#include "serve/serve_fixture.h"

static struct serve_fixture fixture;
static struct client k;

/* The text behind the first slash of `root`, which is a template. */
static MAY_SUSPEND int say_value(struct req *r, const struct conf_node *say)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	struct span v = tmpl_eval(l->root, &r->vars);

	return req_answer_text(r, 200, SPAN("text/plain"), span_cut(v, 1, v.n));
}

static const struct say_word words[] = {{"value", say_value}, {NULL, NULL}};

/* What a template gives in a request. */
static const char *value(const char *template, const char *request)
{
	static char kept[8192];
	char conf[2048];

	snprintf(conf, sizeof(conf),
		 "server { listen 80; server_name first.example *.example; "
		 "location / { say value; root \"/%s\"; } }",
		 template);
	serve_load_ok(&fixture, conf);
	snapshot_switch(fixture.snap, 0);
	client_open(&k, &fixture, 0);
	snprintf(kept, sizeof(kept), "%s", body_of(client_ask(&k, request)));
	client_close(&k);
	snapshot_switch(NULL, 0);
	serve_unload(&fixture);
	return kept;
}

#define REQUEST                                                                                    \
	"GET /a%20b/../c?x=1&Y=two%20&z HTTP/1.1\r\nHost: Sub.Example:8080\r\nX-One: 1\r\n"        \
	"X-Two: a\r\nX-Two: b\r\nCookie: c=3; d=\"4\"\r\nCookie: e=5\r\nReferer: ref\r\n"          \
	"Content-Type: t/x\r\nConnection: close\r\n"
#define GET	    REQUEST "\r\n"
#define WITH(field) REQUEST field "\r\n\r\n"

static void of_the_request(void **state)
{
	static const char *const pairs[] = {
		"$request_method $uri|$document_uri|$request_uri",
		"GET /c|/c|/a%20b/../c?x=1&Y=two%20&z",
		"$args|$query_string|$is_args",
		"x=1&Y=two%20&z|x=1&Y=two%20&z|?",
		"$arg_x|$arg_y|$arg_z|$arg_none",
		"1|two%20||",
		"$host|$http_host|$server_name|$request_port|$is_request_port",
		"sub.example|Sub.Example:8080|first.example|8080|:",
		"$http_x_one|$http_x_two|$http_x_none",
		"1|a, b|",
		"$http_cookie|$cookie_c|$cookie_e|$cookie_none",
		"c=3; d=\"4\"; e=5|3|5|",
		"$http_referer|$content_type|$content_length|$http_user_agent",
		"ref|t/x||",
		"$server_protocol|$scheme|$https|$http2|$http3",
		"HTTP/1.1|http|||",
		"$request",
		"GET /a%20b/../c?x=1&Y=two%20&z HTTP/1.1",
		"$connection_requests|$pipe|$request_completion",
		"1|.|",
		"$nginx_version",
		"1.31.5",
		NULL,
	};

	for (int i = 0; pairs[i]; i += 2)
		assert_string_equal(value(pairs[i], GET), pairs[i + 1]);
}

/* RFC 7617, and what is none of it. */
static void remote_user(void **state)
{
	static const char *const pairs[] = {
		WITH("Authorization: Basic dXNlcjpwYXNz"),
		"user|",
		WITH("authorization: bAsIc   dXNlcjpwYXNz"),
		"user|",
		WITH("Authorization: Basic dXNlcjo="),
		"user|", /* no password */
		WITH("Authorization: Basic dXNlcjphOmI="),
		"user|",
		WITH("Authorization: Basic dXNlcg=="),
		"|", /* no colon */
		WITH("Authorization: Basic OnBhc3M="),
		"|", /* no name */
		WITH("Authorization: Basic"),
		"|",
		WITH("Authorization: Basic ==="),
		"|",
		WITH("Authorization: Bearer dXNlcjpwYXNz"),
		"|",
		WITH("Proxy-Authorization: Basic dXNlcjpwYXNz"),
		"|", /* this is no proxy */
		GET,
		"|",
		NULL,
	};

	for (int i = 0; pairs[i]; i += 2)
		assert_string_equal(value("$remote_user|", pairs[i]), pairs[i + 1]);
}

static void hosts(void **state)
{
	static const char *const pairs[] = {
		"GET / HTTP/1.0\r\n\r\n",
		"first.example||",
		"GET / HTTP/1.0\r\nHost: A.b:1\r\n\r\n",
		"a.b|A.b:1|1",
		"GET http://X.y:99/ HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n",
		"x.y|other|99",
		"GET / HTTP/1.1\r\nHost: [::1]:7\r\nConnection: close\r\n\r\n",
		"[::1]|[::1]:7|7",
		"GET / HTTP/1.1\r\nHost: a.\r\nConnection: close\r\n\r\n",
		"a|a.|",
		NULL,
	};

	for (int i = 0; pairs[i]; i += 2)
		assert_string_equal(value("$host|$http_host|$request_port", pairs[i]),
				    pairs[i + 1]);
}

static void ids_differ(void **state)
{
	char one[128];

	snprintf(one, sizeof(one), "%s", value("$request_id$request_id", GET));
	assert_int_equal(strlen(one), 64);
	assert_int_equal(strspn(one, "0123456789abcdef"), 64);
	assert_memory_equal(one, one + 32, 32);
	assert_string_not_equal(value("$request_id$request_id", GET), one);
}

#define T(f) cmocka_unit_test_setup_teardown(f, serve_setup, serve_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(of_the_request),
		T(remote_user),
		T(hosts),
		T(ids_differ),
	};

	say_words = words;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
