/* Hash functions and an intrusive hash table.
 *
 * hash_bytes is xxHash3 with a per-process seed (hash_seed, set once at start from io randomness):
 * an attacker who chooses keys cannot choose collisions. The table is chained, grows by doubling
 * when there are more items than buckets, never shrinks; a node is embedded in the caller's object.
 * Not thread-safe. Memory: mem_alloc. */
#pragma once
#include <stdbool.h>
#include "base/span.h"

extern uint64_t hash_seed;
uint64_t hash_bytes(const void *p, size_t n);
/* Over the ASCII-lowered bytes. */
uint64_t hash_bytes_nocase(const void *p, size_t n);

struct hash_node {
	struct hash_node *next;
	uint64_t hash;
};

struct hash {
	struct hash_node **buckets;
	size_t mask, count; /* mask + 1 buckets, or buckets == NULL when empty */
};

void hash_init(struct hash *h); /* takes no memory */
void hash_fini(struct hash *h); /* frees the buckets, not the objects */
/* First node with that hash, or NULL; go on with hash_next. The caller compares the key. */
struct hash_node *hash_first(const struct hash *h, uint64_t hash);
struct hash_node *hash_next(const struct hash_node *n);
/* False when there is no memory; the node is then not in the table. */
bool hash_insert(struct hash *h, struct hash_node *n, uint64_t hash);
void hash_remove(struct hash *h, struct hash_node *n);
/* for (size_t i = 0; ...) style walk over all nodes; the body may not insert or remove. */
struct hash_node *hash_walk(const struct hash *h, struct hash_node *prev);
#define HASH_EACH(n, h) for ((n) = hash_walk((h), NULL); (n); (n) = hash_walk((h), (n)))
