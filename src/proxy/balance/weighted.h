/* What the balancers share that map a number to a member: places on a line as long as the weights.
 */
#pragma once
#include "proxy/group.h"

#define HASH_TRIES_MAX 20 /* then round robin, as in nginx */

/* The member of the first tier at w, 0 <= w < g->total_weight. */
static inline struct group_member *member_at_weight(struct group *g, uint64_t w)
{
	for (size_t i = 0; i < g->nmembers; i++) {
		struct group_member *m = &g->members[i];

		if (m->backup || !m->peer || m->gone)
			continue;
		if (w < (uint64_t)m->weight)
			return m;
		w -= (uint64_t)m->weight;
	}
	BUG_ON("weight beyond the last member");
	return NULL;
}

/* These balancers know only the first tier, and have nothing to choose from one member. */
static inline bool leave_to_round_robin(const struct group *g, const struct pick *p)
{
	return p->hash_tries > HASH_TRIES_MAX || g->single || p->on_backup || g->total_weight == 0;
}
