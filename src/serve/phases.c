/* The order in which a request meets the modules: nginx's phases. */
#include <errno.h>
#include "base/mutant.h"
#include "serve/conn.h"
#include "serve/req_internal.h"
#include "serve/tunnel.h"

/* Runs a phase's handlers until one has something to say. */
static MAY_SUSPEND int phase_run(struct req *r, enum phase p)
{
	for (int (**h)(struct req *) = http_hooks.phase[p]; *h; h++) {
		int rc = (*h)(r);

		if (rc != PHASE_NEXT)
			return rc;
	}
	return PHASE_NEXT;
}

static bool asks_for_credentials(int status)
{
	return status == 401 || status == 407;
}

static MAY_SUSPEND int access_refused(struct req *r, int status)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	if (!asks_for_credentials(status))
		return status;
	r->fail = status == 401 ? FAIL_UNAUTHORIZED : FAIL_PROXY_UNAUTHORIZED;
	fail_count(r->fail);
	if (!l->auth_delay)
		return status;
	req_log(r, LOG_INFO, 0, "delaying unauthorized request");
	if (co_sleep_until(io_after((uint64_t)l->auth_delay)) == -ECANCELED)
		return req_fail(r, r->aborted ? FAIL_CLIENT_CLOSED : FAIL_CANCELLED);
	return r->sink->client_gone(r) ? req_fail(r, FAIL_CLIENT_CLOSED) : status;
}

/* `satisfy all`: every handler must agree. `satisfy any`: one that lets in is enough. */
static MAY_SUSPEND int phase_access(struct req *r)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	int refused = 0;

	for (int (**h)(struct req *) = http_hooks.phase[PHASE_ACCESS]; *h; h++) {
		int rc = (*h)(r);

		if (rc == PHASE_ALLOW && l->satisfy == 1) {
			r->challenge = (struct span){0};
			return PHASE_NEXT;
		}
		if (rc == PHASE_NEXT || rc == PHASE_ALLOW)
			continue;
		if (l->satisfy == 0 || (rc != 403 && !asks_for_credentials(rc)))
			return access_refused(r, rc);
		if (!asks_for_credentials(refused))
			refused = rc;
	}
	if (refused == 403) {
		r->fail = FAIL_FORBIDDEN;
		fail_count(FAIL_FORBIDDEN);
		req_log(r, LOG_ERR, 0, "access forbidden by rule");
	}
	return refused ? access_refused(r, refused) : PHASE_NEXT;
}

static MAY_SUSPEND int phase_content(struct req *r)
{
	const struct location *l = location_of(r->scope); /* limit_except may have its own */
	int (*handler)(struct req * r) = l ? location_handler(l) : NULL;
	int rc;

	if (handler && r->in.method != METHOD_CONNECT) /* which is for tunnels only */
		return handler(r);
	rc = phase_run(r, PHASE_CONTENT);
	if (rc != PHASE_NEXT)
		return rc;
	if (r->uri.n && r->uri.p[r->uri.n - 1] == '/') {
		req_log(r, LOG_ERR, 0, "directory index of \"%.*s\" is forbidden",
			SPAN_ARG(r->uri));
		return 403;
	}
	return 404;
}

/* The location is known: what it says about methods and sizes. */
static int location_enter(struct req *r)
{
	const struct core_loc *l;

	if (r->location->limit_except_scope &&
	    !(r->location->limit_except_methods & (1u << r->method)))
		r->scope = r->location->limit_except_scope;
	l = req_conf(r, &core_loc_mod);
	if (r->body)
		r->sink->body_limits(r);
	/* An error page is given also to those who sent too much. */
	if (r->in.content_length > 0 && l->client_max_body_size > 0 && !r->internal &&
	    r->in.content_length > l->client_max_body_size)
		return req_fail(r, FAIL_BODY_TOO_LARGE);
	return 0;
}

/* From the URI to a location that the rewrite phase leaves alone. named: the location is given. */
static MAY_SUSPEND int route(struct req *r, bool named)
{
	for (;;) {
		int rc = named ? 0 : location_find(r);

		named = false;
		if (rc)
			return rc;
		rc = location_enter(r);
		if (rc)
			return rc;
		r->uri_changed = false;
		rc = phase_run(r, PHASE_REWRITE);
		if (rc != PHASE_NEXT)
			return rc;
		if (!r->uri_changed)
			return PHASE_NEXT;
		if (r->uri_changes == 0) {
			req_log(r, LOG_ERR, 0,
				"rewrite or internal redirection cycle while processing \"%.*s\"",
				SPAN_ARG(r->uri));
			return req_fail(r, FAIL_REDIRECT_CYCLE);
		}
		r->uri_changes--;
		r->scope = r->server->scope;
		r->location = NULL;
	}
}

