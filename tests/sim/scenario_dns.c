/* Names: what a name server may say, or not say, over datagrams and over TCP, for both families of
 * addresses. Right answers are found among wrong ones, in time, and kept as long as they say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "client.h"
#include "dns_msg.h"
#include "scenarios.h"

#define NAMES_MAX 150
#define TRAP	  250 /* the last byte of an address that only wrong answers have */
#define GATHER_US 3000

enum say { /* to a question by datagram */
	   SAY_WELL,
	   SAY_LATE,
	   SAY_ALIAS,	  /* a CNAME and its address */
	   SAY_FORGED,	  /* wrong ones first: number, name, type, sender, cut */
	   SAY_TRUNCATED, /* to be asked over TCP */
	   SAY_LOST,	  /* nothing to the first question */
	   /* from here on there is no address */
	   SAY_NOTHING,
	   SAY_FORGERIES, /* wrong ones only */
	   SAY_NO_DATA,
	   SAY_NO_NAME,
	   SAY_FAILURE,
	   SAY_END
};
enum tcp { /* the same for all connections of a world */
	   TCP_WELL,
	   TCP_PIECES,	 /* bit by bit */
	   TCP_TOGETHER, /* many answers at once */
	   TCP_ONCE,	 /* the first connection is cut */
	   TCP_REFUSED,	 /* from here on there is no answer */
	   TCP_CUT,
	   TCP_RESET,
	   TCP_CLOSED,
	   TCP_SILENT,
	   TCP_END
};

struct zone_name {
	enum say say[2];     /* A, AAAA */
	unsigned server[2];  /* where it leads */
	unsigned later[2];   /* the same after moves_us */
	uint64_t good_us[2]; /* the last right answer left then; 0: none did, or one is about to */
	unsigned asked[2];
};

static struct {
	struct zone_name names[NAMES_MAX];
	unsigned n, ttl, keep_s, late_us;
	enum tcp tcp;
	bool ipv6;
	unsigned conns; /* over TCP, so far */
	uint64_t moves_us, serves_us;
	struct world_start start;
} zone;

static bool zone_has(enum say say)
{
	return say < SAY_NOTHING && (say != SAY_TRUNCATED || zone.tcp < TCP_REFUSED);
}

/* Does anything come of it, be it good or bad? A family of addresses of which nothing is heard
 * takes the other one along, as in nginx. */
static bool zone_mute(enum say say)
{
	return say == SAY_NOTHING || say == SAY_FORGERIES;
}

static bool zone_answers(enum say say)
{
	return !zone_mute(say) && (say != SAY_TRUNCATED || zone.tcp != TCP_SILENT);
}

/* An error of TCP closes all of c-ares' sockets to that server, and counts as a try of all
 * questions that are under way: what is not answered at once may then fail. */
static bool zone_shaky(void)
{
	return zone.tcp == TCP_ONCE || (zone.tcp >= TCP_REFUSED && zone.tcp != TCP_SILENT);
}

static bool zone_hurt(enum say say)
{
	return zone_shaky() && (say == SAY_LATE || say == SAY_LOST || say == SAY_FORGED);
}

static bool zone_leads(const struct zone_name *z)
{
	if (zone_hurt(z->say[0]) || (zone.ipv6 && zone_hurt(z->say[1])))
		return false;
	if (!zone.ipv6)
		return zone_has(z->say[0]);
	return (zone_has(z->say[0]) || zone_has(z->say[1])) && zone_answers(z->say[0]) &&
	       zone_answers(z->say[1]);
}

/* ---- messages ---- */

/* The question "nK.sim": which name, and of which type; NULL: another. */
static struct zone_name *msg_question(const unsigned char *p, size_t n, unsigned *family)
{
	unsigned k = 0, type;
	size_t len;

	if (n < 12 + 8 || p[13] != 'n')
		return NULL;
	len = p[12];
	if (n < 12 + 1 + len + 5 + 4 || memcmp(p + 13 + len, "\3sim", 5) != 0)
		return NULL;
	for (size_t i = 1; i < len; i++)
		k = k * 10 + (unsigned)(p[13 + i] - '0');
	type = p[12 + 1 + len + 5 + 1];
	if (k >= zone.n || (type != TYPE_A && type != TYPE_AAAA))
		sim_broken("resolver", "a question that nobody asked: n%u.sim, type %u", k, type);
	*family = type == TYPE_AAAA;
	return &zone.names[k];
}

