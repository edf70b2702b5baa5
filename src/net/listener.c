#include <errno.h>
#include <pthread.h>
#include "base/mutant.h"
#include "base/log.h"
#include "base/pool.h"
#include "net/listener.h"

#define THREADS_MAX    256
#define ACCEPT_BATCH   8   /* per event; the socket is level-triggered, so the rest is told again */
#define PAUSE_MS       500 /* when descriptors or memory have run out */
#define SPREAD_SLACK   4   /* connections more than the emptiest thread that do not matter */
#define HANDOVERS_KEPT 64  /* free messages kept per thread */

/* What the threads know of each other. `pending` counts what was posted to the thread and has not
 * arrived: without it a burst would all go to the one that was the emptiest when it began. */
struct net_thread {
	_Alignas(64) atomic_uint conns; /* changed by its own thread only */
	_Alignas(64) atomic_uint pending;
	atomic_bool paused;   /* by the ceiling: wants a resume when a connection closes */
	pthread_mutex_t lock; /* of loop: nobody posts to a loop that is going away */
	_Atomic(struct io_loop *) loop;
	struct io_msg resume;
	atomic_bool resume_posted;
};

static struct net_thread threads[THREADS_MAX] = {
	[0 ... THREADS_MAX - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER},
};
static atomic_uint threads_end; /* one more than the highest index that ever joined */
static atomic_uint ceiling;
static atomic_uint paused_threads;

/* A thread's own part in a listener. */
struct joined {
	struct iofd io;
	struct list link;
	struct listener *l;
	struct timer pause;
	bool full;	    /* paused by the ceiling */
	unsigned batch;	    /* how many connections to accept at once: 1 while they come singly */
	uint64_t last_turn; /* of the last event */
};

/* An accepted socket on its way to another thread. */
struct handover {
	struct io_msg msg;
	struct listener *l;
	int fd;
	struct net_addr peer;
};

static _Thread_local struct list joins;
static _Thread_local struct handover *spare_handovers;
static _Thread_local unsigned spare_count;
static _Thread_local uint64_t error_logged_ms;

static struct list registry = {&registry, &registry};

/* ---- counting ---- */

void net_conn_opened(void)
{
	struct net_thread *t = &threads[io_loop_index()];
	unsigned n = atomic_load_explicit(&t->conns, memory_order_relaxed);

	atomic_store_explicit(&t->conns, n + 1, memory_order_relaxed);
}

static void resume_post(struct net_thread *t)
{
	if (atomic_exchange(&t->resume_posted, true))
		return;
	pthread_mutex_lock(&t->lock);
	if (t->loop)
		io_post(t->loop, &t->resume);
	pthread_mutex_unlock(&t->lock);
}

void net_conn_closed(void)
{
	struct net_thread *t = &threads[io_loop_index()];
	unsigned n = atomic_load_explicit(&t->conns, memory_order_relaxed);

	BUG_ON(n == 0);
	/* In one order with `paused`: either the accepting thread sees the free place, or we see
	 * that it waits for one. */
	atomic_store(&t->conns, n - 1);
	if (likely(atomic_load(&paused_threads) == 0))
		return;
	for (unsigned i = 0; i < atomic_load(&threads_end); i++)
		if (atomic_load(&threads[i].paused))
			resume_post(&threads[i]);
}

unsigned net_conn_count(unsigned thread)
{
	return thread < THREADS_MAX
		       ? atomic_load_explicit(&threads[thread].conns, memory_order_relaxed)
		       : 0;
}

static unsigned load_of(const struct net_thread *t)
{
	return atomic_load(&t->conns) + atomic_load(&t->pending);
}

unsigned net_conn_total(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < atomic_load(&threads_end); i++)
		sum += load_of(&threads[i]);
	return sum;
}

static bool full(void)
{
	unsigned max = atomic_load(&ceiling);

	return max && net_conn_total() >= max && !MUTANT(no_full_house);
}

void net_conn_ceiling(unsigned max)
{
	atomic_store(&ceiling, max);
	for (unsigned i = 0; i < atomic_load(&threads_end); i++)
		if (atomic_load(&threads[i].paused))
			resume_post(&threads[i]);
}

/* ---- threads ---- */

/* Accept again everywhere on this thread where the ceiling stopped it. */
static void resume_run(struct io_msg *m)
{
	struct net_thread *t = CONTAINER_OF(m, struct net_thread, resume);
	struct list *it;

	atomic_store(&t->resume_posted, false);
	if (atomic_exchange(&t->paused, false))
		atomic_fetch_sub(&paused_threads, 1);
	if (!joins.next)
		return;
	list_each (it, &joins) {
		struct joined *j = CONTAINER_OF(it, struct joined, link);

		if (j->full) {
			j->full = false;
			/* Registering reports what waits in the backlog. */
			if (iofd_register_listener(&j->io) < 0)
				timer_start(&co_sched.wheel, &j->pause, io_now_ms() + PAUSE_MS);
		}
	}
}

