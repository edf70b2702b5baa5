/* The proxy_* directives. */
#include "conf/opener.h"
#include "proxy/exchange.h"

const struct conf_enum proxy_next_upstream_words[] = {
	{"error", NEXT_ERROR},
	{"timeout", NEXT_TIMEOUT},
	{"invalid_header", NEXT_INVALID_HEADER},
	{"non_idempotent", NEXT_NON_IDEMPOTENT},
	{"http_500", NEXT_HTTP_500},
	{"http_502", NEXT_HTTP_502},
	{"http_503", NEXT_HTTP_503},
	{"http_504", NEXT_HTTP_504},
	{"http_403", NEXT_HTTP_403},
	{"http_404", NEXT_HTTP_404},
	{"http_429", NEXT_HTTP_429},
	{"updating", 0},
	{"off", NEXT_OFF},
	{NULL, 0},
};
const struct conf_enum proxy_ignore_words[] = {
	{"X-Accel-Redirect", IGN_REDIRECT},
	{"X-Accel-Expires", IGN_EXPIRES},
	{"X-Accel-Limit-Rate", IGN_LIMIT_RATE},
	{"X-Accel-Buffering", IGN_BUFFERING},
	{"X-Accel-Charset", IGN_CHARSET},
	{"Expires", IGN_HTTP_EXPIRES},
	{"Cache-Control", IGN_CACHE_CONTROL},
	{"Set-Cookie", IGN_SET_COOKIE},
	{"Vary", IGN_VARY},
	{NULL, 0},
};
static const struct conf_enum version_words[] = {
	{"1.0", HTTP_10}, {"1.1", HTTP_11}, {"2", HTTP_2}, {"auto", PROXY_HTTP_AUTO}, {NULL, 0},
};
static const struct conf_enum upgrade_words[] = {
	{"off", PROXY_UPGRADE_OFF},
	{"websocket", PROXY_UPGRADE_WEBSOCKET},
	{"any", PROXY_UPGRADE_ANY},
	{NULL, 0},
};
const struct conf_enum proxy_protocol_words[] = {
	{"SSLv2", TLS_SSLV2},  {"SSLv3", TLS_SSLV3},  {"TLSv1", TLS_V1}, {"TLSv1.1", TLS_V1_1},
	{"TLSv1.2", TLS_V1_2}, {"TLSv1.3", TLS_V1_3}, {NULL, 0},
};

int proxy_set_header_set(struct conf_call *c)
{
	struct proxy_conf *conf = conf_mine(c);
	struct proxy_header *h;
	struct tmpl *t = tmpl_compile(c, 2);

	if (!conf || !t)
		return CONF_ERR;
	if (!http_is_token(conf_arg(c, 1)))
		return conf_error(c, 1, "invalid header name \"%.*s\"", SPAN_ARG(conf_arg(c, 1)));
	if (conf_first_here(c))
		conf->set_headers = (struct proxy_headers){0};
	h = ARENA_PUSH(c->ctx->arena, conf->set_headers.v, &conf->set_headers.n,
		       &conf->set_headers.cap);
	if (!h)
		return conf_error(c, 0, "out of memory");
	*h = (struct proxy_header){conf_arg(c, 1), t};
	return CONF_OK;
}

static int proxy_set_temp(struct conf_call *c, struct proxy_conf *conf, struct span path)
{
	conf->temp_path = conf_path(c->ctx, path, false);
	return conf->temp_path.p ? CONF_OK : CONF_ERR;
}

static int proxy_temp_path_set(struct conf_call *c)
{
	struct proxy_conf *conf = conf_mine(c);

	if (!conf || proxy_set_temp(c, conf, conf_arg(c, 1)) < 0)
		return CONF_ERR;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t n = 0;

		if (i + 2 <= conf_nargs(c) && (!span_to_u64(conf_arg(c, i + 2), 3, &n) || n == 0))
			return conf_error(c, i + 2, "invalid value \"%.*s\"",
					  SPAN_ARG(conf_arg(c, i + 2)));
		conf->temp_levels[i] = (int)n;
	}
	return CONF_OK;
}