static void msg_right(struct dns_msg *m, const unsigned char *q, struct zone_name *z, unsigned fam)
{
	bool moved = sim_now_us() >= zone.serves_us + zone.moves_us;
	unsigned type = fam ? TYPE_AAAA : TYPE_A, server = moved ? z->later[fam] : z->server[fam];

	msg_begin(m, q);
	if (z->say[fam] == SAY_ALIAS) {
		size_t at;

		msg_put_record(m, 12, 5, zone.ttl, "\5alias\3sim", 11);
		at = m->n - 11;
		msg_put_address(m, (unsigned)at, type, zone.ttl, server);
	} else {
		msg_put_address(m, 12, type, zone.ttl, server);
	}
	m->good = &z->good_us[fam];
	z->good_us[fam] = 0;
}

/* Looks right but for one thing, and leads into the trap. */
static void msg_forged(struct dns_msg *m, const unsigned char *q, unsigned fam)
{
	msg_begin(m, q);
	msg_put_address(m, 12, fam ? TYPE_AAAA : TYPE_A, zone.ttl, TRAP - 1);
	switch (sim_draw(5)) {
	case 0:
		m->p[sim_draw(2)] ^= 1;
		break;
	case 1:
		m->p[13]++; /* the question */
		break;
	case 2:
		m->p[12 + msg_question_size(q) - 3] = fam ? TYPE_A : TYPE_AAAA;
		break;
	case 3:
		m->from.in.sin_addr.s_addr ^= htonl(1);
		break;
	default:
		m->n = (size_t)sim_draw(12 + msg_question_size(q));
	}
}

/* ---- datagrams ---- */

/* A good answer is kept as long as it says. */
static void zone_asked(struct zone_name *z, unsigned fam)
{
	uint64_t good = MAX_OF(z->good_us[0], z->good_us[1]), now = sim_now_us(),
		 slack = 3 * world_latency_us() + 3000;
	bool known = (!zone_has(z->say[0]) || z->good_us[0]) &&
		     (!zone.ipv6 || !zone_has(z->say[1]) || z->good_us[1]);

	z->asked[fam]++;
	for (unsigned f = 0; f < 2; f++) /* another thread's question may be repeated */
		if (z->say[f] == SAY_LOST || z->say[f] == SAY_FAILURE)
			return;
	if (known && good && zone_leads(z) && now > good + slack &&
	    now + slack < good + zone.keep_s * 1000000ull)
		sim_broken("resolver", "n%u.sim is asked for again after %llu ms",
			   (unsigned)(z - zone.names), (unsigned long long)(now - good) / 1000);
}

static void zone_got(const void *p, size_t n, const struct sockaddr *from, socklen_t len)
{
	const unsigned char *q = p;
	unsigned fam;
	struct zone_name *z = msg_question(q, n, &fam);
	struct dns_msg *m;

	if (!z)
		sim_broken("resolver", "a question that is none");
	zone_asked(z, fam);
	switch (z->say[fam]) {
	case SAY_LOST:
		if (z->asked[fam] == 1)
			return;
		break;
	case SAY_NOTHING:
		return;
	case SAY_FORGED:
	case SAY_FORGERIES:
		for (uint64_t i = 1 + sim_draw(4); i > 0; i--)
			msg_forged(msg_new(from, len, 0), q, fam);
		if (z->say[fam] == SAY_FORGERIES)
			return;
		m = msg_new(from, len, 2 * world_latency_us() + 1);
		msg_right(m, q, z, fam);
		return;
	default:
		break;
	}
	m = msg_new(from, len, z->say[fam] == SAY_LATE ? sim_draw(zone.late_us) : 0);
	if (zone_has(z->say[fam]) && z->say[fam] != SAY_TRUNCATED) {
		msg_right(m, q, z, fam);
		return;
	}
	msg_begin(m, q);
	if (z->say[fam] == SAY_TRUNCATED)
		m->p[2] |= 2;
	else if (z->say[fam] != SAY_NO_DATA)
		m->p[3] |= z->say[fam] == SAY_NO_NAME ? 3 : 2;
}

/* ---- over TCP ---- */

struct zone_conn {
	struct sim_conn *c;
	struct sim_timer timer;
	struct text in, out;
	enum tcp act;
};

static void zone_conn_end(struct zone_conn *d, bool reset)
{
	sim_timer_stop(&d->timer);
	if (reset)
		sim_conn_reset(d->c);
	sim_conn_free(d->c);
	d->c = NULL;
	text_fini(&d->in);
	text_fini(&d->out);
}

static void zone_conn_push(struct sim_timer *t)
{
	struct zone_conn *d = CONTAINER_OF(t, struct zone_conn, timer);
	size_t step = 1 + (size_t)sim_draw(9),
	       n = d->act == TCP_PIECES ? MIN_OF(d->out.n, step) : d->out.n, k;

	k = sim_conn_write(d->c, d->out.p, n);
	memmove(d->out.p, d->out.p + k, d->out.n - k);
	d->out.n -= k;
	if (d->out.n)
		sim_timer_start(t, sim_now_us() + 1 + sim_draw(500));
}

