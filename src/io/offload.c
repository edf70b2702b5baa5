#include "io/offload.h"
#include <errno.h>
#include "base/bug.h"

void (*offload_begin)(void);

static struct {
	pthread_mutex_t lock; /* held for a few instructions, never over a call that may wait */
	struct list queue;
	unsigned waiting, users;
	enum { HELPER_NONE, HELPER_RUNS, HELPER_FAILED /* it has ended, or is about to */ } state;
	bool stop, waking;    /* waking: `wake` is in its inbox */
	struct io_loop *loop; /* NULL until it runs */
	struct io_msg wake;
	pthread_t id;
} helper = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- jobs ---- */

static void job_told(struct io_msg *m)
{
	struct offload_job *j = CONTAINER_OF(m, struct offload_job, told);

	j->done = true;
	co_wake(j->co, 0);
}

/* The job is no longer ours afterwards. */
static void job_tell(struct offload_job *j, int result)
{
	j->result = result;
	io_post(j->loop, &j->told);
}

/* With the lock held. NULL: none waits. */
static struct offload_job *job_next(void)
{
	struct list *l = list_take(&helper.queue);
	struct offload_job *j = l ? CONTAINER_OF(l, struct offload_job, link) : NULL;

	if (j) {
		j->begun = true;
		helper.waiting--;
	}
	return j;
}

/* False: it has begun. */
static bool job_take_back(struct offload_job *j)
{
	bool mine;

	pthread_mutex_lock(&helper.lock);
	mine = !j->begun;
	if (mine) {
		list_del(&j->link);
		helper.waiting--;
	}
	pthread_mutex_unlock(&helper.lock);
	return mine;
}

/* ---- the helper ---- */

static void on_wake(struct io_msg *m)
{
	pthread_mutex_lock(&helper.lock);
	helper.waking = false;
	pthread_mutex_unlock(&helper.lock);
}

static void helper_wake(void)
{
	struct io_loop *loop;

	pthread_mutex_lock(&helper.lock);
	loop = helper.waking ? NULL : helper.loop;
	helper.waking = helper.waking || loop;
	pthread_mutex_unlock(&helper.lock);
	if (loop)
		io_post(loop, &helper.wake);
}

/* There is none: all who wait are told. The next one tries again. */
static void helper_failed(int result, bool joinable)
{
	struct list all;
	struct list *l;

	list_init(&all);
	pthread_mutex_lock(&helper.lock);
	helper.state = joinable ? HELPER_FAILED : HELPER_NONE;
	for (struct offload_job *j = job_next(); j; j = job_next())
		list_push(&all, &j->link);
	pthread_mutex_unlock(&helper.lock);
	while ((l = list_take(&all)))
		job_tell(CONTAINER_OF(l, struct offload_job, link), result);
}

/* False: the end. */
static bool helper_turn(void)
{
	struct offload_job *j;
	bool stop;

	pthread_mutex_lock(&helper.lock);
	j = job_next();
	stop = helper.stop;
	pthread_mutex_unlock(&helper.lock);
	if (j) {
		j->run(j);
		job_tell(j, 0);
		return true;
	}
	if (!stop)
		io_loop_turn(UINT64_MAX);
	return !stop;
}

static void *helper_main(void *arg)
{
	int r = io_loop_init(~0u); /* it sleeps as all threads do, so the simulator knows how */

	if (r < 0) {
		helper_failed(r, true);
		return NULL;
	}
	if (offload_begin)
		offload_begin();
	pthread_mutex_lock(&helper.lock);
	helper.loop = io_loop;
	pthread_mutex_unlock(&helper.lock);
	while (helper_turn())
		;
	io_loop_fini();
	return NULL;
}

static void helper_start(bool failed_before)
{
	int r;

	if (failed_before)
		sys->thread_join(helper.id);
	r = sys->thread_start(&helper.id, helper_main, NULL);
	if (r < 0)
		helper_failed(r, false);
}

/* ---- those who ask ---- */

void offload_join(void)
{
	pthread_mutex_lock(&helper.lock);
	if (helper.users++ == 0) {
		list_init(&helper.queue);
		helper.wake.run = on_wake;
		helper.stop = helper.waking = false;
		helper.loop = NULL;
	}
	pthread_mutex_unlock(&helper.lock);
}

void offload_leave(void)
{
	bool last, there;

	pthread_mutex_lock(&helper.lock);
	BUG_ON(helper.users == 0);
	last = --helper.users == 0;
	there = last && helper.state != HELPER_NONE;
	helper.stop = last;
	BUG_ON(last && helper.waiting);
	pthread_mutex_unlock(&helper.lock);
	if (!there)
		return;
	helper_wake();
	sys->thread_join(helper.id);
	helper.state = HELPER_NONE;
}

static bool job_queue(struct offload_job *j, bool *start, bool *failed_before)
{
	bool room;

	pthread_mutex_lock(&helper.lock);
	BUG_ON(helper.users == 0);
	room = helper.waiting < OFFLOAD_QUEUE_MAX;
	if (room) {
		list_push(&helper.queue, &j->link);
		helper.waiting++;
		*start = helper.state != HELPER_RUNS;
		*failed_before = helper.state == HELPER_FAILED;
		helper.state = HELPER_RUNS;
	}
	pthread_mutex_unlock(&helper.lock);
	return room;
}

MAY_SUSPEND int offload_run(struct offload_job *j, uint64_t deadline_ms)
{
	bool start, failed_before;

	*j = (struct offload_job){
		.run = j->run, .told.run = job_told, .loop = io_loop, .co = co_current()};
	if (!job_queue(j, &start, &failed_before))
		return -EAGAIN;
	if (start)
		helper_start(failed_before);
	else
		helper_wake();
	for (;;) {
		int r = co_suspend(deadline_ms);

		if (j->done)
			return j->result;
		if (r < 0) {
			if (job_take_back(j))
				return r;
			co_wait_sure(&j->done);
			return j->result;
		}
	}
}
