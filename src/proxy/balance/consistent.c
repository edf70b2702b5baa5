/* hash KEY consistent: ketama. Each server (not: each of its addresses) has 160 points per unit of
 * weight on a ring; a point is the CRC-32 of "host", a zero, "port" and the four bytes of the
 * server's previous point, as in Cache::Memcached::Fast. */
#include <stdlib.h>
#include <zlib.h>
#include "proxy/balance/smooth.h"
#include "proxy/balance/weighted.h"

#define POINTS_PER_WEIGHT 160

struct ring_point {
	uint32_t hash, server_no;
};

struct ring {
	size_t npoints;
	struct ring_point points[];
};

/* Digits behind the last colon are the port, even when the host is IPv6. */
static void split_server(struct span text, struct span *host, struct span *port)
{
	size_t at = text.n;

	*host = text;
	*port = SPAN("");
	if (span_starts_nocase(text, SPAN("unix:"))) {
		*host = span_cut(text, 5, text.n);
		return;
	}
	while (at > 0 && text.p[at - 1] >= '0' && text.p[at - 1] <= '9')
		at--;
	if (at > 0 && text.p[at - 1] == ':') {
		*host = span_cut(text, 0, at - 1);
		*port = span_cut(text, at, text.n);
	}
}

static size_t add_points(struct ring_point *out, const struct group_server *s)
{
	size_t n = (size_t)s->proto.weight * POINTS_PER_WEIGHT;
	struct span host, port;
	uint8_t prev[4] = {0};
	uint32_t base;

	split_server(s->text, &host, &port);
	base = (uint32_t)crc32(0, (const Bytef *)host.p, (uInt)host.n);
	base = (uint32_t)crc32(base, (const Bytef *)"", 1);
	if (port.n)
		base = (uint32_t)crc32(base, (const Bytef *)port.p, (uInt)port.n);
	for (size_t i = 0; i < n; i++) {
		uint32_t hash = (uint32_t)crc32(base, prev, sizeof(prev));

		out[i] = (struct ring_point){hash, s->same_as};
		for (unsigned b = 0; b < 4; b++)
			prev[b] = (uint8_t)(hash >> (8 * b));
	}
	return n;
}

/* Equal points: the server that comes first in the file has it. */
static int point_cmp(const void *a, const void *b)
{
	const struct ring_point *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return (x->server_no > y->server_no) - (x->server_no < y->server_no);
}

static int init(struct conf_call *c, struct group *g)
{
	struct ring *ring;
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < g->nservers; i++)
		n += g->servers[i].proto.backup
			     ? 0
			     : (size_t)g->servers[i].proto.weight * POINTS_PER_WEIGHT;
	ring = arena_alloc(c->ctx->arena, sizeof(*ring) + (n + 1) * sizeof(ring->points[0]));
	if (!ring)
		return conf_error(c, 0, "out of memory");
	n = 0;
	for (size_t i = 0; i < g->nservers; i++)
		if (!g->servers[i].proto.backup)
			n += add_points(ring->points + n, &g->servers[i]);
	qsort(ring->points, n, sizeof(ring->points[0]), point_cmp);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || ring->points[kept - 1].hash != ring->points[i].hash)
			ring->points[kept++] = ring->points[i];
	ring->npoints = kept;
	g->balancer_data = ring;
	return CONF_OK;
}

/* The first point at or behind hash. */
static size_t point_find(const struct ring *ring, uint32_t hash)
{
	size_t lo = 0, hi = ring->npoints;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ring->points[mid].hash < hash)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void start(struct group *g, struct pick *p)
{
	if (p->req)
		p->hash_key = tmpl_eval(g->hash_key, &p->req->vars);
}

/* Round robin among the server's addresses. */
static struct group_member *choose_of_server(struct group *g, struct pick *p, unsigned server_no,
					     uint64_t now)
{
	struct group_member *best = NULL;
	int total = 0;

	for (size_t i = 0; i < g->nmembers; i++) {
		struct group_member *m = &g->members[i];

		if (m->server_no != server_no || !pick_usable(p, m, now))
			continue;
		smooth_step(m, &total);
		if (!best || m->peer->current_weight > best->peer->current_weight)
			best = m;
	}
	if (best)
		best->peer->current_weight -= total;
	return best;
}

static int choose(struct group *g, struct pick *p)
{
	const struct ring *ring = g->balancer_data;
	uint64_t now = co_sched.now_ms;

	if (leave_to_round_robin(g, p) || p->hash_key.n == 0 || ring->npoints == 0)
		return balance_round_robin_choose(g, p);
	if (p->rehash++ == 0)
		p->hash_point = point_find(ring, (uint32_t)crc32(0, (const Bytef *)p->hash_key.p,
								 (uInt)p->hash_key.n));
	for (;;) {
		const struct ring_point *point = &ring->points[p->hash_point % ring->npoints];
		struct group_member *m = choose_of_server(g, p, point->server_no, now);

		if (m)
			return (int)(m - g->members);
		p->hash_point++;
		if (++p->hash_tries > HASH_TRIES_MAX)
			return balance_round_robin_choose(g, p);
	}
}

const struct balancer balance_hash_consistent = {"hash consistent", start, init, choose};
