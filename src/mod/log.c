/* access_log, log_format, open_log_file_cache. */
#include "mod/log.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "conf/opener.h"
#include "conf/snapshot.h"
#include "io/sys.h"
#include "mod/mods.h"
#include "serve/conn.h"
#include "serve/syslog.h"

#define ACCESS_LOG  "logs/access.log"
#define GZIP_BUFFER 65536
#define BUFFER_MAX  (64 << 20)

struct access_log {
	struct list link; /* http_main.buffered_logs */
	struct log_file file;
	struct tmpl *path;     /* with variables; else NULL */
	struct syslog *syslog; /* or this */
	struct log_format *format;
	struct span format_name;
	struct tmpl *cond; /* if=; NULL: always */
	bool opened;	   /* of the default one */
};

struct log_conf {
	struct access_log **logs;
	size_t n, cap;
	bool off;
	struct access_log *dflt; /* what holds when nothing is said */
	struct log_cache_conf cache;
};

static struct conf_mod log_conf_mod;

/* ---- log_format ---- */

static struct log_format *format_find(const struct http_main *m, struct span name)
{
	struct list *l;

	list_each (l, &m->log_formats) {
		struct log_format *f = CONTAINER_OF(l, struct log_format, link);

		if (span_eq(f->name, name))
			return f;
	}
	return NULL;
}

static int format_escape(struct conf_call *c, struct log_format *f, struct span how)
{
	if (span_eq(how, SPAN("json")))
		f->escape = LOG_ESCAPE_JSON;
	else if (span_eq(how, SPAN("none")))
		f->escape = LOG_ESCAPE_NONE;
	else if (!span_eq(how, SPAN("default")))
		return conf_error(c, 2, "unknown log format escaping \"%.*s\"", SPAN_ARG(how));
	return CONF_OK;
}

static int format_set(struct conf_call *c)
{
	struct http_main *m = http_main_of(c->ctx);
	struct log_format *f = arena_zalloc(c->ctx->arena, sizeof(*f));
	unsigned word = 2;
	struct span how;

	if (!f)
		return conf_error(c, 0, "out of memory");
	f->name = conf_arg(c, 1);
	if (format_find(m, f->name) || span_eq(f->name, SPAN("combined")))
		return conf_error(c, 1, "duplicate \"log_format\" name \"%.*s\"",
				  SPAN_ARG(f->name));
	if (conf_param(conf_arg(c, 2), "escape", &how)) {
		if (format_escape(c, f, how) != CONF_OK)
			return CONF_ERR;
		word++;
	}
	if (log_format_compile(c, f, word) != CONF_OK)
		return CONF_ERR;
	list_push(&m->log_formats, &f->link);
	return CONF_OK;
}

/* The format called combined, made when it is first asked for. */
static struct log_format *format_combined(struct conf_call *c, struct http_main *m)
{
	struct log_format *f = format_find(m, SPAN("combined"));

	if (f)
		return f;
	f = arena_zalloc(c->ctx->arena, sizeof(*f));
	if (!f)
		return NULL;
	f->name = SPAN("combined");
	if (log_format_compile_text(
		    c, f,
		    SPAN("$remote_addr - $remote_user [$time_local] \"$request\" $status "
			 "$body_bytes_sent \"$http_referer\" \"$http_user_agent\"")) != CONF_OK)
		return NULL;
	list_push(&m->log_formats, &f->link);
	return f;
}

/* A format may stand behind the log that uses it. */
static int log_link(struct conf_call *c, void *arg)
{
	struct access_log *a = arg;
	struct http_main *m = http_main_of(c->ctx);

	a->format = span_eq(a->format_name, SPAN("combined")) ? format_combined(c, m)
							      : format_find(m, a->format_name);
	if (!a->format)
		return conf_error(c, 2, "unknown log format \"%.*s\"", SPAN_ARG(a->format_name));
	return CONF_OK;
}

/* ---- access_log ---- */

