#include "proxy/proxy_rewrite.h"

#define CAPS_MAX 10 /* pairs: $0 .. $9 */

/* ---- configuration ---- */

static void rewrite_regex_free(void *re)
{
	regex_free(re);
}

static struct regex *rewrite_regex(struct conf_call *c, unsigned word, struct span text,
				   bool nocase)
{
	char err[128];
	size_t at;
	struct regex *re = regex_new(text, nocase, err, sizeof(err), &at);

	if (!re) {
		(void)conf_error(c, word, "pcre2_compile() failed: %s in \"%.*s\"", err,
				 SPAN_ARG(text));
		return NULL;
	}
	if (snapshot_on_free(c->ctx->snapshot, rewrite_regex_free, re) < 0) {
		regex_free(re);
		(void)conf_error(c, word, "out of memory");
		return NULL;
	}
	return re;
}

static int rewrite_named(struct conf_call *c, struct proxy_rewrite *w)
{
	struct span name;
	unsigned group, n = 0;

	while (regex_name_at(w->re, n, &name, &group))
		n++;
	if (!n)
		return CONF_OK;
	w->names = arena_alloc(c->ctx->arena, n * sizeof(*w->names));
	w->groups = arena_alloc(c->ctx->arena, n * sizeof(*w->groups));
	if (!w->names || !w->groups)
		return conf_error(c, 0, "out of memory");
	for (unsigned i = 0; regex_name_at(w->re, i, &name, &w->groups[i]); i++) {
		w->names[i] = var_define(c, conf_var_table(c->scope), name, VAR_CHANGEABLE);
		if (!w->names[i])
			return CONF_ERR;
		w->nnames++;
	}
	return CONF_OK;
}

/* "~re", "~*re" or a template, and its replacement. */
static int rewrite_pair(struct conf_call *c, struct proxy_rewrite *w, bool nocase)
{
	struct span p = conf_arg(c, 1), to = conf_arg(c, 2);

	if (p.n && p.p[0] == '~') {
		p = span_cut(p, 1, p.n);
		if (p.n && p.p[0] == '*') {
			p = span_cut(p, 1, p.n);
			nocase = true;
		}
		w->re = rewrite_regex(c, 1, p, nocase);
		if (!w->re || rewrite_named(c, w) < 0)
			return CONF_ERR;
	} else {
		if (w->domain && p.n && p.p[0] == '.')
			p = span_cut(p, 1, p.n);
		if (w->domain && to.n && to.p[0] == '.')
			to = span_cut(to, 1, to.n);
		w->pattern = tmpl_compile_text(c, 1, p);
		if (!w->pattern)
			return CONF_ERR;
	}
	w->replacement = tmpl_compile_text(c, 2, to);
	return w->replacement ? CONF_OK : CONF_ERR;
}

static struct proxy_rewrite *rewrite_push(struct conf_call *c, struct proxy_rewrites *l)
{
	struct proxy_rewrite *w = ARENA_PUSH(c->ctx->arena, l->v, &l->n, &l->cap);

	if (w)
		*w = (struct proxy_rewrite){0};
	else
		(void)conf_error(c, 0, "out of memory");
	return w;
}

int proxy_redirect_set(struct conf_call *c)
{
	struct proxy_conf *conf = conf_mine(c);
	struct proxy_rewrite *w;

	if (!conf)
		return CONF_ERR;
	if (conf_first_here(c)) {
		conf->redirects = (struct proxy_rewrites){0};
		conf->redirect_off = conf->redirect_default = false;
	}
	if (conf_nargs(c) == 1) {
		if (span_eq(conf_arg(c, 1), SPAN("off"))) {
			conf->redirect_off = true;
			return CONF_OK;
		}
		if (!span_eq(conf_arg(c, 1), SPAN("default")))
			return conf_error(c, 1, "invalid parameter \"%.*s\"",
					  SPAN_ARG(conf_arg(c, 1)));
		conf->redirect_default = true;
		return CONF_OK;
	}
	w = rewrite_push(c, &conf->redirects);
	return w ? rewrite_pair(c, w, false) : CONF_ERR;
}

