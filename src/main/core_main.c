#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "conf/opener.h"
#include "conf/snapshot.h"
#include "main/cmdline.h"
#include "main/core_main.h"
#include "main/opener_real.h"
#include "net/addr.h"

/* ---- main ---- */

static int set_worker_processes(struct conf_call *c)
{
	struct main_conf *m = conf_mine(c);
	struct span v = conf_arg(c, 1);
	uint64_t n;

	if (!m)
		return CONF_ERR;
	if (span_eq(v, SPAN("auto"))) {
		m->worker_processes = 0;
		return CONF_OK;
	}
	if (!span_to_u64(v, 1000000, &n) || n == 0)
		return conf_error(c, 1, "\"worker_processes\" directive invalid value");
	if (n > THREADS_MAX) {
		conf_warn(c, 1, "\"worker_processes\" is cut to %d", THREADS_MAX);
		n = THREADS_MAX;
	}
	m->worker_processes = (int64_t)n;
	return CONF_OK;
}

static int find_group(struct conf_call *c, unsigned word, gid_t *gid)
{
	char name[256];
	struct group *g;

	if (!span_to_cstr(conf_arg(c, word), name, sizeof(name)))
		return conf_error(c, word, "invalid group name");
	errno = 0;
	g = getgrnam(name);
	if (!g)
		return conf_error(c, word, "getgrnam(\"%s\") failed%s", name,
				  errno ? strerror(errno) : "");
	*gid = g->gr_gid;
	return CONF_OK;
}

static int set_user(struct conf_call *c)
{
	struct main_conf *m = conf_mine(c);
	struct passwd *pw;
	char name[256];

	if (!m)
		return CONF_ERR;
	if (geteuid() != 0) {
		conf_warn(c, 0,
			  "the \"user\" directive makes sense only if the master process runs with "
			  "super-user privileges, ignored");
		return CONF_OK;
	}
	if (!span_to_cstr(conf_arg(c, 1), name, sizeof(name)))
		return conf_error(c, 1, "invalid user name");
	errno = 0;
	pw = getpwnam(name);
	if (!pw)
		return conf_error(c, 1, "getpwnam(\"%s\") failed", name);
	m->user = conf_arg(c, 1);
	m->uid = pw->pw_uid;
	m->gid = pw->pw_gid;
	m->user_given = true;
	if (conf_nargs(c) == 2 && find_group(c, 2, &m->gid) < 0)
		return CONF_ERR;
	opener_real_user(c->ctx->opener, m->uid, m->gid);
	return CONF_OK;
}

static int set_priority(struct conf_call *c)
{
	struct main_conf *m = conf_mine(c);
	struct span v = conf_arg(c, 1);
	bool minus = v.n && v.p[0] == '-';
	uint64_t n;

	if (!m)
		return CONF_ERR;
	if (v.n && (v.p[0] == '-' || v.p[0] == '+'))
		v = span_cut(v, 1, v.n);
	if (!span_to_u64(v, 20, &n))
		return conf_error(c, 1, "invalid priority \"%.*s\"", SPAN_ARG(conf_arg(c, 1)));
	m->worker_priority = minus ? -(int64_t)n : (int64_t)n;
	return CONF_OK;
}

static int parse_mask(struct conf_call *c, unsigned word, cpu_set_t *set)
{
	struct span v = conf_arg(c, word);
	unsigned cpu = 0;

	CPU_ZERO(set);
	for (size_t i = v.n; i > 0; i--) { /* the last digit is processor 0 */
		char d = v.p[i - 1];

		if (d == ' ')
			continue;
		if ((d != '0' && d != '1') || cpu >= CPU_SETSIZE)
			return conf_error(c, word,
					  "invalid character or length in CPU mask \"%.*s\"",
					  SPAN_ARG(v));
		if (d == '1')
			CPU_SET(cpu, set);
		cpu++;
	}
	return CONF_OK;
}

static int set_affinity(struct conf_call *c)
{
	struct main_conf *m = conf_mine(c);
	unsigned from = 1;

	if (!m)
		return CONF_ERR;
	if (span_eq(conf_arg(c, 1), SPAN("auto"))) {
		if (conf_nargs(c) > 2)
			return conf_error(
				c, 3,
				"invalid number of arguments in \"worker_cpu_affinity\" directive");
		m->affinity_auto = true;
		from = 2;
	}
	for (unsigned i = from; i <= conf_nargs(c); i++) {
		cpu_set_t *set =
			ARENA_PUSH(c->ctx->arena, m->affinity, &m->naffinity, &m->affinity_cap);

		if (!set || parse_mask(c, i, set) < 0)
			return CONF_ERR;
	}
	return CONF_OK;
}

