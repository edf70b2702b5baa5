/* Tunnels of all kinds: WebSocket and CONNECT, over HTTP/1 and over streams of HTTP/2; directions
 * that end one after the other, and what can come between. */
#include "client.h"
#include "h2_client.h"
#include "scenarios.h"
#include "server.h"

static void tunnels_kernel(void)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 7);

	world.o.latency_max_us = (unsigned)(h % 4 * 300);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 8) % 5;
	world_start();
	setup_plain(&world.setup);
	setup_http2(&world.setup, false);
	setup_tunnels(&world.setup);
	world.setup.nthreads = 1 + (unsigned)sim_draw(2);
	world.o.faults.preempt = 500;
	world.o.faults.short_read = world.o.faults.short_write = (unsigned)sim_draw(3000);
}

static void tunnels_ask(struct ask *a)
{
	a->length = (int64_t)sim_draw(150000);
	a->tunnel_up = (int64_t)sim_draw(150000);
	a->half_up = sim_chance(5000);
	a->half_down = sim_chance(5000);
}

static const struct route *tunnels_route(bool connect)
{
	return route_find_kind(&world.setup, connect ? ROUTE_CONNECT : ROUTE_UPGRADE);
}

static struct client *tunnels_client(void)
{
	bool connect = sim_chance(5000);
	struct client *c = client_new();

	c->port = sim_chance(3000) ? PORT_TLS : PORT_PLAIN;
	c->after_us = sim_draw(20000);
	c->websocket_key = sim_chance(5000);
	tunnels_ask(client_ask(c, tunnels_route(connect), connect ? ASK_CONNECT : ASK_TUNNEL,
			       connect ? "CONNECT" : "GET"));
	return c;
}

static struct mux *tunnels_mux(void)
{
	struct mux *m = mux_new();

	m->port = sim_chance(3000) ? PORT_TLS : PORT_PLAIN;
	m->after_us = sim_draw(20000);
	m->window = 2000u << sim_draw(6);
	m->frame = 1 + sim_draw(16384);
	for (unsigned i = 0; i < 6; i++) {
		bool connect = i % 2;

		tunnels_ask(mux_add(m, tunnels_route(connect), connect ? ASK_CONNECT : ASK_TUNNEL,
				    connect ? "CONNECT" : "GET")
				    ->a);
	}
	mux_add(m, &world.setup.routes[0], ASK_PROXIED, "GET")->a->length = 50000;
	return m;
}

static void tunnels_run(void)
{
	tunnels_kernel();
	for (unsigned i = 0; i < 10; i++)
		client_start(tunnels_client());
	for (unsigned i = 0; i < 3; i++)
		mux_start(tunnels_mux());
	world_reload_at(sim_draw(100000));
	world_run();
}

const struct scenario scenario_tunnels = {
	"tunnels", "WebSocket and CONNECT over both protocols, with ends one by one", tunnels_run};

/* ---- resets and ends in the middle ---- */

static void torn_run(void)
{
	tunnels_kernel();
	for (unsigned i = 0; i < 10; i++) {
		struct client *c = tunnels_client();

		if (i % 2) {
			c->doom = DOOM_RESET + (enum doom)sim_draw(3);
			c->doom_us = 1 + sim_draw(50000);
		}
		client_start(c);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct mux *m = tunnels_mux();

		for (unsigned k = 0; k < 3; k++) {
			struct mux_ask *s = &m->asks[sim_draw(6)];

			if (k)
				s->cancel_us = 1 + sim_draw(30000);
			else
				s->stuck = true;
		}
		mux_start(m);
	}
	for (unsigned i = 0; i < 2; i++)
		world_reload_at(sim_draw(60000));
	world.end = (enum world_end)sim_draw(3);
	world.end_us = sim_draw(80000);
	world_run();
}

const struct scenario scenario_torn = {
	"torn", "tunnels that are reset, stand still, or meet a reload or the end", torn_run};

/* ---- nothing moves any more: tunnel_read_timeout, proxy_read_timeout ---- */

static void unmoved_run(void)
{
	tunnels_kernel();
	for (unsigned i = 0; i < 8; i++) {
		struct client *c = tunnels_client();
		struct ask *a = c->asks[0];

		a->half_up = a->half_down = false;
		a->idles = true;
		c->after_us = sim_draw(2000000);
		ask_excuse(a, "nobody ends its tunnel");
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_unmoved = {"unmoved", "tunnels in which nothing moves any more",
					  unmoved_run};
