/* sluice-sim: runs worlds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "link.h"
#include "main/modules.h"
#include "mutants.h"
#include "runner.h"
#include "world.h"

static struct {
	uint64_t seed, first, worlds, minutes, seconds, jobs, limit_s, failures;
	bool one, trace, list, quiet, twice, mutants;
	const char *scenario, *regressions, *mutant;
} opt = {.worlds = 200, .jobs = 2, .limit_s = 60, .failures = 3, .scenario = "wide"};

static const char usage[] =
	"sluice-sim: worlds for sluice's worker, from seeds (see doc/simulator.md)\n"
	"  --seed N          one world, in this process (for gdb)\n"
	"  --worlds N        so many worlds (default 200)\n"
	"  --minutes N       as many as that time allows\n"
	"  --seconds N       no new ones after that time\n"
	"  --first SEED      the first seed; default: from the clock\n"
	"  --scenario NAME   a named world instead of random ones; \"all\": each named one\n"
	"  --regressions F   the worlds listed in that file\n"
	"  --jobs N          at a time (default 2)\n"
	"  --limit S         processor time of a world that counts as a hang (default 60)\n"
	"  --failures N      stop after so many (default 3)\n"
	"  --trace           every event to stderr\n"
	"  --twice           one world twice: both must have the same fingerprint\n"
	"  --list            names of scenarios\n"
	"  --mutant NAME     with a deliberate defect (only when built with -Dmutants=true)\n"
	"  --mutants         each defect in turn (or that of --mutant), until the invariant finds "
	"it "
	"of which\n"
	"                    mutant.def says so; --worlds is the most for each\n"
	"  --quiet           only the sum\n";

static const struct {
	const char *name;
	uint64_t *number;
	bool *flag;
	const char **text;
} options[] = {
	{.name = "seed", .number = &opt.seed},
	{.name = "worlds", .number = &opt.worlds},
	{.name = "minutes", .number = &opt.minutes},
	{.name = "seconds", .number = &opt.seconds},
	{.name = "first", .number = &opt.first},
	{.name = "jobs", .number = &opt.jobs},
	{.name = "limit", .number = &opt.limit_s},
	{.name = "failures", .number = &opt.failures},
	{.name = "trace", .flag = &opt.trace},
	{.name = "twice", .flag = &opt.twice},
	{.name = "list", .flag = &opt.list},
	{.name = "quiet", .flag = &opt.quiet},
	{.name = "mutants", .flag = &opt.mutants},
	{.name = "scenario", .text = &opt.scenario},
	{.name = "regressions", .text = &opt.regressions},
	{.name = "mutant", .text = &opt.mutant},
};

/* One option; how many words it took. */
static int parse_option(char **argv)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		if (strncmp(argv[0], "--", 2) != 0 || strcmp(argv[0] + 2, options[i].name) != 0)
			continue;
		if (options[i].flag) {
			*options[i].flag = true;
			return 1;
		}
		if (!argv[1])
			break;
		if (options[i].number)
			*options[i].number = strtoull(argv[1], NULL, 10);
		else
			*options[i].text = argv[1];
		opt.one |= options[i].number == &opt.seed;
		return 2;
	}
	fputs(usage, stderr);
	exit(2);
}

/* ---- what runs next ---- */

static time_t until;

static bool next_random(struct run *run, void *arg)
{
	uint64_t *seed = arg;

	if ((until && time(NULL) >= until) || (!opt.minutes && !opt.worlds--))
		return false;
	*run = (struct run){opt.scenario, (*seed)++};
	return true;
}

/* Each named world, a few seeds each. */
static bool next_scenario(struct run *run, void *arg)
{
	uint64_t *n = arg, per = opt.worlds;
	const struct scenario *s = scenarios[1 + *n / per];

	if (!s)
		return false;
	*run = (struct run){s->name, opt.first + *n % per};
	++*n;
	return true;
}

