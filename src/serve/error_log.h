/* `error_log`: where messages go, in main, http, server and location. Every error_log of the
 * nearest context that has any gets each message of its level or worse; a context without one has
 * its parent's, the main one at last the default (logs/error.log or -e, level error). Places: a
 * file, stderr, syslog:. */
#pragma once
#include "base/log.h"
#include "conf/conf.h"

extern struct conf_mod error_log_mod;

/* The logger of a scope. Lives as long as the snapshot; stable once the scope's own directives are
 * applied. connection and context are not set: copy the struct and fill them in. */
struct logger *error_log_of(const struct conf_scope *s);

/* The place used when main has no error_log: an absolute path or "stderr". Set by main/ before the
 * first configuration; must stay valid. */
void error_log_default(struct span path);
/* Descriptor of the first file among the main scope's sinks, -1 when there is none (stderr,
 * syslog). */
int error_log_fd(const struct conf_scope *main_scope);
/* A copy of a chain's sinks for log_main, made in a: file sinks write to the same descriptors; a
 * syslog keeps its own socket, which error_log_copy_close closes. NULL: no memory. */
struct log_sink *error_log_copy(struct arena *a, const struct logger *l);
void error_log_copy_close(struct log_sink *first);
