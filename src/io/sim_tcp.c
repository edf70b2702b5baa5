/* Connections, after net/ipv4/tcp.c and net/unix/af_unix.c of Linux: two ends, bytes cut into
 * segments that arrive in order, FIN and RST. What the two families do differently says `unixy`. */
#include <errno.h>
#include <string.h>
#include "io/sim_int.h"

#define CORK_US	 200000
#define CORK_MSS 1460 /* as much leaves a corked socket at once */

#define RTO_US	      200000	/* until the first repeat; doubles up to .. */
#define RTO_MAX_US    120000000 /* .. this */
#define RTO_GIVEUP_US 924600000 /* 15 repeats */

enum seg_kind { SEG_DATA, SEG_FIN, SEG_RST };

struct seg {
	struct list link;
	enum seg_kind kind;
	size_t n;
	uint64_t at_us;
};

static struct list links = {&links, &links};

static void segs_drop(struct sim_end *e)
{
	struct list *l;

	while ((l = list_take(&e->segs)))
		mem_plain_free(CONTAINER_OF(l, struct seg, link));
	sim_timer_stop(&e->arrival);
}

static void end_fini(struct sim_end *e)
{
	segs_drop(e);
	sim_timer_stop(&e->uncork);
	sim_bytes_free(&e->rx);
	sim_bytes_free(&e->tx);
	list_del(&e->pending);
}

static void link_free(struct sim_link *l)
{
	list_del(&l->all);
	end_fini(&l->end[0]);
	end_fini(&l->end[1]);
	sim_timer_stop(&l->giveup);
	mem_plain_free(l);
}

/* Gone when nobody holds an end and nothing is under way. */
static void link_maybe_free(struct sim_link *l)
{
	if (l->end[0].closed && l->end[1].closed && list_empty(&l->end[0].segs) &&
	    list_empty(&l->end[1].segs) && !l->busy)
		link_free(l);
}

void sim_link_release(struct sim_link *l)
{
	l->busy--;
	link_maybe_free(l);
}

void sim_tcp_free(void)
{
	while (!list_empty(&links))
		link_free(CONTAINER_OF(links.next, struct sim_link, all));
}

static void segment_arrives(struct sim_timer *t);
static void cork_ends(struct sim_timer *t);

struct sim_link *sim_link_new(const struct sim_addr *from, const struct sim_addr *to)
{
	struct sim_link *l = mem_plain_zalloc(sizeof(*l));

	list_push(&links, &l->all);
	for (int i = 0; i < 2; i++) {
		struct sim_end *e = &l->end[i];

		e->link = l;
		e->peer = &l->end[!i];
		e->local = i ? *to : *from;
		e->remote = i ? *from : *to;
		e->unixy = to->sa.sa_family == AF_UNIX;
		e->sndbuf = sim_between(sim.o.sndbuf_min, sim.o.sndbuf_max);
		e->rcvbuf = sim_between(sim.o.sndbuf_min, sim.o.sndbuf_max);
		e->arrival.run = segment_arrives;
		e->uncork.run = cork_ends;
		e->id = (long)++sim.ids;
		list_init(&e->segs);
		list_init(&e->pending);
	}
	return l;
}

/* Whoever holds e hears of it. */
static void end_edge(struct sim_end *e, unsigned mask)
{
	if (e->sock)
		sim_desc_edge(&e->sock->d, mask);
	else if (e->actor)
		sim_conn_edge(e, mask);
}

/* ---- sending ---- */

static void link_lost(struct sim_link *l)
{
	if (l->lost_us)
		return;
	l->lost_us = sim.now_us;
	sim_timer_start(&l->giveup, sim.now_us + RTO_GIVEUP_US);
}

