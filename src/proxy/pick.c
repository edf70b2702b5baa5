/* One request's way through a group: choosing a peer, and what its end means for the peer. nginx's
 * rules. */
#include "base/mutant.h"
#include "base/shared.h"
#include "io/loop.h"
#include "proxy/group.h"

bool pick_tried(const struct pick *p, size_t i)
{
	const uint64_t *bits = p->tried_more ? p->tried_more : p->tried;

	return bits[i / 64] >> (i % 64) & 1;
}

static void set_tried(struct pick *p, size_t i)
{
	uint64_t *bits = p->tried_more ? p->tried_more : p->tried;

	bits[i / 64] |= (uint64_t)1 << (i % 64);
	p->ntried++;
}

void pick_init(struct pick *p, struct group *g, struct req *r)
{
	*p = (struct pick){.group = g, .req = r};
	if (g->resolving)
		pthread_mutex_lock(&g->state->lock);
	p->tries_left = g->tries[0] + g->tries[1];
	if (g->resolving)
		pthread_mutex_unlock(&g->state->lock);
	if (g->balancer->start)
		g->balancer->start(g, p);
}

/* Failed too often, and not yet time for another attempt. */
static bool is_suspended(const struct group_member *m, uint64_t now_ms)
{
	const struct peer *peer = m->peer;

	if (m->max_fails == 0 ||
	    atomic_load_explicit(&peer->fails, memory_order_relaxed) < (unsigned)m->max_fails)
		return false;
	return now_ms - atomic_load_explicit(&peer->checked_ms, memory_order_relaxed) <=
	       (uint64_t)m->fail_timeout_ms;
}

static bool is_full(const struct group_member *m)
{
	return m->max_conns && atomic_load_explicit(&m->peer->active, memory_order_relaxed) >=
				       (unsigned)m->max_conns;
}

/* All but max_conns. */
static bool is_willing(const struct pick *p, const struct group_member *m, uint64_t now_ms)
{
	const struct group *g = p->group;

	if (!m->peer || m->gone || m->down || m->backup != p->on_backup ||
	    pick_tried(p, (size_t)(m - g->members)))
		return false;
	return g->single || !is_suspended(m, now_ms);
}

bool pick_usable(struct pick *p, struct group_member *m, uint64_t now_ms)
{
	return is_willing(p, m, now_ms) && !is_full(m);
}

static void chosen(struct pick *p, struct group_member *m, uint64_t now_ms)
{
	struct peer *peer = m->peer;

	if (now_ms - atomic_load_explicit(&peer->checked_ms, memory_order_relaxed) >
	    (uint64_t)m->fail_timeout_ms)
		atomic_store_explicit(&peer->checked_ms, now_ms, memory_order_relaxed);
	SHARED_ADD(&peer->requests, 1);
	set_tried(p, (size_t)(m - p->group->members));
	p->member = m;
}

/* Nothing to balance and nothing that can change: no lock. */
static enum fail pick_only(struct pick *p)
{
	struct group_member *m = &p->group->members[0];
	struct peer *peer = m->peer;

	if (m->down || pick_tried(p, 0))
		return FAIL_UPSTREAM_NO_LIVE;
	if (SHARED_ADD(&peer->active, 1) >= (unsigned)m->max_conns && m->max_conns) {
		SHARED_ADD(&peer->active, -1);
		return FAIL_UPSTREAM_BUSY;
	}
	chosen(p, m, co_sched.now_ms);
	return FAIL_OK;
}

/* Why there is none. With the lock held; on_backup says which tier was asked last. */
static enum fail why_none(struct pick *p)
{
	struct group *g = p->group;
	bool any = false;

