#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "http/h1_check.h"

/* A head and what must come of it: a reason, or the printed parse. */
struct row {
	const char *head;
	enum fail fail;	    /* FAIL_OK: parsed; FAIL_COUNT: wants more */
	const char *expect; /* words that the printed parse must hold, separated by "|" */
};

static void check_words(const char *text, const char *words)
{
	struct span rest = span_of(words), word;

	while (words && span_split(&rest, '|', &word))
		if (span_find(span_of(text), word) < 0)
			fail_msg("no \"%.*s\" in: %s", SPAN_ARG(word), text);
}

static void check_row(const struct row *row, enum check_kind kind, enum http_method method)
{
	size_t n = strlen(row->head);
	struct check whole;
	int rc = row->fail == FAIL_COUNT ? H1_MORE : -(int)row->fail;

	check_init(&whole, kind);
	whole.method = method;
	check_parse(&whole, row->head, n, n, 0);
	buf_add_char(&whole.text, '\0');
	if (whole.rc != rc)
		fail_msg("%s: rc %d (%.*s), not %d", row->head, whole.rc,
			 SPAN_ARG(fail_name((enum fail) - whole.rc)), rc);
	check_words(whole.text.p, row->expect);
	/* In two pieces at every place, and byte by byte (cut 0). */
	for (size_t cut = 0; cut < n; cut++) {
		struct check parts;

		check_init(&parts, kind);
		parts.method = method;
		check_parse(&parts, row->head, n, cut, cut == 0);
		buf_add_char(&parts.text, '\0');
		if (strcmp(whole.text.p, parts.text.p) != 0)
			fail_msg("cut at %zu: %s\nwhole %s\nparts %s", cut, row->head, whole.text.p,
				 parts.text.p);
		check_fini(&parts);
	}
	check_fini(&whole);
}

#define ROWS(rows, kind, method)                                                                   \
	for (size_t i_ = 0; i_ < ARRAY_LEN(rows); i_++)                                            \
	check_row(&(rows)[i_], kind, method)

#define H "Host: a\r\n\r\n"

