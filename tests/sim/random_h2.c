/* Clients of HTTP/2 in the random world. */
#include "random_h2.h"
#include "random.h"
#include <stdio.h>
#include "h2_abuse.h"
#include "h2_client.h"

static uint64_t mux_draw_size(void)
{
	static const unsigned most[] = {1, 10, 1000, 5000, 20000, 70000, 70000, 300000};

	return sim_draw(most[sim_draw(sizeof(most) / sizeof(*most))]);
}

static void mux_draw_upload(struct mux_ask *s)
{
	int64_t length = (int64_t)mux_draw_size();

	mux_upload(s, length, sim_chance(4000));
	s->a->expect = sim_chance(1500);
	s->trailers = sim_chance(2000);
	if (!s->a->chunked && length > 1 && sim_chance(400)) {
		s->a->bad_body = true;
		s->bad_by = sim_chance(5000) ? 1 : -1;
		if (sim_chance(5000))
			s->bad_by *= 1 + (int)sim_draw((uint64_t)length - 1);
	}
}

static void mux_draw_proxied(struct mux *c, const struct route *r)
{
	static const char *const methods[] = {"GET", "GET",    "GET",	"HEAD",	   "POST",  "POST",
					      "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "LOCK"};
	const char *method = methods[sim_draw(sizeof(methods) / sizeof(*methods))];
	struct mux_ask *s = mux_add(c, r, ASK_PROXIED, method);
	struct ask *a = s->a;

	a->length = (int64_t)mux_draw_size();
	if (sim_chance(600))
		a->status = (int[]){204, 304, 404, 301, 206, 403}[sim_draw(6)];
	if (r->kind == ROUTE_NAME)
		snprintf(a->target, sizeof(a->target), "%s%u?host=%u.sim", r->prefix, a->id,
			 1 + (unsigned)sim_draw(4));
	else if (sim_chance(2000))
		snprintf(a->target, sizeof(a->target), "%s%u/x/%%7Ey?a=b%%20&c", r->prefix, a->id);
	if (method[0] == 'P' || method[0] == 'L' || sim_chance(300))
		mux_draw_upload(s);
}

static void mux_draw_file(struct mux *c, const struct route *r)
{
	struct ask *a = mux_add(c, r, ASK_FILE, sim_chance(1500) ? "HEAD" : "GET")->a;

	a->file = (unsigned)sim_draw(FILES);
	a->length = (int64_t)setup_file_size(a->file);
	if (a->length > 10 && a->method[0] == 'G' && sim_chance(3000)) {
		a->from = (int64_t)sim_draw((uint64_t)a->length - 1);
		a->length = 1 + (int64_t)sim_draw((uint64_t)(a->length - a->from));
		a->status = 206;
	}
	snprintf(a->target, sizeof(a->target), "%s%u.bin", r->prefix, a->file);
}

static void mux_draw_return(struct mux *c, const struct route *r)
{
	struct mux_ask *s = mux_add(c, r, ASK_RETURN, sim_chance(2000) ? "POST" : "GET");
	char text[16];

	s->a->length = snprintf(text, sizeof(text), "id=%u", s->a->id);
	if (s->a->method[0] == 'P')
		mux_draw_upload(s);
}

static void mux_draw_tunnel(struct mux *c, const struct route *r)
{
	bool raw = r->kind == ROUTE_CONNECT;

	draw_tunnel_ways(mux_add(c, r, raw ? ASK_CONNECT : ASK_TUNNEL, raw ? "CONNECT" : "GET")->a);
}

static void mux_draw_ask(struct mux *c)
{
	const struct route *r = &world.setup.routes[sim_draw(world.setup.nroutes)];

	if (r->kind == ROUTE_CONNECT ||
	    (r->kind == ROUTE_UPGRADE && route_find_kind(&world.setup, ROUTE_CONNECT) &&
	     sim_chance(6000))) {
		mux_draw_tunnel(c, r);
		return;
	}
	switch (r->kind) {
	case ROUTE_CONNECT:
	case ROUTE_PROXY:
	case ROUTE_NAME:
	case ROUTE_UPGRADE:
		mux_draw_proxied(c, r);
		break;
	case ROUTE_RETURN:
		mux_draw_return(c, r);
		break;
	case ROUTE_FILES:
		mux_draw_file(c, r);
		break;
	}
}

/* Streams that end before their time, or stand still. */
static void mux_draw_mischief(struct mux_ask *s)
{
	switch (sim_draw(4)) {
	case 0:
		s->cancel_sent = (int64_t)mux_draw_size();
		break;
	case 1:
		s->cancel_read = (int64_t)mux_draw_size();
		break;
	case 2:
		s->stuck = true;
		break;
	default:
		s->cancel_us = 1 + sim_draw(sim_chance(5000) ? 20000 : 500000);
	}
}

static void mux_draw_doom(struct mux *c)
{
	c->doom = DOOM_RESET + (enum doom)sim_draw(4);
	switch (sim_draw(3)) {
	case 0:
		c->doom_sent = (int64_t)sim_draw(sim_chance(5000) ? 200 : 5000);
		break;
	case 1:
		c->doom_read = (int64_t)mux_draw_size();
		break;
	default:
		c->doom_us = sim_draw(sim_chance(5000) ? 20000 : 500000);
	}
}

/* As slow as a world can bear: some hundred windows and steps at most. */
static void mux_draw_pace(struct mux *c)
{
	int64_t up = 0, down = 0;

	for (unsigned i = 0; i < c->nasks; i++) {
		up += MAX_OF(c->asks[i].a->upload, 0);
		down = MAX_OF(down, c->asks[i].a->length);
	}
	if (sim_chance(3000))
		c->window = 1 + (uint32_t)down / 200 + (uint32_t)sim_draw(3000);
	else if (sim_chance(3000))
		c->window = 1u << 20;
	if (sim_chance(2000))
		c->open_us = 1 + (unsigned)sim_draw(20000);
	c->frame = 1 + sim_draw(MIN_OF(16384, world.o.sndbuf_min)) + (size_t)up / 500;
	if (sim_chance(2000))
		c->pad = 1 + sim_draw(100);
	if (sim_chance(1500)) {
		c->step = 1 + (size_t)sim_draw(5000) + (size_t)up / 500;
		c->pause_us = (unsigned)sim_draw(MIN_OF(1500, 10 * (unsigned)c->step));
	}
	if (sim_chance(1500)) {
		c->rstep = 500 + (size_t)sim_draw(16000);
		c->rpause_us = (unsigned)sim_draw(MIN_OF(40000, 10 * (unsigned)c->rstep));
	}
	if (sim_chance(3000))
		c->gap_us = (unsigned)sim_draw(200000);
}

static void mux_draw(void)
{
	static const unsigned ports[] = {PORT_PLAIN, PORT_PLAIN, PORT_TLS, PORT_PROXY};
	struct mux *c = mux_new();
	bool mischief = sim_chance(2000);

	c->after_us = sim_draw(sim_chance(5000) ? 100000 : 4000000);
	c->port = ports[sim_draw(4)];
	c->width = 1 + (unsigned)sim_draw(MUX_ASKS);
	for (uint64_t i = 0, n = 1 + sim_draw(sim_chance(5000) ? 3 : MUX_ASKS); i < n; i++) {
		mux_draw_ask(c);
		if (mischief && sim_chance(3000))
			mux_draw_mischief(&c->asks[i]);
	}
	mux_draw_pace(c);
	c->chatter = sim_chance(3000) ? (unsigned)sim_draw(20) : 0;
	c->goes = sim_chance(1000);
	c->stays = sim_chance(1000);
	if (sim_chance(1000))
		mux_draw_doom(c);
	mux_start(c);
}

void random_abuse(void)
{
	for (uint64_t i = sim_chance(2000) ? 1 + sim_draw(3) : 0; i; i--)
		abuse_start((unsigned)sim_draw(abuse_kinds()), sim_draw(2000000));
}

void random_muxes(void)
{
	for (uint64_t i = 0, n = 1 + sim_draw(sim_chance(7000) ? 4 : 10); i < n; i++)
		mux_draw();
}
