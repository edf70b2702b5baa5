/* The random world: everything is drawn from the seed. */
#include "random.h"
#include <stdio.h>
#include <string.h>
#include "client.h"
#include "random_h2.h"

static bool wide;

static uint64_t draw_size(void)
{
	static const unsigned most[] = {1, 10, 1000, 5000, 20000, 70000, 70000, 300000};

	return sim_draw(most[sim_draw(sizeof(most) / sizeof(*most))]);
}

/* ---- faults ---- */

static void draw_benign(struct sim_faults *f)
{
	if (sim_chance(5000))
		f->short_read = 1 + (unsigned)sim_draw(5000);
	if (sim_chance(5000))
		f->short_write = 1 + (unsigned)sim_draw(5000);
	if (sim_chance(3000))
		f->spurious_eagain = (unsigned)sim_draw(3000);
	if (sim_chance(3000))
		f->spurious_event = (unsigned)sim_draw(500);
	if (sim_chance(6000))
		f->preempt = (unsigned)sim_draw(3000);
}

static void draw_destructive(struct sim_faults *f)
{
	unsigned *const rare[] = {&f->reset,	   &f->refuse,	   &f->hang,
				  &f->unreachable, &f->emfile,	   &f->enobufs,
				  &f->disk_full,   &f->disk_error, &f->alloc};

	for (unsigned i = 0, n = 1 + (unsigned)sim_draw(3); i < n; i++)
		*rare[sim_draw(sizeof(rare) / sizeof(*rare))] =
			1 + (unsigned)sim_draw(sim_chance(3000) ? 1000 : 50);
	if (sim_chance(2000))
		f->clock_jump = (unsigned)sim_draw(3000);
}

/* What nobody may notice but who asks for names or what time it is. */
static void draw_weather(struct sim_faults *f)
{
	if (sim_chance(2000))
		f->clock_jump = (unsigned)sim_draw(3000);
	if (sim_chance(2000))
		f->datagram_loss = (unsigned)sim_draw(3000);
	if (sim_chance(2000))
		f->datagram_dup = (unsigned)sim_draw(3000);
}

/* ---- clients ---- */

static const struct route *draw_route_of(void)
{
	return &world.setup.routes[sim_draw(world.setup.nroutes)];
}

static void draw_answer(struct ask *a)
{
	a->length = (int64_t)draw_size();
	if (sim_chance(600))
		a->status = (int[]){204, 304, 404, 301, 206, 403}[sim_draw(6)];
}

static void draw_upload(struct client *c, struct ask *a)
{
	client_upload(c, (int64_t)draw_size(), !c->http10 && sim_chance(4000));
	a->expect = !c->http10 && sim_chance(2000);
	if (a->chunked && a->upload > 0 && sim_chance(400)) {
		a->bad_body = true;
		ask_excuse(a, "a bad chunk");
	}
}

