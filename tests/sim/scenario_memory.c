/* One slow reader and large answers: memory and files stay below what is configured. */
#include "client.h"
#include "scenarios.h"
#include "server.h"

static void memory_run(void)
{
	world.o.latency_max_us = 500;
	world.o.sndbuf_min = world.o.sndbuf_max = 16384;
	world_start();
	setup_plain(&world.setup);
	for (unsigned i = 0; i < 3; i++) {
		world.setup.routes[i].temp_files = sim_chance(5000);
		world.setup.routes[i].temp_max = 200000;
		world.setup.routes[i].buffers = 4;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct client *c = client_new();
		struct ask *a = client_ask(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED, "GET");

		a->length = 6000000;
		c->rstep = 16384;
		c->rpause_us = 30000;
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_memory = {"memory", "large answers for slow readers", memory_run};
