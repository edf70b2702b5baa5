/* The server's response head becomes the answer: what is hidden, what has an effect here, what is
 * rewritten. */
#include "http/uri.h"
#include "io/loop.h"
#include "proxy/exchange.h"
#include "proxy/proxy_rewrite.h"
#include "serve/tunnel.h"

/* ---- Content-Type ---- */

/* A charset at the end goes where the charset filter looks for it; what could not be written back
 * as it came stays whole. */
static void response_content_type(struct resp *resp, struct span v)
{
	static const char mark[] = "; charset=";
	ssize_t semi = span_rfind_char(v, ';');
	struct span tail = semi < 0 ? (struct span){0} : span_cut(v, (size_t)semi, v.n);

	resp->content_type = v;
	if (span_starts(tail, SPAN(mark)) && tail.n > sizeof(mark) - 1 &&
	    tail.p[sizeof(mark) - 1] != '"') {
		resp->content_type = span_cut(v, 0, (size_t)semi);
		resp->charset = span_cut(tail, sizeof(mark) - 1, tail.n);
	}
}

/* ---- fields ---- */

struct response_effects {
	struct span accel_redirect, accel_charset;
	bool buffering;
};

static bool response_hides(const struct proxy_conf *c, const struct hdr *hd)
{
	if (hd->id != HDR_OTHER)
		return c->hidden.ids[hd->id / 64] >> (hd->id % 64) & 1;
	for (size_t i = 0; i < c->hidden.n; i++)
		if (span_eq_nocase(c->hidden.v[i], hd->name))
			return true;
	return false;
}

/* X-Accel-*: effects here, and hidden by the bitmap like everything else. */
static void response_accel(struct exchange *x, const struct hdr *hd, struct response_effects *e)
{
	unsigned ignore = x->conf->ignore_headers;
	uint64_t n;

	switch (hd->id) {
	case HDR_X_ACCEL_REDIRECT:
		if (!(ignore & IGN_REDIRECT))
			e->accel_redirect = hd->value;
		break;
	case HDR_X_ACCEL_LIMIT_RATE:
		if (!(ignore & IGN_LIMIT_RATE) && span_to_u64(hd->value, INT64_MAX, &n))
			x->r->resp.limit_rate = (int64_t)n;
		break;
	case HDR_X_ACCEL_BUFFERING:
		if (!(ignore & IGN_BUFFERING) && span_eq_nocase(hd->value, SPAN("no")))
			e->buffering = false;
		else if (!(ignore & IGN_BUFFERING) && span_eq_nocase(hd->value, SPAN("yes")))
			e->buffering = true;
		break;
	case HDR_X_ACCEL_CHARSET:
		if (!(ignore & IGN_CHARSET))
			e->accel_charset = hd->value;
		break;
	default:
		break;
	}
}

/* Location and Refresh: what proxy_redirect changed is ours to make absolute, the rest is passed as
 * it came. */
static enum fail response_location(struct exchange *x, struct hdr *hd)
{
	struct span v;
	enum fail f = proxy_rewrite_location(x, hd->id == HDR_REFRESH, hd->value, &v);

	if (f != FAIL_OK || !v.p)
		return f;
	if (!http_is_field_value(v))
		return FAIL_BAD_CONFIG_VALUE;
	if (hd->id == HDR_LOCATION && v.n && v.p[0] == '/') {
		x->r->resp.location = v;
		hd->removed = true;
	} else {
		hd->value = v;
		hd->in_buf = 0;
	}
	return FAIL_OK;
}

static enum fail response_cookie(struct exchange *x, struct hdr *hd)
{
	struct span v;
	enum fail f = proxy_rewrite_cookie(x, hd->value, &v);

	if (f == FAIL_OK && v.p) {
		if (!http_is_field_value(v))
			return FAIL_BAD_CONFIG_VALUE;
		hd->value = v;
	}
	return f;
}

static enum fail response_field(struct exchange *x, struct hdr *hd, struct response_effects *e)
{
	struct resp *resp = &x->r->resp;

	if (response_hides(x->conf, hd)) {
		hd->removed = true;
		response_accel(x, hd, e);
		return FAIL_OK;
	}
	switch (hd->id) {
	case HDR_CONTENT_LENGTH:
	case HDR_TRANSFER_ENCODING:
	case HDR_CONNECTION:
	case HDR_KEEP_ALIVE:
	case HDR_PROXY_CONNECTION:
		hd->removed = true;
		break;
	case HDR_TRAILER:
		hd->removed = !x->conf->pass_trailers;
		break;
	case HDR_UPGRADE:
		hd->removed = x->resp.status != 101 && x->resp.status != 426;
		break;
	case HDR_CONTENT_TYPE:
		response_content_type(resp, hd->value);
		hd->removed = true;
		break;
	case HDR_DATE:
		resp->date = hd->value;
		hd->removed = true;
		break;
	case HDR_SERVER:
		resp->server = hd->value;
		hd->removed = true;
		break;
	case HDR_LOCATION:
	case HDR_REFRESH:
		return response_location(x, hd);
	case HDR_SET_COOKIE:
		return x->conf->rewrites_cookies ? response_cookie(x, hd) : FAIL_OK;
	case HDR_ACCEPT_RANGES:
		hd->removed = x->conf->force_ranges;
		break;
	default:
		response_accel(x, hd, e);
		break;
	}
	return FAIL_OK;
}