static void zone_conn_answer(struct zone_conn *d, const unsigned char *q, size_t n)
{
	struct dns_msg m = {.n = 0};
	unsigned fam;
	struct zone_name *z = msg_question(q, n, &fam);
	char head[2];

	if (!z || z->say[fam] != SAY_TRUNCATED)
		sim_broken("resolver", "a question that nobody sent over TCP");
	if (d->act == TCP_SILENT)
		return;
	if (d->act == TCP_RESET || d->act == TCP_CLOSED) {
		zone_conn_end(d, d->act == TCP_RESET);
		return;
	}
	msg_right(&m, q, z, fam);
	head[0] = (char)(m.n >> 8);
	head[1] = (char)m.n;
	if (d->act == TCP_CUT) {
		m.n = (size_t)sim_draw(m.n);
	}
	text_add(&d->out, head, 2);
	text_add(&d->out, (char *)m.p, m.n);
	if (d->act == TCP_CUT) {
		sim_conn_write(d->c, d->out.p, d->out.n);
		zone_conn_end(d, false);
	} else if (!d->timer.slot) {
		sim_timer_start(&d->timer, sim_now_us() + (d->act == TCP_TOGETHER ? GATHER_US : 0));
	}
}

static void zone_conn_readable(struct sim_conn *c)
{
	struct zone_conn *d = sim_conn_owner(c);
	char p[512];
	ssize_t n;

	while ((n = sim_conn_read(c, p, sizeof(p))) > 0)
		text_add(&d->in, p, (size_t)n);
	while (d->c && d->in.n >= 2) {
		size_t size = (size_t)(unsigned char)d->in.p[0] << 8 | (unsigned char)d->in.p[1];
		unsigned char q[512];

		if (d->in.n < size + 2)
			break;
		BUG_ON(size > sizeof(q));
		memcpy(q, d->in.p + 2, size);
		memmove(d->in.p, d->in.p + size + 2, d->in.n - size - 2);
		d->in.n -= size + 2;
		zone_conn_answer(d, q, size);
	}
	if (d->c && n < 0)
		zone_conn_end(d, false);
}

static void zone_conn_reset(struct sim_conn *c)
{
	zone_conn_end(sim_conn_owner(c), false);
}

static const struct sim_conn_ops zone_conn_ops = {
	.readable = zone_conn_readable, .writable = zone_conn_readable, .reset = zone_conn_reset};

static void zone_accepted(struct sim_listener *l, struct sim_conn *c)
{
	struct zone_conn *d = calloc(1, sizeof(*d));

	BUG_ON(!d);
	d->c = c;
	d->timer.run = zone_conn_push;
	d->act = zone.tcp;
	if (zone.tcp == TCP_ONCE)
		d->act = zone.conns++ ? TCP_WELL : TCP_CUT;
	sim_conn_set(c, &zone_conn_ops, d);
	zone_conn_readable(c);
}

static void trapped(struct sim_listener *l, struct sim_conn *c)
{
	sim_broken("resolver", "a forged answer was believed");
}

static void zone_serving(struct world_start *s)
{
	zone.serves_us = sim_now_us();
}

static void zone_start(void)
{
	struct place at = setup_dns_addr(), trap4 = setup_server_addr(0, TRAP - 1, FAMILY_IPV4),
		     trap6 = setup_server_addr(0, TRAP - 1, FAMILY_IPV6);

	zone.start.fn = zone_serving;
	world_when_serving(&zone.start);
	sim_datagrams(&at.sa, at.len, zone_got);
	if (zone.tcp != TCP_REFUSED)
		sim_listen(&at.sa, at.len, zone_accepted, NULL);
	sim_listen(&trap4.sa, trap4.len, trapped, NULL);
	sim_listen(&trap6.sa, trap6.len, trapped, NULL);
}

/* ---- the world ---- */

static struct {
	struct client *c;
	unsigned name;
} dns_asks[4 * NAMES_MAX];
static unsigned ndns_asks;

static void dns_ask(const struct route *r, unsigned k, uint64_t at)
{
	struct client *c = client_new();
	struct ask *a = client_ask(c, r, ASK_PROXIED, "GET");
	const struct zone_name *z = &zone.names[k];

	c->after_us = at;
	a->length = 100;
	snprintf(a->target, sizeof(a->target), "%s%u?host=%s%u.%s", r->prefix, a->id,
		 sim_chance(2000) ? "N" : "n", k, sim_chance(2000) ? "SIM." : "sim");
	a->resolves = zone_leads(z);
	dns_asks[ndns_asks].c = c;
	dns_asks[ndns_asks++].name = k;
	client_start(c);
}

static bool leads_to(const struct zone_name *z, const unsigned *servers, unsigned nth)
{
	return (zone_has(z->say[0]) && servers[0] == nth) ||
	       (zone_has(z->say[1]) && servers[1] == nth);
}

