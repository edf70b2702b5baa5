/* The configuration: text to tree, tree to structs.
 *
 * 1. conf_parse reads a file (and what it includes) through an opener into a tree of conf_nodes.
 * 2. conf_apply walks the tree top down. In each block all simple directives are applied, in the
 * order of the file, before its child blocks; a child scope starts as a copy of its parent (copy on
 * first write). There are no merge functions.
 * 3. What was put off with conf_later runs when the whole tree is applied: names are linked then.
 *
 * conf/ knows nothing of HTTP: modules offer rows. Every problem is collected; the walk goes on, so
 * that one run reports them all. All memory comes from the snapshot's arena. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/list.h"
#include "base/log.h"
#include "base/span.h"

/* ---- the tree ---- */

struct conf_file {
	struct span path, text; /* as opened; for -T and for error lines */
	struct conf_file *next;
};

struct conf_word {
	struct span text;   /* quotes and escapes undone; $variables still in it */
	uint32_t line, col; /* from 1; col counts bytes */
	bool quoted;
};

struct conf_node {
	struct conf_node *next, *children, *parent;
	struct conf_word *words; /* words[0] is the directive */
	unsigned nwords;
	bool block; /* had { } */
	bool applied;
	struct conf_file *file;
	uint32_t seq; /* order in the whole configuration, includes unfolded */
};

/* ---- where a directive may stand ---- */

enum conf_where {
	IN_MAIN = 1 << 0,
	IN_EVENTS = 1 << 1,
	IN_HTTP = 1 << 2,
	IN_SERVER = 1 << 3,
	IN_LOCATION = 1 << 4,
	IN_UPSTREAM = 1 << 5,
	IN_IF_SERVER = 1 << 6,
	IN_IF_LOCATION = 1 << 7,
	IN_LIMIT_EXCEPT = 1 << 8,
	IN_STREAM = 1 << 9,
	IN_STREAM_SERVER = 1 << 10,
	IN_STREAM_UPSTREAM = 1 << 11,
	IN_MAIL = 1 << 12,
	IN_ANY = 0x7fffffff,
};
#define IN_HTTP_ALL (IN_HTTP | IN_SERVER | IN_LOCATION)

/* ---- rows: one per directive ---- */

struct conf_call;
struct conf_mod;

enum conf_kind {
	CONF_FLAG,	    /* bool */
	CONF_NUM,	    /* int64_t; arg: struct conf_bounds or NULL */
	CONF_SIZE,	    /* int64_t bytes: 4k 1m 1g; bounds */
	CONF_MSEC,	    /* int64_t ms: 60s 1h30m 500ms */
	CONF_SEC,	    /* int64_t s */
	CONF_STR,	    /* struct span */
	CONF_STRS,	    /* struct conf_strs: all words of each use, appended */
	CONF_ENUM,	    /* int; arg: struct conf_enum[] */
	CONF_MASK,	    /* unsigned; arg: struct conf_enum[]: or of all words */
	CONF_BUFS,	    /* struct conf_bufs: "8 4k" */
	CONF_TEMPLATE,	    /* struct tmpl * (NULL: not set) */
	CONF_TEMPLATE_SIZE, /* struct tmpl *, constants checked as a size */
	CONF_PREDICATES,    /* struct conf_tmpls: words; true when any is neither empty nor "0" */
	CONF_CUSTOM,	    /* set() does everything */
	CONF_BLOCK, /* set() is called with a block node after the simple directives of its block */
	CONF_IGNORED, /* accepted and without effect; help says why */
};

struct conf_enum {
	const char *word;
	int value;
}; /* ends with {NULL} */
struct conf_bounds {
	int64_t low, high;
};
struct conf_bufs {
	int num;
	int64_t size;
};
struct conf_strs {
	struct span *v;
	size_t n, cap;
};
struct conf_tmpls {
	struct tmpl **v;
	size_t n, cap;
};

enum conf_flags {
	CONF_MULTI = 1, /* may be given more than once in a block; the first one here drops what was
			   inherited */
	CONF_NO_DROP = 2,    /* with CONF_MULTI: adds to what was inherited */
	CONF_DEPRECATED = 4, /* warns; help tells what to write instead */
	CONF_EARLY = 8, /* a block of data, not of directives (types, map): applied with the simple
			 * directives, so that it counts for all child blocks wherever it stands */
};

