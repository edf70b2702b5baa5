#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include "base/buf.h"
#include "http/h2/h2_head.h"
#include <cmocka.h>
#undef fail

static struct arena arena;
static struct h2_head head;
static struct http_request req;
static struct http_response resp;
static const struct h2_limits limits = {8192, 32768, 100, true, false, false};

static int begin(void **state)
{
	arena_init(&arena, 1 << 20);
	return 0;
}

static int finish(void **state)
{
	arena_fini(&arena);
	return 0;
}

static void request_begin(const struct h2_limits *lim)
{
	req = (struct http_request){.method = METHOD_OTHER};
	hdrs_init(&req.headers, &arena);
	h2_head_request(&head, &arena, lim, &req);
}

static void response_begin(enum http_method method)
{
	resp = (struct http_response){.reason = SPAN("of a try with HTTP/1")};
	hdrs_init(&resp.headers, &arena);
	h2_head_response(&head, &arena, &limits, method, &resp);
	assert_int_equal(resp.reason.n, 0);
}

/* "name=value" lines; a value may hold anything but a line end. */
static void fields(const char *text)
{
	struct span rest = span_of(text), line;

	while (span_split(&rest, '\n', &line)) {
		ssize_t eq = span_find_char(line, '=', 0);

		if (line.n)
			(void)h2_head_field(&head, span_cut(line, 0, (size_t)eq),
					    span_cut(line, (size_t)eq + 1, line.n));
	}
}

static enum fail request_with(const struct h2_limits *lim, const char *text, bool end)
{
	request_begin(lim);
	fields(text);
	return h2_head_end(&head, end);
}

#define GET ":method=GET\n:scheme=https\n:authority=a.b\n:path=/x?y=1\n"

static enum fail get_with(const char *more)
{
	char text[4096];

	snprintf(text, sizeof(text), "%s%s", GET, more);
	return request_with(&limits, text, true);
}

#define assert_text(s, text) assert_true(span_eq(s, SPAN(text)))

static void test_get(void **state)
{
	assert_int_equal(get_with("accept=*/*\nx-odd=1 2\t3\n"), FAIL_OK);
	assert_int_equal(req.method, METHOD_GET);
	assert_int_equal(req.version, HTTP_2);
	assert_text(req.path, "/x");
	assert_text(req.query, "y=1");
	assert_text(req.target, "/x?y=1");
	assert_text(req.line, "GET /x?y=1 HTTP/2.0");
	assert_text(req.scheme, "https");
	assert_text(hdrs_value(&req.headers, HDR_HOST), "a.b");
	assert_text(hdrs_find_name(&req.headers, SPAN("X-Odd"))->value, "1 2\t3");
	assert_true(req.keep_alive && !req.chunked && !req.upgrade);
	assert_int_equal(req.content_length, -1);
}

static void test_pseudo_fields(void **state)
{
	static const char *const bad[] = {
		":method=GET\n:scheme=https\n:authority=a\n",
		":method=GET\n:authority=a\n:path=/\n",
		":scheme=https\n:authority=a\n:path=/\n",
		GET ":path=/\n",
		GET ":method=GET\n",
		GET ":status=200\n",
		GET ":unknown=1\n",
		GET ":protocol=websocket\n",
		":method=GET\nx=1\n:scheme=https\n:authority=a\n:path=/\n",
		GET "x=1\n:authority=a.b\n",
		GET ":Path=/\n",
		GET ":=/\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		request_begin(&limits);
		fields(bad[i]);
		assert_int_equal(h2_head_end(&head, true), FAIL_BAD_PSEUDO_HEADER);
	}
}

static enum fail of_path(const char *path)
{
	char text[256];

	snprintf(text, sizeof(text), ":method=GET\n:scheme=http\n:authority=a\n:path=%s\n", path);
	return request_with(&limits, text, true);
}

