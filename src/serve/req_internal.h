/* Within serve/ only: the parts of a request's life that several files share. */
#pragma once
#include "serve/conn.h"
#include "serve/core.h"
#include "serve/h1_sink.h"
#include "serve/req.h"

struct req_cleanup_item {
	void (*fn)(void *arg);
	void *arg;
	struct req_cleanup_item *next;
};
#define REQ_ARENA_MAX (16u * 1024 * 1024) /* bytes */
#define REQ_REDIRECTS 10
/* The largest codec's request; struct req comes first. */
extern const size_t req_object_size;

/* A request on the thread's slab with its snapshot reference, arena and variables; NULL: no memory.
 */
struct req *req_new(struct conn *c, struct http_port *port);
/* Runs cleanups, gives everything back. */
void req_free(struct req *r);
/* Frees the thread's slab; no request is left. */
void req_thread_fini(void);
/* Sets server, scope and host from `in` (h1_conn, h2): 0 or FAIL_BAD_HOST etc. */
enum fail req_set_server(struct req *r);
/* Sets uri, args from the target. */
enum fail req_set_uri(struct req *r);

/* phases.c: until there is an answer: PHASE_DONE, PHASE_CLOSE or a status. */
MAY_SUSPEND int phases_run(struct req *r);
/* special.c: turns a status into an answer in r->resp (error_page, built-in page). PHASE_DONE,
 * PHASE_AGAIN (internal redirect) or PHASE_CLOSE. */
int special_answer(struct req *r, int status);
/* respond.c: filters, head, body. */
MAY_SUSPEND enum fail respond(struct req *r);
/* Log phase. */
void req_log_phase(struct req *r);
/* "Server" value for the scope's server_tokens. */
struct span server_token(const struct core_loc *l);
/* Location made absolute when configured: in the arena. */
struct span absolute_location(struct req *r, struct span location);