struct conf_row {
	const char *name;
	uint32_t where;	  /* enum conf_where bits */
	uint8_t min, max; /* arguments; max 255: any number */
	uint8_t kind, flags;
	uint16_t offset; /* of the field in the module's struct */
	const void *arg;
	int64_t def; /* default of a scalar field, put in by the engine */
	const char *
		def_text; /* default as one would write it, for STR, MASK, the manual; NULL: none */
	int (*set)(struct conf_call *c); /* CUSTOM and BLOCK; others: called after the field is set,
					    may be NULL */
	const char *help;		 /* one sentence for the manual and `sluice help` */
};

/* Row makers: M<KIND>(name, where, struct, field, default, help). */
#define CONF_ROW_(nm, wh, lo, hi, k, fl, st, fd, a, d, dt, h)                                      \
	{                                                                                          \
		.name = nm, .where = wh, .min = lo, .max = hi, .kind = k, .flags = fl,             \
		.offset = offsetof(st, fd), .arg = a, .def = d, .def_text = dt, .help = h          \
	}
#define MFLAG(nm, wh, st, fd, d, h) CONF_ROW_(nm, wh, 1, 1, CONF_FLAG, 0, st, fd, NULL, d, NULL, h)
#define MNUM(nm, wh, st, fd, d, h)  CONF_ROW_(nm, wh, 1, 1, CONF_NUM, 0, st, fd, NULL, d, NULL, h)
#define MSIZE(nm, wh, st, fd, d, h) CONF_ROW_(nm, wh, 1, 1, CONF_SIZE, 0, st, fd, NULL, d, NULL, h)
#define MMSEC(nm, wh, st, fd, d, h) CONF_ROW_(nm, wh, 1, 1, CONF_MSEC, 0, st, fd, NULL, d, NULL, h)
#define MSEC(nm, wh, st, fd, d, h)  MMSEC(nm, wh, st, fd, d, h)
#define MSECONDS(nm, wh, st, fd, d, h)                                                             \
	CONF_ROW_(nm, wh, 1, 1, CONF_SEC, 0, st, fd, NULL, d, NULL, h)
#define MSTR(nm, wh, st, fd, dt, h) CONF_ROW_(nm, wh, 1, 1, CONF_STR, 0, st, fd, NULL, 0, dt, h)
#define MENUM(nm, wh, st, fd, tab, d, h)                                                           \
	CONF_ROW_(nm, wh, 1, 1, CONF_ENUM, 0, st, fd, tab, d, NULL, h)
#define MMASK(nm, wh, st, fd, tab, d, h)                                                           \
	CONF_ROW_(nm, wh, 1, 255, CONF_MASK, 0, st, fd, tab, d, NULL, h)
#define MTMPL(nm, wh, st, fd, h) CONF_ROW_(nm, wh, 1, 1, CONF_TEMPLATE, 0, st, fd, NULL, 0, NULL, h)
#define MBUFS(nm, wh, st, fd, h) CONF_ROW_(nm, wh, 2, 2, CONF_BUFS, 0, st, fd, NULL, 0, NULL, h)
#define MCUSTOM(nm, wh, lo, hi, fl, fn, h)                                                         \
	{                                                                                          \
		.name = nm, .where = wh, .min = lo, .max = hi, .kind = CONF_CUSTOM, .flags = fl,   \
		.set = fn, .help = h                                                               \
	}
#define MBLOCK(nm, wh, lo, hi, fn, h)                                                              \
	{                                                                                          \
		.name = nm, .where = wh, .min = lo, .max = hi, .kind = CONF_BLOCK,                 \
		.flags = CONF_MULTI, .set = fn, .help = h                                          \
	}
#define MDATA(nm, wh, lo, hi, fl, fn,                                                              \
	      h) /* a CONF_EARLY block; CONF_MULTI when it may be repeated */                      \
	{                                                                                          \
		.name = nm, .where = wh, .min = lo, .max = hi, .kind = CONF_BLOCK,                 \
		.flags = CONF_EARLY | (fl), .set = fn, .help = h                                   \
	}
#define MIGNORED(nm, wh, lo, hi, h)                                                                \
	{                                                                                          \
		.name = nm, .where = wh, .min = lo, .max = hi, .kind = CONF_IGNORED,               \
		.flags = CONF_MULTI, .help = h                                                     \
	}
