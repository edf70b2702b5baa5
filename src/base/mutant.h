/* Deliberate defects, one at a time, to prove that the simulator finds them (./dev sim --mutants).
 *
 * A row of mutant.def names the invariant that must find it, and the world that is its home.
 *
 * In a normal build MUTANT(name) is the constant 0 and nothing is left of it. Built with
 * -Dmutants=true it asks whether that defect of mutant.def is switched on. */
#pragma once

#ifdef BUILT_WITH_MUTANTS
enum mutant {
	MUTANT_none,
#define MUTANT(name, finder, home, what) MUTANT_##name,
#include "base/mutant.def"
#undef MUTANT
	MUTANT_count
};
extern enum mutant mutant_on; /* by sluice-sim --mutant */
#define MUTANT(name) (mutant_on == MUTANT_##name)
#else
#define MUTANT(name) 0
#endif
