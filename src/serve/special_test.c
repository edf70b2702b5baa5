#include <stdlib.h>
#include "serve/serve_fixture.h"

static struct serve_fixture fixture;
static struct client k;

static MAY_SUSPEND int say_status(struct req *r, const struct conf_node *say)
{
	return atoi(say->words[2].text.p);
}

static MAY_SUSPEND int say_text(struct req *r, const struct conf_node *say)
{
	return req_answer_text(r, 200, SPAN("text/plain"),
			       arena_printf(&r->arena, "%.*s %.*s?%.*s",
					    SPAN_ARG(say->words[2].text), SPAN_ARG(r->method_name),
					    SPAN_ARG(r->args)));
}

static MAY_SUSPEND int say_again(struct req *r, const struct conf_node *say)
{
	return req_redirect(r, say->words[2].text, SPAN(""));
}

static const struct say_word words[] = {
	{"status", say_status}, {"text", say_text}, {"again", say_again}, {NULL, NULL}};

static void mistakes(void **state)
{
	static const char *const pairs[] = {"404 =x /a",
					    "invalid value \"=x\"\n",
					    "=200 /a",
					    "invalid value \"=200\"\n",
					    "600 /a",
					    "value \"600\" must be between 300 and 599\n",
					    "299 /a",
					    "value \"299\" must be between 300 and 599\n",
					    "499 /a",
					    "invalid value \"499\"\n",
					    "x /a",
					    "invalid value \"x\"\n",
					    "404 =404 =200 /a",
					    "invalid value \"=404\"\n",
					    "404 = /a",
					    "",
					    "404 500 502 =200 /a?b=$uri",
					    "",
					    "404 @none",
					    "",
					    NULL};

	for (int i = 0; pairs[i]; i += 2) {
		char text[256];

		snprintf(text, sizeof(text), "error_page %s;", pairs[i]);
		expect_problems(text, pairs[i + 1]);
	}
}

static const struct error_page *page(const struct core_loc *l, int status)
{
	for (size_t i = 0; i < l->nerror_pages; i++)
		if (l->error_pages[i].status == status)
			return &l->error_pages[i];
	return NULL;
}

static void parsed(void **state)
{
	const struct core_loc *l;
	struct server *s;

	serve_load_ok(&fixture,
		      "error_page 404 /outer; server { listen 80; error_page 500 502 =503 /e;"
		      "error_page 404 = @n; error_page 497 /tls; error_page 497 =497 /tls2; }"
		      "server { listen 81; }");
	s = CONTAINER_OF(fixture.http->servers.next, struct server, link);
	l = conf_get(s->scope, &core_loc_mod);
	assert_int_equal(page(l, 500)->overwrite, 503);
	assert_int_equal(page(l, 502)->overwrite, 503);
	assert_int_equal(page(l, 404)->overwrite, 0);
	assert_span(page(l, 404)->uri->source, "@n"); /* the inherited list is replaced */
	assert_int_equal(page(l, 497)->overwrite, 400);
	assert_null(page(l, 403));
	s = CONTAINER_OF(s->link.next, struct server, link);
	l = conf_get(s->scope, &core_loc_mod);
	assert_span(page(l, 404)->uri->source, "/outer");
	assert_int_equal(page(l, 404)->overwrite, -1);
	serve_unload(&fixture);
}

static void ask(const char *more, const char *path)
{
	char text[4096];

	say_words = words;
	snprintf(text, sizeof(text),
		 "client_body_temp_path /tmp; server_tokens off; server { listen 80; server_name "
		 "srv;"
		 "location /404 { say status 404; } location /500 { say status 500; }"
		 "location /page { say text page; } location @named { say text named; }"
		 "location /again { say again /again; } location /in { internal; say text in; } %s "
		 "}",
		 more);
	serve_load_ok(&fixture, text);
	snapshot_switch(fixture.snap, 0);
	client_open(&k, &fixture, 0);
	snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\nHost: h:81\r\nContent-Length: 0\r\n\r\n",
		 path);
	client_ask(&k, text);
	client_close(&k);
	advance_ms(100000);
	assert_int_equal(conns_count(), 0);
	snapshot_switch(NULL, 0);
	serve_unload(&fixture);
}