void net_thread_join(void)
{
	unsigned index = io_loop_index(), end = atomic_load(&threads_end);
	struct net_thread *t = &threads[index];

	BUG_ON(index >= THREADS_MAX);
	if (!joins.next)
		list_init(&joins);
	t->resume.run = resume_run;
	atomic_store(&t->resume_posted, false);
	pthread_mutex_lock(&t->lock);
	t->loop = io_loop;
	pthread_mutex_unlock(&t->lock);
	while (end <= index && !atomic_compare_exchange_weak(&threads_end, &end, index + 1))
		;
}

void net_thread_leave(void)
{
	struct net_thread *t = &threads[io_loop_index()];

	pthread_mutex_lock(&t->lock);
	t->loop = NULL;
	pthread_mutex_unlock(&t->lock);
	if (atomic_exchange(&t->paused, false))
		atomic_fetch_sub(&paused_threads, 1);
	while (spare_handovers) {
		struct handover *h = spare_handovers;

		spare_handovers = (struct handover *)h->msg.next;
		mem_free(h);
	}
	spare_count = 0;
}

/* ---- handing over ---- */

struct listener *listener_ref(struct listener *l)
{
	atomic_fetch_add(&l->refs, 1);
	return l;
}

void listener_unref(struct listener *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	mem_free((char *)l->spec.name.p);
	mem_free(l);
}

static struct handover *handover_take(void)
{
	struct handover *h = spare_handovers;

	if (!h)
		return mem_alloc(sizeof(*h));
	spare_handovers = (struct handover *)h->msg.next;
	spare_count--;
	return h;
}

/* The message stays with the thread that received it: in balance each sends as many as it gets. */
static void handover_give(struct handover *h)
{
	if (spare_count >= HANDOVERS_KEPT) {
		mem_free(h);
		return;
	}
	h->msg.next = (struct io_msg *)spare_handovers;
	spare_handovers = h;
	spare_count++;
}

static void handover_run(struct io_msg *m)
{
	struct handover *h = CONTAINER_OF(m, struct handover, msg);
	struct listener *l = h->l;
	struct net_addr peer = h->peer;
	int fd = h->fd;

	handover_give(h);
	l->accepted(l, fd, &peer);
	/* Only now: between the two counts the connection would be nowhere. */
	atomic_fetch_sub(&threads[io_loop_index()].pending, 1);
	listener_unref(l);
}

/* False: nobody took it. */
static bool hand_over(struct listener *l, int fd, const struct net_addr *peer, unsigned to)
{
	struct net_thread *t = &threads[to];
	struct handover *h = handover_take();
	bool posted = false;

	if (!h)
		return false;
	*h = (struct handover){.msg.run = handover_run, .l = l, .fd = fd, .peer = *peer};
	atomic_fetch_add(&l->refs, 1);
	atomic_fetch_add(&t->pending, 1);
	pthread_mutex_lock(&t->lock);
	if (t->loop) {
		io_post(t->loop, &h->msg);
		posted = true;
	}
	pthread_mutex_unlock(&t->lock);
	if (!posted) {
		atomic_fetch_sub(&t->pending, 1);
		atomic_fetch_sub(&l->refs, 1);
		handover_give(h);
	}
	return posted;
}

/* The thread that should have the next connection: this one unless it is clearly fuller than the
 * emptiest. */
static unsigned spread(unsigned me)
{
	unsigned best = me, end = atomic_load(&threads_end);
	unsigned mine = load_of(&threads[me]), least = mine;

	for (unsigned i = 0; i < end; i++) {
		unsigned n = load_of(&threads[i]);

		if (n < least && atomic_load(&threads[i].loop)) {
			least = n;
			best = i;
		}
	}
	if (MUTANT(own_accepts))
		return me;
	return mine > least + SPREAD_SLACK + least / 8 ? best : me;
}

static struct joined *joined_find(const struct listener *l)
{
	struct list *it;

	if (!joins.next)
		list_init(&joins);
	list_each (it, &joins) {
		struct joined *j = CONTAINER_OF(it, struct joined, link);

		if (j->l == l)
			return j;
	}
	return NULL;
}

/* ---- accepting ---- */

static void pause_end(struct timer *tm)
{
	struct joined *j = CONTAINER_OF(tm, struct joined, pause);

	if (iofd_register_listener(&j->io) < 0)
		timer_start(&co_sched.wheel, tm, io_now_ms() + PAUSE_MS);
}

static void accept_failed(struct joined *j, int err)
{
	uint64_t now = io_now_ms();

	if (!error_logged_ms || now - error_logged_ms >= 1000) {
		error_logged_ms = now;
		log_msg(NULL, LOG_CRIT, -err, "accept4() failed");
	}
	if (MUTANT(eager_accept))
		return;
	if (err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM) {
		iofd_unregister(&j->io);
		timer_start(&co_sched.wheel, &j->pause, now + PAUSE_MS);
	}
}

static void pause_full(struct joined *j)
{
	struct net_thread *t = &threads[io_loop_index()];

	iofd_unregister(&j->io);
	j->full = true;
	if (!atomic_exchange(&t->paused, true))
		atomic_fetch_add(&paused_threads, 1);
	/* One may have closed before it could see that we wait. */
	if (!full())
		resume_post(t);
}