static void seg_queue(struct sim_end *e, enum seg_kind kind, size_t n)
{
	struct seg *s;
	uint64_t at;

	if (e->link->vanished) {
		if (e == e->link->stays && kind != SEG_RST)
			link_lost(e->link);
		return;
	}
	s = mem_plain_zalloc(sizeof(*s));
	at = sim.now_us + (e->unixy ? 0 : sim_latency_us());
	/* In order, and never two at once. */
	if (at <= e->last_at)
		at = e->last_at + 1;
	*s = (struct seg){.kind = kind, .n = n, .at_us = e->last_at = at};
	list_push(&e->segs, &s->link);
	if (e->segs.next == &s->link)
		sim_timer_start(&e->arrival, at);
}

/* Where the bytes are cut: mostly in large pieces, often anywhere, at times in crumbs. */
static size_t seg_size(size_t n)
{
	switch (sim_draw(8)) {
	case 0:
		return sim_between(1, MIN_OF(n, (size_t)8));
	case 1:
	case 2:
		return sim_between(1, n);
	default:
		return n;
	}
}

/* A corked socket keeps what is less than a segment, though not for long. */
static bool cork_holds(struct sim_end *e, size_t unsent)
{
	if (!e->corked || e->fin_queued || unsent >= CORK_MSS)
		return false;
	if (!e->uncork.slot)
		sim_timer_start(&e->uncork, sim.now_us + CORK_US);
	return true;
}

/* Sends what the peer has room for, then the FIN. */
static void end_push(struct sim_end *e)
{
	struct sim_end *p = e->peer;

	if (e->connecting || e->dead)
		return;
	while (e->tx.len > e->inflight) {
		size_t unsent = e->tx.len - e->inflight, n;
		size_t used = p->closed || p->dead ? 0 : p->rx.len + e->inflight;

		if (used >= p->rcvbuf || cork_holds(e, unsent))
			return;
		n = seg_size(MIN_OF(unsent, p->rcvbuf - used));
		seg_queue(e, SEG_DATA, n);
		e->inflight += n;
		e->bytes_sent += n;
	}
	if (e->fin_queued && !e->fin_sent) {
		e->fin_sent = true;
		seg_queue(e, SEG_FIN, 0);
	}
}

static void cork_ends(struct sim_timer *t)
{
	struct sim_end *e = CONTAINER_OF(t, struct sim_end, uncork);
	bool corked = e->corked;

	e->corked = false;
	end_push(e);
	e->corked = corked;
}

void sim_end_cork(struct sim_end *e, bool on)
{
	e->corked = on;
	if (on)
		return;
	sim_timer_stop(&e->uncork);
	end_push(e);
}

void sim_end_established(struct sim_end *e)
{
	SIM_LOG("connection %ld stands", e->id);
	e->connecting = false;
	end_push(e);
	end_edge(e, EPOLLOUT);
}

/* At once out of the sender's hands; on its way behind what already is. */
static void rst_send(struct sim_end *e)
{
	e->fin_queued = false;
	if (e->tx.len > e->inflight)
		e->tx.len = e->inflight;
	seg_queue(e, SEG_RST, 0);
}

