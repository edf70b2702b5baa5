#include "knock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_INDEX 3000
#define STAYS_US    400000 /* with all said */
#define SPREAD_US   200000 /* of what is said, at most */
#define KNOCKS_MAX  250

struct knock {
	const struct knock_kind *kind;
	struct world_start start;
	struct sim_timer begin, pace;
	struct link link;
	struct text out;
	size_t at, step;
	uint64_t after_us;
	unsigned index, nlines;
	bool connected, paused, said, done;
};

static struct knock *knocks[KNOCKS_MAX];
static unsigned nknocks;

#define KNOCK_OF(tp, member) CONTAINER_OF(tp, struct knock, member)

static void knock_end(struct knock *k, const char *how)
{
	if (k->done)
		return;
	k->done = true;
	sim_note("client %u (%s): %s", k->index, k->kind->name, how);
	sim_timer_stop(&k->begin);
	sim_timer_stop(&k->pace);
	if (k->connected)
		link_close(&k->link, k->kind->end == KNOCK_RESETS);
	text_fini(&k->out);
	world_client_done();
}

static void knock_push(struct knock *k)
{
	while (!k->done && !k->paused && k->at < k->out.n) {
		size_t n = k->out.n - k->at, took;

		n = k->step ? MIN_OF(n, k->step) : n;
		took = link_write(&k->link, k->out.p + k->at, n);
		k->at += took;
		if (took < n)
			return;
		if (k->step && k->at < k->out.n) {
			k->paused = true;
			sim_timer_start(&k->pace,
					sim_now_us() + SPREAD_US / (k->out.n / k->step + 1));
		}
	}
	if (k->done || k->paused || k->said)
		return;
	k->said = true;
	if (k->kind->end != KNOCK_WAITS)
		sim_timer_start(&k->pace, sim_now_us() + STAYS_US);
}

static void knock_pace(struct sim_timer *t)
{
	struct knock *k = KNOCK_OF(t, pace);

	k->paused = false;
	if (k->said)
		knock_end(k, "goes");
	else
		knock_push(k);
}

static void knock_pull(struct knock *k)
{
	char p[4096];
	ssize_t n = 0;

	while (!k->done && (n = link_read(&k->link, p, sizeof(p))) > 0)
		;
	if (n < 0)
		knock_end(k, "the worker ends it");
	else
		knock_push(k);
}

static void knock_on_move(struct sim_conn *c)
{
	struct knock *k = sim_conn_owner(c);

	if (!link_move(&k->link))
		knock_end(k, "no greeting");
	else if (k->link.ready)
		knock_pull(k);
}

static void knock_on_refused(struct sim_conn *c, int err)
{
	struct knock *k = sim_conn_owner(c);

	k->connected = false;
	knock_end(k, "refused");
}

static void knock_on_reset(struct sim_conn *c)
{
	knock_end(sim_conn_owner(c), "the worker resets");
}

static const struct sim_conn_ops knock_ops = {
	.connected = knock_on_move,
	.refused = knock_on_refused,
	.readable = knock_on_move,
	.writable = knock_on_move,
	.reset = knock_on_reset,
};

static void knock_begin(struct sim_timer *t)
{
	struct knock *k = KNOCK_OF(t, begin);
	struct place to = setup_listen_addr(k->kind->port);

	k->connected = true;
	sim_note("client %u begins: %s", k->index, k->kind->name);
	if (k->kind->make)
		k->kind->make(&k->out);
	else
		text_add(&k->out, k->kind->words, strlen(k->kind->words));
	if (sim_chance(4000))
		k->step = 1 + k->out.n / 20;
	link_init(
		&k->link,
		sim_connect(setup_client_addr(k->index, PORT_PLAIN), &to.sa, to.len, &knock_ops, k),
		k->kind->tls);
}

static void knock_serving(struct world_start *w)
{
	struct knock *k = KNOCK_OF(w, start);

	sim_timer_start(&k->begin, sim_now_us() + k->after_us);
}

void knock_start(const struct knock_kind *kind, uint64_t after_us)
{
	struct knock *k = calloc(1, sizeof(*k));

	BUG_ON(!k || nknocks == KNOCKS_MAX || !world.setup.log_clients);
	*k = (struct knock){.kind = kind,
			    .index = FIRST_INDEX + nknocks,
			    .after_us = after_us,
			    .start.fn = knock_serving,
			    .begin.run = knock_begin,
			    .pace.run = knock_pace};
	knocks[nknocks++] = k;
	world_client_new();
	world_when_serving(&k->start);
}

/* ---- the log ---- */

static unsigned kind_lines(const struct knock_kind *kind)
{
	unsigned n = 0;

	while (n < KNOCK_LINES && kind->lines[n].request)
		n++;
	return n;
}

static struct knock *knock_of_addr(struct span addr)
{
	for (unsigned i = 0; i < nknocks; i++) {
		const struct sockaddr_in *in =
			(const void *)setup_client_addr(knocks[i]->index, PORT_PLAIN);
		const unsigned char *b = (const void *)&in->sin_addr;
		char text[16];

		snprintf(text, sizeof(text), "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
		if (span_eq(addr, span_of(text)))
			return knocks[i];
	}
	return NULL;
}

bool knock_check_line(struct span addr, int status, struct span request)
{
	struct knock *k = knock_of_addr(addr);
	const struct knock_line *want;

	if (!k)
		return false;
	if (k->nlines == kind_lines(k->kind))
		sim_broken("log", "client %u (%s): a line too many: %d \"%.*s\"", k->index,
			   k->kind->name, status, SPAN_ARG(request));
	want = &k->kind->lines[k->nlines++];
	/* what is refused in the middle is logged as far as it had come */
	if ((status != want->status && status != want->or_status) || !request.n ||
	    !span_starts(span_of(want->request), request))
		sim_broken("log", "client %u (%s): %d \"%.*s\", not %d \"%s\"", k->index,
			   k->kind->name, status, SPAN_ARG(request), want->status, want->request);
	return true;
}

void knocks_check(void)
{
	for (unsigned i = 0; i < nknocks; i++)
		if (knocks[i]->nlines < kind_lines(knocks[i]->kind))
			sim_broken("log", "client %u (%s): %u lines, not %u", knocks[i]->index,
				   knocks[i]->kind->name, knocks[i]->nlines,
				   kind_lines(knocks[i]->kind));
}
