#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include "base/mutant.h"
#include "base/arena.h"
#include "base/pool.h"
#include "base/regex.h"
#include "io/clock.h"
#include "io/loop.h"

#define EVENTS_PER_WAIT 512

struct io_loop {
	int ep;
	int wake_fd; /* signalled when `sleeping` and something was posted */
	unsigned index;
	bool stop;
	struct list turn_end; /* armed hooks */
	int nev, iev;	      /* events of this turn, and the one being handled */
	struct epoll_event ev[EVENTS_PER_WAIT];
	char apart[64];			/* what other threads touch has its own cache line */
	_Atomic(struct io_msg *) inbox; /* newest first */
	atomic_bool sleeping; /* the receiver may be in epoll_wait, and must be signalled */
};

_Thread_local struct io_loop *io_loop;

/* ---- life ---- */

static uint64_t mono_ms(void)
{
	return sys->mono_us() / 1000;
}

static int loop_open(struct io_loop *l)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = l};
	int r;

	l->ep = sys->epoll_create();
	if (l->ep < 0)
		return l->ep;
	l->wake_fd = sys->eventfd();
	r = l->wake_fd < 0 ? l->wake_fd : sys->epoll_ctl(l->ep, EPOLL_CTL_ADD, l->wake_fd, &ev);
	if (r < 0) {
		if (l->wake_fd >= 0)
			sys->close(l->wake_fd);
		sys->close(l->ep);
	}
	return r;
}

int io_loop_init(unsigned index)
{
	struct io_loop *l;
	int r;

	BUG_ON(io_loop);
	l = mem_zalloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->index = index;
	list_init(&l->turn_end);
	r = loop_open(l);
	if (r == 0) {
		r = co_thread_init(mono_ms(), 0);
		if (r < 0) {
			sys->close(l->wake_fd);
			sys->close(l->ep);
		}
	}
	if (r < 0) {
		mem_free(l);
		return r;
	}
	io_clock_forget();
	io_loop = l;
	return 0;
}

void io_loop_fini(void)
{
	struct io_loop *l = io_loop;

	co_thread_fini();
	sys->close(l->wake_fd);
	sys->close(l->ep);
	mem_free(l);
	io_loop = NULL;
	regex_thread_fini();
	arena_thread_fini();
}

unsigned io_loop_index(void)
{
	return io_loop->index;
}

void io_loop_stop(void)
{
	io_loop->stop = true;
}

/* ---- inbox ---- */

void io_post(struct io_loop *to, struct io_msg *m)
{
	struct io_msg *head = atomic_load_explicit(&to->inbox, memory_order_relaxed);

	do
		m->next = head;
	while (!atomic_compare_exchange_weak(&to->inbox, &head, m));
	/* The receiver says that it sleeps, then looks into the inbox; we put into the inbox, then
	 * ask whether it sleeps. Both in sequentially consistent order, so one of us sees the
	 * other. */
	if (atomic_load(&to->sleeping) && atomic_exchange(&to->sleeping, false))
		sys->eventfd_signal(to->wake_fd);
}

static void inbox_run(struct io_loop *l)
{
	struct io_msg *m, *first = NULL;

	if (!atomic_load_explicit(&l->inbox, memory_order_relaxed))
		return;
	m = atomic_exchange(&l->inbox, NULL);
	while (m) { /* oldest first */
		struct io_msg *next = m->next;

		m->next = first;
		first = m;
		m = next;
	}
	while (first) {
		struct io_msg *next = first->next;

		first->run(first); /* may free or post it anew */
		first = next;
	}
}

/* ---- events ---- */

static unsigned ready_bits(uint32_t events)
{
	unsigned bits = 0;

	if (events & EPOLLIN)
		bits |= IO_R;
	if (events & EPOLLOUT)
		bits |= IO_W;
	if (events & EPOLLRDHUP)
		bits |= IO_R | IO_RDHUP;
	if (events & (EPOLLHUP | EPOLLERR))
		bits |= IO_R | IO_W | IO_HUP;
	return bits;
}

/* Whoever is woken or called may close f, or free it: then the event's pointer is gone. */
static void event_dispatch(struct io_loop *l, struct epoll_event *ev)
{
	struct iofd *f = ev->data.ptr;
	unsigned bits = ready_bits(ev->events);
	bool waited = f->reader || f->writer || f->stalled_fair;

	f->ready |= (uint8_t)bits;
	if (!waited) {
		if (f->parked && ((bits & (IO_R | IO_HUP)) || f->parked_writes))
			f->parked(f);
		return;
	}
	if (f->reader && (bits & IO_R))
		co_wake_now(f->reader, 0);
	if (!ev->data.ptr)
		return;
	if (f->writer && (bits & IO_W))
		co_wake_now(f->writer, 0);
}