static int log_open(struct conf_call *c, unsigned word, struct log_file *f, struct span name)
{
	struct opener *o = c->ctx->opener;

	f->path = conf_path(c->ctx, name, false);
	if (!f->path.p)
		return CONF_ERR;
	f->fd = o->ops->open_log(o, f->path);
	if (f->fd < 0)
		return conf_error(c, word, "open() \"%.*s\" failed (%d: %s)", SPAN_ARG(f->path),
				  -f->fd, strerror(-f->fd));
	return CONF_OK;
}

static int param_gzip(struct conf_call *c, unsigned i, struct log_file *f, struct span level)
{
	uint64_t n = 1;

	if (level.p && (!span_to_u64(level, 9, &n) || n < 1))
		return conf_error(c, i, "invalid compression level \"%.*s\"", SPAN_ARG(level));
	f->gzip = (int)n;
	if (!f->buffer)
		f->buffer = GZIP_BUFFER;
	return CONF_OK;
}

static int log_param(struct conf_call *c, unsigned i, struct access_log *a)
{
	struct span w = conf_arg(c, i), v;
	int64_t n;

	if (conf_param(w, "buffer", &v)) {
		if (!conf_parse_size(v, &n) || n <= 0 || n > BUFFER_MAX)
			return conf_error(c, i, "invalid buffer size \"%.*s\"", SPAN_ARG(v));
		a->file.buffer = (size_t)n;
	} else if (conf_param(w, "flush", &v)) {
		if (!conf_parse_msec(v, &n) || n <= 0)
			return conf_error(c, i, "invalid flush time \"%.*s\"", SPAN_ARG(v));
		a->file.flush_ms = n;
	} else if (conf_param(w, "gzip", &v)) {
		return param_gzip(c, i, &a->file, v);
	} else if (span_eq(w, SPAN("gzip"))) {
		return param_gzip(c, i, &a->file, (struct span){0});
	} else if (conf_param(w, "if", &v)) {
		a->cond = tmpl_compile_text(c, i, v);
		return a->cond ? CONF_OK : CONF_ERR;
	} else {
		return conf_error(c, i, "invalid parameter \"%.*s\"", SPAN_ARG(w));
	}
	return CONF_OK;
}

static int log_place(struct conf_call *c, struct access_log *a)
{
	struct span name = conf_arg(c, 1);

	if (span_starts(name, SPAN("syslog:"))) {
		a->syslog = syslog_new(c, 1, span_cut(name, 7, name.n));
		return a->syslog ? CONF_OK : CONF_ERR;
	}
	if (span_find_char(name, '$', 0) < 0)
		return log_open(c, 1, &a->file, name);
	if (name.n && name.p[0] != '/' && name.p[0] != '$')
		name = arena_printf(c->ctx->arena, "%.*s%.*s", SPAN_ARG(c->ctx->prefix),
				    SPAN_ARG(name));
	a->path = tmpl_compile_text(c, 1, name);
	return a->path ? CONF_OK : CONF_ERR;
}

/* The same file written in two ways would tear lines apart, wherever these stand. */
static int log_conflicts(struct conf_call *c, struct access_log *a)
{
	struct list *known = &http_main_of(c->ctx)->buffered_logs, *l;
	const struct log_file *f = &a->file;

	if (!f->buffer)
		return CONF_OK;
	list_each (l, known) {
		const struct log_file *o = &CONTAINER_OF(l, struct access_log, link)->file;

		if (!span_eq(o->path, f->path))
			continue;
		if (o->buffer != f->buffer || o->flush_ms != f->flush_ms || o->gzip != f->gzip)
			return conf_error(
				c, 1,
				"access_log \"%.*s\" already defined with conflicting parameters",
				SPAN_ARG(f->path));
		return CONF_OK;
	}
	list_push(known, &a->link);
	return CONF_OK;
}

static int log_check(struct conf_call *c, struct access_log *a)
{
	const struct log_file *f = &a->file;

	if (f->flush_ms && !f->buffer)
		return conf_error(c, 1, "no buffer is defined for access_log \"%.*s\"",
				  SPAN_ARG(conf_arg(c, 1)));
	if (f->buffer && a->path)
		return conf_error(c, 1, "buffered logs cannot have variables in name");
	if (f->buffer && a->syslog)
		return conf_error(c, 1, "logs to syslog cannot be buffered");
	return log_conflicts(c, a);
}

