/* Connections to upstream servers: making, parking, reusing. */
#include <errno.h>
#include <netinet/tcp.h>
#include "base/mutant.h"
#include "base/pool.h"
#include "base/shared.h"
#include "proxy/upconn_int.h"

#define UPCONNS_KEPT 256 /* free structs on the slab */

/* Idle connections of one group on this thread, the newest first. */
struct idle_group {
	struct list lru;
	unsigned count;
};

static _Thread_local struct {
	bool ready;
	struct slab slab;
	struct list **peers;
	unsigned npeers; /* by peer id: idle connections, the newest first */
	struct idle_group **groups;
	unsigned ngroups; /* by group state id */
	unsigned idle;
} pool;

static void pool_ready(void)
{
	if (pool.ready)
		return;
	slab_init(&pool.slab, sizeof(struct upconn), UPCONNS_KEPT);
	pool.ready = true;
	upconn_share_join();
}

/* Makes a table of pointers long enough for id. */
static bool table_reach(void ***table, unsigned *n, unsigned id)
{
	unsigned want = MAX_OF(id + 1, 2 * *n);
	void **t;

	if (id < *n)
		return true;
	t = mem_resize(*table, want * sizeof(*t));
	if (!t)
		return false;
	memset(t + *n, 0, (want - *n) * sizeof(*t));
	*table = t;
	*n = want;
	return true;
}

static struct list *idle_of_peer(const struct peer *p)
{
	for (unsigned i = 0; MUTANT(any_peer) && i < pool.npeers; i++)
		if (pool.peers[i] && !list_empty(pool.peers[i]))
			return pool.peers[i];
	return p->id < pool.npeers ? pool.peers[p->id] : NULL;
}

/* Makes the lists that a connection of this peer is parked on. */
static bool idle_lists(const struct peer *p)
{
	unsigned gid = p->state->id;

	if (!table_reach((void ***)&pool.peers, &pool.npeers, p->id) ||
	    !table_reach((void ***)&pool.groups, &pool.ngroups, gid))
		return false;
	if (!pool.peers[p->id]) {
		pool.peers[p->id] = mem_alloc(sizeof(struct list));
		if (!pool.peers[p->id])
			return false;
		list_init(pool.peers[p->id]);
	}
	if (!pool.groups[gid]) {
		pool.groups[gid] = mem_zalloc(sizeof(struct idle_group));
		if (!pool.groups[gid])
			return false;
		list_init(&pool.groups[gid]->lru);
	}
	return true;
}

/* ---- life ---- */

static void upconn_free(struct upconn *u)
{
	timer_stop(&co_sched.wheel, &u->timer);
	peer_unref(u->peer);
	slab_give(&pool.slab, u);
}

void upconn_drop(struct upconn *u)
{
	BUG_ON(u->idle);
	if (MUTANT(lost_connection) && u->stream.io.fd >= 0)
		iofd_unregister(&u->stream.io);
	else
		stream_close(&u->stream);
	inbuf_free(&u->in);
	upconn_free(u);
}

void upconn_detach(struct upconn *u)
{
	BUG_ON(u->idle);
	upconn_free(u);
}

unsigned upconn_idle_count(void)
{
	return pool.idle;
}

/* ---- idle ones ---- */

static void unpark(struct upconn *u)
{
	struct idle_group *ig = pool.groups[u->peer->state->id];

	list_del(&u->link);
	list_del(&u->lru);
	timer_rest(&co_sched.wheel, &u->timer);
	u->stream.io.parked = NULL;
	u->idle = false;
	ig->count--;
	pool.idle--;
	SHARED_ADD(&u->peer->idle, -1);
}

static void close_idle(struct upconn *u)
{
	unpark(u);
	upconn_drop(u);
}

static void timed_out(struct timer *t)
{
	close_idle(CONTAINER_OF(t, struct upconn, timer));
}

/* Is there nothing to read but what TLS keeps to itself (session tickets)? */
static bool is_quiet(struct upconn *u)
{
	char byte;

	return MUTANT(dirty_pool) || !stream_readable(&u->stream) ||
	       stream_recv(&u->stream, &byte, 1) == -EAGAIN;
}

/* An end, an error, or a word that nobody asked for. */
static void idle_event(struct iofd *f)
{
	struct upconn *u = CONTAINER_OF(f, struct upconn, stream.io);

	if ((f->ready & (IO_HUP | IO_RDHUP)) || !is_quiet(u))
		close_idle(u);
}