/* False: stop for this event. */
static bool accept_one(struct joined *j, unsigned me)
{
	struct listener *l = j->l;
	struct net_addr peer = {.len = 0};
	socklen_t len = sizeof(peer) - offsetof(struct net_addr, sa);
	int fd = sys->accept(j->io.fd, &peer.sa, &len);
	unsigned to;

	if (fd == -EAGAIN)
		return false;
	if (fd == -ECONNABORTED || fd == -EPROTO || fd == -EPERM)
		return true; /* that client has gone */
	if (fd < 0) {
		accept_failed(j, fd);
		return false;
	}
	peer.len = len;
	if (len < sizeof(sa_family_t)) /* an unnamed Unix peer of some systems */
		peer.sa.sa_family = AF_UNIX;
	to = spread(me);
	if (to == me || !hand_over(l, fd, &peer, to))
		l->accepted(l, fd, &peer);
	return true;
}

static void on_event(struct iofd *f)
{
	struct joined *j = CONTAINER_OF(f, struct joined, io);
	struct listener *l = j->l;
	unsigned me = io_loop_index();

	if (l->spec.type == SOCK_DGRAM) {
		l->datagram(l, f->fd);
		return;
	}
	/* A callback may make this thread leave the listener: then nothing of j may be touched. */
	atomic_fetch_add(&l->refs, 1);
	/* Connections that come one by one need no second accept() that finds nothing; when events
	 * follow on each other there is a queue. */
	j->batch = co_sched.turn == j->last_turn + 1
			   ? MIN_OF(MAX_OF(j->batch, 1u) * 2, (unsigned)ACCEPT_BATCH)
			   : 1;
	j->last_turn = co_sched.turn;
	for (unsigned i = 0; i < j->batch; i++) {
		if (full()) {
			pause_full(j);
			break;
		}
		if (!accept_one(j, me))
			break;
		if (joined_find(l) != j)
			break;
	}
	listener_unref(l);
}

/* ---- joining and leaving ---- */

bool listener_joined(const struct listener *l)
{
	return joined_find(l) != NULL;
}

int listener_join(struct listener *l)
{
	struct joined *j = joined_find(l);
	int rc;

	if (j)
		return 0;
	j = mem_zalloc(sizeof(*j));
	if (!j)
		return -ENOMEM;
	j->l = l;
	timer_init(&j->pause, pause_end);
	iofd_init(&j->io, l->fds[io_loop_index() % l->nfds], on_event);
	rc = iofd_register_listener(&j->io);
	if (rc < 0) {
		mem_free(j);
		return rc;
	}
	list_push(&joins, &j->link);
	return 0;
}

void listener_leave(struct listener *l)
{
	struct joined *j = joined_find(l);

	if (!j)
		return;
	timer_stop(&co_sched.wheel, &j->pause);
	iofd_unregister(&j->io);
	list_del(&j->link);
	mem_free(j);
}

/* ---- the registry ---- */

struct listener *listener_find(struct span name, int type)
{
	struct list *it;

	list_each (it, &registry) {
		struct listener *l = CONTAINER_OF(it, struct listener, link);

		if (l->spec.type == type && span_eq(l->spec.name, name))
			return l;
	}
	return NULL;
}

/* The smallest number that no listener has; the registry is sorted by it. */
static unsigned free_id(struct list **before)
{
	unsigned id = 0;
	struct list *it;

	list_each (it, &registry) {
		if (CONTAINER_OF(it, struct listener, link)->id != id)
			break;
		id++;
	}
	*before = it;
	return id;
}

struct listener *listener_new(const struct listen_spec *spec, const int *fds, unsigned nfds)
{
	struct listener *l;
	struct list *before;
	char *name;

	BUG_ON(nfds == 0 || nfds > ARRAY_LEN(l->fds));
	l = mem_zalloc(sizeof(*l));
	name = mem_alloc(spec->name.n);
	if (!l || !name) {
		mem_free(l);
		mem_free(name);
		return NULL;
	}
	if (spec->name.n)
		memcpy(name, spec->name.p, spec->name.n);
	l->spec = *spec;
	l->spec.name = span_make(name, spec->name.n);
	l->nfds = nfds;
	memcpy(l->fds, fds, nfds * sizeof(*fds));
	atomic_init(&l->refs, 1);
	l->id = free_id(&before);
	list_insert_between(&l->link, before->prev, before);
	return l;
}

void listener_free(struct listener *l)
{
	list_del(&l->link);
	l->closing = true;
	for (unsigned i = 0; i < l->nfds; i++) {
		sys->close(l->fds[i]);
		l->fds[i] = -1;
	}
	listener_unref(l); /* sockets on their way to another thread still hold it */
}

void listeners_each(void (*fn)(struct listener *l, void *arg), void *arg)
{
	struct list *it, *tmp;

	list_each_safe (it, tmp, &registry)
		fn(CONTAINER_OF(it, struct listener, link), arg);
}
