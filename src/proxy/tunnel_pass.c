/* tunnel_pass: a forward proxy for CONNECT (RFC 9110 9.3.6). Who may go where is the operator's to
 * say; addresses of the local link, where clouds keep their metadata, are refused in any case. */
#include "proxy/exchange.h"

static int tunnel_pass_set(struct conf_call *c)
{
	struct proxy_conf *conf = conf_mine(c);
	struct conf_scope *s = conf_scope_up(c->scope, IN_SERVER);

	if (!conf || (conf_nargs(c) ? proxy_pass_set(c)
				    : proxy_pass_set_text(c, SPAN("$host:$request_port"))) < 0)
		return CONF_ERR;
	((struct server *)s->owner)->connects = true;
	return CONF_OK;
}

#define W IN_HTTP_ALL
#define P struct proxy_conf
static const struct conf_row tunnel_rows[] = {
	MCUSTOM("tunnel_pass", IN_SERVER | IN_LOCATION | IN_IF_LOCATION, 0, 1, 0, tunnel_pass_set,
		"Where CONNECT leads; $host:$request_port when nothing is said. CONNECT has no "
		"path: "
		"the location of \"/\" decides, after rewrite, if and try_files. auth_basic then "
		"asks for the credentials of a proxy: 407, Proxy-Authorization."),
	{.name = "tunnel_allow_upstream",
	 .where = W,
	 .min = 1,
	 .max = 255,
	 .kind = CONF_PREDICATES,
	 .flags = CONF_MULTI,
	 .offset = offsetof(P, allow_upstream),
	 .help = "A tunnel is made only when all of these are neither empty nor \"0\"."},
	MFLAG("tunnel_allow_link_local", W, P, allow_link_local, false,
	      "Tunnels may lead to link-local and metadata addresses."),
	MCUSTOM("tunnel_bind", W, 1, 2, 0, proxy_bind_set, "Local address of connections."),
	MFLAG("tunnel_socket_keepalive", W, P, socket_keepalive, false,
	      "TCP keepalive on connections."),
	MSIZE("tunnel_socket_rcvbuf", W, P, socket_rcvbuf, 0, "SO_RCVBUF of connections."),
	MSIZE("tunnel_socket_sndbuf", W, P, socket_sndbuf, 0, "SO_SNDBUF of connections."),
	MMSEC("tunnel_connect_timeout", W, P, connect_timeout, 60 * SECOND,
	      "Longest wait for a connection."),
	MMSEC("tunnel_send_timeout", W, P, send_timeout, 60 * SECOND,
	      "Accepted; tunnel_read_timeout says how long a tunnel may be silent."),
	MSIZE("tunnel_send_lowat", W, P, send_lowat, 0, "Without effect on Linux."),
	MSIZE("tunnel_buffer_size", W, P, buffer_size, 4096,
	      "Accepted; a tunnel has a buffer only while bytes move."),
	MMSEC("tunnel_read_timeout", W, P, read_timeout, 60 * SECOND,
	      "Longest time in which nothing moves in either direction."),
	MMASK("tunnel_next_upstream", W, P, next_upstream, proxy_next_upstream_words,
	      NEXT_ERROR | NEXT_TIMEOUT, "When another server is tried."),
	MNUM("tunnel_next_upstream_tries", W, P, next_upstream_tries, 0,
	     "Most tries of one request; 0: as many as servers."),
	MMSEC("tunnel_next_upstream_timeout", W, P, next_upstream_timeout, 0,
	      "No other try after that time; 0: no limit."),
	MEND,
};
#undef W
#undef P

static int tunnel_init_conf(struct conf_call *c, void *arg)
{
	struct proxy_conf *conf = arg;

	conf->tunnel = true;
	conf->http_version = HTTP_11;
	return CONF_OK;
}

struct conf_mod tunnel_mod = {
	.name = "tunnel",
	.size = sizeof(struct proxy_conf),
	.rows = tunnel_rows,
	.init = tunnel_init_conf,
};

static bool tunnel_is_allowed(struct req *r, const struct proxy_conf *conf)
{
	for (size_t i = 0; i < conf->allow_upstream.n; i++) {
		struct span v = tmpl_eval(conf->allow_upstream.v[i], &r->vars);

		if (!v.n || span_eq(v, SPAN("0")))
			return false;
	}
	return !r->vars.failed;
}

/* All CONNECT requests come here: handlers of locations are for other methods. */
static MAY_SUSPEND int tunnel_content(struct req *r)
{
	const struct proxy_conf *conf = req_conf(r, &tunnel_mod);

	if (r->in.method != METHOD_CONNECT)
		return PHASE_NEXT;
	if (!conf->pass)
		return req_fail(r, FAIL_METHOD_NOT_ALLOWED);
	if (!tunnel_is_allowed(r, conf)) {
		req_log(r, LOG_ERR, 0, "tunnel to \"%.*s\" is forbidden by rule",
			SPAN_ARG(r->in.authority));
		return req_fail(r, FAIL_FORBIDDEN);
	}
	return exchange_with(r, conf);
}

static struct conf_mod *const tunnel_confs[] = {&tunnel_mod, NULL};
const struct http_module tunnel_module = {
	.name = "tunnel",
	.confs = tunnel_confs,
	.phase = {[PHASE_CONTENT] = tunnel_content},
};