int proxy_bind_set(struct conf_call *c)
{
	struct proxy_conf *conf = conf_mine(c);

	if (!conf)
		return CONF_ERR;
	conf->bind = NULL;
	conf->bind_transparent = false;
	if (span_eq(conf_arg(c, 1), SPAN("off")))
		return CONF_OK;
	if (conf_nargs(c) == 2 && !span_eq(conf_arg(c, 2), SPAN("transparent")))
		return conf_error(c, 2, "invalid parameter \"%.*s\"", SPAN_ARG(conf_arg(c, 2)));
	conf->bind_transparent = conf_nargs(c) == 2;
	if (conf->bind_transparent && c->ctx->snapshot)
		c->ctx->snapshot->net_raw = true;
	conf->bind = tmpl_compile(c, 1);
	if (conf->bind && conf->bind->constant) {
		struct net_addr addr;

		if (!addr_parse(conf->bind->source, 0, &addr))
			return conf_error(c, 1, "invalid address \"%.*s\"",
					  SPAN_ARG(conf->bind->source));
	}
	return conf->bind ? CONF_OK : CONF_ERR;
}

#define W IN_HTTP_ALL
#define P struct proxy_conf
static const struct conf_row proxy_rows[] = {
	MCUSTOM("proxy_pass", IN_LOCATION | IN_IF_LOCATION | IN_LIMIT_EXCEPT, 1, 1, 0,
		proxy_pass_set, "The server or group that requests of this location go to."),
	MCUSTOM("proxy_redirect", W, 1, 2, CONF_MULTI, proxy_redirect_set,
		"Rewrites Location and Refresh of responses."),
	MCUSTOM("proxy_cookie_domain", W, 1, 2, CONF_MULTI, proxy_cookie_domain_set,
		"Rewrites the domain of cookies that the server sets."),
	MCUSTOM("proxy_cookie_path", W, 1, 2, CONF_MULTI, proxy_cookie_path_set,
		"Rewrites the path of cookies that the server sets."),
	MCUSTOM("proxy_cookie_flags", W, 1, 4, CONF_MULTI, proxy_cookie_flags_set,
		"Sets or removes flags of cookies that the server sets."),
	MFLAG("proxy_buffering", W, P, buffering, true,
	      "A slow client does not hold the server's connection."),
	MFLAG("proxy_request_buffering", W, P, request_buffering, true,
	      "The request body is read completely before a server is chosen."),
	MFLAG("proxy_ignore_client_abort", W, P, ignore_client_abort, false,
	      "Goes on with the server although the client has closed its connection."),
	MCUSTOM("proxy_bind", W, 1, 2, 0, proxy_bind_set,
		"Local address of connections to servers."),
	MFLAG("proxy_socket_keepalive", W, P, socket_keepalive, false,
	      "TCP keepalive on connections to servers."),
	MSIZE("proxy_socket_rcvbuf", W, P, socket_rcvbuf, 0,
	      "SO_RCVBUF of connections to servers."),
	MSIZE("proxy_socket_sndbuf", W, P, socket_sndbuf, 0,
	      "SO_SNDBUF of connections to servers."),
	MMSEC("proxy_connect_timeout", W, P, connect_timeout, 60 * SECOND,
	      "Longest wait for a connection, TLS handshake included."),
	MMSEC("proxy_send_timeout", W, P, send_timeout, 60 * SECOND,
	      "Longest wait between two writes to the server."),
	MSIZE("proxy_send_lowat", W, P, send_lowat, 0, "Without effect on Linux."),
	MFLAG("proxy_intercept_errors", W, P, intercept_errors, false,
	      "Responses of 300 and above are answered by error_page."),
	MCUSTOM("proxy_set_header", W, 2, 2, CONF_MULTI, proxy_set_header_set,
		"A request field as the server gets it; an empty value removes it."),
	MIGNORED("proxy_headers_hash_max_size", W, 1, 1, "Tables size themselves."),
	MIGNORED("proxy_headers_hash_bucket_size", W, 1, 1, "Tables size themselves."),
	MTMPL("proxy_set_body", W, P, set_body, "Replaces the request body."),
	MTMPL("proxy_method", W, P, method, "Replaces the request method."),
	MFLAG("proxy_pass_request_headers", W, P, pass_request_headers, true,
	      "The client's fields are passed."),
	MFLAG("proxy_pass_request_body", W, P, pass_request_body, true,
	      "The client's body is passed."),
	MFLAG("proxy_pass_trailers", W, P, pass_trailers, false,
	      "Trailers are passed: of responses, and to servers of HTTP/2 those of requests."),
	MSIZE("proxy_buffer_size", W, P, buffer_size, 4096,
	      "First size of the buffer for a response head."),
	MSIZE("proxy_max_header_size", W, P, max_header_size, 65536, "Largest response head."),
	MMSEC("proxy_read_timeout", W, P, read_timeout, 60 * SECOND,
	      "Longest wait between two reads from the server."),
	MBUFS("proxy_buffers", W, P, buffers, "Memory for a response whose client is slow."),
	MSIZE("proxy_busy_buffers_size", W, P, busy_buffers_size, 0,
	      "Accepted; nothing depends on it."),
	MFLAG("proxy_force_ranges", W, P, force_ranges, false,
	      "Ranges are served whatever the server says."),
	{.name = "proxy_limit_rate",
	 .where = W,
	 .min = 1,
	 .max = 1,
	 .kind = CONF_TEMPLATE_SIZE,
	 .offset = offsetof(P, limit_rate),
	 .help = "Bytes a second that are read from the server."},
	MCUSTOM("proxy_temp_path", W, 1, 4, 0, proxy_temp_path_set,
		"Where responses of slow clients are kept."),
	MSIZE("proxy_max_temp_file_size", W, P, max_temp_file_size, 1024 << 20,
	      "Largest temporary file of a response; 0: none."),
	MSIZE("proxy_temp_file_write_size", W, P, temp_file_write_size, 8192,
	      "Accepted; pieces are written as they come."),
	{.name = "proxy_pass_header",
	 .where = W,
	 .min = 1,
	 .max = 1,
	 .kind = CONF_STRS,
	 .flags = CONF_MULTI,
	 .offset = offsetof(P, pass_headers),
	 .help = "A response field that is passed although it is hidden by default."},
	{.name = "proxy_hide_header",
	 .where = W,
	 .min = 1,
	 .max = 1,
	 .kind = CONF_STRS,
	 .flags = CONF_MULTI,
	 .offset = offsetof(P, hide_headers),
	 .help = "A response field that is not passed."},
	MMASK("proxy_ignore_headers", W, P, ignore_headers, proxy_ignore_words, 0,
	      "Response fields that have no effect here."),
	MENUM("proxy_http_version", W, P, http_version, version_words, HTTP_11,
	      "Protocol version towards the server."),
	MENUM("proxy_upgrade", W, P, upgrade, upgrade_words, PROXY_UPGRADE_WEBSOCKET,
	      "Which protocols a configured Upgrade field may ask for."),
	MMASK("proxy_next_upstream", W, P, next_upstream, proxy_next_upstream_words,
	      NEXT_ERROR | NEXT_TIMEOUT, "When another server is tried."),
	MNUM("proxy_next_upstream_tries", W, P, next_upstream_tries, 0,
	     "Most tries of one request; 0: as many as servers."),
	MMSEC("proxy_next_upstream_timeout", W, P, next_upstream_timeout, 0,
	      "No other try after that time; 0: no limit."),
	MFLAG("proxy_retry_reused", W, P, retry_reused, true,
	      "A reused connection that dies before its first response byte is replaced and the "
	      "request sent again; POST, LOCK and PATCH only when the server never got it."),
	MFLAG("proxy_ssl_session_reuse", W, P, ssl.session_reuse, true,
	      "TLS sessions with servers are resumed."),
	MMASK("proxy_ssl_protocols", W, P, ssl.protocols, proxy_protocol_words, TLS_V1_2 | TLS_V1_3,
	      "TLS versions."),
	MSTR("proxy_ssl_ciphers", W, P, ssl.ciphers, "DEFAULT",
	     "Ciphers up to TLS 1.2, in OpenSSL's syntax."),
	MTMPL("proxy_ssl_name", W, P, ssl.name,
	      "Name for SNI and for the check of the certificate."),
	MFLAG("proxy_ssl_server_name", W, P, ssl.server_name, true, "SNI is always sent."),
	MFLAG("proxy_ssl_verify", W, P, ssl.verify, false, "The server's certificate is checked."),
	MNUM("proxy_ssl_verify_depth", W, P, ssl.verify_depth, 1,
	     "Longest chain of the server's certificate."),
	MSTR("proxy_ssl_trusted_certificate", W, P, ssl.trusted, NULL,
	     "File of certificates that are trusted."),
	MSTR("proxy_ssl_crl", W, P, ssl.crl, NULL, "File of revoked certificates."),
	MTMPL("proxy_ssl_certificate", W, P, ssl.certificate,
	      "Our certificate towards the server."),
	MTMPL("proxy_ssl_certificate_key", W, P, ssl.certificate_key, "Its key."),
	MIGNORED("proxy_ssl_certificate_cache", W, 1, 3,
		 "Certificates are read when the configuration is."),
	MSTR("proxy_ssl_password_file", W, P, ssl.password_file, NULL,
	     "Pass phrases of the key, one a line."),
	{.name = "proxy_ssl_conf_command",
	 .where = W,
	 .min = 2,
	 .max = 2,
	 .kind = CONF_STRS,
	 .flags = CONF_MULTI,
	 .offset = offsetof(P, ssl.commands),
	 .help = "An OpenSSL configuration command."},
	MEND,
};
#undef W
#undef P