static int set_env(struct conf_call *c)
{
	struct main_conf *m = conf_mine(c);
	struct span v = conf_arg(c, 1);
	ssize_t eq = span_find_char(v, '=', 0);
	struct env_entry *e;

	if (!m)
		return CONF_ERR;
	e = ARENA_PUSH(c->ctx->arena, m->env, &m->nenv, &m->env_cap);
	if (!e)
		return CONF_ERR;
	*e = (struct env_entry){.name = eq < 0 ? v : span_cut(v, 0, (size_t)eq),
				.has_value = eq >= 0};
	if (eq >= 0)
		e->value = span_cut(v, (size_t)eq + 1, v.n);
	return CONF_OK;
}

/* Everything is in one binary: a module that nginx loads is here already, or its directives are
 * reported where they stand. */
static int set_load_module(struct conf_call *c)
{
	static const char *const known[] = {
		"ngx_http_geoip_module",
		"ngx_http_geoip2_module",
		"ngx_http_image_filter_module",
		"ngx_http_perl_module",
		"ngx_http_xslt_filter_module",
		"ngx_mail_module",
		"ngx_stream_module",
		"ngx_stream_geoip_module",
		"ngx_stream_geoip2_module",
		"ngx_http_js_module",
		"ngx_stream_js_module",
		"ngx_otel_module",
		"ngx_http_acme_module",
		"ngx_http_brotli_filter_module",
		"ngx_http_brotli_static_module",
		"ngx_http_zstd_filter_module",
		"ngx_http_zstd_static_module",
		"ngx_http_headers_more_filter_module",
		"ngx_http_echo_module",
		"ndk_http_module",
		"ngx_http_lua_module",
		"ngx_stream_lua_module",
		"ngx_http_auth_pam_module",
		"ngx_http_cache_purge_module",
		"ngx_http_dav_ext_module",
		"ngx_http_fancyindex_module",
		"ngx_http_subs_filter_module",
		"ngx_http_uploadprogress_module",
		"ngx_http_upstream_fair_module",
		"ngx_http_modsecurity_module",
		"ngx_http_vhost_traffic_status_module",
	};
	struct span path = conf_arg(c, 1),
		    name = span_cut(path, (size_t)(span_rfind_char(path, '/') + 1), path.n);

	if (span_ends(name, SPAN(".so")))
		name.n -= 3;
	for (unsigned i = 0; i < ARRAY_LEN(known); i++)
		if (span_eq(name, span_of(known[i])))
			return CONF_OK;
	conf_error(c, 1, "unknown module \"%.*s\"", SPAN_ARG(path));
	return conf_remedy(c, "sluice does not load shared objects; what it has is built in");
}

/* ---- events ---- */

static int set_events(struct conf_call *c)
{
	struct main_conf *m = conf_mine(c), *inner;
	struct conf_scope *s;

	if (!m)
		return CONF_ERR;
	if (m->has_events)
		return conf_error(c, 0, "\"events\" directive is duplicate");
	m->has_events = true;
	s = conf_scope_new(c, IN_EVENTS, NULL);
	if (!s || conf_apply(c, s) < 0)
		return CONF_ERR;
	inner = conf_get(s, &core_main_mod);
	m->events = inner->events;
	return CONF_OK;
}

static int set_use(struct conf_call *c)
{
	static const char *const others[] = {"select", "poll", "kqueue", "/dev/poll", "eventport"};
	struct span v = conf_arg(c, 1);

	if (span_eq(v, SPAN("epoll")))
		return CONF_OK;
	for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
		if (span_eq(v, span_of(others[i]))) {
			conf_warn(c, 1, "\"%.*s\" is ignored, epoll is used", SPAN_ARG(v));
			return CONF_OK;
		}
	}
	return conf_error(c, 1, "invalid event type \"%.*s\"", SPAN_ARG(v));
}

static int set_connections(struct conf_call *c)
{
	struct main_conf *m = conf_mine(c);
	struct span v = conf_arg(c, 1);
	uint64_t n;

	if (!m)
		return CONF_ERR;
	if (span_eq(v, SPAN("auto"))) {
		m->events.worker_connections = 0;
		return CONF_OK;
	}
	if (!span_to_u64(v, INT32_MAX, &n) || n == 0)
		return conf_error(c, 1, "invalid number \"%.*s\"", SPAN_ARG(v));
	m->events.worker_connections = (int64_t)n;
	return CONF_OK;
}

static int set_debug_connection(struct conf_call *c)
{
	struct span v = conf_arg(c, 1);
	struct cidr net;
	bool bits;

	if (!span_eq(v, SPAN("unix:")) && !cidr_parse(v, &net, &bits))
		conf_warn(c, 1, "\"debug_connection\" with a name is not looked up");
	return CONF_OK;
}

static int init(struct conf_call *c, void *conf)
{
	struct main_conf *m = conf;
	struct passwd *pw = getpwnam("nobody");

	m->uid = pw ? pw->pw_uid : 65534;
	m->gid = pw ? pw->pw_gid : 65534;
	m->user = SPAN("nobody");
	return CONF_OK;
}

static int done(struct conf_call *c, void *conf)
{
	struct main_conf *m = conf;

	/* With other errors the block may be there but unread. */
	if (m->has_events || c->ctx->errors)
		return CONF_OK;
	return conf_error(c, 0, "no \"events\" section in configuration");
}