/* Lines "SCENARIO SEED reason". */
static bool next_regression(struct run *run, void *arg)
{
	static char names[512][32];
	static unsigned n;
	unsigned long long seed;
	char line[500];

	while (n < 512 && fgets(line, sizeof(line), arg)) {
		if (*line == '#' || sscanf(line, "%31s %llu", names[n], &seed) != 2)
			continue;
		*run = (struct run){names[n++], seed};
		return true;
	}
	return false;
}

static int run_many(void)
{
	struct runner r = {.jobs = (unsigned)opt.jobs,
			   .limit_s = (unsigned)opt.limit_s,
			   .failures_max = (unsigned)opt.failures,
			   .quiet = opt.quiet};
	uint64_t seed = opt.first ? opt.first : (uint64_t)time(NULL) * 1000, n = 0;

	if (opt.minutes || opt.seconds)
		until = time(NULL) + (time_t)(opt.minutes * 60 + opt.seconds);
	if (opt.regressions) {
		FILE *f = fopen(opt.regressions, "re");

		if (!f) {
			perror(opt.regressions);
			return 2;
		}
		runner_run(&r, next_regression, f);
		fclose(f);
	} else if (strcmp(opt.scenario, "all") == 0) {
		opt.worlds = opt.worlds ? opt.worlds : 1;
		opt.first = seed;
		runner_run(&r, next_scenario, &n);
	} else {
		if (!opt.quiet)
			printf("first seed %llu\n", (unsigned long long)seed);
		runner_run(&r, next_random, &seed);
	}
	if (opt.quiet)
		printf("%u worlds, %u failed%s%s\n", r.worlds, r.failures, r.failures ? ": " : "",
		       r.broken);
	return r.failures ? 1 : 0;
}

static int run_one(void)
{
	struct run run = {opt.scenario, opt.seed};
	struct run_result x;
	int rc;

	world.o.trace = opt.trace;
	rc = run_here(&run, &x);
	printf("seed %llu holds: %u requests, %u answered, %u by the proxy, %u lost, %.3f virtual "
	       "seconds, fingerprint "
	       "%016llx\n",
	       (unsigned long long)opt.seed, x.asked, x.whole, x.own, x.lost,
	       (double)x.virtual_us / 1e6, (unsigned long long)x.fingerprint);
	fflush(stdout);
	_exit(rc); /* what the libraries keep is not ours to free */
}

static bool next_same(struct run *run, void *arg)
{
	*run = (struct run){opt.scenario, opt.seed};
	return opt.worlds-- > 0;
}

static int run_twice(void)
{
	struct runner a = {.jobs = 1,
			   .limit_s = (unsigned)opt.limit_s,
			   .failures_max = 1,
			   .quiet = true},
		      b = a;

	opt.worlds = 1;
	runner_run(&a, next_same, NULL);
	opt.worlds = 1;
	runner_run(&b, next_same, NULL);
	if (a.sum.fingerprint == b.sum.fingerprint && strcmp(a.broken, b.broken) == 0)
		return 0;
	printf("seed %llu: %016llx and %016llx\n", (unsigned long long)opt.seed,
	       (unsigned long long)a.sum.fingerprint, (unsigned long long)b.sum.fingerprint);
	return 1;
}

int main(int argc, char **argv)
{
	for (char **at = argv + 1; *at;)
		at += parse_option(at);
	if (opt.list) {
		for (const struct scenario *const *s = scenarios; *s; s++)
			printf("%-16s %s\n", (*s)->name, (*s)->what);
		return 0;
	}
	if (strcmp(opt.scenario, "all") != 0 && !scenario_find(opt.scenario)) {
		fprintf(stderr, "no scenario \"%s\"; --list names them\n", opt.scenario);
		return 2;
	}
	link_warm();
	modules_init();
	if (opt.twice)
		return run_twice();
	if (opt.mutants)
		return mutants_run(opt.mutant, (unsigned)opt.jobs, opt.first ? opt.first : 1,
				   (unsigned)opt.worlds);
	if (opt.mutant && !mutant_choose(opt.mutant))
		return 2;
	return opt.one ? run_one() : run_many();
}