static void events_run(struct io_loop *l)
{
	for (l->iev = 0; l->iev < l->nev; l->iev++) {
		struct epoll_event *ev = &l->ev[l->iev];

		if (ev->data.ptr == l)
			sys->eventfd_drain(l->wake_fd);
		else if (ev->data.ptr)
			event_dispatch(l, ev);
	}
	l->nev = l->iev = 0;
}

/* Takes f out of what is left of this turn's events, the one being handled included. */
static void events_forget(struct iofd *f)
{
	struct io_loop *l = io_loop;

	for (int i = l->iev; i < l->nev; i++)
		if (l->ev[i].data.ptr == f)
			l->ev[i].data.ptr = NULL;
}

/* ---- turns ---- */

/* Milliseconds to sleep, -1 for ever. Declares the loop asleep when it is not 0. */
static int turn_timeout(struct io_loop *l, uint64_t max_wait_ms)
{
	uint64_t next = wheel_next(&co_sched.wheel), wait;

	if (l->stop || !list_empty(&co_sched.ready))
		return 0;
	wait = next == UINT64_MAX	 ? UINT64_MAX
	       : next <= co_sched.now_ms ? 0
					 : next - co_sched.now_ms;
	wait = MIN_OF(wait, max_wait_ms);
	if (wait == 0)
		return 0;
	atomic_store(&l->sleeping, true);
	if (atomic_load(&l->inbox)) {
		atomic_store(&l->sleeping, false);
		return 0;
	}
	return wait == UINT64_MAX ? -1 : (int)MIN_OF(wait, (uint64_t)INT_MAX);
}

static void turn_end_run(struct io_loop *l)
{
	struct list now, *h;

	if (list_empty(&l->turn_end))
		return;
	list_insert_between(&now, l->turn_end.prev, l->turn_end.next);
	list_init(&l->turn_end);
	while ((h = list_take(&now))) {
		struct io_turn_end *end = CONTAINER_OF(h, struct io_turn_end, link);

		end->run(end);
	}
}

void io_loop_turn(uint64_t max_wait_ms)
{
	struct io_loop *l = io_loop;
	int timeout, n;
	uint64_t now;

	BUG_ON(co_current());
	timeout = MUTANT(sleepless) ? 0 : turn_timeout(l, max_wait_ms);
	n = sys->epoll_wait(l->ep, l->ev, EVENTS_PER_WAIT, timeout);
	BUG_ON(n < 0);
	if (timeout != 0)
		atomic_store_explicit(&l->sleeping, false, memory_order_relaxed);
	now = mono_ms();
	co_sched.now_ms = MAX_OF(now, co_sched.now_ms);
	co_sched.turn++;
	l->nev = n;
	events_run(l);
	wheel_run(&co_sched.wheel, co_sched.now_ms);
	inbox_run(l);
	co_run_ready();
	turn_end_run(l);
}

void io_loop_run(void)
{
	io_loop->stop = false;
	while (!io_loop->stop)
		io_loop_turn(UINT64_MAX);
}

void io_turn_end_init(struct io_turn_end *h, void (*run)(struct io_turn_end *))
{
	list_init(&h->link);
	h->run = run;
}

void io_turn_end_arm(struct io_turn_end *h)
{
	if (list_empty(&h->link))
		list_push(&io_loop->turn_end, &h->link);
}

/* ---- descriptors ---- */

void iofd_init(struct iofd *f, int fd, void (*parked)(struct iofd *))
{
	*f = (struct iofd){.fd = fd, .ready = IO_R | IO_W, .parked = parked};
}

static int iofd_add(struct iofd *f, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = f};
	int r;

	if (f->fd < 0)
		return -EBADF;
	if (f->registered)
		return 0;
	r = sys->epoll_ctl(io_loop->ep, EPOLL_CTL_ADD, f->fd, &ev);
	if (r < 0)
		return r;
	f->registered = true;
	f->ready &= (uint8_t)~IO_R;
	return 0;
}

int iofd_register(struct iofd *f)
{
	return iofd_add(f, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int iofd_register_listener(struct iofd *f)
{
	f->listener = true;
	return iofd_add(f, EPOLLIN | EPOLLEXCLUSIVE);
}

void iofd_unregister(struct iofd *f)
{
	struct epoll_event ev = {0};

	if (!f->registered)
		return;
	events_forget(f);
	sys->epoll_ctl(io_loop->ep, EPOLL_CTL_DEL, f->fd, &ev);
	f->registered = false;
}

void iofd_close(struct iofd *f)
{
	struct co *reader = f->reader, *writer = f->writer;

	if (f->fd < 0)
		return;
	/* Closing takes a descriptor out of epoll, unless another process holds it too: the old or
	 * the new binary holds our listening sockets. */
	if (f->listener)
		iofd_unregister(f);
	else if (f->registered)
		events_forget(f);
	sys->close(f->fd);
	f->fd = -1;
	f->registered = false;
	f->reader = f->writer = NULL;
	if (reader)
		co_wake(reader, -EBADF);
	if (writer)
		co_wake(writer, -EBADF);
}
