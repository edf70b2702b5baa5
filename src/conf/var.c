#include "base/hash.h"
#include "conf/problem.h"
#include "conf/template.h"

/* A variable and what is known of it while the configuration is read. */
struct var_entry {
	struct var_entry *chain; /* of its bucket */
	uint64_t hash;
	struct var_entry *next; /* in order of arrival; prefix variables: longest first */
	struct var var;
	bool defined;	      /* else it was only used so far */
	struct conf_call use; /* its first use; ctx == NULL: none */
	unsigned word;
};

#define BUCKETS 256 /* names are known at start: no growing, no freeing */

struct var_table {
	struct arena *arena;
	struct var_entry *prefixes;
	struct var_entry *all, **tail;
	struct var_entry *buckets[BUCKETS];
	unsigned nslots;
	bool put_off; /* linking is registered */
	bool linked;
};

struct var_table *var_table_new(struct arena *a)
{
	struct var_table *t = arena_zalloc(a, sizeof(*t));

	if (t) {
		t->arena = a;
		t->tail = &t->all;
	}
	return t;
}

unsigned var_table_slots(const struct var_table *t)
{
	return t->nslots;
}

/* ---- entries ---- */

static struct var_entry *entry_find(const struct var_table *t, struct span name)
{
	uint64_t h = hash_bytes_nocase(name.p, name.n);

	for (struct var_entry *e = t->buckets[h % BUCKETS]; e; e = e->chain)
		if (e->hash == h && span_eq_nocase(e->var.name, name))
			return e;
	return NULL;
}

/* A copy of name in lower case, zero-terminated. */
static struct span lower_dup(struct arena *a, struct span name)
{
	char *p = arena_cstr(a, name);

	for (size_t i = 0; p && i < name.n; i++)
		p[i] = ascii_lower(p[i]);
	return (struct span){p, p ? name.n : 0};
}

static struct var_entry *entry_new(struct var_table *t, struct span name)
{
	struct var_entry *e = arena_zalloc(t->arena, sizeof(*e)), **bucket;

	if (!e)
		return NULL;
	e->var.name = lower_dup(t->arena, name);
	if (!e->var.name.p)
		return NULL;
	e->var.slot = -1;
	e->hash = hash_bytes_nocase(name.p, name.n);
	bucket = &t->buckets[e->hash % BUCKETS];
	e->chain = *bucket;
	*bucket = e;
	*t->tail = e;
	t->tail = &e->next;
	return e;
}

static int prefix_add(struct var_table *t, const struct var *v)
{
	struct var_entry *e = arena_zalloc(t->arena, sizeof(*e)), **at = &t->prefixes;

	if (!e)
		return CONF_ERR;
	e->var = *v;
	e->var.slot = -1;
	while (*at && (*at)->var.name.n >= v->name.n)
		at = &(*at)->next;
	e->next = *at;
	*at = e;
	return CONF_OK;
}

int var_table_add(struct var_table *t, const struct var *vars)
{
	for (; vars->name.n; vars++) {
		struct var_entry *e;

		if (vars->flags & VAR_PREFIX) {
			if (prefix_add(t, vars) < 0)
				return CONF_ERR;
			continue;
		}
		e = entry_find(t, vars->name);
		BUG_ON(e && e->defined);
		if (!e)
			e = entry_new(t, vars->name);
		if (!e)
			return CONF_ERR;
		e->var.get = vars->get;
		e->var.set = vars->set;
		e->var.data = vars->data;
		e->var.flags = vars->flags;
		e->defined = true;
	}
	return CONF_OK;
}

/* ---- linking ---- */

static const struct var *prefix_find(const struct var_table *t, struct span name)
{
	for (const struct var_entry *p = t->prefixes; p; p = p->next)
		if (name.n > p->var.name.n && span_starts(name, p->var.name))
			return &p->var;
	return NULL;
}

/* The name's own definition wins; a weak one only gives way to a prefix. */
static bool entry_link(const struct var_table *t, struct var_entry *e)
{
	const struct var *p;

	if (e->defined && !(e->var.flags & VAR_WEAK))
		return true;
	p = prefix_find(t, e->var.name);
	if (!p)
		return e->defined;
	e->var.get = p->get;
	e->var.data = p->data;
	e->var.suffix = span_cut(e->var.name, p->name.n, e->var.name.n);
	if (!e->var.set)
		e->var.set = p->set;
	if (!e->defined)
		e->var.flags = p->flags & ~VAR_PREFIX;
	else
		e->var.flags |= p->flags & VAR_NO_CACHE;
	return true;
}

static int report_unknown(struct var_entry *e)
{
	struct span name = e->var.name;

	if (!e->use.ctx)
		return CONF_ERR;
	return conf_error(&e->use, e->word, "unknown \"%.*s\" variable", SPAN_ARG(name));
}

static int link_table(struct conf_call *c, void *arg)
{
	struct var_table *t = arg;
	int r = CONF_OK;

	t->linked = true;
	for (struct var_entry *e = t->all; e; e = e->next)
		if (!entry_link(t, e))
			r = report_unknown(e);
	return r;
}

