#include "mutants.h"
#include <stdio.h>
#include <string.h>
#include "base/mutant.h"
#include "runner.h"
#include "world.h"

#ifdef BUILT_WITH_MUTANTS
#undef MUTANT
static const struct {
	const char *name, *what;
} mutants[] = {
	{"none", ""},
#define MUTANT(name, what) {#name, what},
#include "base/mutant.def"
};

bool mutant_choose(const char *name)
{
	for (unsigned i = 0; i < MUTANT_count; i++) {
		if (strcmp(mutants[i].name, name) == 0) {
			mutant_on = (enum mutant)i;
			return true;
		}
	}
	fprintf(stderr, "no mutant \"%s\"\n", name);
	return false;
}

struct hunt {
	uint64_t first;
	unsigned n, most;
};

/* Random worlds, the frozen ones and the wide ones, and named ones in between. */
static bool next_hunted(struct run *run, void *arg)
{
	struct hunt *h = arg;
	unsigned named = 0;

	while (scenarios[1 + named])
		named++;
	if (h->n >= h->most)
		return false;
	run->scenario = h->n % 2	? scenarios[1 + h->n / 2 % named]->name
			: h->n % 4 == 2 ? "wide"
					: "random";
	run->seed = h->first + h->n++;
	return true;
}

int mutants_run(unsigned jobs, uint64_t first, unsigned worlds)
{
	unsigned missed = 0;

	printf("%-18s %-14s %6s  %s\n", "mutant", "found by", "worlds", "what it breaks");
	for (unsigned i = 1; i < MUTANT_count; i++) {
		struct runner r = {.jobs = jobs, .limit_s = 60, .failures_max = 1, .quiet = true};
		struct hunt h = {.first = first, .most = worlds};

		mutant_on = (enum mutant)i;
		runner_run(&r, next_hunted, &h);
		missed += !r.failures;
		printf("%-18s %-14s %6u  %s\n", mutants[i].name,
		       r.failures ? r.broken : "NOT FOUND", r.worlds, mutants[i].what);
		fflush(stdout);
	}
	printf("%u mutants, %u not found\n", MUTANT_count - 1, missed);
	return missed ? 1 : 0;
}
#else
bool mutant_choose(const char *name)
{
	fprintf(stderr, "not built with -Dmutants=true\n");
	return false;
}

int mutants_run(unsigned jobs, uint64_t first, unsigned worlds)
{
	return mutant_choose("") ? 0 : 2;
}
#endif
