#include <errno.h>
#include <unistd.h>
#include "conf/opener.h"
#include "io/sys.h"
#include "serve/error_log.h"
#include "serve/syslog.h"

struct log_conf {
	struct logger logger;
	struct place *fallback; /* main without any error_log: opened when the whole file is read */
};

/* A sink; log first, so that the sink's address is the place's. */
struct place {
	struct log_sink sink;
	int fd;		       /* of a file or stderr; -1: not open, or syslog */
	struct syslog *syslog; /* NULL: a file */
};

static struct span default_path = SPAN_INIT("stderr");

void error_log_default(struct span path)
{
	default_path = path;
}

/* ---- sinks ---- */

static void file_write(struct log_sink *s, enum log_level level, struct span line)
{
	struct place *p = CONTAINER_OF(s, struct place, sink);

	/* A full disk is no reason to stop serving, and there is nobody to tell. */
	if (p->fd >= 0 && p->fd != OPENER_NO_FD)
		(void)sys->write(p->fd, line.p, line.n);
}

static void syslog_write(struct log_sink *s, enum log_level level, struct span line)
{
	struct place *p = CONTAINER_OF(s, struct place, sink);

	syslog_send(p->syslog, MAX_OF((int)level - 1, 0), line);
}

/* ---- reading the directive ---- */

static struct place *place_new(struct conf_call *c, enum log_level level)
{
	struct place *p = arena_zalloc(c->ctx->arena, sizeof(*p));

	if (!p) {
		conf_error(c, 0, "no memory for the configuration");
		return NULL;
	}
	p->sink = (struct log_sink){.level = level, .write = file_write};
	p->fd = -1;
	return p;
}

static int place_open(struct conf_call *c, unsigned word, struct place *p, struct span name)
{
	struct opener *o = c->ctx->opener;
	struct span path;
	int r;

	if (span_eq(name, SPAN("stderr"))) {
		p->fd = STDERR_FILENO;
		return CONF_OK;
	}
	path = conf_path(c->ctx, name, false);
	if (!path.p)
		return CONF_ERR;
	r = o->ops->open_log(o, path);
	if (r < 0)
		return conf_error(c, word, "open() \"%.*s\" failed (%d: %s)", SPAN_ARG(path), -r,
				  strerror(-r));
	p->fd = r;
	return CONF_OK;
}

static int level_parse(struct conf_call *c)
{
	/* nginx lets one choose parts of its debug messages; here they come together. */
	static const char *const parts[] = {"debug_core",  "debug_alloc", "debug_mutex",
					    "debug_event", "debug_http",  "debug_mail",
					    "debug_stream"};
	int level = -1;

	for (unsigned i = 2; i <= conf_nargs(c); i++) {
		int l = log_level_find(conf_arg(c, i));

		for (unsigned k = 0; l < 0 && k < ARRAY_LEN(parts); k++)
			if (span_eq(conf_arg(c, i), span_of(parts[k])))
				l = LOG_DEBUG;
		if (l < 0)
			return conf_error(c, i, "invalid log level \"%.*s\"",
					  SPAN_ARG(conf_arg(c, i)));
		if (level >= 0 && l != LOG_DEBUG)
			return conf_error(c, i, "duplicate log level \"%.*s\"",
					  SPAN_ARG(conf_arg(c, i)));
		level = l;
	}
	return level < 0 ? LOG_ERR : level;
}

static int place_fill(struct conf_call *c, struct place *p)
{
	struct span name = conf_arg(c, 1);

	if (span_starts(name, SPAN("memory:"))) {
		conf_error(c, 1, "\"memory:\" logs are not supported by sluice");
		return conf_remedy(c, "write to a file, stderr or syslog:");
	}
	if (!span_starts(name, SPAN("syslog:")))
		return place_open(c, 1, p, name);
	p->syslog = syslog_new(c, 1, span_cut(name, 7, name.n));
	p->sink.write = syslog_write;
	return p->syslog ? CONF_OK : CONF_ERR;
}

