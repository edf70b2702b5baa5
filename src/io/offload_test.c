#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/pool.h"
#include "io/offload.h"

static int setup(void **state)
{
	offload_begin = NULL;
	if (io_loop_init(0) < 0)
		return -1;
	offload_join();
	return 0;
}

static int teardown(void **state)
{
	offload_leave();
	io_loop_fini();
	sys = &sys_linux;
	return 0;
}

static void run_all(void)
{
	while (co_sched.live)
		io_loop_turn(UINT64_MAX);
}

/* ---- a job that can be held ---- */

struct held {
	struct offload_job job;
	struct held_gate {
		pthread_mutex_t lock;
		pthread_cond_t cond;
		bool open, entered;
	} * gate;     /* NULL: is not held */
	pthread_t on; /* which thread ran it */
	int order, result;
	uint64_t deadline_ms;
	struct co *co;
	bool ran, returned;
};

static int ran_so_far; /* of the helper alone, while it runs jobs */

static void held_run(struct offload_job *j)
{
	struct held *h = CONTAINER_OF(j, struct held, job);

	h->on = pthread_self();
	h->order = ran_so_far++;
	h->ran = true;
	if (!h->gate)
		return;
	pthread_mutex_lock(&h->gate->lock);
	h->gate->entered = true;
	pthread_cond_broadcast(&h->gate->cond);
	while (!h->gate->open)
		pthread_cond_wait(&h->gate->cond, &h->gate->lock);
	pthread_mutex_unlock(&h->gate->lock);
}

