/* Within mod/: the code that rewrite, return, set, if and break make, and its run.
 *
 * A scope that has any of these directives has a list of operations in the order of the file. An
 * `if` holds a list of its own, which runs in its place and goes on with the outer one; `if` cannot
 * stand in `if`, so that is all the nesting there is. Values are evaluated in one pass, with their
 * length checked (N60). */
#pragma once
#include "serve/core.h"
#include "serve/req.h"

enum rewrite_kind { REWRITE_RULE, REWRITE_RETURN, REWRITE_SET, REWRITE_IF, REWRITE_BREAK };

struct rewrite_regex {
	struct regex *re;
	struct span text;
	struct var **vars; /* of the named groups */
	unsigned *groups;
	size_t nvars;
};

struct rewrite_rule {
	struct rewrite_regex match;
	struct tmpl *uri, *args; /* args: what follows the '?'; NULL: none, or a redirect */
	bool drop_args;		 /* the replacement ends with '?': the old ones are not added */
	bool has_args;		 /* of a redirect: it holds a '?' */
	bool last, no_reroute;	 /* the flags last and break */
	int redirect;		 /* status, 0: none */
};

enum rewrite_cond {
	COND_VAR,
	COND_EQUAL,
	COND_NOT_EQUAL,
	COND_MATCH,
	COND_NO_MATCH,
	COND_FILE,
	COND_DIR,
	COND_EXISTS,
	COND_EXEC,
};
struct rewrite_if {
	enum rewrite_cond cond;
	bool negated; /* of the conditions on files */
	struct var *var;
	struct tmpl *value; /* text to compare with, or the path */
	struct rewrite_regex match;
	struct location *loc;	   /* NULL: in a server */
	struct rewrite_list *body; /* NULL: empty */
};

struct rewrite_op {
	enum rewrite_kind kind;
	uint32_t seq; /* of its node: the order of the file */
	union {
		struct rewrite_rule rule;
		struct rewrite_if cond;
		struct {
			int status;
			struct tmpl *text;
		} ret;
		struct {
			struct var *var;
			struct tmpl *value;
		} set;
	};
};

struct rewrite_list {
	const struct conf_scope
		*scope; /* lists are not inherited: this one is of that scope only */
	struct rewrite_op **ops;
	size_t n, cap;
};

struct rewrite_conf {
	bool log, warn; /* rewrite_log, uninitialized_variable_warn */
	struct rewrite_list *list;
};
extern struct conf_mod rewrite_mod;

/* rewrite_if.c: "if (...)". Reads the condition; CONF_ERR: reported. */
int rewrite_if_parse(struct conf_call *c, struct rewrite_if *out);
bool rewrite_if_true(struct req *r, const struct rewrite_if *f, bool quote);
/* Compiles text, which is (a part of) word `word`. CONF_ERR: reported. */
int rewrite_regex_new(struct conf_call *c, unsigned word, struct span text, bool nocase,
		      struct rewrite_regex *out);

/* rewrite_run.c. The phase handlers. */
int rewrite_server_phase(struct req *r);
int rewrite_location_phase(struct req *r);
/* The value of t. escape: captures are escaped as arguments when the client's path had '%' or '+'
 * in it. On failure r->vars.failed is set. */
struct span rewrite_eval(struct req *r, const struct tmpl *t, bool escape);
/* Matches; sets $1.. and the named captures, or takes $1.. away. */
bool rewrite_match(struct req *r, const struct rewrite_regex *m, struct span subject);
/* What a redirect's text becomes before the arguments are added: escapes of visible characters are
 * undone up to the first '?'. In place; returns the new length. */
size_t rewrite_unescape_redirect(char *p, size_t n);
