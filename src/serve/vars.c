/* The core's variables: the connection, the request head, the answer. */
#include "serve/vars.h"
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>
#include "http/date.h"
#include "http/uri.h"
#include "serve/conn.h"
#include "serve/core.h"
#include "serve/credentials.h"
#include "serve/req.h"
#include "serve/request_body.h"

#define GETTER(name) static bool name(struct var_ctx *v, const struct var *self, struct span *out)

static bool text(struct var_ctx *v, struct span *out, const void *p, size_t n)
{
	*out = arena_dup(v->arena, span_make(p, n));
	return out->p != NULL;
}

static bool number(struct var_ctx *v, struct span *out, int64_t n)
{
	*out = arena_printf(v->arena, "%lld", (long long)n);
	return out->p != NULL;
}

static bool seconds(struct var_ctx *v, struct span *out, uint64_t ms)
{
	*out = arena_printf(v->arena, "%llu.%03u", (unsigned long long)(ms / 1000),
			    (unsigned)(ms % 1000));
	return out->p != NULL;
}

/* ---- fields of the request that are spans already ---- */

GETTER(get_span)
{
	*out = *(struct span *)((char *)REQ_OF_VARS(v) + self->data);
	return out->p != NULL;
}

#define REQ_SPAN(nm, field, fl)                                                                    \
	{                                                                                          \
		.name = SPAN_INIT(nm), .get = get_span, .data = offsetof(struct req, field),       \
		.flags = fl                                                                        \
	}

GETTER(get_header)
{
	struct req *r = REQ_OF_VARS(v);
	struct hdr *h = hdrs_find(&r->in.headers, (enum hdr_id)self->data);

	if (!h)
		return false;
	if (!hdrs_find_next(&r->in.headers, h)) {
		*out = h->value;
		return true;
	}
	*out = hdrs_join(&r->in.headers, h->name,
			 self->data == HDR_COOKIE ? SPAN("; ") : SPAN(", "));
	return out->p != NULL;
}

/* "x_forwarded_for" names X-Forwarded-For. */
static bool name_matches(struct span field, struct span var)
{
	if (field.n != var.n)
		return false;
	for (size_t i = 0; i < field.n; i++) {
		char ch = ascii_lower(field.p[i]);

		if ((ch == '-' ? '_' : ch) != var.p[i])
			return false;
	}
	return true;
}

static bool get_joined(struct var_ctx *v, const struct hdrs *h, struct span suffix,
		       struct span *out)
{
	struct hdr *first = NULL;
	bool many = false;

	hdrs_each (hd, h) {
		if (name_matches(hd->name, suffix)) {
			many = first;
			if (!first)
				first = hd;
			if (many)
				break;
		}
	}
	if (!first)
		return false;
	*out = many ? hdrs_join(h, first->name,
				span_eq(suffix, SPAN("cookie")) ? SPAN("; ") : SPAN(", "))
		    : first->value;
	return out->p != NULL;
}

GETTER(get_http)
{
	return get_joined(v, &REQ_OF_VARS(v)->in.headers, self->suffix, out);
}

GETTER(get_sent_http)
{
	return get_joined(v, &REQ_OF_VARS(v)->resp.headers, self->suffix, out);
}

GETTER(get_sent_trailer)
{
	return get_joined(v, &REQ_OF_VARS(v)->resp.trailers, self->suffix, out);
}

GETTER(get_cookie)
{
	struct req *r = REQ_OF_VARS(v);

	for (struct hdr *h = hdrs_find(&r->in.headers, HDR_COOKIE); h;
	     h = hdrs_find_next(&r->in.headers, h))
		if (cookie_value(h->value, self->suffix, out))
			return true;
	return false;
}

GETTER(get_arg)
{
	return uri_arg(REQ_OF_VARS(v)->args, self->suffix, out);
}

/* ---- the connection ---- */

static const struct sockaddr *client(struct req *r)
{
	return r->realip.len ? &r->realip.sa : conn_peer(r->conn);
}

GETTER(get_binary_remote_addr)
{
	const struct sockaddr *sa = client(REQ_OF_VARS(v));

	*out = sa->sa_family == AF_UNIX ? SPAN("unix:") : addr_bytes(sa);
	return true;
}

