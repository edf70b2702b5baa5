/* Running what the rewrite directives say. */
#include "http/uri.h"
#include "mod/rewrite.h"

struct rewrite_run {
	struct req *r;
	const struct rewrite_conf *conf;
	bool quote; /* captures in values are escaped: until a rewrite has matched, as in nginx */
	bool stop;
	int rc; /* for the phase engine */
};

#define rewrite_say(run, ...)                                                                      \
	do {                                                                                       \
		if ((run)->conf->log)                                                              \
			req_log((run)->r, LOG_NOTICE, 0, __VA_ARGS__);                             \
	} while (0)

static void run_end(struct rewrite_run *run, int rc)
{
	run->stop = true;
	run->rc = rc;
}

/* ---- values ---- */

/* Had the client's own path escapes in it? What a capture took out of the decoded path must be
 * escaped again then. */
static bool was_escaped(const struct req *r)
{
	struct span p = r->in.path;

	return p.n && (memchr(p.p, '%', p.n) || memchr(p.p, '+', p.n));
}

static struct span capture(struct req *r, int i, bool escape)
{
	const struct var_ctx *v = &r->vars;
	struct span s;

	if (!v->caps || i >= v->ncaps || v->caps[2 * i] < 0)
		return SPAN("");
	s = span_cut(v->subject, (size_t)v->caps[2 * i], (size_t)v->caps[2 * i + 1]);
	if (!escape)
		return s;
	s = uri_escape(&r->arena, s, URI_ESCAPE_ARGS);
	if (!s.p)
		r->vars.failed = true;
	return s;
}

static struct span eval_failed(struct req *r)
{
	r->vars.failed = true;
	return SPAN("");
}

struct span rewrite_eval(struct req *r, const struct tmpl *t, bool escape)
{
	struct span *parts;
	size_t n = 0;
	char *p, *at;

	if (!t->has_captures || !escape || !was_escaped(r))
		return tmpl_eval(t, &r->vars);
	parts = arena_alloc(&r->arena, t->nparts * sizeof(*parts));
	if (!parts)
		return eval_failed(r);
	for (unsigned i = 0; i < t->nparts; i++) {
		const struct tmpl_part *tp = &t->parts[i];

		parts[i] = tp->kind == TMPL_CAPTURE ? capture(r, tp->capture, true)
			   : tp->kind == TMPL_VAR   ? var_get(&r->vars, tp->var, NULL)
						    : tp->text;
		if (parts[i].n > VAR_VALUE_MAX - n)
			return eval_failed(r);
		n += parts[i].n;
	}
	p = at = arena_alloc(&r->arena, n + 1);
	if (!p)
		return eval_failed(r);
	for (unsigned i = 0; i < t->nparts; i++) {
		if (parts[i].n)
			memcpy(at, parts[i].p, parts[i].n);
		at += parts[i].n;
	}
	*at = 0;
	return span_make(p, n);
}

bool rewrite_match(struct req *r, const struct rewrite_regex *m, struct span subject)
{
	int n = regex_match(m->re, subject, r->caps, 32);

	r->vars.ncaps = 0;
	if (n <= 0)
		return false;
	r->vars.subject = subject;
	r->vars.caps = r->caps;
	r->vars.ncaps = n;
	for (size_t i = 0; i < m->nvars; i++) {
		unsigned g = m->groups[i];
		struct span s = SPAN("");

		if (g < (unsigned)n && r->caps[2 * g] >= 0)
			s = span_cut(subject, (size_t)r->caps[2 * g], (size_t)r->caps[2 * g + 1]);
		var_set(&r->vars, m->vars[i], s);
	}
	return true;
}

/* ---- rewrite ---- */

