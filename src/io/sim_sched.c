/* Who runs: one baton, passed between the worker's threads. The thread that has it runs the
 * scheduler itself, when it waits; so a world with one thread never switches. */
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include "io/sim_int.h"

#define THREADS_AT_MOST	 64
#define BARRIERS_AT_MOST 16
/* Turns and events at one moment: more are a loop that spins. */
#define STUCK_TURNS 1000000

enum thread_state { NONE, RUNNING, READY, WAITING, AT_BARRIER, JOINING, DONE };

struct sim_thread {
	enum thread_state state;
	sem_t go;
	pthread_t id;
	void *(*run)(void *arg);
	void *arg, *result;
	struct sim_epoll *ep; /* WAITING */
	uint64_t deadline_us;
	pthread_barrier_t *barrier;
	struct sim_thread *joining;
	uint64_t rng[4];
};

static struct sim_thread threads[THREADS_AT_MOST];
static unsigned nthreads, nalive; /* slots in use, threads that have not ended */
static uint64_t started;
static _Thread_local struct sim_thread *me;

static struct {
	pthread_barrier_t *b;
	unsigned n, waiting;
} barriers[BARRIERS_AT_MOST];

/* ---- threads ---- */

static struct sim_thread *thread_new(void)
{
	struct sim_thread *t = threads;

