#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/pool.h"
#include "co/co.h"
#include "co/stack.h"

/* ---- a loop for the tests: time passes when we say so ---- */

static void turn_at(uint64_t now_ms)
{
	co_sched.now_ms = now_ms;
	co_sched.turn++;
	wheel_run(&co_sched.wheel, now_ms);
	co_run_ready();
}

static void turn(void)
{
	turn_at(co_sched.now_ms);
}

static void turns_until_quiet(void)
{
	while (!list_empty(&co_sched.ready))
		turn();
}

static int setup(void **state)
{
	return co_thread_init(1000, 0);
}

static int teardown(void **state)
{
	co_thread_fini();
	return 0;
}

/* ---- starting and suspending ---- */

static struct co *sleeper;
static int sleeper_result;
static int steps;

static void sleep_once(void *arg)
{
	sleeper = co_current();
	steps++;
	sleeper_result = co_suspend(*(uint64_t *)arg);
	steps++;
}

static uint64_t never = CO_NEVER;

static void test_start_runs_at_once(void **state)
{
	steps = 0;
	assert_int_equal(co_start(sleep_once, &never), 0);
	assert_int_equal(steps, 1);
	assert_int_equal(co_sched.live, 1);
	assert_null(co_current());
	co_wake(sleeper, 7);
	assert_int_equal(steps, 1);
	co_wake(sleeper, 8); /* the first counts */
	turn();
	assert_int_equal(steps, 2);
	assert_int_equal(sleeper_result, 7);
	assert_int_equal(co_sched.live, 0);
}

static void test_wake_now(void **state)
{
	steps = 0;
	co_start(sleep_once, &never);
	co_wake_now(sleeper, 3);
	assert_int_equal(steps, 2);
	assert_int_equal(sleeper_result, 3);
}

static void start_another(void *arg)
{
	steps = 0;
	assert_int_equal(co_start(sleep_once, &never), 0);
	assert_int_equal(steps, 0); /* not before we suspend */
	assert_int_equal(co_yield (), 0);
	assert_int_equal(steps, 1);
	co_wake_now(sleeper, 5); /* from a coroutine: only made ready */
	assert_int_equal(steps, 1);
}

static void test_start_inside(void **state)
{
	co_start(start_another, NULL);
	turns_until_quiet();
	assert_int_equal(steps, 2);
	assert_int_equal(sleeper_result, 5);
	assert_int_equal(co_sched.live, 0);
}

static void test_deadline(void **state)
{
	uint64_t at = 1500, past = 1400;

	steps = 0;
	co_start(sleep_once, &at);
	turn_at(1499);
	assert_int_equal(steps, 1);
	turn_at(1500);
	assert_int_equal(steps, 2);
	assert_int_equal(sleeper_result, -ETIMEDOUT);
	assert_int_equal(co_sched.wheel.count, 0);
	co_start(sleep_once, &past);
	assert_int_equal(steps, 4);
	assert_int_equal(sleeper_result, -ETIMEDOUT);
}

static void wait_with_growing_deadlines(void *arg)
{
	sleeper = co_current();
	for (int i = 0; i < 100; i++) {
		uint64_t deadline = co_sched.now_ms + 1000;

		sleeper_result = co_suspend(deadline);
		if (sleeper_result < 0)
			return;
	}
	sleeper_result = co_suspend(co_sched.now_ms + 10);
	assert_int_equal(sleeper_result, -ETIMEDOUT);
	sleeper_result = co_suspend(CO_NEVER);
}

static void test_lazy_timer(void **state)
{
	uint64_t start = co_sched.now_ms, first;

	co_start(wait_with_growing_deadlines, NULL);
	first = wheel_next(&co_sched.wheel);
	for (int i = 1; i <= 100; i++) {
		co_wake(sleeper, 1);
		turn_at(start + (uint64_t)i * 30);
		assert_int_equal(sleeper_result, 1);
		assert_true(co_sched.wheel.count <= 1);
	}
	assert_true(first <= start + 1000);
	/* Now it waits 10 ms: the pending timer, later than that, was moved. */
	turn_at(start + 3009);
	assert_int_equal(sleeper_result, 1);
	turn_at(start + 3010);
	assert_int_equal(sleeper_result, -ETIMEDOUT);
	/* And without a deadline nothing fires. */
	turn_at(start + 1000000);
	assert_int_equal(co_sched.live, 1);
	co_wake(sleeper, 4);
	turn();
	assert_int_equal(sleeper_result, 4);
	assert_int_equal(co_sched.live, 0);
	assert_int_equal(co_sched.wheel.count, 0);
}