GETTER(get_remote_addr)
{
	char ip[ADDR_TEXT_MAX];

	return text(v, out, ip, addr_format_ip(client(REQ_OF_VARS(v)), ip, sizeof(ip)));
}

GETTER(get_remote_port)
{
	int port = addr_port(client(REQ_OF_VARS(v)));

	*out = SPAN("");
	return port ? number(v, out, port) : true;
}

GETTER(get_server_addr)
{
	struct net_addr a;
	char ip[ADDR_TEXT_MAX];

	if (conn_local(REQ_OF_VARS(v)->conn, &a) < 0)
		return false;
	if (a.sa.sa_family == AF_UNIX)
		return text(v, out, ip, addr_format(&a.sa, false, ip, sizeof(ip)));
	return text(v, out, ip, addr_format_ip(&a.sa, ip, sizeof(ip)));
}

GETTER(get_server_port)
{
	struct net_addr a;
	struct req *r = REQ_OF_VARS(v);
	int port = addr_port((struct sockaddr *)&r->port->spec.sa);

	if (port == 0 && conn_local(r->conn, &a) == 0)
		port = addr_port(&a.sa);
	*out = SPAN("");
	return port ? number(v, out, port) : true;
}

GETTER(get_proxy_protocol)
{
	struct conn_extra *x = REQ_OF_VARS(v)->conn->extra;
	const struct net_addr *a = x ? (self->data & 2 ? &x->proxy_dst : &x->proxy_src) : NULL;
	char ip[ADDR_TEXT_MAX];

	if (!a || !a->len)
		return false;
	return self->data & 1 ? number(v, out, addr_port(&a->sa))
			      : text(v, out, ip, addr_format_ip(&a->sa, ip, sizeof(ip)));
}

GETTER(get_proxy_protocol_tlv)
{
	struct conn_extra *x = REQ_OF_VARS(v)->conn->extra;

	return x && proxy_protocol_tlv(span_make(x->tlvs, x->tlvs_len), self->suffix, out);
}

GETTER(get_connection)
{
	return number(v, out, (int64_t)REQ_OF_VARS(v)->conn->number);
}

GETTER(get_connection_requests)
{
	return number(v, out, REQ_OF_VARS(v)->conn_request);
}

GETTER(get_connection_time)
{
	return seconds(v, out, io_now_ms() - REQ_OF_VARS(v)->conn->opened_ms);
}

GETTER(get_tcpinfo)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	if (sys->getsockopt(REQ_OF_VARS(v)->conn->stream.io.fd, IPPROTO_TCP, TCP_INFO, &ti, &len) <
	    0)
		return false;
	switch (self->data) {
	case 0:
		return number(v, out, ti.tcpi_rtt);
	case 1:
		return number(v, out, ti.tcpi_rttvar);
	case 2:
		return number(v, out, ti.tcpi_snd_cwnd);
	default:
		return number(v, out, ti.tcpi_rcv_space);
	}
}

GETTER(get_http2)
{
	struct req *r = REQ_OF_VARS(v);

	*out = r->in.version != HTTP_2 ? SPAN("") : r->conn->tls ? SPAN("h2") : SPAN("h2c");
	return true;
}

GETTER(get_scheme)
{
	*out = REQ_OF_VARS(v)->conn->tls ? SPAN("https") : SPAN("http");
	return true;
}

GETTER(get_https)
{
	*out = REQ_OF_VARS(v)->conn->tls ? SPAN("on") : SPAN("");
	return true;
}

/* ---- the request ---- */

GETTER(get_host)
{
	struct req *r = REQ_OF_VARS(v);

	*out = r->host.n ? r->host : r->server->name;
	return true;
}

GETTER(get_request_port)
{
	struct req *r = REQ_OF_VARS(v);

	*out = SPAN("");
	if (self->data) {
		*out = r->request_port >= 0 ? SPAN(":") : SPAN("");
		return true;
	}
	return r->request_port >= 0 ? number(v, out, r->request_port) : true;
}

GETTER(get_server_name)
{
	*out = REQ_OF_VARS(v)->server->name;
	return true;
}

GETTER(get_server_protocol)
{
	*out = http_version_name(REQ_OF_VARS(v)->in.version);
	return out->n > 0;
}

GETTER(get_is_args)
{
	*out = REQ_OF_VARS(v)->args.n ? SPAN("?") : SPAN("");
	return true;
}

