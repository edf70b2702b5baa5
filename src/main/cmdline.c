#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/pool.h"
#include "main/cmdline.h"
#include "net/tls.h"

static int parse_signal(struct cmdline *c, const char *name)
{
	static const char *const names[] = {"stop", "quit", "reopen", "reload"};

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			c->signal = (enum cmdline_signal)(CMD_STOP + i);
			return 0;
		}
	}
	return -1;
}

/* Where the value of an option goes, and what it is called in a complaint. */
static const char **value_of(struct cmdline *c, char option, const char **signal, const char **what)
{
	switch (option) {
	case 'p':
		*what = "directory name";
		return &c->prefix_arg;
	case 'c':
		*what = "file name";
		return &c->conf_arg;
	case 'e':
		*what = "file name";
		return &c->log_arg;
	case 'g':
		*what = "parameter";
		return &c->globals;
	case 's':
		*what = "parameter";
		return signal;
	}
	return NULL;
}

static bool parse_flag(struct cmdline *c, char option)
{
	switch (option) {
	case '?':
	case 'h':
		c->help = c->version = true;
		return true;
	case 'v':
		c->version = true;
		return true;
	case 'V':
		c->version = c->version_long = true;
		return true;
	case 't':
		c->test = true;
		return true;
	case 'T':
		c->test = c->dump = true;
		return true;
	case 'q':
		c->quiet = true;
		return true;
	}
	return false;
}

/* One word that begins with '-'. *i is moved on when the value is the next word. */
static int parse_word(struct cmdline *c, int argc, char **argv, int *i, char *err, size_t size)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const char *what = NULL, *signal = NULL, **value;

		if (parse_flag(c, *p))
			continue;
		value = value_of(c, *p, &signal, &what);
		if (!value) {
			snprintf(err, size, "invalid option: \"%c\"", *p);
			return -1;
		}
		if (p[1])
			*value = p + 1;
		else if (*i + 1 < argc)
			*value = argv[++*i];
		else {
			snprintf(err, size, "option \"-%c\" requires %s", *p, what);
			return -1;
		}
		if (signal && parse_signal(c, signal) < 0) {
			snprintf(err, size, "invalid option: \"-s %s\"", signal);
			return -1;
		}
		return 0;
	}
	return 0;
}

int cmdline_parse(struct cmdline *c, int argc, char **argv, char *err, size_t size)
{
	*c = (struct cmdline){.argv = argv};
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--offline") == 0) {
			c->offline = true;
		} else if (strcmp(argv[i], "--help-directives") == 0) {
			c->directives = true;
		} else if (argv[i][0] != '-') {
			snprintf(err, size, "invalid option: \"%s\"", argv[i]);
			return -1;
		} else if (parse_word(c, argc, argv, &i, err, size) < 0) {
			return -1;
		}
	}
	if (c->offline && !c->test) {
		snprintf(err, size, "option \"--offline\" goes with \"-t\" or \"-T\"");
		return -1;
	}
	return 0;
}

/* ---- paths ---- */

static struct span joined(struct span dir, struct span name, bool slash)
{
	struct span out = {0};
	char *p;

	if (name.n && name.p[0] == '/')
		dir = SPAN("");
	while (span_starts(name, SPAN("./")))
		name = span_cut(name, 2, name.n);
	if (span_eq(name, SPAN(".")))
		name = SPAN("");
	p = mem_alloc(dir.n + name.n + 2);
	if (!p)
		return out;
	memcpy(p, dir.p, dir.n);
	memcpy(p + dir.n, name.p ? name.p : "", name.n);
	out = span_make(p, dir.n + name.n);
	if (slash && (out.n == 0 || p[out.n - 1] != '/'))
		p[out.n++] = '/';
	p[out.n] = 0;
	return out;
}

