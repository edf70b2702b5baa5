/* Under AddressSanitizer: where what the worker did not give back was allocated. */
#pragma once

/* From now on; again after each sim_set_faults, which takes the hook. */
void leaks_watch(void);
/* Prints the allocation of each object that is left, the first ones at least, to stderr. */
void leaks_print(void);