static bool set_args(struct var_ctx *v, const struct var *self, struct span value)
{
	struct req *r = REQ_OF_VARS(v);

	r->args = value;
	r->has_args = value.n > 0;
	r->valid_unparsed_uri = false;
	return true;
}

GETTER(get_content_length)
{
	struct req *r = REQ_OF_VARS(v);

	if (r->in.content_length >= 0)
		return number(v, out, r->in.content_length);
	return r->buffered && r->buffered->length > 0 ? number(v, out, r->buffered->length) : false;
}

GETTER(get_document_root)
{
	struct req *r = REQ_OF_VARS(v);
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	*out = tmpl_eval(l->root, v);
	return !v->failed;
}

GETTER(get_realpath_root)
{
	struct req *r = REQ_OF_VARS(v);
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	struct span root = tmpl_eval_cstr(l->root, v);
	char *real = arena_alloc(v->arena, PATH_MAX);
	ssize_t n = v->failed || !real ? -1 : sys->realpath(root.p, real, PATH_MAX);

	if (n <= 0)
		return false;
	*out = span_make(real, (size_t)n);
	return true;
}

GETTER(get_request_filename)
{
	*out = req_path(REQ_OF_VARS(v));
	return out->p != NULL;
}

GETTER(get_request_body)
{
	struct req *r = REQ_OF_VARS(v);

	if (!r->buffered || r->buffered->fd >= 0)
		return false;
	*out = r->buffered->mem;
	return true;
}

/* Of Basic credentials, whether or not somebody checked them. */
GETTER(get_remote_user)
{
	struct req *r = REQ_OF_VARS(v);
	struct span password;

	*out = r->remote_user;
	return r->remote_user.p || req_credentials(r, out, &password);
}

GETTER(get_request_body_file)
{
	struct req *r = REQ_OF_VARS(v);

	if (!r->buffered || !r->buffered->path.n)
		return false;
	*out = r->buffered->path;
	return true;
}

GETTER(get_request_length)
{
	struct req *r = REQ_OF_VARS(v);

	return number(v, out, r->request_length + MAX_OF(r->body_wire, r->body_received));
}

GETTER(get_request_time)
{
	return seconds(v, out, io_now_ms() - REQ_OF_VARS(v)->start_ms);
}

GETTER(get_request_id)
{
	static const char hex[] = "0123456789abcdef";
	struct req *r = REQ_OF_VARS(v);
	char s[32];

	if (!r->has_request_id) {
		uint64_t a = io_rand64(), b = io_rand64();

		memcpy(r->request_id, &a, 8);
		memcpy(r->request_id + 8, &b, 8);
		r->has_request_id = true;
	}
	for (int i = 0; i < 16; i++) {
		s[2 * i] = hex[r->request_id[i] >> 4];
		s[2 * i + 1] = hex[r->request_id[i] & 15];
	}
	return text(v, out, s, sizeof(s));
}

GETTER(get_pipe)
{
	*out = REQ_OF_VARS(v)->pipelined ? SPAN("p") : SPAN(".");
	return true;
}

GETTER(get_limit_rate)
{
	return number(v, out, REQ_OF_VARS(v)->limit_rate);
}

static bool set_limit_rate(struct var_ctx *v, const struct var *self, struct span value)
{
	struct req *r = REQ_OF_VARS(v);
	int64_t rate;

	if (!conf_parse_size(value, &rate))
		return false;
	r->limit_rate = rate;
	r->limit_rate_set = true;
	return true;
}

GETTER(get_end_reason)
{
	struct req *r = REQ_OF_VARS(v);

	if (r->fail == FAIL_OK)
		return false;
	*out = fail_name(r->fail);
	return true;
}

/* ---- the answer ---- */

GETTER(get_status)
{
	struct req *r = REQ_OF_VARS(v);
	int status = r->status ? r->status : r->resp.status;

	*out = arena_printf(v->arena, "%03d", status);
	return out->p != NULL;
}

GETTER(get_bytes_sent)
{
	return number(v, out, (int64_t)REQ_OF_VARS(v)->bytes_sent);
}

