/* Descriptors of the worker, and the calls that go to whatever is behind one. */
#include <errno.h>
#include <string.h>
#include "io/sim_int.h"

/* ---- bytes ---- */

static void bytes_reserve(struct sim_bytes *b, size_t n)
{
	if (b->head + b->len + n <= b->cap)
		return;
	if (b->head) {
		memmove(b->p, b->p + b->head, b->len);
		b->head = 0;
	}
	if (b->len + n > b->cap) {
		b->cap = MAX_OF(b->cap * 2, b->len + n);
		b->p = mem_plain_resize(b->p, b->cap);
	}
}

void sim_bytes_put(struct sim_bytes *b, const void *p, size_t n)
{
	if (!n)
		return;
	bytes_reserve(b, n);
	memcpy(b->p + b->head + b->len, p, n);
	b->len += n;
}

size_t sim_bytes_copy(const struct sim_bytes *b, void *p, size_t n)
{
	n = MIN_OF(n, b->len);
	if (n)
		memcpy(p, b->p + b->head, n);
	return n;
}

void sim_bytes_drop(struct sim_bytes *b, size_t n)
{
	BUG_ON(n > b->len);
	b->head += n;
	b->len -= n;
	if (!b->len)
		b->head = 0;
}

void sim_bytes_free(struct sim_bytes *b)
{
	mem_plain_free(b->p);
	*b = (struct sim_bytes){0};
}

size_t sim_iov_total(const struct iovec *iov, int n)
{
	size_t all = 0;

	for (int i = 0; i < n; i++)
		all += iov[i].iov_len;
	return all;
}

void sim_iov_fill(const struct iovec *iov, int niov, const struct sim_bytes *b, size_t n)
{
	const char *p = b->p + b->head;

	for (int i = 0; i < niov && n; i++) {
		size_t k = MIN_OF(n, iov[i].iov_len);

		if (k)
			memcpy(iov[i].iov_base, p, k);
		p += k;
		n -= k;
	}
}

void sim_iov_append(struct sim_bytes *b, const struct iovec *iov, int niov, size_t n)
{
	for (int i = 0; i < niov && n; i++) {
		size_t k = MIN_OF(n, iov[i].iov_len);

		sim_bytes_put(b, iov[i].iov_base, k);
		n -= k;
	}
}

/* ---- the table ---- */

static struct sim_desc **table;	       /* by fd - SIM_FD_FIRST */
static unsigned ntable, nopen, lowest; /* below lowest all are taken */
static unsigned limit;
static int limit_err;

void sim_limit_fds(unsigned max, int err)
{
	SIM_LOG("no more than %ld descriptors", max);
	limit = max;
	limit_err = err;
}

int sim_fd_room(void)
{
	return limit && nopen >= limit ? -limit_err : 0;
}

int sim_fd_open(struct sim_desc *d, const struct sim_kind *kind)
{
	unsigned i = lowest;

	d->kind = kind;
	list_init(&d->watchers);
	if (sim_chance(sim.o.faults.emfile)) {
		SIM_LOG("fault: no descriptor left");
		return sim_draw(2) ? -EMFILE : -ENFILE;
	}
	if (sim_fd_room() < 0) {
		SIM_LOG("limit: no descriptor left, %ld are open", nopen);
		return -limit_err;
	}
	while (i < ntable && table[i])
		i++;
	if (i == ntable) {
		ntable = ntable ? ntable * 2 : 256;
		table = mem_plain_resize(table, ntable * sizeof(struct sim_desc *));
		memset(table + i, 0, (ntable - i) * sizeof(struct sim_desc *));
	}
	table[i] = d;
	lowest = i + 1;
	d->id = ++sim.ids;
	nopen++;
	d->fd = SIM_FD_FIRST + (int)i;
	return d->fd;
}

struct sim_desc *sim_fd_get(int fd, const char *call)
{
	unsigned i = (unsigned)(fd - SIM_FD_FIRST);

	if (fd < 0)
		return NULL;
	if (fd < SIM_FD_FIRST)
		SIM_MODEL("%s of the real descriptor %d", call, fd);
	if (i >= ntable || !table[i])
		sim_broken("descriptors", "%s of descriptor %d, which is not open", call, fd);
	return table[i];
}

void *sim_fd_kind(int fd, const struct sim_kind *kind, const char *call)
{
	struct sim_desc *d = sim_fd_get(fd, call);

	if (d && d->kind != kind)
		SIM_MODEL("%s of descriptor %d, which is a %s", call, fd, d->kind->name);
	return d;
}

int sim_close(int fd)
{
	struct sim_desc *d = sim_fd_get(fd, "close");

	if (!d)
		return -EBADF;
	SIM_LOG("close %ld", fd);
	while (!list_empty(&d->watchers))
		sim_item_free(CONTAINER_OF(d->watchers.next, struct sim_item, of_desc));
	table[fd - SIM_FD_FIRST] = NULL;
	lowest = MIN_OF(lowest, (unsigned)(fd - SIM_FD_FIRST));
	nopen--;
	d->kind->close(d);
	return 0;
}

