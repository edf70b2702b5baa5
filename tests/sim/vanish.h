/* Actors that are gone without a word: no FIN, no reset, and nothing that is sent to them arrives.
 * Only time-outs tell the worker. */
#pragma once
#include "io/sim.h"

/* Which time-out is to end the worker's side of the connection, and so many ms after it began at
 * the earliest and at the latest. */
struct vanish_plan {
	const char *what;
	unsigned min_ms, max_ms;
};
/* The connection is dead from now on; its owner frees it. Breaks the world when the worker closes
 * its end too early or too late. */
void vanish(struct sim_conn *c, const struct vanish_plan *p);
/* How many did, and how many of those the worker has left. */
unsigned vanished_count(unsigned *left);
uint64_t vanished_last_us(void); /* when the last one did */
