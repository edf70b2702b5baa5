/* proxy_pass: its URL, where it may stand, and what URI it sends. */
#include <errno.h>
#include "http/uri.h"
#include "io/loop.h"
#include "net/resolver.h"
#include "proxy/exchange.h"

#define ADDRS_MAX 16 /* of one name at run time */

/* ---- the URL ---- */

/* Where the URI part begins: the first '/' or '?' behind host and port. */
static size_t url_host_end(struct span s)
{
	size_t i = 0;

	if (span_starts(s, SPAN("unix:"))) { /* unix:/path:/uri */
		ssize_t colon = span_find_char(s, ':', 5);

		return colon < 0 ? s.n : (size_t)colon;
	}
	while (i < s.n && s.p[i] != '/' && s.p[i] != '?')
		i++;
	return i;
}

/* "host:port" → host and port; false: the port is not a number. */
static bool url_split_port(struct span s, struct span *host, struct span *port)
{
	ssize_t from = s.n && s.p[0] == '[' ? span_find_char(s, ']', 0) : 0;
	ssize_t colon = from < 0 ? -1 : span_find_char(s, ':', (size_t)from);
	uint64_t n;

	*host = s;
	*port = (struct span){0};
	if (colon < 0)
		return from >= 0;
	*host = span_cut(s, 0, (size_t)colon);
	*port = span_cut(s, (size_t)colon + 1, s.n);
	return span_to_u64(*port, 65535, &n) && n > 0;
}

bool proxy_url_parse(struct arena *a, struct span url, struct proxy_target *t,
		     struct span *host_port, bool *no_port, const char **err)
{
	struct span rest, host, port, own;
	size_t end;

	*err = "no memory for proxy_pass URL";
	*t = (struct proxy_target){.tls = span_starts_nocase(url, SPAN("https://"))};
	if (!t->tls && !span_starts_nocase(url, SPAN("http://")))
		return *err = "invalid URL prefix", false;
	t->scheme = t->tls ? SPAN("https://") : SPAN("http://");
	own = t->tls ? SPAN("443") : SPAN("80");
	rest = span_cut(url, t->scheme.n, url.n);
	end = url_host_end(rest);
	*host_port = span_cut(rest, 0, end);
	t->uri = span_cut(rest, end, rest.n);
	*no_port = true;
	if (span_starts(*host_port, SPAN("unix:"))) {
		if (t->uri.n)
			t->uri = span_cut(t->uri, 1, t->uri.n);
		t->host_header = t->host = SPAN("localhost");
		t->port = SPAN("");
		return host_port->n > 5 || (*err = "no path in the unix domain socket", false);
	}
	if (!url_split_port(*host_port, &host, &port))
		return *err = "invalid port in upstream", false;
	if (!host.n)
		return *err = "no host in upstream", false;
	*no_port = port.n == 0;
	t->host = host;
	t->port = port.n ? port : own;
	t->host_header = span_eq(t->port, own) ? host : *host_port;
	if (t->uri.n && t->uri.p[0] == '?') {
		t->uri = arena_printf(a, "/%.*s", SPAN_ARG(t->uri));
		return t->uri.p;
	}
	return true;
}

/* "grpc://", "grpcs://" or no scheme, and no URI part. Else as proxy_pass has it. */
static bool url_parse_grpc(struct arena *a, struct span url, struct proxy_target *t,
			   struct span *host_port, bool *no_port, const char **err)
{
	bool tls = span_starts_nocase(url, SPAN("grpcs://"));
	struct span rest = tls					      ? span_cut(url, 8, url.n)
			   : span_starts_nocase(url, SPAN("grpc://")) ? span_cut(url, 7, url.n)
								      : url;

	*err = "no memory for grpc_pass";
	rest = arena_printf(a, "%s%.*s", tls ? "https://" : "http://", SPAN_ARG(rest));
	if (!rest.p || !proxy_url_parse(a, rest, t, host_port, no_port, err))
		return false;
	t->scheme = tls ? SPAN("grpcs://") : SPAN("grpc://");
	return !t->uri.n || (*err = "invalid host in upstream", false);
}

/* "host:port" of a tunnel. */
static bool url_parse_tunnel(struct arena *a, struct span url, struct proxy_target *t,
			     struct span *host_port, bool *no_port, const char **err)
{
	url = arena_printf(a, "http://%.*s", SPAN_ARG(url));
	*err = "no memory for tunnel_pass";
	if (!url.p || !proxy_url_parse(a, url, t, host_port, no_port, err))
		return false;
	t->scheme = SPAN("");
	return !t->uri.n || (*err = "invalid host in upstream", false);
}

static bool url_parse(const struct proxy_conf *conf, struct arena *a, struct span url,
		      struct proxy_target *t, struct span *host_port, bool *no_port,
		      const char **err)
{
	return (conf->grpc     ? url_parse_grpc
		: conf->tunnel ? url_parse_tunnel
			       : proxy_url_parse)(a, url, t, host_port, no_port, err);
}