int cmdline_paths(struct cmdline *c)
{
	char cwd[PATH_MAX + 1];
	struct span here;

	/* Without a working directory only absolute paths can be meant. */
	if (!getcwd(cwd, sizeof(cwd) - 1) || cwd[0] != '/')
		strcpy(cwd, "/");
	if (cwd[strlen(cwd) - 1] != '/')
		strcat(cwd, "/");
	here = span_of(cwd);
	c->prefix = joined(here, span_of(c->prefix_arg ? c->prefix_arg : SLUICE_PREFIX), true);
	if (!c->prefix.p)
		return -ENOMEM;
	c->conf = joined(c->prefix, span_of(c->conf_arg ? c->conf_arg : SLUICE_CONF), false);
	if (!c->conf.p)
		return -ENOMEM;
	c->conf_prefix = span_cut(c->conf, 0, (size_t)span_rfind_char(c->conf, '/') + 1);
	if (c->log_arg && strcmp(c->log_arg, "stderr") == 0)
		c->log = SPAN("stderr");
	else
		c->log = joined(c->prefix, span_of(c->log_arg ? c->log_arg : SLUICE_ERROR_LOG),
				false);
	return c->log.p ? 0 : -ENOMEM;
}

void cmdline_fini(struct cmdline *c)
{
	mem_free((char *)c->prefix.p);
	mem_free((char *)c->conf.p);
	if (c->log.p && !span_eq(c->log, SPAN("stderr")))
		mem_free((char *)c->log.p);
	c->prefix = c->conf = c->conf_prefix = c->log = (struct span){0};
}

/* ---- what is printed ---- */

/* A word stands here only when the thing works. */
static const char configure_words[] =
	"--with-threads --with-http_ssl_module --with-http_stub_status_module";

/* What nginx has unless told otherwise and we do not have yet. A line goes when its module lands.
 */
static const char without_words[] =
	" --without-http_charset_module --without-http_gzip_module --without-http_ssi_module"
	" --without-http_userid_module "
	"--without-http_auth_basic_module"
	" --without-http_mirror_module --without-http_autoindex_module --without-http_geo_module"
	" --without-http_split_clients_module --without-http_referer_module"
	" --without-http_fastcgi_module --without-http_uwsgi_module --without-http_scgi_module"
	" --without-http_grpc_module --without-http_memcached_module "
	"--without-http_limit_conn_module"
	" --without-http_limit_req_module --without-http_empty_gif_module "
	"--without-http_browser_module"
	" --without-http_upstream_sticky_module --without-http-cache"
	" --without-mail_pop3_module --without-mail_imap_module --without-mail_smtp_module";

void cmdline_version(struct buf *out, bool with_configure)
{
	buf_printf(out, "sluice version: sluice/" SLUICE_VERSION "\n");
	buf_printf(out, "nginx version: nginx/" NGINX_VERSION "\n");
	if (!with_configure)
		return;
#if defined(__clang__)
	buf_printf(out, "built by clang %s\n", __clang_version__);
#else
	buf_printf(out, "built by gcc %s\n", __VERSION__);
#endif
	buf_printf(out, "built with %.*s\n", SPAN_ARG(tls_library_version()));
	buf_printf(out, "TLS SNI support enabled\n");
	buf_printf(out,
		   "configure arguments: --prefix=%.*s --conf-path=" SLUICE_PREFIX SLUICE_CONF
		   " --error-log-path=" SLUICE_PREFIX SLUICE_ERROR_LOG
		   " --pid-path=" SLUICE_PREFIX SLUICE_PID " %s%s\n",
		   (int)sizeof(SLUICE_PREFIX) - 2, SLUICE_PREFIX, configure_words, without_words);
}

void cmdline_usage(struct buf *out)
{
	buf_printf(out,
		   "Usage: sluice [-?hvVtTq] [-s signal] [-p prefix]\n"
		   "              [-e filename] [-c filename] [-g directives]\n\n"
		   "  -?, -h         this help\n"
		   "  -v             print the version\n"
		   "  -V             print the version and what is built in\n"
		   "  -t             test the configuration\n"
		   "  -T             test the configuration and print it\n"
		   "  --offline      with -t: open only configuration files, resolve nothing\n"
		   "  -q             with -t: say nothing unless it is wrong\n"
		   "  -s signal      tell the running master: stop, quit, reopen, reload\n"
		   "  -p prefix      where relative names begin (default: " SLUICE_PREFIX ")\n"
		   "  -e filename    error log of the start (default: " SLUICE_ERROR_LOG ")\n"
		   "  -c filename    configuration file (default: " SLUICE_CONF ")\n"
		   "  --help-directives  print what every directive means, one a line\n"
		   "  -g directives  directives of the main context, before those of the file\n");
}
