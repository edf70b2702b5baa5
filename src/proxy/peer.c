/* The registries of peers and of group states: what outlives snapshots. One lock for both; nobody
 * takes a group's lock under it. */
#include "base/pool.h"
#include "io/loop.h"
#include "proxy/group.h"

#define IDS_MAX (1u << 20)

/* Small numbers, the lowest free one first. */
struct ids {
	uint64_t *used; /* bitmap */
	unsigned words, hint;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hash states, peers;
static struct ids state_ids, peer_ids;

static bool id_take(struct ids *ids, unsigned *id)
{
	unsigned w = ids->hint;

	while (w < ids->words && ids->used[w] == UINT64_MAX)
		w++;
	ids->hint = w;
	if (w == ids->words) {
		unsigned words = w ? 2 * w : 4;
		uint64_t *used =
			words * 64 <= IDS_MAX ? mem_resize(ids->used, words * sizeof(*used)) : NULL;

		if (!used)
			return false;
		memset(used + w, 0, (words - w) * sizeof(*used));
		ids->used = used;
		ids->words = words;
	}
	*id = w * 64 + (unsigned)__builtin_ctzll(~ids->used[w]);
	ids->used[w] |= (uint64_t)1 << (*id % 64);
	return true;
}

/* The last one frees the bitmap, so that nothing is left when all is given back. */
static void id_give(struct ids *ids, unsigned id, const struct hash *left)
{
	ids->used[id / 64] &= ~((uint64_t)1 << (id % 64));
	ids->hint = MIN_OF(ids->hint, id / 64);
	if (left->count == 0) {
		mem_free(ids->used);
		*ids = (struct ids){NULL, 0, 0};
	}
}

static void table_remove(struct hash *h, struct hash_node *n)
{
	hash_remove(h, n);
	if (h->count == 0) {
		hash_fini(h);
		hash_init(h);
	}
}

/* ---- states ---- */

static struct group_state *state_find(struct span name, uint64_t hash)
{
	for (struct hash_node *n = hash_first(&states, hash); n; n = hash_next(n)) {
		struct group_state *s = CONTAINER_OF(n, struct group_state, node);

		if (span_eq(s->name, name))
			return s;
	}
	return NULL;
}

/* Spins a little before it sleeps: the lock is held for nanoseconds. */
static void lock_init(pthread_mutex_t *m)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(m, &attr);
	pthread_mutexattr_destroy(&attr);
}

static struct group_state *state_make(struct span name, uint64_t hash)
{
	struct group_state *s = mem_zalloc(sizeof(*s) + name.n + 1);

	if (!s)
		return NULL;
	if (name.n)
		memcpy(s + 1, name.p, name.n);
	s->name = span_make(s + 1, name.n);
	if (!id_take(&state_ids, &s->id)) {
		mem_free(s);
		return NULL;
	}
	if (!hash_insert(&states, &s->node, hash)) {
		id_give(&state_ids, s->id, &states);
		mem_free(s);
		return NULL;
	}
	lock_init(&s->lock);
	return s;
}

struct group_state *group_state_ref_of(struct span name)
{
	uint64_t hash = hash_bytes(name.p, name.n);
	struct group_state *s;

	pthread_mutex_lock(&registry_lock);
	s = state_find(name, hash);
	if (!s)
		s = state_make(name, hash);
	if (s)
		s->refs++;
	pthread_mutex_unlock(&registry_lock);
	return s;
}

static void state_unref_locked(struct group_state *s)
{
	BUG_ON(s->refs == 0);
	if (--s->refs)
		return;
	table_remove(&states, &s->node);
	id_give(&state_ids, s->id, &states);
	pthread_mutex_destroy(&s->lock);
	mem_free(s);
}

void group_state_unref(struct group_state *s)
{
	pthread_mutex_lock(&registry_lock);
	state_unref_locked(s);
	pthread_mutex_unlock(&registry_lock);
}

/* ---- peers ---- */

static uint64_t peer_hash(const struct group_state *s, struct span text, unsigned nth)
{
	return hash_bytes(text.p, text.n) ^ ((uint64_t)s->id << 32) ^ nth;
}

static struct peer *peer_find(const struct group_state *s, struct span text, unsigned nth,
			      uint64_t hash)
{
	for (struct hash_node *n = hash_first(&peers, hash); n; n = hash_next(n)) {
		struct peer *p = CONTAINER_OF(n, struct peer, node);

		if (p->state == s && p->nth == nth && span_eq(p->name, text))
			return p;
	}
	return NULL;
}

static struct peer *peer_make(struct group_state *s, const struct net_addr *addr, struct span text,
			      unsigned nth, uint64_t hash)
{
	struct peer *p = mem_zalloc(sizeof(*p) + text.n + 1);

	if (!p)
		return NULL;
	memcpy(p + 1, text.p, text.n);
	p->name = span_make(p + 1, text.n);
	p->group = s->name;
	p->state = s;
	p->addr = *addr;
	p->nth = nth;
	if (!id_take(&peer_ids, &p->id)) {
		mem_free(p);
		return NULL;
	}
	if (!hash_insert(&peers, &p->node, hash)) {
		id_give(&peer_ids, p->id, &peers);
		mem_free(p);
		return NULL;
	}
	s->refs++;
	return p;
}

struct peer *peer_ref_of(struct group_state *s, const struct net_addr *addr, unsigned nth)
{
	char buf[ADDR_TEXT_MAX];
	struct span text = {buf, addr_format(&addr->sa, true, buf, sizeof(buf))};
	uint64_t hash = peer_hash(s, text, nth);
	struct peer *p;

	pthread_mutex_lock(&registry_lock);
	p = peer_find(s, text, nth, hash);
	if (!p)
		p = peer_make(s, addr, text, nth, hash);
	if (p)
		atomic_fetch_add(&p->refs, 1);
	pthread_mutex_unlock(&registry_lock);
	return p;
}

void peer_ref(struct peer *p)
{
	BUG_ON(atomic_fetch_add(&p->refs, 1) == 0);
}

/* The last reference goes under the lock, where no other can be made. */
void peer_unref(struct peer *p)
{
	unsigned refs = atomic_load(&p->refs);

	while (refs > 1)
		if (atomic_compare_exchange_weak(&p->refs, &refs, refs - 1))
			return;
	pthread_mutex_lock(&registry_lock);
	refs = atomic_fetch_sub(&p->refs, 1);
	BUG_ON(refs == 0);
	if (refs == 1) {
		table_remove(&peers, &p->node);
		id_give(&peer_ids, p->id, &peers);
		state_unref_locked(p->state);
		mem_free(p);
	}
	pthread_mutex_unlock(&registry_lock);
}

void peers_each(void (*fn)(struct peer *p, void *arg), void *arg)
{
	struct hash_node *n;

	pthread_mutex_lock(&registry_lock);
	HASH_EACH (n, &peers)
		fn(CONTAINER_OF(n, struct peer, node), arg);
	pthread_mutex_unlock(&registry_lock);
}
