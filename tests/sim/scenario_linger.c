/* Lingering: clients that still send when they have been refused must be able to read why. What
 * they send is read away until they have finished, until they have been silent for
 * lingering_timeout, or until lingering_time has passed; only then may the connection be reset. */
#include <stdlib.h>
#include <string.h>
#include "link.h"
#include "scenarios.h"

#define BODY_MAX    3000
#define CLIENTS	    8
#define GOT_MAX	    16384
#define FIRST_INDEX 100
#define PROBE_US    500 /* between two looks at what became of the connection */
#define NO_TIME	    UINT64_MAX

enum lg_wish {		     /* what it sends */
	       WISH_LENGTH,  /* a body that is too large, as its head says */
	       WISH_CHUNKED, /* the same, as it turns out */
	       WISH_UNREAD,  /* a body that nobody wants; the request is answered well */
	       WISH_HEAD,    /* a head that is too large */
	       WISH_LAST,    /* a last request and something behind it */
	       WISH_LATE,    /* the same, and all of it waits when the answer comes */
	       WISH_H2,	     /* HTTP/2, and a frame that is an error */
	       WISH_END
};
enum lg_way {		  /* how it goes on */
	      WAY_STOPS,  /* sends all, then nothing, and does not close */
	      WAY_KEEPS,  /* sends on and on */
	      WAY_HALF,	  /* sends all, reads the answer, ends its direction */
	      WAY_RESETS, /* the same with a reset */
	      WAY_END
};

struct lg {
	struct world_start start;
	struct sim_timer begin, pace, probe;
	struct link link;
	unsigned index;
	enum lg_wish wish;
	enum lg_way way;
	bool tls;
	uint64_t after_us;
	struct text head;
	size_t at;	     /* of the head */
	int64_t left;	     /* bytes behind it */
	size_t step;	     /* at a time; 0: as many as go */
	unsigned pause_us;   /* between two steps */
	unsigned read_us;    /* it reads that long after it has sent everything; 0: at once */
	unsigned time, wait; /* lingering_time and lingering_timeout that hold for it, ms */
	bool paused, reads, ended, reset, said_end, done;
	char got[GOT_MAX];
	size_t ngot;
	uint64_t came_us; /* the answer's first byte */
	uint64_t answered_us, sent_us, arrived_us, half_us;
};

static struct lg lgs[CLIENTS];
static unsigned nlgs;

#define LG_OF(tp, member) CONTAINER_OF(tp, struct lg, member)

static void lg_move(struct lg *g);

/* ---- what came ---- */

static bool lg_has_goaway(const struct lg *g)
{
	const unsigned char *p = (const unsigned char *)g->got;
	size_t at = 0;

	while (at + 9 <= g->ngot) {
		size_t n = (size_t)p[at] << 16 | (size_t)p[at + 1] << 8 | p[at + 2];

		if (at + 9 + n > g->ngot)
			return false;
		if (p[at + 3] == 7)
			return p[at + 9 + 7] != 0; /* for a reason */
		at += 9 + n;
	}
	return false;
}

/* A status line, a head and as many bytes as it announces. */
static bool lg_has_answer(const struct lg *g)
{
	static const char *const codes[] = {"413", "413", "200", "400", "200", "401"};
	struct span in = span_make(g->got, g->ngot), n, line;
	ssize_t end = span_find(in, SPAN("\r\n\r\n")),
		length = span_find(in, SPAN("Content-Length: "));
	uint64_t body;

	if (g->wish == WISH_H2)
		return lg_has_goaway(g);
	if (end < 0 || length < 0 || length > end)
		return false;
	line = span_cut(in, 0, 12);
	if (!span_eq(span_cut(line, 9, 12), span_of(codes[g->wish])))
		sim_broken("answer", "client %u: \"%.*s\"", g->index, SPAN_ARG(line));
	n = span_cut(in, (size_t)length + 16, in.n);
	n = span_cut(n, 0, (size_t)span_find_char(n, '\r', 0));
	return span_to_u64(n, GOT_MAX, &body) && in.n == (size_t)end + 4 + (size_t)body;
}

