/* The end of worker_shutdown_timeout: whatever is under way then ends, too. */
#include "client.h"
#include "h2_client.h"
#include "h2_server.h"
#include "scenarios.h"
#include "server.h"

static struct client *end_client(void)
{
	struct client *c = client_new();

	c->after_us = sim_draw(800000);
	return c;
}

/* Says nothing any more: not a byte, one that may begin a preface of HTTP/2, half a head, half a
 * body, or nothing behind an answer. */
static void end_silent(uint64_t stop_at)
{
	struct client *c = end_client();

	c->silent = true;
	c->stop_at = stop_at;
	if (stop_at) {
		client_ask(c, &world.setup.routes[0], ASK_PROXIED, "POST");
		client_upload(c, 2000, false);
	}
	client_start(c);
}

static void end_tunnel(void)
{
	struct client *c = end_client();
	struct ask *a =
		client_ask(c, route_find_kind(&world.setup, ROUTE_UPGRADE), ASK_TUNNEL, "GET");

	a->length = 1000;
	a->tunnel_up = 1000;
	a->idles = true;
	client_start(c);
}

static void end_mux(void)
{
	struct mux *c = mux_new();

	c->after_us = sim_draw(800000);
	c->stays = true;
	for (unsigned i = 0; i < 6; i++) {
		struct mux_ask *s = mux_add(c, &world.setup.routes[i % 3], ASK_PROXIED, "PUT");

		s->a->length = 200000;
		s->stuck = i == 4;
		mux_upload(s, i == 5 ? 200000 : 1000, false);
	}
	mux_start(c);
}

static void end_run(void)
{
	static const uint64_t silences[] = {0, 0, 0, 0, 1, 20, 500, UINT64_MAX};
	static enum act acts[40];

	world.o.latency_max_us = 700;
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	setup_http2(&world.setup, false);
	world.setup.nthreads = 1 + (unsigned)sim_draw(3);
	world.setup.groups[0].honest = false;
	world.setup.groups[0].http2 = false;
	world.setup.read_timeout = 30000;
	world.setup.shutdown_timeout = 100 + (unsigned)sim_draw(700);
	for (unsigned i = 0; i < 3; i++)
		world.setup.routes[i].ignore_abort = sim_chance(5000);
	for (unsigned i = 0; i < 40; i++)
		acts[i] = sim_chance(5000) ? ACT_HANG : sim_chance(5000) ? ACT_LAZY : ACT_ANSWER;
	server_script(acts, 40);
	for (unsigned i = 0; i < sizeof(silences) / sizeof(*silences); i++)
		end_silent(silences[i]);
	end_tunnel();
	for (unsigned i = 0; i < 3; i++)
		end_mux();
	world.o.faults.spurious_event = 1000; /* begins greetings of those that say nothing */
	world.end = END_BUSY;
	world.end_us = 300000 + sim_draw(700000);
	world_run();
}

const struct scenario scenario_end = {
	"end", "worker_shutdown_timeout passes while all sorts of things are under way", end_run};
