/* HTTP/2 connections to servers: is the server still there? One that vanished without a word (a
 * machine that lost its power, a firewall that forgot the connection) would get requests until TCP
 * gives up, a quarter of an hour later.
 *
 * PING is sent ahead of a request on a connection that has been quiet, and when requests wait on
 * one that has become so. When nothing is heard for H2_PING_MS then, the connection gets no more
 * requests; and it is given up when TCP, too, gets no acknowledgement: a server that is merely busy
 * gives them, and whatever waits for it has time-outs of its own.
 *
 * Servers of gRPC take PINGs for abuse when they come often while no stream says anything (more
 * than two within five minutes, unless told otherwise): hence the pauses. */
#include "base/mutant.h"
#include "io/loop.h"
#include "proxy/h2_upconn_int.h"

#define H2_QUIET_MS   10000 /* nothing heard for so long: PING */
#define H2_PING_MS    10000 /* time for something to come then */
#define H2_PINGS_FAST 2	    /* without a word about a stream; then one each */
#define H2_PINGS_MS   310000

/* When the next PING may be sent, as far as the server's patience is concerned. */
static uint64_t h2_ping_may(const struct h2_upconn *c)
{
	return c->pings < H2_PINGS_FAST ? 0 : c->pinged_ms + H2_PINGS_MS;
}

static void h2_ping(struct h2_upconn *c)
{
	if (MUTANT(no_ping))
		c->pinged_ms = io_now_ms();
	if (MUTANT(no_ping) || nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL) < 0)
		return;
	c->pinging = true;
	c->pinged_ms = io_now_ms();
	c->pings += c->pings < H2_PINGS_FAST;
	h2_upconn_arm(c);
}

/* When there is something to decide. */
static uint64_t h2_watch_due(const struct h2_upconn *c)
{
	uint64_t since = MAX_OF(c->heard_ms, c->pinged_ms);

	if (c->pinging)
		return c->pinged_ms + H2_PING_MS;
	return MAX_OF(since + (H2_QUIET_MS << c->pings), h2_ping_may(c));
}

static void h2_watch_unanswered(struct h2_upconn *c)
{
	c->silent = true;
	if (stream_peer_vanished(&c->u->stream))
		c->broken = FAIL_UPSTREAM_SILENT;
	h2_upconn_settle(c);
}

static void h2_watch_fire(struct timer *t)
{
	struct h2_upconn *c = CONTAINER_OF(t, struct h2_upconn, watch);
	uint64_t now = io_now_ms();

	if (!c->nstreams && !c->pinging)
		return; /* the next request starts it again */
	if (now < h2_watch_due(c)) {
		timer_start(&co_sched.wheel, t, h2_watch_due(c));
	} else if (!c->pinging) {
		h2_ping(c);
		timer_start(&co_sched.wheel, t, h2_watch_due(c));
	} else {
		timer_start(&co_sched.wheel, t, now + H2_PING_MS);
		h2_watch_unanswered(c); /* it may be gone now */
	}
}

void h2_watch_init(struct h2_upconn *c)
{
	timer_init(&c->watch, h2_watch_fire);
}

void h2_watch_start(struct h2_upconn *c)
{
	uint64_t now = io_now_ms();

	if (!c->pinging && now >= c->heard_ms + H2_QUIET_MS && now >= h2_ping_may(c)) {
		h2_ping(c);
		timer_start(&co_sched.wheel, &c->watch, h2_watch_due(c));
	} else if (!timer_pending(&c->watch)) {
		timer_start(&co_sched.wheel, &c->watch, h2_watch_due(c));
	}
}

void h2_watch_heard(struct h2_upconn *c)
{
	c->heard_ms = io_now_ms();
	c->pinging = c->silent = false;
}