#define MEND                                                                                       \
	{                                                                                          \
		.name = NULL                                                                       \
	}
#define SECOND 1000
#define MINUTE 60000
#define HOUR   3600000

/* A module: a struct that exists once per scope (shared with the parent until first written) and
 * the rows that fill it. Several modules may live in one .c file. */
struct conf_mod {
	const char *name;
	size_t size;		     /* of the struct; 0: rows only */
	const struct conf_row *rows; /* ends with MEND; may be NULL */
	int (*init)(struct conf_call *c,
		    void *conf); /* once, in the main scope, after row defaults; may be NULL */
	/* After a scope's simple directives and all of its child blocks; conf may be written. NULL:
	 * none. */
	int (*done)(struct conf_call *c, void *conf);
	uint32_t done_where; /* in which scopes done is called */
	int slot;	     /* given by conf_mods_init */
};

/* ---- scopes ---- */

struct conf_scope {
	struct conf_scope *parent;
	enum conf_where where;
	void **slots;	 /* per module; shared with the parent unless owned */
	uint64_t *owned; /* bitmap over slots: written here */
	uint64_t *seen;	 /* bitmap over rows: used here (duplicates, first use) */
	struct conf_node *node;
	void *owner; /* the object this block defines: struct server, struct location, ... */
	struct var_table
		*vars; /* for the templates of this scope and below (template.h); may be NULL */
};

struct snapshot;
struct opener;
struct conf_error;

/* When something put off with conf_later runs. Stages run in ascending order, FIFO within one. */
enum conf_stage { CONF_LINK_NAMES, CONF_LINK_OBJECTS, CONF_LINK_LAST };

/* One configuration being read. */
struct conf_ctx {
	struct arena *arena; /* the snapshot's */
	struct snapshot *snapshot;
	struct snapshot *before; /* the one in use, NULL: none; what it found out is kept */
	struct opener *opener;
	struct conf_file *files; /* in order of opening */
	struct conf_node *root;	 /* pseudo-node whose children are the main directives */
	unsigned errors, warnings;
	struct list later[CONF_LINK_LAST + 1]; /* put off to the end, per stage */
	struct list errors_list;	       /* struct conf_error, sorted as found */
	bool test;			       /* -t: nothing may be changed outside */
	struct span prefix; /* with / at the end: logs and temporary folders are relative to it */
	struct span conf_prefix; /* with /: includes, certificates, password files */
	uint32_t next_seq;
	unsigned includes;	       /* files included so far */
	struct conf_error *last_error; /* what conf_remedy belongs to; NULL: it was not kept */
};

/* Empty, with an empty root; prefix, snapshot and test are the caller's to set before parsing.
 * CONF_ERR: no memory. */
int conf_ctx_init(struct conf_ctx *ctx, struct arena *a, struct opener *o);

/* What a row's set() is called with. */
struct conf_call {
	struct conf_ctx *ctx;
	struct conf_scope *scope;
	struct conf_node *node;
	const struct conf_row *row;
	const struct conf_mod *mod;
};

#define CONF_OK	 0
#define CONF_ERR (-1)

/* Registers the modules (a NULL-terminated array), gives them slots, builds the name table. Once
 * per process. BUG on two rows of the same name and overlapping contexts. */
void conf_mods_init(struct conf_mod *const *mods);
/* nginx's own directive names (from reference data), so that a missing one is named as such. */
bool conf_known_to_nginx(struct span name);
/* The module of nginx that has this directive ("ngx_http_ssi_filter_module"), or NULL. */
const char *conf_known_module(struct span name);

#define CONF_DEPTH_MAX 64	   /* nested blocks; nested includes */
#define CONF_WORD_MAX  (64 * 1024) /* bytes of one word */

/* Reads path and its includes. Syntax errors are reported; what could be read is in ctx->root. */
int conf_parse(struct conf_ctx *ctx, struct span path);
/* Parses text as if it came from a file called name: for -g and tests. Appended to ctx->root.
 * Problems of a text called "command line" are reported as nginx does for -g. */
int conf_parse_text(struct conf_ctx *ctx, struct span name, struct span text);
/* Applies the whole tree in a new main scope, then runs what was put off. 0 when there were no
 * errors. */
int conf_apply_all(struct conf_ctx *ctx, struct conf_scope **main_scope);