static void draw_proxied(struct client *c, const struct route *r)
{
	static const char *const methods[] = {"GET", "GET",    "GET",	"HEAD",	   "POST",  "POST",
					      "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "LOCK"};
	struct ask *a = client_ask(c, r, ASK_PROXIED,
				   methods[sim_draw(sizeof(methods) / sizeof(*methods))]);

	draw_answer(a);
	if (r->kind == ROUTE_NAME)
		snprintf(a->target, sizeof(a->target), "%s%u?host=%u.sim", r->prefix, a->id,
			 1 + (unsigned)sim_draw(4));
	else if (sim_chance(2000))
		snprintf(a->target, sizeof(a->target), "%s%u/x/%%7Ey?a=b%%20&c", r->prefix, a->id);
	if (a->method[0] == 'P' || a->method[0] == 'L' || sim_chance(300))
		draw_upload(c, a);
}

static void draw_file(struct client *c, const struct route *r)
{
	struct ask *a = client_ask(c, r, ASK_FILE, sim_chance(1500) ? "HEAD" : "GET");

	a->file = (unsigned)sim_draw(FILES);
	a->length = (int64_t)setup_file_size(a->file);
	if (a->length > 10 && a->method[0] == 'G' && sim_chance(3000)) {
		a->from = (int64_t)sim_draw((uint64_t)a->length - 1);
		a->length = 1 + (int64_t)sim_draw((uint64_t)(a->length - a->from));
		a->status = 206;
	}
	snprintf(a->target, sizeof(a->target), "%s%u.bin", r->prefix, a->file);
}

static void draw_return(struct client *c, const struct route *r)
{
	struct ask *a = client_ask(c, r, ASK_RETURN, sim_chance(2000) ? "POST" : "GET");
	char text[16];

	a->length = snprintf(text, sizeof(text), "id=%u", a->id);
	if (a->method[0] == 'P')
		draw_upload(c, a);
}

void draw_tunnel_ways(struct ask *a)
{
	a->length = (int64_t)draw_size();
	a->tunnel_up = (int64_t)draw_size();
	if (!wide)
		return;
	a->half_up = sim_chance(3000);
	a->half_down = sim_chance(3000);
}

static void draw_tunnel(struct client *c, const struct route *r)
{
	bool raw = r->kind == ROUTE_CONNECT;
	struct ask *a = client_ask(c, r, raw ? ASK_CONNECT : ASK_TUNNEL, raw ? "CONNECT" : "GET");

	draw_tunnel_ways(a);
	c->websocket_key = wide && sim_chance(5000);
}

static void draw_ask(struct client *c)
{
	const struct route *r = draw_route_of();

	switch (r->kind) {
	case ROUTE_PROXY:
	case ROUTE_NAME:
		draw_proxied(c, r);
		break;
	case ROUTE_CONNECT:
		if (!c->http10 && !c->nasks)
			draw_tunnel(c, r);
		else
			draw_return(c, route_find_kind(&world.setup, ROUTE_RETURN));
		break;
	case ROUTE_UPGRADE:
		if (!c->http10 && !c->nasks && sim_chance(8000))
			draw_tunnel(c, r);
		else
			draw_proxied(c, r);
		break;
	case ROUTE_RETURN:
		draw_return(c, r);
		break;
	case ROUTE_FILES:
		draw_file(c, r);
		break;
	}
}

static void draw_doom(struct client *c)
{
	c->doom = DOOM_RESET + (enum doom)sim_draw(4);
	switch (sim_draw(3)) {
	case 0:
		c->doom_sent = (int64_t)sim_draw(sim_chance(5000) ? 200 : 5000);
		break;
	case 1:
		c->doom_read = (int64_t)draw_size();
		break;
	default:
		c->doom_us = sim_draw(sim_chance(5000) ? 20000 : 500000);
	}
}

/* Slow, but a world must come to an end: some thousand steps at most. */
static void draw_pace(struct client *c)
{
	int64_t up = 0;

	for (unsigned i = 0; i < c->nasks; i++)
		up += MAX_OF(c->asks[i]->upload, 0) + c->asks[i]->tunnel_up;
	if (sim_chance(1500)) {
		c->step = 1 + (size_t)sim_draw(sim_chance(3000) ? 3 : 5000) + (size_t)up / 500;
		c->pause_us = (unsigned)sim_draw(MIN_OF(1500, 10 * (unsigned)c->step));
	}
	if (sim_chance(2000)) {
		c->rstep = 500 + (size_t)sim_draw(16000);
		c->rpause_us = (unsigned)sim_draw(MIN_OF(80000, 10 * (unsigned)c->rstep));
	}
	if (sim_chance(3000))
		c->think_us = (unsigned)sim_draw(400000);
}

static void draw_raw(struct client *c)
{
	c->raw = &malformed_list[sim_draw(MALFORMED_FROZEN)];
	c->port = PORT_PLAIN;
}

/* Clients that stop speaking: the worker must end them on time. */
static void draw_silent(struct client *c)
{
	static const struct route *r;
	struct ask *a;

	c->silent = true;
	r = route_find_kind(&world.setup, ROUTE_RETURN);
	switch (sim_draw(4)) {
	case 0: /* not a byte */
		break;
	case 1: /* half a head */
		draw_return(c, r);
		c->stop_at = 1 + sim_draw(25);
		break;
	case 2: /* half a body */
		a = client_ask(c, &world.setup.routes[sim_draw(2)], ASK_PROXIED, "POST");
		draw_answer(a);
		client_upload(c, 2000, false);
		c->stop_at = 500 + sim_draw(1000);
		break;
	default: /* nothing after an answer */
		draw_return(c, r);
		c->asks[0]->upload = -1;
		c->asks[0]->expect = false;
		c->stop_at = UINT64_MAX;
	}
}

static void draw_client(void)
{
	struct client *c = client_new();
	static const unsigned ports[] = {PORT_PLAIN, PORT_PLAIN, PORT_TLS, PORT_PROXY};

	c->after_us = sim_draw(sim_chance(5000) ? 100000 : 4000000);
	if (sim_chance(600)) {
		draw_raw(c);
	} else if (sim_chance(700)) {
		draw_silent(c);
	} else {
		c->port = ports[sim_draw(4)];
		if (wide && sim_chance(2000))
			c->port = sim_chance(5000) ? PORT_IPV6 : PORT_UNIX;
		c->http10 = sim_chance(800);
		c->absolute = sim_chance(500);
		c->pipeline = !c->http10 && sim_chance(2500);
		for (uint64_t i = 0, n = 1 + sim_draw(sim_chance(5000) ? 1 : 6); i < n; i++) {
			draw_ask(c);
			if (ask_is_tunnel(c->asks[c->nasks - 1]))
				break;
		}
		draw_pace(c);
		if (sim_chance(1500))
			draw_doom(c);
	}
	client_start(c);
}

/* ---- the world ---- */

static void draw_events(void)
{
	for (uint64_t i = 0, n = sim_draw(4); i < n; i++)
		world_reload_at(sim_draw(4000000));
	for (uint64_t i = 0, n = sim_draw(3); i < n; i++)
		world_reopen_at(sim_draw(4000000));
	switch (sim_draw(6)) {
	case 0:
		world.end = END_BUSY;
		break;
	case 1:
		world.end = END_HURRY;
		break;
	default:
		break;
	}
	world.end_us = sim_draw(sim_chance(5000) ? 300000 : 4000000);
}

/* Before there is a stream of draws. */
static void draw_kernel(void)
{
	static const unsigned latencies[] = {0, 50, 1000, 20000},
			      buffers[] = {2048, 8192, 65536, 1 << 20};
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 1);

	world.o.latency_max_us = latencies[h % 4];
	world.o.latency_min_us = world.o.latency_max_us / (1 + (unsigned)(h >> 8) % 4);
	world.o.sndbuf_max = buffers[(h >> 16) % 4];
	world.o.sndbuf_min = world.o.sndbuf_max / (1 + (unsigned)(h >> 24) % 4);
}

static void random_run(bool http2)
{
	bool honest;

	draw_kernel();
	world_start();
	honest = sim_chance(3000);
	draw_benign(&world.o.faults);
	if (!honest && sim_chance(4000))
		draw_destructive(&world.o.faults);
	if (wide)
		draw_weather(&world.o.faults);
	setup_draw(&world.setup, honest);
	if (wide) {
		setup_http2(&world.setup, sim_chance(7000));
		setup_widen(&world.setup);
	}
	for (uint64_t i = 0, n = 1 + sim_draw(sim_chance(7000) ? 12 : 40); i < n; i++)
		draw_client();
	if (http2 && !wide)
		setup_http2(&world.setup, true);
	if (http2)
		random_muxes();
	if (wide)
		random_abuse();
	draw_events();
	world_run();
}

void world_wide(void)
{
	wide = true;
	random_run(bytes_key(BYTES_FILE, world.o.seed, 5) & 1);
}

void world_random(void)
{
	random_run(true);
}

void world_random_http1(void)
{
	random_run(false);
}
