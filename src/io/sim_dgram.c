/* Datagrams: UDP and Unix, between the worker's sockets and the addresses that actors serve. They
 * may be lost, doubled and overtake each other. */
#include <errno.h>
#include <string.h>
#include "io/sim_int.h"

#define QUEUE_BYTES ((size_t)200 << 10) /* of a socket; more is lost */

struct sim_dgram {
	struct list all;
	struct sim_sock *sock;
	struct sim_addr local, peer;
	struct list queue; /* struct packet */
	size_t queued;
	int err;
};

struct packet {
	struct sim_timer t;
	struct list link;
	struct sim_addr from, to;
	size_t n;
	char p[];
};

struct service { /* an actor's */
	struct list link;
	struct sim_addr at;
	void (*got)(const void *p, size_t n, const struct sockaddr *from, socklen_t fromlen);
};

static struct list socks = {&socks, &socks}, services = {&services, &services},
		   flying = {&flying, &flying};

/* ---- the network ---- */

static struct sim_dgram *dgram_find(const struct sim_addr *at)
{
	struct list *l;

	list_each (l, &socks) {
		struct sim_dgram *d = CONTAINER_OF(l, struct sim_dgram, all);

		if (d->local.len && sim_addr_serves(&d->local, at))
			return d;
	}
	return NULL;
}

static struct service *service_find(const struct sim_addr *at)
{
	struct list *l;

	list_each (l, &services) {
		struct service *s = CONTAINER_OF(l, struct service, link);

		if (sim_addr_serves(&s->at, at))
			return s;
	}
	return NULL;
}

static void packet_free(struct packet *p)
{
	list_del(&p->link);
	mem_plain_free(p);
}

static void packet_deliver(struct sim_dgram *d, struct packet *p)
{
	bool wanted = !d->peer.len || sim_addr_eq(&d->peer, &p->from);

	list_del(&p->link);
	if (!wanted || d->queued + p->n > QUEUE_BYTES) {
		packet_free(p);
		return;
	}
	list_push(&d->queue, &p->link);
	d->queued += p->n + 1;
	sim_desc_edge(&d->sock->d, EPOLLIN);
}

/* Nobody is there: the sender hears of it when it is connected (ICMP). */
static void packet_refused(struct packet *p)
{
	struct sim_dgram *d = dgram_find(&p->from);

	if (d && d->peer.len && sim_addr_eq(&d->peer, &p->to)) {
		d->err = ECONNREFUSED;
		sim_desc_edge(&d->sock->d, EPOLLERR);
	}
}

static void packet_arrives(struct sim_timer *t)
{
	struct packet *p = CONTAINER_OF(t, struct packet, t);
	struct service *s = service_find(&p->to);
	struct sim_dgram *d = s ? NULL : dgram_find(&p->to);

	SIM_LOG("a datagram of %ld bytes arrives, for %ld", p->n, d ? d->sock->d.fd : -1);
	sim_mix_bytes(p->p, p->n);
	if (d) {
		packet_deliver(d, p);
		return;
	}
	if (s)
		s->got(p->p, p->n, &p->from.sa, p->from.len);
	else
		packet_refused(p);
	packet_free(p);
}

static void packet_send(const struct sim_addr *from, const struct sim_addr *to,
			const struct iovec *iov, int niov)
{
	size_t n = sim_iov_total(iov, niov);
	struct packet *p;
	struct sim_bytes b = {0};
	bool local = to->sa.sa_family == AF_UNIX;

	if (!local && sim_chance(sim.o.faults.datagram_loss)) {
		SIM_LOG("fault: a datagram is lost");
		return;
	}
	p = mem_plain_zalloc(sizeof(*p) + n);
	p->t.run = packet_arrives;
	p->from = *from;
	p->to = *to;
	p->n = n;
	sim_iov_append(&b, iov, niov, n);
	sim_bytes_copy(&b, p->p, n);
	sim_bytes_free(&b);
	list_push(&flying, &p->link);
	sim_timer_start(&p->t, sim.now_us + (local ? 0 : sim_latency_us()));
	if (!local && sim_chance(sim.o.faults.datagram_dup))
		packet_send(from, to, iov, niov);
}

/* ---- the worker's sockets ---- */

void sim_dgram_new(struct sim_sock *s)
{
	struct sim_dgram *d = mem_plain_zalloc(sizeof(*d));

	d->sock = s;
	s->dgram = d;
	list_init(&d->queue);
	list_push(&socks, &d->all);
}

void sim_dgram_close(struct sim_sock *s)
{
	struct sim_dgram *d = s->dgram;

	while (!list_empty(&d->queue))
		packet_free(CONTAINER_OF(d->queue.next, struct packet, link));
	list_del(&d->all);
	mem_plain_free(d);
	s->dgram = NULL;
}

int sim_dgram_bind(struct sim_sock *s, const struct sim_addr *at)
{
	struct sim_addr a = *at;

	if (s->domain != AF_UNIX && !sim_addr_port(&a))
		sim_addr_set_port(&a, sim_port_ephemeral());
	else if (dgram_find(&a) && !s->reuseport)
		return -EADDRINUSE;
	s->dgram->local = s->bound = a;
	return 0;
}