/* ---- the directive ---- */

static int proxy_pass_link(struct conf_call *c, void *arg)
{
	struct proxy_pass *p = arg;
	struct http_main *m = http_main_of(c->ctx);
	struct group *g = p->no_port ? group_find(m, p->host_port) : NULL;

	if (!g)
		g = group_implicit(c, 1, p->host_port, p->target.tls ? 443 : 80);
	if (!g)
		return CONF_ERR;
	g->used = true;
	p->target.group = g;
	return CONF_OK;
}

static bool location_has_no_prefix(const struct location *l)
{
	return l->kind == LOC_REGEX || l->kind == LOC_REGEX_NOCASE || l->kind == LOC_NAMED ||
	       l->kind == LOC_IF || l->kind == LOC_LIMIT_EXCEPT;
}

static void proxy_pass_own_location(struct conf_call *c, const struct proxy_conf *conf,
				    struct proxy_pass *p)
{
	struct location *l = location_of(c->scope);

	if (!l || conf->tunnel)
		return;
	l->handler = conf->grpc ? grpc_run : exchange_run;
	if ((l->kind == LOC_PREFIX || l->kind == LOC_PREFIX_FINAL || l->kind == LOC_EXACT) &&
	    l->name.n && l->name.p[l->name.n - 1] == '/')
		l->auto_slash = true;
	if (!location_has_no_prefix(l))
		p->location = l->name;
}

int proxy_pass_set(struct conf_call *c)
{
	return proxy_pass_set_text(c, conf_arg(c, 1));
}

int proxy_pass_set_text(struct conf_call *c, struct span url)
{
	struct proxy_conf *conf = conf_mine(c);
	struct proxy_pass *p = arena_zalloc(c->ctx->arena, sizeof(*p));
	struct location *l = location_of(c->scope);
	struct tmpl *t = tmpl_compile_text(c, MIN_OF(conf_nargs(c), 1u), url);
	const char *err;

	if (!conf || !p || !t)
		return CONF_ERR;
	conf->pass = p;
	proxy_pass_own_location(c, conf, p);
	if (!t->constant) {
		p->tmpl = t;
		return CONF_OK;
	}
	if (!url_parse(conf, c->ctx->arena, url, &p->target, &p->host_port, &p->no_port, &err))
		return conf_error(c, 1, "%s%s%.*s%s", err, err[0] == 'n' ? " \"" : "",
				  err[0] == 'n' ? (int)url.n : 0, url.p, err[0] == 'n' ? "\"" : "");
	p->url = url;
	if (p->target.uri.n &&
	    (c->scope->where == IN_LIMIT_EXCEPT || (l && location_has_no_prefix(l))))
		return conf_error(c, 1,
				  "\"proxy_pass\" cannot have URI part in location given by "
				  "regular expression, or "
				  "inside named location, or inside \"if\" statement, or inside "
				  "\"limit_except\" block");
	return conf_later(c, CONF_LINK_OBJECTS, proxy_pass_link, p);
}

/* ---- with variables ---- */

/* Link-local addresses are where clouds keep their metadata: a name that a client had a hand in
 * must not lead there (PU22). Addresses that are written in the configuration are the operator's
 * own affair. */
static bool target_is_allowed(const struct net_addr *a)
{
	/* The last three: metadata of two clouds, and 169.254 through NAT64. */
	static const char *const never[] = {"169.254.0.0/16", "fe80::/10", "100.100.100.200/32",
					    "fd00:ec2::254/128", "64:ff9b::a9fe:0/112"};
	bool host_bits;

	for (size_t i = 0; i < ARRAY_LEN(never); i++) {
		struct cidr c = {0};

		if (cidr_parse(span_of(never[i]), &c, &host_bits) && cidr_match(&c, &a->sa))
			return false;
	}
	return true;
}

/* A group of the addresses that are allowed. */
static int target_of_addrs(struct req *r, const struct proxy_conf *conf, struct proxy_target *t,
			   struct span host, struct net_addr *addrs, int n)
{
	int allowed = 0;

	for (int i = 0; i < n; i++)
		if (conf->allow_link_local || target_is_allowed(&addrs[i]))
			addrs[allowed++] = addrs[i];
	if (!allowed) {
		req_log(r, LOG_ERR, 0,
			"upstream \"%.*s\" is a link-local address, which %s may not reach",
			SPAN_ARG(host), conf->tunnel ? "a tunnel" : "proxy_pass with variables");
		return req_fail(r, FAIL_UPSTREAM_FORBIDDEN);
	}
	t->group = group_of_addrs(r, host, addrs, (size_t)allowed);
	return t->group ? 0 : req_fail(r, FAIL_NO_MEMORY);
}

static MAY_SUSPEND int target_resolve(struct req *r, const struct proxy_conf *conf,
				      struct proxy_target *t)
{
	const struct core_loc *core = req_conf(r, &core_loc_mod);
	struct net_addr *addrs = arena_alloc(&r->arena, ADDRS_MAX * sizeof(*addrs));
	uint64_t port = 0;
	int n;