static struct tmpl *rewrite_constant(struct arena *a, struct span text)
{
	struct tmpl *t = arena_zalloc(a, sizeof(*t));

	if (t)
		*t = (struct tmpl){.source = text, .constant = true};
	return t;
}

/* "default": the proxy_pass URL becomes the location. */
static int redirect_default(struct conf_call *c, struct proxy_conf *conf)
{
	const struct proxy_pass *p = conf->pass;
	struct arena *a = c->ctx->arena;
	struct proxy_rewrite *w;
	struct span from = p->url, to = p->location;

	if (p->tmpl)
		return CONF_OK;
	if (!p->target.uri.n) {
		from = arena_printf(a, "%.*s/", SPAN_ARG(p->url));
		to = SPAN("/");
	}
	conf->redirects.cap = conf->redirects.n;
	w = rewrite_push(c, &conf->redirects);
	if (!w || !from.p)
		return CONF_ERR;
	w->pattern = rewrite_constant(a, from);
	w->replacement = rewrite_constant(a, to);
	return w->pattern && w->replacement ? CONF_OK : conf_error(c, 0, "out of memory");
}

int proxy_redirect_done(struct conf_call *c, struct proxy_conf *conf)
{
	if (conf->redirect_off)
		conf->redirects = (struct proxy_rewrites){0};
	conf->rewrites_cookies =
		conf->cookie_domains.n || conf->cookie_paths.n || conf->cookie_flags.n;
	return conf->redirect_default && !conf->redirect_off ? redirect_default(c, conf) : CONF_OK;
}

static int cookie_rewrite_set(struct conf_call *c, struct proxy_rewrites *l, bool domain)
{
	struct proxy_rewrite *w;

	if (conf_first_here(c))
		*l = (struct proxy_rewrites){0};
	if (conf_nargs(c) == 1) {
		if (!span_eq(conf_arg(c, 1), SPAN("off")))
			return conf_error(c, 1, "invalid parameter \"%.*s\"",
					  SPAN_ARG(conf_arg(c, 1)));
		return CONF_OK;
	}
	w = rewrite_push(c, l);
	if (!w)
		return CONF_ERR;
	w->domain = domain;
	return rewrite_pair(c, w, domain);
}

int proxy_cookie_domain_set(struct conf_call *c)
{
	struct proxy_conf *conf = conf_mine(c);

	return conf ? cookie_rewrite_set(c, &conf->cookie_domains, true) : CONF_ERR;
}

int proxy_cookie_path_set(struct conf_call *c)
{
	struct proxy_conf *conf = conf_mine(c);

	return conf ? cookie_rewrite_set(c, &conf->cookie_paths, false) : CONF_ERR;
}

static const struct {
	struct span word;
	unsigned bit;
} flag_words[] = {
	{SPAN_INIT("secure"), COOKIE_SECURE},
	{SPAN_INIT("nosecure"), COOKIE_SECURE_OFF},
	{SPAN_INIT("httponly"), COOKIE_HTTPONLY},
	{SPAN_INIT("nohttponly"), COOKIE_HTTPONLY_OFF},
	{SPAN_INIT("samesite=strict"), COOKIE_STRICT},
	{SPAN_INIT("samesite=lax"), COOKIE_LAX},
	{SPAN_INIT("samesite=none"), COOKIE_NONE},
	{SPAN_INIT("nosamesite"), COOKIE_SAMESITE_OFF},
};

static unsigned flag_bit(struct span word)
{
	for (size_t i = 0; i < ARRAY_LEN(flag_words); i++)
		if (span_eq_nocase(word, flag_words[i].word))
			return flag_words[i].bit;
	return 0;
}

