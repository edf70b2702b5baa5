/* Typed fields: what each kind of row stores, its default and its checks. The wording of the
 * problems is nginx's. */
#include "conf/problem.h"
#include "conf/rows.h"
#include "conf/template.h"

size_t field_size(enum conf_kind kind)
{
	switch (kind) {
	case CONF_FLAG:
		return sizeof(bool);
	case CONF_NUM:
	case CONF_SIZE:
	case CONF_MSEC:
	case CONF_SEC:
		return sizeof(int64_t);
	case CONF_STR:
		return sizeof(struct span);
	case CONF_STRS:
		return sizeof(struct conf_strs);
	case CONF_ENUM:
		return sizeof(int);
	case CONF_MASK:
		return sizeof(unsigned);
	case CONF_BUFS:
		return sizeof(struct conf_bufs);
	case CONF_TEMPLATE:
	case CONF_TEMPLATE_SIZE:
		return sizeof(struct tmpl *);
	case CONF_PREDICATES:
		return sizeof(struct conf_tmpls);
	case CONF_CUSTOM:
	case CONF_BLOCK:
	case CONF_IGNORED:
		break;
	}
	return 0;
}

/* ---- enums and masks ---- */

static const struct conf_enum *enum_find(const struct conf_enum *e, struct span word)
{
	for (; e->word; e++)
		if (span_eq_nocase(span_of(e->word), word))
			return e;
	return NULL;
}

/* Reports word i as not one of the table's. */
static int enum_error(struct conf_call *c, unsigned i)
{
	const struct conf_enum *e = c->row->arg;
	struct span list = SPAN("");

	conf_error(c, i, "invalid value \"%.*s\"", SPAN_ARG(conf_arg(c, i)));
	for (; e->word; e++)
		list = arena_printf(c->ctx->arena, "%.*s%s\"%s\"", SPAN_ARG(list),
				    list.n ? ", " : "", e->word);
	return conf_remedy(c, "\"%s\" takes %.*s", c->row->name, SPAN_ARG(list));
}

static int set_enum(struct conf_call *c, int *field)
{
	const struct conf_enum *e = enum_find(c->row->arg, conf_arg(c, 1));

	if (!e)
		return enum_error(c, 1);
	*field = e->value;
	return CONF_OK;
}

static int set_mask(struct conf_call *c, unsigned *field, bool first)
{
	int r = CONF_OK;

	if (first)
		*field = 0;
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		const struct conf_enum *e = enum_find(c->row->arg, conf_arg(c, i));

		if (!e)
			r = enum_error(c, i);
		else if (e->value && (*field & (unsigned)e->value) == (unsigned)e->value)
			conf_warn(c, i, "duplicate value \"%s\"", e->word);
		else
			*field |= (unsigned)e->value;
	}
	return r;
}

/* ---- scalars ---- */

static int set_flag(struct conf_call *c, bool *field)
{
	struct span s = conf_arg(c, 1);

	if (!conf_parse_flag(s, field))
		return conf_error(
			c, 1,
			"invalid value \"%.*s\" in \"%s\" directive, it must be \"on\" or \"off\"",
			SPAN_ARG(s), c->row->name);
	return CONF_OK;
}

static int check_bounds(struct conf_call *c, int64_t n)
{
	const struct conf_bounds *b = c->row->arg;

	if (!b || (n >= b->low && n <= b->high))
		return CONF_OK;
	if (b->high == INT64_MAX)
		return conf_error(c, 1, "value must be equal to or greater than %lld",
				  (long long)b->low);
	return conf_error(c, 1, "value must be between %lld and %lld", (long long)b->low,
			  (long long)b->high);
}

static int set_number(struct conf_call *c, int64_t *field)
{
	struct span s = conf_arg(c, 1);
	enum conf_kind kind = c->row->kind;
	int64_t n = 0;
	uint64_t u = 0;
	bool ok;

	if (kind == CONF_NUM) {
		ok = span_to_u64(s, INT64_MAX, &u);
		n = (int64_t)u;
	} else if (kind == CONF_SIZE) {
		ok = conf_parse_size(s, &n);
	} else if (kind == CONF_MSEC) {
		ok = conf_parse_msec(s, &n);
	} else {
		ok = conf_parse_sec(s, &n);
	}
	if (!ok) {
		conf_error(c, 1, "\"%s\" directive invalid %s", c->row->name,
			   kind == CONF_NUM ? "number" : "value");
		return conf_remedy(c, "%s",
				   kind == CONF_NUM    ? "a whole number is wanted"
				   : kind == CONF_SIZE ? "a size is wanted: 4096, 8k, 1m"
						       : "a time is wanted: 30s, 5m, 1h30m");
	}
	if (check_bounds(c, n) < 0)
		return CONF_ERR;
	*field = n;
	return CONF_OK;
}

static bool parse_bufs(struct span num, struct span size, struct conf_bufs *b)
{
	uint64_t n;

	if (!span_to_u64(num, INT32_MAX, &n) || n == 0 || !conf_parse_size(size, &b->size) ||
	    b->size == 0)
		return false;
	b->num = (int)n;
	return true;
}

static int set_bufs(struct conf_call *c, struct conf_bufs *field)
{
	struct conf_bufs b;

	if (!parse_bufs(conf_arg(c, 1), conf_arg(c, 2), &b)) {
		conf_error(c, 1, "\"%s\" directive invalid value", c->row->name);
		return conf_remedy(c, "a number and a size are wanted: 8 4k");
	}
	*field = b;
	return CONF_OK;
}