static void lg_read(struct lg *g)
{
	ssize_t n = 0;

	if (g->came_us == NO_TIME && sim_conn_unread(g->link.c))
		g->came_us = sim_now_us();
	while (!g->done && !g->ended && g->reads && g->ngot < GOT_MAX &&
	       (n = link_read(&g->link, g->got + g->ngot, GOT_MAX - g->ngot)) > 0)
		g->ngot += (size_t)n;
	if (g->answered_us == NO_TIME && lg_has_answer(g)) {
		g->answered_us = sim_now_us();
		if (g->tls) /* there the first bytes were others */
			g->came_us = g->answered_us;
	}
	if (n == -2)
		g->reset = true;
	if (n < 0)
		g->ended = true;
	if (g->ended && g->answered_us == NO_TIME)
		sim_broken("unanswered", "client %u, wish %d, way %d: %zu bytes, then the end",
			   g->index, g->wish, g->way, g->ngot);
}

/* ---- when it is over ---- */

static void lg_end(struct lg *g, const char *how)
{
	sim_note("client %u, wish %d, way %d: %s", g->index, g->wish, g->way, how);
	g->done = true;
	sim_timer_stop(&g->pace);
	sim_timer_stop(&g->probe);
	link_close(&g->link, false);
	text_fini(&g->head);
	world_client_done();
}

static void lg_check(struct lg *g, const char *what, uint64_t from, uint64_t to)
{
	uint64_t now = sim_now_us();
	uint64_t slack = 2 * world_latency_us() + 2000 + PROBE_US + world.slack_us;

	if (now + slack < from)
		sim_broken("deadline", "client %u, wish %d, way %d: closed %llu ms before %s",
			   g->index, g->wish, g->way, (unsigned long long)(from - now) / 1000,
			   what);
	if (now > to + slack)
		sim_broken("deadline", "client %u, wish %d, way %d: closed %llu ms after %s",
			   g->index, g->wish, g->way, (unsigned long long)(now - to) / 1000, what);
}

static void lg_left(struct lg *g)
{
	uint64_t whole, wait = g->wait * 1000ull;

	if (g->answered_us == NO_TIME) {
		g->reads = true; /* its time has not come yet */
		lg_read(g);
		if (g->answered_us == NO_TIME)
			sim_broken("unanswered", "client %u, wish %d, way %d: closed, no answer",
				   g->index, g->wish, g->way);
	}
	whole = g->came_us + g->time * 1000ull;
	if (g->half_us != NO_TIME)
		lg_check(g, "its end", g->half_us, g->half_us);
	else if (g->arrived_us == NO_TIME) /* it still sends */
		lg_check(g, "lingering_time", whole, whole);
	else
		lg_check(g, "lingering_timeout",
			 MIN_OF(MAX_OF(g->sent_us, g->came_us) + wait, whole),
			 MIN_OF(MAX_OF(g->arrived_us, g->came_us) + wait, whole));
	lg_end(g, "the worker has closed");
}

/* The worker must read what it was sent: a reset may destroy the answer. */
static void lg_was_reset(struct lg *g)
{
	if (g->arrived_us == NO_TIME) {
		lg_left(g); /* in time? */
		return;
	}
	sim_broken("unanswered",
		   "client %u, wish %d, way %d: a reset, %lld bytes unsent, answer %s", g->index,
		   g->wish, g->way, (long long)g->left,
		   g->answered_us == NO_TIME ? "missing" : "read");
}

static void lg_probe(struct sim_timer *t)
{
	struct lg *g = LG_OF(t, probe);

	if (g->at == g->head.n && g->left == 0 && g->arrived_us == NO_TIME &&
	    link_flushed(&g->link) && !sim_conn_unsent(g->link.c))
		g->arrived_us = sim_now_us();
	if (sim_conn_is_left(g->link.c)) {
		lg_left(g);
		return;
	}
	if (sim_now_us() > 40000000 + g->after_us)
		sim_broken("stuck", "client %u, wish %d, way %d: nobody ends it", g->index, g->wish,
			   g->way);
	sim_timer_start(t, sim_now_us() + PROBE_US);
	lg_move(g);
}

/* ---- sending ---- */

static void lg_begins_to_read(struct sim_timer *t)
{
	struct lg *g = LG_OF(t, begin);

	g->reads = true;
	lg_move(g);
}

/* All has been said. */
static void lg_rest(struct lg *g)
{
	if (g->begin.run != lg_begins_to_read) {
		g->begin.run = lg_begins_to_read;
		sim_timer_start(&g->begin, g->sent_us + g->read_us);
	}
	if (g->way < WAY_HALF || g->said_end || g->answered_us == NO_TIME ||
	    g->arrived_us == NO_TIME)
		return;
	g->said_end = true;
	g->half_us = sim_now_us();
	if (g->way == WAY_RESETS)
		sim_conn_reset(g->link.c);
	else
		link_shutdown(&g->link);
}

