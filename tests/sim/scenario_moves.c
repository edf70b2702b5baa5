/* A name in `upstream` that is resolved again in the background: its servers come and go, and the
 * name server answers late, wrongly, or not at all. What it said last counts, and is asked for
 * again in time. */
#include <string.h>
#include "client.h"
#include "dns_msg.h"
#include "scenarios.h"

#define EPOCHS_MAX 8
#define WORDS_MAX  256
#define NSERVERS   4
#define ASKS	   120
#define TICK_US	   1000000 /* how often the worker looks what is due */

enum word { WORD_WELL, WORD_LATE, WORD_FORGED, WORD_FAILURE, WORD_NO_NAME, WORD_SILENT, WORD_END };

static struct {
	struct epoch {
		uint64_t at_us; /* after it serves */
		unsigned set;	/* bits: the servers that the name has */
		enum word word;
	} epochs[EPOCHS_MAX];
	unsigned n, ttl, valid_s;
	uint64_t serves_us, asked_us;
	bool failed; /* the last answer, if it was one, was not good */
	/* the good answers, and when they left */
	struct said {
		uint64_t at_us;
		unsigned set;
	} said[WORDS_MAX];
	unsigned nsaid;
	struct world_start start;
} moves;

static const struct epoch *epoch_now(void)
{
	uint64_t t = sim_now_us() - moves.serves_us;
	unsigned i = 0;

	while (i + 1 < moves.n && moves.epochs[i + 1].at_us <= t)
		i++;
	return &moves.epochs[i];
}

/* ---- the name server ---- */

static void well_said(struct sim_timer *t)
{
	struct said *s = &moves.said[moves.nsaid];
	struct dns_msg *m = CONTAINER_OF(t, struct dns_msg, timer);

	BUG_ON(moves.nsaid == WORDS_MAX);
	s->at_us = sim_now_us();
	s->set = 0;
	for (unsigned i = 0; i < m->p[7]; i++) /* the last byte of each record is its server's */
		s->set |= 1u << (m->p[m->n - 16 * i - 1] - 1);
	moves.nsaid++;
	moves.failed = false;
	msg_leaves(t);
}

static void say_well(const unsigned char *q, const struct sockaddr *to, socklen_t len,
		     uint64_t after_us)
{
	struct dns_msg *m = msg_new(to, len, after_us);
	const struct epoch *e = epoch_now();

	m->timer.run = well_said;
	msg_begin(m, q);
	for (unsigned i = 0; i < NSERVERS; i++)
		if (e->set & 1u << i)
			msg_put_address(m, 12, TYPE_A, moves.ttl, i);
}

/* What was said is asked for again when its time is over, and not before. After a failure it takes
 * longer each time; a configuration that is new asks at once. */
static void asked_in_time(void)
{
	uint64_t keep = MAX_OF(moves.valid_s ? moves.valid_s : moves.ttl, 1u) * 1000000ull,
		 slack = 4 * world_latency_us() + 5000, now = sim_now_us(), last;

	if (moves.asked_us && now - moves.asked_us < keep - slack && !moves.failed &&
	    world.reloads == 0 && moves.nsaid && moves.said[moves.nsaid - 1].at_us > moves.asked_us)
		sim_broken("resolver", "the name is asked for again after %llu ms",
			   (unsigned long long)(now - moves.asked_us) / 1000);
	last = moves.nsaid ? moves.said[moves.nsaid - 1].at_us : moves.serves_us;
	if (!moves.failed && now > last + keep + TICK_US + slack)
		sim_broken("resolver", "the name is asked for only after %llu ms",
			   (unsigned long long)(now - last) / 1000);
	moves.asked_us = now;
}

static void moves_got(const void *p, size_t n, const struct sockaddr *from, socklen_t len)
{
	static const unsigned char question[] = "\6moving\3sim\0\0\1\0\1";
	const unsigned char *q = p;
	enum word word = epoch_now()->word;
	struct dns_msg *m;

	if (n < 12 + sizeof(question) - 1 || memcmp(q + 12, question, sizeof(question) - 1) != 0)
		sim_broken("resolver", "a question that nobody asked");
	asked_in_time();
	if (word == WORD_WELL || word == WORD_LATE) {
		say_well(q, from, len, word == WORD_LATE ? sim_draw(600000) : 0);
		return;
	}
	if (word == WORD_FORGED) {
		m = msg_new(from, len, 0);
		msg_begin(m, q);
		m->p[sim_draw(2)] ^= 1;
		msg_put_address(m, 12, TYPE_A, 255, 200);
		say_well(q, from, len, 2 * world_latency_us() + 1);
		return;
	}
	moves.failed = true;
	if (word == WORD_SILENT)
		return;
	m = msg_new(from, len, 0);
	msg_begin(m, q);
	m->p[3] |= word == WORD_NO_NAME ? 3 : 2;
}

