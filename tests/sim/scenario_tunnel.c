/* Upgraded connections: clients that die around the 101, reloads and ends in the middle. */
#include "client.h"
#include "scenarios.h"
#include "server.h"

static void tunnel_kernel(void)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 3);

	world.o.latency_max_us = (unsigned)(h % 4 * 300);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 8) % 5;
	world_start();
	setup_plain(&world.setup);
	world.setup.nthreads = 1 + (unsigned)sim_draw(2);
	world.o.faults.preempt = 500;
}

static struct client *tunnel_client(void)
{
	struct client *c = client_new();
	struct ask *a =
		client_ask(c, route_find_kind(&world.setup, ROUTE_UPGRADE), ASK_TUNNEL, "GET");

	c->port = sim_chance(3000) ? PORT_TLS : PORT_PLAIN;
	c->after_us = sim_draw(5000);
	a->length = (int64_t)sim_draw(200000);
	a->tunnel_up = (int64_t)sim_draw(200000);
	return c;
}

/* ---- (b) the client dies about when the 101 comes ---- */

static void upgrade_run(void)
{
	tunnel_kernel();
	for (unsigned i = 0; i < 30; i++) {
		struct client *c = tunnel_client();

		if (i % 3) {
			c->doom = DOOM_RESET + (enum doom)sim_draw(3);
			c->doom_us = 1 + sim_draw(4000);
		}
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_upgrade = {"upgrade", "clients die around the 101", upgrade_run};

/* ---- (f) reload and the end in the middle of uploads and tunnels ---- */

static void reload_run(void)
{
	tunnel_kernel();
	for (unsigned i = 0; i < 12; i++) {
		struct client *c = tunnel_client();

		c->rstep = 500;
		c->rpause_us = (unsigned)sim_draw(2000);
		client_start(c);
	}
	for (unsigned i = 0; i < 12; i++) {
		struct client *c = client_new();
		struct ask *a =
			client_ask(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED, "POST");

		c->after_us = sim_draw(5000);
		c->step = 3000;
		c->pause_us = (unsigned)sim_draw(3000);
		a->length = (int64_t)sim_draw(50000);
		client_upload(c, (int64_t)sim_draw(400000), sim_chance(5000));
		client_start(c);
	}
	for (unsigned i = 0; i < 3; i++)
		world_reload_at(sim_draw(300000));
	world_reopen_at(sim_draw(300000));
	world.end = (enum world_end)sim_draw(3);
	world.end_us = sim_draw(400000);
	world_run();
}

const struct scenario scenario_reload = {
	"reload", "reloads and the end in the middle of everything", reload_run};
