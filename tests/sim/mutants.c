#include "mutants.h"
#include <stdio.h>
#include <string.h>
#include "base/mutant.h"
#include "runner.h"
#include "world.h"

#define LIMIT_S 20 /* processor time of a world; more is a hang */

#ifdef BUILT_WITH_MUTANTS
#undef MUTANT
static const struct mutant_row {
	const char *name, *finder, *home, *what;
} mutants[] = {
	{.name = "none"},
#define MUTANT(name, finder, home, what) {#name, finder, home, what},
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
	const char *home;
	uint64_t first;
	unsigned n, most;
};

/* Every other world is of the mutant's home. In between: the wide ones, the frozen ones, and each
 * named one in turn. */
static bool next_hunted(struct run *run, void *arg)
{
	struct hunt *h = arg;
	unsigned named = 0,
		 n = h->n / 2; /* not h->n: what is made of a seed may ask for its parity */

	while (scenarios[1 + named])
		named++;
	if (h->n >= h->most)
		return false;
	run->scenario = h->n % 2 == 0 ? h->home
			: n % 2	      ? scenarios[1 + n / 2 % named]->name
			: n % 4 == 0  ? "wide"
				      : "random";
	run->seed = h->first + n;
	h->n++;
	return true;
}

/* One after the other is looked for: a runner counts only what its finder finds. */
static bool mutant_hunt(const struct mutant_row *m, unsigned jobs, uint64_t first, unsigned worlds)
{
	struct runner r = {.jobs = jobs,
			   .limit_s = LIMIT_S,
			   .failures_max = 1,
			   .quiet = true,
			   .looked_for = m->finder};
	struct hunt h = {.home = m->home, .first = first, .most = worlds};

	mutant_on = (enum mutant)(m - mutants);
	runner_run(&r, next_hunted, &h);
	printf("%-20s %-13s %6u %6u %-13s %s\n", m->name, r.failures ? m->finder : "NOT FOUND",
	       r.worlds, r.others, r.other, m->what);
	fflush(stdout);
	return r.failures > 0;
}

int mutants_run(const char *only, unsigned jobs, uint64_t first, unsigned worlds)
{
	unsigned hunted = 0, missed = 0;

	printf("%-20s %-13s %6s %6s %-13s %s\n", "mutant", "found by", "worlds", "others",
	       "such as", "what it breaks");
	for (unsigned i = 1; i < MUTANT_count; i++) {
		if (only && strcmp(only, mutants[i].name) != 0)
			continue;
		hunted++;
		missed += !mutant_hunt(&mutants[i], jobs, first, worlds);
	}
	printf("%u mutants, %u not found\n", hunted, missed);
	return missed || !hunted ? 1 : 0;
}
#else
bool mutant_choose(const char *name)
{
	fprintf(stderr, "not built with -Dmutants=true\n");
	return false;
}

int mutants_run(const char *only, unsigned jobs, uint64_t first, unsigned worlds)
{
	return mutant_choose("") ? 0 : 2;
}
#endif