static void test_timer_fires_at_growing_deadline(void **state)
{
	uint64_t start = co_sched.now_ms;

	co_start(wait_with_growing_deadlines, NULL);
	turn_at(start + 900);
	co_wake(sleeper, 1);
	turn(); /* the deadline is now start + 1900, the timer start + 1000 */
	turn_at(start + 1899);
	assert_int_equal(sleeper_result, 1);
	turn_at(start + 1900);
	assert_int_equal(sleeper_result, -ETIMEDOUT);
	assert_int_equal(co_sched.live, 0);
}

static void test_return_stops_timer(void **state)
{
	uint64_t at = 5000;

	co_start(sleep_once, &at);
	co_wake_now(sleeper, 1);
	assert_int_equal(co_sched.live, 0);
	assert_int_equal(co_sched.wheel.count, 0);
	turn_at(6000);
}

/* ---- cancelling ---- */

static int after_cancel[5];

static void wait_again_and_again(void *arg)
{
	struct co_waitq q;

	co_waitq_init(&q);
	sleeper = co_current();
	after_cancel[0] = co_suspend(CO_NEVER);
	after_cancel[1] = co_suspend(CO_NEVER);
	after_cancel[2] = co_yield ();
	after_cancel[3] = co_sleep_until(99999);
	after_cancel[4] = co_waitq_wait(&q, CO_NEVER);
	assert_true(list_empty(&q.waiters));
	assert_true(co_cancelled());
}

static void test_cancel(void **state)
{
	co_start(wait_again_and_again, NULL);
	assert_false(co_cancelled());
	co_cancel(sleeper);
	turn();
	for (int i = 0; i < 5; i++)
		assert_int_equal(after_cancel[i], -ECANCELED);
	assert_int_equal(co_sched.live, 0);
}

static void test_cancel_after_wake_keeps_value(void **state)
{
	co_start(wait_again_and_again, NULL);
	co_wake(sleeper, 42);
	co_cancel(sleeper);
	turn();
	assert_int_equal(after_cancel[0], 42);
	assert_int_equal(after_cancel[1], -ECANCELED);
}

/* ---- children ---- */

static int child_ran;

static void child_sleeps(void *arg)
{
	int r = co_sleep_until(*(uint64_t *)arg);

	child_ran = r == -ETIMEDOUT ? 1 : r;
}

static int join_cancelled;

static void parent_joins(void *arg)
{
	struct co_child c;

	sleeper = co_current();
	assert_int_equal(co_child_start(&c, child_sleeps, arg), 0);
	assert_true(co_child_running(&c));
	if (join_cancelled == 2)
		co_child_cancel(&c);
	co_child_join(&c);
	assert_false(co_child_running(&c));
	assert_null(c.joiner);
	co_child_join(&c); /* again: at once */
	co_child_cancel(&c);
	steps = 100 + (int)co_cancelled();
}

static void test_child_join(void **state)
{
	uint64_t at = 2000;

	child_ran = steps = join_cancelled = 0;
	co_start(parent_joins, &at);
	turn_at(1999);
	assert_int_equal(child_ran, 0);
	co_wake(sleeper, 1); /* not what it waits for */
	turn();
	assert_int_equal(steps, 0);
	co_cancel(sleeper); /* joining cannot be cancelled */
	turn();
	assert_int_equal(steps, 0);
	turn_at(2000);
	turns_until_quiet();
	assert_int_equal(child_ran, 1);
	assert_int_equal(steps, 101);
	assert_int_equal(co_sched.live, 0);
}

static void test_child_cancel(void **state)
{
	uint64_t at = 99999;

	child_ran = steps = 0;
	join_cancelled = 2;
	co_start(parent_joins, &at);
	turns_until_quiet();
	assert_int_equal(child_ran, -ECANCELED);
	assert_int_equal(steps, 100);
	assert_int_equal(co_sched.live, 0);
}

