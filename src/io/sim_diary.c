/* What happened: a ring of records, and the end of a world that is broken. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "io/sim_int.h"

#define RING 4096

struct record {
	uint64_t at_us;
	const char *fmt; /* NULL: note */
	char *note;
	long v[3];
	int thread;
};

static struct record ring[RING];
static uint64_t count; /* of all that were written */

static int record_text(const struct record *r, char *p, size_t size)
{
	int n = snprintf(p, size, "%10.6f %c%d ", (double)r->at_us / 1e6, r->note ? '*' : 't',
			 r->thread);

	if (r->note)
		n += snprintf(p + n, size - (size_t)n, "%s\n", r->note);
	else {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		n += snprintf(p + n, size - (size_t)n, r->fmt, r->v[0], r->v[1], r->v[2]);
#pragma GCC diagnostic pop
		n += snprintf(p + n, size - (size_t)n, "\n");
	}
	return n;
}

static void print_record(int fd, const struct record *r)
{
	char text[512];
	int n = record_text(r, text, sizeof(text));

	if (write(fd, text, MIN_OF((size_t)n, sizeof(text) - 1)) < 0)
		return; /* nobody reads it */
}

static struct record *record_new(void)
{
	struct record *r = &ring[count++ % RING];

	mem_plain_free(r->note);
	*r = (struct record){.at_us = sim.now_us, .thread = sim_thread_index()};
	return r;
}

void sim_record(unsigned line, const char *fmt, const long v[3])
{
	struct record *r = record_new();

	r->fmt = fmt;
	memcpy(r->v, v, sizeof(r->v));
	sim_mix(sim.now_us ^ (uint64_t)line << 48);
	sim_mix((uint64_t)v[0] ^ (uint64_t)v[1] << 20 ^ (uint64_t)v[2] << 40);
	if (sim.o.trace)
		print_record(2, r);
}

void sim_note(const char *fmt, ...)
{
	struct record *r = record_new();
	char text[400];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = strlen(text);
	r->note = mem_plain_zalloc(n + 1);
	memcpy(r->note, text, n);
	if (sim.o.trace)
		print_record(2, r);
}

void sim_print_events(int fd)
{
	for (uint64_t i = count > RING ? count - RING : 0; i < count; i++)
		print_record(fd, &ring[i % RING]);
}

void sim_diary_free(void)
{
	for (unsigned i = 0; i < RING; i++)
		mem_plain_free(ring[i].note);
	memset(ring, 0, sizeof(ring));
	count = 0;
}

void sim_broken(const char *invariant, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sim_print_events(2);
	dprintf(2, "broken: %s: %s\nseed %llu, after %.6f s\n", invariant, text,
		(unsigned long long)sim.seed, (double)sim.now_us / 1e6);
	_exit(SIM_BROKEN);
}
