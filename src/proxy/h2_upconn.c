/* HTTP/2 connections to servers: finding, making, ending them, and their I/O. */
#include <errno.h>
#include "base/mutant.h"
#include "io/loop.h"
#include "proxy/h2_upconn_int.h"

#define BUCKETS	  64
#define READ_SIZE (64 * 1024)
#define READS_MAX 16 /* reads of one event, before others get their turn */

static _Thread_local struct {
	bool ready;
	struct list all;
	struct list idle; /* the longest idle first */
	struct list pending;
	unsigned count, nstreams;
	char *scratch; /* READ_SIZE bytes */
} h2;

/* Somebody is connecting; others wait for the outcome. On the stack of who connects. */
struct h2_pending {
	struct list link;
	const struct peer *peer;
	uint64_t identity;
	struct co_waitq waiters; /* woken with the fail */
	struct list picks;	 /* theirs: what more there is to say */
	const struct pick *pick; /* of who connects */
	unsigned nwaiting;
};

/* On the stack of who waits. */
struct h2_waiter {
	struct list link;
	struct pick *pick;
};

static bool h2_ready(void)
{
	if (!h2.ready) {
		list_init(&h2.all);
		list_init(&h2.idle);
		list_init(&h2.pending);
		h2.ready = true;
	}
	if (!h2.scratch)
		h2.scratch = mem_alloc(READ_SIZE);
	return h2.scratch;
}

unsigned h2_upconn_count(unsigned *nstreams)
{
	*nstreams = h2.nstreams;
	return h2.count;
}

/* ---- the end ---- */

static void h2_upconn_free(struct h2_upconn *c)
{
	list_del(&c->link);
	list_del(&c->idle);
	list_del(&c->flush.link);
	timer_stop(&co_sched.wheel, &c->timer);
	timer_stop(&co_sched.wheel, &c->watch);
	nghttp2_session_del(c->session);
	inbuf_free(&c->out);
	c->u->stream.io.parked = NULL;
	upconn_drop(c->u);
	h2.count--;
	mem_free(c);
}

/* The stream is on this connection no more. FAIL_OK: it ended well. */
void h2_stream_detach(struct h2_stream *st, enum fail f)
{
	struct h2_upconn *c = st->conn;

	if (!c)
		return;
	if (st->id > 0)
		nghttp2_session_set_stream_user_data(c->session, st->id, NULL);
	list_del(&st->link);
	c->answered += f == FAIL_OK;
	c->nstreams--;
	h2.nstreams--;
	st->conn = NULL;
	if (st->fail == FAIL_OK)
		st->fail = f;
	h2_stream_wake(st);
}

/* Why, for that stream: the head that broke the connection may have been its own. */
static enum fail h2_why_lost(const struct h2_upconn *c, const struct h2_stream *st, enum fail f)
{
	if (f == FAIL_UPSTREAM_H2 && c->undecodable && st->id == c->head_stream)
		return FAIL_UPSTREAM_HPACK;
	return f;
}

/* Refusals are costly when many requests come: a server that ends its connections after few
 * answers, or takes less than it announces, would refuse most of them again on the next connection.
 * So they go to several, which begin with as many streams as this one did well with. */
static void h2_note_liked(const struct h2_upconn *c, bool ends, unsigned n)
{
	struct peer *peer = c->u->peer;
	uint64_t until = atomic_load_explicit(&peer->liked_until_ms, memory_order_relaxed);
	uint64_t next = io_now_ms() + H2_LIKED_MS;

	/* Refusals come one by one, each leaving one stream fewer; those of another connection may
	 * just be beginning. */
	if (!ends && n > atomic_load_explicit(&peer->liked, memory_order_relaxed) &&
	    !atomic_load_explicit(&peer->ends, memory_order_relaxed) &&
	    next < until + H2_LIKED_LOW_MS)
		return;
	atomic_store_explicit(&peer->ends, ends, memory_order_relaxed);
	atomic_store_explicit(&peer->liked, MAX_OF(n, 1u), memory_order_relaxed);
	atomic_store_explicit(&peer->liked_until_ms, next, memory_order_relaxed);
}

/* It is one thing to refuse a request, another to end a connection that was of use, or to have
 * enough of them. */
