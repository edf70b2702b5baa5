/* Clients of HTTP/2: many streams on a connection, and what can happen to one while the others go
 * on. */
#include "client.h"
#include "h2_abuse.h"
#include "h2_client.h"
#include "h2_server.h"
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

/* Frames come in pieces while the worker has much to say and cannot. */
static void pieces_run(void)
{
	mux_kernel();
	for (unsigned i = 0; i < 6; i++) {
		struct mux *c = mux_client(MUX_ASKS);

		c->window = 1u << 20;
		c->chatter = 60;
		c->chats = 5000;
		c->step = 4 + (size_t)sim_draw(12);
		c->pause_us = (unsigned)sim_draw(500);
		c->rstep = 500 + (size_t)sim_draw(4000);
		c->rpause_us = 500 + (unsigned)sim_draw(2000);
		for (unsigned k = 0; k < c->nasks; k++)
			c->asks[k].a->upload = -1;
		mux_start(c);
	}
	world_run();
}

const struct scenario scenario_pieces = {"pieces", "frames of HTTP/2 that come in pieces",
					 pieces_run};

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
	world.setup.send_timeout = 20000;
	for (unsigned i = 0; i < 8; i++) {
		struct mux *c = mux_client(MUX_ASKS);

		c->after_us = sim_draw(50000);
		c->width = 1 + (unsigned)sim_draw(8);
		c->gap_us = (unsigned)sim_draw(3000);
		c->frame = 2000;
		if (i % 2) { /* asks on when the last GOAWAY is under way, having read none */
			c->width = MUX_ASKS;
			c->gap_us = 50000 + (unsigned)sim_draw(150000);
			c->rstep = 500;
			c->rpause_us = 20000;
		}
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

/* ---- bodies that flow both ways ---- */

static void duplex_run(void)
{
	static enum hact acts[400];

	mux_kernel();
	for (unsigned i = 0; i < 400; i++)
		acts[i] = sim_chance(8000) ? HACT_ECHO : HACT_LAZY;
	hserver_script(acts, 400);
	hservers_probe();
	world.setup.groups[0].http2 = true;
	world.setup.routes[2].request_buffering = false; /* neither side waits for the other */
	world.setup.trailers = world.setup.routes[2].trailers = true;
	for (unsigned i = 0; i < 5; i++) {
		struct mux *c = mux_new();

		c->port = i % 2 ? PORT_TLS : PORT_PLAIN;
		c->window = 1000u << sim_draw(8);
		c->frame = 4096;
		for (unsigned k = 0; k < 8; k++) {
			struct mux_ask *s =
				mux_add(c, &world.setup.routes[1 + k % 2], ASK_PROXIED, "POST");

			s->a->length = (int64_t)sim_draw(200000);
			mux_upload(s, (int64_t)sim_draw(200000), sim_chance(5000));
			s->trailers = k == 3;
		}
		mux_start(c);
	}
	world_run();
}

const struct scenario scenario_duplex = {
	"duplex", "answers that flow while their uploads do, HTTP/2 on both sides", duplex_run};

/* ---- answers before the upload has ended, or instead of it ---- */

static void early2_run(void)
{
	static enum hact acts[400];

	mux_kernel();
	for (unsigned i = 0; i < 400; i++)
		acts[i] = sim_chance(5000) ? HACT_STOP : HACT_EARLY;
	hserver_script(acts, 400);
	hservers_probe();
	world.setup.groups[0].http2 = true;
	for (unsigned i = 0; i < 6; i++)
		mux_start(mux_client(MUX_ASKS));
	world_run();
}

const struct scenario scenario_early2 = {"early2", "the same with HTTP/2 on both sides",
					 early2_run};

/* ---- servers that refuse, leave, and end ---- */

static void refuse_run(void)
{
	static enum hact acts[400];
	static const enum hact some[] = {HACT_ANSWER, HACT_ANSWER,   HACT_REFUSE,
					 HACT_GOAWAY, HACT_LEAVE,    HACT_RESET,
					 HACT_CUT,    HACT_SETTINGS, HACT_RESET_MIDDLE};

	mux_kernel();
	for (unsigned i = 0; i < 400; i++)
		acts[i] = some[sim_draw(sizeof(some) / sizeof(*some))];
	hserver_script(acts, 400);
	hservers_probe();
	world.setup.groups[0].http2 = true;
	world.setup.groups[0].honest = false;
	world.setup.groups[0].nservers = 3;
	world.setup.groups[0].servers[1] = world.setup.groups[0].servers[2] =
		(struct server_setup){.weight = 1};
	for (unsigned i = 0; i < 6; i++)
		mux_start(mux_client(MUX_ASKS));
	world_run();
}

const struct scenario scenario_refuse = {
	"refuse", "servers of HTTP/2 that refuse, leave, reset and change their minds", refuse_run};

/* Connections that end early, and legally so: nobody suffers. */
static void part_run(void)
{
	static enum hact acts[2000];
	unsigned often = 500 + (unsigned)sim_draw(6000);

	mux_kernel();
	for (unsigned i = 0; i < 2000; i++)
		acts[i] = sim_chance(often) ? HACT_PART : (enum hact)sim_draw(HACT_LEAVE);
	hserver_script(acts, 2000);
	hservers_probe();
	world.setup.groups[0].http2 = true;
	for (unsigned i = 0; i < 8; i++) {
		struct mux *c = mux_client(MUX_ASKS);

		for (unsigned k = 0; k < c->nasks; k++)
			if (c->asks[k].a->upload > 50000) /* what may be kept */
				c->asks[k].a->upload = 50000;
		mux_start(c);
	}
	world_run();
}

const struct scenario scenario_part = {
	"part", "servers of HTTP/2 that end connections after few answers, with exact GOAWAYs",
	part_run};

/* ---- lengths that are not those of their bodies ---- */

static void length_bad(struct mux_ask *s)
{
	if (s->a->upload < 2 || s->a->chunked || sim_chance(5000))
		return;
	s->a->bad_body = true;
	s->bad_by = sim_chance(5000) ? -1 : 1 + (int)sim_draw(100);
}

static void length_run(void)
{
	static const enum hact some[] = {HACT_ANSWER, HACT_LONG, HACT_LONG, HACT_SHORT};
	static enum hact acts[400];

	mux_kernel();
	for (unsigned i = 0; i < 400; i++)
		acts[i] = some[sim_draw(4)];
	hserver_script(acts, 400);
	hservers_probe();
	world.setup.groups[0].http2 = sim_chance(5000);
	world.setup.groups[0].honest = false;
	for (unsigned i = 0; i < 6; i++) {
		struct mux *c = mux_client(MUX_ASKS);

		c->frame = 1 + (size_t)sim_draw(5000);
		for (unsigned k = 0; k < c->nasks; k++)
			length_bad(&c->asks[k]);
		mux_start(c);
	}
	for (unsigned i = 0; i < 6; i++) {
		struct client *c = client_new();

		for (unsigned k = 0; k < 4; k++)
			client_ask(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED, "GET")
				->length = (int64_t)sim_draw(100000);
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_length = {
	"length", "HTTP/2 bodies that are shorter or longer than was announced", length_run};

/* ---- large bodies, and somebody who takes them slowly ---- */

#define FLOW_BYTES 12000000

static struct mux *flow_client(void)
{
	struct mux *c = mux_new();

	c->window = 1u << 20;
	c->after_us = sim_draw(5000);
	return c;
}

/* Down: the client reads more slowly than the server writes. Up: the server more slowly than the
 * client. What waits in between is bounded by windows and buffers. */
static void flow_run(void)
{
	static enum hact acts[10] = {[0 ... 9] = HACT_LAZY};
	struct mux *down, *up;

	world.o.latency_max_us = 100;
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	setup_http2(&world.setup, false);
	world.setup.groups[0].http2 = true;
	for (unsigned i = 0; i < 3; i++)
		world.setup.routes[i].temp_files = false;
	hserver_script(acts, 10);
	down = flow_client();
	down->rstep = 16000;
	down->rpause_us = 1000;
	mux_add(down, &world.setup.routes[sim_draw(3)], ASK_PROXIED, "GET")->a->length = FLOW_BYTES;
	mux_start(down);
	up = flow_client();
	mux_upload(mux_add(up, &world.setup.routes[1], ASK_PROXIED, "PUT"), FLOW_BYTES,
		   sim_chance(5000));
	mux_start(up);
	world_run();
}

const struct scenario scenario_flow = {
	"flow", "large bodies over HTTP/2 on both sides, taken slowly", flow_run};

/* ---- clients that break the rules, beside others that do not ---- */

static void abuse_run(void)
{
	mux_kernel();
	world.o.faults.short_read = world.o.faults.short_write = (unsigned)sim_draw(300);
	for (unsigned i = 0; i < 12; i++)
		abuse_start((unsigned)((world.o.seed * 12 + i) % abuse_kinds()), sim_draw(300000));
	for (unsigned i = 0; i < 4; i++) {
		struct mux *c = mux_client(MUX_ASKS);

		c->after_us = sim_draw(200000);
		c->gap_us = (unsigned)sim_draw(50000);
		mux_start(c);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct client *c = client_new();

		c->after_us = sim_draw(300000);
		client_ask(c, &world.setup.routes[i % 3], ASK_PROXIED, "GET")->length =
			(int64_t)sim_draw(50000);
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_abuse = {
	"abuse", "clients of HTTP/2 that break its rules or flood, beside honest ones", abuse_run};