static MAY_SUSPEND int phases_once(struct req *r)
{
	bool named = r->location && r->location->kind == LOC_NAMED;
	int rc;

	if (!named) {
		rc = phase_run(r, PHASE_SERVER_REWRITE);
		if (rc != PHASE_NEXT)
			return rc;
	}
	rc = route(r, named);
	if (rc == PHASE_NEXT)
		rc = phase_run(r, PHASE_PREACCESS);
	if (rc == PHASE_NEXT)
		rc = phase_access(r);
	if (rc == PHASE_NEXT)
		rc = phase_run(r, PHASE_PRECONTENT);
	if (rc == PHASE_NEXT)
		rc = phase_content(r);
	return rc;
}

MAY_SUSPEND int phases_run(struct req *r)
{
	int rc;

	do
		rc = phases_once(r);
	while (rc == PHASE_AGAIN);
	return rc;
}

void req_log_phase(struct req *r)
{
	if (MUTANT(missing_line) && r->aborted)
		return;
	for (void (**h)(struct req *) = http_hooks.log; *h; h++)
		(*h)(r);
}

/* ---- the whole life ---- */

/* From a result of the phases to an answer that can be sent: through error pages, which may route
 * again. */
static MAY_SUSPEND int settle(struct req *r, int rc)
{
	while (rc != PHASE_DONE && rc != PHASE_CLOSE) {
		if (rc == PHASE_AGAIN) {
			rc = phases_run(r);
			continue;
		}
		if (rc == PHASE_NEXT || rc == PHASE_ALLOW)
			rc = 500;
		rc = special_answer(r, rc);
	}
	return rc;
}

static void tunnel_done(struct tunnel *t, int fail)
{
	struct req *r = t->arg;

	r->bytes_sent += t->server.moved;
	r->body_bytes_sent += t->server.moved;
	r->request_length += (int64_t)t->client.moved;
	if (fail)
		r->fail = (enum fail)fail;
	if (r->tunnel_ended)
		r->tunnel_ended(r, t);
	req_log_phase(r);
	r->sink->tunnel_over(r);
}

/* The head is out: the tunnel has both sides, the request waits for its end without a stack. */
static void tunnel_hand_over(struct req *r)
{
	struct tunnel *t = r->resp.tunnel;

	r->tunnelled = true;
	t->ended = tunnel_done;
	t->arg = r;
	r->sink->tunnel(r, t);
}

static MAY_SUSPEND void finish(struct req *r, int rc)
{
	enum fail f;

	if (rc == PHASE_CLOSE) {
		r->dropped = true;
		r->keep_alive = false;
		if (!r->status)
			r->status = 444;
		return;
	}
	f = respond(r);
	if (f != FAIL_OK && !r->head_sent) {
		/* a filter or the head failed, or a filter refuses: one try to say so */
		bool refused = f == FAIL_PRECONDITION || f == FAIL_RANGE;
		int status = refused ? fail_status(f) : req_fail(r, f);

		r->error_status = 0;
		if (!refused) {
			r->error_page = true;
			r->keep_alive = false;
		}
		if (status != 499 && settle(r, status) == PHASE_DONE)
			f = respond(r);
	}
	if (f != FAIL_OK) {
		r->keep_alive = false;
		r->broken = true;
		if (r->fail == FAIL_OK) {
			int status = req_fail(r, f);

			if (!r->head_sent)
				r->status = status;
		}
	}
	if (r->sent_all && r->resp.tunnel)
		tunnel_hand_over(r);
}

static void end(struct req *r)
{
	if (r->resp.body) {
		body_close(r->resp.body);
		r->resp.body = NULL;
	}
	if (!r->tunnelled)
		req_log_phase(r);
}

MAY_SUSPEND void req_serve(struct req *r)
{
	int rc = phase_run(r, PHASE_POST_READ);

	if (rc == PHASE_NEXT)
		rc = phases_run(r);
	finish(r, settle(r, rc));
	end(r);
}

MAY_SUSPEND void req_serve_error(struct req *r, enum fail f)
{
	int status = req_fail(r, f);

	finish(r, settle(r, status));
	end(r);
}
