#include "serve/req.h"
#include "base/pool.h"
#include "http/uri.h"
#include "serve/credentials.h"
#include "serve/error_log.h"
#include "serve/h2_stream.h"
#include "serve/req_internal.h"

const size_t req_object_size = MAX_OF(sizeof(struct h1_client), sizeof(struct h2_client));
static _Thread_local struct slab req_slab;
static _Thread_local bool req_slab_ready;

void req_thread_fini(void)
{
	if (req_slab_ready)
		slab_fini(&req_slab);
	req_slab_ready = false;
}

struct req *req_new(struct conn *c, struct http_port *port)
{
	struct snapshot *s = snapshot_current();
	struct http_main *m = s->http;
	struct req *r;

	if (!req_slab_ready) {
		slab_init(&req_slab, req_object_size, 64);
		req_slab_ready = true;
	}
	r = slab_take(&req_slab);
	if (!r)
		return NULL;
	/* caps are written before they are read */
	memset(r, 0, offsetof(struct req, caps));
	memset((char *)r + offsetof(struct req, cleanups), 0,
	       sizeof(*r) - offsetof(struct req, cleanups));
	arena_init(&r->arena, REQ_ARENA_MAX);
	r->vars.arena = &r->arena;
	if (var_table_slots(m->vars)) {
		r->vars.slots =
			arena_zalloc(&r->arena, var_table_slots(m->vars) * sizeof(struct var_slot));
		if (!r->vars.slots) {
			arena_fini(&r->arena);
			slab_give(&req_slab, r);
			return NULL;
		}
	}
	hdrs_init(&r->in.headers, &r->arena);
	hdrs_init(&r->resp.headers, &r->arena);
	hdrs_init(&r->resp.trailers, &r->arena);
	r->conn = c;
	r->port = port;
	r->snapshot = snapshot_ref(s);
	r->server = port->default_server;
	r->scope = r->server->scope;
	r->uri_changes = r->redirects = REQ_REDIRECTS;
	r->in.content_length = -1;
	r->resp.content_length = r->resp.last_modified = -1;
	r->request_port = -1;
	r->start_ms = io_now_ms();
	r->start_wall_ms = io_wall_ms();
	return r;
}

void req_free(struct req *r)
{
	while (r->cleanups) {
		struct req_cleanup_item *it = r->cleanups;

		r->cleanups = it->next;
		it->fn(it->arg);
	}
	arena_fini(&r->arena);
	snapshot_unref(r->snapshot);
	slab_give(&req_slab, r);
}

enum fail req_cleanup(struct req *r, void (*fn)(void *arg), void *arg)
{
	struct req_cleanup_item *it = arena_alloc(&r->arena, sizeof(*it));

	if (!it)
		return FAIL_NO_MEMORY;
	*it = (struct req_cleanup_item){fn, arg, r->cleanups};
	r->cleanups = it;
	return FAIL_OK;
}

/* ---- the log context ---- */

static size_t put(char *p, size_t size, size_t at, struct span label, struct span value,
		  const char *tail)
{
	size_t tn = strlen(tail);

	if (at + label.n + value.n + tn > size)
		return at;
	memcpy(p + at, label.p, label.n);
	if (value.n)
		memcpy(p + at + label.n, value.p, value.n);
	memcpy(p + at + label.n + value.n, tail, tn);
	return at + label.n + value.n + tn;
}

static size_t req_log_context(const struct logger *l, char *p, size_t size)
{
	const struct req *r = CONTAINER_OF(l, struct req, logger);
	struct span host = hdrs_value(&r->in.headers, HDR_HOST);
	char ip[ADDR_TEXT_MAX];
	size_t at = 0, n = addr_format_ip(conn_peer(r->conn), ip, sizeof(ip));

	at = put(p, size, at, SPAN(", client: "), span_make(ip, n), "");
	if (r->server)
		at = put(p, size, at, SPAN(", server: "), r->server->name, "");
	if (r->in.line.n)
		at = put(p, size, at, SPAN(", request: \""), span_cut(r->in.line, 0, 1024), "\"");
	if (r->log_upstream.n)
		at = put(p, size, at, SPAN(", upstream: \""), r->log_upstream, "\"");
	if (host.n)
		at = put(p, size, at, SPAN(", host: \""), span_cut(host, 0, 256), "\"");
	return at;
}

const struct logger *req_logger(struct req *r)
{
	r->logger.sinks = error_log_of(r->scope)->sinks;
	r->logger.connection = r->conn->number;
	r->logger.context = req_log_context;
	return &r->logger;
}

/* ---- answers ---- */

struct resp *req_answer(struct req *r, int status)
{
	struct resp *resp = &r->resp;

	if (resp->body)
		body_close(resp->body);
	memset(resp, 0, sizeof(*resp));
	hdrs_init(&resp->headers, &r->arena);
	hdrs_init(&resp->trailers, &r->arena);
	resp->status = status;
	resp->content_length = -1;
	resp->last_modified = -1;
	resp->limit_rate = -1;
	return resp;
}