/* RFC 9110 7.6.1: what the server's Connection names is for us alone. */
static void response_nominated(struct hdrs *h)
{
	struct span v = hdrs_value(h, HDR_CONNECTION), el;

	if (!v.n || span_eq_nocase(v, SPAN("keep-alive")) || span_eq_nocase(v, SPAN("close")) ||
	    span_eq_nocase(v, SPAN("upgrade")))
		return;
	while (hdr_list_next(&v, &el))
		if (!span_eq_nocase(el, SPAN("upgrade")) && !span_eq_nocase(el, SPAN("close")))
			hdrs_remove_name(h, el);
}

/* ---- 103 ---- */

static bool hint_is_ours(const struct exchange *x, const struct hdr *hd)
{
	switch (hd->id) {
	case HDR_CONTENT_LENGTH:
	case HDR_TRANSFER_ENCODING:
	case HDR_CONNECTION:
	case HDR_KEEP_ALIVE:
	case HDR_PROXY_CONNECTION:
	case HDR_TRAILER:
	case HDR_UPGRADE:
		return true;
	default:
		return response_hides(x->conf, hd);
	}
}

enum fail proxy_pass_hints(struct exchange *x)
{
	struct hdrs out;
	enum fail f;

	response_nominated(x->hints);
	hdrs_init(&out, &x->r->arena);
	hdrs_each (hd, x->hints)
		if (!hint_is_ours(x, hd) && !hdrs_append(&out, hd->id, hd->name, hd->value))
			return FAIL_NO_MEMORY;
	/* A client that cannot be written to is noticed when its answer is. */
	f = out.n ? x->r->sink->interim(x->r, 103, &out) : FAIL_OK;
	return f == FAIL_NO_MEMORY ? f : FAIL_OK;
}

/* ---- other ends ---- */

/* The response's body is not wanted; when all of it is here already the connection is saved. */
static MAY_SUSPEND void response_discard(struct exchange *x)
{
	struct body *b = exchange_body(x, false);
	struct piece p = {0};

	if (!b)
		return;
	b->accept = PIECE_MEM;
	while (!p.last && body_ready(b) && body_next(b, &p) == FAIL_OK)
		;
	body_close(b);
}

/* Fields that a response to X-Accel-Redirect, or an intercepted one, leaves to the final answer. */
static bool response_carries(enum hdr_id id, int status)
{
	return id == HDR_SET_COOKIE || id == HDR_CONTENT_DISPOSITION || id == HDR_CACHE_CONTROL ||
	       id == HDR_EXPIRES || id == HDR_ACCEPT_RANGES ||
	       (id == HDR_WWW_AUTHENTICATE && status == 401);
}

static bool field_is_many(enum hdr_id id)
{
	return id == HDR_SET_COOKIE || id == HDR_CACHE_CONTROL || id == HDR_WWW_AUTHENTICATE;
}

static enum fail response_carry(struct exchange *x, bool only_auth)
{
	struct hdrs *keep = x->log->carried;

	if (!keep) {
		keep = arena_alloc(&x->r->arena, sizeof(*keep));
		if (!keep)
			return FAIL_NO_MEMORY;
		hdrs_init(keep, &x->r->arena);
		x->log->carried = keep;
	}
	hdrs_each (hd, &x->resp.headers) {
		if (only_auth ? hd->id != HDR_WWW_AUTHENTICATE
			      : !response_carries(hd->id, x->resp.status))
			continue;
		if (!field_is_many(hd->id)) /* of the redirect before this one */
			hdrs_remove(keep, hd->id);
		if (!hdrs_append(keep, hd->id, hd->name, hd->value))
			return FAIL_NO_MEMORY;
	}
	if (!only_auth) {
		x->log->carried_type = x->r->resp.content_type;
		x->log->carried_charset = x->r->resp.charset;
		x->log->carried_rate = x->r->resp.limit_rate;
	}
	return FAIL_OK;
}

