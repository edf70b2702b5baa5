/* rewrite, return, set, if, break: from directives to lists of operations. */
#include "mod/rewrite.h"
#include "mod/mods.h"
#include "serve/route.h"

#define REWRITE_WHERE (IN_SERVER | IN_LOCATION | IN_IF_SERVER | IN_IF_LOCATION)

/* ---- lists ---- */

static struct rewrite_list *list_get(struct conf_call *c)
{
	struct rewrite_conf *conf = conf_own(c, &rewrite_mod);

	if (!conf)
		return NULL;
	if (!conf->list || conf->list->scope != c->scope) {
		conf->list = arena_zalloc(c->ctx->arena, sizeof(*conf->list));
		if (conf->list)
			conf->list->scope = c->scope;
	}
	return conf->list;
}

/* The engine applies blocks after all simple directives; nginx runs them where they stand. */
static struct rewrite_op *op_new(struct conf_call *c, enum rewrite_kind kind)
{
	struct rewrite_list *l = list_get(c);
	struct rewrite_op *op = arena_zalloc(c->ctx->arena, sizeof(*op));
	size_t i;

	if (!l || !op || !ARENA_PUSH(c->ctx->arena, l->ops, &l->n, &l->cap)) {
		conf_error(c, 0, "out of memory");
		return NULL;
	}
	op->kind = kind;
	op->seq = c->node->seq;
	for (i = l->n - 1; i > 0 && l->ops[i - 1]->seq > op->seq; i--)
		l->ops[i] = l->ops[i - 1];
	l->ops[i] = op;
	return op;
}

int rewrite_regex_new(struct conf_call *c, unsigned word, struct span text, bool nocase,
		      struct rewrite_regex *out)
{
	out->text = text;
	out->re = conf_regex(c, word, text, nocase, &out->vars, &out->groups, &out->nvars);
	return out->re ? CONF_OK : CONF_ERR;
}

/* ---- rewrite ---- */

static bool is_absolute(struct span s)
{
	return span_starts(s, SPAN("http://")) || span_starts(s, SPAN("https://")) ||
	       span_starts(s, SPAN("$scheme"));
}

static int rule_flag(struct conf_call *c, struct rewrite_rule *rule)
{
	struct span flag = conf_arg(c, 3);

	if (span_eq(flag, SPAN("last")))
		rule->last = true;
	else if (span_eq(flag, SPAN("break")))
		rule->last = rule->no_reroute = true;
	else if (span_eq(flag, SPAN("redirect")))
		rule->redirect = 302;
	else if (span_eq(flag, SPAN("permanent")))
		rule->redirect = 301;
	else
		return conf_error(c, 3, "invalid parameter \"%.*s\"", SPAN_ARG(flag));
	return CONF_OK;
}

static int rule_replacement(struct conf_call *c, struct rewrite_rule *rule)
{
	struct span to = conf_arg(c, 2);
	ssize_t q;

	if (to.n && to.p[to.n - 1] == '?') {
		rule->drop_args = true;
		to.n--;
	}
	q = span_find_char(to, '?', 0);
	if (rule->redirect) {
		rule->has_args = q >= 0;
	} else if (q >= 0) {
		rule->args = tmpl_compile_text(c, 2, span_cut(to, (size_t)q + 1, to.n));
		to = span_cut(to, 0, (size_t)q);
		if (!rule->args)
			return CONF_ERR;
	}
	rule->uri = tmpl_compile_text(c, 2, to);
	return rule->uri ? CONF_OK : CONF_ERR;
}

static int rewrite_set(struct conf_call *c)
{
	struct rewrite_op *op = op_new(c, REWRITE_RULE);

	if (!op)
		return CONF_ERR;
	if (!conf_arg(c, 2).n)
		return conf_error(c, 2, "empty replacement");
	if (rewrite_regex_new(c, 1, conf_arg(c, 1), false, &op->rule.match) != CONF_OK)
		return CONF_ERR;
	if (is_absolute(conf_arg(c, 2)))
		op->rule.redirect = 302;
	if (conf_nargs(c) == 3 && rule_flag(c, &op->rule) != CONF_OK)
		return CONF_ERR;
	return rule_replacement(c, &op->rule);
}

/* ---- return, break ---- */