static void request_line_is_strict(void **state)
{
	static const struct row rows[] = {
		{"GET / HTTP/1.1\r\n" H, FAIL_OK,
		 "1 101 <GET> line<GET / HTTP/1.1> target</>|path</> query0<>|ka=1|cl=-1 ch=0"},
		{"GET / HTTP/1.0\r\n\r\n", FAIL_OK, "1 100 |ka=0"},
		{"GET / HTTP/1.1\nHost: a\n\n", FAIL_OK, "line<GET / HTTP/1.1>|:<a>"},
		{"GET / HTTP/1.2\r\n" H, FAIL_OK, "1 101 "},
		{"GET / HTTP/1.9\r\n" H, FAIL_OK, "1 101 "},
		{"\r\nGET / HTTP/1.1\r\n" H, FAIL_OK, "used=29|line<GET / HTTP/1.1>"},
		{"\r\n\n\r\n\nGET / HTTP/1.1\r\n" H, FAIL_OK, "<GET>"},
		{"\n\n\n\n\nGET / HTTP/1.1\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"\rGET / HTTP/1.1\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"M-SEARCH / HTTP/1.1\r\n" H, FAIL_OK, "0 101 <M-SEARCH>"},
		{"A_B / HTTP/1.1\r\n" H, FAIL_OK, "<A_B>"},
		{"PROPFIND / HTTP/1.1\r\n" H, FAIL_OK, "13 101"},
		{"get / HTTP/1.1\r\n" H, FAIL_BAD_METHOD},
		{"G1T / HTTP/1.1\r\n" H, FAIL_BAD_METHOD},
		{"G!T / HTTP/1.1\r\n" H, FAIL_BAD_METHOD},
		{"\x16\x03\x01", FAIL_BAD_METHOD},
		{" GET / HTTP/1.1\r\n" H, FAIL_BAD_METHOD},
		{"GET\t/ HTTP/1.1\r\n" H, FAIL_BAD_METHOD},
		{"GET\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET /\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET /\n\n", FAIL_BAD_REQUEST_LINE},
		{"GET \r\n\r\n", FAIL_BAD_REQUEST_LINE},
		{"GET  / HTTP/1.1\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET /  HTTP/1.1\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / HTTP/1.1 \r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / x HTTP/1.1\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / HTTP/1.10\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / HTTP/01.1\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / HTTP/1.\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / HTTP/1\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / HTTP/\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / http/1.1\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / HTTP/0.9\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"GET / HTTP/2.0\r\n" H, FAIL_BAD_VERSION},
		{"GET / HTTP/2x", FAIL_BAD_VERSION},
		{"GET / HTTP/1.1\rx", FAIL_BAD_REQUEST_LINE},
		{"GET / HTTP/1.1\r\r\n" H, FAIL_BAD_REQUEST_LINE},
		{"", FAIL_COUNT},
		{"GET", FAIL_COUNT},
		{"GET / HTTP/1.1\r\nHost: a\r\n", FAIL_COUNT},
		{"GET / HTTP/1.1\r\nHost: a\r\n\r", FAIL_COUNT},
	};

	ROWS(rows, CHECK_REQUEST, METHOD_GET);
}

static void targets_have_four_forms(void **state)
{
	static const struct row rows[] = {
		{"GET /a/b?c=d&e HTTP/1.1\r\n" H, FAIL_OK, "path</a/b> query1<c=d&e>"},
		{"GET /a? HTTP/1.1\r\n" H, FAIL_OK, "path</a> query1<>"},
		{"GET /a?b?c HTTP/1.1\r\n" H, FAIL_OK, "path</a> query1<b?c>"},
		{"GET /a?b#c HTTP/1.1\r\n" H, FAIL_OK, "target</a?b#c>|path</a> query1<b>"},
		{"GET /a#b?c HTTP/1.1\r\n" H, FAIL_OK, "path</a> query0<>"},
		{"GET /\xc3\xa9%zz HTTP/1.1\r\n" H, FAIL_OK, "path</\xc3\xa9%zz>"},
		{"GET //evil/ HTTP/1.1\r\n" H, FAIL_OK, "path<//evil/>|auth<>"},
		{"GET /a\tb HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"GET /a\x01"
		 "b HTTP/1.1\r\n" H,
		 FAIL_BAD_URI},
		{"GET /a\x7f"
		 "b HTTP/1.1\r\n" H,
		 FAIL_BAD_URI},
		{"GET a HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"GET ?a HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"GET http://b/c?d HTTP/1.1\r\n" H, FAIL_OK,
		 "scheme<http> auth<b> path</c> query1<d>"},
		{"GET HTTPS://b:8443 HTTP/1.1\r\n" H, FAIL_OK,
		 "scheme<HTTPS> auth<b:8443> path</> query0<>"},
		{"GET http://b?x HTTP/1.1\r\n" H, FAIL_OK, "path</> query1<x>"},
		{"GET http://[::1]:80/x HTTP/1.1\r\n" H, FAIL_OK, "auth<[::1]:80> path</x>"},
		{"GET http://b#x HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"GET http://u@b/x HTTP/1.1\r\n" H, FAIL_BAD_HOST},
		{"GET http:///x HTTP/1.1\r\n" H, FAIL_BAD_HOST},
		{"GET http://a\\b/x HTTP/1.1\r\n" H, FAIL_BAD_HOST},
		{"GET http:/x HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"GET hello HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"GET ftp://b/x HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"GET http://b/x HTTP/1.1\r\nHost: a b\r\n\r\n", FAIL_BAD_HOST},
		{"GET http://b/x HTTP/1.1\r\n\r\n", FAIL_BAD_HOST},
		{"OPTIONS * HTTP/1.1\r\n" H, FAIL_OK, "path<*> query0"},
		{"OPTIONS http://b HTTP/1.1\r\n" H, FAIL_OK, "path<*>"},
		{"OPTIONS http://b/ HTTP/1.1\r\n" H, FAIL_OK, "path</>"},
		{"OPTIONS *a HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"GET * HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"CONNECT a:443 HTTP/1.1\r\n" H, FAIL_OK, "8 101|auth<a:443> path<>"},
		{"CONNECT [::1]:443 HTTP/1.1\r\n" H, FAIL_OK, "auth<[::1]:443>"},
		{"CONNECT a HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"CONNECT a: HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"CONNECT a:0 HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"CONNECT / HTTP/1.1\r\n" H, FAIL_BAD_URI},
		{"CONNECT http://a:80/ HTTP/1.1\r\n" H, FAIL_BAD_URI},
	};

	ROWS(rows, CHECK_REQUEST, METHOD_GET);
}

#define R(fields) "POST / HTTP/1.1\r\nHost: a\r\n" fields "\r\n\r\n"

static void field_lines_are_strict(void **state)
{
	static const struct row rows[] = {
		{R("X-Y:1"), FAIL_OK, "X-Y:<1>"},
		{R("X-Y: \t 1 \t"), FAIL_OK, "X-Y:<1>"},
		{R("X-Y:"), FAIL_OK, "X-Y:<>"},
		{R("X-Y: \t"), FAIL_OK, "X-Y:<>"},
		{R("X-Y: a\tb \xff: c"), FAIL_OK, "X-Y:<a\tb \xff: c>"},
		{R("X-Averyveryverylongnameindeed: and a value of more than sixteen bytes"),
		 FAIL_OK,
		 "0 X-Averyveryverylongnameindeed:<and a value of more than sixteen bytes>"},
		{R("uSER-aGENT: x"), FAIL_OK, "14 uSER-aGENT:<x>"},
		{R("X_Y: 1"), FAIL_OK, "dropped=1"},
		{R("X.Y: 1\r\nA: b"), FAIL_OK, "dropped=1|A:<b>"},
		{R("\xffX@(y): 1"), FAIL_OK, "dropped=1"},
		{R("Transfer_Encoding: chunked"), FAIL_OK, "dropped=1|ch=0"},
		{R("X-Y : 1"), FAIL_BAD_HEADER_LINE},
		{R("X-Y\t: 1"), FAIL_BAD_HEADER_LINE},
		{R("X Y: 1"), FAIL_BAD_HEADER_LINE},
		{R("X\x01Y: 1"), FAIL_BAD_HEADER_LINE},
		{R("X\x7fY: 1"), FAIL_BAD_HEADER_LINE},
		{R(": 1"), FAIL_BAD_HEADER_LINE},
		{R("XY"), FAIL_BAD_HEADER_LINE},
		{R(" X-Y: 1"), FAIL_BAD_HEADER_LINE},
		{R("X-Y: 1\r\n 2"), FAIL_BAD_HEADER_LINE},
		{R("X-Y: 1\r\n\t2"), FAIL_BAD_HEADER_LINE},
		{R("X-Y: 1\r2"), FAIL_BAD_HEADER_LINE},
		{R("X-Y: 1\r"), FAIL_BAD_HEADER_LINE},
		{R("X-Y:\r1"), FAIL_BAD_HEADER_LINE},
		{R("X-Y: 1\x01"), FAIL_BAD_HEADER_LINE},
		{R("X-Y: 1\x7f"), FAIL_BAD_HEADER_LINE},
		{"GET / HTTP/1.1\r\n Host: a\r\n\r\n", FAIL_BAD_HEADER_LINE},
		{"GET / HTTP/1.1\r\nHost: a\r\n\rX", FAIL_BAD_HEADER_LINE},
	};

	ROWS(rows, CHECK_REQUEST, METHOD_GET);
}

static void request_framing_is_never_guessed(void **state)
{
	static const struct row rows[] = {
		{R("Content-Length: 5"), FAIL_OK, "cl=5 ch=0"},
		{R("Content-Length: 0"), FAIL_OK, "cl=0"},
		{R("Content-Length: 9223372036854775807"), FAIL_OK, "cl=9223372036854775807"},
		{R("Content-Length: 9223372036854775808"), FAIL_BAD_CONTENT_LENGTH},
		{R("Content-Length: 99999999999999999999"), FAIL_BAD_CONTENT_LENGTH},
		{R("Content-Length: 5, 5"), FAIL_BAD_CONTENT_LENGTH},
		{R("Content-Length: 5\r\nContent-Length: 5"), FAIL_BAD_CONTENT_LENGTH},
		{R("content-length: 5\r\nCONTENT-LENGTH: 6"), FAIL_BAD_CONTENT_LENGTH},
		{R("Content-Length:"), FAIL_BAD_CONTENT_LENGTH},
		{R("Content-Length: +5"), FAIL_BAD_CONTENT_LENGTH},
		{R("Content-Length: -5"), FAIL_BAD_CONTENT_LENGTH},
		{R("Content-Length: 0x5"), FAIL_BAD_CONTENT_LENGTH},
		{R("Content-Length: 5 5"), FAIL_BAD_CONTENT_LENGTH},
		{R("Content-Length: \"5\""), FAIL_BAD_CONTENT_LENGTH},
		{R("Transfer-Encoding: chunked"), FAIL_OK, "cl=-1 ch=1"},
		{R("Transfer-Encoding: CHUNKED"), FAIL_OK, "ch=1"},
		{R("Transfer-Encoding: chunked\r\nContent-Length: 0"), FAIL_BAD_TRANSFER_ENCODING},
		{R("Content-Length: 0\r\nTransfer-Encoding: gzip"), FAIL_BAD_TRANSFER_ENCODING},
		{R("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
		 FAIL_BAD_TRANSFER_ENCODING},
		{R("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
		 FAIL_BAD_TRANSFER_ENCODING},
		{R("Transfer-Encoding: chunked, chunked"), FAIL_BAD_TRANSFER_ENCODING},
		{R("Transfer-Encoding: chunked, gzip"), FAIL_BAD_TRANSFER_ENCODING},
		{R("Transfer-Encoding: chunked,"), FAIL_BAD_TRANSFER_ENCODING},
		{R("Transfer-Encoding: ,chunked"), FAIL_BAD_TRANSFER_ENCODING},
		{R("Transfer-Encoding:"), FAIL_BAD_TRANSFER_ENCODING},
		{R("Transfer-Encoding: gzip, chunked"), FAIL_UNKNOWN_TRANSFER_ENCODING},
		{R("Transfer-Encoding: gzip"), FAIL_UNKNOWN_TRANSFER_ENCODING},
		{R("Transfer-Encoding: identity"), FAIL_UNKNOWN_TRANSFER_ENCODING},
		{R("Transfer-Encoding: chunked;q=1"), FAIL_UNKNOWN_TRANSFER_ENCODING},
		{R("Transfer-Encoding: xchunked"), FAIL_UNKNOWN_TRANSFER_ENCODING},
		{R("Transfer-Encoding: \"chunked\""), FAIL_UNKNOWN_TRANSFER_ENCODING},
		{R("Transfer-Encoding: \x0b"
		   "chunked"),
		 FAIL_BAD_HEADER_LINE},
		{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
		 FAIL_BAD_TRANSFER_ENCODING},
	};

	ROWS(rows, CHECK_REQUEST, METHOD_GET);
}

static void hosts_and_connections(void **state)
{
	static const struct row rows[] = {
		{"GET / HTTP/1.1\r\n\r\n", FAIL_BAD_HOST},
		{"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", FAIL_BAD_HOST},
		{"GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n", FAIL_BAD_HOST},
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", FAIL_BAD_HOST},
		{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", FAIL_BAD_HOST},
		{"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", FAIL_BAD_HOST},
		{"GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", FAIL_OK, "Host:<a:80>"},
		{R("Connection: close"), FAIL_OK, "ka=0"},
		{R("Connection: Keep-Alive"), FAIL_OK, "ka=1"},
		{R("Connection: foo, CLOSE"), FAIL_OK, "ka=0"},
		{R("Connection: keep-alive\r\nConnection: close"), FAIL_OK, "ka=0"},
		{"GET / HTTP/1.0\r\nConnection: foo,keep-alive\r\n\r\n", FAIL_OK, "ka=1"},
		{"GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n", FAIL_OK, "ka=0"},
		{R("Connection: keep-alive, Upgrade\r\nUpgrade: websocket"), FAIL_OK, "ka=1|up=1"},
		{R("Upgrade: websocket"), FAIL_OK, "up=0"},
		{R("Connection: upgrade"), FAIL_OK, "up=0"},
		{"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", FAIL_OK, "up=0"},
		{R("Expect: 100-Continue"), FAIL_OK, "ex=1"},
		{R("Expect: other"), FAIL_OK, "ex=0"},
		{"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", FAIL_OK, "ex=0"},
	};

	ROWS(rows, CHECK_REQUEST, METHOD_GET);
}

static void responses(void **state)
{
	static const struct row rows[] = {
		{"HTTP/1.1 200 OK\r\n\r\n", FAIL_OK, "101 200 <OK> cl=-1 ch=0 ka=0"},
		{"HTTP/1.1 200 OK\nContent-Length: 3\n\n", FAIL_OK, "cl=3 ch=0 ka=1"},
		{"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", FAIL_OK, "200 <> cl=0"},
		{"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", FAIL_OK, "200 <>"},
		{"HTTP/1.0 404 Not  Found\t!\xff\r\n\r\n", FAIL_OK, "100 404 <Not  Found\t!\xff>"},
		{"HTTP/1.7 999 x\r\n\r\n", FAIL_OK, "101 999 <x>"},
		{"HTTP/1.1 099 x\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 20 x\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 2000 x\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1  200 x\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200x\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 a\x01\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 a\rb\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/2.0 200 OK\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/0.9 200 OK\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"ICY 200 OK\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"\r\nHTTP/1.1 200 OK\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", FAIL_OK, "ch=1 ka=1"},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
		 FAIL_OK, "ch=1 ka=0"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		 FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
		 FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
		 FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3x\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", FAIL_OK, "ka=0"},
		{"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\n", FAIL_OK,
		 "ka=1"},
		{"HTTP/1.1 204 x\r\n\r\n", FAIL_OK, "cl=-1 ch=0 ka=1"},
		{"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", FAIL_OK, "ka=0"},
		{"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", FAIL_OK, "cl=5 ch=0 ka=1"},
		{"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", FAIL_OK,
		 "up=1"},
		{"HTTP/1.1 200 OK\r\nX_y.z!: 1\r\n\r\n", FAIL_OK, "X_y.z!:<1>"},
		{"HTTP/1.1 200 OK\r\nX@y: 1\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\nX y: 1\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\nX\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\n", FAIL_COUNT},
	};
	static const struct row head = {"HTTP/1.1 200 OK\r\n\r\n", FAIL_OK, "ka=1"};

	ROWS(rows, CHECK_RESPONSE, METHOD_GET);
	check_row(&head, CHECK_RESPONSE, METHOD_HEAD);
}

static void response_folds_are_joined(void **state)
{
	static const struct row rows[] = {
		{"HTTP/1.1 200 OK\r\nA: b \r\n  c\r\n\td\r\nE: f\r\n\r\n", FAIL_OK,
		 "A:<b c d>|E:<f>"},
		{"HTTP/1.1 200 OK\r\nA:\n b\n\n", FAIL_OK, "A:<b>"},
		{"HTTP/1.1 200 OK\r\nA: b\r\n \r\n\r\n", FAIL_OK, "A:<b>"},
		{"HTTP/1.1 200 OK\r\nA: b\r\n \r\n \r\n c\r\n\r\n", FAIL_OK, "A:<b c>"},
		{"HTTP/1.1 200 OK\r\nA: b\r\n c\r2\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 2\r\n\r\n", FAIL_UPSTREAM_BAD_HEAD},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
		 FAIL_UPSTREAM_BAD_HEAD},
	};

	ROWS(rows, CHECK_RESPONSE, METHOD_GET);
}

static void trailers(void **state)
{
	static const struct row rows[] = {
		{"\r\n", FAIL_OK, "used=2 dropped=0"},
		{"\n", FAIL_OK, "used=1"},
		{"X-Sum: 1\r\n\r\n", FAIL_OK, "X-Sum:<1>"},
		{"Content-Length: 1\r\nX: y\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n",
		 FAIL_OK, "dropped=3|X:<y>"},
		{"X: y\r\n z\r\n\r\n", FAIL_BAD_HEADER_LINE},
		{"X y: z\r\n\r\n", FAIL_BAD_HEADER_LINE},
		{"\rX", FAIL_BAD_HEADER_LINE},
		{"", FAIL_COUNT},
		{"X: y\r\n", FAIL_COUNT},
	};

	ROWS(rows, CHECK_TRAILERS, METHOD_GET);
}

/* NUL is a byte that a C string cannot show. */
static void nul_is_refused_everywhere(void **state)
{
	static const char good[] = "GET /path HTTP/1.1\r\nHost: abc\r\nX-Name: value\r\n\r\n";

	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		char bad[sizeof(good)];
		struct check c;

		memcpy(bad, good, sizeof(good));
		bad[i] = '\0';
		check_init(&c, CHECK_REQUEST);
		check_parse(&c, bad, sizeof(good) - 1, sizeof(good) - 1, 0);
		assert_true(c.rc < 0);
		check_fini(&c);
	}
}

/* Same error at the same byte however the head is cut, for each limit. */
static void check_limits(struct h1_limits lim, const char *head, enum fail fail)
{
	size_t n = strlen(head);

	for (size_t cut = 0; cut <= n; cut++) {
		struct check c;

		check_init(&c, CHECK_REQUEST);
		c.lim = lim;
		check_parse(&c, head, n, cut, cut == 0);
		if (c.rc != -(int)fail)
			fail_msg("cut at %zu: rc %d for %s", cut, c.rc, head);
		check_fini(&c);
	}
}

static void limits_hold_exactly(void **state)
{
	static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX: 01234567890123456789\r\n\r\n";
	struct h1_limits ok = {23, sizeof(head) - 1, 2, true, false}, lim = ok;

	check_limits(ok, head, FAIL_OK);
	lim.line_max = 22;
	check_limits(lim, head, FAIL_HEADERS_TOO_LARGE);
	lim.line_max = 13;
	check_limits(lim, head, FAIL_URI_TOO_LONG);
	lim.line_max = 14;
	check_limits(lim, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", FAIL_OK);
	check_limits(lim, "GET / HTTP/1.1\r\nHost: a\r\nY: 901234567890\r\n\r\n",
		     FAIL_HEADERS_TOO_LARGE);
	lim = ok;
	lim.total_max--;
	check_limits(lim, head, FAIL_HEADERS_TOO_LARGE);
	lim.total_max = 10;
	check_limits(lim, head, FAIL_URI_TOO_LONG);
	lim = ok;
	lim.headers_max = 1;
	check_limits(lim, head, FAIL_TOO_MANY_HEADERS);
	lim = ok;
	lim.ignore_invalid_headers = false;
	check_limits(lim, "GET / HTTP/1.1\r\nHost: a\r\nX_Y: 1\r\n\r\n", FAIL_OK);
	check_limits(lim, "GET / HTTP/1.1\r\nHost: a\r\nX.Y: 1\r\n\r\n", FAIL_OK);
	check_limits(lim, "GET / HTTP/1.1\r\nHost: a\r\nX(Y: 1\r\n\r\n", FAIL_BAD_HEADER_NAME);
}

static void garbage_is_refused_at_its_first_byte(void **state)
{
	struct check c;

	check_init(&c, CHECK_REQUEST);
	assert_int_equal(check_step(&c, "\x16", 1), -(int)FAIL_BAD_METHOD);
	check_fini(&c);
	check_init(&c, CHECK_REQUEST);
	assert_int_equal(check_step(&c, "GET x", 5), -(int)FAIL_BAD_URI);
	check_fini(&c);
	check_init(&c, CHECK_RESPONSE);
	assert_int_equal(check_step(&c, "SSH", 3), -(int)FAIL_UPSTREAM_BAD_HEAD);
	check_fini(&c);
}

static void dropped_names_are_told(void **state)
{
	static const char head[] = "GET / HTTP/1.1\r\nX_Y: 1\r\nHost: a\r\n\r\n";
	struct check c;

	check_init(&c, CHECK_REQUEST);
	check_parse(&c, head, sizeof(head) - 1, 0, 1);
	assert_true(span_eq(c.parser.dropped_name, SPAN("X_Y")));
	check_fini(&c);
}

static void no_memory_is_a_reason(void **state)
{
	static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	struct check c;

	check_init(&c, CHECK_REQUEST);
	arena_fini(&c.arena);
	arena_init(&c.arena, 16);
	check_parse(&c, head, sizeof(head) - 1, sizeof(head) - 1, 0);
	assert_int_equal(c.rc, -(int)FAIL_NO_MEMORY);
	check_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_line_is_strict),
		cmocka_unit_test(targets_have_four_forms),
		cmocka_unit_test(field_lines_are_strict),
		cmocka_unit_test(request_framing_is_never_guessed),
		cmocka_unit_test(hosts_and_connections),
		cmocka_unit_test(responses),
		cmocka_unit_test(response_folds_are_joined),
		cmocka_unit_test(trailers),
		cmocka_unit_test(nul_is_refused_everywhere),
		cmocka_unit_test(limits_hold_exactly),
		cmocka_unit_test(garbage_is_refused_at_its_first_byte),
		cmocka_unit_test(dropped_names_are_told),
		cmocka_unit_test(no_memory_is_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
