/* Smooth weighted round robin, in nginx's order. Every candidate gains its effective weight, the
 * heaviest is chosen (the first of equals) and pays the sum. */
#include "proxy/balance/smooth.h"

int balance_round_robin_choose(struct group *g, struct pick *p)
{
	uint64_t now = co_sched.now_ms;
	struct group_member *best = NULL;
	int total = 0;

	for (size_t i = 0; i < g->nmembers; i++) {
		struct group_member *m = &g->members[i];

		if (!pick_usable(p, m, now))
			continue;
		smooth_step(m, &total);
		if (!best || m->peer->current_weight > best->peer->current_weight)
			best = m;
	}
	if (!best)
		return -1;
	best->peer->current_weight -= total;
	return (int)(best - g->members);
}

const struct balancer balance_round_robin = {"round_robin", NULL, NULL, balance_round_robin_choose};
