/* Deliberate defects (base/mutant.h), and how long the simulator takes to find them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* False: there is none of that name, or the build has none; told. */
bool mutant_choose(const char *name);
/* Each in turn (or only that one), at most so many worlds from that seed on; prints a table. The
 * exit code. */
int mutants_run(const char *only, unsigned jobs, uint64_t first, unsigned worlds);
