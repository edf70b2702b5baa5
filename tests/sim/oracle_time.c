#include "oracle_time.h"
#include "client.h"

/* now lies between `early` before and `late` after the moment at which timeout_ms since `since`
 * end. */
static void time_check(struct client *c, const char *what, uint64_t since, unsigned timeout_ms)
{
	uint64_t due = since + timeout_ms * 1000ull, now = sim_now_us();
	uint64_t early = 3 * world_latency_us() + 2000 +
			 world.slack_us, /* bytes may wait for room on their way */
		late = 2 * world_latency_us() + 2000 + world.slack_us;

	if (now + early < due)
		sim_broken("deadline", "client %u: %s came %llu ms too early", c->index, what,
			   (unsigned long long)(due - now) / 1000);
	if (now > due + late)
		sim_broken("deadline", "client %u: %s came %llu ms too late", c->index, what,
			   (unsigned long long)(now - due) / 1000);
}

void time_check_answer(struct client *c, struct ask *a)
{
	const struct ask_try *t = &a->tries[0];

	if (world.hangs && a->got_status == 504)
		time_check(c, "proxy_connect_timeout", a->sent_us, world.setup.connect_timeout);
	if (world.destructive || world.ending || !a->own)
		return;
	if (a->got_status == 408 && c->silent)
		time_check(c, "client_body_timeout", c->last_sent_us, world.setup.body_timeout);
	if (a->got_status == 504 && a->ntries == 1 && t->hung && t->read_us && a->upload < 1000 &&
	    !c->rstep && !c->tunnelled)
		time_check(c, "proxy_read_timeout", t->read_us, world.setup.read_timeout);
}

void time_check_close(struct client *c)
{
	if (!c->silent || world.destructive || world.ending || c->port != PORT_PLAIN)
		return;
	if (c->sent == 0)
		time_check(c, "client_header_timeout of a fresh connection", c->connected_us,
			   world.setup.header_timeout);
	else if (c->nasks && c->reading == c->nasks && c->sending == c->nasks && !c->closes)
		time_check(c, "keepalive_timeout", c->answered_us, world.setup.keepalive_timeout);
	else if (c->nasks && c->reading == 0 && c->feed_ready && !feed_past_head(&c->feed))
		time_check(c, "client_header_timeout", c->last_sent_us, world.setup.header_timeout);
}