static void expect(const char *more, const char *path, const char *status, const char *body)
{
	ask(more, path);
	if (!strstr(k.got, status))
		print_error("%s %s: %s\n", more, path, k.got);
	assert_ptr_equal(strstr(k.got, status), k.got);
	if (body)
		assert_string_equal(body_of(k.got), body);
}

static void decisions(void **state)
{
	expect("error_page 404 /page?x=$uri;", "/404", "HTTP/1.1 404 ", "page GET?x=/404");
	expect("error_page 404 =200 /page;", "/404", "HTTP/1.1 200 ", "page GET?");
	expect("error_page 404 = /page;", "/404", "HTTP/1.1 200 ", "page GET?");
	expect("error_page 404 = /500;", "/404", "HTTP/1.1 500 ", NULL);
	expect("error_page 404 @named;", "/404", "HTTP/1.1 404 ", "named POST?");
	expect("error_page 404 /in;", "/404", "HTTP/1.1 404 ", "in GET?");
	expect("", "/in", "HTTP/1.1 404 ", NULL);
	expect("error_page 404 /404;", "/404", "HTTP/1.1 404 ", NULL);
	expect("error_page 404 /500; error_page 500 /page;", "/404", "HTTP/1.1 500 ", NULL);
	expect("error_page 404 /500; error_page 500 /page; recursive_error_pages on;", "/404",
	       "HTTP/1.1 500 ", "page GET?");
	expect("error_page 404 @none;", "/404", "HTTP/1.1 500 ", NULL);
}

/* Redirections in a circle end, whatever the error pages say. */
static void circles(void **state)
{
	expect("", "/again", "HTTP/1.1 500 ", NULL);
	expect("error_page 500 /again; recursive_error_pages on;", "/again", "HTTP/1.1 500 ", NULL);
	expect("error_page 404 /404; recursive_error_pages on;", "/404", "HTTP/1.1 404 ", NULL);
}

static void redirects(void **state)
{
	expect("error_page 404 http://other/$uri;", "/404", "HTTP/1.1 302 ",
	       "<html>\r\n<head><title>302 Found</title></head>\r\n<body>\r\n"
	       "<center><h1>302 Found</h1></center>\r\n<hr><center>sluice</center>\r\n"
	       "</body>\r\n</html>\r\n");
	assert_non_null(strstr(k.got, "\r\nLocation: http://other//404\r\n"));
	expect("error_page 404 =301 http://other/;", "/404", "HTTP/1.1 301 ", NULL);
	expect("error_page 404 =404 http://other/;", "/404", "HTTP/1.1 302 ", NULL);
}

static void built_in_pages(void **state)
{
	expect("", "/404", "HTTP/1.1 404 Not Found\r\n",
	       "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n"
	       "<center><h1>404 Not Found</h1></center>\r\n<hr><center>sluice</center>\r\n"
	       "</body>\r\n</html>\r\n");
	assert_non_null(strstr(k.got, "\r\nConnection: keep-alive\r\n"));
	expect("", "/500", "HTTP/1.1 500 Internal Server Error\r\n", NULL);
	assert_non_null(strstr(k.got, "\r\nConnection: close\r\n"));
	expect("location /204 { say status 204; }", "/204", "HTTP/1.1 204 ", "");
	expect("location /444 { say status 444; }", "/444", "", "");
	assert_int_equal(k.n, 0);
}

static void absolute_locations(void **state)
{
	static const char dir[] = "location /d/ { say text d; }";

	expect(dir, "/d", "HTTP/1.1 301 ", NULL);
	assert_non_null(strstr(k.got, "\r\nLocation: http://h/d/\r\n"));
	expect("location /d/ { say text d; server_name_in_redirect on; }", "/d", "HTTP/1.1 301 ",
	       NULL);
	assert_non_null(strstr(k.got, "\r\nLocation: http://srv/d/\r\n"));
	expect("absolute_redirect off; location /d/ { say text d; }", "/d", "HTTP/1.1 301 ", NULL);
	assert_non_null(strstr(k.got, "\r\nLocation: /d/\r\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mistakes),	      cmocka_unit_test(parsed),
		cmocka_unit_test(decisions),	      cmocka_unit_test(circles),
		cmocka_unit_test(redirects),	      cmocka_unit_test(built_in_pages),
		cmocka_unit_test(absolute_locations),
	};

	return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