int sim_dgram_connect(struct sim_sock *s, const struct sim_addr *to)
{
	struct sim_dgram *d = s->dgram;

	if (to->sa.sa_family != s->domain)
		return -EAFNOSUPPORT;
	if (s->domain == AF_UNIX && !service_find(to) && !dgram_find(to))
		return -ENOENT;
	if (!d->local.len)
		d->local = s->bound = sim_addr_source(to);
	d->peer = *to;
	return 0;
}

unsigned sim_dgram_poll(struct sim_sock *s)
{
	return EPOLLOUT | (list_empty(&s->dgram->queue) ? 0u : EPOLLIN) |
	       (s->dgram->err ? EPOLLERR : 0u);
}

int sim_dgram_error(struct sim_sock *s)
{
	int err = s->dgram->err;

	s->dgram->err = 0;
	return err;
}

ssize_t sim_dgram_recv(struct sim_sock *s, const struct iovec *iov, int niov, int flags,
		       struct sim_addr *from)
{
	struct sim_dgram *d = s->dgram;
	struct packet *p;
	size_t n;

	if (d->err)
		return -sim_dgram_error(s);
	if (list_empty(&d->queue))
		return -EAGAIN;
	p = CONTAINER_OF(d->queue.next, struct packet, link);
	n = MIN_OF(p->n, sim_iov_total(iov, niov));
	sim_iov_fill(iov, niov, &(struct sim_bytes){.p = p->p, .len = p->n}, n);
	if (from)
		*from = p->from;
	if (flags & MSG_TRUNC)
		n = p->n;
	if (!(flags & MSG_PEEK)) {
		d->queued -= p->n + 1;
		packet_free(p);
	}
	return (ssize_t)n;
}

ssize_t sim_dgram_send(struct sim_sock *s, const struct iovec *iov, int niov,
		       const struct sim_addr *to)
{
	struct sim_dgram *d = s->dgram;

	if (d->err)
		return -sim_dgram_error(s);
	if (!to)
		to = &d->peer;
	if (!to->len)
		return -EDESTADDRREQ;
	if (sim_iov_total(iov, niov) > 65507)
		return -EMSGSIZE;
	if (s->domain == AF_UNIX && !service_find(to) && !dgram_find(to))
		return -ECONNREFUSED;
	if (!d->local.len)
		d->local = sim_addr_source(to);
	if (sim_chance(sim.o.faults.spurious_eagain)) {
		sim_desc_edge_later(&s->d, EPOLLOUT);
		return -EAGAIN;
	}
	packet_send(&d->local, to, iov, niov);
	return (ssize_t)sim_iov_total(iov, niov);
}

const struct sim_addr *sim_dgram_peer(const struct sim_sock *s)
{
	return &s->dgram->peer;
}

const struct sim_addr *sim_dgram_local(const struct sim_sock *s)
{
	return &s->dgram->local;
}

ssize_t sim_recvfrom(int fd, void *p, size_t n, int flags, struct sockaddr *sa, socklen_t *len)
{
	struct sim_sock *s;
	struct sim_addr from = {.len = 0};
	ssize_t r;

	s = sim_fd_kind(fd, &sim_kind_sock, "recvfrom");
	if (!s)
		return -EBADF;
	if (!s->dgram) {
		if (sa && len)
			*len = 0;
		return sim_recv(fd, p, n, flags);
	}
	r = sim_dgram_recv(s, &(struct iovec){p, n}, 1, flags, &from);
	SIM_LOG("recvfrom %ld: %ld", fd, r);
	if (r >= 0 && sa)
		sim_addr_give(&from, sa, len);
	return r;
}

ssize_t sim_sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *sa,
		   socklen_t len)
{
	struct sim_sock *s;
	struct sim_addr to;
	ssize_t r;

	if (!sa)
		return sim_send(fd, p, n, flags);
	s = sim_fd_kind(fd, &sim_kind_sock, "sendto");
	if (!s)
		return -EBADF;
	if (!s->dgram)
		SIM_MODEL("sendto an address on the stream socket %d", fd);
	to = sim_addr_make(sa, len);
	r = sim_dgram_send(s, &(struct iovec){(void *)p, n}, 1, &to);
	SIM_LOG("sendto %ld: %ld", fd, r);
	return r;
}

/* ---- actors ---- */

void sim_datagrams(const struct sockaddr *sa, socklen_t len,
		   void (*got)(const void *p, size_t n, const struct sockaddr *from,
			       socklen_t fromlen))
{
	struct service *s = mem_plain_zalloc(sizeof(*s));

	s->at = sim_addr_make(sa, len);
	s->got = got;
	list_push(&services, &s->link);
}

void sim_datagram_send(const struct sockaddr *from, const void *p, size_t n,
		       const struct sockaddr *to, socklen_t tolen)
{
	struct sim_addr f = sim_addr_make(from, tolen), t = sim_addr_make(to, tolen);

	packet_send(&f, &t, &(struct iovec){(void *)p, n}, 1);
}

void sim_dgrams_free(void)
{
	struct list *l;

	while (!list_empty(&flying)) {
		struct packet *p = CONTAINER_OF(flying.next, struct packet, link);

		sim_timer_stop(&p->t);
		packet_free(p);
	}
	while ((l = list_take(&services)))
		mem_plain_free(CONTAINER_OF(l, struct service, link));
}