enum fail h2_refused(struct h2_upconn *c)
{
	bool ends = c->draining || c->broken != FAIL_OK;
	unsigned others = c->nstreams ? c->nstreams - 1 : 0;

	h2_note_liked(c, ends, ends ? MAX_OF(c->answered + others, H2_LIKED_MIN) : others);
	/* It has as many as it wants, whatever it announced. */
	if (!ends)
		c->limit = MIN_OF(c->limit, MAX_OF(others, 1u));
	if (!ends && others)
		return FAIL_UPSTREAM_FULL;
	return ends && c->served ? FAIL_UPSTREAM_GOAWAY : FAIL_UPSTREAM_REFUSED;
}

/* The connection is lost to them. What never left cannot have been acted upon. */
static void h2_upconn_forsake(struct h2_upconn *c, enum fail f)
{
	while (!list_empty(&c->streams)) {
		struct h2_stream *st = CONTAINER_OF(c->streams.next, struct h2_stream, link);

		/* After a reset nothing is certain: see wire_unseen. */
		st->unseen = st->head_sent && !st->wire_received && !c->reset &&
			     f != FAIL_UPSTREAM_RESET &&
			     stream_unacked_since(&c->u->stream, st->mark);
		h2_stream_detach(st, st->ended	     ? FAIL_OK
				     : st->head_sent ? h2_why_lost(c, st, f)
						     : h2_refused(c));
	}
}

/* ---- output ---- */

/* There is always some room for what is not DATA: nghttp2 says that a connection has failed, and
 * why, in a frame. */
static bool h2_upconn_has_out_room(struct h2_upconn *c)
{
	size_t n = inbuf_len(&c->out);

	return n < H2_OUT_SOFT ||
	       (n < H2_OUT_CONTROL && nghttp2_session_get_outbound_queue_size(c->session));
}

/* Frames into c->out. False: no memory. */
static bool h2_upconn_fill(struct h2_upconn *c)
{
	while (h2_upconn_has_out_room(c)) {
		size_t had = inbuf_len(&c->out);
		const uint8_t *p;
		ssize_t n = nghttp2_session_mem_send(c->session, &p);

		if (n < 0)
			return false;
		if (n > 0 && !h2_upconn_append(c, p, (size_t)n))
			return false;
		if (inbuf_len(&c->out) == had)
			break;
	}
	return true;
}

bool h2_upconn_append(struct h2_upconn *c, const void *p, size_t n)
{
	if (c->out.cap - c->out.end < n && !inbuf_reserve(&c->out, inbuf_len(&c->out) + n, NULL))
		return false;
	memcpy(c->out.p + c->out.end, p, n);
	c->out.end += (uint32_t)n;
	return true;
}

/* n bytes of c->out have gone. What of a request waited among them has moved on, too. */
static void h2_upconn_moved(struct h2_upconn *c, size_t n)
{
	struct list *l;

	if (c->behind) {
		list_each (l, &c->streams) {
			struct h2_stream *st = CONTAINER_OF(l, struct h2_stream, link);

			if (st->out_end > c->out_gone)
				st->sent_ms = io_now_ms();
		}
	}
	c->out_gone += n;
	inbuf_take(&c->out, n);
}

/* A server that reads no more may still have said something: its words are read first. */
static void h2_upconn_write(struct h2_upconn *c)
{
	while (!c->deaf) {
		struct iovec iov;
		ssize_t n;

		if (!h2_upconn_fill(c)) {
			c->broken = FAIL_NO_MEMORY;
			c->deaf = true; /* frames are missing: those behind them mean nothing */
			return;
		}
		if (!inbuf_len(&c->out))
			break;
		iov = (struct iovec){c->out.p + c->out.start, inbuf_len(&c->out)};
		n = stream_try_writev(&c->u->stream, &iov, 1);
		if (n == -EAGAIN || n == 0) {
			c->behind = true;
			return;
		}
		if (n < 0) {
			c->deaf = true;
			c->reset |= n == -ECONNRESET;
			break;
		}
		h2_upconn_moved(c, (size_t)n);
	}
	c->behind = false;
	inbuf_free(&c->out);
}

