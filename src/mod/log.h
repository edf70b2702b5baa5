/* Within mod/: the access log.
 *
 * A format is compiled once to a list of parts; a line is built in a buffer of the thread, without
 * allocation for the common variables, and appended to a buffer of the thread and file, which is
 * written at the end of the loop's turn in one write (O_APPEND: whole lines), or, with buffer=,
 * when it is full, when flush= has passed, and at the end. */
#pragma once
#include "conf/conf.h"
#include "conf/template.h"
#include "serve/core.h"

struct snapshot;

/* ---- log_format.c ---- */

enum log_escape { LOG_ESCAPE_DEFAULT, LOG_ESCAPE_JSON, LOG_ESCAPE_NONE };

struct log_line {
	char *p;
	size_t n, cap;
	bool failed; /* above LOG_LINE_CEILING, or no memory: the line is dropped */
};
#define LOG_LINE_CEILING (64u << 20)

/* Empties it; the memory of an unusually long line is given back. */
void log_line_start(struct log_line *l);

/* Room for n more bytes; NULL: failed. */
char *log_line_room(struct log_line *l, size_t n);
void log_line_add(struct log_line *l, struct span s);
void log_line_escape(struct log_line *l, struct span s, enum log_escape how);
void log_line_fini(struct log_line *l);

struct log_part;
struct log_format {
	struct list link; /* http_main.log_formats */
	struct span name;
	enum log_escape escape;
	struct log_part *parts;
	size_t nparts, cap;
};
/* log_format NAME [escape=...] TEXT...: the call's words from `word` on are the text. CONF_ERR:
 * reported. */
int log_format_compile(struct conf_call *c, struct log_format *f, unsigned word);
int log_format_compile_text(struct conf_call *c, struct log_format *f, struct span text);
void log_format_line(const struct log_format *f, struct req *r, struct log_line *l);

/* ---- log_write.c ---- */

/* One file as it is written; part of the snapshot. */
struct log_file {
	struct span path;
	int fd;
	size_t buffer;	  /* bytes; 0: until the end of the turn */
	int64_t flush_ms; /* 0: none */
	int gzip;	  /* level, 0: none */
};
/* Appends a line (its line feed included) for this thread. s: whose file it is; held until the
 * bytes are written. */
void log_file_add(const struct log_file *f, struct span line, struct snapshot *s);
/* Writes everything of this thread. */
void log_thread_flush(void);
/* The same, and frees its buffers. */
void log_thread_stop(void);
/* text as one gzip member appended to out; false: no memory. For tests. */
struct buf;
bool log_gzip(struct span text, int level, struct buf *out);

/* ---- log_cache.c ---- */

/* open_log_file_cache. One cache per thread; its size is the largest `max` of the configuration.
 * A file is kept open from its min_uses-th line on; it is closed when no line came for inactive
 * seconds, or when there are more than max and it was used longest ago. After valid seconds the
 * name is looked at again: a file that was moved away is let go. */
struct log_cache_conf {
	int64_t max; /* 0: each line opens its file */
	int64_t inactive_s, valid_s, min_uses;
};
/* One line to the file of that name, which is made when there is none. generation: of the
 * configuration. 0 or -errno. */
int log_path_write(const char *path, struct span line, const struct log_cache_conf *cc,
		   uint64_t generation);
/* Closes all files of this thread. */
void log_cache_clear(void);
size_t log_cache_count(void);
