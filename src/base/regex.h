/* Regular expressions: PCRE2 with JIT. A struct regex is immutable after compiling and may be used
 * by all threads; match data and a JIT stack are per thread. Matching has a ceiling (match and
 * depth limit), so a hostile subject ends as "no match" with a counted error, never as a hang. */
#pragma once
#include <stdatomic.h>
#include "base/span.h"

struct regex;
#define REGEX_MAX_CAPTURES 64 /* whole match included */

/* text without delimiters. On failure NULL, with a message in err (size bytes) and its offset.
 * Unnamed and named captures: see regex_names. Memory: mem_*; regex_free gives it back. */
struct regex *regex_new(struct span text, bool nocase, char *err, size_t size, size_t *err_at);
void regex_free(struct regex *re);
unsigned regex_captures(const struct regex *re); /* groups, whole match not counted */
/* i-th named group: its name and number; false past the end. */
bool regex_name_at(const struct regex *re, unsigned i, struct span *name, unsigned *number);

/* Returns the number of capture pairs filled (>= 1) or 0 for no match (also on a limit). caps holds
 * start, end offsets per group, -1 for groups that did not take part; max pairs. */
int regex_match(const struct regex *re, struct span subject, int *caps, int max);
/* Matches that ended at a limit or for lack of memory, since the process started. */
extern _Atomic uint64_t regex_errors;
/* Frees what this thread holds. */
void regex_thread_fini(void);
