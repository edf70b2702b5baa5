#include <stdlib.h>
#include "serve/serve_fixture.h"

static struct serve_fixture fixture;
static struct client k;

/* say text [STATUS] TEXT */
static MAY_SUSPEND int say_text(struct req *r, const struct conf_node *say)
{
	return req_answer_text(r, 200, SPAN("text/plain"), say->words[2].text);
}

/* say status N: the phase engine's answer */
static MAY_SUSPEND int say_status(struct req *r, const struct conf_node *say)
{
	return atoi(say->words[2].text.p);
}

/* say uri: what was asked for, and its arguments */
static MAY_SUSPEND int say_uri(struct req *r, const struct conf_node *say)
{
	return req_answer_text(
		r, 200, SPAN("text/plain"),
		arena_printf(&r->arena, "[%.*s?%.*s]", SPAN_ARG(r->uri), SPAN_ARG(r->args)));
}

/* say echo: reads the whole body first */
static MAY_SUSPEND int say_echo(struct req *r, const struct conf_node *say)
{
	int rc = req_read_body(r);

	if (rc)
		return rc;
	req_answer(r, 200)->body = req_body_again(r);
	r->resp.content_length = r->buffered->length;
	return PHASE_DONE;
}

static const struct say_word words[] = {{"text", say_text},
					{"status", say_status},
					{"uri", say_uri},
					{"echo", say_echo},
					{NULL, NULL}};

static void load(const char *more)
{
	char text[4096];

	say_words = words;
	snprintf(text, sizeof(text),
		 "client_body_temp_path /tmp; server_tokens off;"
		 "server { listen 80; location / { say uri; } location /hi { say text hi; }"
		 "location /echo { say echo; } location = /404 { say status 404; }"
		 "location = /444 { say status 444; } %s }",
		 more);
	serve_load_ok(&fixture, text);
	snapshot_switch(fixture.snap, 0);
	client_open(&k, &fixture, 0);
}

/* The connection must be gone by itself when gone is set. */
static void unload(bool gone)
{
	if (gone)
		assert_true(k.eof || k.reset);
	client_close(&k);
	advance_ms(100000);
	assert_int_equal(conns_count(), 0);
	assert_int_equal(co_sched.live, 0);
	snapshot_switch(NULL, 0);
	serve_unload(&fixture);
}

static int status_of(const char *answer)
{
	return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : -1;
}

static void expect(const char *request, int status, const char *body)
{
	const char *a = client_ask(&k, request);

	assert_int_equal(status_of(a), status);
	if (body)
		assert_string_equal(body_of(a), body);
}

static unsigned answers(const char *text)
{
	unsigned n = 0;

	while ((text = strstr(text, "HTTP/1.1 ")) != NULL) {
		n++;
		text += 9;
	}
	return n;
}