/* For set() of a block: a child scope of c->scope for c->node, owned by owner... */
struct conf_scope *conf_scope_new(struct conf_call *c, enum conf_where where, void *owner);
/* ... and its content: simple directives, then blocks, then the modules' done(). */
int conf_apply(struct conf_call *c, struct conf_scope *s);

/* The struct of a module in a scope: for reading, ... Lists in a copied struct still share their
 * array with the parent's: start afresh on conf_first_here, or set cap = n before the first append.
 */
static inline void *conf_get(const struct conf_scope *s, const struct conf_mod *m)
{
	return s->slots[m->slot];
}
/* ... and for writing (copied from the parent on first use). NULL: out of memory, reported. */
void *conf_own(struct conf_call *c, const struct conf_mod *m);
/* The struct of the call's own module, for writing. */
static inline void *conf_mine(struct conf_call *c)
{
	return conf_own(c, c->mod);
}
/* True when this row was not used before in this scope: a list then starts afresh. */
bool conf_first_here(const struct conf_call *c);
/* The nearest scope of that kind, the current one included; NULL when there is none. */
struct conf_scope *conf_scope_up(struct conf_scope *s, uint32_t where);
/* Runs fn(c-like call with the same scope and node, arg) after the whole tree is applied. fn may
 * put off more, for its own stage or a later one; for an earlier one it is run next. */
int conf_later(struct conf_call *c, enum conf_stage stage,
	       int (*fn)(struct conf_call *c, void *arg), void *arg);

/* The same call about another node: how a block reports about its lines of data (map, types, ...).
 */
static inline struct conf_call conf_call_on(const struct conf_call *c, struct conf_node *node)
{
	struct conf_call k = *c;

	k.node = node;
	return k;
}

/* ---- problems ---- */

#define CONF_ERRORS_MAX 200 /* problems kept; the rest is only counted */

struct conf_error {
	struct list link;
	enum log_level level;	/* LOG_EMERG or LOG_WARN */
	struct span message;	/* nginx's wording, without "in F:L" */
	struct span remedy;	/* may be empty */
	struct conf_file *file; /* NULL: no place */
	uint32_t line, col, width;
};
/* Reports at word `word` of the call's node (0: the directive) and returns CONF_ERR. */
int conf_error(struct conf_call *c, unsigned word, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A second line for the last problem: what to do. Returns CONF_ERR. */
int conf_remedy(struct conf_call *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void conf_warn(struct conf_call *c, unsigned word, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Prints all problems: each first as "nginx: [emerg] MESSAGE in FILE:LINE" (program name: as
 * given), then the line with a caret and the remedy. One print() call per problem, text ends with
 * newline. */
void conf_report(const struct conf_ctx *ctx, struct span program,
		 void (*print)(void *arg, const struct conf_error *e, struct span text), void *arg);
/* -T: each file once, after "# configuration file PATH:". */
void conf_dump(const struct conf_ctx *ctx, void (*print)(void *arg, struct span text), void *arg);

/* ---- words ---- */

static inline struct span conf_arg(const struct conf_call *c, unsigned i)
{
	return c->node->words[i].text;
}
static inline unsigned conf_nargs(const struct conf_call *c) /* the directive not counted */
{
	return c->node->nwords - 1;
}
/* True for "name=value" words; *value then points behind the '='. */
bool conf_param(struct span word, const char *name, struct span *value);

/* Parsers of values: false when malformed or out of range. */
bool conf_parse_size(struct span s,
		     int64_t *bytes); /* 10 4k 1m; also 1g, which nginx takes for offsets only */
bool conf_parse_msec(struct span s,
		     int64_t *ms); /* 1h30m 500ms 30 (s); units w d h m s ms, descending */
bool conf_parse_sec(struct span s, int64_t *sec); /* y M w d h m s */
bool conf_parse_flag(struct span s, bool *on);	  /* on, off; any case */
/* Absolute path, zero-terminated: relative ones get the configuration prefix (or the prefix for
 * logs and temp). p == NULL: no memory, reported. */
struct span conf_path(struct conf_ctx *ctx, struct span path, bool conf_relative);

/* Distance-based suggestion among all rows allowed in `where`: the nearest name or NULL. */
const char *conf_nearest(struct span name, uint32_t where);
/* Walks all rows of all modules (manual page, help). NULL-terminated array of modules. */
struct conf_mod *const *conf_mods(void);