static int set_error_log(struct conf_call *c)
{
	struct log_conf *conf = conf_mine(c);
	int level = level_parse(c);
	struct log_sink **at;
	struct place *p;

	if (!conf || level < 0)
		return CONF_ERR;
	p = place_new(c, (enum log_level)level);
	if (!p || place_fill(c, p) < 0)
		return CONF_ERR;
	if (conf_first_here(c))
		conf->logger.sinks = NULL;
	for (at = &conf->logger.sinks; *at; at = &(*at)->next)
		;
	*at = &p->sink;
	return CONF_OK;
}

static int init(struct conf_call *c, void *arg)
{
	struct log_conf *conf = arg;

	conf->fallback = place_new(c, LOG_ERR);
	if (!conf->fallback)
		return CONF_ERR;
	conf->logger.sinks = &conf->fallback->sink;
	return CONF_OK;
}

static int done(struct conf_call *c, void *arg)
{
	struct log_conf *conf = arg;

	if (conf->logger.sinks != &conf->fallback->sink)
		return CONF_OK;
	return place_open(c, 0, conf->fallback, default_path);
}

static const struct conf_row rows[] = {
	{.name = "error_log",
	 .where = IN_MAIN | IN_HTTP_ALL | IN_STREAM | IN_STREAM_SERVER | IN_MAIL,
	 .min = 1,
	 .max = 255,
	 .kind = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = set_error_log,
	 .def_text = "logs/error.log error",
	 .help = "Where messages of a level or worse go: a file, stderr or syslog:server=...; may "
		 "be repeated."},
	MEND,
};

struct conf_mod error_log_mod = {
	.name = "error_log",
	.size = sizeof(struct log_conf),
	.rows = rows,
	.init = init,
	.done = done,
	.done_where = IN_MAIN,
};

/* ---- for others ---- */

struct logger *error_log_of(const struct conf_scope *s)
{
	struct log_conf *conf = conf_get(s, &error_log_mod);

	return &conf->logger;
}

int error_log_fd(const struct conf_scope *main_scope)
{
	for (struct log_sink *s = error_log_of(main_scope)->sinks; s; s = s->next) {
		struct place *p = CONTAINER_OF(s, struct place, sink);

		if (!p->syslog && p->fd > STDERR_FILENO && p->fd != OPENER_NO_FD)
			return p->fd;
	}
	return -1;
}

static struct place *place_copy(struct arena *a, const struct place *from)
{
	struct place *p = arena_copy(a, from, sizeof(*from));
	struct syslog *s;

	if (!p)
		return NULL;
	p->sink.next = NULL;
	if (!p->syslog)
		return p;
	s = p->syslog = arena_zalloc(a, sizeof(*s));
	if (!s)
		return NULL;
	s->addr = from->syslog->addr;
	s->facility = from->syslog->facility;
	s->severity = from->syslog->severity;
	s->tag = arena_dup(a, from->syslog->tag);
	s->host = arena_dup(a, from->syslog->host);
	s->fd = -1;
	return s->tag.p && s->host.p ? p : NULL;
}

struct log_sink *error_log_copy(struct arena *a, const struct logger *l)
{
	struct log_sink *first = NULL, **at = &first;

	for (struct log_sink *s = l->sinks; s; s = s->next) {
		struct place *p = place_copy(a, CONTAINER_OF(s, struct place, sink));

		if (!p)
			return NULL;
		*at = &p->sink;
		at = &p->sink.next;
	}
	return first;
}

void error_log_copy_close(struct log_sink *first)
{
	for (struct log_sink *s = first; s; s = s->next) {
		struct place *p = CONTAINER_OF(s, struct place, sink);

		if (p->syslog && p->syslog->fd >= 0)
			sys->close(p->syslog->fd);
	}
}