int proxy_cookie_flags_set(struct conf_call *c)
{
	struct proxy_conf *conf = conf_mine(c);
	struct span name = conf_arg(c, 1);
	struct proxy_cookie_flag *f;

	if (!conf)
		return CONF_ERR;
	if (conf_first_here(c))
		conf->cookie_flags = (struct proxy_cookie_flags){0};
	if (conf_nargs(c) == 1) {
		if (!span_eq(name, SPAN("off")))
			return conf_error(c, 1, "invalid parameter \"%.*s\"", SPAN_ARG(name));
		return CONF_OK;
	}
	f = ARENA_PUSH(c->ctx->arena, conf->cookie_flags.v, &conf->cookie_flags.n,
		       &conf->cookie_flags.cap);
	if (!f)
		return conf_error(c, 0, "out of memory");
	*f = (struct proxy_cookie_flag){.nflags = conf_nargs(c) - 1};
	f->flags = arena_alloc(c->ctx->arena, f->nflags * sizeof(*f->flags));
	if (name.n && name.p[0] == '~')
		f->re = rewrite_regex(c, 1, span_cut(name, 1, name.n), true);
	else
		f->name = tmpl_compile(c, 1);
	if (!f->flags || (!f->re && !f->name))
		return CONF_ERR;
	for (unsigned i = 0; i < f->nflags; i++) {
		f->flags[i] = tmpl_compile(c, i + 2);
		if (!f->flags[i])
			return CONF_ERR;
		if (f->flags[i]->constant && !flag_bit(conf_arg(c, i + 2)))
			return conf_error(c, i + 2, "invalid parameter \"%.*s\"",
					  SPAN_ARG(conf_arg(c, i + 2)));
	}
	return CONF_OK;
}

/* ---- run time ---- */

struct rewritten {
	bool hit;
	struct span head, text, tail; /* the value is now head text tail */
};

static enum fail rewrite_by_regex(struct req *r, const struct proxy_rewrite *w, struct span v,
				  struct rewritten *out)
{
	struct var_ctx *vars = &r->vars;
	struct span subject = vars->subject;
	int caps[2 * CAPS_MAX], *old = vars->caps, nold = vars->ncaps;
	int n = regex_match(w->re, v, caps, CAPS_MAX);

	if (n <= 0)
		return FAIL_OK;
	for (size_t i = 0; i < w->nnames; i++) {
		unsigned g = w->groups[i];

		if (g < CAPS_MAX)
			var_set(vars, w->names[i],
				(int)g < n && caps[2 * g] >= 0
					? span_cut(v, (size_t)caps[2 * g], (size_t)caps[2 * g + 1])
					: SPAN(""));
	}
	vars->subject = v;
	vars->caps = caps;
	vars->ncaps = n;
	out->text = tmpl_eval(w->replacement, vars);
	out->hit = true;
	vars->subject = subject;
	vars->caps = old;
	vars->ncaps = nold;
	return vars->failed ? FAIL_NO_MEMORY : FAIL_OK;
}

/* One pair against a value: prefix match for locations and paths, the whole for domains. */
static enum fail rewrite_one(struct req *r, const struct proxy_rewrite *w, struct span v,
			     struct rewritten *out)
{
	struct span pattern;
	size_t dot = w->domain && !w->re && v.n && v.p[0] == '.';

	*out = (struct rewritten){0};
	if (w->re)
		return rewrite_by_regex(r, w, v, out);
	pattern = tmpl_eval(w->pattern, &r->vars);
	if (r->vars.failed)
		return FAIL_NO_MEMORY;
	if (w->domain ? !span_eq_nocase(pattern, span_cut(v, dot, v.n)) : !span_starts(v, pattern))
		return FAIL_OK;
	out->hit = true;
	out->head = span_cut(v, 0, dot);
	out->text = tmpl_eval(w->replacement, &r->vars);
	if (!w->domain)
		out->tail = span_cut(v, pattern.n, v.n);
	return r->vars.failed ? FAIL_NO_MEMORY : FAIL_OK;
}

/* The first pair that matches. *out p == NULL: none. */
static enum fail rewrite_list(struct req *r, const struct proxy_rewrites *l, struct span v,
			      struct span *out)
{
	struct rewritten w = {0};

