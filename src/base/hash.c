#define XXH_INLINE_ALL
#include <xxhash.h>
#include "base/bug.h"
#include "base/hash.h"
#include "base/pool.h"

#define FIRST_BUCKETS 16

uint64_t hash_seed;

uint64_t hash_bytes(const void *p, size_t n)
{
	return XXH3_64bits_withSeed(p, n, hash_seed);
}

uint64_t hash_bytes_nocase(const void *p, size_t n)
{
	const char *s = p;
	uint64_t h = hash_seed;
	char low[256];

	/* Long keys are chained through the seed, block by block. */
	do {
		size_t k = MIN_OF(n, sizeof(low));

		for (size_t i = 0; i < k; i++)
			low[i] = ascii_lower(s[i]);
		h = XXH3_64bits_withSeed(low, k, h);
		n -= k;
		s = n ? s + k : s;
	} while (n);
	return h;
}

void hash_init(struct hash *h)
{
	*h = (struct hash){0};
}

void hash_fini(struct hash *h)
{
	mem_free(h->buckets);
	*h = (struct hash){0};
}

struct hash_node *hash_first(const struct hash *h, uint64_t hash)
{
	struct hash_node *n = h->buckets ? h->buckets[hash & h->mask] : NULL;

	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct hash_node *hash_next(const struct hash_node *n)
{
	uint64_t hash = n->hash;

	do
		n = n->next;
	while (n && n->hash != hash);
	return (struct hash_node *)n;
}

/* False when there is no memory: the table then stays as it is. */
static bool hash_grow(struct hash *h)
{
	size_t size = h->buckets ? (h->mask + 1) * 2 : FIRST_BUCKETS;
	struct hash_node **b = mem_zalloc(size * sizeof(*b));

	if (!b)
		return false;
	for (size_t i = 0; h->buckets && i <= h->mask; i++) {
		for (struct hash_node *n = h->buckets[i], *next; n; n = next) {
			struct hash_node **at = &b[n->hash & (size - 1)];

			next = n->next;
			n->next = *at;
			*at = n;
		}
	}
	mem_free(h->buckets);
	h->buckets = b;
	h->mask = size - 1;
	return true;
}

bool hash_insert(struct hash *h, struct hash_node *n, uint64_t hash)
{
	/* A table that cannot grow still takes the node, in a longer chain. */
	if ((!h->buckets || h->count > h->mask) && !hash_grow(h) && !h->buckets)
		return false;
	n->hash = hash;
	n->next = h->buckets[hash & h->mask];
	h->buckets[hash & h->mask] = n;
	h->count++;
	return true;
}

void hash_remove(struct hash *h, struct hash_node *n)
{
	struct hash_node **at;

	BUG_ON(!h->buckets);
	at = &h->buckets[n->hash & h->mask];
	while (*at != n) {
		BUG_ON(!*at);
		at = &(*at)->next;
	}
	*at = n->next;
	n->next = NULL;
	h->count--;
}

struct hash_node *hash_walk(const struct hash *h, struct hash_node *prev)
{
	size_t i = prev ? (prev->hash & h->mask) + 1 : 0;

	if (prev && prev->next)
		return prev->next;
	for (; h->buckets && i <= h->mask; i++)
		if (h->buckets[i])
			return h->buckets[i];
	return NULL;
}
