/* From an accepted connection to a server, and from a URI to a location. */
#include "base/mutant.h"
#include "serve/route.h"
#include "http/uri.h"
#include "serve/req_internal.h"

/* ---- ports ---- */

struct http_port *http_port_find(const struct http_main *m, const struct listener *l,
				 const struct sockaddr *local)
{
	struct http_port *exact = NULL;

	for (size_t i = 0; i < m->nports; i++) {
		struct http_port *p = m->ports[i];

		if (p->listener == l && !p->covers)
			exact = p;
	}
	if (!exact || !local)
		return exact;
	for (size_t i = 0; i < m->nports; i++) {
		struct http_port *p = m->ports[i];

		if (p->covers == exact && addr_eq((const struct sockaddr *)&p->spec.sa, local))
			return p;
	}
	return exact;
}

/* ---- server names ---- */

static struct server *vnames_hash_find(const struct hash *h, struct span name)
{
	uint64_t hv = hash_bytes(name.p, name.n);

	for (struct hash_node *n = hash_first(h, hv); n; n = hash_next(n)) {
		struct vname *v = CONTAINER_OF(n, struct vname, node);

		if (span_eq(v->text, name))
			return v->server;
	}
	return NULL;
}

/* *.example.com: the longest one wins, so try with fewer and fewer labels in front. */
static struct server *vnames_wild_head(const struct vnames *v, struct span host)
{
	struct span rest = host;

	while (rest.n) {
		ssize_t dot = span_find_char(rest, '.', 0);
		struct server *s;

		if (dot < 0)
			return NULL;
		rest = span_cut(rest, (size_t)dot, rest.n);
		s = vnames_hash_find(&v->wild_head, rest); /* keys start with the dot */
		if (s)
			return s;
		rest = span_cut(rest, 1, rest.n);
	}
	return NULL;
}

/* www.example.*: the longest one wins. */
static struct server *vnames_wild_tail(const struct vnames *v, struct span host)
{
	while (host.n) {
		ssize_t dot = span_rfind_char(host, '.');
		struct server *s;

		if (dot < 0)
			return NULL;
		host = span_cut(host, 0, (size_t)dot + 1);
		s = vnames_hash_find(&v->wild_tail, host); /* keys end with the dot */
		if (s)
			return s;
		host.n--;
	}
	return NULL;
}

static void set_named_captures(struct req *r, struct var **vars, const unsigned *groups, size_t n,
			       struct span subject)
{
	for (size_t i = 0; i < n; i++) {
		int from = r->caps[2 * groups[i]], to = r->caps[2 * groups[i] + 1];

		var_set(&r->vars, vars[i],
			from < 0 ? SPAN("") : span_make(subject.p + from, (size_t)(to - from)));
	}
}

static bool server_regex(const struct server_name *n, struct span host, struct req *r)
{
	int caps[2 * 32], *c = r ? r->caps : caps;
	int pairs = regex_match(n->re, host, c, 32);

	if (pairs <= 0)
		return false;
	if (r) {
		r->vars.subject = host;
		r->vars.caps = r->caps;
		r->vars.ncaps = pairs;
		set_named_captures(r, n->capture_vars, n->capture_groups, n->ncapture_vars, host);
	}
	return true;
}

struct server *vnames_find(const struct http_port *port, struct span host, struct req *r)
{
	const struct vnames *v = port->names;
	struct server *s;

	if (!v || v->single)
		return port->default_server;
	s = vnames_hash_find(&v->exact, host);
	if (!s)
		s = vnames_wild_head(v, host);
	if (!s)
		s = vnames_wild_tail(v, host);
	for (size_t i = 0; !s && i < v->nregexes; i++)
		if (server_regex(v->regexes[i].name, host, r))
			s = v->regexes[i].server;
	return s ? s : port->default_server;
}

/* ---- locations ---- */

/* Among sorted prefixes: the longest one that uri starts with. Each entry knows the entry that is
 * its own longest proper prefix, so one binary search and a short walk up find it. */
static struct location *tree_find(const struct loc_tree *t, struct span uri)
{
	size_t lo = 0, hi = t ? t->n : 0;
	ssize_t at;

