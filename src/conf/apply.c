/* The tree to structs: scopes, the order of things, and what is put off. Recursion goes through the
 * set() of blocks and is as deep as blocks are nested, which the parser limits. */
#include <stdio.h>
#include "conf/problem.h"
#include "conf/rows.h"
#include "conf/template.h"

struct later {
	struct list link;
	struct conf_call call;
	int (*fn)(struct conf_call *c, void *arg);
	void *arg;
};

/* ---- scopes ---- */

static size_t bitmap_words(unsigned bits)
{
	return bits / 64 + 1;
}

static struct conf_scope *scope_new(struct conf_ctx *ctx, struct conf_scope *parent)
{
	size_t nowned = bitmap_words(conf_rows.nmods), nseen = bitmap_words(conf_rows.nrows);
	struct conf_scope *s = arena_zalloc(ctx->arena, sizeof(*s));

	if (!s)
		return NULL;
	s->slots = arena_zalloc(ctx->arena, (conf_rows.nmods + 1) * sizeof(*s->slots));
	s->owned = arena_zalloc(ctx->arena, (nowned + nseen) * sizeof(*s->owned));
	if (!s->slots || !s->owned)
		return NULL;
	s->seen = s->owned + nowned;
	s->parent = parent;
	if (parent) {
		memcpy(s->slots, parent->slots, conf_rows.nmods * sizeof(*s->slots));
		s->vars = parent->vars;
	}
	return s;
}

struct conf_scope *conf_scope_new(struct conf_call *c, enum conf_where where, void *owner)
{
	struct conf_scope *s = scope_new(c->ctx, c->scope);

	if (!s) {
		conf_no_memory(c);
		return NULL;
	}
	s->where = where;
	s->node = c->node;
	s->owner = owner;
	return s;
}

void *conf_own(struct conf_call *c, const struct conf_mod *m)
{
	struct conf_scope *s = c->scope;
	void *copy;

	BUG_ON(m->size == 0);
	if (bit_test(s->owned, (unsigned)m->slot))
		return s->slots[m->slot];
	copy = arena_copy(c->ctx->arena, s->slots[m->slot], m->size);
	if (!copy) {
		conf_no_memory(c);
		return NULL;
	}
	bit_set(s->owned, (unsigned)m->slot);
	s->slots[m->slot] = copy;
	return copy;
}

bool conf_first_here(const struct conf_call *c)
{
	const struct row_entry *e = c->row ? rows_entry_of(c->row) : NULL;

	return e && !bit_test(c->scope->seen, e->id);
}

struct conf_scope *conf_scope_up(struct conf_scope *s, uint32_t where)
{
	while (s && !(s->where & where))
		s = s->parent;
	return s;
}

void conf_set_var_table(struct conf_scope *s, struct var_table *t)
{
	s->vars = t;
}

struct var_table *conf_var_table(struct conf_scope *s)
{
	while (s && !s->vars)
		s = s->parent;
	return s ? s->vars : NULL;
}

/* ---- one directive ---- */

static int unknown_directive(struct conf_call *c)
{
	struct span name = conf_arg(c, 0);
	const char *module = conf_known_module(name), *near;

	conf_error(c, 0, "unknown directive \"%.*s\"", SPAN_ARG(name));
	if (module)
		return conf_remedy(c, "known to nginx (module %s), not supported by sluice yet",
				   module);
	near = conf_nearest(name, c->scope->where);
	if (near)
		conf_remedy(c, "did you mean \"%s\"?", near);
	return CONF_ERR;
}

static int not_allowed_here(struct conf_call *c)
{
	struct span name = conf_arg(c, 0);
	uint32_t where = rows_where(name);
	char list[256];
	size_t n = 0;

	list[0] = 0;
	for (uint32_t bit = 1; bit <= IN_MAIL; bit <<= 1)
		if (where & bit)
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "",
					      rows_where_name(bit));
	conf_error(c, 0, "\"%.*s\" directive is not allowed here", SPAN_ARG(name));
	return conf_remedy(c, "it may stand in: %s", list);
}