	*out = (struct span){0};
	for (size_t i = 0; i < l->n && !w.hit; i++) {
		enum fail f = rewrite_one(r, &l->v[i], v, &w);

		if (f != FAIL_OK)
			return f;
	}
	if (!w.hit)
		return FAIL_OK;
	*out = arena_printf(&r->arena, "%.*s%.*s%.*s", SPAN_ARG(w.head), SPAN_ARG(w.text),
			    SPAN_ARG(w.tail));
	return out->p ? FAIL_OK : FAIL_NO_MEMORY;
}

/* Where the URL of a Refresh field begins: behind "url=". */
static bool refresh_url(struct span v, size_t *at)
{
	for (size_t i = 0; i + 4 <= v.n; i++) {
		if (span_eq_nocase(span_cut(v, i, i + 4), SPAN("url="))) {
			*at = i + 4;
			return true;
		}
	}
	return false;
}

enum fail proxy_rewrite_location(struct exchange *x, bool refresh, struct span value,
				 struct span *out)
{
	size_t at = 0;
	enum fail f;

	*out = (struct span){0};
	if (!x->conf->redirects.n || (refresh && !refresh_url(value, &at)))
		return FAIL_OK;
	f = rewrite_list(x->r, &x->conf->redirects, span_cut(value, at, value.n), out);
	if (f != FAIL_OK || !out->p || !at)
		return f;
	*out = arena_printf(&x->r->arena, "%.*s%.*s", SPAN_ARG(span_cut(value, 0, at)),
			    SPAN_ARG(*out));
	return out->p ? FAIL_OK : FAIL_NO_MEMORY;
}

/* ---- cookies ---- */

#define ATTRS_MAX 16
struct cookie_attr {
	struct span name, value;
	bool has_value;
};
struct cookie {
	struct cookie_attr v[ATTRS_MAX];
	size_t n;
};

static bool cookie_parse(struct span text, struct cookie *ck)
{
	struct span part;

	ck->n = 0;
	while (span_split(&text, ';', &part)) {
		struct cookie_attr *at = &ck->v[ck->n];
		ssize_t eq;

		part = span_trim(part);
		if (!part.n && ck->n)
			continue;
		if (++ck->n > ATTRS_MAX - 3) /* room for the flags */
			return false;
		eq = span_find_char(part, '=', 0);
		*at = (struct cookie_attr){.name = part};
		if (eq >= 0) {
			at->name = span_trim(span_cut(part, 0, (size_t)eq));
			at->value = span_trim(span_cut(part, (size_t)eq + 1, part.n));
			at->has_value = true;
		}
	}
	return ck->n > 0;
}

static enum fail cookie_attr_rewrite(struct req *r, const struct proxy_rewrites *l,
				     struct cookie *ck, struct span name, bool *changed)
{
	for (size_t i = 1; i < ck->n && l->n; i++) {
		struct span v;
		enum fail f;

		if (!ck->v[i].has_value || !span_eq_nocase(ck->v[i].name, name))
			continue;
		f = rewrite_list(r, l, ck->v[i].value, &v);
		if (f != FAIL_OK)
			return f;
		if (v.p) {
			ck->v[i].value = v;
			*changed = true;
		}
	}
	return FAIL_OK;
}

static void cookie_drop(struct cookie *ck, struct span name, bool *changed)
{
	for (size_t i = 1; i < ck->n; i++) {
		if (!span_eq_nocase(ck->v[i].name, name))
			continue;
		memmove(&ck->v[i], &ck->v[i + 1], (ck->n - i - 1) * sizeof(ck->v[0]));
		ck->n--;
		i--;
		*changed = true;
	}
}