static int access_log_set(struct conf_call *c)
{
	struct log_conf *conf = conf_mine(c);
	struct access_log *a, **slot;

	if (!conf)
		return CONF_ERR;
	if (conf_first_here(c)) {
		conf->logs = NULL;
		conf->n = conf->cap = 0;
		conf->off = false;
	}
	if (span_eq(conf_arg(c, 1), SPAN("off"))) {
		conf->off = true;
		return conf_nargs(c) == 1 ? CONF_OK
					  : conf_error(c, 2, "invalid parameter \"%.*s\"",
						       SPAN_ARG(conf_arg(c, 2)));
	}
	a = arena_zalloc(c->ctx->arena, sizeof(*a));
	slot = a ? ARENA_PUSH(c->ctx->arena, conf->logs, &conf->n, &conf->cap) : NULL;
	if (!slot)
		return conf_error(c, 0, "out of memory");
	*slot = a;
	a->file.fd = -1;
	a->format_name = conf_nargs(c) > 1 ? conf_arg(c, 2) : SPAN("combined");
	if (log_place(c, a) != CONF_OK)
		return CONF_ERR;
	for (unsigned i = 3; i <= conf_nargs(c); i++)
		if (log_param(c, i, a) != CONF_OK)
			return CONF_ERR;
	if (log_check(c, a) != CONF_OK)
		return CONF_ERR;
	return conf_later(c, CONF_LINK_NAMES, log_link, a);
}

/* ---- when nothing is said ---- */

static int log_init(struct conf_call *c, void *arg)
{
	struct log_conf *conf = arg;
	struct access_log **slot = ARENA_PUSH(c->ctx->arena, conf->logs, &conf->n, &conf->cap);

	conf->dflt = arena_zalloc(c->ctx->arena, sizeof(*conf->dflt));
	if (!slot || !conf->dflt)
		return conf_error(c, 0, "out of memory");
	*slot = conf->dflt;
	conf->dflt->file.fd = -1;
	conf->dflt->format_name = SPAN("combined");
	return CONF_OK;
}

/* The default log is opened only when some server uses it. */
static int log_done(struct conf_call *c, void *arg)
{
	struct log_conf *conf = arg;
	struct access_log *a = conf->dflt;

	if (conf->off || conf->n != 1 || conf->logs[0] != a || a->opened)
		return CONF_OK;
	a->opened = true;
	if (log_open(c, 0, &a->file, SPAN(ACCESS_LOG)) != CONF_OK)
		return CONF_ERR;
	return log_link(c, a);
}

/* ---- requests ---- */

static _Thread_local struct log_line line;

/* A value must not lead out of the folder that the configuration names. */
static bool path_climbs(struct span path)
{
	return span_find(path, SPAN("/../")) >= 0 || memchr(path.p, 0, path.n);
}

/* A host that is in no folder gets no log: whoever sends names may not fill the disk with files. */
static bool root_exists(struct req *r)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	struct span root = tmpl_eval_cstr(l->root, &r->vars);
	struct stat st;
	int rc = r->vars.failed ? -ENOMEM : sys->fstatat(AT_FDCWD, root.p, &st, 0);

	if (rc == 0 && !S_ISDIR(st.st_mode) && !l->alias)
		rc = -ENOTDIR;
	if (rc < 0)
		req_log(r, LOG_ERR, -rc, "testing \"%.*s\" existence failed", SPAN_ARG(root));
	return rc == 0;
}

static void log_to_path(struct req *r, const struct access_log *a, const struct log_conf *conf)
{
	struct span path;
	int rc = -EINVAL;

	if (!root_exists(r))
		return;
	path = tmpl_eval_cstr(a->path, &r->vars);
	if (!r->vars.failed && path.n && !path_climbs(path))
		rc = log_path_write(path.p, span_make(line.p, line.n), &conf->cache,
				    r->snapshot->generation);
	if (rc < 0)
		req_log(r, LOG_CRIT, -rc, "open() \"%.*s\" failed while logging request",
			SPAN_ARG(path));
}

