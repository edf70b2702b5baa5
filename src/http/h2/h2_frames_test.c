#include "http/h2/h2_frames.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/bug.h"

#define PREFACE 24

static const uint32_t lens[] = {0, 0, 1, 8, 9, 10, 300, 0};
static uint8_t input[1000], got[1000];
static size_t ninput, ngot, edges[32], nedges;

struct fixture {
	struct h2_frames f;
	unsigned heads;
};

static void make_input(void)
{
	memset(input, 'p', PREFACE);
	ninput = PREFACE;
	nedges = 0;
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		uint8_t head[] = {
			0, (uint8_t)(lens[i] >> 8), (uint8_t)lens[i], (uint8_t)i, 4, 0x80, 0,
			1, (uint8_t)(2 * i + 1)};

		edges[nedges++] = ninput;
		memcpy(input + ninput, head, sizeof(head));
		ninput += sizeof(head);
		memset(input + ninput, 0xff, lens[i]);
		ninput += lens[i];
	}
}

/* No call begins or ends within a head. */
static void check_edge(size_t at)
{
	for (size_t i = 0; i < nedges; i++)
		assert_false(at > edges[i] && at < edges[i] + H2_FRAME_HEAD);
}

static bool take(void *arg, const uint8_t *p, size_t n, size_t seen)
{
	struct fixture *x = arg;

	while (seen < n) {
		bool whole;
		size_t k = h2_frames_next(&x->f, p + seen, n - seen, &whole);

		assert_true(k > 0);
		seen += k;
		if (!whole)
			continue;
		assert_int_equal(x->f.type, x->heads);
		assert_int_equal(x->f.flags, 4);
		assert_int_equal(x->f.len, lens[x->heads]);
		assert_int_equal(x->f.id, 256 + 2 * x->heads + 1);
		x->heads++;
	}
	n -= x->f.have;
	memcpy(got + ngot, p, n);
	ngot += n;
	check_edge(ngot);
	return true;
}

/* In pieces of any length all of it arrives, in order. */
static void test_pieces(void **state)
{
	make_input();
	for (size_t size = 1; size <= ninput; size++) {
		struct fixture x = {0};

		ngot = 0;
		h2_frames_init(&x.f, PREFACE);
		for (size_t at = 0; at < ninput; at += size)
			assert_true(h2_frames_feed(&x.f, input + at, MIN_OF(size, ninput - at),
						   take, &x));
		assert_int_equal(x.heads, ARRAY_LEN(lens));
		assert_int_equal(ngot, ninput);
		assert_memory_equal(got, input, ninput);
	}
}

static bool refuse(void *arg, const uint8_t *p, size_t n, size_t seen)
{
	++*(int *)arg;
	return false;
}

static void test_refused(void **state)
{
	struct h2_frames f;
	bool whole;
	int calls = 0;

	make_input();
	h2_frames_init(&f, 0);
	assert_int_equal(h2_frames_next(&f, input + PREFACE, 5, &whole), 5);
	assert_false(whole);
	assert_false(h2_frames_feed(&f, input + PREFACE + 5, 100, refuse, &calls));
	assert_int_equal(calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces),
					   cmocka_unit_test(test_refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