/* ---- queues ---- */

static struct co_waitq queue;
static int order[8], norder;
static struct co *in_queue[8];

static void wait_in_queue(void *arg)
{
	intptr_t me = (intptr_t)arg;
	int r;

	in_queue[me] = co_current();
	r = co_waitq_wait(&queue, 2000);
	order[norder++] = (int)me * 1000 + r;
}

static void test_waitq(void **state)
{
	co_waitq_init(&queue);
	norder = 0;
	for (intptr_t i = 0; i < 5; i++)
		co_start(wait_in_queue, (void *)i);
	assert_true(co_waitq_wake_one(&queue, 1));
	turn();
	assert_int_equal(norder, 1);
	assert_int_equal(order[0], 1);
	/* A cancelled waiter that has not run yet does not swallow a wake-up. */
	co_cancel(in_queue[1]);
	assert_true(co_waitq_wake_one(&queue, 2));
	turn();
	assert_int_equal(norder, 3);
	assert_int_equal(order[1], 1000 - ECANCELED);
	assert_int_equal(order[2], 2002);
	assert_int_equal(co_waitq_wake_all(&queue, 3), 2);
	assert_false(co_waitq_wake_one(&queue, 4));
	turn();
	assert_int_equal(norder, 5);
	assert_int_equal(order[3], 3003);
	assert_int_equal(order[4], 4003);
	co_start(wait_in_queue, (void *)5);
	turn_at(2000);
	assert_int_equal(order[5], 5000 - ETIMEDOUT);
	assert_true(list_empty(&queue.waiters));
}

/* ---- fairness of yield ---- */

static int yields[2];

static void yield_often(void *arg)
{
	int *n = arg;

	while (*n < 1000) {
		(*n)++;
		assert_int_equal(co_yield (), 0);
		assert_true(abs(yields[0] - yields[1]) <= 1);
	}
}

static void test_yield_alternates(void **state)
{
	yields[0] = yields[1] = 0;
	co_start(yield_often, &yields[0]);
	co_start(yield_often, &yields[1]);
	turns_until_quiet();
	assert_int_equal(yields[0] + yields[1], 2000);
	assert_int_equal(co_sched.live, 0);
}

/* ---- stacks ---- */

/* Uses about n * 256 bytes of stack. */
static __attribute__((noinline)) int dig(int n)
{
	char pad[200];
	int r;

	memset(pad, n, sizeof(pad));
	__asm__ volatile("" : : "r"(pad) : "memory"); /* lest the compiler makes it a loop */
	if (n == 0) {
		sleeper = co_current();
		return co_suspend(CO_NEVER);
	}
	r = dig(n - 1);
	__asm__ volatile("" : : "r"(pad) : "memory");
	return r + (pad[7] != (char)n);
}

static int dug;

static void dig_deep(void *arg)
{
	dug = dig((int)(intptr_t)arg);
}

static void test_deep_nesting(void **state)
{
	co_start(dig_deep, (void *)100);
	co_wake_now(sleeper, 11);
	assert_int_equal(dug, 11);
}

static void test_census(void **state)
{
	unsigned shallow, deep;

	co_thread_fini();
	co_census_enable(true);
	co_thread_init(1000, 0);
	co_start(dig_deep, (void *)1);
	co_wake_now(sleeper, 0);
	shallow = co_stack_census();
	co_start(dig_deep, (void *)100);
	co_wake_now(sleeper, 0);
	deep = co_stack_census();
	co_census_enable(false);
	assert_in_range(shallow, 200, 24 * 1024);
	assert_in_range(deep, shallow + 99 * 200, CO_STACK_SIZE);
}

/* At the same time. */
static void stacks_used(unsigned n)
{
	static struct co *all[1000];

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(co_start(sleep_once, &never), 0);
		all[i] = sleeper;
	}
	assert_int_equal(co_sched.live, n);
	for (unsigned i = n; i-- > 0;)
		co_wake_now(all[i], 0);
}