	if (!addrs)
		return req_fail(r, FAIL_NO_MEMORY);
	if (!core->resolver) {
		req_log(r, LOG_ERR, 0, "no resolver defined to resolve %.*s", SPAN_ARG(t->host));
		return req_fail(r, FAIL_UPSTREAM_RESOLVE);
	}
	n = resolver_lookup(core->resolver, t->host, addrs, ADDRS_MAX, NULL,
			    io_after((uint64_t)core->resolver_timeout));
	if (n == -ECANCELED)
		return req_fail(r, FAIL_CANCELLED);
	if (n <= 0) {
		req_log(r, LOG_ERR, 0, "%.*s could not be resolved (%s)", SPAN_ARG(t->host),
			n == -ENOENT	  ? "3: Host not found"
			: n == -ETIMEDOUT ? "110: Operation timed out"
					  : "2: Server failure");
		return req_fail(r, FAIL_UPSTREAM_RESOLVE);
	}
	(void)span_to_u64(t->port, 65535, &port);
	for (int i = 0; i < n; i++)
		addr_set_port(&addrs[i].sa, (int)port);
	return target_of_addrs(r, conf, t, t->host, addrs, n);
}

/* A literal address, a group of that name, or a name to look up. */
static MAY_SUSPEND int target_group(struct req *r, const struct proxy_conf *conf,
				    struct proxy_target *t, struct span host_port, bool no_port)
{
	struct http_main *m = r->snapshot->http;
	struct net_addr *addr;

	t->group = no_port ? group_find(m, host_port) : NULL;
	if (t->group)
		return 0;
	addr = arena_alloc(&r->arena, sizeof(*addr));
	if (!addr)
		return req_fail(r, FAIL_NO_MEMORY);
	if (!addr_parse(host_port, t->tls ? 443 : 80, addr))
		return target_resolve(r, conf, t);
	return target_of_addrs(r, conf, t, host_port, addr, 1);
}

int proxy_target_find(struct req *r, const struct proxy_conf *conf, const struct proxy_target **out)
{
	const struct proxy_pass *pass = conf->pass;
	struct proxy_target *t;
	struct span url, host_port;
	bool no_port;
	const char *err;

	if (!pass->tmpl) {
		*out = &pass->target;
		return 0;
	}
	url = tmpl_eval(pass->tmpl, &r->vars);
	t = arena_zalloc(&r->arena, sizeof(*t));
	if (r->vars.failed || !t)
		return req_fail(r, FAIL_NO_MEMORY);
	if (!url_parse(conf, &r->arena, url, t, &host_port, &no_port, &err)) {
		req_log(r, LOG_ERR, 0, "%s in \"%.*s\"", err, SPAN_ARG(url));
		return req_fail(r, FAIL_BAD_CONFIG_VALUE);
	}
	t->evaluated = true;
	*out = t;
	return target_group(r, conf, t, host_port, no_port);
}

/* ---- what is sent ---- */

/* N19: what stands in for the prefix must not be left through "..": "/x" to "/y/" and a request for
 * "/x../". */
static bool uri_climbs(struct span prefix, struct span rest)
{
	return rest.n >= 2 && rest.p[0] == '.' && rest.p[1] == '.' &&
	       (rest.n == 2 || rest.p[2] == '/') && prefix.n && prefix.p[prefix.n - 1] == '/';
}

enum fail proxy_uri(struct req *r, const struct proxy_pass *pass, const struct proxy_target *t,
		    struct span *out)
{
	struct span base = t->uri, rest = r->uri;
	size_t n;
	char *p, *at;

	if ((t->evaluated && base.n) || (!base.n && r->valid_unparsed_uri)) {
		*out = base.n ? base : r->unparsed_uri;
		return FAIL_OK;
	}
	/* A rewrite with break that left the location: the new URI is sent as it is. */
	if (base.n && r->valid_location && span_starts(r->uri, pass->location))
		rest = span_cut(r->uri, pass->location.n, r->uri.n);
	else
		base = (struct span){0};
	if (uri_climbs(base, rest))
		return FAIL_BAD_URI;
	rest = uri_escape(&r->arena, rest, URI_ESCAPE_PATH);
	n = base.n + rest.n + (r->has_args && r->args.n ? 1 + r->args.n : 0);
	p = at = arena_alloc(&r->arena, n + 1);
	if (!p || (!rest.p && r->uri.n > pass->location.n))
		return FAIL_NO_MEMORY;
	if (base.n)
		at = mempcpy(at, base.p, base.n);
	if (rest.n)
		at = mempcpy(at, rest.p, rest.n);
	if (r->has_args && r->args.n) {
		*at++ = '?';
		at = mempcpy(at, r->args.p, r->args.n);
	}
	if (at == p) /* nothing is no request target */
		*at++ = '/';
	*out = span_make(p, (size_t)(at - p));
	return FAIL_OK;
}