static void cookie_put(struct cookie *ck, struct span name, struct span value, bool *changed)
{
	for (size_t i = 1; i < ck->n; i++) {
		if (!span_eq_nocase(ck->v[i].name, name))
			continue;
		if (value.n && !span_eq_nocase(ck->v[i].value, value)) {
			ck->v[i].value = value;
			ck->v[i].has_value = *changed = true;
		}
		return;
	}
	if (ck->n == ATTRS_MAX)
		return;
	ck->v[ck->n++] = (struct cookie_attr){name, value, value.n > 0};
	*changed = true;
}

static void cookie_apply_flags(struct cookie *ck, unsigned bits, bool *changed)
{
	if (bits & COOKIE_SECURE)
		cookie_put(ck, SPAN("Secure"), SPAN(""), changed);
	else if (bits & COOKIE_SECURE_OFF)
		cookie_drop(ck, SPAN("Secure"), changed);
	if (bits & COOKIE_HTTPONLY)
		cookie_put(ck, SPAN("HttpOnly"), SPAN(""), changed);
	else if (bits & COOKIE_HTTPONLY_OFF)
		cookie_drop(ck, SPAN("HttpOnly"), changed);
	if (bits & COOKIE_SAMESITE_OFF)
		cookie_drop(ck, SPAN("SameSite"), changed);
	else if (bits & (COOKIE_STRICT | COOKIE_LAX | COOKIE_NONE))
		cookie_put(ck, SPAN("SameSite"),
			   bits & COOKIE_STRICT ? SPAN("Strict")
			   : bits & COOKIE_LAX	? SPAN("Lax")
						: SPAN("None"),
			   changed);
}

static enum fail cookie_flags(struct req *r, const struct proxy_cookie_flags *l, struct cookie *ck,
			      bool *changed)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct proxy_cookie_flag *f = &l->v[i];
		int caps[2];
		bool hit = f->re ? regex_match(f->re, ck->v[0].name, caps, 1) > 0
				 : span_eq_nocase(tmpl_eval(f->name, &r->vars), ck->v[0].name);
		unsigned bits = 0;

		if (!hit)
			continue;
		for (size_t k = 0; k < f->nflags; k++)
			bits |= flag_bit(tmpl_eval(f->flags[k], &r->vars));
		if (r->vars.failed)
			return FAIL_NO_MEMORY;
		cookie_apply_flags(ck, bits, changed);
		break;
	}
	return FAIL_OK;
}

static struct span cookie_text(struct arena *a, const struct cookie *ck)
{
	size_t n = 0;
	char *p, *at;

	for (size_t i = 0; i < ck->n; i++)
		n += ck->v[i].name.n + ck->v[i].value.n + 3;
	p = at = arena_alloc(a, n + 1);
	for (size_t i = 0; p && i < ck->n; i++) {
		if (i)
			at = mempcpy(at, "; ", 2);
		at = mempcpy(at, ck->v[i].name.p, ck->v[i].name.n);
		if (ck->v[i].has_value)
			*at++ = '=';
		if (ck->v[i].value.n)
			at = mempcpy(at, ck->v[i].value.p, ck->v[i].value.n);
	}
	return span_make(p, p ? (size_t)(at - p) : 0);
}

enum fail proxy_rewrite_cookie(struct exchange *x, struct span value, struct span *out)
{
	struct req *r = x->r;
	struct cookie *ck = arena_alloc(&r->arena, sizeof(*ck));
	bool changed = false;
	enum fail f;

	*out = (struct span){0};
	if (!ck)
		return FAIL_NO_MEMORY;
	if (!cookie_parse(value, ck))
		return FAIL_OK;
	f = cookie_attr_rewrite(r, &x->conf->cookie_domains, ck, SPAN("domain"), &changed);
	if (f == FAIL_OK)
		f = cookie_attr_rewrite(r, &x->conf->cookie_paths, ck, SPAN("path"), &changed);
	if (f == FAIL_OK)
		f = cookie_flags(r, &x->conf->cookie_flags, ck, &changed);
	if (f != FAIL_OK || !changed)
		return f;
	*out = cookie_text(&r->arena, ck);
	return out->p ? FAIL_OK : FAIL_NO_MEMORY;
}