static bool may_be_kept(struct upconn *u, const struct group *g)
{
	if (g->keepalive <= 0 || u->requests >= g->keepalive_requests || inbuf_len(&u->in))
		return false;
	if (io_now_ms() - u->opened_ms > (uint64_t)g->keepalive_time_ms)
		return false;
	if (u->stream.io.fd < 0 || (u->stream.io.ready & (IO_HUP | IO_RDHUP)) || !is_quiet(u))
		return false;
	return iofd_register(&u->stream.io) == 0 && idle_lists(u->peer);
}

void upconn_give(struct upconn *u, struct group *g)
{
	struct idle_group *ig;

	if (!may_be_kept(u, g)) {
		upconn_drop(u);
		return;
	}
	inbuf_free(&u->in);
	ig = pool.groups[u->peer->state->id];
	while (ig->count >= (unsigned)g->keepalive)
		close_idle(CONTAINER_OF(ig->lru.prev, struct upconn, lru));
	list_push_front(pool.peers[u->peer->id], &u->link);
	list_push_front(&ig->lru, &u->lru);
	ig->count++;
	pool.idle++;
	u->idle = true;
	u->stream.io.parked = idle_event;
	timer_hold(&co_sched.wheel, &u->timer, io_now_ms() + (uint64_t)g->keepalive_timeout_ms);
	SHARED_ADD(&u->peer->idle, 1);
	atomic_store_explicit(&u->peer->idle_thread, io_loop_index(), memory_order_relaxed);
}

/* The newest idle connection of that identity. */
static struct upconn *pool_take(const struct peer *peer, uint64_t identity)
{
	struct list *idle = idle_of_peer(peer), *l;

	if (!idle)
		return NULL;
	list_each (l, idle) {
		struct upconn *u = CONTAINER_OF(l, struct upconn, link);

		if (u->identity == identity || MUTANT(any_identity)) {
			unpark(u);
			return u;
		}
	}
	return NULL;
}

/* The oldest of them: the newest is this thread's next. */
void upconn_give_away(struct peer *peer, uint64_t identity, struct upconn_gift *out)
{
	struct list *idle = idle_of_peer(peer);
	struct upconn *u;

	if (!idle || idle->next == idle->prev)
		return;
	u = CONTAINER_OF(idle->prev, struct upconn, link);
	if (u->identity != identity || u->tls)
		return;
	unpark(u);
	iofd_unregister(&u->stream.io);
	*out = (struct upconn_gift){u->stream.io.fd, u->opened_ms, u->requests};
	upconn_free(u);
}

/* ---- new ones ---- */

static struct upconn *upconn_new(struct peer *peer, const struct upconn_want *w)
{
	struct upconn *u;

	pool_ready();
	u = slab_take(&pool.slab);
	if (!u)
		return NULL;
	*u = (struct upconn){.peer = peer, .identity = w->identity, .opened_ms = io_now_ms()};
	stream_init(&u->stream, -1, NULL);
	list_init(&u->link);
	list_init(&u->lru);
	timer_init(&u->timer, timed_out);
	peer_ref(peer);
	return u;
}

static void set_int(int fd, int level, int name, int value)
{
	(void)sys->setsockopt(fd, level, name, &value, sizeof(value));
}

static int bind_local(int fd, const struct upconn_want *w)
{
	int family = w->bind->sa.sa_family, on = 1, r = 0;

	if (w->bind_transparent)
		r = family == AF_INET6
			    ? sys->setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof(on))
			    : sys->setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on));
	if (r < 0)
		return r;
	/* The port is chosen at connect(), so that one local port serves many servers. */
	if (addr_port(&w->bind->sa) == 0)
		set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	return sys->bind(fd, &w->bind->sa, w->bind->len);
}

/* A socket with the wanted options, or -errno. */
static int socket_open(struct pick *p, const struct upconn_want *w)
{
	const struct net_addr *addr = &p->member->peer->addr;
	int fd = sys->socket(addr->sa.sa_family, SOCK_STREAM, 0), r;

	if (fd < 0)
		return fd;
	if (addr->sa.sa_family != AF_UNIX)
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (MUTANT(odd_option))
		set_int(fd, IPPROTO_TCP, TCP_MAXSEG, 1000);
	if (w->keepalive_socket)
		set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (w->rcvbuf)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, w->rcvbuf);
	if (w->sndbuf)
		set_int(fd, SOL_SOCKET, SO_SNDBUF, w->sndbuf);
	if (!w->bind || w->bind->len == 0 || w->bind->sa.sa_family != addr->sa.sa_family)
		return fd;
	r = bind_local(fd, w);
	if (r < 0) {
		if (p->req)
			req_log(p->req, LOG_CRIT, -r, "bind() to the address of proxy_bind failed");
		sys->close(fd);
		return r;
	}
	return fd;
}