unsigned sim_fds_open(void)
{
	return nopen;
}

/* ---- edges ---- */

void sim_desc_edge(struct sim_desc *d, unsigned mask)
{
	struct list *l, *tmp;

	mask |= EPOLLERR | EPOLLHUP;
	list_each_safe (l, tmp, &d->watchers) {
		struct sim_item *i = CONTAINER_OF(l, struct sim_item, of_desc);

		if (!(i->events & mask))
			continue;
		sim_item_wake(i);
		if (!(i->events & EPOLLEXCLUSIVE) || !sim_thread_sleeping(i->ep))
			continue;
		/* One sleeper is enough; the next call begins with another. */
		if (sim.o.wakes_first)
			break;
		list_del(&i->of_desc);
		list_push(&d->watchers, &i->of_desc);
		break;
	}
}

struct later {
	struct sim_timer t;
	struct list link; /* of all */
	int fd;
	uint64_t id; /* to see that fd is not another by now */
	unsigned mask;
};
static struct list laters = {&laters, &laters};

static void later_free(struct later *l)
{
	sim_timer_stop(&l->t);
	list_del(&l->link);
	mem_plain_free(l);
}

static void later_run(struct sim_timer *t)
{
	struct later *l = CONTAINER_OF(t, struct later, t);
	unsigned i = (unsigned)(l->fd - SIM_FD_FIRST);

	if (i < ntable && table[i] && table[i]->id == l->id)
		sim_desc_edge(table[i], l->mask);
	later_free(l);
}

void sim_desc_edge_later(struct sim_desc *d, unsigned mask)
{
	struct later *l = mem_plain_zalloc(sizeof(*l));

	*l = (struct later){.t.run = later_run, .fd = d->fd, .id = d->id, .mask = mask};
	list_push(&laters, &l->link);
	sim_timer_start(&l->t, sim.now_us + sim_draw(200));
}

void sim_fd_free(void)
{
	for (unsigned i = 0; i < ntable; i++) {
		if (!table[i])
			continue;
		sim_note("left open: %d, %s", SIM_FD_FIRST + (int)i, table[i]->kind->name);
		sim_close(SIM_FD_FIRST + (int)i);
	}
	while (!list_empty(&laters))
		later_free(CONTAINER_OF(laters.next, struct later, link));
	mem_plain_free(table);
	table = NULL;
	ntable = nopen = lowest = limit = 0;
}

/* ---- calls ---- */

static ssize_t desc_read(int fd, const struct iovec *iov, int n, int flags, const char *call)
{
	struct sim_desc *d;
	ssize_t r;

	sim_preempt(); /* first: another thread may close fd */
	d = sim_fd_get(fd, call);
	if (!d)
		return -EBADF;
	if (!d->kind->read)
		return -EINVAL;
	r = d->kind->read(d, iov, n, flags);
	SIM_LOG("recv %ld: %ld", fd, r);
	return r;
}

static ssize_t desc_write(int fd, const struct iovec *iov, int n, int flags, const char *call)
{
	struct sim_desc *d;
	ssize_t r;

	sim_preempt(); /* first: another thread may close fd */
	d = sim_fd_get(fd, call);
	if (!d)
		return -EBADF;
	if (!d->kind->write)
		return -EINVAL;
	r = d->kind->write(d, iov, n, flags);
	SIM_LOG("send %ld: %ld", fd, r);
	return r;
}

ssize_t sim_recv(int fd, void *p, size_t n, int flags)
{
	if (flags & ~(MSG_PEEK | MSG_DONTWAIT | MSG_NOSIGNAL | MSG_TRUNC))
		SIM_MODEL("recv of %d with flags %x", fd, (unsigned)flags);
	return desc_read(fd, &(struct iovec){p, n}, 1, flags, "recv");
}

ssize_t sim_send(int fd, const void *p, size_t n, int flags)
{
	if (flags & ~(MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL))
		SIM_MODEL("send to %d with flags %x", fd, (unsigned)flags);
	return desc_write(fd, &(struct iovec){(void *)p, n}, 1, flags, "send");
}

ssize_t sim_readv(int fd, const struct iovec *iov, int n)
{
	return desc_read(fd, iov, n, 0, "readv");
}

ssize_t sim_writev(int fd, const struct iovec *iov, int n)
{
	return desc_write(fd, iov, MIN_OF(n, 1024), 0, "writev");
}

ssize_t sim_write(int fd, const void *p, size_t n)
{
	struct sim_desc *d = sim_fd_get(fd, "write");
	struct iovec iov = {(void *)p, n};
	ssize_t r;

	if (!d)
		return -EBADF;
	if (!d->kind->write)
		return -EBADF;
	/* Not a point of preemption: logs write with their locks held. */
	r = d->kind->write(d, &iov, 1, 0);
	SIM_LOG("write %ld: %ld", fd, r);
	return r;
}