/* ---- input ---- */

static bool h2_upconn_feed(void *arg, const uint8_t *p, size_t n, size_t seen)
{
	struct h2_upconn *c = arg;
	bool whole;
	ssize_t rc;

	while (seen < n) {
		seen += h2_frames_next(&c->frames, p + seen, n - seen, &whole);
		if (MUTANT(deaf_to_goaway) && whole && c->frames.type == NGHTTP2_GOAWAY)
			((uint8_t *)(uintptr_t)p)[seen - H2_FRAME_HEAD + 3] = 0xfa; /* no type */
	}
	rc = n > c->frames.have ? nghttp2_session_mem_recv(c->session, p, n - c->frames.have) : 0;
	if (rc >= 0)
		return true;
	c->broken = rc == NGHTTP2_ERR_NOMEM ? FAIL_NO_MEMORY : FAIL_UPSTREAM_H2;
	nghttp2_session_terminate_session(
		c->session, rc == NGHTTP2_ERR_FLOODED || rc == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS
				    ? NGHTTP2_ENHANCE_YOUR_CALM
				    : NGHTTP2_INTERNAL_ERROR);
	return false;
}

static void h2_upconn_read(struct h2_upconn *c)
{
	c->more = false;
	for (int i = 0; i < READS_MAX && c->broken == FAIL_OK; i++) {
		ssize_t n = stream_recv(&c->u->stream, h2.scratch, READ_SIZE);

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			c->closed = true;
			c->broken = n == -ECONNRESET ? FAIL_UPSTREAM_RESET : FAIL_UPSTREAM_CLOSED;
			return;
		}
		h2_watch_heard(c);
		(void)h2_frames_feed(&c->frames, (const uint8_t *)h2.scratch, (size_t)n,
				     h2_upconn_feed, c);
	}
	c->more = c->broken == FAIL_OK;
}

/* ---- idle ---- */

static bool h2_upconn_may_stay(const struct h2_upconn *c)
{
	return !c->draining && !c->deaf && !c->silent && c->keepalive > 0 &&
	       c->u->requests < c->keepalive_requests &&
	       io_now_ms() - c->u->opened_ms <= c->keepalive_time_ms;
}

/* Says goodbye when that needs no waiting. */
static void h2_upconn_close(struct h2_upconn *c)
{
	(void)nghttp2_session_terminate_session(c->session, NGHTTP2_NO_ERROR);
	h2_upconn_write(c);
	h2_upconn_forsake(c, FAIL_UPSTREAM_CLOSED);
	h2_upconn_free(c);
}

static void h2_upconn_idle_limit(const struct h2_upconn *c)
{
	struct h2_upconn *oldest = NULL;
	unsigned n = 0;
	struct list *l;

	list_each (l, &h2.idle) {
		struct h2_upconn *o = CONTAINER_OF(l, struct h2_upconn, idle);

		if (o->nstreams || o->u->peer->state != c->u->peer->state)
			continue;
		if (!oldest)
			oldest = o;
		n++;
	}
	if (n > c->keepalive && oldest != c)
		h2_upconn_close(oldest);
}

/* Reads on, to no purpose but that closing does not become a reset, which may overtake GOAWAY.
 * False: there is more. */
static bool h2_upconn_discard(struct h2_upconn *c)
{
	for (int i = 0; i < READS_MAX && !c->closed; i++) {
		ssize_t n = stream_recv(&c->u->stream, h2.scratch, READ_SIZE);

		if (n == -EAGAIN)
			return true;
		c->closed = n <= 0;
	}
	return c->closed;
}

/* GOAWAY waits behind bytes that the server has not read yet: it has some time to. Nobody waits for
 * that. False: the connection ends now. */
static bool h2_upconn_last_words(struct h2_upconn *c)
{
	uint64_t now = io_now_ms();
	bool all;

	if (!c->behind && !c->last_ms)
		return false;
	if (!c->last_ms) {
		c->last_ms = now + H2_LAST_WORDS_MS;
		list_del(&c->idle);
		timer_stop(&co_sched.wheel, &c->watch);
	}
	if (c->deaf || c->closed || c->broken == FAIL_UPSTREAM_SILENT || now >= c->last_ms)
		return false;
	if (!c->behind && !c->shut)
		c->shut = stream_shutdown(&c->u->stream) != -EAGAIN;
	all = h2_upconn_discard(c);
	timer_start(&co_sched.wheel, &c->timer, all ? c->last_ms : now);
	return !c->closed;
}