static int proxy_init(struct conf_call *c, void *arg)
{
	struct proxy_conf *conf = arg;

	conf->buffers = (struct conf_bufs){8, 4096};
	conf->redirect_default = true;
	return proxy_set_temp(c, conf, SPAN("proxy_temp"));
}

/* ---- hidden response fields ---- */

static const uint16_t hidden_ids[] = {HDR_DATE,
				      HDR_SERVER,
				      HDR_X_PAD,
				      HDR_X_ACCEL_EXPIRES,
				      HDR_X_ACCEL_REDIRECT,
				      HDR_X_ACCEL_LIMIT_RATE,
				      HDR_X_ACCEL_BUFFERING,
				      HDR_X_ACCEL_CHARSET};

static void names_put(struct proxy_names *s, struct span name, bool in)
{
	enum hdr_id id = hdr_id_of(name);

	if (id != HDR_OTHER && in)
		s->ids[id / 64] |= (uint64_t)1 << (id % 64);
	else if (id != HDR_OTHER)
		s->ids[id / 64] &= ~((uint64_t)1 << (id % 64));
	else if (in)
		s->v[s->n++] = name;
	for (size_t i = 0; id == HDR_OTHER && !in && i < s->n; i++)
		if (span_eq_nocase(s->v[i], name))
			s->v[i--] = s->v[--s->n];
}