static void dns_check(const struct route *r, const struct client *c, unsigned k)
{
	const struct ask *a = c->asks[0];
	const struct zone_name *z = &zone.names[k];
	uint64_t moves = zone.serves_us + zone.moves_us, keep = zone.keep_s * 1000000ull,
		 slack = 4 * world_latency_us() + 3000 + r->dns_timeout * 1000ull,
		 took = c->answered_us - a->sent_us, limit = r->dns_timeout * 1000ull;
	bool silent = !zone_shaky() && zone_mute(z->say[0]) && (!zone.ipv6 || zone_mute(z->say[1]));

	if (!a->ntries) {
		uint64_t far = 3 * world_latency_us() + 3000 + world.slack_us;

		if (took > limit + far || (silent && took + far < limit))
			sim_broken("deadline", "request %u for n%u.sim: %d after %llu ms", a->id, k,
				   a->got_status, (unsigned long long)took / 1000);
		return;
	}
	if (a->sent_us > moves + keep + slack && !leads_to(z, z->later, a->tries[0].server))
		sim_broken("resolver", "request %u: n%u.sim has moved", a->id, k);
	if (c->answered_us < moves && !leads_to(z, z->server, a->tries[0].server))
		sim_broken("resolver", "request %u: n%u.sim does not lead to server %u", a->id, k,
			   a->tries[0].server);
}

static void zone_draw(bool many)
{
	zone.tcp = many ? TCP_TOGETHER : (enum tcp)sim_draw(TCP_END);
	zone.n = many ? 20 + (unsigned)sim_draw(NAMES_MAX - 20) : 1 + (unsigned)sim_draw(12);
	zone.ttl = (unsigned)sim_draw(4);
	zone.moves_us = 1000000 + sim_draw(4000000);
	sim_note("TTL %u s, over TCP: %d, moves after %llu ms", zone.ttl, zone.tcp,
		 (unsigned long long)zone.moves_us / 1000);
	for (unsigned i = 0; i < zone.n; i++) {
		struct zone_name *z = &zone.names[i];

		for (unsigned f = 0; f < 2; f++) {
			z->say[f] = many ? SAY_TRUNCATED : (enum say)sim_draw(SAY_END);
			z->server[f] = 2 * f + (unsigned)sim_draw(2);
			z->later[f] = sim_draw(2) ? z->server[f] : (z->server[f] ^ 1);
			sim_note("n%u.sim, %s: say %d, server %u, later %u", i, f ? "AAAA" : "A",
				 z->say[f], z->server[f], z->later[f]);
		}
	}
}

static struct route *dns_setup(void)
{
	struct route *r;

	setup_plain(&world.setup);
	world.setup.own_dns = true;
	world.setup.nthreads = 1 + (unsigned)sim_draw(3);
	world.setup.groups[0].nservers = 4;
	for (unsigned i = 0; i < 4; i++)
		world.setup.groups[0].servers[i] = (struct server_setup){
			.weight = 1, .family = i < 2 ? FAMILY_IPV4 : FAMILY_IPV6};
	r = setup_route(&world.setup, ROUTE_NAME);
	r->dns_timeout = 1300 + (unsigned)sim_draw(3000);
	r->dns_valid = sim_draw(2) ? 0 : 1 + (unsigned)sim_draw(3);
	r->dns_ipv6 = sim_draw(2);
	return r;
}

static void dns_run(void)
{
	bool many = bytes_key(BYTES_FILE, world.o.seed, 16) % 4 == 0;
	struct route *r;

	world.o.latency_max_us = 100 + (unsigned)(bytes_key(BYTES_FILE, world.o.seed, 17) % 900);
	world.o.sndbuf_min = world.o.sndbuf_max = many ? 65536 : 4096;
	world_start();
	r = dns_setup();
	zone_draw(many);
	zone.ipv6 = r->dns_ipv6;
	zone.keep_s = r->dns_valid ? r->dns_valid : zone.ttl;
	zone.late_us = r->dns_timeout * 1000 / 8; /* before the question is repeated */
	zone_start();
	for (unsigned i = 0; many && i < zone.n; i++)
		dns_ask(r, i, 10000);
	for (unsigned i = many ? 20 : 60; i > 0; i--)
		dns_ask(r, (unsigned)sim_draw(zone.n), 20000 + sim_draw(9000000));
	for (uint64_t i = sim_draw(3); i > 0; i--)
		world_reload_at(sim_draw(6000000));
	world_run();
	for (unsigned i = 0; i < ndns_asks; i++)
		dns_check(r, dns_asks[i].c, dns_asks[i].name);
}

const struct scenario scenario_dns = {
	"dns", "name servers that answer late, wrongly, over TCP, in part, or not at all", dns_run};
