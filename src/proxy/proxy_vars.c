/* $proxy_* and $upstream_*: the formats are nginx's. Attempts are separated by ", ", exchanges of
 * one request (after an internal redirect) by " : ". */
#include "http/h1.h"
#include "http/uri.h"
#include "proxy/exchange.h"
#include "serve/conn.h"

/* ---- $proxy_* ---- */

static bool var_proxy_target(struct var_ctx *v, const struct var *self, struct span *out)
{
	struct req *r = REQ_OF_VARS(v);
	const struct proxy_target *t = r->upstream ? r->upstream->target : NULL;
	const struct proxy_conf *c = proxy_conf_of(r);

	if (!c->pass) /* also after an internal redirect to where nothing is proxied */
		return false;
	if (!t)
		t = !c->pass->tmpl ? &c->pass->target : NULL;
	if (!t)
		return false;
	*out = self->data ? t->port : t->host_header;
	return true;
}

/* Every field of that name, joined; empty when there is none. */
static struct span client_field(struct req *r, enum hdr_id id)
{
	return hdrs_find(&r->in.headers, id) ? hdrs_join(&r->in.headers, hdr_name(id), SPAN(", "))
					     : (struct span){0};
}

static bool var_add_forwarded_for(struct var_ctx *v, const struct var *self, struct span *out)
{
	struct req *r = REQ_OF_VARS(v);
	struct span had = client_field(r, HDR_X_FORWARDED_FOR);
	char ip[ADDR_TEXT_MAX];
	size_t n = addr_format_ip(conn_peer(r->conn), ip, sizeof(ip));
	char *p = arena_alloc(v->arena, had.n + 2 + n), *at = p;

	if (!p) {
		v->failed = true;
		return false;
	}
	if (had.n) {
		at = mempcpy(at, had.p, had.n);
		at = mempcpy(at, ", ", 2);
	}
	at = mempcpy(at, ip, n);
	*out = span_make(p, (size_t)(at - p));
	return true;
}

static bool var_add_via(struct var_ctx *v, const struct var *self, struct span *out)
{
	struct req *r = REQ_OF_VARS(v);
	struct span had = client_field(r, HDR_VIA), version = http_version_name(r->in.version);
	struct span us = r->server->name.n ? r->server->name : SPAN("sluice");

	version = span_cut(version, 5, version.n); /* behind "HTTP/" */
	*out = arena_printf(v->arena, "%.*s%s%.*s %.*s", SPAN_ARG(had), had.n ? ", " : "",
			    SPAN_ARG(version), SPAN_ARG(us));
	return out->p;
}

/* ---- $upstream_*: one value per attempt ---- */

enum up_what {
	UP_ADDR,
	UP_STATUS,
	UP_CONNECT,
	UP_HEADER,
	UP_RESPONSE,
	UP_LENGTH,
	UP_RECEIVED,
	UP_SENT,
	UP_ERROR
};

static bool up_time(struct buf *b, int64_t us)
{
	if (us < 0)
		return buf_add_char(b, '-');
	return buf_printf(b, "%lld.%03lld", (long long)(us / 1000000),
			  (long long)(us / 1000 % 1000));
}

static void up_value(struct buf *b, const struct attempt *a, enum up_what what)
{
	switch (what) {
	case UP_ADDR:
		buf_add_span(b, a->addr);
		break;
	case UP_STATUS:
		if (a->status)
			buf_printf(b, "%d", a->status);
		else
			buf_add_char(b, '-');
		break;
	case UP_CONNECT:
		up_time(b, a->connect_us);
		break;
	case UP_HEADER:
		up_time(b, a->header_us);
		break;
	case UP_RESPONSE:
		up_time(b, a->response_us);
		break;
	case UP_LENGTH:
		buf_printf(b, "%lld", (long long)MAX_OF(a->response_length, 0));
		break;
	case UP_RECEIVED:
		buf_printf(b, "%lld", (long long)a->bytes_received);
		break;
	case UP_SENT:
		buf_printf(b, "%lld", (long long)a->bytes_sent);
		break;
	case UP_ERROR:
		if (a->fail != FAIL_OK)
			buf_add_span(b, fail_name(a->fail));
		else
			buf_add_char(b, '-');
		break;
	}
}

static bool var_upstream(struct var_ctx *v, const struct var *self, struct span *out)
{
	const struct upstream_log *log = REQ_OF_VARS(v)->upstream;
	struct buf b;

	if (!log || !log->first)
		return false;
	buf_init(&b, 64 * 1024);
	for (const struct attempt *a = log->first; a; a = a->next) {
		if (a != log->first)
			buf_add_span(&b, a->redirected ? SPAN(" : ") : SPAN(", "));
		up_value(&b, a, (enum up_what)self->data);
	}
	*out = arena_dup(v->arena, buf_span(&b));
	v->failed |= b.failed || !out->p;
	buf_fini(&b);
	return !v->failed;
}

/* ---- $upstream_http_* and relatives ---- */