	while (t < threads + nthreads && t->state != NONE)
		t++;
	if (t == threads + THREADS_AT_MOST)
		SIM_MODEL("more than %d threads", THREADS_AT_MOST);
	if (t == threads + nthreads)
		nthreads++;
	*t = (struct sim_thread){.state = READY};
	sem_init(&t->go, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		t->rng[i] = sim_scramble(sim_scramble(sim.seed + 1) + started * 4 + i);
	started++;
	nalive++;
	return t;
}

/* Its slot is free again. */
static void thread_drop(struct sim_thread *t)
{
	sem_destroy(&t->go);
	*t = (struct sim_thread){.state = NONE};
}

void sim_sched_start(void)
{
	nthreads = nalive = 0;
	started = 0;
	me = thread_new();
	me->state = RUNNING;
	me->id = pthread_self();
}

void sim_sched_stop(void)
{
	if (nalive > 1)
		sim_broken("progress", "%u threads were left", nalive - 1);
	for (unsigned i = 0; i < nthreads; i++)
		if (threads[i].state != NONE)
			thread_drop(&threads[i]);
	for (unsigned i = 0; i < BARRIERS_AT_MOST; i++)
		barriers[i].b = NULL;
	nthreads = 0;
	me = NULL;
}

static struct sim_thread *thread_self(void)
{
	if (!me)
		SIM_MODEL("a thread that sys->thread_start did not make");
	return me;
}

uint64_t *sim_thread_rng(void)
{
	return thread_self()->rng;
}

int sim_thread_index(void)
{
	return me ? (int)(me - threads) : -1;
}

bool sim_thread_sleeping(const struct sim_epoll *ep)
{
	for (unsigned i = 0; i < nthreads; i++)
		if (threads[i].state == WAITING && threads[i].ep == ep)
			return true;
	return false;
}

/* ---- choosing ---- */

static bool thread_runnable(const struct sim_thread *t)
{
	return t->state == READY ||
	       (t->state == WAITING && (t->deadline_us <= sim.now_us || sim_epoll_ready(t->ep)));
}

static void sched_stuck(const char *why)
{
	static const char *const names[] = {"-",	  "runs",    "ready", "waits",
					    "at barrier", "joining", "done"};

	for (unsigned i = 0; i < nthreads; i++)
		sim_note("thread %u %s, until %lld us", i, names[threads[i].state],
			 threads[i].state == WAITING ? (long long)threads[i].deadline_us : -1ll);
	sim_broken("progress", "%s", why);
}

/* Nothing can happen now: goes to the next moment when something can. */
static void time_skip(void)
{
	uint64_t next = sim_timer_next();

	for (unsigned i = 0; i < nthreads; i++)
		if (threads[i].state == WAITING)
			next = MIN_OF(next, threads[i].deadline_us);
	if (next == SIM_NEVER)
		sched_stuck("every thread waits for ever and nothing is under way");
	sim_time_move(next);
}

/* The thread that goes on, after what else happens before. */
static struct sim_thread *sched_pick(void)
{
	for (;;) {
		struct sim_thread *ready[THREADS_AT_MOST];
		unsigned n = 0, due = sim_timer_next() <= sim.now_us, pick;

		for (unsigned i = 0; i < nthreads; i++)
			if (thread_runnable(&threads[i]))
				ready[n++] = &threads[i];
		if (n + due == 0) {
			time_skip();
			continue;
		}
		if (++sim.stuck > STUCK_TURNS)
			sched_stuck("a million turns and time stands still");
		pick = n + due == 1 ? 0 : (unsigned)sim_draw(n + due);
		if (pick < n) {
			ready[pick]->state = RUNNING;
			return ready[pick];
		}
		sim_timer_run_one();
	}
}

/* The state says what for. Returns when it is our turn again. */
static void sched_switch(void)
{
	struct sim_thread *next = sched_pick();

	if (next == me)
		return;
	SIM_LOG("thread %ld goes on", next - threads);
	sem_post(&next->go);
	while (sem_wait(&me->go) < 0)
		; /* a signal */
}

void sim_sched_wait(struct sim_epoll *ep, uint64_t deadline_us)
{
	struct sim_thread *t = thread_self();

	t->ep = ep;
	t->deadline_us = deadline_us;
	t->state = WAITING;
	sched_switch();
	t->ep = NULL;
}

void sim_preempt(void)
{
	if (nalive < 2 || !sim_chance(sim.o.faults.preempt))
		return;
	thread_self()->state = READY;
	sched_switch();
}

/* ---- what the table offers ---- */

static void *thread_begin(void *arg)
{
	struct sim_thread *next;

	me = arg;
	while (sem_wait(&me->go) < 0)
		;
	me->result = me->run(me->arg);
	SIM_LOG("thread %ld ends", me - threads);
	me->state = DONE;
	nalive--;
	for (unsigned i = 0; i < nthreads; i++)
		if (threads[i].state == JOINING && threads[i].joining == me)
			threads[i].state = READY;
	next = sched_pick();
	sem_post(&next->go);
	return NULL;
}

int sim_thread_start(pthread_t *id, void *(*run)(void *arg), void *arg)
{
	struct sim_thread *t = thread_new();
	int r;

	t->run = run;
	t->arg = arg;
	r = pthread_create(&t->id, NULL, thread_begin, t);
	if (r)
		SIM_MODEL("pthread_create failed: %d", r);
	*id = t->id;
	SIM_LOG("thread %ld starts", t - threads);
	return 0;
}

void sim_thread_join(pthread_t id)
{
	struct sim_thread *t = NULL;

	for (unsigned i = 0; i < nthreads; i++)
		if (threads[i].state != NONE && pthread_equal(threads[i].id, id))
			t = &threads[i];
	if (!t || t == thread_self())
		SIM_MODEL("thread_join of a thread that is not there");
	if (t->state != DONE) {
		me->joining = t;
		me->state = JOINING;
		sched_switch();
	}
	pthread_join(id, NULL);
	thread_drop(t);
}

void sim_barrier_init(pthread_barrier_t *b, unsigned n)
{
	for (unsigned i = 0; i < BARRIERS_AT_MOST; i++) {
		if (barriers[i].b && barriers[i].b != b)
			continue;
		barriers[i].b = b;
		barriers[i].n = n;
		barriers[i].waiting = 0;
		return;
	}
	SIM_MODEL("more than %d barriers", BARRIERS_AT_MOST);
}

void sim_barrier_wait(pthread_barrier_t *b)
{
	unsigned k = 0;

	while (k < BARRIERS_AT_MOST && barriers[k].b != b)
		k++;
	if (k == BARRIERS_AT_MOST)
		SIM_MODEL("barrier_wait at a barrier that is not there");
	thread_self()->barrier = b;
	me->state = AT_BARRIER;
	if (++barriers[k].waiting == barriers[k].n) {
		barriers[k].waiting = 0;
		for (unsigned i = 0; i < nthreads; i++)
			if (threads[i].state == AT_BARRIER && threads[i].barrier == b)
				threads[i].state = READY;
	}
	sched_switch();
}