static int return_set(struct conf_call *c)
{
	struct rewrite_op *op = op_new(c, REWRITE_RETURN);
	struct span code = conf_arg(c, 1);
	unsigned text = 2;
	uint64_t status;

	if (!op)
		return CONF_ERR;
	if (conf_nargs(c) == 1 && is_absolute(code)) {
		status = 302;
		text = 1;
	} else if (!span_to_u64(code, 999, &status) || status < 200) {
		conf_error(c, 1, "invalid return code \"%.*s\"", SPAN_ARG(code));
		return conf_remedy(c, "a code is a number from 200 to 999; a lone URL begins with "
				      "http://, https:// or $scheme");
	}
	op->ret.status = (int)status;
	if (text > conf_nargs(c))
		return CONF_OK;
	op->ret.text = tmpl_compile(c, text);
	return op->ret.text ? CONF_OK : CONF_ERR;
}

static int break_set(struct conf_call *c)
{
	return op_new(c, REWRITE_BREAK) ? CONF_OK : CONF_ERR;
}

/* ---- set ---- */

/* A variable that some `set` names but none has set for this request. */
static bool get_unset(struct var_ctx *v, const struct var *self, struct span *out)
{
	struct req *r = REQ_OF_VARS(v);
	const struct rewrite_conf *conf = req_conf(r, &rewrite_mod);

	if (conf->warn)
		req_log(r, LOG_WARN, 0, "using uninitialized \"%.*s\" variable",
			SPAN_ARG(self->name));
	*out = SPAN("");
	return true;
}

static int set_set(struct conf_call *c)
{
	struct rewrite_op *op = op_new(c, REWRITE_SET);
	struct span name = conf_arg(c, 1);

	if (!op)
		return CONF_ERR;
	if (name.n < 2 || name.p[0] != '$')
		return conf_error(c, 1, "invalid variable name \"%.*s\"", SPAN_ARG(name));
	op->set.var = var_define(c, conf_var_table(c->scope), span_cut(name, 1, name.n),
				 VAR_CHANGEABLE | VAR_WEAK);
	if (!op->set.var)
		return CONF_ERR;
	if (!op->set.var->get)
		op->set.var->get = get_unset;
	op->set.value = tmpl_compile(c, 2);
	return op->set.value ? CONF_OK : CONF_ERR;
}

/* ---- if ---- */

static int if_set(struct conf_call *c)
{
	struct rewrite_op *op = op_new(c, REWRITE_IF);
	struct location *in = location_of(c->scope);
	const struct rewrite_conf *conf;
	struct conf_scope *s;

	if (!op || rewrite_if_parse(c, &op->cond) != CONF_OK)
		return CONF_ERR;
	if (in) {
		op->cond.loc = location_new(c, LOC_IF, IN_IF_LOCATION, in->name);
		s = op->cond.loc ? op->cond.loc->scope : NULL;
	} else {
		s = conf_scope_new(c, IN_IF_SERVER, c->scope->owner);
	}
	if (!s || conf_apply(c, s) != CONF_OK)
		return CONF_ERR;
	conf = conf_get(s, &rewrite_mod);
	if (conf->list && conf->list->scope == s)
		op->cond.body = conf->list;
	return CONF_OK;
}

/* ---- the module ---- */

static const struct conf_row rows[] = {
	MCUSTOM("rewrite", REWRITE_WHERE, 2, 3, CONF_MULTI, rewrite_set,
		"Change the URI when it matches: expression, replacement, and last, break, "
		"redirect or permanent."),
	MCUSTOM("return", REWRITE_WHERE, 1, 2, CONF_MULTI, return_set,
		"Answer at once: a code, a code and a text or URL, or a URL."),
	MCUSTOM("break", REWRITE_WHERE, 0, 0, CONF_MULTI, break_set,
		"End the rewrite directives of this block."),
	MCUSTOM("set", REWRITE_WHERE, 2, 2, CONF_MULTI, set_set, "Give a variable a value."),
	MBLOCK("if", IN_SERVER | IN_LOCATION, 1, 255, if_set,
	       "What holds when a condition is true."),
	MFLAG("rewrite_log", IN_HTTP | REWRITE_WHERE, struct rewrite_conf, log, false,
	      "Log what the rewrite directives did, at level notice."),
	MFLAG("uninitialized_variable_warn", IN_HTTP | REWRITE_WHERE, struct rewrite_conf, warn,
	      true, "Log the use of variables that were never set."),
	MEND,
};

struct conf_mod rewrite_mod = {
	.name = "rewrite", .size = sizeof(struct rewrite_conf), .rows = rows};

static struct conf_mod *const confs[] = {&rewrite_mod, NULL};

const struct http_module rewrite_module = {
	.name = "rewrite",
	.confs = confs,
	.phase = {[PHASE_SERVER_REWRITE] = rewrite_server_phase,
		  [PHASE_REWRITE] = rewrite_location_phase},
};
