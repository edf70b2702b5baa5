/* Many connections in one instant: threads share them evenly, none is forgotten behind a ceiling or
 * while there are no descriptors. */
#include <errno.h>
#include <stdio.h>
#include "client.h"
#include "net/listener.h"
#include "scenarios.h"

#define WAVE_MAX 150
#define TICK_US	 500

static struct {
	struct client *clients[3 * WAVE_MAX];
	unsigned n;
	struct world_start start;
	struct sim_timer timer;
	uint64_t began_us; /* when it serves */
} burst;

static void burst_kernel(void)
{
	/* Those that connect at a time arrive at a time. */
	world.o.latency_min_us = world.o.latency_max_us =
		(unsigned)(50 + bytes_key(BYTES_FILE, world.o.seed, 12) % 300);
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	if (bytes_key(BYTES_FILE, world.o.seed, 13) % 2)
		world.o.faults.preempt = bytes_key(BYTES_FILE, world.o.seed, 15) % 2 ? 500 : 5000;
	world.o.wakes_first = bytes_key(BYTES_FILE, world.o.seed, 13) % 4 < 2;
	world_start();
	setup_plain(&world.setup);
	world.setup.nthreads = 2 + (unsigned)sim_draw(4);
	world.setup.reuseport = sim_chance(3000);
	world.setup.worker_connections = 4096;
	world.setup.keepalive_timeout = 20000;
}

static struct client *burst_client(const struct route *r, enum ask_kind kind, uint64_t at_us)
{
	struct client *c = client_new();
	struct ask *a;

	burst.clients[burst.n++] = c;
	c->after_us = at_us;
	c->port = sim_chance(1500) ? PORT_TLS : PORT_PLAIN;
	a = client_ask(c, r, kind, "GET");
	a->length = 300;
	if (kind == ASK_RETURN)
		a->length = snprintf(NULL, 0, "id=%u", a->id);
	return c;
}

static void burst_watch(void (*run)(struct sim_timer *t), void (*fn)(struct world_start *s))
{
	burst.timer.run = run;
	burst.start.fn = fn;
	world_when_serving(&burst.start);
}

/* ---- evenness ---- */

#define WAVE3_US  1000000
#define SAMPLE_US 1600000
#define HOLDS_US  4000000

static unsigned even_stay; /* of those that hold their connections when the sample is taken */

/* What a thread has more than the emptiest does not go to it (DESIGN 8, net/listener.c): a few that
 * do not matter, an eighth, and one for each thread that decides at the same moment. */
static void even_sample(struct sim_timer *t)
{
	unsigned least = UINT32_MAX, most = 0, sum = 0;

	for (unsigned i = 0; i < world.setup.nthreads; i++) {
		unsigned n = net_conn_count(i);

		sim_note("thread %u has %u connections", i, n);
		least = MIN_OF(least, n);
		most = MAX_OF(most, n);
		sum += n;
	}
	if (sum != even_stay)
		sim_broken("uneven", "%u connections are open, not %u", sum, even_stay);
	if (most > least + 4 + least / 8 + 1 + world.setup.nthreads)
		sim_broken("uneven", "a thread has %u connections, another %u", most, least);
}

static void even_serving(struct world_start *s)
{
	sim_timer_start(&burst.timer, sim_now_us() + SAMPLE_US);
}

/* It is there for as long as the sample needs it, or only for a moment. */
static void even_wave(unsigned n, uint64_t from_us, uint64_t spread_us, unsigned stays_per_10000)
{
	const struct setup *s = &world.setup;

	while (n--) {
		uint64_t at = from_us + sim_draw(spread_us + 1);
		struct client *c = burst_client(route_find_kind(s, ROUTE_RETURN), ASK_RETURN, at);

		if (sim_chance(stays_per_10000)) {
			even_stay++;
			c->think_us = HOLDS_US;
			client_ask(c, &s->routes[0], ASK_PROXIED, "GET")->length = 10;
		}
		client_start(c);
	}
}

static void burst_run(void)
{
	unsigned first;

	burst_kernel();
	first = 20 + (unsigned)sim_draw(WAVE_MAX - 20);
	even_wave(first, 10000, sim_chance(5000) ? 0 : 100000, (unsigned)sim_draw(10000));
	/* However uneven the first one has become: as many again fill it up. */
	even_wave(MIN_OF(first * (world.setup.nthreads - 1), 2u * WAVE_MAX), WAVE3_US,
		  sim_chance(7000) ? 0 : 3000, 10000);
	burst_watch(even_sample, even_serving);
	world_run();
}

const struct scenario scenario_burst = {
	"burst", "many connect at once, and threads share them evenly", burst_run};

/* ---- the ceiling ---- */

