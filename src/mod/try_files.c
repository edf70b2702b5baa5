/* `try_files`: the first of several files or directories that exists becomes the URI; the last word
 * is where to go when none does. Not inherited: it holds in the block where it stands. */
#include "mod/mods.h"
#include "mod/open_file_cache.h"
#include "serve/core.h"
#include "serve/req.h"

struct try_file {
	struct tmpl *name;
	bool directory;
};

struct try_files_conf {
	const struct conf_scope *scope; /* where it was given */
	struct try_file *files;		/* without the last word */
	size_t n, cap;
	int code;	   /* the last word, when it was "=code" */
	struct tmpl *last; /* else: a URI or @name */
};

static int try_files_last(struct conf_call *c, struct try_files_conf *conf)
{
	unsigned i = conf_nargs(c);
	struct span w = conf_arg(c, i);
	uint64_t code;

	if (w.n && w.p[0] == '=') {
		if (!span_to_u64(span_cut(w, 1, w.n), 999, &code))
			return conf_error(c, i, "invalid code \"%.*s\"", SPAN_ARG(w));
		conf->code = (int)code;
		return CONF_OK;
	}
	conf->last = tmpl_compile(c, i);
	return conf->last ? CONF_OK : CONF_ERR;
}

static int try_files_set(struct conf_call *c)
{
	struct try_files_conf *conf = conf_mine(c);

	if (!conf)
		return CONF_ERR;
	*conf = (struct try_files_conf){.scope = c->scope};
	for (unsigned i = 1; i < conf_nargs(c); i++) {
		struct span w = conf_arg(c, i);
		struct try_file *f = ARENA_PUSH(c->ctx->arena, conf->files, &conf->n, &conf->cap);

		if (!f)
			return conf_error(c, i, "out of memory");
		f->directory = w.n > 0 && w.p[w.n - 1] == '/';
		f->name = tmpl_compile_text(c, i, span_cut(w, 0, w.n - f->directory));
		if (!f->name)
			return CONF_ERR;
	}
	return try_files_last(c, conf);
}

static const struct conf_row try_files_rows[] = {
	MCUSTOM("try_files", IN_SERVER | IN_LOCATION, 2, 255, 0, try_files_set,
		"Files to look for, in this order, and where to go when there is none."),
	MEND,
};

static struct conf_mod try_files_mod = {
	.name = "try_files", .size = sizeof(struct try_files_conf), .rows = try_files_rows};

/* The URI that a name means in this location: below an alias it is what the alias replaces, too.
 * False: none leads there. */
static bool try_uri(struct req *r, struct span name, struct span *uri)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	const struct location *loc = l->alias ? l->alias_location : NULL;

	*uri = name;
	if (loc && loc->re) /* the alias is the name of one file: only the URI itself leads there */
		return span_eq(name, r->uri);
	if (!loc || loc->kind == LOC_NAMED || span_starts(name, loc->name))
		return true;
	*uri = arena_printf(&r->arena, "%.*s%.*s", SPAN_ARG(loc->name), SPAN_ARG(name));
	return uri->p;
}

/* True when it is there and of the right kind; r->uri is then what was found. */
static bool try_one(struct req *r, const struct try_file *f)
{
	struct span name = tmpl_eval(f->name, &r->vars), uri, path;
	struct open_file of;
	struct file_ask ask;

	if (r->vars.failed)
		return false;
	if (!try_uri(r, name, &uri))
		return false;
	path = req_path_of(r, uri);
	if (!path.p || !file_ask_init(&ask, r, path))
		return false;
	if (open_file_test(&of, &ask)) {
		bool ordinary;

		if (file_error_status(of.err, &ordinary) == 500 && !ordinary)
			req_log(r, LOG_CRIT, of.err, "%s \"%.*s\" failed", of.failed,
				SPAN_ARG(path));
		return false;
	}
	if (of.facts.is_dir != f->directory)
		return false;
	r->uri = uri.n ? uri : SPAN("/");
	return true;
}

static int try_files_go(struct req *r, const struct try_files_conf *conf)
{
	struct span to, args = {0};
	ssize_t q;

	if (!conf->last)
		return conf->code;
	to = tmpl_eval(conf->last, &r->vars);
	if (r->vars.failed)
		return req_fail(r, FAIL_NO_MEMORY);
	if (to.n && to.p[0] == '@')
		return req_redirect_named(r, to);
	q = span_find_char(to, '?', 0);
	if (q >= 0) {
		args = span_cut(to, (size_t)q + 1, to.n);
		to = span_cut(to, 0, (size_t)q);
	}
	return req_redirect(r, to, args);
}

static int try_files_precontent(struct req *r)
{
	const struct try_files_conf *conf = req_conf(r, &try_files_mod);

	if (!conf->scope)
		return PHASE_NEXT;
	/* `if` has its own scope and none of this, as in nginx; limit_except does not change what
	 * is served */
	if (conf->scope != r->scope &&
	    (!(r->scope->where & IN_LIMIT_EXCEPT) || r->scope->parent != conf->scope))
		return PHASE_NEXT;
	for (size_t i = 0; i < conf->n; i++) {
		if (try_one(r, &conf->files[i]))
			return PHASE_NEXT;
		if (r->vars.failed)
			return req_fail(r, FAIL_NO_MEMORY);
	}
	return try_files_go(r, conf);
}

static struct conf_mod *const try_files_confs[] = {&try_files_mod, NULL};

const struct http_module try_files_module = {
	.name = "try_files",
	.confs = try_files_confs,
	.phase = {[PHASE_PRECONTENT] = try_files_precontent},
};
