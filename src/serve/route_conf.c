/* Compiles what routing reads: names per port, sorted prefixes per location. */
#include <stdlib.h>
#include "serve/route.h"

/* ---- names ---- */

static void names_release(void *arg)
{
	struct vnames *v = arg;

	hash_fini(&v->exact);
	hash_fini(&v->wild_head);
	hash_fini(&v->wild_tail);
}

/* Adds a name; a second server of the same name on the same port is ignored, with nginx's warning.
 */
static int name_add(struct conf_call *c, struct hash *h, struct span key, struct server *s,
		    const struct http_port *p, struct span shown)
{
	uint64_t hv = hash_bytes(key.p, key.n);
	struct vname *v;

	for (struct hash_node *n = hash_first(h, hv); n; n = hash_next(n)) {
		const struct vname *o = CONTAINER_OF(n, struct vname, node);

		if (!span_eq(o->text, key))
			continue;
		if (o->server != s)
			conf_warn(c, 0, "conflicting server name \"%.*s\" on %.*s, ignored",
				  SPAN_ARG(shown), SPAN_ARG(p->spec.name));
		return CONF_OK;
	}
	v = arena_zalloc(c->ctx->arena, sizeof(*v));
	if (!v)
		return conf_error(c, 0, "out of memory");
	v->text = key;
	v->server = s;
	return hash_insert(h, &v->node, hv) ? CONF_OK : conf_error(c, 0, "out of memory");
}

/* A "*" may only be the first or the last label. */
static bool wildcard_inside(const struct server_name *n)
{
	size_t from = n->kind == NAME_WILD_HEAD, to = n->text.n - (n->kind == NAME_WILD_TAIL);

	return n->kind != NAME_REGEX && span_find_char(span_cut(n->text, from, to), '*', 0) >= 0;
}

static int name_register(struct conf_call *c, struct http_port *p, struct server *s,
			 const struct server_name *n)
{
	struct vnames *v = p->names;
	size_t i;

	if (wildcard_inside(n))
		return conf_error(c, 0, "invalid server name or wildcard \"%.*s\" on %.*s",
				  SPAN_ARG(n->text), SPAN_ARG(p->spec.name));
	switch (n->kind) {
	case NAME_EXACT:
		return name_add(c, &v->exact, n->text, s, p, n->text);
	case NAME_DOT: /* .example.com is example.com and *.example.com */
		if (name_add(c, &v->exact, span_cut(n->text, 1, n->text.n), s, p, n->text) !=
		    CONF_OK)
			return CONF_ERR;
		return name_add(c, &v->wild_head, n->text, s, p, n->text);
	case NAME_WILD_HEAD:
		return name_add(c, &v->wild_head, span_cut(n->text, 1, n->text.n), s, p, n->text);
	case NAME_WILD_TAIL:
		return name_add(c, &v->wild_tail, span_cut(n->text, 0, n->text.n - 1), s, p,
				n->text);
	default:
		i = v->nregexes;
		if (!ARENA_PUSH(c->ctx->arena, v->regexes, &v->nregexes, &v->regexes_cap))
			return conf_error(c, 0, "out of memory");
		v->regexes[i].name = n;
		v->regexes[i].server = s;
		return CONF_OK;
	}
}

/* One server, whose names capture nothing. */
static bool port_is_single(const struct http_port *p)
{
	const struct server *s = CONTAINER_OF(p->members.next, struct port_server, link)->server;

	for (size_t i = 0; i < s->nnames; i++)
		if (s->server_names[i].kind == NAME_REGEX)
			return false;
	return p->members.next == p->members.prev;
}

static int port_names(struct conf_call *c, struct http_port *p)
{
	struct vnames *v = arena_zalloc(c->ctx->arena, sizeof(*v));
	struct list *l;

	if (!v || snapshot_on_free(c->ctx->snapshot, names_release, v) < 0)
		return conf_error(c, 0, "out of memory");
	hash_init(&v->exact);
	hash_init(&v->wild_head);
	hash_init(&v->wild_tail);
	p->names = v;
	v->single = port_is_single(p);
	if (v->single) /* nobody will look a name up, so, as in nginx, none can be wrong */
		return CONF_OK;
	list_each (l, &p->members) {
		struct server *s = CONTAINER_OF(l, struct port_server, link)->server;
		struct conf_call sc = *c;

		sc.scope = s->scope;
		sc.node = s->scope->node;
		for (size_t i = 0; i < s->nnames; i++)
			if (name_register(&sc, p, s, &s->server_names[i]) != CONF_OK)
				return CONF_ERR;
	}
	return CONF_OK;
}

