#include "vanish.h"
#include <stdlib.h>
#include "base/bug.h"
#include "world.h"

struct vanished {
	struct vanish_plan plan;
	uint64_t at_us;
};
static unsigned nvanished, nleft;
static uint64_t last_us;

static void vanished_left(void *arg)
{
	struct vanished *v = arg;
	uint64_t now = sim_now_us(), slack = 4 * world_latency_us() + 3000 + world.slack_us,
		 from = v->at_us + v->plan.min_ms * 1000ull,
		 to = v->at_us + v->plan.max_ms * 1000ull;

	nleft++;
	sim_note("%s: who had vanished is left after %llu ms", v->plan.what,
		 (unsigned long long)(now - v->at_us) / 1000);
	if (!world.ending && !world.destructive && now + slack < from)
		sim_broken("deadline", "%s of a peer that vanished came %llu ms too early",
			   v->plan.what, (unsigned long long)(from - now) / 1000);
	if (!world.ending && !world.destructive && now > to + slack)
		sim_broken("deadline", "%s of a peer that vanished came %llu ms too late",
			   v->plan.what, (unsigned long long)(now - to) / 1000);
	free(v);
}

void vanish(struct sim_conn *c, const struct vanish_plan *p)
{
	struct vanished *v = calloc(1, sizeof(*v));

	BUG_ON(!v || !p->what);
	*v = (struct vanished){.plan = *p, .at_us = sim_now_us()};
	nvanished++;
	last_us = sim_now_us();
	sim_conn_vanish(c, vanished_left, v);
}

unsigned vanished_count(unsigned *left)
{
	*left = nleft;
	return nvanished;
}

uint64_t vanished_last_us(void)
{
	return last_us;
}
