#include "proxy/proxy_fixture.h"

#define PASS "proxy_pass http://127.0.0.1:8000;"

static const char *const browser[] = {
	"Host: shop.example",
	"User-Agent: u/1",
	"Connection: keep-alive, X-Hop",
	"X-Hop: 1",
	"Keep-Alive: 5",
	"TE: trailers",
	"Trailer: X",
	"Upgrade: h2c",
	"HTTP2-Settings: AAAA",
	"Proxy-Connection: x",
	"Expect: 100-continue",
	"Transfer-Encoding: chunked",
	"Content-Length: 3",
	"Cookie: a=b",
	"If-None-Match: \"x\"",
	"Range: bytes=0-1",
	NULL,
};

static const struct {
	const char *directives;
	const char *const *fields;
	const char *v;	  /* the value of $v */
	const char *want; /* NULL: refused */
} heads[] = {
	{PASS, NULL, "", "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS, browser, "",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: u/1\r\nCookie: "
	 "a=b\r\nIf-None-Match: \"x\"\r\n"
	 "Range: bytes=0-1\r\n\r\n"},
	{PASS "proxy_http_version 1.0;", NULL, "",
	 "GET /u HTTP/1.0\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n\r\n"},
	{PASS "proxy_http_version 1.0; proxy_set_header Connection \"\";", NULL, "",
	 "GET /u HTTP/1.0\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS "proxy_set_header Host $v; proxy_set_header X-A a; proxy_set_header X-B \"\"; "
	      "proxy_set_header X-C <$v>;",
	 NULL, "w.example",
	 "GET /u HTTP/1.1\r\nHost: w.example\r\nX-A: a\r\nX-C: <w.example>\r\n\r\n"},
	{PASS "proxy_set_header X-A $v;", NULL, "",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS "proxy_set_header x-hop mine; proxy_set_header Cookie \"\";", browser, "",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nx-hop: mine\r\nUser-Agent: "
	 "u/1\r\nIf-None-Match: \"x\"\r\n"
	 "Range: bytes=0-1\r\n\r\n"},
	{PASS "proxy_pass_request_headers off;", browser, "",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS "proxy_method PUT;", NULL, "", "PUT /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS "proxy_method $v;", NULL, "DELETE",
	 "DELETE /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS "proxy_method $v;", NULL, "GET /evil", NULL},
	{PASS "proxy_set_header X-A $v;", NULL, "a\r\nEvil: 1", NULL},
	{PASS "proxy_set_header X-A $v;", NULL, "a\nb", NULL},
	{PASS "proxy_set_header Content-Length 5;", NULL, "",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS "proxy_set_header Transfer-Encoding chunked;", NULL, "",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	/* N43: Upgrade only when configured, asked for and allowed */
	{PASS "proxy_set_header Upgrade $v; proxy_set_header Connection upgrade;", NULL,
	 "websocket",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUpgrade: websocket\r\nConnection: "
	 "upgrade\r\n\r\n"},
	{PASS "proxy_set_header Upgrade $v; proxy_set_header Connection upgrade;", NULL, "h2c",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS
	 "proxy_set_header Upgrade $v; proxy_set_header Connection upgrade; proxy_upgrade any;",
	 NULL, "x-own",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUpgrade: x-own\r\nConnection: "
	 "upgrade\r\n\r\n"},
	{PASS
	 "proxy_set_header Upgrade $v; proxy_set_header Connection upgrade; proxy_upgrade any;",
	 NULL, "x-own, h2c", "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS
	 "proxy_set_header Upgrade $v; proxy_set_header Connection upgrade; proxy_upgrade off;",
	 NULL, "websocket", "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS "proxy_set_header Upgrade $v; proxy_set_header Connection upgrade;", NULL, "",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"},
	{PASS "proxy_set_header Upgrade $v; proxy_set_header Connection close;", NULL, "websocket",
	 "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n\r\n"},
};

static void heads_are_built(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		struct proxy_fixture f;
		enum fail rc;

		proxy_load(&f, "/", heads[i].directives);
		assert_int_equal(f.result, CONF_OK);
		proxy_request(&f, "/u", heads[i].fields);
		f.r.host = span_of(heads[i].v);
		rc = proxy_head_build(&f.x);
		assert_int_equal(rc, heads[i].want ? FAIL_OK : FAIL_BAD_CONFIG_VALUE);
		if (heads[i].want)
			assert_span(f.x.head, heads[i].want);
		proxy_done_with(&f);
	}
}

static void framing_is_made_anew(void **state)
{
	static const struct {
		enum exchange_body_kind kind;
		int64_t length, announced;
		bool chunked;
		const char *want;
	} table[] = {
		{SEND_MEMORY, 12, 12, false, "Content-Length: 12\r\n"},
		{SEND_BUFFERED, 1234567890123, -1, true, "Content-Length: 1234567890123\r\n"},
		{SEND_STREAM, 7, 7, false, "Content-Length: 7\r\n"},
		{SEND_STREAM, -1, -1, true, "Transfer-Encoding: chunked\r\n"},
		{SEND_NOTHING, 0, 0, false, "Content-Length: 0\r\n"},
		{SEND_NOTHING, 0, -1, false, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct proxy_fixture f;
		char want[256];

		proxy_load(&f, "/", PASS);
		proxy_request(&f, "/u", NULL);
		f.x.body_kind = table[i].kind;
		f.x.body_length = table[i].length;
		f.r.in.content_length = table[i].announced;
		f.r.in.chunked = table[i].chunked;
		assert_int_equal(proxy_head_build(&f.x), FAIL_OK);
		snprintf(want, sizeof(want), "GET /u HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n%s\r\n",
			 table[i].want);
		assert_span(f.x.head, want);
		proxy_done_with(&f);
	}
}

static void a_target_that_ends_the_line_is_refused(void **state)
{
	static const char *const bad[] = {"/a b", "/a\r\nX: y", "/a\n", ""};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct proxy_fixture f;

		proxy_load(&f, "/", PASS);
		proxy_request(&f, bad[i], NULL);
		assert_int_equal(proxy_head_build(&f.x), FAIL_BAD_CONFIG_VALUE);
		proxy_done_with(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_are_built),
		cmocka_unit_test(framing_is_made_anew),
		cmocka_unit_test(a_target_that_ends_the_line_is_refused),
	};

	/* refusals are logged; there is no connection behind these requests */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
