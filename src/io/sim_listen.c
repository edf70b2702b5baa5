/* Listeners, and how a connection comes about: SYN, SYN-ACK, ACK, each with its latency. */
#include <errno.h>
#include "io/sim_int.h"

#define SYN_AGAIN_US  1000000 /* first repeat of a SYN that nobody took; doubles */
#define SYN_TRIES     6
#define SYN_GIVEUP_US 127000000

static struct list listeners = {&listeners, &listeners};

struct sim_listener *sim_listener_new(const struct sim_addr *at)
{
	struct sim_listener *l = mem_plain_zalloc(sizeof(*l));

	l->at = *at;
	list_init(&l->pending);
	list_push(&listeners, &l->link);
	return l;
}

/* Those that are closed stay in the list until the end: connections on their way point at them. */
void sim_listener_drop(struct sim_listener *l)
{
	struct list *p;

	l->closed = true;
	l->sock = NULL;
	while ((p = list_take(&l->pending)))
		sim_end_close(CONTAINER_OF(p, struct sim_end, pending), true);
	l->npending = 0;
}

void sim_listeners_free(void)
{
	struct list *l;

	while ((l = list_take(&listeners))) {
		sim_listener_drop(CONTAINER_OF(l, struct sim_listener, link));
		mem_plain_free(CONTAINER_OF(l, struct sim_listener, link));
	}
}

/* Of several (SO_REUSEPORT) the seed chooses; an address goes before a wildcard. */
struct sim_listener *sim_listener_find(const struct sim_addr *to)
{
	struct sim_listener *best = NULL;
	uint64_t exact = 0, wild = 0;
	struct list *it;

	list_each (it, &listeners) {
		struct sim_listener *l = CONTAINER_OF(it, struct sim_listener, link);

		if (l->closed || !sim_addr_serves(&l->at, to))
			continue;
		if (sim_addr_eq(&l->at, to)) {
			if (exact++ == 0 || sim_draw(exact) == 0)
				best = l;
		} else if (!exact) {
			if (wild++ == 0 || sim_draw(wild) == 0)
				best = l;
		}
	}
	return best;
}

bool sim_listener_taken(const struct sim_addr *at)
{
	struct list *it;

	list_each (it, &listeners) {
		struct sim_listener *l = CONTAINER_OF(it, struct sim_listener, link);

		if (!l->closed && sim_addr_eq(&l->at, at))
			return true;
	}
	return false;
}

static bool listener_was_there(const struct sim_addr *at)
{
	struct list *it;

	list_each (it, &listeners)
		if (sim_addr_eq(&CONTAINER_OF(it, struct sim_listener, link)->at, at))
			return true;
	return false;
}

/* ---- the handshake ---- */

struct handshake {
	struct sim_timer t;
	struct list all;
	struct sim_link *link;
	struct sim_listener *l;
	unsigned tries;
	int err; /* what it will fail with; 0: a SYN under way */
};
static struct list handshakes = {&handshakes, &handshakes};

static void handshake_end(struct handshake *h)
{
	sim_timer_stop(&h->t);
	list_del(&h->all);
	sim_link_release(h->link);
	mem_plain_free(h);
}

static bool queue_full(const struct sim_listener *l)
{
	return !l->accepted && l->npending > l->backlog;
}

static void listener_enqueue(struct sim_listener *l, struct sim_end *e)
{
	e->queue = l;
	if (l->accepted) {
		l->accepted(l, sim_conn_take(e));
		return;
	}
	list_push(&l->pending, &e->pending);
	l->npending++;
	SIM_LOG("connection %ld waits at %ld", e->id, l->sock->d.fd);
	sim_desc_edge(&l->sock->d, EPOLLIN);
}

/* The server has the ACK. */
static void ack_arrives(struct sim_timer *t)
{
	struct handshake *h = CONTAINER_OF(t, struct handshake, t);

	if (h->l->closed)
		sim_end_close(&h->link->end[1], true);
	else
		listener_enqueue(h->l, &h->link->end[1]);
	handshake_end(h);
}

