/* http {}, server {}, location {}: the blocks, and the core directives that need more than a row.
 */
#include "serve/core.h"
#include "http/msg.h"
#include "http/uri.h"
#include "net/resolver.h"
#include "serve/core_rows.h"
#include "serve/route.h"
#include "serve/vars.h"

struct http_main *http_main_of(struct conf_ctx *ctx)
{
	return ctx->snapshot->http;
}

struct server *server_of(const struct conf_scope *s)
{
	for (; s; s = s->parent)
		if (s->where == IN_SERVER)
			return s->owner;
	return NULL;
}

/* ---- http ---- */

static int http_link(struct conf_call *c, void *arg)
{
	struct http_main *m = arg;
	struct list *l;
	int rc = ports_compile(c, m);

	if (temp_path_make(c, conf_get(m->scope, &core_loc_mod)) != CONF_OK)
		rc = CONF_ERR;
	list_each (l, &m->servers) {
		struct server *s = CONTAINER_OF(l, struct server, link);

		if (location_compile(c, s->root) != CONF_OK)
			rc = CONF_ERR;
	}
	return rc;
}

int core_http_block(struct conf_call *c)
{
	struct http_main *m;

	if (c->ctx->snapshot->http)
		return conf_error(c, 0, "\"http\" directive is duplicate");
	m = arena_zalloc(c->ctx->arena, sizeof(*m));
	if (!m)
		return conf_error(c, 0, "out of memory");
	m->snapshot = c->ctx->snapshot;
	list_init(&m->servers);
	list_init(&m->log_formats);
	list_init(&m->buffered_logs);
	list_init(&m->upstreams);
	list_init(&m->status_zones);
	c->ctx->snapshot->http = m;
	m->scope = conf_scope_new(c, IN_HTTP, m);
	m->vars = var_table_new(c->ctx->arena);
	if (!m->scope || !m->vars || vars_register(m->vars) < 0)
		return conf_error(c, 0, "out of memory");
	conf_set_var_table(m->scope, m->vars);
	if (conf_apply(c, m->scope) != CONF_OK)
		return CONF_ERR;
	return conf_later(c, CONF_LINK_OBJECTS, http_link, m);
}

/* ---- server ---- */

static struct location *location_root(struct conf_call *c, struct server *s)
{
	struct location *l = arena_zalloc(c->ctx->arena, sizeof(*l));

	if (!l)
		return NULL;
	list_init(&l->link);
	list_init(&l->children);
	l->server = s;
	l->scope = s->scope;
	l->kind = LOC_PREFIX;
	return l;
}

int core_server_block(struct conf_call *c)
{
	struct http_main *m = http_main_of(c->ctx);
	struct server *s = arena_zalloc(c->ctx->arena, sizeof(*s));

	if (!s)
		return conf_error(c, 0, "out of memory");
	s->main = m;
	s->file = c->node->file;
	s->line = c->node->words[0].line;
	list_init(&s->named);
	list_push(&m->servers, &s->link);
	s->scope = conf_scope_new(c, IN_SERVER, s);
	s->root = s->scope ? location_root(c, s) : NULL;
	if (!s->root)
		return conf_error(c, 0, "out of memory");
	if (conf_apply(c, s->scope) != CONF_OK)
		return CONF_ERR;
	return server_defaults(c, s);
}

/* ---- location ---- */

struct location *location_new(struct conf_call *c, enum location_kind kind, enum conf_where where,
			      struct span name)
{
	struct location *l = arena_zalloc(c->ctx->arena, sizeof(*l));
	struct server *s = server_of(c->scope);
	struct location *parent = location_of(c->scope);

	if (!l) {
		conf_error(c, 0, "out of memory");
		return NULL;
	}
	list_init(&l->link);
	list_init(&l->children);
	l->kind = kind;
	l->name = name;
	l->server = s;
	l->parent = parent ? parent : s->root;
	l->internal = l->parent && l->parent->internal;
	l->file = c->node->file;
	l->line = c->node->words[0].line;
	l->scope = conf_scope_new(c, where, l);
	if (!l->scope) {
		conf_error(c, 0, "out of memory");
		return NULL;
	}
	if (kind == LOC_NAMED)
		list_push(&s->named, &l->link);
	else if (kind != LOC_IF && kind != LOC_LIMIT_EXCEPT)
		list_push(&l->parent->children, &l->link);
	s->main->nlocations++;
	return l;
}