/* True when a directive's name begins a line within this one: said as the remedy. */
static bool misses_semicolon(struct conf_call *c)
{
	const struct conf_word *w = c->node->words;

	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		if (w[i].line == w[i - 1].line || w[i].quoted || !rows_find(w[i].text))
			continue;
		conf_remedy(c, "a \";\" seems to be missing in line %u, before \"%.*s\"",
			    w[i - 1].line, SPAN_ARG(w[i].text));
		return true;
	}
	return false;
}

static int not_terminated(struct conf_call *c)
{
	conf_error(c, 0, "directive \"%s\" is not terminated by \";\"", c->row->name);
	misses_semicolon(c);
	return CONF_ERR;
}

static int wrong_count(struct conf_call *c)
{
	const struct conf_row *row = c->row;
	unsigned n = conf_nargs(c);

	conf_error(c, 0, "invalid number of arguments in \"%s\" directive", row->name);
	if (misses_semicolon(c))
		return CONF_ERR;
	if (row->min == row->max)
		return conf_remedy(c, "it takes %u, here are %u", row->min, n);
	if (row->max == 255)
		return conf_remedy(c, "it takes at least %u, here are %u", row->min, n);
	return conf_remedy(c, "it takes %u to %u, here are %u", row->min, row->max, n);
}

/* nginx's checks in nginx's order: what ends it, how many words, whether it was here before. */
static int check_form(struct conf_call *c, bool first)
{
	const struct conf_row *row = c->row;
	unsigned n = conf_nargs(c);

	if (c->node->block && row->kind != CONF_BLOCK && row->kind != CONF_IGNORED)
		return not_terminated(c);
	if (!c->node->block && row->kind == CONF_BLOCK)
		return conf_error(c, 0, "directive \"%s\" has no opening \"{\"", row->name);
	if (n < row->min || (row->max != 255 && n > row->max))
		return wrong_count(c);
	if (!first && !(row->flags & CONF_MULTI) && row->kind != CONF_MASK) /* masks add up */
		return conf_error(c, 0, "\"%s\" directive is duplicate", row->name);
	if (row->flags & CONF_DEPRECATED) {
		conf_warn(c, 0, "the \"%s\" directive is deprecated", row->name);
		conf_remedy(c, "%s", row->help ? row->help : "");
	}
	return CONF_OK;
}

static int run_row(struct conf_call *c, bool first)
{
	size_t size = field_size(c->row->kind);

	if (size) {
		char *conf = conf_own(c, c->mod);

		if (!conf || field_set(c, conf + c->row->offset, first) < 0)
			return CONF_ERR;
	}
	return c->row->set ? c->row->set(c) : CONF_OK;
}

static int apply_entry(struct conf_call *c, const struct row_entry *e)
{
	bool first = !bit_test(c->scope->seen, e->id);
	unsigned before = c->ctx->errors;
	int r;

	c->row = e->row;
	c->mod = e->mod;
	r = check_form(c, first);
	if (r == CONF_OK)
		r = run_row(c, first);
	bit_set(c->scope->seen, e->id);
	if (r < 0 && c->ctx->errors == before)
		conf_error(c, 0, "\"%s\" directive failed", e->row->name);
	return r;
}

/* ---- a block ---- */

static bool is_late(const struct conf_row *row)
{
	return row->kind == CONF_BLOCK && !(row->flags & CONF_EARLY);
}

/* One pass over the children: first what is simple, then the blocks. Unknown ones are reported in
 * the first. */
static int apply_pass(const struct conf_call *parent, struct conf_scope *s, bool late)
{
	struct conf_call c = {.ctx = parent->ctx, .scope = s};
	int r = CONF_OK;

	for (struct conf_node *n = s->node->children; n; n = n->next) {
		const struct row_entry *e;

		if (n->applied)
			continue;
		e = rows_find_in(n->words[0].text, s->where);
		if (e && is_late(e->row) != late)
			continue;
		n->applied = true;
		c.node = n;
		c.row = NULL;
		c.mod = NULL;
		if (e)
			r |= apply_entry(&c, e);
		else if (rows_find(n->words[0].text))
			r |= not_allowed_here(&c);
		else
			r |= unknown_directive(&c);
	}
	return r < 0 ? CONF_ERR : CONF_OK;
}