static void test_paths(void **state)
{
	assert_int_equal(of_path("/"), FAIL_OK);
	assert_int_equal(of_path("/a%20b;c?d#"), FAIL_BAD_URI);
	assert_int_equal(of_path(""), FAIL_BAD_URI);
	assert_int_equal(of_path("a"), FAIL_BAD_URI);
	assert_int_equal(of_path("*"), FAIL_BAD_URI);
	assert_int_equal(of_path("http://a/"), FAIL_BAD_URI);
	assert_int_equal(of_path("/a b"), FAIL_BAD_URI);
	assert_int_equal(of_path("/a\r"), FAIL_BAD_URI);
	assert_int_equal(of_path("/a\x7f"), FAIL_BAD_URI);
	assert_int_equal(of_path("/\xc3\xa4"), FAIL_OK); /* as in HTTP/1 */
	assert_int_equal(request_with(&limits,
				      ":method=OPTIONS\n:scheme=http\n:authority=a\n:path=*\n",
				      true),
			 FAIL_OK);
	assert_text(req.path, "*");
}

static void test_methods_and_schemes(void **state)
{
	assert_int_equal(
		request_with(&limits, ":method=G T\n:scheme=http\n:authority=a\n:path=/\n", true),
		FAIL_BAD_METHOD);
	assert_int_equal(
		request_with(&limits, ":method=\n:scheme=http\n:authority=a\n:path=/\n", true),
		FAIL_BAD_METHOD);
	assert_int_equal(
		request_with(&limits, ":method=GET\n:scheme=h ttp\n:authority=a\n:path=/\n", true),
		FAIL_BAD_URI);
	assert_int_equal(
		request_with(&limits, ":method=GET\n:scheme=\n:authority=a\n:path=/\n", true),
		FAIL_BAD_URI);
	assert_int_equal(
		request_with(&limits, ":method=GET\n:scheme=1a\n:authority=a\n:path=/\n", true),
		FAIL_BAD_URI);
	assert_int_equal(
		request_with(&limits, ":method=GET\n:scheme=a{\n:authority=a\n:path=/\n", true),
		FAIL_BAD_URI);
	assert_int_equal(request_with(&limits,
				      ":method=GET\n:scheme=Git+1.s-h\n:authority=a\n:path=/\n",
				      true),
			 FAIL_UNKNOWN_SCHEME);
	assert_int_equal(
		request_with(&limits, ":method=GET\n:scheme=HTTPS\n:authority=a\n:path=/\n", true),
		FAIL_OK);
}

#define HOSTLESS ":method=GET\n:scheme=http\n:path=/\n"

static void test_authority_and_host(void **state)
{
	assert_int_equal(request_with(&limits, HOSTLESS, true), FAIL_BAD_HOST);
	assert_int_equal(request_with(&limits, HOSTLESS "host=a:80\n", true), FAIL_OK);
	assert_text(hdrs_value(&req.headers, HDR_HOST), "a:80");
	assert_int_equal(request_with(&limits, HOSTLESS "host=a\nhost=a\n", true), FAIL_BAD_HOST);
	assert_int_equal(get_with("host=A.b\n"), FAIL_OK);
	assert_int_equal(get_with("host=evil\n"), FAIL_BAD_HOST);
	assert_int_equal(get_with("host=\n"), FAIL_BAD_HOST);
	assert_int_equal(request_with(&limits, HOSTLESS "host=a@b\n", true), FAIL_BAD_HOST);
	assert_int_equal(
		request_with(&limits, ":method=GET\n:scheme=http\n:authority=u@a\n:path=/\n", true),
		FAIL_BAD_HOST);
	assert_int_equal(
		request_with(&limits, ":method=GET\n:scheme=http\n:authority=\n:path=/\n", true),
		FAIL_BAD_HOST);
}