	for (size_t i = 0; i < g->nmembers; i++) {
		struct group_member *m = &g->members[i];
		bool backup = p->on_backup, willing;

		any |= m->peer && !m->gone;
		p->on_backup = m->backup;
		willing = is_willing(p, m, co_sched.now_ms);
		p->on_backup = backup;
		if (willing)
			return FAIL_UPSTREAM_BUSY;
	}
	return any ? FAIL_UPSTREAM_NO_LIVE : FAIL_UPSTREAM_RESOLVE;
}

static enum fail pick_locked(struct pick *p)
{
	struct group *g = p->group;
	int i = g->balancer->choose(g, p);

	if (i < 0 && !p->on_backup && g->nbackup) {
		p->on_backup = true;
		i = g->balancer->choose(g, p);
	}
	if (i < 0)
		return why_none(p);
	BUG_ON((size_t)i >= g->nmembers || !g->members[i].peer);
	SHARED_ADD(&g->members[i].peer->active, 1);
	chosen(p, &g->members[i], co_sched.now_ms);
	return FAIL_OK;
}

enum fail pick_next(struct pick *p)
{
	struct group *g = p->group;
	enum fail f;

	BUG_ON(p->member);
	p->sys_err = 0;
	p->tls_error = SPAN("");
	p->handshaking = false;
	if (!g->resolving && g->single)
		return pick_only(p);
	if (g->nmembers > 64 * ARRAY_LEN(p->tried) && !p->tried_more) {
		p->tried_more =
			p->req ? arena_zalloc(&p->req->arena, (g->nmembers / 64 + 1) * 8) : NULL;
		if (!p->tried_more)
			return FAIL_NO_MEMORY;
	}
	pthread_mutex_lock(&g->state->lock);
	f = pick_locked(p);
	pthread_mutex_unlock(&g->state->lock);
	return f;
}

/* Counts a failure and takes weight away. True: that made it unusable for a while. */
static bool member_failed(struct group_member *m)
{
	struct peer *peer = m->peer;
	unsigned fails = atomic_fetch_add_explicit(&peer->fails, 1, memory_order_relaxed) + 1;
	uint64_t now = co_sched.now_ms;

	atomic_store_explicit(&peer->accessed_ms, now, memory_order_relaxed);
	atomic_store_explicit(&peer->checked_ms, now, memory_order_relaxed);
	if (m->max_fails == 0)
		return false;
	peer->penalty = MIN_OF(peer->penalty + m->weight / m->max_fails, m->weight);
	return fails >= (unsigned)m->max_fails;
}

/* An attempt that was chosen after the last failure went well: all is forgiven. */
static void member_passed(struct peer *peer)
{
	if (atomic_load_explicit(&peer->fails, memory_order_relaxed) &&
	    atomic_load_explicit(&peer->accessed_ms, memory_order_relaxed) <
		    atomic_load_explicit(&peer->checked_ms, memory_order_relaxed))
		atomic_store_explicit(&peer->fails, 0, memory_order_relaxed);
}

void pick_end(struct pick *p, bool failed)
{
	struct group_member *m = p->member;
	struct group *g = p->group;
	struct peer *peer = m->peer;
	bool only = !g->resolving && g->single, suspended = false;

	if (failed)
		atomic_fetch_add_explicit(&peer->failures, 1, memory_order_relaxed);
	if (failed && !only) {
		pthread_mutex_lock(&g->state->lock);
		if (!g->single)
			suspended = member_failed(m);
		pthread_mutex_unlock(&g->state->lock);
	} else if (!only) {
		member_passed(peer);
	}
	p->member = NULL;
	p->tries_left -= p->tries_left > 0;
	if (only)
		p->tries_left = 0;
	/* Last: without an attempt on it a peer that its name has no more may be freed. */
	BUG_ON(SHARED_ADD(&peer->active, MUTANT(peer_counter) && failed ? 0 : -1) == 0);
	BUG_ON(MUTANT(counted_twice) && failed && SHARED_ADD(&peer->active, -1) == 0);
	if (suspended && p->req)
		req_log(p->req, LOG_WARN, 0, "upstream server temporarily disabled");
}
