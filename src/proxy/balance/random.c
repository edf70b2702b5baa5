/* random: by weight; with `two` the one of two that has fewer connections per unit of weight. */
#include "io/loop.h"
#include "proxy/balance/weighted.h"

static struct group_member *draw(struct group *g)
{
	return member_at_weight(g, io_rand64() % (uint64_t)g->total_weight);
}

static struct group_member *less_loaded(struct group_member *now, struct group_member *before)
{
	uint64_t x = (uint64_t)atomic_load(&now->peer->active) * (uint64_t)before->weight;
	uint64_t y = (uint64_t)atomic_load(&before->peer->active) * (uint64_t)now->weight;

	return x > y ? before : now;
}

static int choose(struct group *g, struct pick *p)
{
	struct group_member *first = NULL;
	uint64_t now = co_sched.now_ms;

	if (leave_to_round_robin(g, p))
		return balance_round_robin_choose(g, p);
	for (;;) {
		struct group_member *m = draw(g);

		if (m != first && pick_usable(p, m, now)) {
			if (first)
				m = less_loaded(m, first);
			if (first || !g->random_two)
				return (int)(m - g->members);
			first = m;
		} else if (++p->hash_tries > HASH_TRIES_MAX) {
			return balance_round_robin_choose(g, p);
		}
	}
}

const struct balancer balance_random = {"random", NULL, NULL, choose};