/* "location [= | ^~ | ~ | ~*] name": the modifier may be glued to the name. */
static int location_words(struct conf_call *c, enum location_kind *kind, struct span *name,
			  unsigned *word)
{
	static const struct {
		struct span text;
		enum location_kind kind;
	} mods[] = {
		{SPAN_INIT("="), LOC_EXACT},
		{SPAN_INIT("^~"), LOC_PREFIX_FINAL},
		{SPAN_INIT("~*"), LOC_REGEX_NOCASE},
		{SPAN_INIT("~"), LOC_REGEX},
	};
	struct span first = conf_arg(c, 1);

	*kind = LOC_PREFIX;
	*name = first;
	*word = 1;
	if (conf_nargs(c) == 2) {
		for (size_t i = 0; i < ARRAY_LEN(mods); i++) {
			if (span_eq(first, mods[i].text)) {
				*kind = mods[i].kind;
				*name = conf_arg(c, 2);
				*word = 2;
				return CONF_OK;
			}
		}
		return conf_error(c, 1, "invalid location modifier \"%.*s\"", SPAN_ARG(first));
	}
	for (size_t i = 0; i < ARRAY_LEN(mods); i++) {
		if (span_starts(first, mods[i].text)) {
			*kind = mods[i].kind;
			*name = span_cut(first, mods[i].text.n, first.n);
			return CONF_OK;
		}
	}
	if (first.n && first.p[0] == '@')
		*kind = LOC_NAMED;
	return CONF_OK;
}

static bool is_regex(enum location_kind k)
{
	return k == LOC_REGEX || k == LOC_REGEX_NOCASE;
}

static int location_nesting(struct conf_call *c, enum location_kind kind, struct span name)
{
	const struct location *in = location_of(c->scope);

	if (!in)
		return CONF_OK;
	if (in->kind == LOC_EXACT)
		return conf_error(c, 1,
				  "location \"%.*s\" cannot be inside the exact location \"%.*s\"",
				  SPAN_ARG(name), SPAN_ARG(in->name));
	if (in->kind == LOC_NAMED)
		return conf_error(c, 1,
				  "location \"%.*s\" cannot be inside the named location \"%.*s\"",
				  SPAN_ARG(name), SPAN_ARG(in->name));
	if (kind == LOC_NAMED)
		return conf_error(c, 1, "named location \"%.*s\" can be on the server level only",
				  SPAN_ARG(name));
	if (!is_regex(kind) && !is_regex(in->kind) && !span_starts(name, in->name))
		return conf_error(c, 1, "location \"%.*s\" is outside location \"%.*s\"",
				  SPAN_ARG(name), SPAN_ARG(in->name));
	return CONF_OK;
}

static int location_duplicate(struct conf_call *c, enum location_kind kind, struct span name)
{
	struct server *s = server_of(c->scope);
	struct location *in = location_of(c->scope);
	struct list *head = kind == LOC_NAMED ? &s->named
			    : in	      ? &in->children
					      : &s->root->children,
		    *l;

	if (is_regex(kind))
		return CONF_OK;
	list_each (l, head) {
		const struct location *o = CONTAINER_OF(l, struct location, link);
		bool same = (o->kind == LOC_EXACT) == (kind == LOC_EXACT) && !is_regex(o->kind);

		if (same && span_eq(o->name, name)) {
			if (kind == LOC_NAMED) { /* nginx says nothing and takes the first */
				conf_warn(c, 1, "duplicate location \"%.*s\", the first one counts",
					  SPAN_ARG(name));
				return CONF_OK;
			}
			conf_error(c, 1, "duplicate location \"%.*s\"", SPAN_ARG(name));
			return conf_remedy(c, "the first one is in %.*s:%u",
					   SPAN_ARG(o->file->path), o->line);
		}
	}
	return CONF_OK;
}