static int put_off_linking(struct conf_call *c, struct var_table *t)
{
	if (t->put_off)
		return CONF_OK;
	t->put_off = true;
	return conf_later(c, CONF_LINK_NAMES, link_table, t);
}

/* ---- while the configuration is read ---- */

/* The word that is the variable itself: set's first, map's second. */
static unsigned word_of(const struct conf_call *c, struct span name)
{
	for (unsigned i = 1; c->node && i < c->node->nwords; i++) {
		struct span w = conf_arg(c, i);

		if (w.n == name.n + 1 && w.p[0] == '$' && span_eq_nocase(span_cut(w, 1, w.n), name))
			return i;
	}
	return 1;
}

struct var *var_define(struct conf_call *c, struct var_table *t, struct span name, uint8_t flags)
{
	struct var_entry *e;

	if (name.n == 0) {
		conf_error(c, word_of(c, name), "invalid variable name \"$\"");
		return NULL;
	}
	if (put_off_linking(c, t) < 0)
		return NULL;
	e = entry_find(t, name);
	if (e && e->defined) {
		if (!(e->var.flags & VAR_CHANGEABLE)) {
			conf_error(c, word_of(c, name), "the duplicate \"%.*s\" variable",
				   SPAN_ARG(name));
			return NULL;
		}
		if (!(flags & VAR_WEAK))
			e->var.flags &= (uint8_t)~VAR_WEAK;
		return &e->var;
	}
	if (!e)
		e = entry_new(t, name);
	if (!e) {
		conf_no_memory(c);
		return NULL;
	}
	e->defined = true;
	e->var.flags = flags;
	return &e->var;
}

struct var *var_use(struct conf_call *c, unsigned word, struct var_table *t, struct span name)
{
	struct var_entry *e = entry_find(t, name);

	if (put_off_linking(c, t) < 0)
		return NULL;
	if (!e)
		e = entry_new(t, name);
	if (!e) {
		conf_no_memory(c);
		return NULL;
	}
	if (!e->use.ctx) {
		e->use = *c;
		e->word = word;
	}
	if (e->var.slot < 0)
		e->var.slot = (int)t->nslots++;
	if (t->linked && !entry_link(t, e)) {
		report_unknown(e);
		return NULL;
	}
	return &e->var;
}

const struct var *var_find(const struct var_table *t, struct span name)
{
	const struct var_entry *e = entry_find(t, name);

	return e && (e->defined || e->var.get) ? &e->var : NULL;
}

/* ---- while a request runs ---- */

static struct span not_found(bool *found)
{
	if (found)
		*found = false;
	return SPAN("");
}

/* Asks the getter. The slot, when there is one, is busy meanwhile. */
static bool ask(struct var_ctx *v, const struct var *var, struct var_slot *slot, struct span *value)
{
	bool ok = false;

	if (v->depth >= VAR_DEPTH_MAX) {
		log_msg(&log_main, LOG_ERR, 0, "variables nested too deep at \"%.*s\"",
			SPAN_ARG(var->name));
		return false;
	}
	if (slot)
		slot->state = VAR_BUSY;
	v->depth++;
	if (var->get)
		ok = var->get(v, var, value);
	v->depth--;
	if (!slot)
		return ok;
	if (slot->state != VAR_BUSY) { /* the getter, or what it called, set it */
		*value = slot->value;
		return slot->state == VAR_FOUND;
	}
	slot->value = ok ? *value : SPAN("");
	slot->state = var->flags & VAR_NO_CACHE ? VAR_UNKNOWN : ok ? VAR_FOUND : VAR_NOT_FOUND;
	return ok;
}

struct span var_get(struct var_ctx *v, const struct var *var, bool *found)
{
	struct var_slot *slot = var->slot >= 0 ? &v->slots[var->slot] : NULL;
	struct span value = {0};

	if (slot && slot->state == VAR_BUSY) {
		log_msg(&log_main, LOG_ERR, 0, "cycle while evaluating variable \"%.*s\"",
			SPAN_ARG(var->name));
		return not_found(found);
	}
	if (slot && slot->state == VAR_NOT_FOUND)
		return not_found(found);
	if (slot && slot->state == VAR_FOUND)
		value = slot->value;
	else if (!ask(v, var, slot, &value))
		return not_found(found);
	if (found)
		*found = true;
	return value;
}

void var_set(struct var_ctx *v, const struct var *var, struct span value)
{
	struct var_slot *slot = var->slot >= 0 ? &v->slots[var->slot] : NULL;

	if (var->set) {
		if (!var->set(v, var, value))
			v->failed = true;
		var_forget(v, var);
	} else if (slot) {
		slot->value = value;
		slot->state = VAR_FOUND;
	}
}

void var_forget(struct var_ctx *v, const struct var *var)
{
	struct var_slot *slot = var->slot >= 0 ? &v->slots[var->slot] : NULL;

	if (slot && slot->state != VAR_BUSY)
		slot->state = VAR_UNKNOWN;
}
