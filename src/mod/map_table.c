#include <errno.h>
#include "mod/map.h"

void map_table_init(struct map_table *t)
{
	hash_init(&t->exact);
	hash_init(&t->wild_head);
	hash_init(&t->wild_tail);
}

void map_table_fini(struct map_table *t)
{
	hash_fini(&t->exact);
	hash_fini(&t->wild_head);
	hash_fini(&t->wild_tail);
}

static void *find(const struct hash *h, struct span key)
{
	for (struct hash_node *n = hash_first(h, hash_bytes_nocase(key.p, key.n)); n;
	     n = hash_next(n)) {
		struct map_entry *e = CONTAINER_OF(n, struct map_entry, node);

		if (span_eq_nocase(e->key, key))
			return e->value;
	}
	return NULL;
}

static int add(struct map_table *t, struct hash *h, struct arena *a, struct span key, void *value)
{
	struct map_entry *e;

	if (find(h, key))
		return -EEXIST;
	e = arena_zalloc(a, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->key = key;
	e->value = value;
	t->longest = MAX_OF(t->longest, key.n);
	return hash_insert(h, &e->node, hash_bytes_nocase(key.p, key.n)) ? 0 : -ENOMEM;
}

/* *.example.com, .example.com (that and the name itself), www.* */
static int add_host(struct map_table *t, struct arena *a, struct span key, void *value)
{
	bool head = span_starts(key, SPAN("*.")), tail = span_ends(key, SPAN(".*"));
	struct span rest = span_cut(key,
				    head		       ? 2
				    : key.n && key.p[0] == '.' ? 1
							       : 0,
				    tail ? key.n - 2 : key.n);
	int rc;

	if (!rest.n || (head && tail) || span_find_char(rest, '*', 0) >= 0 ||
	    span_find(rest, SPAN("..")) >= 0)
		return -EINVAL;
	if (head)
		return add(t, &t->wild_head, a, span_cut(key, 1, key.n), value);
	if (tail)
		return add(t, &t->wild_tail, a, span_cut(key, 0, key.n - 1), value);
	if (rest.n == key.n)
		return add(t, &t->exact, a, key, value);
	rc = add(t, &t->exact, a, rest, value);
	return rc ? rc : add(t, &t->wild_head, a, key, value);
}

int map_table_add(struct map_table *t, struct arena *a, struct span key, void *value)
{
	if (t->hostnames && key.n)
		return add_host(t, a, key, value);
	return add(t, &t->exact, a, key, value);
}

/* Fewer and fewer labels in front: the longest one wins. */
static void *find_head(const struct map_table *t, struct span key)
{
	for (ssize_t dot = span_find_char(key, '.', 0); dot >= 0;
	     dot = span_find_char(key, '.', (size_t)dot + 1)) {
		void *v = dot > 0 ? find(&t->wild_head, span_cut(key, (size_t)dot, key.n)) : NULL;

		if (v)
			return v;
	}
	return NULL;
}

static void *find_tail(const struct map_table *t, struct span key)
{
	ssize_t dot;

	while ((dot = span_rfind_char(key, '.')) > 0) {
		void *v;

		key.n = (size_t)dot + 1;
		v = find(&t->wild_tail, key);
		if (v)
			return v;
		key.n--;
	}
	return NULL;
}

#define HOST_MAX 255 /* no name is longer: what follows is quadratic */

void *map_table_find(const struct map_table *t, struct span key)
{
	void *v;

	if (t->hostnames && key.n && key.p[key.n - 1] == '.')
		key.n--;
	v = key.n <= t->longest ? find(&t->exact, key) : NULL;
	if (v || !t->hostnames || key.n > HOST_MAX)
		return v;
	if (t->wild_head.count)
		v = find_head(t, key);
	return v || !t->wild_tail.count ? v : find_tail(t, key);
}
