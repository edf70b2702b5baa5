/* Worlds in child processes, some at a time. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

struct run {
	const char *scenario;
	uint64_t seed;
};

/* What a world leaves behind, in memory that parent and children share. */
struct run_result {
	unsigned asked, whole, own, lost, excused, tries;
	uint64_t virtual_us, fingerprint;
};

struct runner {
	unsigned jobs;
	unsigned limit_s;      /* processor time of a world; more is a failure */
	unsigned failures_max; /* stops after so many */
	bool quiet;
	const char *looked_for; /* the invariant whose failures count; NULL: all */
	/* counted */
	unsigned worlds, failures, others; /* others: not looked for */
	struct run_result sum;
	char broken[64]; /* the invariant of the last failure */
	char other[64];	 /* of the last that was not looked for */
};

/* Runs what next() gives until it says false, or enough have failed. */
void runner_run(struct runner *r, bool (*next)(struct run *run, void *arg), void *arg);
/* The world in this process; returns its exit code, if it returns. */
int run_here(const struct run *run, struct run_result *result);
