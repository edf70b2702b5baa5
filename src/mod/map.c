/* map: a variable whose value is looked up by the value of others. */
#include "mod/map.h"
#include <errno.h>
#include "mod/mods.h"
#include "serve/req.h"
#include "serve/route.h"

struct map {
	struct map_table table;
	struct tmpl *source;
	struct var *var;
};

/* ---- lookups ---- */

static struct tmpl *map_regex_find(struct map *m, struct req *r, struct span s)
{
	for (size_t i = 0; i < m->table.nregexes; i++) {
		const struct map_regex *x = &m->table.regexes[i];
		int n = regex_match(x->re, s, r->caps, 32);

		if (n <= 0) {
			r->vars.ncaps = 0;
			continue;
		}
		r->vars.subject = s;
		r->vars.caps = r->caps;
		r->vars.ncaps = n;
		for (size_t k = 0; k < x->nvars; k++) {
			int from = r->caps[2 * x->groups[k]], to = r->caps[2 * x->groups[k] + 1];

			var_set(&r->vars, x->vars[k],
				from < 0 ? SPAN("") : span_cut(s, (size_t)from, (size_t)to));
		}
		return x->value;
	}
	return NULL;
}

static bool map_get(struct var_ctx *v, const struct var *self, struct span *out)
{
	struct map *m = (struct map *)self->data;
	struct span s = tmpl_eval(m->source, v);
	struct tmpl *t = v->failed ? NULL : map_table_find(&m->table, s);

	if (v->failed)
		return false;
	if (!t && m->table.nregexes)
		t = map_regex_find(m, REQ_OF_VARS(v), s);
	if (!t)
		t = m->table.dflt;
	*out = t ? tmpl_eval(t, v) : SPAN("");
	return !v->failed;
}

/* ---- the block ---- */

static int map_default(struct conf_call *c, struct map *m, struct tmpl *value)
{
	if (m->table.dflt)
		return conf_error(c, 0, "duplicate default map parameter");
	m->table.dflt = value;
	return CONF_OK;
}

static int map_regex_add(struct conf_call *c, struct map *m, struct span text, struct tmpl *value)
{
	struct map_regex *x = ARENA_PUSH(c->ctx->arena, m->table.regexes, &m->table.nregexes,
					 &m->table.regexes_cap);
	bool nocase = text.n && text.p[0] == '*';

	if (!x)
		return conf_error(c, 0, "out of memory");
	*x = (struct map_regex){.value = value};
	x->re = conf_regex(c, 0, span_cut(text, nocase, text.n), nocase, &x->vars, &x->groups,
			   &x->nvars);
	return x->re ? CONF_OK : CONF_ERR;
}

static int map_string(struct conf_call *c, struct map *m, struct span key, struct tmpl *value)
{
	int rc;

	if (key.n && key.p[0] == '\\') /* so that "default", "~x" and so on can be keys */
		key = span_cut(key, 1, key.n);
	rc = map_table_add(&m->table, c->ctx->arena, key, value);
	if (rc == -EEXIST)
		return conf_error(c, 0, "conflicting parameter \"%.*s\"", SPAN_ARG(key));
	if (rc == -EINVAL)
		return conf_error(c, 0, "invalid hostname or wildcard \"%.*s\"", SPAN_ARG(key));
	return rc < 0 ? conf_error(c, 0, "out of memory") : CONF_OK;
}

static int map_line(struct conf_call *c, struct map *m)
{
	struct span key = conf_arg(c, 0);
	struct tmpl *value;

	if (conf_nargs(c) == 0 && span_eq(key, SPAN("hostnames"))) {
		m->table.hostnames = true; /* from here on */
		return CONF_OK;
	}
	if (conf_nargs(c) == 0 && span_eq(key, SPAN("volatile")))
		return CONF_OK;
	if (conf_nargs(c) != 1)
		return conf_error(c, 0, "invalid number of the map parameters");
	value = tmpl_compile(c, 1);
	if (!value)
		return CONF_ERR;
	if (span_eq(key, SPAN("default")))
		return map_default(c, m, value);
	if (key.n && key.p[0] == '~')
		return map_regex_add(c, m, span_cut(key, 1, key.n), value);
	return map_string(c, m, key, value);
}

static void map_release(void *arg)
{
	map_table_fini(&((struct map *)arg)->table);
}

static uint8_t map_flags(const struct conf_node *block)
{
	for (const struct conf_node *n = block->children; n; n = n->next)
		if (n->nwords == 1 && span_eq(n->words[0].text, SPAN("volatile")))
			return VAR_CHANGEABLE | VAR_NO_CACHE;
	return VAR_CHANGEABLE;
}

static int map_set(struct conf_call *c)
{
	struct map *m = arena_zalloc(c->ctx->arena, sizeof(*m));
	struct span name = conf_arg(c, 2);
	uint8_t flags = map_flags(c->node);
	int rc = CONF_OK;

	if (!m)
		return conf_error(c, 0, "out of memory");
	map_table_init(&m->table);
	if (snapshot_on_free(c->ctx->snapshot, map_release, m) < 0)
		return conf_error(c, 0, "out of memory");
	if (name.n < 2 || name.p[0] != '$')
		return conf_error(c, 2, "invalid variable name \"%.*s\"", SPAN_ARG(name));
	m->source = tmpl_compile(c, 1);
	m->var = m->source
			 ? var_define(c, conf_var_table(c->scope), span_cut(name, 1, name.n), flags)
			 : NULL;
	if (!m->var)
		return CONF_ERR;
	m->var->get = map_get;
	m->var->data = (uintptr_t)m;
	m->var->flags |= flags & VAR_NO_CACHE;
	for (struct conf_node *n = c->node->children; n; n = n->next) {
		struct conf_call line = conf_call_on(c, n);

		n->applied = true;
		if (map_line(&line, m) != CONF_OK)
			rc = CONF_ERR;
	}
	return rc;
}

static const struct conf_row rows[] = {
	MDATA("map", IN_HTTP, 2, 2, CONF_MULTI, map_set,
	      "A variable that depends on others: source, variable, and lines of value and "
	      "result."),
	MIGNORED("map_hash_max_size", IN_HTTP, 1, 1, "Tables size themselves."),
	MIGNORED("map_hash_bucket_size", IN_HTTP, 1, 1, "Tables size themselves."),
	MEND,
};

static struct conf_mod map_mod = {.name = "map", .rows = rows};
static struct conf_mod *const confs[] = {&map_mod, NULL};

const struct http_module map_module = {.name = "map", .confs = confs};
