/* $variables and the templates that hold them.
 *
 * A variable has a name, a getter and flags. Names may be used before the block that defines them:
 * templates are compiled at once, names are linked in stage CONF_LINK_NAMES. A template without
 * variables is constant and costs nothing at run time.
 *
 * Values live in the request: each variable that some template uses has a numbered slot; the first
 * use calls the getter, later ones read the slot, unless the variable is VAR_NO_CACHE. */
#pragma once
#include <stdbool.h>
#include "base/arena.h"
#include "base/span.h"
#include "conf/conf.h"

struct var_ctx;

enum var_flags {
	VAR_NO_CACHE = 1,   /* ask the getter each time */
	VAR_CHANGEABLE = 2, /* `set`, `map`, ... may redefine it */
	VAR_PREFIX =
		4,    /* name is a prefix: http_, arg_, ...; the getter gets the rest of the name */
	VAR_WEAK = 8, /* defined by `set`: until it is set, a prefix variable of that name shows
			 through */
};

struct var {
	struct span name; /* without $, lower case */
	/* *out: the value, valid as long as the request. Returns false when the variable is "not
	 * found" (empty in text, false in conditions, "-" in logs). NULL: the value is only what
	 * var_set stored. data as registered; for prefix variables self->suffix is the rest of the
	 * name. */
	bool (*get)(struct var_ctx *v, const struct var *self, struct span *out);
	bool (*set)(struct var_ctx *v, const struct var *self, struct span value); /* may be NULL */
	uintptr_t data;
	struct span suffix; /* prefix variables: what follows the prefix, as used */
	uint8_t flags;
	int slot; /* index in var_ctx.slots; -1: no template uses it, nothing is cached */
};

struct var_slot {
	struct span value;
	uint8_t state; /* VAR_UNKNOWN, VAR_FOUND, VAR_NOT_FOUND; VAR_BUSY while the getter runs
			  (loops) */
};
enum { VAR_UNKNOWN, VAR_FOUND, VAR_NOT_FOUND, VAR_BUSY };

/* All variables of one kind of request (http, stream) in one snapshot. */
struct var_table;
struct var_table *var_table_new(struct arena *a);
unsigned var_table_slots(const struct var_table *t); /* after linking */
/* Built-in variables: an array that ends with an empty name. Copied; slot need not be set. BUG on a
 * name that is there already. CONF_ERR: no memory. */
int var_table_add(struct var_table *t, const struct var *vars);
/* A definition by a directive (set, map, geo, named captures, ...): returns the variable to fill
 * in, or NULL with an error reported ("the duplicate "x" variable"). An existing changeable one is
 * returned as is. name without $, any case. */
struct var *var_define(struct conf_call *c, struct var_table *t, struct span name, uint8_t flags);
/* The variable of that name, made as a placeholder when not defined yet; resolved in
 * CONF_LINK_NAMES
 * ("unknown "x" variable" is reported at the call's word). */
struct var *var_use(struct conf_call *c, unsigned word, struct var_table *t, struct span name);
/* At run time by name (log modules, scripts): NULL when unknown. */
const struct var *var_find(const struct var_table *t, struct span name);

/* Embedded in struct req (and stream's session); get it back with CONTAINER_OF. */
struct var_ctx {
	struct arena *arena;	/* values are built here */
	struct var_slot *slots; /* var_table_slots of them, zeroed */
	struct span subject;	/* of the last regular expression that matched */
	int *caps;		/* $1..$9 as offset pairs into subject; NULL: none */
	int ncaps;		/* pairs */
	bool failed;		/* memory ran out or a value was too long; the request must end */
	unsigned depth;		/* getters inside getters; above VAR_DEPTH_MAX a value is empty */
};
#define VAR_DEPTH_MAX 32
#define VAR_VALUE_MAX (1024 * 1024) /* bytes of one evaluated template */

/* found: may be NULL. */
struct span var_get(struct var_ctx *v, const struct var *var, bool *found);
/* Stores a value: `set`, captures, auth_request_set. */
void var_set(struct var_ctx *v, const struct var *var, struct span value);
/* Forgets cached values (after an internal redirect for those that depend on the URI). */
void var_forget(struct var_ctx *v, const struct var *var);

struct tmpl_part {
	enum tmpl_kind { TMPL_TEXT, TMPL_VAR, TMPL_CAPTURE } kind;
	struct span text; /* TMPL_TEXT */
	struct var *var;  /* TMPL_VAR */
	int capture;	  /* TMPL_CAPTURE: $1.. */
};
struct tmpl {
	struct span source; /* as written */
	bool constant;	    /* value == parts' text joined, in source */
	bool has_captures;
	unsigned nparts;
	struct tmpl_part *parts;
};

/* The variable table that templates of this scope use: set by http{} and stream{} on their scope;
 * the engine finds it upwards. */
void conf_set_var_table(struct conf_scope *s, struct var_table *t);
struct var_table *conf_var_table(struct conf_scope *s);

/* Compiles word `word` of the call. NULL: reported. */
struct tmpl *tmpl_compile(struct conf_call *c, unsigned word);
/* The same for a text that is part of that word. */
struct tmpl *tmpl_compile_text(struct conf_call *c, unsigned word, struct span text);
/* The value: for constants the text itself, else built in v->arena. On failure sets v->failed and
 * returns the empty span. A NULL template gives the empty span. */
struct span tmpl_eval(const struct tmpl *t, struct var_ctx *v);
/* As tmpl_eval with a zero behind (not counted). */
struct span tmpl_eval_cstr(const struct tmpl *t, struct var_ctx *v);
/* True when any of the values is neither empty nor "0" (proxy_cache_bypass, access_log if=). */
bool tmpl_any_true(const struct conf_tmpls *ts, struct var_ctx *v);