int req_answer_text(struct req *r, int status, struct span content_type, struct span text)
{
	struct resp *resp = req_answer(r, status);
	struct body_mem *m = arena_alloc(&r->arena, sizeof(*m));

	if (!m)
		return req_fail(r, FAIL_NO_MEMORY);
	resp->content_type = content_type;
	resp->content_length = (int64_t)text.n;
	resp->body = body_of_span(m, text);
	return PHASE_DONE;
}

/* What a new URI makes stale. */
static void req_uri_reset(struct req *r)
{
	r->valid_unparsed_uri = false;
	r->internal = true;
	r->location = NULL;
	r->scope = r->server->scope;
}

int req_redirect(struct req *r, struct span uri, struct span args)
{
	if (r->redirects == 0) {
		req_log(r, LOG_ERR, 0,
			"rewrite or internal redirection cycle while internally redirecting to "
			"\"%.*s\"",
			SPAN_ARG(uri));
		return req_fail(r, FAIL_REDIRECT_CYCLE);
	}
	r->redirects--;
	r->uri = uri;
	r->args = args;
	r->has_args = args.n > 0;
	r->valid_location = true;
	req_uri_reset(r);
	return PHASE_AGAIN;
}

int req_redirect_named(struct req *r, struct span name)
{
	struct location *l;

	if (r->redirects == 0) {
		req_log(r, LOG_ERR, 0,
			"rewrite or internal redirection cycle while redirect to named location "
			"\"%.*s\"",
			SPAN_ARG(name));
		return req_fail(r, FAIL_REDIRECT_CYCLE);
	}
	r->redirects--;
	l = location_find_named(r->server, name);
	if (!l) {
		req_log(r, LOG_ERR, 0, "could not find named location \"%.*s\"", SPAN_ARG(name));
		return req_fail(r, FAIL_INTERNAL);
	}
	req_uri_reset(r);
	r->location = l;
	r->scope = l->scope;
	return PHASE_AGAIN;
}

static enum log_level fail_level(enum fail f)
{
	switch (fail_whose(f)) {
	case 'C':
		return LOG_INFO;
	case 'S':
		return LOG_ERR;
	default:
		return f == FAIL_NO_MEMORY || f == FAIL_INTERNAL ? LOG_CRIT : LOG_ERR;
	}
}

int req_fail(struct req *r, enum fail f)
{
	if (f == FAIL_CANCELLED && r->aborted)
		f = FAIL_CLIENT_CLOSED;
	r->fail = f;
	fail_count(f);
	if (f == FAIL_BODY_TOO_LARGE)
		req_log(r, LOG_ERR, 0, "client intended to send too large body: %lld bytes",
			(long long)(r->in.content_length >= 0 ? r->in.content_length
							      : r->body_received));
	else if (fail_whose(f) != 'S') /* the exchange has logged what the upstream did */
		req_log(r, fail_level(f), 0, "%.*s", SPAN_ARG(fail_words(f)));
	return fail_status(f) ? fail_status(f) : 500;
}

/* ---- the target ---- */

enum fail req_set_uri(struct req *r)
{
	const struct core_srv *srv = req_conf(r, &core_srv_mod);
	enum fail f;

	r->unparsed_uri = r->in.target;
	if (r->in.scheme.n ||
	    r->in.authority.n) { /* absolute form: $request_uri is the path part */
		struct span p = r->in.path;

		if (r->in.has_query)
			p.n = (size_t)(r->in.query.p + r->in.query.n - p.p);
		if (p.n)
			r->unparsed_uri = p;
	}
	r->method_name = r->in.method_name;
	r->method = r->in.method;
	r->args = r->in.query.n ? r->in.query : (struct span){0};
	r->has_args = r->in.has_query;
	if (r->in.path.n == 1 && r->in.path.p[0] == '*') {
		r->uri = r->in.path;
		return FAIL_OK;
	}
	if (r->in.method == METHOD_CONNECT && r->server->connects) {
		r->uri = SPAN("/"); /* it has no path: location / says who may go where */
		return FAIL_OK;
	}
	if (r->in.method == METHOD_CONNECT || r->in.method == METHOD_TRACE)
		return FAIL_METHOD_NOT_ALLOWED;
	f = uri_normalise(r->in.path, srv->merge_slashes, &r->arena, &r->uri);
	r->valid_unparsed_uri = r->valid_location = true;
	return f;
}

enum fail req_set_server(struct req *r)
{
	struct span authority =
		r->in.authority.n ? r->in.authority : hdrs_value(&r->in.headers, HDR_HOST);
	enum fail f = FAIL_OK;

	if (authority.n && r->in.host_n) {
		r->request_port = r->in.host_port;
		f = host_lower(span_cut(authority, 0, r->in.host_n), &r->arena, &r->host);
	} else if (authority.n) {
		f = host_parse(authority, &r->arena, &r->host, &r->request_port);
	}
	if (f != FAIL_OK)
		return f;
	r->server = vnames_find(r->port, r->host, r);
	r->scope = r->server->scope;
	return req_take_proxied(r);
}