struct hdrs *upstream_log_headers(struct req *r)
{
	static const struct h1_limits lim = {.line_max = INBUF_MAX,
					     .total_max = INBUF_MAX,
					     .headers_max = 1000,
					     .ignore_invalid_headers = true,
					     .underscores_in_headers = true};
	struct upstream_log *log = r->upstream;
	struct http_response *resp;
	struct h1_parser p;
	size_t used;

	if (!log || log->headers || !log->head.n)
		return log ? log->headers : NULL;
	resp = arena_zalloc(&r->arena, sizeof(*resp));
	if (!resp)
		return NULL;
	hdrs_init(&resp->headers, &r->arena);
	h1_parser_init(&p);
	if (h1_parse_response(&p, log->head.p, log->head.n, &lim, METHOD_GET, resp, &used) !=
	    H1_DONE)
		return NULL;
	return log->headers = &resp->headers;
}

/* "content_type" names Content-Type. */
static bool name_matches(struct span field, struct span var)
{
	if (field.n != var.n)
		return false;
	for (size_t i = 0; i < field.n; i++) {
		char c = ascii_lower(field.p[i]);

		if ((c == '-' ? '_' : c) != ascii_lower(var.p[i]))
			return false;
	}
	return true;
}

static bool field_by_variable(struct hdrs *h, struct span name, struct span *out)
{
	if (!h)
		return false;
	hdrs_each (hd, h) {
		if (name_matches(hd->name, name)) {
			*out = hdrs_join(h, hd->name, SPAN(", "));
			return true;
		}
	}
	return false;
}

static bool var_upstream_http(struct var_ctx *v, const struct var *self, struct span *out)
{
	return field_by_variable(upstream_log_headers(REQ_OF_VARS(v)), self->suffix, out);
}

static bool var_upstream_trailer(struct var_ctx *v, const struct var *self, struct span *out)
{
	const struct upstream_log *log = REQ_OF_VARS(v)->upstream;

	return log && log->body && field_by_variable(log->body->trailers, self->suffix, out);
}

static bool var_upstream_cookie(struct var_ctx *v, const struct var *self, struct span *out)
{
	struct hdrs *h = upstream_log_headers(REQ_OF_VARS(v));

	if (!h)
		return false;
	hdrs_each (hd, h) {
		ssize_t eq = hd->id == HDR_SET_COOKIE ? span_find_char(hd->value, '=', 0) : -1,
			semi;

		if (eq < 0 ||
		    !span_eq_nocase(span_trim(span_cut(hd->value, 0, (size_t)eq)), self->suffix))
			continue;
		semi = span_find_char(hd->value, ';', (size_t)eq);
		*out = span_trim(
			span_cut(hd->value, (size_t)eq + 1, semi < 0 ? hd->value.n : (size_t)semi));
		return true;
	}
	return false;
}

static bool var_not_found(struct var_ctx *v, const struct var *self, struct span *out)
{
	return false;
}

#define UP(nm, what)                                                                               \
	{                                                                                          \
		.name = SPAN_INIT("upstream_" nm), .get = var_upstream, .data = what,              \
		.flags = VAR_NO_CACHE                                                              \
	}
const struct var proxy_vars[] = {
	{.name = SPAN_INIT("proxy_host"), .get = var_proxy_target, .flags = VAR_NO_CACHE},
	{.name = SPAN_INIT("proxy_port"),
	 .get = var_proxy_target,
	 .data = 1,
	 .flags = VAR_NO_CACHE},
	{.name = SPAN_INIT("proxy_add_x_forwarded_for"), .get = var_add_forwarded_for},
	{.name = SPAN_INIT("proxy_add_via"), .get = var_add_via},
	UP("addr", UP_ADDR),
	UP("status", UP_STATUS),
	UP("connect_time", UP_CONNECT),
	UP("header_time", UP_HEADER),
	UP("response_time", UP_RESPONSE),
	UP("response_length", UP_LENGTH),
	UP("bytes_received", UP_RECEIVED),
	UP("bytes_sent", UP_SENT),
	UP("error", UP_ERROR),
	{.name = SPAN_INIT("upstream_cache_status"), .get = var_not_found, .flags = VAR_NO_CACHE},
	{.name = SPAN_INIT("upstream_cache_last_modified"),
	 .get = var_not_found,
	 .flags = VAR_NO_CACHE},
	{.name = SPAN_INIT("upstream_cache_etag"), .get = var_not_found, .flags = VAR_NO_CACHE},
	{.name = SPAN_INIT("upstream_http_"),
	 .get = var_upstream_http,
	 .flags = VAR_NO_CACHE | VAR_PREFIX},
	{.name = SPAN_INIT("upstream_trailer_"),
	 .get = var_upstream_trailer,
	 .flags = VAR_NO_CACHE | VAR_PREFIX},
	{.name = SPAN_INIT("upstream_cookie_"),
	 .get = var_upstream_cookie,
	 .flags = VAR_NO_CACHE | VAR_PREFIX},
	{.name = {0}},
};
