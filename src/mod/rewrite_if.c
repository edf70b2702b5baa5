/* The conditions of `if`. */
#include <errno.h>
#include <fcntl.h>
#include "io/sys.h"
#include "mod/rewrite.h"

/* ---- parsing ---- */

/* The words between the parentheses, which may be glued to the first and last one or stand alone.
 */
struct cond_words {
	unsigned first, last; /* of the node's words */
	struct span *v;	      /* all words of the node, without the parentheses */
};

static int cond_words(struct conf_call *c, struct cond_words *w)
{
	unsigned last = conf_nargs(c);

	w->v = arena_alloc(c->ctx->arena, (last + 1) * sizeof(*w->v));
	if (!w->v)
		return conf_error(c, 0, "out of memory");
	for (unsigned i = 1; i <= last; i++)
		w->v[i] = conf_arg(c, i);
	w->first = 1;
	w->last = last;
	if (!w->v[1].n || w->v[1].p[0] != '(')
		return conf_error(c, 1, "invalid condition \"%.*s\"", SPAN_ARG(w->v[1]));
	w->v[1] = span_cut(w->v[1], 1, w->v[1].n);
	if (!w->v[1].n)
		w->first++;
	if (w->first > last || !w->v[last].n || w->v[last].p[w->v[last].n - 1] != ')')
		return conf_error(c, last, "invalid condition \"%.*s\"",
				  SPAN_ARG(conf_arg(c, last)));
	w->v[last].n--;
	if (!w->v[last].n)
		w->last--;
	if (w->last < w->first)
		return conf_error(c, last, "invalid condition \"%.*s\"",
				  SPAN_ARG(conf_arg(c, last)));
	return CONF_OK;
}

static int bad_condition(struct conf_call *c, const struct cond_words *w)
{
	return conf_error(c, w->first, "invalid condition \"%.*s\"", SPAN_ARG(w->v[w->first]));
}

static int cond_operator(struct conf_call *c, const struct cond_words *w, struct rewrite_if *out)
{
	static const struct {
		struct span text;
		enum rewrite_cond cond;
		bool nocase;
	} ops[] = {
		{SPAN_INIT("="), COND_EQUAL, false},	 {SPAN_INIT("!="), COND_NOT_EQUAL, false},
		{SPAN_INIT("~"), COND_MATCH, false},	 {SPAN_INIT("~*"), COND_MATCH, true},
		{SPAN_INIT("!~"), COND_NO_MATCH, false}, {SPAN_INIT("!~*"), COND_NO_MATCH, true},
	};
	struct span op = w->v[w->first + 1], arg = w->v[w->last];

	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		if (!span_eq(op, ops[i].text))
			continue;
		out->cond = ops[i].cond;
		if (out->cond == COND_MATCH || out->cond == COND_NO_MATCH)
			return rewrite_regex_new(c, w->last, arg, ops[i].nocase, &out->match);
		out->value = tmpl_compile_text(c, w->last, arg);
		return out->value ? CONF_OK : CONF_ERR;
	}
	return conf_error(c, w->first + 1, "unexpected \"%.*s\" in condition", SPAN_ARG(op));
}

static int cond_variable(struct conf_call *c, const struct cond_words *w, struct rewrite_if *out)
{
	struct span name = span_cut(w->v[w->first], 1, w->v[w->first].n);

	if (w->first != w->last && w->first + 2 != w->last)
		return bad_condition(c, w);
	if (name.n > 2 && name.p[0] == '{' && name.p[name.n - 1] == '}')
		name = span_cut(name, 1, name.n - 1);
	out->var = var_use(c, w->first, conf_var_table(c->scope), name);
	if (!out->var)
		return CONF_ERR;
	out->cond = COND_VAR;
	return w->first == w->last ? CONF_OK : cond_operator(c, w, out);
}

static int cond_file(struct conf_call *c, const struct cond_words *w, struct rewrite_if *out)
{
	struct span op = w->v[w->first];

	if (w->first + 1 != w->last)
		return bad_condition(c, w);
	out->negated = op.p[0] == '!';
	switch (op.p[op.n - 1]) {
	case 'f':
		out->cond = COND_FILE;
		break;
	case 'd':
		out->cond = COND_DIR;
		break;
	case 'e':
		out->cond = COND_EXISTS;
		break;
	case 'x':
		out->cond = COND_EXEC;
		break;
	default:
		return bad_condition(c, w);
	}
	out->value = tmpl_compile_text(c, w->last, w->v[w->last]);
	return out->value ? CONF_OK : CONF_ERR;
}

int rewrite_if_parse(struct conf_call *c, struct rewrite_if *out)
{
	struct cond_words w = {0};
	struct span first;

	if (cond_words(c, &w) != CONF_OK)
		return CONF_ERR;
	first = w.v[w.first];
	if (first.n > 1 && first.p[0] == '$')
		return cond_variable(c, &w, out);
	if ((first.n == 2 && first.p[0] == '-') ||
	    (first.n == 3 && first.p[0] == '!' && first.p[1] == '-'))
		return cond_file(c, &w, out);
	return bad_condition(c, &w);
}

/* ---- asking ---- */

static bool file_is(struct req *r, const struct rewrite_if *f, bool quote)
{
	struct span path = rewrite_eval(r, f->value, quote);
	const char *name = r->vars.failed ? NULL : arena_cstr(&r->arena, path);
	struct stat st;
	bool is;
	int rc;

	if (!name) {
		r->vars.failed = true;
		return false;
	}
	rc = memchr(name, 0, path.n) ? -ENOENT : sys->fstatat(AT_FDCWD, name, &st, 0);
	if (rc < 0) {
		if (rc != -ENOENT && rc != -ENOTDIR && rc != -ENAMETOOLONG)
			req_log(r, LOG_CRIT, -rc, "stat() \"%s\" failed", name);
		return f->negated;
	}
	switch (f->cond) {
	case COND_FILE:
		is = S_ISREG(st.st_mode);
		break;
	case COND_DIR:
		is = S_ISDIR(st.st_mode);
		break;
	case COND_EXEC:
		is = st.st_mode & S_IXUSR;
		break;
	default:
		is = true;
	}
	return is != f->negated;
}

bool rewrite_if_true(struct req *r, const struct rewrite_if *f, bool quote)
{
	struct span value = f->var ? var_get(&r->vars, f->var, NULL) : (struct span){0};

	switch (f->cond) {
	case COND_VAR:
		return value.n && !span_eq(value, SPAN("0"));
	case COND_EQUAL:
		return span_eq(value, rewrite_eval(r, f->value, quote));
	case COND_NOT_EQUAL:
		return !span_eq(value, rewrite_eval(r, f->value, quote));
	case COND_MATCH:
		return rewrite_match(r, &f->match, value);
	case COND_NO_MATCH:
		return !rewrite_match(r, &f->match, value);
	default:
		return file_is(r, f, quote);
	}
}