GETTER(get_body_bytes_sent)
{
	struct req *r = REQ_OF_VARS(v);
	int64_t n = (int64_t)r->bytes_sent - (int64_t)r->header_bytes;

	return number(v, out, MAX_OF(n, 0));
}

GETTER(get_request_completion)
{
	*out = REQ_OF_VARS(v)->sent_all ? SPAN("OK") : SPAN("");
	return true;
}

GETTER(get_sent_content_type)
{
	struct resp *p = &REQ_OF_VARS(v)->resp;

	if (!p->content_type.n)
		return false;
	*out = p->charset.n ? arena_printf(v->arena, "%.*s; charset=%.*s",
					   SPAN_ARG(p->content_type), SPAN_ARG(p->charset))
			    : p->content_type;
	return out->p != NULL;
}

GETTER(get_sent_content_length)
{
	struct resp *p = &REQ_OF_VARS(v)->resp;

	return p->content_length >= 0 && number(v, out, p->content_length);
}

GETTER(get_sent_location)
{
	*out = REQ_OF_VARS(v)->resp.location;
	return out->n > 0;
}

GETTER(get_sent_last_modified)
{
	struct resp *p = &REQ_OF_VARS(v)->resp;
	char date[HTTP_DATE_LEN];

	if (p->last_modified < 0)
		return get_joined(v, &p->headers, SPAN("last_modified"), out);
	http_date_format(p->last_modified, date);
	return text(v, out, date, sizeof(date));
}

GETTER(get_sent_connection)
{
	struct req *r = REQ_OF_VARS(v);

	if (!r->sink->connection_fields)
		return false;
	*out = r->resp.status == 101 ? SPAN("upgrade")
	       : r->keep_alive	     ? SPAN("keep-alive")
				     : SPAN("close");
	return true;
}

GETTER(get_sent_keep_alive)
{
	struct req *r = REQ_OF_VARS(v);
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	if (!r->sink->connection_fields || !r->keep_alive || l->keepalive_header_s <= 0)
		return false;
	*out = arena_printf(v->arena, "timeout=%lld", (long long)l->keepalive_header_s);
	return out->p != NULL;
}

GETTER(get_sent_transfer_encoding)
{
	struct req *r = REQ_OF_VARS(v);

	if (!r->sink->connection_fields || !r->head_sent || r->resp.content_length >= 0 ||
	    !req_is_11(r) || !r->keep_alive ||
	    !http_response_has_body(r->in.method, r->resp.status))
		return false;
	*out = SPAN("chunked");
	return true;
}

/* ---- the instance ---- */

GETTER(get_const)
{
	*out = span_of((const char *)self->data);
	return true;
}

GETTER(get_hostname)
{
	char host[256] = "";

	gethostname(host, sizeof(host) - 1);
	return text(v, out, host, strlen(host));
}

GETTER(get_pid)
{
	return number(v, out, getpid());
}

GETTER(get_msec)
{
	return seconds(v, out, io_wall_ms());
}

GETTER(get_time_local)
{
	struct span t = io_time_log();

	return text(v, out, t.p, t.n);
}

GETTER(get_time_iso8601)
{
	struct span t = io_time_iso8601();

	return text(v, out, t.p, t.n);
}

#define V(nm, fn, fl)                                                                              \
	{                                                                                          \
		.name = SPAN_INIT(nm), .get = fn, .flags = fl                                      \
	}
#define VD(nm, fn, dt, fl)                                                                         \
	{                                                                                          \
		.name = SPAN_INIT(nm), .get = fn, .data = dt, .flags = fl                          \
	}
#define VH(nm, id)                                                                                 \
	{                                                                                          \
		.name = SPAN_INIT(nm), .get = get_header, .data = id                               \
	}
#define NC VAR_NO_CACHE