static void gate_wait_entered(struct held_gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (!g->entered)
		pthread_cond_wait(&g->cond, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void gate_open(struct held_gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->open = true;
	pthread_cond_broadcast(&g->cond);
	pthread_mutex_unlock(&g->lock);
}

#define GATE                                                                                       \
	{                                                                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER                \
	}

static void ask(void *arg)
{
	struct held *h = arg;

	h->co = co_current();
	h->job.run = held_run;
	h->result = offload_run(&h->job, h->deadline_ms);
	h->returned = true;
}

static void held_start(struct held *h)
{
	h->deadline_ms = h->deadline_ms ? h->deadline_ms : CO_NEVER;
	assert_int_equal(co_start(ask, h), 0);
}

/* ---- tests ---- */

static int begun;
static void count_begin(void)
{
	begun++;
}

static void test_in_order_on_one_other_thread(void **state)
{
	struct held h[100] = {0};

	begun = ran_so_far = 0;
	offload_begin = count_begin;
	for (int i = 0; i < 100; i++)
		held_start(&h[i]);
	run_all();
	for (int i = 0; i < 100; i++) {
		assert_true(h[i].ran && h[i].returned);
		assert_int_equal(h[i].result, 0);
		assert_int_equal(h[i].order, i);
		assert_false(pthread_equal(h[i].on, pthread_self()));
		assert_true(pthread_equal(h[i].on, h[0].on));
	}
	assert_int_equal(begun, 1);
}

static void test_the_loop_goes_on_meanwhile(void **state)
{
	struct held_gate g = GATE;
	struct held h = {.gate = &g};
	uint64_t turn;

	held_start(&h);
	gate_wait_entered(&g);
	turn = co_sched.turn;
	for (int i = 0; i < 10; i++)
		io_loop_turn(0);
	assert_int_equal(co_sched.turn, turn + 10);
	assert_false(h.returned);
	gate_open(&g);
	run_all();
	assert_int_equal(h.result, 0);
}

static void test_queue_has_a_ceiling(void **state)
{
	static struct held waiting[OFFLOAD_QUEUE_MAX];
	struct held_gate g = GATE;
	struct held first = {.gate = &g}, late = {0}, later = {0};

	memset(waiting, 0, sizeof(waiting));
	held_start(&first);
	gate_wait_entered(&g);
	for (int i = 0; i < OFFLOAD_QUEUE_MAX; i++)
		held_start(&waiting[i]);
	held_start(&late);
	assert_true(late.returned);
	assert_int_equal(late.result, -EAGAIN);
	gate_open(&g);
	run_all();
	assert_false(late.ran);
	for (int i = 0; i < OFFLOAD_QUEUE_MAX; i++)
		assert_true(waiting[i].ran && waiting[i].result == 0);
	held_start(&later); /* there is room again */
	run_all();
	assert_true(later.ran);
}

static void test_cancelled_before_and_after_it_began(void **state)
{
	struct held_gate g = GATE;
	struct held first = {.gate = &g}, second = {0}, third = {0};

	held_start(&first);
	gate_wait_entered(&g);
	held_start(&second);
	held_start(&third);
	co_cancel(first.co);
	co_cancel(second.co);
	io_loop_turn(0);
	io_loop_turn(0);
	assert_true(second.returned);
	assert_int_equal(second.result, -ECANCELED);
	assert_false(first.returned); /* the helper still has it */
	gate_open(&g);
	run_all();
	assert_int_equal(first.result, 0);
	assert_false(second.ran);
	assert_true(third.ran);
}

static void test_deadline(void **state)
{
	struct held_gate g = GATE;
	struct held first = {.gate = &g, .deadline_ms = io_now_ms() + 1};
	struct held second = {.deadline_ms = io_now_ms() + 1};

	held_start(&first);
	gate_wait_entered(&g);
	held_start(&second);
	while (!second.returned)
		io_loop_turn(10);
	assert_int_equal(second.result, -ETIMEDOUT);
	assert_false(first.returned);
	gate_open(&g);
	run_all();
	assert_int_equal(first.result, 0);
	assert_false(second.ran);
}

/* ---- when there is no helper ---- */

static int refuse_thread(pthread_t *id, void *(*run)(void *arg), void *arg)
{
	return -EAGAIN;
}

static void test_no_thread(void **state)
{
	struct sys_ops broken = sys_linux;
	struct held a = {0}, b = {0};

	broken.thread_start = refuse_thread;
	sys = &broken;
	held_start(&a);
	run_all();
	assert_int_equal(a.result, -EAGAIN);
	assert_false(a.ran);
	sys = &sys_linux;
	held_start(&b); /* it is tried again */
	run_all();
	assert_int_equal(b.result, 0);
	assert_true(b.ran);
}

static int refuse_epoll(void)
{
	return -EMFILE;
}

static void test_helper_cannot_make_its_loop(void **state)
{
	struct sys_ops broken = sys_linux;
	struct held a = {0}, b = {0}, c = {0};

	broken.epoll_create = refuse_epoll;
	sys = &broken;
	held_start(&a);
	run_all();
	assert_int_equal(a.result, -EMFILE);
	held_start(&b);
	run_all();
	assert_int_equal(b.result, -EMFILE);
	sys = &sys_linux;
	held_start(&c);
	run_all();
	assert_int_equal(c.result, 0);
	assert_true(c.ran && !a.ran && !b.ran);
}

static void test_nobody_asked(void **state)
{
	offload_join(); /* a second user */
	offload_leave();
}

/* ---- from many threads ---- */

#define ASKERS 4
#define EACH   500
static int together; /* only the helper touches it: the sanitizer would see two */

static void add_one(struct offload_job *j)
{
	together++;
}

static void ask_often(void *arg)
{
	for (int i = 0; i < EACH; i++) {
		struct offload_job j = {.run = add_one};

		assert_int_equal(offload_run(&j, CO_NEVER), 0);
	}
}

static void *asking_thread(void *arg)
{
	assert_int_equal(io_loop_init(1), 0);
	offload_join();
	for (int i = 0; i < 8; i++)
		assert_int_equal(co_start(ask_often, NULL), 0);
	run_all();
	offload_leave();
	io_loop_fini();
	return NULL;
}

static void test_many_threads(void **state)
{
	pthread_t t[ASKERS];

	together = 0;
	for (int i = 0; i < ASKERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, asking_thread, NULL), 0);
	for (int i = 0; i < ASKERS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(together, ASKERS * 8 * EACH);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_in_order_on_one_other_thread),
		T(test_the_loop_goes_on_meanwhile),
		T(test_queue_has_a_ceiling),
		T(test_cancelled_before_and_after_it_began),
		T(test_deadline),
		T(test_no_thread),
		T(test_helper_cannot_make_its_loop),
		T(test_nobody_asked),
		T(test_many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
