#include "oracle_time.h"
#include "client.h"

/* now lies between `early` before and `late` after the moment at which timeout_ms since `since`
 * end; of a time-out that began between two moments, the first counts for early. */
static void time_check_span(unsigned client, const char *what, uint64_t since, uint64_t until,
			    unsigned timeout_ms)
{
	uint64_t due = since + timeout_ms * 1000ull, now = sim_now_us();
	uint64_t early = 3 * world_latency_us() + 2000 +
			 world.slack_us, /* bytes may wait for room on their way */
		late = until - since + 2 * world_latency_us() + 2000 + world.slack_us;

	if (now + early < due)
		sim_broken("deadline", "client %u: %s came %llu ms too early", client, what,
			   (unsigned long long)(due - now) / 1000);
	if (now > due + late)
		sim_broken("deadline", "client %u: %s came %llu ms too late", client, what,
			   (unsigned long long)(now - due) / 1000);
}

static void time_check(unsigned client, const char *what, uint64_t since, unsigned timeout_ms)
{
	time_check_span(client, what, since, since, timeout_ms);
}

/* A server stopped reading: what it had room for went on for a moment, and the client may have sent
 * the rest later. */
#define ROOM_US 20000

static void time_check_stuck(const struct ask *a, unsigned client)
{
	const struct ask_try *t = &a->tries[0];

	if (a->got_status == 504 && a->ntries == 1 && t->stuck_us && !t->whole && a->sent)
		time_check_span(client, "proxy_send_timeout", t->stuck_us,
				MAX_OF(t->stuck_us + ROOM_US, a->sent_us),
				world.setup.proxy_send_timeout);
}

void time_check_answer(struct client *c, struct ask *a)
{
	const struct ask_try *t = &a->tries[0];

	if (world.hangs && a->got_status == 504)
		time_check(c->index, "proxy_connect_timeout", a->sent_us,
			   world.setup.connect_timeout);
	if (world.destructive || world.ending || !a->own)
		return;
	if (!c->rstep)
		time_check_stuck(a, c->index);
	if (a->got_status == 408 && c->silent)
		time_check(c->index, "client_body_timeout", c->last_sent_us,
			   world.setup.body_timeout);
	if (a->got_status == 504 && a->ntries == 1 && t->hung && t->read_us && a->upload < 1000 &&
	    !c->rstep && !c->tunnelled)
		time_check(c->index, "proxy_read_timeout", t->read_us, world.setup.read_timeout);
}

void time_check_close(struct client *c)
{
	if (!c->silent || world.destructive || world.ending || c->port != PORT_PLAIN)
		return;
	if (c->sent == 0)
		time_check(c->index, "client_header_timeout of a fresh connection", c->connected_us,
			   world.setup.header_timeout);
	else if (c->nasks && c->reading == c->nasks && c->sending == c->nasks && !c->closes)
		time_check(c->index, "keepalive_timeout", c->answered_us,
			   world.setup.keepalive_timeout);
	else if (c->nasks && c->reading == 0 && c->feed_ready && !feed_past_head(&c->feed))
		time_check(c->index, "client_header_timeout", c->last_sent_us,
			   world.setup.header_timeout);
}

void time_check_tunnel(struct client *c)
{
	uint64_t last = MAX_OF(c->last_sent_us, c->last_got_us);

	/* what the client has sent last may have waited on its way */
	if (!world.destructive && !world.ending)
		time_check_span(c->index, "the time-out of a tunnel", last, last + 200000,
				world.setup.read_timeout);
}

void time_check_stream(struct ask *a, unsigned client, bool slow)
{
	const struct ask_try *t = &a->tries[0];

	if (world.destructive || world.ending || !a->own || slow)
		return;
	time_check_stuck(a, client);
	if (a->got_status == 504 && a->ntries == 1 && t->hung && t->read_us && a->upload < 1000)
		time_check(client, "proxy_read_timeout", t->read_us, world.setup.read_timeout);
}

/* For so long a client that says nothing to the first GOAWAY is waited for. */
#define NOTICE_US 1000000

void time_check_idle(unsigned client, uint64_t asked, uint64_t answered, unsigned requests)
{
	if (world.destructive || world.ending || requests >= world.setup.keepalive_requests)
		return;
	time_check_span(client, "keepalive_timeout", asked, answered + NOTICE_US,
			world.setup.keepalive_timeout);
}

/* worker_shutdown_timeout, or a hurry, ends whatever is still there. A loop looks at its clock once
 * a turn, and what is told to end has it in the next ones. */
#define END_US 5000

void time_check_end(uint64_t began_us, unsigned timeout_ms)
{
	uint64_t due = began_us + timeout_ms * 1000ull + END_US + world.slack_us;

	if (timeout_ms && sim_now_us() > due)
		sim_broken("deadline", "worker_shutdown_timeout: a thread ended %llu ms late",
			   (unsigned long long)(sim_now_us() - due + END_US) / 1000);
}
