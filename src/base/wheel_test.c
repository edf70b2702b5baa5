#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/wheel.h"

#define TIMERS 400

struct model_timer {
	struct timer timer;
	bool pending, held;
	uint64_t at, started; /* what was asked for, and its place in the order of starts */
	uint64_t lowest;      /* not to fire before this run of the wheel */
	int rearm;	      /* what its callback does */
};

static struct wheel wheel;
static struct model_timer all[TIMERS];
static uint64_t starts, runs, target, last_at, last_started;
static unsigned npending, fired, fired_held;

static uint64_t rnd(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static void model_start(struct model_timer *m, uint64_t at)
{
	npending += !m->pending;
	m->pending = true;
	m->at = at;
	m->started = ++starts;
	m->lowest = at <= wheel.now ? runs + 1 : 0;
	m->held = rnd() % 2;
	if (m->held)
		timer_hold(&wheel, &m->timer, at);
	else
		timer_start(&wheel, &m->timer, at);
}

static void model_stop(struct model_timer *m)
{
	npending -= m->pending;
	m->pending = false;
	if (rnd() % 2)
		timer_rest(&wheel, &m->timer);
	else
		timer_stop(&wheel, &m->timer);
}

/* Mostly near, sometimes on the edges of levels, sometimes past, sometimes far. */
static uint64_t random_time(void)
{
	switch (rnd() % 8) {
	case 0:
		return wheel.now - MIN_OF(wheel.now, rnd() % 100);
	case 1:
		return wheel.now + (1ull << rnd() % 40) - rnd() % 2;
	case 2:
		return (wheel.now | ((1ull << (6 * (rnd() % 7))) - 1)) + rnd() % 2;
	case 3:
		return wheel.now + rnd() % (1ull << 38);
	case 4:
		return rnd() % 50 ? wheel.now + rnd() % 100000 : UINT64_MAX - 1;
	default:
		return wheel.now + rnd() % 200;
	}
}

static void on_fire(struct timer *t)
{
	struct model_timer *m = CONTAINER_OF(t, struct model_timer, timer);
	struct model_timer *other = &all[rnd() % TIMERS];

	assert_true(m->pending);
	assert_false(timer_pending(t));
	assert_true(m->at <= target);	/* never early */
	assert_true(m->lowest <= runs); /* started when past: in the next run */
	if (!m->lowest) {
		/* In the order of time, and within a ms in the order of starts. */
		assert_true(m->at >= last_at);
		assert_true(m->held || m->at > last_at || m->started > last_started);
		assert_true(m->at == wheel.now);
		last_started = !m->held ? m->started : m->at > last_at ? 0 : last_started;
		last_at = m->at;
	}
	m->pending = false;
	npending--;
	fired++;
	fired_held += m->held;
	if (m->rearm == 1)
		model_start(m, random_time());
	else if (m->rearm == 2)
		model_stop(other);
	else if (m->rearm == 3)
		model_start(other, random_time());
}

static void model_run(uint64_t now)
{
	target = now;
	runs++;
	last_at = last_started = 0;
	wheel_run(&wheel, now);
	assert_true(wheel.now >= now);
	for (int i = 0; i < TIMERS; i++) {
		assert_true(timer_pending(&all[i].timer) == all[i].pending);
		if (all[i].pending) /* all that were due have fired */
			assert_true(all[i].at > now || all[i].lowest > runs);
	}
	assert_int_equal(wheel.count, npending);
}

static uint64_t earliest(void)
{
	uint64_t at = UINT64_MAX;

	for (int i = 0; i < TIMERS; i++)
		if (all[i].pending)
			at = MIN_OF(at, MAX_OF(all[i].at, wheel.now));
	return at;
}

static void against_model(uint64_t begin, int rounds)
{
	wheel_init(&wheel, begin);
	npending = fired = fired_held = 0;
	for (int i = 0; i < TIMERS; i++) {
		all[i] = (struct model_timer){.rearm = i % 4};
		timer_init(&all[i].timer, on_fire);
	}
	for (int i = 0; i < rounds; i++) {
		uint64_t next;

		for (uint64_t k = rnd() % 8; k; k--) {
			struct model_timer *m = &all[rnd() % TIMERS];

			if (rnd() % 4)
				model_start(m, random_time());
			else
				model_stop(m);
		}
		next = wheel_next(&wheel);
		assert_true(next <= earliest());
		assert_true(next == UINT64_MAX || next >= wheel.now);
		switch (rnd() % 4) {
		case 0:
			model_run(wheel.now); /* time stands */
			break;
		case 1:
			model_run(next == UINT64_MAX ? wheel.now : next);
			break;
		case 2:
			model_run(wheel.now + rnd() % 100);
			break;
		default:
			model_run(wheel.now + rnd() % (1ull << rnd() % 20));
		}
	}
	assert_true(fired > (unsigned)rounds / 4);
	assert_true(fired_held > fired / 4);
}

static void test_against_model(void **state)
{
	against_model(0, 20000);
	against_model(123456789, 20000);
	against_model((1ull << 36) - 5000, 20000); /* over the end of the highest level */
	against_model((1ull << 24) - 10, 20000);
}

static int nfired;
static void count_fired(struct timer *t)
{
	nfired++;
}

static void test_simple(void **state)
{
	struct timer t;

	wheel_init(&wheel, 100);
	timer_init(&t, count_fired);
	nfired = 0;
	assert_true(wheel_next(&wheel) == UINT64_MAX);
	timer_stop(&wheel, &t);
	timer_start(&wheel, &t, 150);
	assert_true(timer_pending(&t));
	assert_true(wheel_next(&wheel) <= 150);
	wheel_run(&wheel, 149);
	assert_int_equal(nfired, 0);
	wheel_run(&wheel, 120); /* never backwards */
	assert_int_equal(wheel.now, 149);
	wheel_run(&wheel, 150);
	assert_int_equal(nfired, 1);
	timer_start(&wheel, &t, 10); /* past */
	assert_true(wheel_next(&wheel) == wheel.now);
	wheel_run(&wheel, 150);
	assert_int_equal(nfired, 2);
	timer_start(&wheel, &t, UINT64_MAX);
	wheel_run(&wheel, 1ull << 50);
	wheel_run(&wheel, UINT64_MAX - 1);
	assert_int_equal(nfired, 2);
	timer_stop(&wheel, &t);
	assert_int_equal(wheel.count, 0);
	assert_true(wheel_next(&wheel) == UINT64_MAX);
}

/* What is held or rests costs the wheel nothing until its place comes. */
static void test_held(void **state)
{
	struct timer t;

	wheel_init(&wheel, 1000);
	timer_init(&t, count_fired);
	nfired = 0;
	timer_hold(&wheel, &t, 1100);
	for (uint64_t now = 1001; now < 1100; now++) {
		wheel_run(&wheel, now);
		timer_rest(&wheel, &t);
		assert_false(timer_pending(&t));
		assert_int_equal(wheel.count, 0);
		timer_hold(&wheel, &t, now + 100);
		assert_int_equal(t.at, 1100);
		assert_int_equal(wheel.count, 1);
	}
	wheel_run(&wheel, 1198);
	assert_int_equal(nfired, 0);
	timer_hold(&wheel, &t, 1150); /* past, and before its place */
	wheel_run(&wheel, 1198);
	assert_int_equal(nfired, 1);
	timer_hold(&wheel, &t, 1300);
	timer_hold(&wheel, &t, 1250);
	wheel_run(&wheel, 1250);
	assert_int_equal(nfired, 2);
	timer_hold(&wheel, &t, 1300);
	timer_rest(&wheel, &t);
	wheel_run(&wheel, 1400);
	assert_int_equal(nfired, 2);
	assert_true(wheel_next(&wheel) == UINT64_MAX);
}

/* A far deadline costs few looks on the way. */
static void test_few_steps(void **state)
{
	struct timer t;
	int steps = 0;

	wheel_init(&wheel, 12345);
	timer_init(&t, count_fired);
	nfired = 0;
	timer_start(&wheel, &t, 12345 + 75000);
	while (!nfired) {
		wheel_run(&wheel, wheel_next(&wheel));
		steps++;
	}
	assert_int_equal(wheel.now, 12345 + 75000);
	assert_in_range(steps, 1, WHEEL_LEVELS);
}

static struct timer *freed;
static void free_other(struct timer *t)
{
	timer_stop(&wheel, freed);
	free(freed);
	free(t);
	nfired++;
}

static void test_free_in_callback(void **state)
{
	struct timer *a = malloc(sizeof(*a));

	freed = malloc(sizeof(*freed));
	wheel_init(&wheel, 0);
	timer_init(a, free_other);
	timer_init(freed, count_fired);
	timer_start(&wheel, a, 5);
	timer_start(&wheel, freed, 5);
	nfired = 0;
	wheel_run(&wheel, 5);
	assert_int_equal(nfired, 1);
	assert_int_equal(wheel.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simple),	      cmocka_unit_test(test_held),
		cmocka_unit_test(test_few_steps),     cmocka_unit_test(test_free_in_callback),
		cmocka_unit_test(test_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