	if (MUTANT(first_location) && hi)
		return t->v[0].loc;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (span_cmp(t->v[mid].prefix, uri) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (at = (ssize_t)lo - 1; at >= 0; at = t->v[at].up)
		if (span_starts(uri, t->v[at].prefix))
			return t->v[at].loc;
	return NULL;
}

static struct location *tree_exact(const struct loc_tree *t, struct span uri)
{
	size_t lo = 0, hi = t ? t->nexact : 0;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = span_cmp(t->exact[mid].prefix, uri);

		if (c == 0)
			return t->exact[mid].loc;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static struct location *regex_find(struct req *r, const struct location *in)
{
	for (size_t i = 0; i < in->nregexes; i++) {
		struct location *l = in->regexes[i];
		int pairs = regex_match(l->re, r->uri, r->caps, 32);

		if (pairs <= 0)
			continue;
		r->vars.subject = r->uri;
		r->vars.caps = r->caps;
		r->vars.ncaps = pairs;
		set_named_captures(r, l->capture_vars, l->capture_groups, l->ncapture_vars, r->uri);
		return l;
	}
	return NULL;
}

static struct location *slashed_in(const struct loc_entry *v, size_t n, struct span uri)
{
	for (size_t i = 0; i < n; i++) {
		struct span p = v[i].prefix;

		if (v[i].loc->auto_slash && p.n == uri.n + 1 && span_starts(p, uri) &&
		    p.p[uri.n] == '/')
			return v[i].loc;
	}
	return NULL;
}

/* The entry whose name is uri with a slash behind, when it wants that slash. */
static struct location *tree_find_slashed(const struct loc_tree *t, struct span uri)
{
	struct location *l;

	if (!t || !t->auto_slash)
		return NULL;
	l = slashed_in(t->exact, t->nexact, uri);
	return l ? l : slashed_in(t->v, t->n, uri);
}

#define ROUTE_DEPTH 64 /* the parser's limit on blocks */

/* Location trees nest: a prefix location's own children are searched within it. nginx's order:
 * exact, then the longest prefix down the nest, then regular expressions of the innermost and then
 * outer levels, without those levels whose longest prefix is ^~. *slash: it wants a slash behind
 * the uri. */
static struct location *location_search(struct req *r, struct location *root, bool *slash)
{
	struct location *path[ROUTE_DEPTH], *l = root, *found = NULL;
	bool final[ROUTE_DEPTH];
	int depth = 0;

	while (l && depth < ROUTE_DEPTH) {
		struct location *e = tree_exact(l->tree, r->uri), *p = NULL;

		if (e)
			return e;
		p = tree_find(l->tree, r->uri);
		e = !p || p->name.n != r->uri.n ? tree_find_slashed(l->tree, r->uri) : NULL;
		if (e) {
			*slash = true;
			return e;
		}
		path[depth] = l;
		final[depth++] = p && p->kind == LOC_PREFIX_FINAL;
		found = p ? p : found;
		l = p;
	}
	while (depth-- > 0) {
		struct location *re = final[depth] ? NULL : regex_find(r, path[depth]);

		if (re) { /* a regex location may hold nested ones */
			struct location *inner =
				re->tree || re->nregexes ? location_search(r, re, slash) : NULL;

			return inner ? inner : re;
		}
	}
	return found;
}

/* "/x" where only "/x/" is a proxied location: redirect, as nginx. */
static int auto_slash(struct req *r, const struct location *l)
{
	struct span to;

	to = uri_escape(&r->arena, l->name, URI_ESCAPE_PATH);
	if (r->args.n)
		to = arena_printf(&r->arena, "%.*s?%.*s", SPAN_ARG(to), SPAN_ARG(r->args));
	req_answer(r, 301)->location = to;
	return 301;
}

int location_find(struct req *r)
{
	bool slash = false;
	struct location *l;

	l = location_search(r, r->server->root, &slash);
	if (!l)
		l = r->server->root;
	r->location = l;
	r->scope = l->scope;
	if (l->internal && !r->internal)
		return 404;
	if (slash)
		return auto_slash(r, l);
	return 0;
}

struct location *location_find_named(const struct server *s, struct span name)
{
	struct list *l;

	list_each (l, &s->named) {
		struct location *loc = CONTAINER_OF(l, struct location, link);

		if (span_eq(loc->name, name))
			return loc;
	}
	return NULL;
}

int (*location_handler(const struct location *l))(struct req *r)
{
	while (!l->handler && (l->kind == LOC_IF || l->kind == LOC_LIMIT_EXCEPT) && l->parent)
		l = l->parent;
	return l->handler;
}