int core_location_block(struct conf_call *c)
{
	enum location_kind kind;
	struct location *l;
	struct span name;
	unsigned word;

	if (location_words(c, &kind, &name, &word) != CONF_OK ||
	    location_nesting(c, kind, name) != CONF_OK ||
	    location_duplicate(c, kind, name) != CONF_OK)
		return CONF_ERR;
	l = location_new(c, kind, IN_LOCATION, name);
	if (!l)
		return CONF_ERR;
	if (is_regex(kind)) {
		l->re = conf_regex(c, word, name, kind == LOC_REGEX_NOCASE, &l->capture_vars,
				   &l->capture_groups, &l->ncapture_vars);
		if (!l->re)
			return CONF_ERR;
	}
	return conf_apply(c, l->scope);
}

/* Here, and only here, case does not matter. */
static enum http_method limit_except_method(struct span word)
{
	char upper[16];
	enum http_method m;

	if (word.n > sizeof(upper))
		return METHOD_OTHER;
	for (size_t i = 0; i < word.n; i++)
		upper[i] =
			word.p[i] >= 'a' && word.p[i] <= 'z' ? (char)(word.p[i] - 32) : word.p[i];
	m = http_method_of(span_make(upper, word.n));
	return m == METHOD_TRACE || m == METHOD_CONNECT ? METHOD_OTHER : m;
}

int core_limit_except_block(struct conf_call *c)
{
	struct location *in = location_of(c->scope), *l;

	if (in->limit_except_scope)
		return conf_error(c, 0, "\"limit_except\" directive is duplicate");
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		enum http_method m = limit_except_method(conf_arg(c, i));

		if (m == METHOD_OTHER)
			return conf_error(c, i, "invalid method \"%.*s\"",
					  SPAN_ARG(conf_arg(c, i)));
		in->limit_except_methods |= 1u << m;
		if (m == METHOD_GET)
			in->limit_except_methods |= 1u << METHOD_HEAD;
	}
	l = location_new(c, LOC_LIMIT_EXCEPT, IN_LIMIT_EXCEPT, in->name);
	if (!l || conf_apply(c, l->scope) != CONF_OK)
		return CONF_ERR;
	in->limit_except_scope = l->scope;
	return CONF_OK;
}

/* ---- regular expressions ---- */

static void regex_release(void *re)
{
	regex_free(re);
}

struct regex *conf_regex(struct conf_call *c, unsigned word, struct span text, bool nocase,
			 struct var ***vars, unsigned **groups, size_t *n)
{
	struct var_table *t = conf_var_table(c->scope);
	size_t at = 0, cap = 0, gcap = 0, gn = 0;
	char err[256];
	struct regex *re = regex_new(text, nocase, err, sizeof(err), &at);
	struct span name;
	unsigned group;

	if (!re) {
		if (at >= text.n)
			conf_error(c, word, "pcre2_compile() failed: %s in \"%.*s\"", err,
				   SPAN_ARG(text));
		else
			conf_error(c, word, "pcre2_compile() failed: %s in \"%.*s\" at \"%.*s\"",
				   err, SPAN_ARG(text), SPAN_ARG(span_cut(text, at, text.n)));
		return NULL;
	}
	if (snapshot_on_free(c->ctx->snapshot, regex_release, re) < 0) {
		regex_free(re);
		conf_error(c, word, "out of memory");
		return NULL;
	}
	*n = 0;
	for (unsigned i = 0; vars && regex_name_at(re, i, &name, &group); i++) {
		struct var *v = var_define(c, t, arena_dup(c->ctx->arena, name), VAR_CHANGEABLE);
		struct var **pv = v ? ARENA_PUSH(c->ctx->arena, *vars, n, &cap) : NULL;
		unsigned *pg = pv ? ARENA_PUSH(c->ctx->arena, *groups, &gn, &gcap) : NULL;

		if (!pg)
			return NULL;
		*pv = v;
		*pg = group;
	}
	return re;
}
