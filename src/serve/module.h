/* What a feature offers to the server: its configuration, variables, phase handlers and filters.
 *
 * main/modules.c lists all of them in one array; its order is the order of handlers within a phase
 * and of the header filters (first in the list runs first). Nothing else knows who is there. */
#pragma once
#include "conf/conf.h"
#include "conf/template.h"
#include "http/fail.h"

struct req;
struct resp;

/* nginx's phases. */
enum phase {
	PHASE_POST_READ,
	PHASE_SERVER_REWRITE,
	PHASE_REWRITE,
	PHASE_PREACCESS,
	PHASE_ACCESS,
	PHASE_PRECONTENT,
	PHASE_CONTENT,
	PHASE_COUNT,
};

/* What a handler returns. */
enum {
	PHASE_NEXT = 0,	  /* nothing to say: the next handler */
	PHASE_DONE = -1,  /* r->resp is the answer (head and body): send it */
	PHASE_AGAIN = -2, /* internal redirect: r->uri (and location) changed, start over */
	PHASE_CLOSE = -3, /* close without an answer (444) */
	PHASE_ALLOW = -4, /* access phase only: this handler lets the request in (satisfy any) */
	/* >= 300 (or 200..206 with an empty answer): answer that status, through error_page */
};

struct http_module {
	const char *name;
	struct conf_mod *const *confs; /* NULL-terminated; may be NULL */
	const struct var *vars;	       /* ends with an empty name; may be NULL */
	MAY_SUSPEND int (*phase[PHASE_COUNT])(struct req *r);
	/* Header filter: may change head and body of the answer, or wrap resp->body. Runs once per
	 * answer of the main request, also for error pages. */
	MAY_SUSPEND enum fail (*filter)(struct req *r, struct resp *resp);
	/* After the answer was sent (or the client is gone). Must not suspend. */
	void (*log)(struct req *r);
	/* Per thread, with the loop running. */
	int (*thread_start)(void);
	void (*thread_stop)(void);
	/* On each thread, when it serves a new snapshot: its snapshot_current() now. */
	void (*switched)(void);
	/* On each thread, before log files are opened again: writes what is buffered, lets go of
	 * files of its own. */
	void (*flush_logs)(void);
};

/* The list, ends with NULL: set once, before any configuration is read. */
extern const struct http_module *const *http_modules;
void http_modules_set(const struct http_module *const *list);

/* What http_modules_set made of it for the requests: only those that take part, in order; each ends
 * with NULL. */
#define HTTP_MODULES_MAX 64
struct http_hooks {
	MAY_SUSPEND int (*phase[PHASE_COUNT][HTTP_MODULES_MAX + 1])(struct req *r);
	MAY_SUSPEND enum fail (*filter[HTTP_MODULES_MAX + 1])(struct req *r, struct resp *resp);
	void (*log[HTTP_MODULES_MAX + 1])(struct req *r);
};
extern struct http_hooks http_hooks;