static int run_done(const struct conf_call *parent, struct conf_scope *s)
{
	struct conf_call c = {.ctx = parent->ctx, .scope = s, .node = s->node};
	int r = CONF_OK;

	for (unsigned i = 0; i < conf_rows.nmods; i++) {
		const struct conf_mod *m = conf_rows.mods[i];
		void *conf = NULL;

		if (!m->done || !(m->done_where & s->where))
			continue;
		c.mod = m;
		if (m->size) {
			conf = conf_own(&c, m);
			if (!conf)
				return CONF_ERR;
		}
		if (m->done(&c, conf) < 0)
			r = CONF_ERR;
	}
	return r;
}

int conf_apply(struct conf_call *c, struct conf_scope *s)
{
	int r = apply_pass(c, s, false);

	r |= apply_pass(c, s, true);
	r |= run_done(c, s);
	return r < 0 ? CONF_ERR : CONF_OK;
}

/* ---- the whole tree ---- */

int conf_later(struct conf_call *c, enum conf_stage stage,
	       int (*fn)(struct conf_call *c, void *arg), void *arg)
{
	struct later *l = arena_zalloc(c->ctx->arena, sizeof(*l));

	if (!l)
		return conf_no_memory(c);
	l->call = *c;
	l->fn = fn;
	l->arg = arg;
	list_push(&c->ctx->later[stage], &l->link);
	return CONF_OK;
}

/* The next one in order; a stage may have been added to again by a later one. */
static struct later *later_take(struct conf_ctx *ctx)
{
	for (size_t i = 0; i < ARRAY_LEN(ctx->later); i++) {
		struct list *l = list_take(&ctx->later[i]);

		if (l)
			return CONTAINER_OF(l, struct later, link);
	}
	return NULL;
}

static void run_later(struct conf_ctx *ctx)
{
	struct later *l;

	while ((l = later_take(ctx)) != NULL) {
		unsigned before = ctx->errors;

		if (l->fn(&l->call, l->arg) < 0 && ctx->errors == before)
			conf_error(
				&l->call, 0, "\"%.*s\" directive failed",
				SPAN_ARG(l->call.node->nwords ? conf_arg(&l->call, 0) : SPAN("")));
	}
}

/* The struct of a module in the main scope, with its defaults. */
static int init_mod(struct conf_call *c, struct conf_mod *m)
{
	char *conf = NULL;

	c->mod = m;
	if (m->size) {
		conf = arena_zalloc(c->ctx->arena, m->size);
		if (!conf)
			return conf_no_memory(c);
		c->scope->slots[m->slot] = conf;
		bit_set(c->scope->owned, (unsigned)m->slot);
	}
	for (const struct conf_row *r = m->rows; r && r->name; r++)
		if (field_size(r->kind) && field_default(c, r, conf + r->offset) < 0)
			return CONF_ERR;
	return m->init ? m->init(c, conf) : CONF_OK;
}

int conf_apply_all(struct conf_ctx *ctx, struct conf_scope **main_scope)
{
	struct conf_call c = {.ctx = ctx, .node = ctx->root};

	BUG_ON(!conf_rows.mods);
	c.scope = *main_scope = scope_new(ctx, NULL);
	if (!c.scope)
		return conf_no_memory(&c);
	c.scope->where = IN_MAIN;
	c.scope->node = ctx->root;
	for (unsigned i = 0; i < conf_rows.nmods; i++) {
		unsigned before = ctx->errors;

		if (init_mod(&c, conf_rows.mods[i]) < 0) {
			if (ctx->errors == before)
				conf_error(&c, 0, "module \"%s\" failed to start",
					   conf_rows.mods[i]->name);
			return CONF_ERR;
		}
	}
	c.mod = NULL;
	if (conf_apply(&c, c.scope) < 0 && ctx->errors == 0)
		conf_error(&c, 0, "the configuration failed");
	run_later(ctx);
	return ctx->errors ? CONF_ERR : CONF_OK;
}