static void test_connection_fields(void **state)
{
	static const char *const bad[] = {
		"connection=close\n",
		"keep-alive=1\n",
		"proxy-connection=x\n",
		"transfer-encoding=chunked\n",
		"upgrade=h2c\n",
		"http2-settings=AA\n",
		"te=gzip\n",
		"te=trailers, gzip\n",
		"te=\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(get_with(bad[i]), FAIL_CONNECTION_FIELD);
	assert_int_equal(get_with("te=trailers\n"), FAIL_OK);
}

static enum fail get_field(const char *name, size_t nn, const char *value, size_t nv)
{
	request_begin(&limits);
	fields(GET);
	(void)h2_head_field(&head, span_make(name, nn), span_make(value, nv));
	return h2_head_end(&head, true);
}

static void test_names(void **state)
{
	for (int c = 0; c < 256; c++) {
		char name[3] = {'a', (char)c, 'b'};
		enum fail f = get_field(name, 3, "v", 1);
		bool malformed = c <= ' ' || c >= 0x7f || c == ':' || (c >= 'A' && c <= 'Z');

		assert_int_equal(f, malformed ? FAIL_BAD_HEADER_NAME : FAIL_OK);
		if (!malformed)
			assert_int_equal(head.ndropped, !((c >= 'a' && c <= 'z') ||
							  (c >= '0' && c <= '9') || c == '-'));
	}
	assert_int_equal(get_field("", 0, "v", 1), FAIL_BAD_HEADER_NAME);
}

static void test_values(void **state)
{
	for (int c = 0; c < 256; c++) {
		char value[3] = {'a', (char)c, 'b'};
		bool bad = (c < ' ' && c != '\t') || c == 0x7f;

		assert_int_equal(get_field("x", 1, value, 3), bad ? FAIL_BAD_HEADER_LINE : FAIL_OK);
	}
	assert_int_equal(get_with("x= a\n"), FAIL_BAD_HEADER_LINE);
	assert_int_equal(get_with("x=a\t\n"), FAIL_BAD_HEADER_LINE);
	assert_int_equal(get_with("x=\n"), FAIL_OK);
}

static void test_invalid_names_refused(void **state)
{
	struct h2_limits lim = limits;

	lim.ignore_invalid_headers = false;
	assert_int_equal(request_with(&lim, GET "a_b=1\n", true), FAIL_OK);
	assert_non_null(hdrs_find_name(&req.headers, SPAN("a_b")));
	assert_int_equal(request_with(&lim, GET "a.b=1\n", true), FAIL_OK);
	assert_int_equal(request_with(&lim, GET "a(b=1\n", true), FAIL_BAD_HEADER_NAME);
}

#define POST ":method=POST\n:scheme=https\n:authority=a\n:path=/\n"

static void test_lengths(void **state)
{
	assert_int_equal(request_with(&limits, POST "content-length=5\n", false), FAIL_OK);
	assert_int_equal(req.content_length, 5);
	assert_false(req.chunked);
	assert_int_equal(request_with(&limits, POST, false), FAIL_OK);
	assert_true(req.chunked);
	assert_int_equal(request_with(&limits, POST "content-length=0\n", true), FAIL_OK);
	assert_int_equal(request_with(&limits, POST "content-length=5\n", true),
			 FAIL_BAD_CONTENT_LENGTH);
	assert_int_equal(request_with(&limits, POST "content-length=+5\n", false),
			 FAIL_BAD_CONTENT_LENGTH);
	assert_int_equal(request_with(&limits, POST "content-length=5, 5\n", false),
			 FAIL_BAD_CONTENT_LENGTH);
	assert_int_equal(request_with(&limits, POST "content-length=5\ncontent-length=5\n", false),
			 FAIL_BAD_CONTENT_LENGTH);
	assert_int_equal(request_with(&limits, POST "content-length=9223372036854775808\n", false),
			 FAIL_BAD_CONTENT_LENGTH);
}

static void test_cookies(void **state)
{
	unsigned n = 0;

	assert_int_equal(get_with("cookie=a=1\nx=y\ncookie=b=2\ncookie=c=3\n"), FAIL_OK);
	assert_text(hdrs_value(&req.headers, HDR_COOKIE), "a=1; b=2; c=3");
	hdrs_each (hd, &req.headers)
		n += hd->id == HDR_COOKIE;
	assert_int_equal(n, 1);
}

static void test_limits(void **state)
{
	struct h2_limits lim = {40, 200, 3, true, false, false};
	char text[400];

	assert_int_equal(request_with(&lim, GET "a=1\nb=2\nc=3\n", true), FAIL_OK);
	assert_int_equal(request_with(&lim, GET "a=1\nb=2\nc=3\nd=4\n", true),
			 FAIL_TOO_MANY_HEADERS);
	snprintf(text, sizeof(text), GET "a=%036d\n", 0);
	assert_int_equal(request_with(&lim, text, true), FAIL_HEADERS_TOO_LARGE);
	snprintf(text, sizeof(text), GET "a=%035d\n", 0);
	assert_int_equal(request_with(&lim, text, true), FAIL_OK);
	snprintf(text, sizeof(text), ":method=GET\n:scheme=http\n:authority=a\n:path=/%040d\n", 0);
	assert_int_equal(request_with(&lim, text, true), FAIL_URI_TOO_LONG);
	snprintf(text, sizeof(text), GET "a=%030d\nb=%030d\nc=%030d\n", 0, 0, 0);
	assert_int_equal(request_with(&lim, text, true), FAIL_OK);
	lim.total_max = 160;
	assert_int_equal(request_with(&lim, text, true), FAIL_HEADERS_TOO_LARGE);
}

static void test_connect(void **state)
{
	struct h2_limits lim = limits;

	assert_int_equal(request_with(&limits, ":method=CONNECT\n:authority=a:443\n", false),
			 FAIL_OK);
	assert_int_equal(req.method, METHOD_CONNECT);
	assert_text(req.authority, "a:443");
	assert_false(req.chunked);
	assert_int_equal(request_with(&limits, ":method=CONNECT\n:authority=a\n", false),
			 FAIL_BAD_URI);
	assert_int_equal(request_with(&limits, ":method=CONNECT\n", false), FAIL_BAD_PSEUDO_HEADER);
	assert_int_equal(request_with(&limits, ":method=CONNECT\n:authority=a:1\n:path=/\n", false),
			 FAIL_BAD_PSEUDO_HEADER);
	assert_int_equal(request_with(&limits,
				      ":method=CONNECT\n:scheme=https\n:authority=a\n:path="
				      "/\n:protocol=websocket\n",
				      false),
			 FAIL_BAD_PSEUDO_HEADER);
	lim.extended_connect = true;
	assert_int_equal(request_with(&lim,
				      ":method=CONNECT\n:scheme=https\n:authority=a\n:path="
				      "/chat\n:protocol=websocket\n",
				      false),
			 FAIL_OK);
	assert_int_equal(req.method, METHOD_GET);
	assert_true(req.upgrade && !req.chunked);
	assert_text(req.path, "/chat");
	assert_text(hdrs_value(&req.headers, HDR_UPGRADE), "websocket");
	assert_text(hdrs_value(&req.headers, HDR_CONNECTION), "upgrade");
	assert_text(head.protocol, "websocket");
	assert_int_equal(request_with(&lim, GET ":protocol=websocket\n", true),
			 FAIL_BAD_PSEUDO_HEADER);
	assert_int_equal(
		request_with(&lim, ":method=CONNECT\n:authority=a\n:protocol=websocket\n", false),
		FAIL_BAD_PSEUDO_HEADER);
}

static enum fail response_with(enum http_method method, const char *text, bool end)
{
	response_begin(method);
	fields(text);
	return h2_head_end(&head, end);
}

static void test_responses(void **state)
{
	assert_int_equal(
		response_with(METHOD_GET, ":status=200\nx_y!=1\ncontent-length=3\n", false),
		FAIL_OK);
	assert_int_equal(resp.status, 200);
	assert_int_equal(resp.content_length, 3);
	assert_non_null(hdrs_find_name(&resp.headers, SPAN("x_y!")));
	assert_int_equal(response_with(METHOD_GET, ":status=200\n", false), FAIL_OK);
	assert_true(resp.chunked);
	assert_int_equal(response_with(METHOD_HEAD, ":status=200\ncontent-length=3\n", true),
			 FAIL_OK);
	assert_int_equal(response_with(METHOD_GET, ":status=304\ncontent-length=3\n", true),
			 FAIL_OK);
	assert_int_equal(response_with(METHOD_GET, ":status=103\nlink=x\n", false), FAIL_OK);
	static const char *const bad[] = {
		"x=1\n",
		":status=20\n",
		":status=2000\n",
		":status=2x0\n",
		":status=099\n",
		":status=101\n",
		":status=200\n:status=200\n",
		"x=1\n:status=200\n",
		":status=200\n:path=/\n",
		":status=200\nconnection=close\n",
		":status=200\ntransfer-encoding=chunked\n",
		":status=200\nte=trailers\n",
		":status=200\nX=1\n",
		":status=200\nx=a\rb\n",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(response_with(METHOD_GET, bad[i], false), FAIL_UPSTREAM_BAD_HEAD);
	assert_int_equal(response_with(METHOD_GET, ":status=100\n", true), FAIL_UPSTREAM_BAD_HEAD);
	assert_int_equal(response_with(METHOD_GET, ":status=200\ncontent-length=3\n", true),
			 FAIL_UPSTREAM_BAD_HEAD);
}

static enum fail trailers_with(const char *text, struct hdrs *t, bool end)
{
	hdrs_init(t, &arena);
	h2_head_trailers(&head, &arena, &limits, t, false);
	fields(text);
	return h2_head_end(&head, end);
}

static void test_trailers(void **state)
{
	struct hdrs t;

	assert_int_equal(trailers_with("grpc-status=0\ncontent-length=5\nhost=x\n", &t, true),
			 FAIL_OK);
	assert_non_null(hdrs_find_name(&t, SPAN("grpc-status")));
	assert_null(hdrs_find(&t, HDR_CONTENT_LENGTH));
	assert_null(hdrs_find(&t, HDR_HOST));
	assert_int_equal(trailers_with(":path=/\n", &t, true), FAIL_BAD_PSEUDO_HEADER);
	assert_int_equal(trailers_with("connection=x\n", &t, true), FAIL_CONNECTION_FIELD);
	assert_int_equal(trailers_with("a=1\n", &t, false), FAIL_BAD_PSEUDO_HEADER);
}

static void test_priorities(void **state)
{
	uint8_t u = 3;
	bool i = false;

	assert_true(h2_priority_parse(SPAN("u=1, i"), &u, &i));
	assert_true(u == 1 && i);
	assert_true(h2_priority_parse(SPAN("i=?0"), &u, &i));
	assert_false(i);
	assert_false(h2_priority_parse(SPAN("u=9"), &u, &i));
	assert_false(h2_priority_parse(SPAN("nonsense=1;u=2"), &u, &i));
	assert_false(h2_priority_parse(SPAN(""), &u, &i));
	assert_int_equal(u, 1);
	assert_int_equal(get_with("priority=u=0\n"), FAIL_OK);
	assert_true(head.has_priority && head.urgency == 0);
}

static void test_fields_out(void **state)
{
	struct h2_fields f;
	struct hdrs h;

	hdrs_init(&h, &arena);
	hdrs_append_name(&h, SPAN("Connection"), SPAN("close, X-Hop"));
	hdrs_append_name(&h, SPAN("X-Hop"), SPAN("1"));
	hdrs_append_name(&h, SPAN("Keep-Alive"), SPAN("1"));
	hdrs_append_name(&h, SPAN("Host"), SPAN("a"));
	hdrs_append_name(&h, SPAN("TE"), SPAN("trailers"));
	for (int i = 0; i < 20; i++)
		hdrs_append_name(&h, SPAN("X-End"), SPAN("2"));
	h2_fields_init(&f, &arena, 1);
	h2_fields_add_hdrs(&f, &h);
	assert_false(f.failed);
	assert_int_equal(f.n, 20);
	assert_memory_equal(f.v[19].name, "X-End", 5);
}

static void test_names_of_errors(void **state)
{
	assert_text(h2_code_name(11), "ENHANCE_YOUR_CALM");
	assert_text(h2_code_name(99), "");
	assert_true(h2_error_words(NGHTTP2_ERR_FLOODED).n > 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, begin, finish)
	const struct CMUnitTest tests[] = {
		T(test_get),
		T(test_pseudo_fields),
		T(test_paths),
		T(test_methods_and_schemes),
		T(test_authority_and_host),
		T(test_connection_fields),
		T(test_names),
		T(test_values),
		T(test_invalid_names_refused),
		T(test_lengths),
		T(test_cookies),
		T(test_limits),
		T(test_connect),
		T(test_responses),
		T(test_trailers),
		T(test_priorities),
		T(test_fields_out),
		T(test_names_of_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
