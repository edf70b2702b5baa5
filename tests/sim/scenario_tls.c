/* Servers that are reached with TLS: names, certificates, sessions, ALPN, and handshakes that come
 * to nothing. */
#include "client.h"
#include "h2_client.h"
#include "scenarios.h"
#include "server.h"

static void tls_kernel(void)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 6);

	world.o.latency_max_us = (unsigned)(h % 4 * 300);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 8) % 5;
	world_start();
	setup_plain(&world.setup);
	setup_http2(&world.setup, false);
	world.setup.nthreads = 1 + (unsigned)sim_draw(2);
	world.o.faults.preempt = 500;
	world.o.faults.short_read = world.o.faults.short_write = (unsigned)sim_draw(3000);
}

/* So many servers, one kind of group each. */
static void tls_groups(unsigned nservers)
{
	world.setup.ngroups = 3;
	for (unsigned g = 0; g < 3; g++) {
		struct group_setup *p = &world.setup.groups[g];

		*p = world.setup.groups[0];
		p->tls = true;
		p->http2 = g == 1;
		p->automatic = g == 2;
		p->nservers = nservers;
		for (unsigned i = 0; i < nservers; i++)
			p->servers[i] = (struct server_setup){
				.weight = 1, .family = (enum family)(i % 3), .chooses_h2 = i % 2};
	}
	for (unsigned i = 0; i < 3; i++)
		world.setup.routes[i].group = i;
}

static void tls_clients(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct client *c = client_new();

		c->after_us = sim_draw(200000);
		for (uint64_t k = 1 + sim_draw(4); k; k--) {
			struct ask *a = client_ask(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED,
						   sim_chance(5000) ? "GET" : "PUT");

			a->length = (int64_t)sim_draw(60000);
			if (a->method[0] == 'P')
				client_upload(c, (int64_t)sim_draw(60000), sim_chance(5000));
		}
		client_start(c);
	}
}

/* ---- all is well ---- */

static void tls_run(void)
{
	struct mux *m;

	tls_kernel();
	tls_groups(3);
	for (unsigned i = 0; i < 3; i++) {
		world.setup.routes[i].ssl_verify = sim_chance(7000);
		world.setup.routes[i].ssl_forget = sim_chance(2000);
		world.setup.routes[i].ssl_only_13 = sim_chance(2000);
	}
	world.setup.groups[0].keepalive = sim_chance(5000) ? 0 : 2;
	tls_clients(12);
	m = mux_new();
	for (unsigned i = 0; i < MUX_ASKS; i++)
		mux_add(m, &world.setup.routes[i % 3], ASK_PROXIED, "GET")->a->length =
			(int64_t)sim_draw(60000);
	mux_start(m);
	world_reload_at(sim_draw(200000));
	world_run();
}

const struct scenario scenario_tls = {"tls", "servers behind TLS, honest ones", tls_run};

/* ---- who is not to be trusted, and routes that do not care, on the same servers ---- */

static void untrusted_run(void)
{
	tls_kernel();
	tls_groups(CERT_END);
	for (unsigned g = 0; g < 3; g++) {
		world.setup.groups[g].honest = false;
		for (unsigned i = 0; i < CERT_END; i++)
			world.setup.groups[g].servers[i].cert = i;
	}
	for (unsigned i = 0; i < 3; i++)
		world.setup.routes[i].group = sim_chance(5000) ? 0 : 2;
	world.setup.routes[0].ssl_verify = true;
	world.setup.routes[1].ssl_verify = sim_chance(5000);
	tls_clients(20);
	world_run();
}

const struct scenario scenario_untrusted = {
	"untrusted", "servers with wrong certificates, for routes that look and that do not",
	untrusted_run};

/* ---- handshakes that fail, bytes that change, cuts in the middle of records ---- */

static void greet_run(void)
{
	tls_kernel();
	tls_groups(3);
	for (unsigned g = 0; g < 3; g++) {
		world.setup.groups[g].honest = false;
		for (unsigned i = 0; i < 3; i++)
			world.setup.groups[g].servers[i].mischief = i ? 100 : 0;
	}
	server_always_greets_badly = true;
	tls_clients(20);
	world_run();
}

const struct scenario scenario_greet = {
	"greet", "handshakes that fail, records that are cut or changed", greet_run};

/* ---- from a server of HTTP/1 that dies in its head to one of HTTP/2 ---- */

static void switch_run(void)
{
	static enum act acts[200];

	for (unsigned i = 0; i < 200; i++)
		acts[i] = ACT_SHORT_RESET;
	tls_kernel();
	tls_groups(4);
	server_script(acts, 200); /* those of HTTP/2 are honest */
	for (unsigned i = 0; i < 3; i++) {
		world.setup.routes[i].group = 2;
		world.setup.routes[i].tries = 4;
	}
	world.setup.groups[2].honest = false;
	for (unsigned i = 0; i < 20; i++) {
		struct client *c = client_new();
		struct ask *a = client_ask(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED, "GET");

		c->after_us = sim_draw(50000);
		a->status = sim_chance(5000) ? 200 : 403;
		a->length = (int64_t)sim_draw(100);
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_switch = {
	"switch", "tries that go from HTTP/1 to HTTP/2 in the middle of a head", switch_run};
