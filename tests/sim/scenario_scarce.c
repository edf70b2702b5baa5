/* When something of our own runs out in the middle of a request: memory, or a disk that cannot be
 * read. The servers have done nothing wrong, and must not be told nonsense, nor pay for it. */
#include "client.h"
#include "h2_client.h"
#include "scenarios.h"
#include "server.h"

static void scarce_kernel(void)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 9);

	world.o.latency_max_us = (unsigned)(h % 4 * 300);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 8) % 5;
	world_start();
	setup_plain(&world.setup);
	world.setup.nthreads = 1 + (unsigned)sim_draw(2);
}

/* ---- memory: what HTTP/2 to servers says is whole, or nothing follows it ---- */

static void starved_groups(void)
{
	world.setup.ngroups = 3;
	for (unsigned g = 0; g < 3; g++) {
		struct group_setup *p = &world.setup.groups[g];

		*p = world.setup.groups[0];
		p->http2 = g == 1;
		p->tls = g != 1;
		p->automatic = g == 2; /* the choice needs no memory */
		p->servers[0].chooses_h2 = g == 2;
		world.setup.routes[g].group = g ? g : 2;
	}
	world.setup.routes[1].request_buffering = false;
}

static void starved_run(void)
{
	scarce_kernel();
	setup_http2(&world.setup, false);
	starved_groups();
	world.o.faults.alloc = 20 + (unsigned)sim_draw(400);
	for (unsigned i = 0; i < 24; i++) {
		struct client *c = client_new();

		c->after_us = sim_draw(400000);
		for (unsigned k = 0; k < 3; k++) {
			client_ask(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED, "PUT")
				->length = (int64_t)sim_draw(20000);
			client_upload(c, (int64_t)sim_draw(60000), sim_chance(5000));
		}
		client_start(c);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct mux *m = mux_new();

		m->gap_us = 30000;
		for (unsigned k = 0; k < MUX_ASKS; k++) {
			struct mux_ask *s =
				mux_add(m, &world.setup.routes[sim_draw(3)], ASK_PROXIED, "PUT");

			s->a->length = (int64_t)sim_draw(20000);
			mux_upload(s, (int64_t)sim_draw(60000), sim_chance(5000));
		}
		mux_start(m);
	}
	world_run();
}

const struct scenario scenario_starved = {
	"starved", "no memory now and then, towards servers of HTTP/2", starved_run};

/* ---- a disk that cannot be read under uploads ---- */

/* Our own fault: no server is asked a second time for it, nor blamed. */
static void unread_check(const struct ask *a)
{
	if (a->own && (a->got_status == 502 || a->got_status == 504))
		sim_broken("answer", "request %u: %d for what our own disk did", a->id,
			   a->got_status);
	if (a->ntries > 1)
		sim_broken("repeat", "request %u was tried %u times for what our own disk did",
			   a->id, a->ntries);
}

static void unread_run(void)
{
	scarce_kernel();
	world.setup.groups[0].nservers = 3;
	for (unsigned i = 0; i < 3; i++)
		world.setup.groups[0].servers[i] = (struct server_setup){.weight = 1};
	world.setup.groups[0].http2 = sim_chance(3000);
	world.setup.groups[0].keepalive = 0; /* nor is one asked again for a connection's sake */
	world.setup.routes[0].body_buffer = 1;
	world.setup.sendfile = sim_chance(7000);
	world.o.faults.disk_error = 20 + (unsigned)sim_draw(300);
	for (unsigned i = 0; i < 30; i++) {
		struct client *c = client_new();

		c->after_us = sim_draw(300000);
		client_ask(c, &world.setup.routes[0], ASK_PROXIED, "PUT")->length = 100;
		client_upload(c, 20000 + (int64_t)sim_draw(200000), sim_chance(5000));
		client_start(c);
	}
	world_run();
	for (unsigned i = 0; i < asks_count(); i++)
		unread_check(ask_nth(i));
}

const struct scenario scenario_unread = {
	"unread", "uploads whose temporary files cannot be read again", unread_run};