static int hex_digit(char ch)
{
	char l = ascii_lower(ch);

	return ch >= '0' && ch <= '9' ? ch - '0' : l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

size_t rewrite_unescape_redirect(char *p, size_t n)
{
	size_t in = 0, out = 0;

	while (in < n) {
		int hi, lo, ch;

		if (p[in] == '?')
			break;
		hi = p[in] == '%' && in + 2 < n ? hex_digit(p[in + 1]) : -1;
		lo = hi >= 0 ? hex_digit(p[in + 2]) : -1;
		ch = hi >= 0 && lo >= 0 ? hi << 4 | lo : -1;
		if (ch <= '%' || ch >= 0x7f) {
			p[out++] = p[in++];
			continue;
		}
		p[out++] = (char)ch;
		in += 3;
		if (ch == '?')
			break;
	}
	memmove(p + out, p + in, n - in);
	return out + n - in;
}

/* a, then glue and b when b is not empty. */
static struct span join(struct req *r, struct span a, char glue, struct span b)
{
	struct span s;

	if (!b.n)
		return a;
	s = arena_printf(&r->arena, "%.*s%c%.*s", SPAN_ARG(a), glue, SPAN_ARG(b));
	return s.p ? s : eval_failed(r);
}

static void rule_redirect(struct rewrite_run *run, const struct rewrite_rule *rule)
{
	struct req *r = run->r;
	struct span to = rewrite_eval(r, rule->uri, true),
		    old = rule->drop_args ? SPAN("") : r->args;
	char *p = r->vars.failed ? NULL : arena_cstr(&r->arena, to);
	struct resp *resp;

	if (p)
		to = join(r, span_make(p, rewrite_unescape_redirect(p, to.n)),
			  rule->has_args ? '&' : '?', old);
	if (!p || r->vars.failed) {
		run_end(run, req_fail(r, FAIL_NO_MEMORY));
		return;
	}
	rewrite_say(run, "rewritten redirect: \"%.*s\"", SPAN_ARG(to));
	resp = req_answer(r, rule->redirect);
	resp->location = to;
	run_end(run, rule->redirect);
}

static void rule_uri(struct rewrite_run *run, const struct rewrite_rule *rule)
{
	struct req *r = run->r;
	struct span uri = rewrite_eval(r, rule->uri, false),
		    args = rule->drop_args ? SPAN("") : r->args;

	if (rule->args)
		args = join(r, rewrite_eval(r, rule->args, true), '&', args);
	if (r->vars.failed) {
		run_end(run, req_fail(r, FAIL_NO_MEMORY));
		return;
	}
	rewrite_say(run, "rewritten data: \"%.*s\", args: \"%.*s\"", SPAN_ARG(uri), SPAN_ARG(args));
	if (!uri.n) {
		req_log(r, LOG_ERR, 0, "the rewritten URI has a zero length");
		run_end(run, req_fail(r, FAIL_BAD_CONFIG_VALUE));
		return;
	}
	r->uri = uri;
	r->args = args;
	r->has_args = args.n > 0;
	r->internal = true;
	r->valid_unparsed_uri = false;
	r->uri_changed = !rule->no_reroute;
	if (rule->no_reroute)
		r->valid_location = false;
	if (rule->last)
		run_end(run, PHASE_NEXT);
}

static void run_rule(struct rewrite_run *run, const struct rewrite_rule *rule)
{
	struct req *r = run->r;

	if (!rewrite_match(r, &rule->match, r->uri)) {
		rewrite_say(run, "\"%.*s\" does not match \"%.*s\"", SPAN_ARG(rule->match.text),
			    SPAN_ARG(r->uri));
		return;
	}
	rewrite_say(run, "\"%.*s\" matches \"%.*s\"", SPAN_ARG(rule->match.text), SPAN_ARG(r->uri));
	run->quote = false;
	if (rule->redirect)
		rule_redirect(run, rule);
	else
		rule_uri(run, rule);
}

/* ---- return ---- */

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* As of a file of that name. */
static struct span type_of_uri(const struct req *r)
{
	ssize_t dot = span_rfind_char(r->uri, '.'), slash = span_rfind_char(r->uri, '/');
	struct span ext = {0};

	if (dot > slash + 1)
		ext = span_cut(r->uri, (size_t)dot + 1, r->uri.n);
	return types_find(req_conf(r, &core_loc_mod), ext);
}

static int return_answer(struct req *r, int status, const struct tmpl *text)
{
	struct span value;
	struct resp *resp;

	r->resp.status = status; /* for $status in the text */
	value = tmpl_eval(text, &r->vars);
	if (r->vars.failed)
		return req_fail(r, FAIL_NO_MEMORY);
	if (status == 444)
		return PHASE_CLOSE;
	if (is_redirect(status)) {
		resp = req_answer(r, status);
		resp->location = value;
		return status;
	}
	if (status >= 400 && (!text || (text->constant && !text->source.n)))
		return status;
	if (status != 204 && status != 304)
		return req_answer_text(r, status, type_of_uri(r), value);
	resp = req_answer(r, status);
	if (status == 304)
		resp->content_type = type_of_uri(r);
	return PHASE_DONE;
}

/* ---- all ---- */

static void run_set(struct rewrite_run *run, const struct var *var, const struct tmpl *value)
{
	struct req *r = run->r;
	struct span s = rewrite_eval(r, value, run->quote);

	if (r->vars.failed) {
		run_end(run, req_fail(r, FAIL_NO_MEMORY));
		return;
	}
	var_set(&r->vars, var, s);
	if (r->vars.failed) { /* a built-in one that takes only some values */
		r->vars.failed = false;
		req_log(r, LOG_ERR, 0, "invalid $%.*s \"%.*s\"", SPAN_ARG(var->name), SPAN_ARG(s));
	}
}

/* The `if` whose body comes next, or NULL. */
static const struct rewrite_if *run_if(struct rewrite_run *run, const struct rewrite_if *f)
{
	struct req *r = run->r;
	bool yes = rewrite_if_true(r, f, run->quote);

	if (r->vars.failed) {
		run_end(run, req_fail(r, FAIL_NO_MEMORY));
		return NULL;
	}
	if (!yes)
		return NULL;
	if (f->loc) {
		r->location = f->loc;
		r->scope = f->loc->scope;
	}
	return f->body ? f : NULL;
}

static const struct rewrite_if *run_op(struct rewrite_run *run, const struct rewrite_op *op)
{
	switch (op->kind) {
	case REWRITE_RULE:
		run_rule(run, &op->rule);
		break;
	case REWRITE_RETURN:
		run_end(run, return_answer(run->r, op->ret.status, op->ret.text));
		break;
	case REWRITE_SET:
		run_set(run, op->set.var, op->set.value);
		break;
	case REWRITE_IF:
		return run_if(run, &op->cond);
	case REWRITE_BREAK:
		if (run->r->uri_changed)
			run->r->valid_location = false;
		run->r->uri_changed = false;
		run_end(run, PHASE_NEXT);
		break;
	}
	return NULL;
}

static int run_list(struct req *r, const struct rewrite_conf *conf)
{
	struct rewrite_run run = {.r = r, .conf = conf, .quote = true, .rc = PHASE_NEXT};
	const struct rewrite_list *l = conf->list;

	for (size_t i = 0; i < l->n && !run.stop; i++) {
		const struct rewrite_if *f = run_op(&run, l->ops[i]);

		for (size_t k = 0; f && k < f->body->n && !run.stop; k++)
			run_op(&run, f->body->ops[k]);
	}
	return run.rc;
}

static int run_scope(struct req *r, const struct conf_scope *s)
{
	const struct rewrite_conf *conf = conf_get(s, &rewrite_mod);

	return conf->list && conf->list->scope == s ? run_list(r, conf) : PHASE_NEXT;
}

int rewrite_server_phase(struct req *r)
{
	return run_scope(r, r->server->scope);
}

int rewrite_location_phase(struct req *r)
{
	/* outside of all locations the scope is the server's, whose rules have run already */
	return r->scope == r->server->scope ? PHASE_NEXT : run_scope(r, r->scope);
}