int proxy_hidden_done(struct conf_call *c, struct proxy_conf *conf)
{
	struct proxy_names *s = &conf->hidden;

	*s = (struct proxy_names){
		.v = arena_alloc(c->ctx->arena, (conf->hide_headers.n + 1) * sizeof(*s->v))};
	if (!s->v)
		return conf_error(c, 0, "out of memory");
	for (size_t i = 0; i < ARRAY_LEN(hidden_ids); i++)
		names_put(s, hdr_name(hidden_ids[i]), true);
	for (size_t i = 0; i < conf->hide_headers.n; i++)
		names_put(s, conf->hide_headers.v[i], true);
	for (size_t i = 0; i < conf->pass_headers.n; i++)
		names_put(s, conf->pass_headers.v[i], false);
	return CONF_OK;
}

/* N31: nginx refuses what does not fit together; here it is made to fit. */
void proxy_clamp(struct proxy_conf *conf)
{
	if (conf->max_header_size > INBUF_MAX)
		conf->max_header_size = INBUF_MAX;
	if (conf->buffer_size < 512)
		conf->buffer_size = 512;
	if (conf->buffer_size > INBUF_MAX)
		conf->buffer_size = INBUF_MAX;
	if (conf->max_header_size < conf->buffer_size)
		conf->max_header_size = conf->buffer_size;
}

static int proxy_done(struct conf_call *c, void *arg)
{
	struct proxy_conf *conf = arg;

	if (!conf->pass)
		return CONF_OK;
	proxy_clamp(conf);
	if (proxy_hidden_done(c, conf) < 0 || proxy_head_done(c, conf) < 0 ||
	    proxy_redirect_done(c, conf) < 0 || proxy_ssl_done(c, conf) < 0)
		return CONF_ERR;
	if (conf->max_temp_file_size && c->ctx->opener && !c->ctx->opener->offline &&
	    c->ctx->opener->ops->make_dir &&
	    c->ctx->opener->ops->make_dir(c->ctx->opener, conf->temp_path) < 0)
		conf_warn(c, 0, "cannot make \"%.*s\" for proxy_temp_path",
			  SPAN_ARG(conf->temp_path));
	return CONF_OK;
}

struct conf_mod proxy_mod = {
	.name = "proxy",
	.size = sizeof(struct proxy_conf),
	.rows = proxy_rows,
	.init = proxy_init,
	.done = proxy_done,
	.done_where = IN_LOCATION | IN_IF_LOCATION | IN_LIMIT_EXCEPT,
};

bool proxy_ignores_abort(const struct req *r)
{
	return proxy_conf_of(r)->ignore_client_abort;
}

static struct conf_mod *const proxy_confs[] = {&proxy_mod, NULL};
const struct http_module proxy_module = {
	.name = "proxy",
	.confs = proxy_confs,
	.vars = proxy_vars,
	.filter = proxy_filter,
	.thread_stop = upconn_thread_fini,
};
