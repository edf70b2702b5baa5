/* WebSocket from clients of HTTP/1 and HTTP/2 to servers of HTTP/1 and HTTP/2 (extended CONNECT,
 * RFC 8441): each with each. */
#include "client.h"
#include "h2_client.h"
#include "h2_server.h"
#include "scenarios.h"
#include "server.h"

#define WOVEN_GROUPS 2 /* the second one speaks HTTP/2 */

static struct route *woven_routes[WOVEN_GROUPS];

static void woven_setup(bool honest)
{
	struct setup *s = &world.setup;

	setup_plain(s);
	setup_http2(s, false);
	setup_tunnels(s); /* for clients of HTTP/2 */
	s->nthreads = 1 + (unsigned)sim_draw(3);
	s->ngroups = WOVEN_GROUPS;
	for (unsigned g = 0; g < WOVEN_GROUPS; g++) {
		s->groups[g] = s->groups[0];
		s->groups[g].honest = honest;
		s->groups[g].http2 = s->groups[g].h2_tunnels = g == 1;
		s->groups[g].tls = sim_chance(4000);
		woven_routes[g] = setup_route(s, ROUTE_UPGRADE);
		woven_routes[g]->group = g;
		s->routes[g].group = g;
	}
}

static void woven_kernel(bool honest)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 18);

	world.o.latency_max_us = (unsigned)(h % 4 * 300);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 8) % 5;
	world_start();
	woven_setup(honest);
	world.o.faults.preempt = 500;
	world.o.faults.short_read = world.o.faults.short_write = (unsigned)sim_draw(3000);
}

static void woven_ask(struct ask *a)
{
	a->length = (int64_t)sim_draw(150000);
	a->tunnel_up = (int64_t)sim_draw(150000);
	a->half_up = sim_chance(5000);
	a->half_down = sim_chance(5000);
}

static struct client *woven_client(unsigned group)
{
	struct client *c = client_new();

	c->port = sim_chance(3000) ? PORT_TLS : PORT_PLAIN;
	c->after_us = sim_draw(30000);
	c->websocket_key = true; /* the worker answers it, where the server has none to answer */
	woven_ask(client_ask(c, woven_routes[group], ASK_TUNNEL, "GET"));
	return c;
}

static struct mux *woven_mux(void)
{
	struct mux *m = mux_new();

	m->port = sim_chance(3000) ? PORT_TLS : PORT_PLAIN;
	m->after_us = sim_draw(30000);
	m->window = 2000u << sim_draw(6);
	m->frame = 1 + sim_draw(16384);
	for (unsigned i = 0; i < 6; i++)
		woven_ask(mux_add(m, woven_routes[i % 2], ASK_TUNNEL, "GET")->a);
	/* and what is none, on the same connections */
	mux_add(m, &world.setup.routes[1], ASK_PROXIED, "GET")->a->length = 50000;
	return m;
}

static void woven_run(void)
{
	woven_kernel(true);
	for (unsigned i = 0; i < 12; i++)
		client_start(woven_client(i % 2));
	for (unsigned i = 0; i < 3; i++)
		mux_start(woven_mux());
	for (uint64_t i = sim_draw(3); i > 0; i--)
		world_reload_at(sim_draw(100000));
	world_run();
}

const struct scenario scenario_woven = {
	"woven", "WebSocket between both protocols of clients and both of servers", woven_run};

/* ---- resets and ends in the middle ---- */

static void ripped_run(void)
{
	static const enum hact bad[] = {HACT_RESET_MIDDLE, HACT_RESET, HACT_CLOSE, HACT_CUT,
					HACT_REFUSE,	   HACT_HANG,  HACT_GOAWAY};
	static enum hact acts[40];

	woven_kernel(false);
	for (unsigned i = 0; i < 40; i++)
		acts[i] = sim_chance(5000)   ? HACT_ANSWER
			  : sim_chance(2000) ? HACT_LEAVE
					     : bad[sim_draw(7)];
	hserver_script(acts, 40);
	world.setup.groups[0].servers[0].mischief = 30;
	for (unsigned i = 0; i < 12; i++) {
		struct client *c = woven_client(i % 2);

		if (sim_chance(4000)) {
			c->doom = DOOM_RESET + (enum doom)sim_draw(3);
			c->doom_us = 1 + sim_draw(60000);
		}
		client_start(c);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct mux *m = woven_mux();

		for (unsigned k = 0; k < 2; k++)
			m->asks[sim_draw(6)].cancel_us = 1 + sim_draw(40000);
		mux_start(m);
	}
	for (unsigned i = 0; i < 2; i++)
		world_reload_at(sim_draw(80000));
	world.end = (enum world_end)sim_draw(3);
	world.end_us = sim_draw(100000);
	world_run();
}

const struct scenario scenario_ripped = {
	"ripped", "those are reset by either side, or meet a reload or the end", ripped_run};
