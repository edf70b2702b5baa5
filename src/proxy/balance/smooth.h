/* One step of smooth weighted round robin, which several balancers end in. */
#pragma once
#include "proxy/group.h"

/* A candidate's weight grows by its effective weight, which recovers by one. */
static inline void smooth_step(struct group_member *m, int *total)
{
	struct peer *p = m->peer;
	int effective = m->weight - MIN_OF(p->penalty, m->weight);

	p->current_weight += effective;
	*total += effective;
	if (p->penalty > 0)
		p->penalty--;
}