static void test_stack_reuse(void **state)
{
	enum { MANY = 1000 };
	struct co *first;

	co_start(sleep_once, &never);
	first = sleeper;
	co_wake_now(sleeper, 0);
	co_start(sleep_once, &never);
	assert_ptr_equal(sleeper, first); /* last in, first out */
	co_wake_now(sleeper, 0);
	stacks_used(MANY);
	assert_int_equal(co_sched.live, 0);
	assert_true(co_slots_idle() >= MANY);
	/* What is needed again soon keeps its pages; what is not, gives them back. The first time
	 * says only that there are more than the mark. */
	turn_at(co_sched.now_ms + CO_COOL_MS);
	assert_int_equal(co_slots_warm(), MANY - 1);
	stacks_used(600);
	turn_at(co_sched.now_ms + CO_COOL_MS);
	assert_int_equal(co_slots_warm(), 600 + CO_IDLE_MIN);
	turn_at(co_sched.now_ms + CO_COOL_MS);
	assert_int_equal(co_slots_warm(), 600 + CO_IDLE_MIN - CO_COOL_MAX);
	turn_at(co_sched.now_ms + CO_COOL_MS);
	assert_int_equal(co_slots_warm(), CO_IDLE_MIN);
	assert_int_equal(co_sched.wheel.count, 0);
	stacks_used(MANY); /* cold ones work too */
}

static void test_stack_ceiling(void **state)
{
	struct co *all[5];

	co_thread_fini();
	co_thread_init(1000, 5);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(co_start(sleep_once, &never), 0);
		all[i] = sleeper;
	}
	assert_int_equal(co_start(sleep_once, &never), -EAGAIN);
	co_wake_now(all[2], 0);
	assert_int_equal(co_start(sleep_once, &never), 0);
	all[2] = sleeper;
	for (int i = 0; i < 5; i++)
		co_wake_now(all[i], 0);
}

static void test_no_memory(void **state)
{
	co_thread_fini();
	co_thread_init(1000, 0);
	mem_fail_after(0);
	assert_int_equal(co_start(sleep_once, &never), -ENOMEM);
	mem_fail_after(-1);
	assert_int_equal(co_sched.live, 0);
}

static void touch_below(void *arg)
{
	char here;
	/* One stack size below here is in the guard page or beyond it in the next slot's struct. */
	volatile char *p = (volatile char *)((uintptr_t)&here & ~(uintptr_t)4095);

	for (int i = 0; i < CO_STACK_SIZE / 4096 + 1; i++, p -= 4096)
		*p = 1;
}