static const struct conf_enum debug_points[] = {{"stop", 1}, {"abort", 2}, {NULL}};
static const struct conf_bounds number = {1, INT32_MAX};

#define BOUNDED(nm, wh, k, fd, b, d, h)                                                            \
	{                                                                                          \
		.name = nm, .where = wh, .min = 1, .max = 1, .kind = k,                            \
		.offset = offsetof(struct main_conf, fd), .arg = b, .def = d, .help = h            \
	}

static const struct conf_row rows[] = {
	MFLAG("daemon", IN_MAIN, struct main_conf, daemon, true, "Whether to leave the terminal."),
	MFLAG("sandbox", IN_MAIN, struct main_conf, sandbox, true,
	      "Worker processes give up what they never need: other programs, other processes, "
	      "mounts, kernel modules."),
	MFLAG("master_process", IN_MAIN, struct main_conf, master_process, true,
	      "Off: one process does everything, for development."),
	MCUSTOM("worker_processes", IN_MAIN, 1, 1, 0, set_worker_processes,
		"Threads of the one worker process; auto: one per processor."),
	MCUSTOM("user", IN_MAIN, 1, 2, 0, set_user,
		"User and group of the worker; default nobody."),
	MCUSTOM("worker_priority", IN_MAIN, 1, 1, 0, set_priority,
		"Nice value of the worker, -20 to 20."),
	MCUSTOM("worker_cpu_affinity", IN_MAIN, 1, 255, 0, set_affinity,
		"Processors of each thread as binary masks, or auto."),
	BOUNDED("worker_rlimit_nofile", IN_MAIN, CONF_NUM, rlimit_nofile, &number, -1,
		"Open files of the worker; default: as many as the system lets it have."),
	BOUNDED("worker_rlimit_core", IN_MAIN, CONF_SIZE, rlimit_core, NULL, -1,
		"Largest core file of the worker."),
	MMSEC("worker_shutdown_timeout", IN_MAIN, struct main_conf, shutdown_timeout, 0,
	      "After this time a graceful end closes what is still open."),
	MSTR("working_directory", IN_MAIN, struct main_conf, working_directory, NULL,
	     "Working directory of the worker: where core files go."),
	MSTR("pid", IN_MAIN, struct main_conf, pid, SLUICE_PID,
	     "File with the master's process number."),
	MSTR("lock_file", IN_MAIN, struct main_conf, lock_file, NULL,
	     "Accepted; nothing needs a lock file."),
	MCUSTOM("env", IN_MAIN, 1, 1, CONF_MULTI, set_env,
		"Environment variables that the worker keeps or gets."),
	MCUSTOM("load_module", IN_MAIN, 1, 1, CONF_MULTI, set_load_module,
		"Accepted for modules that nginx has: everything is in one binary."),
	MMSEC("timer_resolution", IN_MAIN, struct main_conf, timer_resolution, 0,
	      "Accepted; the clock is read once per turn of the loop anyway."),
	MENUM("debug_points", IN_MAIN, struct main_conf, debug_points, debug_points, 0,
	      "Accepted; a bug always aborts."),
	MIGNORED("thread_pool", IN_MAIN, 2, 3, "Files need no thread pool here."),
	MIGNORED("pcre_jit", IN_MAIN, 1, 1, "Regular expressions are always compiled."),
	MIGNORED("ssl_engine", IN_MAIN, 1, 1, "OpenSSL 3 providers replace engines."),
	MIGNORED("ssl_object_cache_inheritable", IN_MAIN, 1, 1,
		 "Certificates are kept over reloads anyway."),
	MBLOCK("events", IN_MAIN, 0, 0, set_events, "How connections are waited for."),

	MCUSTOM("worker_connections", IN_EVENTS, 1, 1, 0, set_connections,
		"Client connections per thread; auto: from the limit on open files."),
	MCUSTOM("use", IN_EVENTS, 1, 1, 0, set_use, "Only epoll."),
	MFLAG("multi_accept", IN_EVENTS, struct main_conf, events.multi_accept, false,
	      "Accepted without effect."),
	MFLAG("accept_mutex", IN_EVENTS, struct main_conf, events.accept_mutex, false,
	      "Accepted without effect."),
	MMSEC("accept_mutex_delay", IN_EVENTS, struct main_conf, events.accept_mutex_delay, 500,
	      "Accepted without effect."),
	BOUNDED("epoll_events", IN_EVENTS, CONF_NUM, events.epoll_events, &number, 512,
		"Accepted without effect."),
	BOUNDED("worker_aio_requests", IN_EVENTS, CONF_NUM, events.aio_requests, &number, 32,
		"Accepted without effect."),
	MCUSTOM("debug_connection", IN_EVENTS, 1, 1, CONF_MULTI, set_debug_connection,
		"Accepted without effect."),
	MEND,
};

struct conf_mod core_main_mod = {
	.name = "core_main",
	.size = sizeof(struct main_conf),
	.rows = rows,
	.init = init,
	.done = done,
	.done_where = IN_MAIN,
};
