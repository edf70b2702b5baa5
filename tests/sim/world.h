/* One world: a real worker on the simulator's kernel, actors around it, and its life from the first
 * configuration to the last byte of memory. One process runs one.
 *
 * A scenario fills in world.o and world.setup, calls world_start, makes servers and clients (they
 * begin when the worker serves), and world_run takes it from there: when the last client is done,
 * faults end, everything comes to rest, is checked, ends gracefully, and is checked again. */
#pragma once
#include "io/sim.h"
#include "setup.h"

struct scenario {
	const char *name;
	const char *what; /* one sentence */
	void (*run)(void);
};
extern const struct scenario *const scenarios[]; /* ends with NULL; the first one is "wide" */
const struct scenario *scenario_find(const char *name);

enum world_end { END_CALM, END_BUSY, END_HURRY };

struct world {
	struct sim_options o;
	struct setup setup;
	bool destructive; /* faults that lose connections, memory or time: nothing is sure */
	bool hangs;	  /* no connection to a server comes about: only time-outs answer */
	bool full_disk;	  /* log lines may be missing */
	enum world_end
		end; /* how it ends: after all clients; while they are at it; the same, at once */
	uint64_t end_us; /* END_BUSY, END_HURRY: when */
	/* while it runs */
	bool serving, ending;
	uint64_t end_began_us;
	unsigned generation, reloads, reopens;
	unsigned clients_left;
	unsigned slack_us; /* what benign faults may delay */
	/* afterwards */
	uint64_t ended_us, fingerprint;
};
extern struct world world;

/* sim_start with world.o, but without its faults: these begin when the worker serves. */
void world_start(void);
/* At a time after it serves: a reload, the logs opened again (the old file moved away). */
void world_reload_at(uint64_t after_us);
void world_reopen_at(uint64_t after_us);
/* Then all faults end, and what runs out is there again: requests that begin later, and were not
 * excused, are as sure as in a world without any. */
void world_faults_end_at(uint64_t after_us);
/* fn on thread 0, as a message. */
void world_post(void (*fn)(void));
/* Until the end; checks everything. */
void world_run(void);

/* ---- for actors ---- */

/* Start when the worker serves. */
void world_client_new(void);
void world_client_done(void);
/* Calls fn when the worker serves (at once when it does). */
struct world_start {
	struct world_start *next;
	void (*fn)(struct world_start *s);
};
void world_when_serving(struct world_start *s);
uint64_t world_latency_us(void); /* the longest way of a byte */
/* A request that begins now may meet listeners and connections that are closing. */
bool world_is_leaving(void);
