#include "raw.h"
#include <stdlib.h>
#include "bytes.h"
#include "io/sim.h"
#include "world.h"

struct raw_timer {
	struct sim_timer t;
	struct raw *s;
};

struct raw {
	struct raw *next; /* of all that are open */
	struct sim_conn *c;
	struct ask *ask;
	struct ask_try *try;
	int64_t up, down;
	size_t step;
	unsigned pause_us;
	bool paused, rx_over, tx_over, dead;
	struct raw_timer timer;
};

static struct raw *raws;
static unsigned nraws;

static void raw_push(struct raw *s);

unsigned raws_connected(void)
{
	return nraws;
}

static void raw_end(struct raw *s)
{
	struct raw **at = &raws;

	if (s->dead)
		return;
	s->dead = true;
	sim_timer_stop(&s->timer.t);
	sim_conn_free(s->c);
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	nraws--;
}

void raws_close(void)
{
	while (raws)
		raw_end(raws);
}

static void raw_due(struct sim_timer *t)
{
	struct raw *s = CONTAINER_OF(t, struct raw_timer, t)->s;

	s->paused = false;
	raw_push(s);
}

/* All has been sent. */
static void raw_rest(struct raw *s)
{
	if (s->rx_over) {
		raw_end(s);
	} else if (s->ask->half_down && !s->tx_over) {
		s->tx_over = true;
		sim_note("the server of request %u ends its direction", s->ask->id);
		sim_conn_shutdown(s->c);
	}
}

static void raw_push(struct raw *s)
{
	uint64_t key = ask_answer_key(s->ask, 0);
	char p[4096];

	while (!s->dead && !s->paused && s->down < s->ask->length) {
		size_t n = (size_t)MIN_OF(s->ask->length - s->down, (int64_t)sizeof(p)), k;

		if (s->step)
			n = MIN_OF(n, s->step);
		bytes_fill(key, (uint64_t)s->down, p, n);
		k = sim_conn_write(s->c, p, n);
		s->down += (int64_t)k;
		s->try->written = s->down;
		if (k < n)
			return;
		if (s->step) {
			s->paused = true;
			sim_timer_start(&s->timer.t, sim_now_us() + s->pause_us);
		}
	}
	if (!s->dead && s->down == s->ask->length)
		raw_rest(s);
}

static void raw_input(struct raw *s, const char *p, size_t n)
{
	struct ask *a = s->ask;
	size_t right = bytes_check(bytes_key(BYTES_TUNNEL_UP, a->id, 0), (uint64_t)s->up, p, n);

	s->up += (int64_t)n;
	if (right < n || s->up > a->tunnel_up)
		sim_broken("tunnel", "request %u: byte %lld from the client is wrong", a->id,
			   (long long)s->up);
}

static void raw_closed(struct raw *s, ssize_t how)
{
	struct ask *a = s->ask;

	if (ask_is_sure(a) && s->up != a->tunnel_up)
		sim_broken("tunnel", "request %u: only %lld of %lld bytes came from the client",
			   a->id, (long long)s->up, (long long)a->tunnel_up);
	s->rx_over = true;
	if (how == -2 || !a->half_up || s->down == a->length)
		raw_end(s);
}

static void raw_on_readable(struct sim_conn *c)
{
	struct raw *s = sim_conn_owner(c);
	char p[8192];
	ssize_t n = 0;

	while (!s->dead && !s->rx_over &&
	       (n = sim_conn_read(c, p, 1 + (size_t)sim_draw(sizeof(p)))) > 0)
		raw_input(s, p, (size_t)n);
	if (n < 0)
		raw_closed(s, n);
}

static void raw_on_writable(struct sim_conn *c)
{
	raw_push(sim_conn_owner(c));
}

static void raw_on_reset(struct sim_conn *c)
{
	raw_end(sim_conn_owner(c));
}

static const struct sim_conn_ops raw_ops = {
	.readable = raw_on_readable,
	.writable = raw_on_writable,
	.reset = raw_on_reset,
};

static void raw_accepted(struct sim_listener *l, struct sim_conn *c)
{
	struct raw *s = calloc(1, sizeof(*s));

	BUG_ON(!s);
	*s = (struct raw){.next = raws, .c = c, .ask = sim_listener_owner(l)};
	raws = s;
	nraws++;
	s->timer = (struct raw_timer){{.run = raw_due}, s};
	s->try = ask_try_begin(s->ask, 0, 0, true, false);
	s->try->status = 200;
	s->try->clean = true;
	s->try->declared = s->ask->length;
	if (sim_chance(3000)) {
		s->step = 1 + (size_t)sim_draw(16000) + (size_t)s->ask->length / 300;
		s->pause_us = (unsigned)sim_draw(8000);
	}
	sim_note("the server of request %u is connected", s->ask->id);
	sim_conn_set(c, &raw_ops, s);
	raw_push(s);
	if (!s->dead)
		raw_on_readable(c);
}

void raw_listen(struct ask *a)
{
	struct place p = setup_raw_addr(a->id);

	sim_listen(&p.sa, p.len, raw_accepted, a);
}
