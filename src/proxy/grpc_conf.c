/* The grpc_* directives: those of proxy_* that mean something for gRPC, in a struct of the same
 * kind, with the defaults that gRPC wants. */
#include "proxy/exchange.h"

#define W IN_HTTP_ALL
#define P struct proxy_conf
static const struct conf_row grpc_rows[] = {
	MCUSTOM("grpc_pass", IN_LOCATION | IN_IF_LOCATION, 1, 1, 0, proxy_pass_set,
		"The gRPC server or group that requests of this location go to."),
	MFLAG("grpc_web", W, P, grpc_web, false,
	      "Browsers' gRPC-Web (binary and text) is translated; other requests pass."),
	MCUSTOM("grpc_bind", W, 1, 2, 0, proxy_bind_set,
		"Local address of connections to servers."),
	MFLAG("grpc_socket_keepalive", W, P, socket_keepalive, false,
	      "TCP keepalive on connections to servers."),
	MSIZE("grpc_socket_rcvbuf", W, P, socket_rcvbuf, 0, "SO_RCVBUF of connections to servers."),
	MSIZE("grpc_socket_sndbuf", W, P, socket_sndbuf, 0, "SO_SNDBUF of connections to servers."),
	MMSEC("grpc_connect_timeout", W, P, connect_timeout, 60 * SECOND,
	      "Longest wait for a connection, TLS handshake included."),
	MMSEC("grpc_send_timeout", W, P, send_timeout, 60 * SECOND,
	      "Longest time in which the server takes nothing of the request."),
	MMSEC("grpc_read_timeout", W, P, read_timeout, 60 * SECOND,
	      "Longest time in which the server says nothing; a sooner grpc-timeout of the client "
	      "counts."),
	MFLAG("grpc_intercept_errors", W, P, intercept_errors, false,
	      "Responses of 300 and above are answered by error_page."),
	MSIZE("grpc_buffer_size", W, P, buffer_size, 4096,
	      "Accepted: what is not read yet waits in the stream's window."),
	MMASK("grpc_next_upstream", W, P, next_upstream, proxy_next_upstream_words,
	      NEXT_ERROR | NEXT_TIMEOUT, "When another server is tried."),
	MNUM("grpc_next_upstream_tries", W, P, next_upstream_tries, 0,
	     "Most tries of one request; 0: as many as servers."),
	MMSEC("grpc_next_upstream_timeout", W, P, next_upstream_timeout, 0,
	      "No other try after that time; 0: no limit."),
	MCUSTOM("grpc_set_header", W, 2, 2, CONF_MULTI, proxy_set_header_set,
		"A request field as the server gets it; an empty value removes it."),
	{.name = "grpc_pass_header",
	 .where = W,
	 .min = 1,
	 .max = 1,
	 .kind = CONF_STRS,
	 .flags = CONF_MULTI,
	 .offset = offsetof(P, pass_headers),
	 .help = "A response field that is passed although it is hidden by default."},
	{.name = "grpc_hide_header",
	 .where = W,
	 .min = 1,
	 .max = 1,
	 .kind = CONF_STRS,
	 .flags = CONF_MULTI,
	 .offset = offsetof(P, hide_headers),
	 .help = "A response field that is not passed."},
	MMASK("grpc_ignore_headers", W, P, ignore_headers, proxy_ignore_words, 0,
	      "Response fields that have no effect here."),
	MFLAG("grpc_ssl_session_reuse", W, P, ssl.session_reuse, true,
	      "TLS sessions with servers are resumed."),
	MMASK("grpc_ssl_protocols", W, P, ssl.protocols, proxy_protocol_words, TLS_V1_2 | TLS_V1_3,
	      "TLS versions."),
	MSTR("grpc_ssl_ciphers", W, P, ssl.ciphers, "DEFAULT",
	     "Ciphers up to TLS 1.2, in OpenSSL's syntax."),
	MTMPL("grpc_ssl_name", W, P, ssl.name,
	      "Name for SNI and for the check of the certificate."),
	MFLAG("grpc_ssl_server_name", W, P, ssl.server_name, true, "SNI is always sent."),
	MFLAG("grpc_ssl_verify", W, P, ssl.verify, false, "The server's certificate is checked."),
	MNUM("grpc_ssl_verify_depth", W, P, ssl.verify_depth, 1,
	     "Longest chain of the server's certificate."),
	MSTR("grpc_ssl_trusted_certificate", W, P, ssl.trusted, NULL,
	     "File of certificates that are trusted."),
	MSTR("grpc_ssl_crl", W, P, ssl.crl, NULL, "File of revoked certificates."),
	MTMPL("grpc_ssl_certificate", W, P, ssl.certificate, "Our certificate towards the server."),
	MTMPL("grpc_ssl_certificate_key", W, P, ssl.certificate_key, "Its key."),
	MIGNORED("grpc_ssl_certificate_cache", W, 1, 3,
		 "Certificates are read when the configuration is."),
	MSTR("grpc_ssl_password_file", W, P, ssl.password_file, NULL,
	     "Pass phrases of the key, one a line."),
	{.name = "grpc_ssl_conf_command",
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

static int grpc_init(struct conf_call *c, void *arg)
{
	struct proxy_conf *conf = arg;

	conf->grpc = true;
	conf->http_version = HTTP_2;
	conf->pass_request_headers = conf->pass_request_body = conf->pass_trailers = true;
	conf->retry_reused = true;
	conf->upgrade = PROXY_UPGRADE_OFF;
	conf->max_header_size = 65536;
	conf->buffers = (struct conf_bufs){8, 4096};
	conf->redirect_off = true;
	return CONF_OK;
}

static int grpc_done(struct conf_call *c, void *arg)
{
	struct proxy_conf *conf = arg;

	if (!conf->pass)
		return CONF_OK;
	proxy_clamp(conf);
	return proxy_hidden_done(c, conf) < 0 || proxy_head_done(c, conf) < 0 ||
			       proxy_redirect_done(c, conf) < 0 || proxy_ssl_done(c, conf) < 0
		       ? CONF_ERR
		       : CONF_OK;
}

struct conf_mod grpc_mod = {
	.name = "grpc",
	.size = sizeof(struct proxy_conf),
	.rows = grpc_rows,
	.init = grpc_init,
	.done = grpc_done,
	.done_where = IN_LOCATION | IN_IF_LOCATION | IN_LIMIT_EXCEPT,
};

static struct conf_mod *const grpc_confs[] = {&grpc_mod, NULL};
const struct http_module grpc_module = {.name = "grpc", .confs = grpc_confs};
