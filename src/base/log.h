/* The error log as the rest of the tree sees it.
 *
 * A message has a level, a text, and optional context (connection number, client, server, request,
 * upstream, host) that the caller's logger appends. Where a message goes is decided by a struct
 * logger: a chain of sinks each with a lowest level; the sinks belong to the snapshot or to
 * start-up. Line format, as nginx writes it: YYYY/MM/DD HH:MM:SS [level] PID#TID: *CONN message[
 * (errno: text)][, client: ...]... Control bytes in a message are written as \xNN. Secrets never
 * come here. A line is cut at 2048 bytes; it ends with a line feed. A sink that logs while writing
 * is not heard. A NULL logger means log_main. Writing is one write(2) per sink, through the sink's
 * own function; it never suspends. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/bug.h"
#include "base/span.h"

enum log_level {
	LOG_STDERR,
	LOG_EMERG,
	LOG_ALERT,
	LOG_CRIT,
	LOG_ERR,
	LOG_WARN,
	LOG_NOTICE,
	LOG_INFO,
	LOG_DEBUG
};
#define LOG_LINE_MAX 2048

struct log_sink {
	enum log_level level; /* the least severe that is written */
	void (*write)(struct log_sink *s, enum log_level level, struct span line);
	struct log_sink *next; /* the next sink of the same error_log context, or NULL */
};

struct logger {
	struct log_sink *sinks; /* may be NULL: nothing is written */
	uint64_t connection;	/* 0: no "*N" */
	/* Appends ", client: ..., server: ..." to at most size bytes at p; returns the length. */
	size_t (*context)(const struct logger *l, char *p, size_t size);
};

/* True when some sink wants this level: guards costly arguments. */
bool log_wants(const struct logger *l, enum log_level level);
/* err: 0, or an errno (positive) whose number and text are appended. */
void log_msg(const struct logger *l, enum log_level level, int err, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
void log_vmsg(const struct logger *l, enum log_level level, int err, const char *fmt, va_list ap);
/* "emerg", "warn", ... and back (-1 when unknown). */
const char *log_level_name(enum log_level level);
int log_level_find(struct span name);

/* The logger of start-up and of the instance: used where there is no connection. Its sinks are set
 * by main/; until then they are stderr. */
extern struct logger log_main;
/* Where the clock comes from: seconds since the epoch and the text of the local time, set by io/.
 */
extern struct span (*log_time)(void); /* "YYYY/MM/DD HH:MM:SS" */