void h2_upconn_settle(struct h2_upconn *c)
{
	bool idle = !list_empty(&c->idle);

	/* Both have said goodbye, or nghttp2 has, to a server that broke a rule. */
	if (c->broken == FAIL_OK && !nghttp2_session_want_read(c->session))
		c->broken = c->draining ? FAIL_UPSTREAM_CLOSED : FAIL_UPSTREAM_H2;
	if (c->broken != FAIL_OK) {
		h2_upconn_write(c); /* GOAWAY */
		h2_upconn_forsake(c, c->broken);
		if (!h2_upconn_last_words(c))
			h2_upconn_free(c);
		return;
	}
	if (!c->nstreams && !h2_upconn_may_stay(c)) {
		h2_upconn_close(c);
		return;
	}
	if (c->more) {
		timer_start(&co_sched.wheel, &c->timer, io_now_ms());
	} else if (c->nstreams) {
		timer_stop(&co_sched.wheel, &c->timer);
		list_del(&c->idle);
	} else if (!idle) {
		list_push(&h2.idle, &c->idle);
		timer_start(&co_sched.wheel, &c->timer, io_now_ms() + c->keepalive_timeout_ms);
		h2_upconn_idle_limit(c);
	}
}

static void h2_upconn_run(struct h2_upconn *c)
{
	h2_upconn_read(c);
	if (c->broken == FAIL_OK)
		h2_upconn_write(c);
	h2_upconn_settle(c);
}

static void h2_upconn_event(struct iofd *f)
{
	h2_upconn_run(CONTAINER_OF(f, struct stream, io)->owner);
}

static void h2_upconn_timer(struct timer *t)
{
	struct h2_upconn *c = CONTAINER_OF(t, struct h2_upconn, timer);

	if (c->broken != FAIL_OK)
		h2_upconn_settle(c);
	else if (c->more)
		h2_upconn_run(c);
	else
		h2_upconn_close(c);
}

static void h2_upconn_turn(struct io_turn_end *h)
{
	struct h2_upconn *c = CONTAINER_OF(h, struct h2_upconn, flush);

	h2_upconn_write(c);
	if (c->deaf)
		h2_upconn_read(c);
	h2_upconn_settle(c);
}

void h2_upconn_arm(struct h2_upconn *c)
{
	io_turn_end_arm(&c->flush);
}

void h2_upconn_check(struct h2_upconn *c, int rc)
{
	if (!nghttp2_is_fatal(rc))
		return;
	if (c->broken == FAIL_OK)
		c->broken = FAIL_NO_MEMORY;
	h2_upconn_arm(c);
}

void h2_upconn_thread_fini(void)
{
	while (h2.ready && !list_empty(&h2.all))
		h2_upconn_close(CONTAINER_OF(h2.all.next, struct h2_upconn, link));
	mem_free(h2.scratch);
	h2.scratch = NULL;
}

/* ---- making ---- */

/* How many streams a new connection takes, before the server's SETTINGS say it. */
static unsigned h2_expected(const struct peer *peer)
{
	unsigned n = atomic_load_explicit(&peer->streams, memory_order_relaxed);

	return n ? n : H2_STREAMS_BEFORE_SETTINGS;
}

/* How many a new connection gets before it has answered any. */
static unsigned h2_first(const struct peer *peer)
{
	uint64_t until = atomic_load_explicit(&peer->liked_until_ms, memory_order_relaxed);
	unsigned n = h2_expected(peer);

	return io_now_ms() < until
		       ? MIN_OF(atomic_load_explicit(&peer->liked, memory_order_relaxed), n)
		       : n;
}

static void h2_upconn_limits(struct h2_upconn *c, const struct group *g)
{
	c->keepalive = (unsigned)MAX_OF(g->keepalive, 0);
	c->keepalive_requests = g->keepalive_requests;
	c->keepalive_time_ms = (uint64_t)g->keepalive_time_ms;
	c->keepalive_timeout_ms = (uint64_t)g->keepalive_timeout_ms;
}