/* What comes next, and how much of it; 0: nothing. */
static size_t lg_next(struct lg *g, const char **p)
{
	static char junk[16384];
	size_t n = g->head.n - g->at;

	*p = g->head.p + g->at;
	if (!n) {
		memset(junk, 'f', sizeof(junk));
		*p = junk;
		n = (size_t)MIN_OF(g->left, (int64_t)sizeof(junk));
	}
	return g->step ? MIN_OF(n, g->step) : n;
}

static void lg_write(struct lg *g)
{
	const char *p;
	size_t n, k;

	while (!g->done && !g->paused && (n = lg_next(g, &p)) > 0) {
		k = link_write(&g->link, p, n);
		if (g->at < g->head.n)
			g->at += k;
		else if (g->way != WAY_KEEPS)
			g->left -= (int64_t)k;
		if (k && g->at == g->head.n && !g->left)
			g->sent_us = sim_now_us();
		if (!k)
			return;
		if (g->step || g->way == WAY_KEEPS) {
			g->paused = true;
			sim_timer_start(&g->pace, sim_now_us() + g->pause_us);
		}
	}
	if (!g->done && !g->paused)
		lg_rest(g);
}

static void lg_pace(struct sim_timer *t)
{
	LG_OF(t, pace)->paused = false;
	lg_move(LG_OF(t, pace));
}

static void lg_move(struct lg *g)
{
	if (g->done || g->said_end)
		return;
	if (!link_move(&g->link))
		sim_broken("answer", "client %u: no greeting", g->index);
	if (!g->link.ready)
		return;
	lg_read(g);
	lg_write(g);
}

static void lg_on_move(struct sim_conn *c)
{
	lg_move(sim_conn_owner(c));
}

static void lg_on_connected(struct sim_conn *c)
{
	struct lg *g = sim_conn_owner(c);

	sim_timer_start(&g->probe, sim_now_us() + 1000 + 3 * world_latency_us());
	lg_move(g);
}

static void lg_on_refused(struct sim_conn *c, int err)
{
	sim_broken("unanswered", "client %u is refused", ((struct lg *)sim_conn_owner(c))->index);
}

static void lg_on_reset(struct sim_conn *c)
{
	struct lg *g = sim_conn_owner(c);

	if (!g->done && !g->said_end)
		lg_was_reset(g);
}

static const struct sim_conn_ops lg_ops = {
	.connected = lg_on_connected,
	.refused = lg_on_refused,
	.readable = lg_on_move,
	.writable = lg_on_move,
	.reset = lg_on_reset,
};

/* ---- the world ---- */

static void lg_begin(struct sim_timer *t)
{
	struct lg *g = LG_OF(t, begin);
	unsigned port = g->tls ? PORT_TLS : PORT_PLAIN;
	struct place to = setup_listen_addr(port);

	link_init(&g->link,
		  sim_connect(setup_client_addr(g->index, port), &to.sa, to.len, &lg_ops, g),
		  g->tls);
	if (g->tls && g->wish == WISH_H2)
		link_offer_h2(&g->link);
}

static void lg_serving(struct world_start *s)
{
	struct lg *g = LG_OF(s, start);

	sim_timer_start(&g->begin, sim_now_us() + g->after_us);
}

