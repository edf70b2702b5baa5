/* Within mod/: a map's table, apart from the configuration that fills it.
 *
 * Looked up in this order: exact strings (without case), with `hostnames` the longest *.x and then
 * the longest x.*, regular expressions in the order of the file, the default. Keys are lower case.
 */
#pragma once
#include "base/arena.h"
#include "base/hash.h"
#include "base/regex.h"
#include "base/span.h"

struct map_entry {
	struct hash_node node;
	struct span key;
	void *value;
};
struct map_regex {
	struct regex *re;
	struct var **vars; /* of the named groups */
	unsigned *groups;
	size_t nvars;
	void *value;
};
struct map_table {
	struct hash exact, wild_head /* ".example.com" */, wild_tail /* "www.example." */;
	struct map_regex *regexes;
	size_t nregexes, regexes_cap;
	void *dflt;
	bool hostnames;
	size_t longest; /* bytes of the longest key: a longer text is in no table */
};

void map_table_init(struct map_table *t);
void map_table_fini(struct map_table *t); /* not the regexes */
/* key: as written; wildcards only with hostnames. 0; -EEXIST; -EINVAL: a wildcard in the middle;
 * -ENOMEM. */
int map_table_add(struct map_table *t, struct arena *a, struct span key, void *value);
/* The value for a string, without regular expressions; NULL: none. */
void *map_table_find(const struct map_table *t, struct span key);
