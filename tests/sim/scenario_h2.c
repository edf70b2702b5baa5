/* Clients of HTTP/2: many streams on a connection, and what can happen to one while the others go
 * on. */
#include "client.h"
#include "h2_client.h"
#include "scenarios.h"
#include "server.h"

static void mux_kernel(void)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 4);

	world.o.latency_max_us = (unsigned)(h % 4 * 500);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 8) % 5;
	world_start();
	setup_plain(&world.setup);
	setup_http2(&world.setup, false);
	world.setup.nthreads = 1 + (unsigned)sim_draw(2);
	world.o.faults.preempt = 500;
	world.o.faults.short_read = world.o.faults.short_write = (unsigned)sim_draw(3000);
}

static struct mux *mux_client(unsigned n)
{
	struct mux *c = mux_new();

	c->port = sim_chance(3000) ? PORT_TLS : PORT_PLAIN;
	c->after_us = sim_draw(5000);
	for (unsigned i = 0; i < n; i++) {
		struct mux_ask *s = mux_add(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED,
					    sim_chance(5000) ? "GET" : "POST");

		s->a->length = (int64_t)sim_draw(100000);
		if (s->a->method[0] == 'P')
			mux_upload(s, (int64_t)sim_draw(100000), sim_chance(5000));
	}
	return c;
}

/* ---- honest ones ---- */

static void mux_run(void)
{
	mux_kernel();
	for (unsigned i = 0; i < 6; i++) {
		struct mux *c = mux_client(MUX_ASKS);

		c->pad = i % 2 ? 50 : 0;
		c->chatter = 10;
		c->goes = i == 3;
		c->stays = i == 4;
		mux_start(c);
	}
	world_run();
}

const struct scenario scenario_mux = {"mux", "many streams on few connections", mux_run};

/* ---- one of them stands still or goes; the others must not notice ---- */

static void still_run(void)
{
	mux_kernel();
	for (unsigned i = 0; i < 6; i++) {
		struct mux *c = mux_client(10);

		c->window = 5000;
		for (unsigned k = 0; k < 5; k++) {
			struct mux_ask *s = &c->asks[sim_draw(10)];

			if (k < 2)
				s->stuck = true;
			else if (k == 2)
				s->cancel_us = 1 + sim_draw(5000);
			else if (k == 3)
				s->cancel_read = (int64_t)sim_draw(50000);
			else
				s->cancel_sent = (int64_t)sim_draw(50000);
		}
		mux_start(c);
	}
	world_run();
}

const struct scenario scenario_still = {
	"still", "streams that stand still or are reset, beside others", still_run};

/* ---- GOAWAY: age, reload, the end ---- */

static void goaway_run(void)
{
	mux_kernel();
	world.setup.keepalive_requests = 1 + (unsigned)sim_draw(8);
	for (unsigned i = 0; i < 8; i++) {
		struct mux *c = mux_client(MUX_ASKS);

		c->after_us = sim_draw(50000);
		c->width = 1 + (unsigned)sim_draw(8);
		c->gap_us = (unsigned)sim_draw(3000);
		c->frame = 2000;
		mux_start(c);
	}
	for (unsigned i = 0; i < 3; i++)
		world_reload_at(sim_draw(100000));
	world.end = sim_chance(5000) ? END_BUSY : END_CALM;
	world.end_us = sim_draw(100000);
	world_run();
}

const struct scenario scenario_goaway = {
	"goaway", "GOAWAY by age, reload and the end while streams run", goaway_run};
