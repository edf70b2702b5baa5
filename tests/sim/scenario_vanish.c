/* Peers that are gone without a word. Whoever waits for them has a time-out; nothing of them stays.
 */
#include <stdio.h>
#include "client.h"
#include "h2_client.h"
#include "h2_server.h"
#include "scenarios.h"
#include "server.h"

#define SOON_US 300000 /* after the start: all has been said by then that will be */
#define SOON_MS 300
#define NEAR_MS 15 /* a connection and what is said first take */

static void vanish_kernel(void)
{
	world.o.latency_max_us = 700;
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	setup_http2(&world.setup, false);
	world.setup.nthreads = 1 + (unsigned)sim_draw(3);
}

static void vanish_check(void)
{
	unsigned left, n = vanished_count(&left);

	if (!n || left != n)
		sim_broken("stuck", "%u peers have vanished, %u are left", n, left);
}

/* ---- clients ---- */

/* What the worker waits for as it vanishes. */
enum van {
	VAN_FRESH,  /* a first byte, or the rest of a handshake */
	VAN_HEAD,   /* the rest of a head */
	VAN_BODY,   /* the rest of a body */
	VAN_IDLE,   /* the next request */
	VAN_ANSWER, /* that it reads an answer */
	VAN_TUNNEL, /* anything */
	VAN_H2_IDLE,
	VAN_H2_ANSWER,
	VAN_END
};

/* The time-out began when it connected, or at its last byte: not long before. */
static struct vanish_plan since_start(const char *what, unsigned timeout_ms, unsigned more_ms)
{
	return (struct vanish_plan){what, timeout_ms - SOON_MS - NEAR_MS,
				    timeout_ms - SOON_MS + NEAR_MS + more_ms};
}

static void vanish_h1(enum van van)
{
	const struct setup *s = &world.setup;
	struct client *c = client_new();
	struct ask *a;

	c->after_us = 1000 + sim_draw(2000000);
	c->port = sim_chance(4000) ? PORT_TLS : PORT_PLAIN;
	c->doom = DOOM_VANISH;
	c->doom_us = SOON_US;
	c->silent = van != VAN_ANSWER && van != VAN_TUNNEL;
	c->stop_at = van == VAN_FRESH  ? 0
		     : van == VAN_HEAD ? 20
		     : van == VAN_BODY ? 500
				       : UINT64_MAX;
	switch (van) {
	case VAN_FRESH:
	case VAN_HEAD:
		c->vanishes = since_start("client_header_timeout", s->header_timeout, 0);
		break;
	case VAN_BODY: /* and it is told so, and waited for */
		c->vanishes =
			since_start("client_body_timeout", s->body_timeout, s->lingering_timeout);
		break;
	case VAN_IDLE:
		c->vanishes = since_start("keepalive_timeout", s->keepalive_timeout, 0);
		break;
	case VAN_TUNNEL:
		c->vanishes =
			since_start("proxy_read_timeout of a tunnel", s->read_timeout, SOON_MS);
		break;
	default:
		c->doom_us = 0;
		c->doom_read = 1 + (int64_t)sim_draw(500000);
		c->vanishes = (struct vanish_plan){"send_timeout", s->send_timeout - NEAR_MS,
						   s->send_timeout + NEAR_MS};
	}
	if (van == VAN_ANSWER) {
		a = client_ask(c, route_find_kind(s, ROUTE_FILES), ASK_FILE, "GET");
		a->file = 7;
		a->length = (int64_t)setup_file_size(7);
		snprintf(a->target, sizeof(a->target), "%s7.bin", a->route->prefix);
	} else if (van == VAN_TUNNEL) {
		a = client_ask(c, route_find_kind(s, ROUTE_UPGRADE), ASK_TUNNEL, "GET");
		a->length = a->tunnel_up = 100;
		a->idles = true;
	} else if (van != VAN_FRESH) {
		a = client_ask(c,
			       van == VAN_IDLE ? route_find_kind(s, ROUTE_RETURN) : &s->routes[0],
			       van == VAN_IDLE ? ASK_RETURN : ASK_PROXIED, "PUT");
		if (van == VAN_BODY)
			client_upload(c, 3000, sim_chance(5000));
		else
			a->length = snprintf(NULL, 0, "id=%u", a->id);
	}
	client_start(c);
}

