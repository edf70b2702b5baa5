#include "base/mutant.h"

#ifdef BUILT_WITH_MUTANTS
enum mutant mutant_on;
#endif