static MAY_SUSPEND int response_redirect(struct exchange *x, struct span to)
{
	struct req *r = x->r;
	struct span path = to, args = {0};
	ssize_t q = span_find_char(to, '?', 0);

	if (response_carry(x, false) != FAIL_OK)
		return req_fail(r, FAIL_NO_MEMORY);
	response_discard(x);
	req_answer(r, 200);
	if (r->method != METHOD_HEAD) {
		r->method = METHOD_GET;
		r->method_name = SPAN("GET");
	}
	if (to.n && to.p[0] == '@')
		return req_redirect_named(r, to);
	if (q >= 0) {
		path = span_cut(to, 0, (size_t)q);
		args = span_cut(to, (size_t)q + 1, to.n);
	}
	if (!path.n || path.p[0] != '/' ||
	    uri_normalise(path, false, &r->arena, &path) != FAIL_OK) {
		req_log(r, LOG_ERR, 0, "unsafe URI \"%.*s\" was detected in X-Accel-Redirect",
			SPAN_ARG(to));
		return 404;
	}
	return req_redirect(r, path, args);
}

/* The final answer of a request that X-Accel-Redirect, or an intercepted error, sent elsewhere: to
 * a file, whose own fields count less than these, or to another server, whose fields count more. */
enum fail proxy_filter(struct req *r, struct resp *resp)
{
	struct upstream_log *log = r->upstream;

	if (!log || !log->carried)
		return FAIL_OK;
	hdrs_each (hd, log->carried)
		if (!resp->from_upstream && hd->id != HDR_SET_COOKIE)
			hdrs_remove(&resp->headers, hd->id);
	hdrs_each (hd, log->carried) {
		if (hd->id == HDR_ACCEPT_RANGES && resp->allow_ranges)
			continue;
		if (!field_is_many(hd->id) && hdrs_find(&resp->headers, hd->id))
			continue;
		if (!hdrs_append(&resp->headers, hd->id, hd->name, hd->value))
			return FAIL_NO_MEMORY;
	}
	if (log->carried_type.n && resp->status < 300 &&
	    !(resp->from_upstream && resp->content_type.n)) {
		resp->content_type = log->carried_type;
		resp->charset = log->carried_charset;
	}
	if (log->carried_rate >= 0)
		resp->limit_rate = log->carried_rate;
	return FAIL_OK;
}

static bool response_intercepted(struct exchange *x)
{
	const struct core_loc *l = req_conf(x->r, &core_loc_mod);

	if (!x->conf->intercept_errors || x->resp.status < 300)
		return false;
	for (size_t i = 0; i < l->nerror_pages; i++)
		if (l->error_pages[i].status == x->resp.status)
			return true;
	return false;
}

/* ---- 101 ---- */

struct proxy_tunnel {
	struct tunnel tunnel;
	struct exchange *x;
};

static void proxy_tunnel_ended(struct req *r, struct tunnel *t)
{
	struct exchange *x = CONTAINER_OF(t, struct proxy_tunnel, tunnel)->x;

	x->tunnelled = (int64_t)t->server.moved;
	exchange_finish(x, false, false);
}

int proxy_tunnel(struct exchange *x)
{
	struct req *r = x->r;
	struct proxy_tunnel *pt = arena_zalloc(&r->arena, sizeof(*pt));
	struct tunnel *t;

	exchange_send_stop(x);
	if (!pt || !x->proto->tunnel(x, &pt->tunnel))
		return req_fail(r, FAIL_NO_MEMORY);
	pt->x = x;
	t = &pt->tunnel;
	x->tunnel = t;
	t->idle_timeout_ms = (uint64_t)x->conf->read_timeout;
	r->resp.tunnel = t;
	r->tunnel_ended = proxy_tunnel_ended;
	return PHASE_DONE;
}

/* ---- the answer ---- */

int proxy_answer(struct exchange *x)
{
	struct req *r = x->r;
	struct response_effects e = {.buffering = x->conf->buffering};
	struct resp *resp = req_answer(r, x->resp.status);
	enum fail f = FAIL_OK;

	if (x->conf->tunnel) {
		resp->reason = x->resp.reason;
		return proxy_tunnel(x);
	}
	if (response_intercepted(x)) {
		if (x->resp.status == 401 && response_carry(x, true) != FAIL_OK)
			return req_fail(r, FAIL_NO_MEMORY);
		response_discard(x);
		return x->resp.status;
	}
	resp->from_upstream = true;
	resp->reason = x->resp.reason;
	response_nominated(&x->resp.headers);
	hdrs_each (hd, &x->resp.headers) {
		f = response_field(x, hd, &e);
		if (f != FAIL_OK)
			return req_fail(r, f);
	}
	if (e.accel_redirect.n)
		return response_redirect(x, e.accel_redirect);
	if (e.accel_charset.n && !resp->charset.n)
		resp->charset = e.accel_charset;
	resp->headers = x->resp.headers;
	if (x->resp.status == 101)
		return proxy_tunnel(x);
	resp->content_length = x->resp.chunked ? -1 : x->resp.content_length;
	resp->allow_ranges = x->conf->force_ranges;
	resp->buffered_off = !e.buffering;
	resp->body = exchange_body(x, e.buffering);
	if (x->grpc_web && (f = grpc_web_answer(x)) != FAIL_OK)
		return req_fail(r, f);
	return PHASE_DONE;
}
