#include <errno.h>
#include <stdatomic.h>
#include "base/log.h"
#include "base/shared.h"
#include "io/offload.h"
#include "main/process.h"
#include "main/threads.h"
#include "net/listener.h"
#include "serve/conn.h"
#include "serve/serve.h"

struct thread {
	pthread_t id;
	unsigned index;
	struct io_loop *loop;
	struct io_msg on_shutdown, on_hurry;
};

static struct thread threads[THREADS_MAX];
static unsigned nthreads;
static const struct settings *settings; /* of the start */
/* Held until it is known how many threads there are: then the barrier can be made. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t together;
static atomic_bool failed;

/* ---- start ---- */

static int thread_init(struct thread *t)
{
	int r;

	process_thread_affinity(settings, t->index);
	r = io_loop_init(t->index);
	if (r < 0)
		return r;
	t->loop = io_loop;
	r = serve_thread_start();
	if (r < 0)
		io_loop_fini();
	return r < 0 ? r : 0;
}

static void thread_fini(void)
{
	serve_thread_stop();
	io_loop_fini();
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	int r = thread_init(t);

	if (r < 0) {
		log_msg(NULL, LOG_EMERG, -r, "thread %u could not start", t->index);
		failed = true;
	}
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	sys->barrier_wait(&together);
	if (!failed) {
		io_loop_run();
		sys->barrier_wait(&together); /* until then others may post to this loop */
	}
	if (r == 0)
		thread_fini();
	return NULL;
}

/* How many there are then, the first one included. */
static unsigned create_all(unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		int r;

		threads[i].index = i;
		r = sys->thread_start(&threads[i].id, thread_main, &threads[i]);
		if (r < 0) {
			log_msg(NULL, LOG_EMERG, -r, "pthread_create() failed");
			return i;
		}
	}
	return n;
}

int threads_start(const struct settings *s, unsigned n)
{
	unsigned created;
	int r;

	settings = s;
	shared_alone = n == 1;
	offload_begin = process_any_processor;
	nthreads = n;
	failed = false;
	threads[0].index = 0;
	r = thread_init(&threads[0]);
	if (r < 0)
		return r;
	pthread_mutex_lock(&gate);
	created = create_all(n);
	if (created < n)
		failed = true;
	sys->barrier_init(&together, created);
	pthread_mutex_unlock(&gate);
	sys->barrier_wait(&together);
	if (!failed)
		return 0;
	for (unsigned i = 1; i < created; i++)
		sys->thread_join(threads[i].id);
	thread_fini();
	return -EAGAIN;
}

void threads_post_first(struct io_msg *m)
{
	io_post(threads[0].loop, m);
}

/* ---- rounds: something that every thread does once ---- */

struct round {
	void (*run)(void);
	void (*done)(void);
	atomic_uint left;
	struct io_msg all_done;
	struct round_msg {
		struct io_msg msg;
		struct round *round;
	} each[THREADS_MAX];
};

static void round_done(struct io_msg *m)
{
	CONTAINER_OF(m, struct round, all_done)->done();
}

static void round_run(struct io_msg *m)
{
	struct round *r = CONTAINER_OF(m, struct round_msg, msg)->round;

	r->run();
	if (atomic_fetch_sub(&r->left, 1) == 1)
		threads_post_first(&r->all_done);
}

static void round_start(struct round *r, void (*run)(void), void (*done)(void))
{
	r->run = run;
	r->done = done;
	r->left = nthreads;
	r->all_done.run = round_done;
	for (unsigned i = 0; i < nthreads; i++) {
		r->each[i] = (struct round_msg){.msg.run = round_run, .round = r};
		io_post(threads[i].loop, &r->each[i].msg);
	}
}

static struct snapshot *next_snapshot;

static void run_switch(void)
{
	serve_switch(next_snapshot);
}

void threads_switch(struct snapshot *s, void (*done)(void))
{
	static struct round switching;

	next_snapshot = s;
	round_start(&switching, run_switch, done);
}

void threads_flush_logs(void (*done)(void))
{
	static struct round flushing;

	round_start(&flushing, serve_flush_logs, done);
}

/* ---- the end ---- */

static _Atomic uint64_t shutdown_timeout_ms;
static enum { RUNNING, ENDING, HURRYING } phase;

static atomic_uint accepting; /* threads that have not left their listeners yet */

/* Nobody accepts any more, and nobody shall wait in a queue that is not read. The listeners
 * themselves stay: open connections know theirs. */
static void close_sockets(struct listener *l, void *arg)
{
	for (unsigned i = 0; i < l->nfds; i++) {
		if (l->fds[i] >= 0)
			sys->close(l->fds[i]);
		l->fds[i] = -1;
	}
}

static void run_shutdown(struct io_msg *m)
{
	serve_shutdown(shutdown_timeout_ms, io_loop_stop);
	if (atomic_fetch_sub(&accepting, 1) == 1)
		listeners_each(close_sockets, NULL);
}

/* After a graceful end that takes too long. */
static void run_abort(struct io_msg *m)
{
	conns_abort();
}

/* A loop that has stopped keeps the message unread: it is freed only after thread 0 has stopped
 * too. */
void threads_shutdown(uint64_t timeout_ms, bool hurry)
{
	void (*run)(struct io_msg * m);

	if (phase == HURRYING || (phase == ENDING && !hurry))
		return;
	if (phase == RUNNING)
		accepting = nthreads;
	run = phase == ENDING ? run_abort : run_shutdown;
	phase = hurry ? HURRYING : ENDING;
	shutdown_timeout_ms = timeout_ms;
	for (unsigned i = 0; i < nthreads; i++) {
		struct io_msg *m = hurry ? &threads[i].on_hurry : &threads[i].on_shutdown;

		m->run = run;
		io_post(threads[i].loop, m);
	}
}

void threads_join(void)
{
	sys->barrier_wait(&together);
	for (unsigned i = 1; i < nthreads; i++)
		sys->thread_join(threads[i].id);
	thread_fini();
}