static void lg_say(struct lg *g, const struct route *r)
{
	static const char h2[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				 "\0\0\0\4\0\0\0\0\0"  /* SETTINGS */
				 "\0\0\0\0\0\0\0\0\0"; /* DATA of no stream */
	struct text *t = &g->head;

	switch (g->wish) {
	case WISH_LENGTH:
		text_printf(t,
			    "PUT %sx HTTP/1.1\r\nHost: sim\r\nContent-Length: 2000000000\r\n\r\n",
			    r->prefix);
		break;
	case WISH_CHUNKED:
	case WISH_UNREAD: /* it is not read, so nobody sees how large it is */
		text_printf(t,
			    "PUT %sx HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: "
			    "chunked\r\n\r\n70000000\r\n",
			    r->prefix);
		if (g->wish == WISH_CHUNKED)
			g->left = MAX_OF(g->left, BODY_MAX + 1);
		break;
	case WISH_HEAD:
		text_printf(t, "GET %sx HTTP/1.1\r\nHost: sim\r\nX: ", r->prefix);
		g->left = MAX_OF(g->left, 8192);
		break;
	case WISH_LAST:
		text_printf(t, "GET %sx HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n",
			    r->prefix);
		break;
	case WISH_LATE:
		text_printf(t,
			    "PUT %sx HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n"
			    "Transfer-Encoding: chunked\r\n\r\n70000000\r\n",
			    r->prefix);
		break;
	default:
		text_add(t, h2, sizeof(h2) - 1);
	}
}

static void lg_new(void)
{
	static const enum route_kind kinds[] = {ROUTE_PROXY, ROUTE_PROXY,  ROUTE_RETURN,
						ROUTE_PROXY, ROUTE_RETURN, ROUTE_FILES};
	struct lg *g = &lgs[nlgs];
	const struct route *r;

	*g = (struct lg){.index = FIRST_INDEX + nlgs++,
			 .start.fn = lg_serving,
			 .begin.run = lg_begin,
			 .pace.run = lg_pace,
			 .probe.run = lg_probe,
			 .came_us = NO_TIME,
			 .answered_us = NO_TIME,
			 .sent_us = NO_TIME,
			 .arrived_us = NO_TIME,
			 .half_us = NO_TIME};
	/* By default it is a matter of luck whether something is there behind a last request. */
	do
		g->wish = (enum lg_wish)sim_draw(WISH_END);
	while (g->wish == WISH_LAST && !world.setup.lingering);
	g->way = (enum lg_way)sim_draw(WAY_END);
	g->tls = sim_chance(4000);
	g->after_us = sim_draw(100000);
	r = route_find_kind(&world.setup, g->wish == WISH_H2 ? ROUTE_RETURN : kinds[g->wish]);
	g->left = (int64_t)sim_draw(MIN_OF(world.o.sndbuf_max * 20ull, 3000000ull));
	lg_say(g, r);
	if (g->way == WAY_KEEPS || sim_chance(3000)) {
		g->step = 1 + (size_t)sim_draw(g->way == WAY_KEEPS ? 40000 : 3000) +
			  (size_t)g->left / 40;
		g->pause_us = (unsigned)sim_draw(20000);
	}
	g->reads = g->tls || g->way == WAY_KEEPS || sim_chance(5000);
	/* Its answer is a short one, it waits where it is. */
	g->time = r->lingering_time;
	g->wait = r->lingering_timeout;
	if (g->wish == WISH_HEAD || g->wish == WISH_H2) { /* no location */
		g->time = world.setup.lingering_time;
		g->wait = world.setup.lingering_timeout;
	}
	if (!g->reads)
		g->read_us = (unsigned)sim_draw(g->wait * 900ull);
	world_client_new();
	world_when_serving(&g->start);
}

static void linger_setup(void)
{
	struct setup *s = &world.setup;

	setup_plain(s);
	setup_http2(s, false);
	if (sim_chance(5000))
		s->lingering = "always";
	s->body_max = BODY_MAX;
	s->nthreads = 1 + (unsigned)sim_draw(2);
	s->head_buffer = 1024;
	s->lingering_time = 1500 + (unsigned)sim_draw(3000);
	s->lingering_timeout = 300 + (unsigned)sim_draw(1000);
	for (unsigned i = 0; i < s->nroutes; i++) {
		if (s->routes[i].kind == ROUTE_FILES)
			s->routes[i].refuse_ms = 10 + (unsigned)sim_draw(100);
		s->routes[i].lingering_time = 1500 + (unsigned)sim_draw(3000);
		s->routes[i].lingering_timeout = 300 + (unsigned)sim_draw(1000);
	}
}

static void linger_run(void)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 11);

	world.o.latency_max_us = (unsigned)(100 + h % 900);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 12) % 11;
	if ((h >> 20) % 3 == 0)
		world.o.faults = (struct sim_faults){.short_read = 300,
						     .short_write = 300,
						     .spurious_eagain = 300,
						     .spurious_event = 300};
	world_start();
	linger_setup();
	for (unsigned i = 0; i < CLIENTS; i++)
		lg_new();
	for (uint64_t i = sim_draw(3); i > 0; i--)
		world_reload_at(sim_draw(3000000));
	world_run();
}

const struct scenario scenario_linger = {
	"linger", "clients that are refused and send on can read the answer, and are cut in time",
	linger_run};