/* CLOSE: tcp_done and tcp_reset. */
static void end_die(struct sim_end *e, int err)
{
	e->dead = true;
	e->connecting = false;
	e->err = err;
	e->rd_shut = e->wr_shut = true;
	segs_drop(e);
	e->tx.len = e->inflight = 0;
	e->tx.head = 0;
	end_edge(e, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
}

void sim_end_fail(struct sim_end *e, int err)
{
	SIM_LOG("connection %ld fails: %ld", e->id, err);
	end_die(e, err);
}

/* ---- peers that are gone ---- */

static void link_gives_up(struct sim_timer *t)
{
	struct sim_link *l = CONTAINER_OF(t, struct sim_link, giveup);

	if (!l->stays->closed && !l->stays->dead)
		sim_end_fail(l->stays, ETIMEDOUT);
}

unsigned sim_end_retransmits(const struct sim_end *e)
{
	uint64_t at = e->link->lost_us, rto = RTO_US;
	unsigned n = 0;

	if (!at || e != e->link->stays)
		return 0;
	for (; sim.now_us >= at + rto && n < 15; n++) {
		at += rto;
		rto = MIN_OF(rto * 2, (uint64_t)RTO_MAX_US);
	}
	return n;
}

static void end_was_left(struct sim_link *l)
{
	void (*left)(void *arg) = l->left;

	l->left = NULL;
	if (left)
		left(l->left_arg);
}

void sim_end_vanish(struct sim_end *e, void (*left)(void *arg), void *arg)
{
	struct sim_link *l = e->link;

	if (e->unixy)
		SIM_MODEL("the peer of a Unix socket vanishes");
	l->busy++;
	l->vanished = true;
	l->stays = e->peer;
	l->left = left;
	l->left_arg = arg;
	l->giveup.run = link_gives_up;
	segs_drop(e);
	segs_drop(e->peer);
	if (e->peer->inflight || e->peer->fin_sent)
		link_lost(l);
	if (e->peer->closed)
		end_was_left(l);
	sim_link_release(l);
}

/* ---- arriving ---- */

static bool end_writable(const struct sim_end *e)
{
	return (e->sndbuf - MIN_OF(e->tx.len, e->sndbuf)) * 3 >= e->sndbuf;
}

static void data_arrives(struct sim_end *e, struct sim_end *p, size_t n)
{
	const char *bytes = e->tx.p + e->tx.head;

	SIM_LOG("connection %ld: %ld bytes arrive", p->id, n);
	sim_mix_bytes(bytes, n);
	e->inflight -= n;
	if (p->dead || p->closed) {
		sim_bytes_drop(&e->tx, n);
		if (!p->dead)
			rst_send(p); /* nobody is there */
		p->dead = true;
		return;
	}
	sim_bytes_put(&p->rx, bytes, n);
	sim_bytes_drop(&e->tx, n);
	p->bytes_received += n;
	e->bytes_acked += n;
	if (e->nospace && end_writable(e)) {
		e->nospace = false;
		end_edge(e, EPOLLOUT);
	}
	end_edge(p, EPOLLIN);
}

static void fin_arrives(struct sim_end *p)
{
	SIM_LOG("connection %ld: FIN arrives", p->id);
	if (p->closed || p->dead)
		return;
	p->rd_shut = p->done = true;
	if (p->unixy && p->peer->closed)
		p->wr_shut = true;
	end_edge(p, EPOLLIN | EPOLLOUT | EPOLLRDHUP); /* sk_state_change tells all */
}

static void rst_arrives(struct sim_end *p)
{
	SIM_LOG("connection %ld: RST arrives", p->id);
	if (p->closed || p->dead) {
		p->dead = true;
		segs_drop(p);
		p->tx.len = p->inflight = 0;
		return;
	}
	if (p->done && p->fin_sent)
		return; /* both said goodbye before */
	end_die(p, p->connecting ? ECONNREFUSED : p->done && !p->wr_shut ? EPIPE : ECONNRESET);
}

static void segment_arrives(struct sim_timer *t)
{
	struct sim_end *e = CONTAINER_OF(t, struct sim_end, arrival), *p = e->peer;
	struct seg *s = CONTAINER_OF(list_take(&e->segs), struct seg, link);
	enum seg_kind kind = s->kind;
	size_t n = s->n;

	mem_plain_free(s);
	e->link->busy++;
	if (!list_empty(&e->segs))
		sim_timer_start(t, CONTAINER_OF(e->segs.next, struct seg, link)->at_us);
	if (kind == SEG_DATA && sim_chance(sim.o.faults.reset)) {
		SIM_LOG("fault: connection %ld is reset", p->id);
		rst_arrives(p);
		rst_arrives(e);
	} else if (kind == SEG_DATA) {
		data_arrives(e, p, n);
	} else if (kind == SEG_FIN) {
		fin_arrives(p);
	} else {
		rst_arrives(p);
	}
	sim_link_release(e->link);
}

/* ---- the verbs ---- */

static bool fault_hides(struct sim_end *e, unsigned per_10000, unsigned mask)
{
	if (!e->sock || !sim_chance(per_10000))
		return false;
	sim_desc_edge_later(&e->sock->d, mask);
	return true;
}

static ssize_t recv_nothing(struct sim_end *e)
{
	int err = e->err;

	if (e->done)
		return 0;
	e->err = 0;
	return err ? -err : e->rd_shut ? 0 : -EAGAIN;
}

ssize_t sim_end_recv(struct sim_end *e, const struct iovec *iov, int niov, int flags)
{
	size_t n = MIN_OF(sim_iov_total(iov, niov), e->rx.len);

	if (!e->rx.len)
		return recv_nothing(e);
	if (fault_hides(e, sim.o.faults.spurious_eagain, EPOLLIN))
		return -EAGAIN;
	/* What is left counts as come a moment later, so its edge is still to come. */
	if (n > 1 && !(flags & MSG_PEEK) && fault_hides(e, sim.o.faults.short_read, EPOLLIN))
		n = sim_between(1, n - 1);
	sim_iov_fill(iov, niov, &e->rx, n);
	if (flags & MSG_PEEK)
		return (ssize_t)n;
	sim_bytes_drop(&e->rx, n);
	end_push(e->peer);
	return (ssize_t)n;
}

ssize_t sim_end_send(struct sim_end *e, const struct iovec *iov, int niov)
{
	size_t want = sim_iov_total(iov, niov), n = want;
	size_t room = e->sndbuf - MIN_OF(e->tx.len, e->sndbuf);

	if (e->connecting)
		return -EAGAIN;
	if (e->unixy ? e->wr_shut || e->dead || e->peer->closed : e->err || e->wr_shut) {
		int err = e->unixy ? 0 : e->err;

		if (!e->unixy)
			e->err = 0;
		return err ? -err : -EPIPE;
	}
	if (n && (!room || fault_hides(e, sim.o.faults.spurious_eagain, EPOLLOUT))) {
		e->nospace = true;
		return -EAGAIN;
	}
	n = MIN_OF(n, room);
	if (n > 1 && fault_hides(e, sim.o.faults.short_write, EPOLLOUT))
		n = sim_between(1, n - 1);
	if (n < want)
		e->nospace = true;
	sim_iov_append(&e->tx, iov, niov, n);
	end_push(e);
	return (ssize_t)n;
}

void sim_end_no_reader(struct sim_end *e)
{
	if (e->unixy && e->peer->closed && !e->dead)
		rst_send(e->peer);
}

unsigned sim_end_poll(struct sim_end *e)
{
	unsigned mask = 0;

	if (e->err)
		mask |= EPOLLERR;
	if (e->connecting)
		return mask;
	if (e->dead || (e->rd_shut && e->wr_shut))
		mask |= EPOLLHUP;
	if (e->rd_shut)
		mask |= EPOLLIN | EPOLLRDHUP;
	if (e->rx.len)
		mask |= EPOLLIN;
	if ((e->wr_shut && !e->unixy) || end_writable(e))
		mask |= EPOLLOUT;
	else
		e->nospace = true;
	return mask;
}

void sim_end_shutdown(struct sim_end *e, bool rd, bool wr)
{
	if (rd)
		e->rd_shut = true;
	if (wr && !e->wr_shut) {
		e->wr_shut = true;
		e->fin_queued = true;
		end_push(e);
	}
}

void sim_end_abort(struct sim_end *e)
{
	if (e->dead)
		return;
	if (!e->connecting)
		rst_send(e);
	e->connecting = false;
	e->dead = e->rd_shut = e->wr_shut = true;
}

void sim_end_close(struct sim_end *e, bool linger0)
{
	BUG_ON(e->closed);
	e->closed = true;
	e->sock = NULL;
	e->actor = NULL;
	if (e->dead || e->connecting) {
		e->dead = true;
		e->connecting = false;
	} else if (e->rx.len || linger0) {
		rst_send(e);
		e->dead = true;
	} else if (!e->wr_shut) {
		e->wr_shut = e->fin_queued = true;
		end_push(e);
	}
	sim_bytes_free(&e->rx);
	if (e->link->stays == e)
		end_was_left(e->link);
	/* It may have waited for our window. */
	end_push(e->peer);
	link_maybe_free(e->link);
}
