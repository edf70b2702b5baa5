#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "serve/serve_fixture.h"

static struct serve_fixture fixture;
static struct client k;
static char dir[64];
static struct {
	int64_t length;
	bool in_file, twice;
	char path[256];
	char trailer[64];
	int rc;
} seen;

/* Reads the body, twice, and answers with its length and first and last byte, from where it was
 * kept. */
static MAY_SUSPEND int say_read(struct req *r, const struct conf_node *say)
{
	struct body *b;
	struct piece pc = {.last = false};
	int64_t n = 0;

	seen.rc = req_read_body(r);
	if (seen.rc)
		return seen.rc;
	assert_int_equal(req_read_body(r), 0);
	assert_null(r->body);
	seen.length = r->buffered->length;
	seen.in_file = r->buffered->fd >= 0;
	snprintf(seen.path, sizeof(seen.path), "%.*s", SPAN_ARG(r->buffered->path));
	for (int i = 0; i < 2; i++) {
		b = req_body_again(r);
		assert_int_equal(b->length, seen.length);
		for (pc.last = false, n = 0; !pc.last; n += (int64_t)piece_len(&pc)) {
			assert_int_equal(body_next(b, &pc), FAIL_OK);
			for (size_t j = 0; pc.kind == PIECE_MEM && j < pc.mem.n; j++)
				assert_int_equal((unsigned char)pc.mem.p[j],
						 (n + (int64_t)j) % 251);
		}
		assert_ptr_equal(b->trailers, r->buffered->trailers);
		body_close(b);
		assert_int_equal(n, seen.length);
	}
	if (r->buffered->trailers)
		snprintf(seen.trailer, sizeof(seen.trailer), "%.*s",
			 SPAN_ARG(hdrs_find_name(r->buffered->trailers, SPAN("x-sum"))->value));
	return req_answer_text(r, 200, SPAN("t/t"), SPAN("read"));
}

static const struct say_word words[] = {{"read", say_read}, {NULL, NULL}};

static void load(const char *more)
{
	char text[2048];

	say_words = words;
	snprintf(dir, sizeof(dir), "/tmp/sluice-body-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(text, sizeof(text), "server { listen 80; location / { say read; %s %s } }",
		 strstr(more, "temp_path") ? "" : "client_body_temp_path @; ", more);
	while (strchr(text, '@')) { /* where the folder's name goes */
		char *at = strchr(text, '@');

		memmove(at + strlen(dir), at + 1, strlen(at + 1) + 1);
		memcpy(at, dir, strlen(dir));
	}
	serve_load_ok(&fixture, text);
	snapshot_switch(fixture.snap, 0);
	memset(&seen, 0, sizeof(seen));
	client_open(&k, &fixture, 0);
}

static void unload(void)
{
	char command[128];

	client_close(&k);
	advance_ms(100000);
	assert_int_equal(conns_count(), 0);
	snapshot_switch(NULL, 0);
	serve_unload(&fixture);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static int post(size_t n, bool chunked)
{
	static char data[32 * 1024 * 1024];
	char head[128];

	for (size_t i = 0; i < n; i++)
		data[i] = (char)(i % 251);
	if (chunked)
		snprintf(head, sizeof(head),
			 "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n",
			 n);
	else
		snprintf(head, sizeof(head),
			 "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", n);
	client_say(&k, head);
	client_send(&k, data, n);
	client_ask(&k, chunked ? "\r\n0\r\n\r\n" : "");
	return k.n > 9 ? atoi(k.got + 9) : 0;
}

static void memory_or_file(void **state)
{
	static const struct {
		size_t n;
		bool in_file;
	} cases[] = {{1, false}, {1000, false}, {1001, true}, {100000, true}};

	load("client_body_buffer_size 1000;");
	for (int chunked = 0; chunked < 2; chunked++) {
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			assert_int_equal(post(cases[i].n, chunked), 200);
			assert_int_equal(seen.length, cases[i].n);
			assert_int_equal(seen.in_file, cases[i].in_file);
			assert_string_equal(seen.path, "");
		}
	}
	assert_int_equal(client_ask(&k, "POST / HTTP/1.1\r\nHost: x\r\n\r\n") ? seen.length : -1,
			 0);
	assert_int_equal(rmdir(dir), 0); /* nothing was left in it */
	assert_int_equal(mkdir(dir, 0700), 0);
	unload();
}

/* A buffer larger than a request's arena may be is not an error, nor is it all taken. */
static void huge_buffer(void **state)
{
	load("client_body_buffer_size 100m; client_max_body_size 0;");
	assert_int_equal(post(100, true), 200);
	assert_false(seen.in_file);
	assert_int_equal(post(20000000, false), 200);
	assert_int_equal(seen.length, 20000000);
	assert_true(seen.in_file);
	unload();
}

static void limits(void **state)
{
	load("client_max_body_size 1000;");
	assert_int_equal(post(1000, false), 200);
	assert_int_equal(post(1000, true), 200);
	assert_int_equal(post(1001, true), 413);
	assert_int_equal(seen.rc, 413);
	unload();
}

static void in_file_only(void **state)
{
	struct stat st;

	load("client_body_in_file_only on; client_body_temp_path @ 1 2;");
	assert_int_equal(post(10, false), 200);
	assert_true(seen.in_file);
	assert_int_equal(stat(seen.path, &st), 0); /* it stays */
	assert_int_equal(st.st_size, 10);
	assert_int_equal(strlen(seen.path) - strlen(dir), strlen("/d/dd/0000000000"));
	unload();
	load("client_body_in_file_only clean;");
	assert_int_equal(post(10, true), 200);
	assert_true(seen.in_file && seen.path[0]);
	assert_int_equal(stat(seen.path, &st), -1);
	unload();
}

/* They stay with the body, of no bytes as well, for each time that it is sent. */
static void trailers(void **state)
{
	load("client_body_buffer_size 1000;");
	for (size_t n = 0; n < 3000; n += 1400) {
		char head[64];

		*seen.trailer = 0;
		client_say(&k, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
		snprintf(head, sizeof(head), "%zx\r\n", n);
		if (n)
			client_say(&k, head);
		for (size_t i = 0; i < n; i++)
			client_send(&k, &(char){(char)(i % 251)}, 1);
		client_ask(&k, n ? "\r\n0\r\nX-Sum: 42\r\n\r\n" : "0\r\nX-Sum: 42\r\n\r\n");
		assert_int_equal(seen.length, n);
		assert_int_equal(seen.in_file, n > 1000);
		assert_string_equal(seen.trailer, "42");
	}
	*seen.trailer = 0;
	assert_int_equal(post(5, true), 200);
	assert_string_equal(seen.trailer, "");
	unload();
}

static void no_folder(void **state)
{
	load("client_body_buffer_size 10; client_body_temp_path @/none;");
	assert_int_equal(post(100, false), 500);
	unload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_or_file), cmocka_unit_test(huge_buffer),
		cmocka_unit_test(limits),	  cmocka_unit_test(in_file_only),
		cmocka_unit_test(no_folder),	  cmocka_unit_test(trailers),
	};

	return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
