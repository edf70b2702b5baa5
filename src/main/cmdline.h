/* The command line, as nginx reads it: single letters that may be run together ("-tq"), values
 * glued or in the next word ("-cF", "-c F"), later ones win. */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/span.h"

#ifndef SLUICE_PREFIX
#define SLUICE_PREFIX "/usr/local/sluice/"
#endif
#define SLUICE_CONF	 "conf/nginx.conf"
#define SLUICE_ERROR_LOG "logs/error.log"
#define SLUICE_PID	 "logs/nginx.pid"
#define NGINX_VERSION	 "1.31.5" /* whose language and messages we speak */

enum cmdline_signal { CMD_NONE, CMD_STOP, CMD_QUIT, CMD_REOPEN, CMD_RELOAD };

struct cmdline {
	bool help, version, version_long, test, dump, quiet, offline, directives;
	enum cmdline_signal signal;
	const char *prefix_arg, *conf_arg, *log_arg; /* as given; NULL: not */
	const char *globals;			     /* -g; NULL: not */
	char **argv;				     /* for the binary upgrade */
	/* Derived by cmdline_paths, absolute: */
	struct span prefix;	 /* with / at the end */
	struct span conf;	 /* the configuration file */
	struct span conf_prefix; /* its folder, with / */
	struct span log;	 /* the start-up error log; "stderr" */
};

/* 0, or -1 with a message in err ("invalid option: "x""). argv must stay. */
int cmdline_parse(struct cmdline *c, int argc, char **argv, char *err, size_t size);
/* Makes the paths absolute, from the working directory. Memory: never freed. 0 or -errno. */
int cmdline_paths(struct cmdline *c);
/* Frees what cmdline_paths made. */
void cmdline_fini(struct cmdline *c);
/* What -v, -V and -h print. */
void cmdline_version(struct buf *out, bool with_configure);
void cmdline_usage(struct buf *out);