/* ---- strings and templates ---- */

/* What is appended to here may not be the parent's array: it has other readers. */
static int set_strs(struct conf_call *c, struct conf_strs *field, bool first)
{
	if (first) {
		field->cap = field->n;
		if (!(c->row->flags & CONF_NO_DROP))
			*field = (struct conf_strs){0};
	}
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		struct span *s = ARENA_PUSH(c->ctx->arena, field->v, &field->n, &field->cap);

		if (!s)
			return conf_no_memory(c);
		*s = conf_arg(c, i);
	}
	return CONF_OK;
}

static int set_predicates(struct conf_call *c, struct conf_tmpls *field, bool first)
{
	if (first) {
		field->cap = field->n;
		if (!(c->row->flags & CONF_NO_DROP))
			*field = (struct conf_tmpls){0};
	}
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		struct tmpl *t = tmpl_compile(c, i), **to;

		if (!t)
			return CONF_ERR;
		to = ARENA_PUSH(c->ctx->arena, field->v, &field->n, &field->cap);
		if (!to)
			return conf_no_memory(c);
		*to = t;
	}
	return CONF_OK;
}

static int set_template(struct conf_call *c, struct tmpl **field)
{
	struct tmpl *t = tmpl_compile(c, 1);
	int64_t size;

	if (!t)
		return CONF_ERR;
	if (c->row->kind == CONF_TEMPLATE_SIZE && t->constant && !conf_parse_size(t->source, &size))
		return conf_error(c, 1, "\"%s\" directive invalid value", c->row->name);
	*field = t;
	return CONF_OK;
}

int field_set(struct conf_call *c, void *field, bool first)
{
	switch ((enum conf_kind)c->row->kind) {
	case CONF_FLAG:
		return set_flag(c, field);
	case CONF_NUM:
	case CONF_SIZE:
	case CONF_MSEC:
	case CONF_SEC:
		return set_number(c, field);
	case CONF_STR:
		*(struct span *)field = conf_arg(c, 1);
		return CONF_OK;
	case CONF_STRS:
		return set_strs(c, field, first);
	case CONF_ENUM:
		return set_enum(c, field);
	case CONF_MASK:
		return set_mask(c, field, first);
	case CONF_BUFS:
		return set_bufs(c, field);
	case CONF_TEMPLATE:
	case CONF_TEMPLATE_SIZE:
		return set_template(c, field);
	case CONF_PREDICATES:
		return set_predicates(c, field, first);
	case CONF_CUSTOM:
	case CONF_BLOCK:
	case CONF_IGNORED:
		break;
	}
	return CONF_OK;
}

/* ---- defaults ---- */

/* A default is written by us: when it does not parse, that is a bug. */
static void default_mask(const struct conf_row *row, unsigned *field)
{
	struct span rest = span_of(row->def_text), word;

	*field = (unsigned)row->def;
	while (span_split(&rest, ' ', &word)) {
		const struct conf_enum *e = enum_find(row->arg, word);

		BUG_ON(!e);
		*field |= (unsigned)e->value;
	}
}

static void default_bufs(const struct conf_row *row, struct conf_bufs *field)
{
	struct span rest = span_of(row->def_text), num;

	if (!row->def_text)
		return;
	span_split(&rest, ' ', &num);
	BUG_ON(!parse_bufs(num, rest, field));
}

static int default_strs(struct conf_call *c, const struct conf_row *row, struct conf_strs *field)
{
	struct span rest = span_of(row->def_text), word;

	while (span_split(&rest, ' ', &word)) {
		struct span *s = ARENA_PUSH(c->ctx->arena, field->v, &field->n, &field->cap);

		if (!s)
			return conf_no_memory(c);
		*s = word;
	}
	return CONF_OK;
}

/* Constants only: there are no variables yet. */
static int default_template(struct conf_call *c, const struct conf_row *row, struct tmpl **field)
{
	struct tmpl *t;

	if (!row->def_text)
		return CONF_OK;
	BUG_ON(span_find_char(span_of(row->def_text), '$', 0) >= 0);
	t = arena_zalloc(c->ctx->arena, sizeof(*t));
	if (!t)
		return conf_no_memory(c);
	t->source = span_of(row->def_text);
	t->constant = true;
	*field = t;
	return CONF_OK;
}

int field_default(struct conf_call *c, const struct conf_row *row, void *field)
{
	switch ((enum conf_kind)row->kind) {
	case CONF_FLAG:
		*(bool *)field = row->def != 0;
		break;
	case CONF_NUM:
	case CONF_SIZE:
	case CONF_MSEC:
	case CONF_SEC:
		*(int64_t *)field = row->def;
		break;
	case CONF_STR:
		*(struct span *)field = span_of(row->def_text);
		break;
	case CONF_STRS:
		return default_strs(c, row, field);
	case CONF_ENUM:
		*(int *)field = (int)row->def;
		break;
	case CONF_MASK:
		default_mask(row, field);
		break;
	case CONF_BUFS:
		default_bufs(row, field);
		break;
	case CONF_TEMPLATE:
	case CONF_TEMPLATE_SIZE:
		return default_template(c, row, field);
	case CONF_PREDICATES:
	case CONF_CUSTOM:
	case CONF_BLOCK:
	case CONF_IGNORED:
		break;
	}
	return CONF_OK;
}