static void crowd_look(struct sim_timer *t)
{
	unsigned sum = net_conn_total();

	/* Each thread may have looked before another's was counted. */
	if (sum > world.setup.worker_connections + world.setup.nthreads - 1)
		sim_broken("ceiling", "%u connections, worker_connections is %u", sum,
			   world.setup.worker_connections);
	if (!world.ending)
		sim_timer_start(t, sim_now_us() + TICK_US);
}

static void crowd_serving(struct world_start *s)
{
	sim_timer_start(&burst.timer, sim_now_us() + TICK_US);
}

static void crowd_run(void)
{
	burst_kernel();
	world.setup.worker_connections = 1 + (unsigned)sim_draw(1 + sim_draw(40));
	for (unsigned i = 20 + (unsigned)sim_draw(2 * WAVE_MAX); i > 0; i--) {
		uint64_t at = 10000 + (sim_chance(8000) ? 0 : sim_draw(1000000));
		struct client *c =
			sim_chance(5000)
				? burst_client(route_find_kind(&world.setup, ROUTE_RETURN),
					       ASK_RETURN, at)
				: burst_client(&world.setup.routes[sim_draw(3)], ASK_PROXIED, at);

		if (sim_chance(2000)) { /* keeps others waiting for a while */
			c->think_us = (unsigned)sim_draw(200000);
			client_ask(c, &world.setup.routes[0], ASK_PROXIED, "GET")->length = 10;
		}
		client_start(c);
	}
	for (uint64_t i = sim_draw(3); i > 0; i--)
		world_reload_at(sim_draw(1500000));
	burst_watch(crowd_look, crowd_serving);
	world_run();
	if (sim_now_us() < TICK_US)
		sim_broken("stuck", "nothing happened");
}

const struct scenario scenario_crowd = {
	"crowd", "many more than worker_connections connect at once", crowd_run};

/* ---- no descriptors ---- */

#define DRY_AT_US  10000
#define DRY_FOR_US 3000000
#define PAUSE_US   500000 /* until a listener that found no descriptor looks again */

static void dry_begin(struct sim_timer *t)
{
	sim_limit_fds(sim_fds_open() + (unsigned)sim_draw(60), sim_draw(2) ? EMFILE : ENFILE);
}

static void dry_serving(struct world_start *s)
{
	burst.began_us = sim_now_us();
	if (!world.destructive)
		sim_timer_start(&burst.timer, sim_now_us() + DRY_AT_US - 1000);
}

/* One that must be told what it asks for however scarce descriptors are, for that needs none; or
 * one that may be told that there are none. */
static void dry_client(uint64_t at, bool late, bool by_chance)
{
	bool needs = sim_chance(5000);
	struct client *c =
		needs ? burst_client(&world.setup.routes[sim_draw(3)], ASK_PROXIED, at)
		      : burst_client(route_find_kind(&world.setup, ROUTE_RETURN), ASK_RETURN, at);

	if (!late && (needs || by_chance))
		ask_excuse(c->asks[0], "no descriptors");
	client_start(c);
}

/* No server has done anything wrong. Nobody waits longer than until there are descriptors. */
static void dry_check(uint64_t over_us)
{
	for (unsigned i = 0; i < burst.n; i++) {
		const struct client *c = burst.clients[i];
		const struct ask *a = c->asks[0];

		if (a->own && a->kind == ASK_PROXIED && a->got_status != 500 &&
		    a->got_status != 503)
			sim_broken("answer", "request %u: %d for want of our own", a->id,
				   a->got_status);
		if (a->kind == ASK_RETURN && /* servers may take their time */
		    c->answered_us > MAX_OF(over_us, burst.began_us + c->after_us) + 2 * PAUSE_US)
			sim_broken("deadline", "client %u is answered %llu ms after that", c->index,
				   (unsigned long long)(c->answered_us - over_us) / 1000);
	}
}

static void dry_run(void)
{
	uint64_t lasts = 200000 + sim_draw(DRY_FOR_US), over = DRY_AT_US + lasts;
	bool by_chance = bytes_key(BYTES_FILE, world.o.seed, 14) % 3 == 0;

	burst_kernel();
	if (by_chance) {
		world.o.faults.emfile = 500 + (unsigned)sim_draw(9000);
		world.o.faults.enobufs = (unsigned)sim_draw(500);
	}
	world.setup.groups[0].servers[0].max_fails = 1;
	for (unsigned i = 10 + (unsigned)sim_draw(WAVE_MAX); i > 0; i--)
		dry_client(DRY_AT_US + (sim_chance(8000) ? 0 : sim_draw(lasts)), false, by_chance);
	for (unsigned i = 10; i > 0; i--)
		dry_client(over + 1 + sim_draw(800000), true, by_chance);
	world_faults_end_at(over);
	burst_watch(dry_begin, dry_serving);
	world_run();
	dry_check(burst.began_us + over);
}

const struct scenario scenario_dry = {
	"dry", "many connect at once while there are no descriptors, for a while", dry_run};
