/* least_conn: the fewest connections per unit of weight; among equals smooth weighted round robin.
 */
#include "proxy/balance/smooth.h"

/* Connections of a per weight against those of b: <0, 0, >0. */
static int load_cmp(const struct group_member *a, const struct group_member *b)
{
	uint64_t x = (uint64_t)atomic_load_explicit(&a->peer->active, memory_order_relaxed) *
		     (uint64_t)b->weight;
	uint64_t y = (uint64_t)atomic_load_explicit(&b->peer->active, memory_order_relaxed) *
		     (uint64_t)a->weight;

	return (x > y) - (x < y);
}

/* Round robin among those that carry as little as best, which is the first of them. */
static struct group_member *choose_equal(struct group *g, struct pick *p, struct group_member *best,
					 uint64_t now)
{
	int total = 0;

	for (struct group_member *m = best; m < g->members + g->nmembers; m++) {
		if (!pick_usable(p, m, now) || load_cmp(m, best) != 0)
			continue;
		smooth_step(m, &total);
		if (m->peer->current_weight > best->peer->current_weight)
			best = m;
	}
	best->peer->current_weight -= total;
	return best;
}

static int choose(struct group *g, struct pick *p)
{
	uint64_t now = co_sched.now_ms;
	struct group_member *best = NULL;
	bool many = false;

	if (g->single)
		return balance_round_robin_choose(g, p);
	for (size_t i = 0; i < g->nmembers; i++) {
		struct group_member *m = &g->members[i];
		int cmp;

		if (!pick_usable(p, m, now))
			continue;
		cmp = best ? load_cmp(m, best) : -1;
		if (cmp < 0) {
			best = m;
			many = false;
		} else if (cmp == 0) {
			many = true;
		}
	}
	if (!best)
		return -1;
	if (many)
		best = choose_equal(g, p, best, now);
	return (int)(best - g->members);
}

const struct balancer balance_least_conn = {"least_conn", NULL, NULL, choose};
