/* Text with $variables: compiled once, evaluated in one pass. */
#include "conf/problem.h"
#include "conf/template.h"

#define PIECES_ON_STACK 16

/* ---- compiling ---- */

struct compiler {
	struct conf_call *c;
	struct var_table *vars;
	struct tmpl *t;
	struct span text;
	unsigned word;
	size_t nparts, cap;
};

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

static struct tmpl_part *add_part(struct compiler *k, enum tmpl_kind kind)
{
	struct tmpl_part *p = ARENA_PUSH(k->c->ctx->arena, k->t->parts, &k->nparts, &k->cap);

	if (!p) {
		conf_no_memory(k->c);
		return NULL;
	}
	*p = (struct tmpl_part){.kind = kind};
	return p;
}

static bool add_text(struct compiler *k, size_t from, size_t to)
{
	struct tmpl_part *p;

	if (from == to)
		return true;
	p = add_part(k, TMPL_TEXT);
	if (p)
		p->text = span_cut(k->t->source, from, to);
	return p != NULL;
}

static bool add_capture(struct compiler *k, char digit)
{
	struct tmpl_part *p = add_part(k, TMPL_CAPTURE);

	if (p)
		p->capture = digit - '0';
	k->t->has_captures = true;
	return p != NULL;
}

static bool add_variable(struct compiler *k, struct span name)
{
	struct tmpl_part *p = add_part(k, TMPL_VAR);

	if (!p)
		return false;
	if (!k->vars) {
		conf_error(k->c, k->word, "unknown \"%.*s\" variable", SPAN_ARG(name));
		conf_remedy(k->c, "there are no variables in this context");
		return false;
	}
	p->var = var_use(k->c, k->word, k->vars, name);
	return p->var != NULL;
}

/* The dollar sign is at index at; *at becomes the index behind the variable. False: reported. */
static bool compile_dollar(struct compiler *k, size_t *at)
{
	struct span s = k->text, name;
	size_t i = *at + 1, start;
	bool bracket;

	if (i < s.n && s.p[i] >= '1' && s.p[i] <= '9') {
		*at = i + 1;
		return add_capture(k, s.p[i]);
	}
	bracket = i < s.n && s.p[i] == '{';
	if (bracket)
		i++;
	start = i;
	while (i < s.n && is_name_char(s.p[i]))
		i++;
	name = span_cut(s, start, i);
	if (bracket && i < s.n && s.p[i] == '}') {
		i++;
	} else if (bracket && start < s.n) {
		conf_error_part(k->c, k->word, span_cut(s, *at, i),
				"the closing bracket in \"%.*s\" variable is missing",
				SPAN_ARG(name));
		return false;
	}
	if (name.n == 0) {
		conf_error_part(k->c, k->word, span_cut(s, *at, i), "invalid variable name");
		conf_remedy(k->c, "a \"$\" begins a variable; it cannot stand for itself here");
		return false;
	}
	*at = i;
	return add_variable(k, name);
}

static bool compile_parts(struct compiler *k)
{
	size_t at = 0;

	while (at < k->text.n) {
		ssize_t dollar = span_find_char(k->text, '$', at);
		size_t to = dollar < 0 ? k->text.n : (size_t)dollar;

		if (!add_text(k, at, to))
			return false;
		at = to;
		if (dollar >= 0 && !compile_dollar(k, &at))
			return false;
	}
	return true;
}

struct tmpl *tmpl_compile_text(struct conf_call *c, unsigned word, struct span text)
{
	struct compiler k = {.c = c, .text = text, .word = word};
	struct tmpl *t = arena_zalloc(c->ctx->arena, sizeof(*t));

	if (t)
		t->source = arena_dup(c->ctx->arena, text);
	if (!t || !t->source.p) {
		conf_no_memory(c);
		return NULL;
	}
	k.t = t;
	t->constant = span_find_char(text, '$', 0) < 0;
	if (t->constant)
		return t;
	k.vars = conf_var_table(c->scope);
	if (!compile_parts(&k))
		return NULL;
	t->nparts = (unsigned)k.nparts;
	return t;
}

struct tmpl *tmpl_compile(struct conf_call *c, unsigned word)
{
	return tmpl_compile_text(c, word, conf_arg(c, word));
}

/* ---- evaluating ---- */

static struct span capture_get(const struct var_ctx *v, int i)
{
	if (!v->caps || i >= v->ncaps || v->caps[2 * i] < 0)
		return SPAN("");
	return span_cut(v->subject, (size_t)v->caps[2 * i], (size_t)v->caps[2 * i + 1]);
}

static struct span part_value(const struct tmpl_part *p, struct var_ctx *v)
{
	switch (p->kind) {
	case TMPL_TEXT:
		return p->text;
	case TMPL_VAR:
		return var_get(v, p->var, NULL);
	case TMPL_CAPTURE:
		return capture_get(v, p->capture);
	}
	return SPAN("");
}

static struct span eval_failed(struct var_ctx *v)
{
	v->failed = true;
	return SPAN("");
}

/* All values first, then one copy: a value may change what later ones are made of, not its own
 * text. */
static struct span eval_parts(const struct tmpl *t, struct var_ctx *v)
{
	struct span on_stack[PIECES_ON_STACK], *pieces = on_stack;
	size_t n = 0;
	char *p, *at;

	if (t->nparts > PIECES_ON_STACK)
		pieces = arena_alloc(v->arena, t->nparts * sizeof(*pieces));
	if (!pieces)
		return eval_failed(v);
	for (unsigned i = 0; i < t->nparts; i++) {
		pieces[i] = part_value(&t->parts[i], v);
		if (pieces[i].n > VAR_VALUE_MAX - n)
			return eval_failed(v);
		n += pieces[i].n;
	}
	p = at = arena_alloc(v->arena, n + 1);
	if (!p)
		return eval_failed(v);
	for (unsigned i = 0; i < t->nparts; i++) {
		if (pieces[i].n)
			memcpy(at, pieces[i].p, pieces[i].n);
		at += pieces[i].n;
	}
	*at = 0;
	return (struct span){p, n};
}

struct span tmpl_eval(const struct tmpl *t, struct var_ctx *v)
{
	if (!t)
		return SPAN("");
	if (t->constant)
		return t->source;
	if (t->nparts == 1)
		return part_value(t->parts, v);
	return eval_parts(t, v);
}

struct span tmpl_eval_cstr(const struct tmpl *t, struct var_ctx *v)
{
	if (!t)
		return SPAN("");
	if (t->constant)
		return t->source;
	return eval_parts(t, v);
}

bool tmpl_any_true(const struct conf_tmpls *ts, struct var_ctx *v)
{
	for (size_t i = 0; i < ts->n; i++) {
		struct span s = tmpl_eval(ts->v[i], v);

		if (s.n && !span_eq(s, SPAN("0")))
			return true;
	}
	return false;
}