/* u is the new connection's, or dropped. */
static struct h2_upconn *h2_upconn_new(struct upconn *u, const struct pick *p, uint64_t identity)
{
	struct h2_upconn *c = mem_zalloc(sizeof(*c));

	if (!c || !h2_session_new(c)) {
		mem_free(c);
		upconn_drop(u);
		return NULL;
	}
	c->u = u;
	c->identity = identity;
	c->heard_ms = io_now_ms();
	c->limit = h2_expected(u->peer);
	c->first = h2_first(u->peer);
	c->first_until_ms = atomic_load_explicit(&u->peer->liked_until_ms, memory_order_relaxed);
	u->requests = 0;
	h2_frames_init(&c->frames, 0);
	list_init(&c->streams);
	list_init(&c->idle);
	io_turn_end_init(&c->flush, h2_upconn_turn);
	timer_init(&c->timer, h2_upconn_timer);
	h2_watch_init(c);
	list_push_front(&h2.all, &c->link);
	h2.count++;
	h2_upconn_limits(c, p->group);
	u->stream.owner = c;
	u->stream.io.parked = h2_upconn_event;
	u->stream.io.parked_writes = true;
	if (iofd_register(&u->stream.io) < 0) {
		h2_upconn_free(c);
		return NULL;
	}
	h2_upconn_arm(c);
	return c;
}

/* ---- finding ---- */

/* What it may have at once. Where connections end early, each answer allows one more; where streams
 * are refused, it may have turned out meanwhile that they should be fewer. */
static unsigned h2_upconn_limit(const struct h2_upconn *c)
{
	bool ends = atomic_load_explicit(&c->u->peer->ends, memory_order_relaxed);

	if (io_now_ms() >= c->first_until_ms)
		return c->limit;
	return MIN_OF(c->limit,
		      ends ? c->first + c->answered : MIN_OF(c->first, h2_first(c->u->peer)));
}

static bool h2_upconn_has_room(const struct h2_upconn *c)
{
	return !c->draining && !c->deaf && !c->silent && c->broken == FAIL_OK &&
	       c->nstreams < h2_upconn_limit(c) && c->u->requests < c->keepalive_requests &&
	       io_now_ms() - c->u->opened_ms <= c->keepalive_time_ms &&
	       nghttp2_session_check_request_allowed(c->session);
}

static struct h2_upconn *h2_upconn_find(const struct peer *peer, uint64_t identity)
{
	struct list *l;

	list_each (l, &h2.all) {
		struct h2_upconn *c = CONTAINER_OF(l, struct h2_upconn, link);

		if (c->u->peer == peer && c->identity == identity && h2_upconn_has_room(c))
			return c;
	}
	return NULL;
}

static struct h2_pending *h2_pending_find(const struct peer *peer, uint64_t identity)
{
	struct list *l;

	list_each (l, &h2.pending) {
		struct h2_pending *p = CONTAINER_OF(l, struct h2_pending, link);

		if (p->peer == peer && p->identity == identity && p->nwaiting + 1 < h2_first(peer))
			return p;
	}
	return NULL;
}

static void h2_upconn_join(struct h2_upconn *c, struct h2_stream *st, const struct group *g)
{
	h2_upconn_limits(c, g);
	st->conn = c;
	st->reused = c->served;
	st->arrived_ms = io_now_ms();
	list_push(&c->streams, &st->link);
	c->nstreams++;
	h2.nstreams++;
	c->u->requests++;
	h2_watch_start(c);
	h2_upconn_arm(c); /* it is idle no more */
}

/* Which protocol a new connection speaks. Needs no memory: a wrong guess would be HTTP/1 to a
 * server that was promised HTTP/2. */
static bool h2_was_chosen(struct upconn *u, bool only)
{
	if (!u->tls)
		return only;
	return tls_alpn_is(&u->stream, SPAN("h2")) || (only && tls_alpn_is(&u->stream, SPAN("")));
}