static void vanish_h2(enum van van)
{
	const struct setup *s = &world.setup;
	struct mux *c = mux_new();

	c->after_us = 1000 + sim_draw(2000000);
	c->port = sim_chance(4000) ? PORT_TLS : PORT_PLAIN;
	c->doom = DOOM_VANISH;
	c->stays = true;
	if (van == VAN_H2_IDLE) {
		struct ask *a = mux_add(c, route_find_kind(s, ROUTE_RETURN), ASK_RETURN, "GET")->a;

		a->length = snprintf(NULL, 0, "id=%u", a->id);
		c->doom_us = SOON_US;
		/* It is told of the end, given a second to answer that, and waited for. */
		c->vanishes = since_start("keepalive_timeout", s->keepalive_timeout,
					  1000 + s->lingering_timeout);
	} else {
		mux_add(c, &s->routes[0], ASK_PROXIED, "GET")->a->length = 3000000;
		c->window = 1 << 20;
		c->doom_read = 1 + (int64_t)sim_draw(500000);
		/* When it is its windows that are full, and not the socket, the stream ends, and
		 * then the connection is idle. */
		c->vanishes = (struct vanish_plan){"send_timeout", s->send_timeout - NEAR_MS,
						   s->send_timeout + 1000 + s->keepalive_timeout +
							   1000 + s->lingering_timeout};
	}
	mux_start(c);
}

static void vanish_run(void)
{
	vanish_kernel();
	for (unsigned i = 0; i < 16; i++) {
		enum van van = (enum van)sim_draw(VAN_END);

		if (van >= VAN_H2_IDLE)
			vanish_h2(van);
		else
			vanish_h1(van);
	}
	for (uint64_t i = sim_draw(3); i > 0; i--)
		world_reload_at(sim_draw(4000000));
	world_run();
	vanish_check();
}

const struct scenario scenario_vanish = {
	"vanish", "clients that are gone without a word meet their time-outs", vanish_run};

/* ---- servers ---- */

#define GONE_ACTS 60
#define EACH_US	  700000

/* PING asks after that, and believes after that again that nobody is there. */
#define PING_US 10000000

static void gone_check(void)
{
	uint64_t known = vanished_last_us() + 2 * PING_US + EACH_US;

	for (unsigned i = 0; i < asks_count(); i++) {
		const struct ask *a = ask_nth(i);

		if (a->own && a->sent_us > known)
			sim_broken("unanswered",
				   "request %u: %d though its server has vanished long ago", a->id,
				   a->got_status);
	}
}

/* Requests go on; those that begin when PING has told that nobody is there are answered again. */
static void gone_run(void)
{
	static enum act acts[GONE_ACTS];
	static enum hact hacts[GONE_ACTS];

	vanish_kernel();
	world.setup.groups[0].honest = false;
	world.setup.groups[0].http2 = sim_chance(5000);
	world.setup.read_timeout = 1000 + (unsigned)sim_draw(3000);
	if (world.setup.groups[0].http2 && sim_chance(5000))
		world.setup.read_timeout = 60000; /* only PING is sooner */
	for (unsigned i = 0; i < GONE_ACTS; i++) {
		acts[i] = sim_chance(6000) ? ACT_ANSWER : ACT_VANISH + (enum act)sim_draw(3);
		hacts[i] = HACT_ANSWER;
	}
	hacts[sim_draw(8)] = HACT_VANISH; /* with it go many requests, unread */
	server_script(acts, GONE_ACTS);
	hserver_script(hacts, GONE_ACTS);
	for (unsigned i = 0; i < 90; i++) {
		struct client *c = client_new();

		c->after_us = 1000 + i * EACH_US + sim_draw(EACH_US);
		client_ask(c, &world.setup.routes[i % 3], ASK_PROXIED, "GET")->length =
			(int64_t)sim_draw(20000);
		client_start(c);
	}
	world_run();
	vanish_check();
	if (world.setup.groups[0].http2)
		gone_check();
}

const struct scenario scenario_gone = {
	"gone", "servers that are gone without a word meet time-outs and PING", gone_run};
