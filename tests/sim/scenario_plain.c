/* The smallest world: some clients, an honest server, no faults. Read this one first. */
#include "client.h"
#include "scenarios.h"
#include "server.h"

static void plain_run(void)
{
	const struct route *r;
	struct client *c;
	struct ask *a;

	world.o.latency_min_us = 100;
	world.o.latency_max_us = 2000;
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	r = &world.setup.routes[0];
	for (unsigned i = 0; i < 6; i++) {
		c = client_new();
		c->port = i < 4 ? PORT_PLAIN : PORT_TLS;
		a = client_ask(c, r, ASK_PROXIED, "GET");
		a->length = 100000 * i;
		a = client_ask(c, r, ASK_PROXIED, "POST"); /* the same connection */
		a->length = 5;
		client_upload(c, 30000, i % 2);
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_plain = {"plain", "some clients, an honest server", plain_run};
