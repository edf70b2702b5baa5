#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#undef fail
#include "mod/range.h"

static const char text[] = "0123456789abcdefghij";

/* A source that gives memory in pieces of `step` bytes. */
struct steps {
	struct body body;
	size_t at, step, end;
	bool closed;
};

static enum fail steps_next(struct body *b, struct piece *out)
{
	struct steps *s = CONTAINER_OF(b, struct steps, body);
	size_t n = MIN_OF(s->step, s->end - s->at);

	*out = (struct piece){.kind = PIECE_MEM, .mem = span_make(text + s->at, n)};
	s->at += n;
	out->last = b->done = s->at == s->end;
	return FAIL_OK;
}

static bool steps_ready(struct body *b)
{
	(void)b;
	return true;
}

static void steps_close(struct body *b)
{
	CONTAINER_OF(b, struct steps, body)->closed = true;
}

static struct body *steps_init(struct steps *s, size_t step, size_t end)
{
	static const struct body_ops ops = {
		.next = steps_next, .ready = steps_ready, .close = steps_close};

	*s = (struct steps){.body = {.ops = &ops, .length = 20}, .step = step, .end = end};
	return &s->body;
}

static char got[512];

/* Everything the body gives, as text; "!" at the end on failure. */
static const char *drain(struct body *b, int fd)
{
	size_t n = 0;
	struct piece p;

	for (;;) {
		if (body_next(b, &p) != FAIL_OK) {
			got[n++] = '!';
			break;
		}
		if (p.kind == PIECE_FILE) {
			assert_int_equal(p.fd, fd);
			assert_int_equal(pread(fd, got + n, p.len, p.off), (ssize_t)p.len);
		} else if (p.mem.n) {
			memcpy(got + n, p.mem.p, p.mem.n);
		}
		n += piece_len(&p);
		if (p.last)
			break;
	}
	got[n] = 0;
	return got;
}

static void test_single(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	for (size_t step = 1; step <= 20; step++) {
		struct range_cut cut = {.start = 3, .end = 12};
		struct range_body b;
		struct steps s;
		struct body *body = range_body_init(&b, &a, steps_init(&s, step, 20), &cut, 1);

		assert_int_equal(body->length, 9);
		assert_string_equal(drain(body, -1), "3456789ab");
		assert_true(body->done);
		body_close(body);
		assert_true(s.closed);
	}
	arena_fini(&a);
}

static void test_short_source(void **state)
{
	struct range_cut cut = {.start = 3, .end = 12};
	struct range_body b;
	struct steps s;
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	assert_string_equal(drain(range_body_init(&b, &a, steps_init(&s, 4, 8), &cut, 1), -1),
			    "34567!");
	arena_fini(&a);
}

static void test_framing(void **state)
{
	static const struct byte_range v[] = {{0, 2}, {5, 7}, {18, 20}};
	static const char want[] =
		"\r\n--B\r\nContent-Type: text/x\r\nContent-Range: bytes 0-1/20\r\n\r\n01"
		"\r\n--B\r\nContent-Type: text/x\r\nContent-Range: bytes 5-6/20\r\n\r\n56"
		"\r\n--B\r\nContent-Type: text/x\r\nContent-Range: bytes 18-19/20\r\n\r\nij"
		"\r\n--B--\r\n";
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	for (size_t step = 1; step <= 20; step++) {
		int64_t total;
		struct range_cut *cuts =
			range_multipart(&a, v, 3, 20, SPAN("text/x"), SPAN("B"), &total);
		struct range_body b;
		struct steps s;

		assert_int_equal(total, sizeof(want) - 1);
		assert_string_equal(
			drain(range_body_init(&b, &a, steps_init(&s, step, 20), cuts, 4), -1),
			want);
		assert_int_equal(b.body.length, total);
	}
	arena_fini(&a);
}

static void test_any_order(void **state)
{
	struct range_cut cuts[] = {
		{.start = 10, .end = 13}, {.start = 2, .end = 4}, {.start = 1, .end = 20}};
	struct range_body b;
	struct steps s;
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	range_body_init(&b, &a, steps_init(&s, 20, 20), cuts, 3);
	assert_true(range_source_whole(&b, 20));
	assert_string_equal(drain(&b.body, -1), "abc23123456789abcdefghij");
	range_body_init(&b, &a, steps_init(&s, 19, 20), cuts, 3);
	assert_false(range_source_whole(&b, 20));
	arena_fini(&a);
}

static void test_file(void **state)
{
	struct range_cut cuts[] = {{.start = 10, .end = 13}, {.start = 2, .end = 4}};
	char name[] = "/tmp/sluice-range-XXXXXX";
	int fd = mkstemp(name);
	struct arena a;

	(void)state;
	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(write(fd, text, 20), 20);
	arena_init(&a, 1 << 20);
	for (int file = 0; file < 2; file++) {
		struct body_file f;
		struct range_body b;

		range_body_init(&b, &a, body_of_file(&f, &a, fd, 0, 20), cuts, 2);
		b.body.accept = PIECE_MEM | (file ? PIECE_FILE : 0);
		assert_true(range_source_whole(&b, 20));
		assert_true(body_ready(&b.body));
		assert_string_equal(drain(&b.body, fd), "abc23");
		body_close(&b.body);
	}
	arena_fini(&a);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single),	cmocka_unit_test(test_short_source),
		cmocka_unit_test(test_framing), cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
