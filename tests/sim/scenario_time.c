/* Time-outs, each met once by a client or server that stops: neither early nor late. */
#include "client.h"
#include "h2_client.h"
#include "h2_server.h"
#include "scenarios.h"
#include "server.h"

static struct client *time_client(unsigned i)
{
	struct client *c = client_new();

	c->after_us = 1000 + sim_draw(3000000) + i;
	return c;
}

static void time_silent(const struct route *r, uint64_t stop_at)
{
	struct client *c = time_client(0);
	struct ask *a;

	c->silent = true;
	c->stop_at = stop_at;
	if (stop_at) {
		a = client_ask(c, r, ASK_PROXIED, stop_at == UINT64_MAX ? "GET" : "POST");
		if (stop_at != UINT64_MAX)
			client_upload(c, 3000, false);
		a->length = 10;
	}
	client_start(c);
}

/* Reads nothing: send_timeout, as the log tells. */
static void time_deaf(void)
{
	struct client *c = time_client(0);
	struct ask *a = client_ask(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED, "GET");

	world.setup.routes[0].temp_files = world.setup.routes[1].temp_files = false;
	a->length = 5000000;
	a->stalls = true;
	c->doom = DOOM_DEAF;
	c->doom_us = 1;
	client_start(c);
}

static void connect_run(void)
{
	world.o.latency_max_us = 700;
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	world.o.faults.hang = 10000;
	world.hangs = true;
	for (unsigned i = 0; i < 6; i++) {
		struct client *c = time_client(i);

		client_ask(c, &world.setup.routes[i % 3], ASK_PROXIED, "GET")->length = 100;
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_connect = {"connect", "no connection to a server comes about",
					  connect_run};

static void time_run(void)
{
	static enum act acts[8] = {ACT_HANG, ACT_HANG, ACT_HANG, ACT_HANG,
				   ACT_HANG, ACT_HANG, ACT_HANG, ACT_HANG};
	const struct route *r;

	world.o.latency_max_us = 700;
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	r = &world.setup.routes[0];
	world.setup.nthreads = 1 + (unsigned)sim_draw(3);
	time_silent(r, 0);	    /* not a byte */
	time_silent(r, 20);	    /* half a head */
	time_silent(r, 500);	    /* half a body */
	time_silent(r, UINT64_MAX); /* nothing after an answer */
	if (sim_chance(5000)) {
		world.setup.groups[0].honest = false;
		server_script(acts, 8);
	} else {
		time_deaf();
	}
	for (unsigned i = 0; i < 6; i++) {
		struct client *c = time_client(i);

		client_ask(c, &world.setup.routes[i % 3], ASK_PROXIED, "GET")->length = 100;
		client_start(c);
	}
	for (uint64_t i = sim_draw(3); i > 0; i--)
		world_reload_at(sim_draw(3000000));
	world_run();
}

const struct scenario scenario_time = {"time", "whoever stops meets its time-out", time_run};

/* ---- servers that stop reading ---- */

static void stall_kernel(void)
{
	world.o.latency_max_us = 700;
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	world.setup.nthreads = 1 + (unsigned)sim_draw(2);
	world.setup.groups[0].honest = false;
	setup_http2(&world.setup, false);
}

static void stall_run(void)
{
	static enum act acts[20];
	static enum hact hacts[20];

	stall_kernel();
	for (unsigned i = 0; i < 20; i++) {
		acts[i] = sim_chance(7000) ? ACT_STUCK : ACT_ANSWER;
		hacts[i] = sim_chance(7000) ? HACT_STUCK : HACT_ANSWER;
	}
	server_script(acts, 20);
	hserver_script(hacts, 20);
	world.setup.groups[0].http2 = sim_chance(5000);
	world.setup.proxy_send_timeout = 1500;
	world.setup.read_timeout = 5000;
	for (unsigned i = 0; i < 8; i++) {
		struct client *c = time_client(i);

		client_ask(c, &world.setup.routes[0], ASK_PROXIED, "PUT")->length = 100;
		client_upload(c, 1500000 + (int64_t)sim_draw(500000), sim_chance(5000));
		if (sim_chance(5000)) /* it stays in memory */
			world.setup.routes[0].body_buffer = 2000000;
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_stall = {
	"stall", "servers that stop reading meet proxy_send_timeout", stall_run};

/* ---- servers that say nothing of a stream while their connection is busy ---- */

static void news_run(void)
{
	static enum hact acts[40];

	stall_kernel();
	for (unsigned i = 0; i < 40; i++)
		acts[i] = sim_chance(5000)   ? HACT_HANG
			  : sim_chance(5000) ? HACT_SETTINGS
					     : HACT_LEAVE;
	hserver_script(acts, 40);
	world.setup.groups[0].http2 = true;
	for (unsigned i = 0; i < 12; i++) {
		struct client *c = time_client(i);

		client_ask(c, &world.setup.routes[i % 3], ASK_PROXIED, "POST")->length = 3000;
		if (i % 2)
			client_upload(c, (int64_t)sim_draw(900), false);
		client_start(c);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct mux *c = mux_new();

		c->gap_us = 500000;
		for (unsigned k = 0; k < 6; k++)
			mux_add(c, &world.setup.routes[k % 3], ASK_PROXIED, "PUT")->a->length = 300;
		mux_start(c);
	}
	world_run();
}

const struct scenario scenario_news = {
	"news", "streams that hang beside others, SETTINGS and GOAWAY meet proxy_read_timeout",
	news_run};