static MAY_SUSPEND enum fail h2_connect(struct pick *p, struct upconn_want *w, bool only,
					struct h2_upconn **out, struct upconn **plain,
					int64_t *connect_us)
{
	struct peer *peer = p->member->peer;
	enum fail f = upconn_take(p, w, plain, connect_us);
	struct upconn *u = *plain;
	bool chosen;

	if (f != FAIL_OK || u->reused)
		return f;
	chosen = h2_was_chosen(u, only);
	atomic_store_explicit(&peer->speaks, chosen ? PEER_SPEAKS_H2 : PEER_SPEAKS_HTTP1,
			      memory_order_relaxed);
	if (!chosen && !only)
		return FAIL_OK;
	*plain = NULL;
	if (!chosen) {
		upconn_drop(u);
		return FAIL_UPSTREAM_H2;
	}
	*out = h2_upconn_new(u, p, w->identity);
	return *out ? FAIL_OK : FAIL_NO_MEMORY;
}

/* What the log says of it; the text is the other request's. */
static void h2_pending_tell(struct h2_pending *mine, const struct pick *p)
{
	while (!list_empty(&mine->picks)) {
		struct h2_waiter *w = CONTAINER_OF(mine->picks.next, struct h2_waiter, link);

		w->pick->sys_err = p->sys_err;
		w->pick->handshaking = p->handshaking;
		if (w->pick->req)
			w->pick->tls_error = arena_dup(&w->pick->req->arena, p->tls_error);
		list_del(&w->link);
	}
}

static MAY_SUSPEND enum fail h2_pending_wait(struct h2_pending *other, struct pick *p,
					     uint64_t deadline)
{
	struct h2_waiter mine = {.pick = p};
	int rc;

	other->nwaiting++;
	list_push(&other->picks, &mine.link);
	rc = co_waitq_wait(&other->waiters, deadline);
	if (!list_empty(&mine.link)) /* otherwise it is gone */
		p->handshaking = other->pick->handshaking;
	list_del(&mine.link);
	if (rc < 0)
		return rc == -ECANCELED ? FAIL_CANCELLED : FAIL_UPSTREAM_CONNECT_TIMEOUT;
	return (enum fail)rc;
}

/* Connects while others may wait for the outcome. */
static MAY_SUSPEND enum fail h2_connect_for_all(struct pick *p, struct upconn_want *w, bool only,
						struct h2_upconn **out, struct upconn **plain,
						int64_t *connect_us)
{
	struct h2_pending mine = {.peer = p->member->peer, .identity = w->identity, .pick = p};
	enum fail f;

	co_waitq_init(&mine.waiters);
	list_init(&mine.picks);
	list_push(&h2.pending, &mine.link);
	f = h2_connect(p, w, only, out, plain, connect_us);
	list_del(&mine.link);
	h2_pending_tell(&mine, p);
	co_waitq_wake_all(&mine.waiters, fail_whose(f) == 'S' ? (int)f : FAIL_OK);
	return f;
}

enum fail h2_upconn_take(struct pick *p, struct upconn_want *w, bool only, struct h2_stream *st,
			 struct upconn **plain, int64_t *connect_us)
{
	struct peer *peer = p->member->peer;
	uint64_t deadline = io_after(w->connect_timeout_ms);

	*plain = NULL;
	*connect_us = 0;
	p->sys_err = 0;
	if (!h2_ready())
		return FAIL_NO_MEMORY;
	for (;;) {
		struct h2_upconn *c = h2_upconn_find(peer, w->identity);
		bool http1 = !only && atomic_load_explicit(&peer->speaks, memory_order_relaxed) ==
					      PEER_SPEAKS_HTTP1;
		struct h2_pending *other = h2_pending_find(peer, w->identity);
		enum fail f = FAIL_OK;

		if (!c && (http1 || !other)) {
			w->fresh |= !http1;
			f = http1 ? h2_connect(p, w, only, &c, plain, connect_us)
				  : h2_connect_for_all(p, w, only, &c, plain, connect_us);
			if (f != FAIL_OK || *plain)
				return f;
		}
		if (c) {
			h2_upconn_join(c, st, p->group);
			return FAIL_OK;
		}
		f = h2_pending_wait(other, p, deadline);
		if (f != FAIL_OK)
			return f;
	}
}
