/* Passwords: each request waits for the helper thread, while clients leave, the configuration is
 * read anew, and the end comes. */
#include "client.h"
#include "scenarios.h"
#include "server.h"

static void auth_client(void)
{
	struct client *c = client_new();
	unsigned n = 1 + (unsigned)sim_draw(4);

	c->after_us = sim_draw(5000);
	c->pipeline = sim_chance(3000);
	c->think_us = (unsigned)sim_draw(8000);
	for (unsigned i = 0; i < n; i++) {
		const struct route *r = &world.setup.routes[sim_draw(3)];
		struct ask *a = client_ask(c, r, ASK_PROXIED, sim_chance(5000) ? "GET" : "POST");

		a->length = (int64_t)sim_draw(20000);
		if (a->method[0] == 'P')
			client_upload(c, (int64_t)sim_draw(20000), sim_chance(5000));
	}
	if (sim_chance(2000)) {
		c->doom = DOOM_RESET + (enum doom)sim_draw(3);
		c->doom_us = 1 + sim_draw(6000);
	}
	client_start(c);
}

static void auth_run(void)
{
	world.o.latency_max_us = 2000;
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	world.setup.auth = true;
	world.setup.nthreads = 1 + (unsigned)sim_draw(4);
	world.o.faults.preempt = (unsigned)sim_draw(3) * 500;
	for (unsigned i = 0; i < 40; i++)
		auth_client();
	if (sim_chance(5000))
		world_reload_at(sim_draw(6000));
	world.end = (enum world_end)sim_draw(3);
	world.end_us = 10000 + sim_draw(20000); /* everybody has been accepted */
	world_run();
}

const struct scenario scenario_auth = {"auth", "passwords are checked by the helper thread",
				       auth_run};