/* In a child process: running off the stack must end it by a signal. */
static void expect_guarded(bool mprotect_guard)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		for (int sig = 1; sig < 32; sig++)
			signal(sig, SIG_DFL);
		close(2);
		co_guard_force_mprotect(mprotect_guard);
		co_thread_fini();
		co_thread_init(1000, 0);
		co_start(touch_below, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void test_guard(void **state)
{
	expect_guarded(false);
	expect_guarded(true);
}

static void test_mprotect_ceiling(void **state)
{
	assert_in_range(co_guard_ceiling(), 1, INT32_MAX);
	co_thread_fini();
	co_thread_init(1000, 0);
	co_guard_force_mprotect(true);
	co_start(sleep_once, &never);
	co_wake_now(sleeper, 9);
	assert_int_equal(sleeper_result, 9);
	co_guard_force_mprotect(false);
}

/* ---- the thread's stack ---- */

static void never_run(void *arg)
{
	steps += 10;
}

static int on_big_stack(void *arg)
{
	volatile char big[2 * CO_STACK_SIZE];

	memset((char *)big, 1, sizeof(big));
	assert_null(co_current());
	assert_int_equal(co_start(never_run, NULL), 0); /* not nested: made ready */
	return *(int *)arg + big[sizeof(big) - 1];
}

static void borrow(void *arg)
{
	int x = 40;

	steps = 0;
	x = co_on_thread_stack(on_big_stack, &x);
	assert_int_equal(x, 41);
	assert_non_null(co_current());
	assert_int_equal(steps, 0);
	assert_int_equal(co_yield (), 0);
	assert_int_equal(steps, 10);
	x = co_on_thread_stack(on_big_stack, &x);
	assert_int_equal(x, 42);
}

static void test_thread_stack(void **state)
{
	int x = 1;

	co_start(borrow, NULL);
	turns_until_quiet();
	assert_int_equal(co_on_thread_stack(on_big_stack, &x), 2);
	turns_until_quiet();
	assert_int_equal(co_sched.live, 0);
}

/* ---- everything at once ---- */

#define ACTORS 60

static struct co *actors[ACTORS];
static struct co_waitq meeting;
static bool curtain; /* no actor starts another wait after this */

static unsigned roll(unsigned n)
{
	static uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x % n;
}

static void extra(void *arg)
{
	int *left = arg;

	while (*left > 0 && co_sleep_until(co_sched.now_ms + roll(20)) == -ETIMEDOUT)
		(*left)--;
}

static void act_once(void)
{
	uint64_t soon = co_sched.now_ms + 1 + roll(50);
	struct co_child c;
	int r = 0, left = 3;

	switch (roll(6)) {
	case 0:
		(void)co_yield ();
		break;
	case 1:
		r = co_suspend(soon);
		assert_true(r == -ETIMEDOUT || r == -ECANCELED || r == 5);
		assert_true(r != -ETIMEDOUT || co_sched.now_ms >= soon);
		break;
	case 2:
		r = co_waitq_wait(&meeting, roll(2) ? CO_NEVER : soon);
		assert_true(r == -ETIMEDOUT || r == -ECANCELED || r == 5 || r == 6);
		break;
	case 3:
		co_waitq_wake_one(&meeting, 6);
		break;
	case 4:
		assert_int_equal(co_child_start(&c, extra, &left), 0);
		if (roll(2))
			co_child_cancel(&c);
		co_child_join(&c);
		break;
	default:
		dig((int)roll(20));
	}
	if (co_cancelled())
		assert_int_equal(co_suspend(CO_NEVER), -ECANCELED);
}

static void actor(void *arg)
{
	struct co **me = arg;

	*me = co_current();
	while (!curtain && !co_cancelled())
		act_once();
	*me = NULL;
}

static void test_everything(void **state)
{
	curtain = false;
	co_waitq_init(&meeting);
	for (int round = 0; round < 20000; round++) {
		struct co **a = &actors[roll(ACTORS)];

		if (!*a)
			assert_int_equal(co_start(actor, a), 0);
		else if (roll(10) == 0)
			co_cancel(*a);
		else
			co_wake(*a, 5);
		if (roll(3) == 0)
			turn_at(co_sched.now_ms + roll(5));
		if (roll(50) == 0)
			co_waitq_wake_all(&meeting, 6);
	}
	curtain = true;
	for (int i = 0; i < ACTORS; i++)
		if (actors[i])
			co_cancel(actors[i]);
	while (co_sched.live)
		turn_at(co_sched.now_ms + 1);
	while (co_slots_warm() > CO_IDLE_MIN)
		turn_at(co_sched.now_ms + CO_COOL_MS);
	assert_int_equal(co_sched.wheel.count, 0);
	assert_true(list_empty(&meeting.waiters));
}

/* ---- many switches ---- */

static void spin(void *arg)
{
	unsigned *n = arg;

	sleeper = co_current();
	while (co_suspend(CO_NEVER) == 0)
		(*n)++;
}

static void test_many_switches(void **state)
{
	enum { ROUNDS = 100000 };
	struct timespec a, b;
	unsigned n = 0;
	double ns;

	co_start(spin, &n);
	for (int i = 0; i < 1000; i++)
		co_wake_now(sleeper, 0);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < ROUNDS; i++)
		co_wake_now(sleeper, 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_int_equal(n, ROUNDS + 1000);
	co_wake_now(sleeper, 1);
	ns = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
	print_message("# a round trip takes %.1f ns\n", ns / ROUNDS);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_start_runs_at_once),
		T(test_wake_now),
		T(test_start_inside),
		T(test_deadline),
		T(test_lazy_timer),
		T(test_timer_fires_at_growing_deadline),
		T(test_return_stops_timer),
		T(test_cancel),
		T(test_cancel_after_wake_keeps_value),
		T(test_child_join),
		T(test_child_cancel),
		T(test_waitq),
		T(test_yield_alternates),
		T(test_deep_nesting),
		T(test_census),
		T(test_stack_reuse),
		T(test_stack_ceiling),
		T(test_no_memory),
		T(test_guard),
		T(test_mprotect_ceiling),
		T(test_thread_stack),
		T(test_everything),
		T(test_many_switches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
