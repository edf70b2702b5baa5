/* epoll and eventfd, after fs/eventpoll.c: an edge puts an item on the ready list; what is reported
 * is what holds when it is looked at; a level-triggered item stays on the list while it holds. */
#include <errno.h>
#include "io/sim_int.h"

struct sim_epoll {
	struct sim_desc d;
	struct list items, ready;
	unsigned nready;
};

/* ---- items ---- */

static unsigned item_mask(const struct sim_item *i)
{
	return i->d->kind->poll(i->d) & (i->events | EPOLLERR | EPOLLHUP);
}

void sim_item_wake(struct sim_item *i)
{
	if (!list_empty(&i->ready))
		return;
	list_push(&i->ep->ready, &i->ready);
	i->ep->nready++;
}

static void item_unready(struct sim_item *i)
{
	if (list_empty(&i->ready))
		return;
	list_del(&i->ready);
	i->ep->nready--;
}

void sim_item_free(struct sim_item *i)
{
	item_unready(i);
	list_del(&i->of_desc);
	list_del(&i->of_epoll);
	mem_plain_free(i);
}

static unsigned epoll_poll(struct sim_desc *d)
{
	return ((struct sim_epoll *)d)->nready ? EPOLLIN : 0;
}

static void epoll_close(struct sim_desc *d)
{
	struct sim_epoll *ep = (struct sim_epoll *)d;

	while (!list_empty(&ep->items))
		sim_item_free(CONTAINER_OF(ep->items.next, struct sim_item, of_epoll));
	mem_plain_free(ep);
}

const struct sim_kind sim_kind_epoll = {.name = "epoll", .poll = epoll_poll, .close = epoll_close};

int sim_epoll_create(void)
{
	struct sim_epoll *ep = mem_plain_zalloc(sizeof(*ep));
	int fd = sim_fd_open(&ep->d, &sim_kind_epoll);

	list_init(&ep->items);
	list_init(&ep->ready);
	if (fd < 0)
		mem_plain_free(ep);
	return fd;
}

static struct sim_item *item_find(struct sim_epoll *ep, struct sim_desc *d)
{
	struct list *l;

	list_each (l, &d->watchers) {
		struct sim_item *i = CONTAINER_OF(l, struct sim_item, of_desc);

		if (i->ep == ep)
			return i;
	}
	return NULL;
}

static int item_add(struct sim_epoll *ep, struct sim_desc *d, const struct epoll_event *ev)
{
	struct sim_item *i;

	if (item_find(ep, d))
		return -EEXIST;
	i = mem_plain_zalloc(sizeof(*i));
	i->ep = ep;
	i->d = d;
	i->events = ev->events;
	i->data = ev->data;
	list_init(&i->ready);
	list_push(&d->watchers, &i->of_desc);
	list_push(&ep->items, &i->of_epoll);
	if (item_mask(i))
		sim_item_wake(i);
	return 0;
}

static int item_modify(struct sim_item *i, const struct epoll_event *ev)
{
	if (!i)
		return -ENOENT;
	if ((i->events | ev->events) & EPOLLEXCLUSIVE)
		return -EINVAL;
	i->events = ev->events;
	i->data = ev->data;
	if (item_mask(i))
		sim_item_wake(i);
	return 0;
}

int sim_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct sim_epoll *ep;
	struct sim_desc *d;
	struct sim_item *i;

	sim_preempt();
	ep = sim_fd_kind(epfd, &sim_kind_epoll, "epoll_ctl");
	d = sim_fd_get(fd, "epoll_ctl");
	if (!ep || !d)
		return -EBADF;
	if (!d->kind->poll)
		return -EPERM;
	SIM_LOG("epoll_ctl %ld, fd %ld, events %lx", op, fd, op == EPOLL_CTL_DEL ? 0 : ev->events);
	i = item_find(ep, d);
	switch (op) {
	case EPOLL_CTL_ADD:
		return item_add(ep, d, ev);
	case EPOLL_CTL_MOD:
		return item_modify(i, ev);
	default:
		if (!i)
			return -ENOENT;
		sim_item_free(i);
		return 0;
	}
}

/* ---- waiting ---- */

bool sim_epoll_ready(const struct sim_epoll *ep)
{
	return ep->nready > 0;
}

static void item_report(struct epoll_event *ev, const struct sim_item *i, unsigned mask)
{
	ev->events = mask;
	ev->data = i->data;
	SIM_LOG("event fd %ld: %lx", i->d->fd, mask);
}

