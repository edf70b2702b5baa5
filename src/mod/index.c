/* `index`: which file stands for a directory. An internal redirect to it, so that its location
 * decides. */
#include <errno.h>
#include "mod/mods.h"
#include "mod/open_file_cache.h"
#include "serve/core.h"
#include "serve/req.h"

struct index_conf {
	struct tmpl **names; /* NULL: index.html */
	size_t n, cap;
};

static int index_set(struct conf_call *c)
{
	struct index_conf *conf = conf_mine(c);

	if (!conf)
		return CONF_ERR;
	if (conf_first_here(c)) {
		conf->names = NULL;
		conf->n = conf->cap = 0;
	}
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		struct span name = conf_arg(c, i);
		struct tmpl **t;

		if (!name.n)
			return conf_error(c, i, "index \"%.*s\" in \"index\" directive is invalid",
					  SPAN_ARG(name));
		if (name.p[0] == '/' && i != conf_nargs(c))
			conf_warn(c, i,
				  "only the last index in \"index\" directive should be absolute");
		t = ARENA_PUSH(c->ctx->arena, conf->names, &conf->n, &conf->cap);
		if (!t)
			return conf_error(c, i, "out of memory");
		*t = tmpl_compile(c, i);
		if (!*t)
			return CONF_ERR;
	}
	return CONF_OK;
}

static const struct conf_row index_rows[] = {
	MCUSTOM("index", IN_HTTP | IN_SERVER | IN_LOCATION, 1, 255, CONF_MULTI, index_set,
		"Files that stand for a directory, in this order; an absolute one at the end is a "
		"last resort."),
	MEND,
};

static struct conf_mod index_mod = {
	.name = "index", .size = sizeof(struct index_conf), .rows = index_rows};

static int index_refuse(struct req *r, int err, struct span path)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	if (err == EACCES) {
		req_log(r, LOG_ERR, err, "\"%.*s\" is forbidden", SPAN_ARG(path));
		return 403;
	}
	if (l->log_not_found)
		req_log(r, LOG_ERR, err, "\"%.*s\" is not found", SPAN_ARG(path));
	return 404;
}

/* One file is missing: so may be the whole directory. 0, or a status. */
static int index_test_directory(struct req *r, struct span path)
{
	struct span dir = req_path(r);
	struct open_file of;
	struct file_ask ask;

	while (dir.n > 1 && dir.p[dir.n - 1] == '/')
		dir.n--;
	dir = arena_dup(&r->arena, dir);
	if (!dir.p || !file_ask_init(&ask, r, dir))
		return req_fail(r, FAIL_NO_MEMORY);
	switch (open_file_test(&of, &ask)) {
	case 0:
		break;
	case EACCES: /* it may be searched, or the file would not just be missing */
		return 0;
	case ENOENT:
		return index_refuse(r, ENOENT, path);
	default:
		req_log(r, LOG_CRIT, of.err, "%s \"%.*s\" failed", of.failed, SPAN_ARG(dir));
		return 500;
	}
	if (of.facts.is_dir)
		return 0;
	req_log(r, LOG_ERR, 0, "\"%.*s\" is not a directory", SPAN_ARG(dir));
	return 500;
}

/* The name of the file that uri (the directory and name) means. The alias of a regex location names
 * the directory as a whole. */
static struct span index_path(struct req *r, struct span uri, struct span name)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	struct span dir;

	if (!l->alias || !l->alias_location || !l->alias_location->re)
		return req_path_of(r, uri);
	dir = req_path(r);
	return dir.p ? arena_printf(&r->arena, "%.*s%.*s", SPAN_ARG(dir), SPAN_ARG(name)) : dir;
}

/* PHASE_AGAIN when the file is there, PHASE_NEXT when not, or a status. */
static int index_try(struct req *r, struct span name, bool *dir_tested)
{
	struct span uri = arena_printf(&r->arena, "%.*s%.*s", SPAN_ARG(r->uri), SPAN_ARG(name)),
		    path;
	struct open_file of;
	struct file_ask ask;
	int rc;

	if (!uri.p)
		return req_fail(r, FAIL_NO_MEMORY);
	path = index_path(r, uri, name);
	if (!path.p && !r->vars.failed)
		return 403;
	if (!path.p || !file_ask_init(&ask, r, path))
		return req_fail(r, FAIL_NO_MEMORY);
	switch (open_file_test(&of, &ask)) {
	case 0:
		return req_redirect(r, uri, r->args);
	case ELOOP:
	case EMLINK:
		return 403;
	case ENOTDIR:
	case ENAMETOOLONG:
	case EACCES:
		return index_refuse(r, of.err, path);
	case ENOENT:
		break;
	default:
		req_log(r, LOG_CRIT, of.err, "%s \"%.*s\" failed", of.failed, SPAN_ARG(path));
		return 500;
	}
	rc = *dir_tested ? 0 : index_test_directory(r, path);
	*dir_tested = true;
	return rc ? rc : PHASE_NEXT;
}

static int index_content(struct req *r)
{
	const struct index_conf *conf = req_conf(r, &index_mod);
	bool dir_tested = false;

	if (!r->uri.n || r->uri.p[r->uri.n - 1] != '/')
		return PHASE_NEXT;
	if (r->method != METHOD_GET && r->method != METHOD_HEAD && r->method != METHOD_POST)
		return PHASE_NEXT;
	if (!conf->names)
		return index_try(r, SPAN("index.html"), &dir_tested);
	for (size_t i = 0; i < conf->n; i++) {
		struct span name = tmpl_eval(conf->names[i], &r->vars);
		int rc;

		if (r->vars.failed)
			return req_fail(r, FAIL_NO_MEMORY);
		if (!name.n)
			continue; /* nginx would redirect to the directory itself, without end */
		if (name.p[0] == '/')
			return req_redirect(r, name, r->args);
		rc = index_try(r, name, &dir_tested);
		if (rc != PHASE_NEXT)
			return rc;
	}
	return PHASE_NEXT;
}

static struct conf_mod *const index_confs[] = {&index_mod, NULL};

const struct http_module index_module = {
	.name = "index",
	.confs = index_confs,
	.phase = {[PHASE_CONTENT] = index_content},
};