/* The client has the SYN-ACK. */
static void syn_ack_arrives(struct sim_timer *t)
{
	struct handshake *h = CONTAINER_OF(t, struct handshake, t);
	struct sim_end *e = &h->link->end[0];

	if (e->closed || e->dead) {
		handshake_end(h);
		return;
	}
	h->link->end[1].closed = false;
	h->t.run = ack_arrives;
	e->last_at = sim.now_us + sim_latency_us(); /* bytes come behind the ACK */
	sim_timer_start(&h->t, e->last_at);
	sim_end_established(e);
}

static void connect_fails(struct sim_timer *t)
{
	struct handshake *h = CONTAINER_OF(t, struct handshake, t);

	if (h->link->end[0].connecting)
		sim_end_fail(&h->link->end[0], h->err);
	handshake_end(h);
}

static void syn_arrives(struct sim_timer *t)
{
	struct handshake *h = CONTAINER_OF(t, struct handshake, t);
	struct sim_end *e = &h->link->end[0];
	uint64_t back = sim_latency_us();

	if (e->closed || e->dead) {
		handshake_end(h);
		return;
	}
	h->l = sim_listener_find(&e->remote);
	if (!h->l) {
		h->err = ECONNREFUSED;
		t->run = connect_fails;
	} else if (queue_full(h->l)) {
		SIM_LOG("connection %ld: the queue is full, the SYN is lost", e->id);
		back = (uint64_t)SYN_AGAIN_US << h->tries;
		if (++h->tries > SYN_TRIES) {
			h->err = ETIMEDOUT;
			t->run = connect_fails;
		}
	} else {
		e->rtt_us = e->peer->rtt_us = (uint32_t)back * 2;
		t->run = syn_ack_arrives;
	}
	sim_timer_start(t, sim.now_us + back);
}

static int connect_unix(struct sim_end *e)
{
	struct sim_listener *l = sim_listener_find(&e->remote);

	if (!l)
		return listener_was_there(&e->remote) ? -ECONNREFUSED : -ENOENT;
	if (queue_full(l))
		return -EAGAIN;
	e->peer->closed = false;
	listener_enqueue(l, e->peer);
	return 0;
}

static void handshake_start(struct sim_end *e, int err, uint64_t after_us)
{
	struct handshake *h = mem_plain_zalloc(sizeof(*h));

	h->link = e->link;
	h->link->busy++;
	h->err = err;
	h->t.run = err ? connect_fails : syn_arrives;
	list_push(&handshakes, &h->all);
	e->connecting = true;
	sim_timer_start(&h->t, sim.now_us + after_us);
}

int sim_connect_start(struct sim_end *e, bool faulty)
{
	const struct sim_faults *f = &sim.o.faults;
	int r = -EINPROGRESS;

	e->peer->closed = true; /* nobody holds it yet */
	SIM_LOG("connection %ld, %ld starts", e->id, e->peer->id);
	if (e->unixy) {
		r = faulty && sim_chance(f->refuse) ? -ECONNREFUSED : connect_unix(e);
	} else if (faulty && sim_chance(f->unreachable)) {
		if (sim_draw(2))
			return sim_draw(2) ? -ENETUNREACH : -EHOSTUNREACH;
		handshake_start(e, EHOSTUNREACH, sim_latency_us());
	} else if (faulty && sim_chance(f->refuse)) {
		handshake_start(e, ECONNREFUSED, sim_latency_us());
	} else if (faulty && sim_chance(f->hang)) {
		SIM_LOG("fault: connection %ld hangs", e->id);
		handshake_start(e, ETIMEDOUT, SYN_GIVEUP_US);
	} else {
		handshake_start(e, 0, sim_latency_us());
	}
	return r;
}

static void handshake_told(struct sim_timer *t)
{
	struct handshake *h = CONTAINER_OF(t, struct handshake, t);

	if (h->link->end[0].connecting)
		sim_end_established(&h->link->end[0]);
	handshake_end(h);
}

void sim_connect_tell(struct sim_end *e, int err)
{
	handshake_start(e, err ? err : -1, 1);
	if (!err)
		CONTAINER_OF(handshakes.prev, struct handshake, all)->t.run = handshake_told;
}

void sim_handshakes_free(void)
{
	while (!list_empty(&handshakes))
		handshake_end(CONTAINER_OF(handshakes.next, struct handshake, all));
}
