#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/replay.h"
#include <cmocka.h>
#undef fail

/* Gives `text` in pieces of `step` bytes. */
struct source {
	struct body body;
	struct span text;
	size_t step, at;
	int calls;
};

static enum fail source_next(struct body *b, struct piece *out)
{
	struct source *s = CONTAINER_OF(b, struct source, body);
	struct span part = span_cut(s->text, s->at, MIN_OF(s->text.n, s->at + s->step));

	s->calls++;
	s->at += part.n;
	*out = (struct piece){.kind = PIECE_MEM, .mem = part, .last = s->at == s->text.n};
	b->done = out->last;
	return FAIL_OK;
}

static const struct body_ops source_ops = {.next = source_next};

static void source_init(struct source *s, struct span text, size_t step)
{
	*s = (struct source){
		.body = {.ops = &source_ops, .length = -1}, .text = text, .step = step};
}

/* Reads up to n pieces into out; returns the bytes. */
static size_t take(struct body *b, char *out, int n)
{
	struct piece p = {0};
	size_t len = 0;

	while (n-- && !p.last) {
		assert_int_equal(body_next(b, &p), FAIL_OK);
		memcpy(out + len, p.mem.p, p.mem.n);
		len += p.mem.n;
	}
	return len;
}

static void gives_the_same_again(void **state)
{
	static const char text[] = "0123456789abcdefghij";
	char out[64];

	/* Broken off after each number of pieces, then read to the end. */
	for (int first = 0; first <= 7; first++) {
		struct source s;
		struct replay p;
		struct body *b;

		source_init(&s, span_make(text, 20), 3);
		b = replay_init(&p, &s.body);
		assert_int_equal(take(b, out, first), MIN_OF(first * 3, 20));
		assert_true(replay_can(&p));
		replay_rewind(&p);
		assert_int_equal(take(b, out, 100), 20);
		assert_memory_equal(out, text, 20);
		assert_true(b->done);
		assert_int_equal(s.calls, 7);
		replay_fini(&p);
	}
}

static void keeps_no_more_than_its_ceiling(void **state)
{
	size_t n = 3 * REPLAY_MAX;
	char *big = malloc(n), *out = malloc(n);
	struct source s;
	struct replay p;
	struct body *b;

	for (size_t i = 0; i < n; i++)
		big[i] = (char)(i * 7);
	source_init(&s, span_make(big, n), 5000);
	b = replay_init(&p, &s.body);
	assert_int_equal(take(b, out, 1000), n);
	assert_memory_equal(out, big, n);
	assert_false(replay_can(&p));
	assert_null(p.kept.p);
	replay_fini(&p);
	free(big);
	free(out);
}

static void keeps_nothing_when_stopped(void **state)
{
	struct source s;
	struct replay p;
	struct body *b;
	char out[64];

	source_init(&s, SPAN("0123456789"), 4);
	b = replay_init(&p, &s.body);
	take(b, out, 1);
	replay_stop(&p);
	assert_int_equal(take(b, out, 10), 6);
	assert_memory_equal(out, "456789", 6);
	assert_false(replay_can(&p));
	replay_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_same_again),
		cmocka_unit_test(keeps_no_more_than_its_ceiling),
		cmocka_unit_test(keeps_nothing_when_stopped),
	};

	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