static enum fail fail_of_connect(int err)
{
	switch (err) {
	case -ETIMEDOUT:
		return FAIL_UPSTREAM_CONNECT_TIMEOUT;
	case -ECANCELED:
		return FAIL_CANCELLED;
	case -EMFILE:
	case -ENFILE:
		return FAIL_NO_DESCRIPTORS;
	case -ENOMEM:
	case -ENOBUFS:
		return FAIL_NO_MEMORY;
	default:
		return FAIL_UPSTREAM_CONNECT;
	}
}

static enum fail start_tls(struct pick *p, const struct upconn_want *w, struct upconn *u,
			   uint64_t deadline)
{
	int r;

	p->handshaking = true;
	r = tls_connect(&u->stream, w->tls, deadline);
	if (r == 0) {
		u->tls = true;
		return FAIL_OK;
	}
	p->sys_err = r == -EPROTO || r == -EPERM ? 0 : -r;
	if (p->req)
		p->tls_error = arena_dup(&p->req->arena, stream_tls_error(&u->stream));
	if (r == -ETIMEDOUT || r == -ECANCELED || r == -ENOMEM)
		return fail_of_connect(r);
	return r == -EPERM ? FAIL_UPSTREAM_VERIFY : FAIL_UPSTREAM_TLS;
}

static enum fail upconn_connect(struct pick *p, const struct upconn_want *w, struct upconn *u)
{
	const struct net_addr *addr = &u->peer->addr;
	uint64_t deadline = io_after(w->connect_timeout_ms);
	int r = socket_open(p, w);

	p->handshaking = false;
	if (r >= 0) {
		stream_init(&u->stream, r, NULL);
		r = iofd_connect(&u->stream.io, &addr->sa, addr->len, deadline);
	}
	if (r < 0) {
		p->sys_err = -r;
		return fail_of_connect(r);
	}
	return w->tls ? start_tls(p, w, u, deadline) : FAIL_OK;
}

static struct upconn *upconn_reuse(struct upconn *u)
{
	u->reused = true;
	u->requests++;
	return u;
}

/* One that another thread has too many of. */
static struct upconn *take_from_others(struct peer *peer, const struct upconn_want *w)
{
	struct upconn_gift gift;
	struct upconn *u;

	pool_ready();
	if (!upconn_ask(peer, w->identity, &gift))
		return NULL;
	u = upconn_new(peer, w);
	if (!u) {
		sys->close(gift.fd);
		return NULL;
	}
	stream_init(&u->stream, gift.fd, NULL);
	u->opened_ms = gift.opened_ms;
	u->requests = gift.requests;
	if (is_quiet(u))
		return u;
	upconn_drop(u);
	return NULL;
}

enum fail upconn_take(struct pick *p, const struct upconn_want *w, struct upconn **out,
		      int64_t *connect_us)
{
	struct peer *peer = p->member->peer;
	struct upconn *u = w->fresh ? NULL : pool_take(peer, w->identity);
	uint64_t began;
	enum fail f;

	p->sys_err = 0;
	*out = NULL;
	*connect_us = -1;
	if (!u && !w->fresh && !w->tls && atomic_load_explicit(&peer->idle, memory_order_relaxed))
		u = take_from_others(peer, w);
	if (u) {
		*out = upconn_reuse(u);
		*connect_us = 0;
		return FAIL_OK;
	}
	u = upconn_new(peer, w);
	if (!u)
		return FAIL_NO_MEMORY;
	began = sys->mono_us();
	f = upconn_connect(p, w, u);
	if (f != FAIL_OK) {
		upconn_drop(u);
		return f;
	}
	u->requests = 1;
	*out = u;
	*connect_us = (int64_t)(sys->mono_us() - began);
	return FAIL_OK;
}

void upconn_thread_fini(void)
{
	if (pool.ready)
		upconn_share_leave();
	for (unsigned i = 0; i < pool.ngroups; i++) {
		struct idle_group *ig = pool.groups[i];

		while (ig && !list_empty(&ig->lru))
			close_idle(CONTAINER_OF(ig->lru.next, struct upconn, lru));
		mem_free(ig);
	}
	for (unsigned i = 0; i < pool.npeers; i++)
		mem_free(pool.peers[i]);
	mem_free(pool.groups);
	mem_free(pool.peers);
	if (pool.ready &&
	    pool.slab.nused == 0) /* a request that was cut off may hold one to the end */
		slab_fini(&pool.slab);
	memset(&pool, 0, sizeof(pool));
}