const struct var core_vars[] = {
	VH("http_host", HDR_HOST),
	VH("http_user_agent", HDR_USER_AGENT),
	VH("http_referer", HDR_REFERER),
	VH("http_via", HDR_VIA),
	VH("http_x_forwarded_for", HDR_X_FORWARDED_FOR),
	VH("http_cookie", HDR_COOKIE),
	VH("content_type", HDR_CONTENT_TYPE),
	V("http_", get_http, VAR_PREFIX),
	V("sent_http_", get_sent_http, VAR_PREFIX | NC),
	V("sent_trailer_", get_sent_trailer, VAR_PREFIX | NC),
	V("cookie_", get_cookie, VAR_PREFIX),
	V("arg_", get_arg, VAR_PREFIX | NC),
	V("proxy_protocol_tlv_", get_proxy_protocol_tlv, VAR_PREFIX),
	V("content_length", get_content_length, 0),
	V("host", get_host, 0),
	V("binary_remote_addr", get_binary_remote_addr, 0),
	V("remote_addr", get_remote_addr, 0),
	V("remote_port", get_remote_port, 0),
	V("server_addr", get_server_addr, 0),
	V("server_port", get_server_port, 0),
	VD("proxy_protocol_addr", get_proxy_protocol, 0, 0),
	VD("proxy_protocol_port", get_proxy_protocol, 1, 0),
	VD("proxy_protocol_server_addr", get_proxy_protocol, 2, 0),
	VD("proxy_protocol_server_port", get_proxy_protocol, 3, 0),
	V("server_protocol", get_server_protocol, 0),
	V("scheme", get_scheme, 0),
	V("https", get_https, 0),
	VD("request_port", get_request_port, 0, 0),
	VD("is_request_port", get_request_port, 1, 0),
	REQ_SPAN("request_uri", unparsed_uri, 0),
	REQ_SPAN("uri", uri, NC),
	REQ_SPAN("document_uri", uri, NC),
	REQ_SPAN("request", in.line, 0),
	REQ_SPAN("query_string", args, NC),
	{.name = SPAN_INIT("args"),
	 .get = get_span,
	 .set = set_args,
	 .data = offsetof(struct req, args),
	 .flags = VAR_CHANGEABLE | NC},
	V("is_args", get_is_args, NC),
	V("document_root", get_document_root, NC),
	V("realpath_root", get_realpath_root, NC),
	V("request_filename", get_request_filename, NC),
	V("server_name", get_server_name, NC),
	REQ_SPAN("request_method", method_name, NC),
	V("remote_user", get_remote_user, NC),
	V("bytes_sent", get_bytes_sent, NC),
	V("body_bytes_sent", get_body_bytes_sent, NC),
	V("pipe", get_pipe, 0),
	V("request_completion", get_request_completion, NC),
	V("request_body", get_request_body, NC),
	V("request_body_file", get_request_body_file, NC),
	V("request_length", get_request_length, NC),
	V("request_time", get_request_time, NC),
	V("request_id", get_request_id, 0),
	V("status", get_status, NC),
	V("request_end_reason", get_end_reason, NC),
	V("sent_http_content_type", get_sent_content_type, NC),
	V("sent_http_content_length", get_sent_content_length, NC),
	V("sent_http_location", get_sent_location, NC),
	V("sent_http_last_modified", get_sent_last_modified, NC),
	V("sent_http_connection", get_sent_connection, NC),
	V("sent_http_keep_alive", get_sent_keep_alive, NC),
	V("sent_http_transfer_encoding", get_sent_transfer_encoding, NC),
	{.name = SPAN_INIT("limit_rate"),
	 .get = get_limit_rate,
	 .set = set_limit_rate,
	 .flags = VAR_CHANGEABLE | NC},
	V("connection", get_connection, 0),
	V("connection_requests", get_connection_requests, 0),
	V("connection_time", get_connection_time, NC),
	VD("nginx_version", get_const, (uintptr_t) "1.31.5", 0),
	V("hostname", get_hostname, 0),
	V("pid", get_pid, 0),
	V("msec", get_msec, NC),
	V("time_local", get_time_local, NC),
	V("time_iso8601", get_time_iso8601, NC),
	VD("tcpinfo_rtt", get_tcpinfo, 0, NC),
	VD("tcpinfo_rttvar", get_tcpinfo, 1, NC),
	VD("tcpinfo_snd_cwnd", get_tcpinfo, 2, NC),
	VD("tcpinfo_rcv_space", get_tcpinfo, 3, NC),
	V("http2", get_http2, 0),
	VD("http3", get_const, (uintptr_t) "", 0),
	{.name = {NULL, 0}},
};

int vars_register(struct var_table *t)
{
	for (const struct http_module *const *m = http_modules; *m; m++)
		if ((*m)->vars && var_table_add(t, (*m)->vars) < 0)
			return -1;
	return 0;
}