/* A specific address needs no socket of its own where a wildcard of the same port and family
 * listens, unless it asks for one with bind or any socket option. */
static void port_cover(struct http_main *m, struct http_port *p)
{
	if (p->wildcard || p->spec.bind || p->spec.sa.ss_family == AF_UNIX)
		return;
	for (size_t i = 0; i < m->nports; i++) {
		struct http_port *w = m->ports[i];

		if (w->wildcard && w->spec.sa.ss_family == p->spec.sa.ss_family &&
		    addr_port((struct sockaddr *)&w->spec.sa) ==
			    addr_port((struct sockaddr *)&p->spec.sa)) {
			p->covers = w;
			w->covered = true;
		}
	}
}

int ports_compile(struct conf_call *c, struct http_main *m)
{
	int rc = CONF_OK;

	for (size_t i = 0; i < m->nports; i++) {
		port_cover(m, m->ports[i]);
		if (port_names(c, m->ports[i]) != CONF_OK)
			rc = CONF_ERR;
	}
	return rc;
}

/* ---- locations ---- */

static int entry_cmp(const void *a, const void *b)
{
	return span_cmp(((const struct loc_entry *)a)->prefix,
			((const struct loc_entry *)b)->prefix);
}

/* A regex location's nested prefixes may be anything; a prefix location's start with its own. */
static int tree_build(struct conf_call *c, struct location *in, size_t nprefix, size_t nexact)
{
	struct loc_tree *t = arena_zalloc(c->ctx->arena, sizeof(*t));
	struct list *l;

	if (!t)
		return CONF_ERR;
	t->v = arena_zalloc(c->ctx->arena, nprefix * sizeof(*t->v));
	t->exact = arena_zalloc(c->ctx->arena, nexact * sizeof(*t->exact));
	if (!t->v || !t->exact)
		return CONF_ERR;
	list_each (l, &in->children) {
		struct location *loc = CONTAINER_OF(l, struct location, link);

		t->auto_slash |= loc->auto_slash;
		if (loc->kind == LOC_EXACT) {
			t->exact[t->nexact++] = (struct loc_entry){.prefix = loc->name, .loc = loc};
		} else if (loc->kind == LOC_PREFIX || loc->kind == LOC_PREFIX_FINAL) {
			t->v[t->n++] = (struct loc_entry){.prefix = loc->name, .loc = loc};
		}
	}
	qsort(t->v, t->n, sizeof(*t->v), entry_cmp);
	qsort(t->exact, t->nexact, sizeof(*t->exact), entry_cmp);
	for (size_t i = 0; i < t->n; i++) {
		ssize_t up = (ssize_t)i - 1;

		while (up >= 0 && !span_starts(t->v[i].prefix, t->v[up].prefix))
			up = t->v[up].up;
		t->v[i].up = up;
	}
	in->tree = t;
	return CONF_OK;
}

int location_compile(struct conf_call *c, struct location *in)
{
	size_t nprefix = 0, nexact = 0, cap = 0;
	struct list *l;

	list_each (l, &in->children) {
		struct location *loc = CONTAINER_OF(l, struct location, link);

		if (loc->kind == LOC_REGEX || loc->kind == LOC_REGEX_NOCASE) {
			struct location **slot =
				ARENA_PUSH(c->ctx->arena, in->regexes, &in->nregexes, &cap);

			if (!slot)
				return conf_error(c, 0, "out of memory");
			*slot = loc;
		} else if (loc->kind == LOC_EXACT) {
			nexact++;
		} else {
			nprefix++;
		}
		if (location_compile(c, loc) != CONF_OK) /* depth: the parser's limit on blocks */
			return CONF_ERR;
	}
	if (nprefix + nexact == 0)
		return CONF_OK;
	return tree_build(c, in, nprefix, nexact) == CONF_OK ? CONF_OK
							     : conf_error(c, 0, "out of memory");
}