static void keeps_and_pipelines(void **state)
{
	load("");
	expect("GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", 200, "[/a?b]");
	assert_non_null(strstr(k.got, "\r\nConnection: keep-alive\r\n"));
	expect("GET /%41/../c HTTP/1.1\r\nHost: x\r\n\r\n", 200, "[/c?]");
	client_ask(&k, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
		       "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
		       "GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_int_equal(answers(k.got), 4);
	assert_non_null(strstr(k.got, "[/1?]HTTP/1.1 200"));
	assert_non_null(strstr(k.got, "\r\n\r\nabcHTTP/1.1 200"));
	assert_non_null(strstr(k.got, "\r\nConnection: close\r\n"));
	unload(true);
}

static void head_in_pieces(void **state)
{
	static const char text[] = "\r\nGET /slow?q HTTP/1.1\r\nHost: x\r\nX: yyyyyyyyyy\r\n\r\n";

	load("");
	k.n = 0;
	for (const char *p = text; *p; p++) {
		client_recv(&k, SIZE_MAX);
		assert_int_equal(k.n, 0);
		client_send(&k, p, 1);
		settle_loop();
	}
	client_recv(&k, SIZE_MAX);
	assert_string_equal(body_of(k.got), "[/slow?q]");
	unload(false);
}

static void old_versions(void **state)
{
	load("");
	expect("GET /hi HTTP/1.0\r\n\r\n", 200, "hi");
	unload(true);
	load("");
	expect("GET /hi HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, "hi");
	assert_false(k.eof);
	expect("GET /hi HTTP/1.0\r\n\r\n", 200, "hi");
	unload(true);
	load("");
	expect("GET /hi\r\n\r\n", 400, NULL);
	unload(true);
}

static void refused_heads(void **state)
{
	static const struct {
		const char *text;
		int status;
	} bad[] = {
		{"GET /hi HTTP/1.1\r\n\r\n", 400},
		{"GET /../x HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /hi HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		{"GET /hi HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
		{"POST /hi HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: "
		 "chunked\r\n\r\n",
		 400},
		{"POST /hi HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		{"\x16\x03\x01\x02", 400},
		{"GET /hi HTTP/2.7\r\nHost: x\r\n\r\n", 505},
		{"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 405},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		load("");
		client_ask(&k, bad[i].text);
		if (status_of(k.got) != bad[i].status)
			print_error("%s: %s\n", bad[i].text, k.got);
		assert_int_equal(status_of(k.got), bad[i].status);
		assert_non_null(strstr(k.got, "\r\nConnection: close\r\n"));
		unload(true);
	}
}

static void long_heads(void **state)
{
	static char text[40000];
	size_t n;

	load("large_client_header_buffers 2 2k;");
	n = (size_t)sprintf(text, "GET /hi HTTP/1.1\r\nHost: x\r\nA: %01000d\r\nB: %01000d\r\n\r\n",
			    0, 0);
	client_send(&k, text, n);
	expect("", 200, "hi");
	sprintf(text, "GET /hi HTTP/1.1\r\nHost: x\r\nA: %02100d\r\n\r\n", 0);
	expect(text, 400, NULL);
	unload(true);
	load("large_client_header_buffers 2 2k;");
	sprintf(text, "GET /%02100d HTTP/1.1\r\nHost: x\r\n\r\n", 0);
	expect(text, 414, NULL);
	unload(true);
}

/* ---- how long a connection is kept ---- */

static void keepalive_limits(void **state)
{
	load("keepalive_requests 2;");
	expect("GET /hi HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hi");
	assert_non_null(strstr(k.got, "keep-alive"));
	expect("GET /hi HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hi");
	assert_non_null(strstr(k.got, "Connection: close"));
	unload(true);
	load("keepalive_time 10s;");
	expect("GET /hi HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hi");
	advance_ms(10001);
	expect("GET /hi HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hi");
	unload(true);
}

/* What counts is the location that answers, not its server. */
static void keepalive_of_the_location(void **state)
{
	load("keepalive_timeout 0; location /on { keepalive_timeout 7s 20s; say text on; }");
	expect("GET /on HTTP/1.1\r\nHost: x\r\n\r\n", 200, "on");
	assert_non_null(strstr(k.got, "Connection: keep-alive\r\nKeep-Alive: timeout=20\r\n"));
	advance_ms(6900);
	client_recv(&k, 1);
	assert_false(k.eof);
	advance_ms(200);
	client_recv(&k, 1);
	unload(true);
	load("keepalive_timeout 0;");
	expect("GET /hi HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hi");
	unload(true);
	load("location /off { keepalive_timeout 0; say text off; }");
	expect("GET /off HTTP/1.1\r\nHost: x\r\n\r\n", 200, "off");
	unload(true);
}

static void silent_clients(void **state)
{
	load("client_header_timeout 5s;");
	advance_ms(4900);
	client_recv(&k, 1);
	assert_false(k.eof);
	advance_ms(200);
	client_recv(&k, 1);
	unload(true);
	load("client_header_timeout 5s;");
	expect("GET /hi HTTP/1.1\r\nHost", -1, NULL);
	advance_ms(5100);
	client_recv(&k, SIZE_MAX);
	assert_int_equal(k.n, 0);
	unload(true);
	load("client_body_timeout 3s;");
	expect("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", -1, NULL);
	advance_ms(2900);
	client_say(&k, "c");
	settle_loop();
	advance_ms(2900);
	client_recv(&k, 1);
	assert_false(k.eof);
	advance_ms(200);
	client_recv(&k, SIZE_MAX);
	assert_int_equal(k.n, 0);
	unload(true);
}

/* ---- request bodies ---- */

static void bodies(void **state)
{
	load("");
	expect("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	       "3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nT: 1\r\n\r\n",
	       200, "abcde");
	expect("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200, "");
	expect("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200,
	       "");
	/* unread ones are read away */
	expect("POST /hi HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", 200, "hi");
	expect("POST /hi HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
	       "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	       200, "hi");
	expect("POST /404 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", 404, NULL);
	expect("cdeGET /hi HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hi");
	expect("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400,
	       NULL);
	unload(true);
}

static void expect_continue(void **state)
{
	load("");
	client_ask(&k, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
		       "Content-Length: 3\r\n\r\n");
	assert_string_equal(k.got, "HTTP/1.1 100 Continue\r\n\r\n");
	expect("abc", 200, "abc");
	/* it came along: nothing to ask for */
	expect("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
	       "Content-Length: 3\r\n\r\nxyz",
	       200, "xyz");
	/* nobody asks for it: will it come or not? */
	expect("POST /hi HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
	       "Content-Length: 3\r\n\r\n",
	       200, "hi");
	assert_non_null(strstr(k.got, "Connection: close"));
	unload(true);
}

static void too_large(void **state)
{
	load("client_max_body_size 4;");
	expect("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc", 413, NULL);
	assert_non_null(strstr(k.got, "Connection: close"));
	/* what the client is still sending is read away, so that it can read the answer */
	client_say(&k, "de");
	settle_loop();
	assert_int_equal(conns_count(), 1);
	advance_ms(4900);
	assert_int_equal(conns_count(), 1);
	advance_ms(200);
	assert_int_equal(conns_count(), 0);
	unload(true);
	load("client_max_body_size 4;");
	expect("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
	       "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n",
	       413, NULL);
	unload(true);
	load("client_max_body_size 4; error_page 413 /big; location = /big { say text big; }");
	expect("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", 413, "big");
	unload(true);
}

/* More than is worth reading for the sake of the connection: the client can still read its answer.
 */
static void large_unread_body(void **state)
{
	static char zeros[65536];

	load("client_max_body_size 0;");
	client_say(&k, "POST /hi HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n");
	for (int i = 0; i < 30; i++)
		client_send(&k, zeros, sizeof(zeros));
	expect("", 200, "hi");
	assert_int_equal(conns_count(), 1); /* lingers */
	assert_false(k.reset);
	unload(true);
}

static void client_leaves(void **state)
{
	load("");
	client_say(&k, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
	settle_loop();
	assert_int_equal(co_sched.live, 1);
	unload(false);
	load("");
	expect("GET /444 HTTP/1.1\r\nHost: x\r\n\r\n", -1, NULL);
	unload(true);
	load("");
	expect("GET /hi HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hi");
	shutdown(k.fd, SHUT_WR); /* said all it has to say */
	settle_loop();
	unload(false);
	load(""); /* half-closed, and still answered */
	client_say(&k, "GET /hi HTTP/1.1\r\nHost: x\r\n\r\n");
	shutdown(k.fd, SHUT_WR);
	expect("", 200, "hi");
	unload(true);
}

static void draining(void **state)
{
	load("");
	expect("GET /hi HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hi");
	conns_drain();
	expect("GET /hi HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hi");
	assert_non_null(strstr(k.got, "Connection: close"));
	unload(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_and_pipelines),
		cmocka_unit_test(head_in_pieces),
		cmocka_unit_test(old_versions),
		cmocka_unit_test(refused_heads),
		cmocka_unit_test(long_heads),
		cmocka_unit_test(keepalive_limits),
		cmocka_unit_test(keepalive_of_the_location),
		cmocka_unit_test(silent_clients),
		cmocka_unit_test(bodies),
		cmocka_unit_test(expect_continue),
		cmocka_unit_test(too_large),
		cmocka_unit_test(large_unread_body),
		cmocka_unit_test(client_leaves),
		cmocka_unit_test(draining),
	};

	return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