static bool wanted(struct req *r, const struct access_log *a)
{
	struct span v;

	if (!a->cond)
		return true;
	v = tmpl_eval(a->cond, &r->vars);
	return v.n && !span_eq(v, SPAN("0"));
}

static void log_one(struct req *r, const struct access_log *a, const struct log_conf *conf)
{
	log_line_start(&line);
	log_format_line(a->format, r, &line);
	if (a->syslog) {
		if (!line.failed)
			syslog_send(a->syslog, a->syslog->severity, span_make(line.p, line.n));
		return;
	}
	log_line_add(&line, SPAN("\n"));
	if (line.failed)
		req_log(r, LOG_ERR, 0,
			"a line of the access log was too long, or no memory for it");
	else if (a->path)
		log_to_path(r, a, conf);
	else
		log_file_add(&a->file, span_make(line.p, line.n), r->snapshot);
}

static void log_request(struct req *r)
{
	const struct log_conf *conf = req_conf(r, &log_conf_mod);

	if (conf->off)
		return;
	for (size_t i = 0; i < conf->n; i++)
		if (conf->logs[i]->format && wanted(r, conf->logs[i]))
			log_one(r, conf->logs[i], conf);
}

static void thread_stop(void)
{
	log_thread_stop();
	log_cache_clear();
	log_line_fini(&line);
}

static void flush_logs(void)
{
	log_thread_flush();
	log_cache_clear();
}

/* ---- the module ---- */

static bool cache_param(struct span w, struct log_cache_conf *cc)
{
	struct span v;

	if (conf_param(w, "max", &v))
		return conf_parse_size(v, &cc->max) && cc->max > 0;
	if (conf_param(w, "inactive", &v))
		return conf_parse_sec(v, &cc->inactive_s);
	if (conf_param(w, "min_uses", &v))
		return conf_parse_size(v, &cc->min_uses) && cc->min_uses > 0;
	if (conf_param(w, "valid", &v))
		return conf_parse_sec(v, &cc->valid_s);
	return false;
}

static int cache_set(struct conf_call *c)
{
	struct log_conf *conf = conf_mine(c);
	struct log_cache_conf cc = {.inactive_s = 10, .valid_s = 60, .min_uses = 1};

	if (!conf)
		return CONF_ERR;
	conf->cache = (struct log_cache_conf){0};
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		if (span_eq(conf_arg(c, i), SPAN("off")))
			return CONF_OK;
		if (!cache_param(conf_arg(c, i), &cc))
			return conf_error(c, i,
					  "invalid \"open_log_file_cache\" parameter \"%.*s\"",
					  SPAN_ARG(conf_arg(c, i)));
	}
	if (!cc.max)
		return conf_error(c, 0, "\"open_log_file_cache\" must have \"max\" parameter");
	conf->cache = cc;
	return CONF_OK;
}

static const struct conf_row rows[] = {
	MCUSTOM("log_format", IN_HTTP, 2, 255, CONF_MULTI | CONF_NO_DROP, format_set,
		"A format of lines: name, escape=default|json|none, text with variables."),
	{.name = "access_log",
	 .where = IN_HTTP_ALL | IN_IF_LOCATION | IN_LIMIT_EXCEPT,
	 .min = 1,
	 .max = 255,
	 .kind = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = access_log_set,
	 .def_text = ACCESS_LOG " combined",
	 .help = "A file or syslog: for a line per request, its format, buffer=, flush=, gzip=, "
		 "if=; or off."},
	MCUSTOM("open_log_file_cache", IN_HTTP_ALL, 1, 4, 0, cache_set,
		"Keep logs with variables in their names open: max=, inactive=, min_uses=, valid=; "
		"or "
		"off."),
	MEND,
};

static struct conf_mod log_conf_mod = {
	.name = "access_log",
	.size = sizeof(struct log_conf),
	.rows = rows,
	.init = log_init,
	.done = log_done,
	.done_where = IN_SERVER,
};

static struct conf_mod *const confs[] = {&log_conf_mod, NULL};

const struct http_module log_module = {
	.name = "log",
	.confs = confs,
	.log = log_request,
	.thread_stop = thread_stop,
	.flush_logs = flush_logs,
};