/* Looks at up to n items of the list, in its order. */
static int events_collect(struct sim_epoll *ep, struct epoll_event *ev, int n)
{
	struct list again, *l;
	int got = 0;

	list_init(&again);
	while (got < n && (l = list_take(&ep->ready))) {
		struct sim_item *i = CONTAINER_OF(l, struct sim_item, ready);
		unsigned mask = item_mask(i);

		ep->nready--;
		if (!mask)
			continue;
		item_report(&ev[got++], i, mask);
		if (!(i->events & EPOLLET))
			list_push(&again, &i->ready);
	}
	while ((l = list_take(&again)))
		sim_item_wake(CONTAINER_OF(l, struct sim_item, ready));
	return got;
}

static void events_shuffle(struct epoll_event *ev, int n)
{
	for (int i = n - 1; i > 0; i--) {
		int k = (int)sim_draw((uint64_t)i + 1);
		struct epoll_event t = ev[i];

		ev[i] = ev[k];
		ev[k] = t;
	}
}

/* The list in another order: whatever came first, all of it came before this wait. */
static void ready_rotate(struct sim_epoll *ep)
{
	for (uint64_t k = ep->nready > 1 ? sim_draw(ep->nready) : 0; k; k--)
		list_push(&ep->ready, list_take(&ep->ready));
}

/* An event without cause: any edge reports all that holds, news or not. EPOLLIN may even be a lie
 * (another reader was faster). */
static int event_spurious(struct sim_epoll *ep, struct epoll_event *ev, int got)
{
	uint64_t n = 0, k;
	struct list *l;

	list_each (l, &ep->items)
		n++;
	k = n ? sim_draw(n) : 0;
	list_each (l, &ep->items) {
		struct sim_item *i = CONTAINER_OF(l, struct sim_item, of_epoll);
		unsigned mask = item_mask(i);

		if (k--)
			continue;
		if (mask == EPOLLOUT && (i->events & EPOLLIN) && sim_draw(2))
			mask |= EPOLLIN;
		for (int j = 0; j < got; j++)
			if (ev[j].data.u64 == i->data.u64)
				mask = 0; /* once is enough */
		if (!mask)
			return 0;
		SIM_LOG("fault: an event without cause");
		item_report(&ev[got], i, mask);
		return 1;
	}
	return 0;
}

int sim_epoll_wait(int epfd, struct epoll_event *ev, int n, int timeout_ms)
{
	struct sim_epoll *ep = sim_fd_kind(epfd, &sim_kind_epoll, "epoll_wait");
	uint64_t deadline = timeout_ms < 0 ? SIM_NEVER : sim.now_us + (uint64_t)timeout_ms * 1000;
	int got = 0;

	if (!ep || n <= 0)
		return ep ? -EINVAL : -EBADF;
	do {
		int most = n;

		sim_sched_wait(ep, deadline);
		ready_rotate(ep);
		/* Some of them may come a moment later. */
		if (ep->nready > 1 && sim_draw(4) == 0)
			most = MIN_OF(n, (int)sim_between(1, ep->nready));
		got = events_collect(ep, ev, most);
		if (got < n && sim_chance(sim.o.faults.spurious_event))
			got += event_spurious(ep, ev, got);
	} while (got == 0 && sim.now_us < deadline);
	events_shuffle(ev, got);
	if (!got)
		SIM_LOG("epoll %ld: time is up", epfd);
	return got;
}

/* ---- eventfd ---- */

struct event_desc {
	struct sim_desc d;
	uint64_t count;
};

static unsigned eventfd_poll(struct sim_desc *d)
{
	return EPOLLOUT | (((struct event_desc *)d)->count ? EPOLLIN : 0u);
}

static void eventfd_close(struct sim_desc *d)
{
	mem_plain_free(d);
}

const struct sim_kind sim_kind_eventfd = {
	.name = "eventfd", .poll = eventfd_poll, .close = eventfd_close};

int sim_eventfd(void)
{
	struct event_desc *e = mem_plain_zalloc(sizeof(*e));
	int fd = sim_fd_open(&e->d, &sim_kind_eventfd);

	if (fd < 0)
		mem_plain_free(e);
	return fd;
}

int sim_eventfd_signal(int fd)
{
	struct event_desc *e = sim_fd_kind(fd, &sim_kind_eventfd, "eventfd_signal");

	if (!e)
		return -EBADF;
	e->count++;
	SIM_LOG("eventfd %ld is signalled", fd);
	sim_desc_edge(&e->d, EPOLLIN);
	return 0;
}

int sim_eventfd_drain(int fd)
{
	struct event_desc *e = sim_fd_kind(fd, &sim_kind_eventfd, "eventfd_drain");

	if (!e)
		return -EBADF;
	e->count = 0;
	return 0;
}
