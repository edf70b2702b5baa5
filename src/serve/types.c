/* MIME types: the types{} of a configuration, and the table that holds without one (nginx's three).
 */
#include "base/hash.h"
#include "serve/core.h"
#include "serve/core_rows.h"

struct type_entry {
	struct hash_node node;
	struct span ext, type;
};
struct types_table {
	struct hash by_ext;
};

static void types_release(void *arg)
{
	hash_fini(&((struct types_table *)arg)->by_ext);
}

static struct type_entry *types_lookup(const struct types_table *t, struct span ext)
{
	uint64_t h = hash_bytes_nocase(ext.p, ext.n);

	for (struct hash_node *n = hash_first(&t->by_ext, h); n; n = hash_next(n)) {
		struct type_entry *e = CONTAINER_OF(n, struct type_entry, node);

		if (span_eq_nocase(e->ext, ext))
			return e;
	}
	return NULL;
}

static int types_node(struct conf_call *c, struct types_table *t, struct conf_node *node)
{
	struct conf_call at = *c;

	at.node = node;
	for (unsigned i = 1; i < node->nwords; i++) {
		struct span ext = node->words[i].text;
		struct type_entry *e = types_lookup(t, ext);

		if (e) {
			conf_warn(&at, i,
				  "duplicate extension \"%.*s\", content type: \"%.*s\", previous "
				  "content type: \"%.*s\"",
				  SPAN_ARG(ext), SPAN_ARG(node->words[0].text), SPAN_ARG(e->type));
			e->type = node->words[0].text;
			continue;
		}
		e = arena_zalloc(c->ctx->arena, sizeof(*e));
		if (!e)
			return conf_error(&at, i, "out of memory");
		e->ext = ext;
		e->type = node->words[0].text;
		if (!hash_insert(&t->by_ext, &e->node, hash_bytes_nocase(ext.p, ext.n)))
			return conf_error(&at, i, "out of memory");
	}
	return CONF_OK;
}

/* A second types{} in the same block adds to the first; one in an inner block replaces the
 * inherited. */
int types_set(struct conf_call *c)
{
	struct core_loc *l = conf_mine(c);

	if (!l)
		return CONF_ERR;
	if (conf_first_here(c) || !l->types) {
		l->types = arena_zalloc(c->ctx->arena, sizeof(*l->types));
		if (!l->types || snapshot_on_free(c->ctx->snapshot, types_release, l->types) < 0)
			return conf_error(c, 0, "out of memory");
		hash_init(&l->types->by_ext);
	}
	for (struct conf_node *n = c->node->children; n; n = n->next)
		if (types_node(c, l->types, n) != CONF_OK)
			return CONF_ERR;
	return CONF_OK;
}

struct span types_find(const struct core_loc *l, struct span ext)
{
	struct type_entry *e;

	if (!ext.n)
		return l->default_type;
	if (!l->types) {
		if (span_eq_nocase(ext, SPAN("html")))
			return SPAN("text/html");
		if (span_eq_nocase(ext, SPAN("gif")))
			return SPAN("image/gif");
		if (span_eq_nocase(ext, SPAN("jpg")))
			return SPAN("image/jpeg");
		return l->default_type;
	}
	e = types_lookup(l->types, ext);
	return e ? e->type : l->default_type;
}