static void moves_serving(struct world_start *s)
{
	moves.serves_us = sim_now_us();
}

/* ---- the world ---- */

static void moves_draw(void)
{
	uint64_t at = 0;

	moves.n = 2 + (unsigned)sim_draw(EPOCHS_MAX - 1);
	moves.ttl = (unsigned)sim_draw(4);
	moves.valid_s = sim_draw(2) ? 0 : 1 + (unsigned)sim_draw(3);
	sim_note("TTL %u s, valid %u s", moves.ttl, moves.valid_s);
	for (unsigned i = 0; i < moves.n; i++) {
		struct epoch *e = &moves.epochs[i];

		e->at_us = at;
		e->set = 1 + (unsigned)sim_draw((1u << NSERVERS) - 1);
		e->word = sim_chance(4000) ? (enum word)sim_draw(WORD_END) : WORD_WELL;
		at += 2000000 + sim_draw(5000000);
		sim_note("from %llu ms: servers %x, word %d", (unsigned long long)e->at_us / 1000,
			 e->set, e->word);
	}
}

/* The servers that the worker may know of from one time to another: what it was told last before,
 * and everything that it was told meanwhile. */
static unsigned known(uint64_t from_us, uint64_t to_us)
{
	unsigned set = 0;

	for (unsigned i = 0; i < moves.nsaid && moves.said[i].at_us <= to_us; i++)
		set = moves.said[i].at_us <= from_us ? moves.said[i].set : set | moves.said[i].set;
	return set;
}

static void moves_check(const struct client *c)
{
	const struct ask *a = c->asks[0];
	uint64_t slack = 2 * world_latency_us() + 5000,
		 from = a->sent_us > slack ? a->sent_us - slack : 0;
	bool told = moves.nsaid && moves.said[0].at_us <= from;

	if (told && a->got_status != a->status)
		sim_broken("resolver", "request %u: %d, though the name has servers", a->id,
			   a->got_status);
	for (unsigned i = 0; i < a->ntries; i++)
		if (!(known(from, c->answered_us) & 1u << a->tries[i].server))
			sim_broken("resolver", "request %u: the name does not lead to server %u",
				   a->id, a->tries[i].server);
}

static void moves_run(void)
{
	static struct client *clients[ASKS];
	struct place dns = setup_dns_addr();
	struct group_setup *g;

	world.o.latency_max_us = 100 + (unsigned)(bytes_key(BYTES_FILE, world.o.seed, 18) % 900);
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	moves_draw();
	world.setup.own_dns = true;
	world.setup.nthreads = 1 + (unsigned)sim_draw(3);
	g = &world.setup.groups[0];
	g->nservers = NSERVERS;
	for (unsigned i = 0; i < NSERVERS; i++)
		g->servers[i] = (struct server_setup){.weight = 1, .max_fails = 1};
	g->honest = false; /* before the first answer there is no server */
	g->name = "moving.sim";
	g->name_valid = moves.valid_s;
	g->keepalive = (unsigned)sim_draw(3) * 8;
	moves.start.fn = moves_serving;
	world_when_serving(&moves.start);
	sim_datagrams(&dns.sa, dns.len, moves_got);
	for (unsigned i = 0; i < ASKS; i++) {
		clients[i] = client_new();
		clients[i]->after_us = 10000 + sim_draw(moves.epochs[moves.n - 1].at_us + 8000000);
		client_ask(clients[i], &world.setup.routes[0], ASK_PROXIED, "GET")->length = 100;
		client_start(clients[i]);
	}
	for (uint64_t i = sim_draw(3); i > 0; i--)
		world_reload_at(sim_draw(12000000));
	world_run();
	for (unsigned i = 0; i < ASKS; i++)
		moves_check(clients[i]);
}

const struct scenario scenario_moves = {"moves", "a name in upstream whose servers come and go",
					moves_run};
