/* "listen" and "server_name": from words to ports and their names. */
#include <arpa/inet.h>
#include <unistd.h>
#include "http/uri.h"
#include "io/sys.h"
#include "serve/core.h"
#include "serve/route.h"

#define LISTEN_ADDRS 16

/* ---- the address ---- */

struct listen_word {
	struct net_addr addrs[LISTEN_ADDRS];
	size_t n;
	int last_port; /* of a range; 0: none */
};

/* "80" or "80-90". NULL, or what nginx calls the mistake. */
static const char *port_range(struct span s, int *first, int *last)
{
	ssize_t dash = span_find_char(s, '-', 0);
	uint64_t a, b;

	*last = 0;
	if (!span_to_u64(dash < 0 ? s : span_cut(s, 0, (size_t)dash), 65535, &a) || a == 0)
		return "port";
	*first = (int)a;
	if (dash < 0)
		return NULL;
	if (!span_to_u64(span_cut(s, (size_t)dash + 1, s.n), 65535, &b) || b < a)
		return "port range";
	*last = (int)b;
	return NULL;
}

/* A word that begins with a number and has no host can only be a port or a range of them. */
static bool is_port_word(struct span w)
{
	ssize_t dash = span_find_char(w, '-', 0);
	struct span first = dash < 0 ? w : span_cut(w, 0, (size_t)dash);

	for (size_t i = 0; i < first.n; i++)
		if (first.p[i] < '0' || first.p[i] > '9')
			return false;
	return first.n > 0;
}

static void wildcard(struct net_addr *a, int port)
{
	memset(a, 0, sizeof(*a));
	a->len = sizeof(a->in);
	a->in.sin_family = AF_INET;
	a->in.sin_port = htons((uint16_t)port);
}

static int listen_resolve(struct conf_call *c, struct span host, int port, struct listen_word *lw)
{
	struct sockaddr_storage *sa = arena_alloc(c->ctx->arena, LISTEN_ADDRS * sizeof(*sa));
	int n = sa ? c->ctx->opener->ops->resolve(c->ctx->opener, host, sa, LISTEN_ADDRS) : 0;

	if (n <= 0)
		return conf_error(c, 1, "host not found in \"%.*s\" of the \"listen\" directive",
				  SPAN_ARG(conf_arg(c, 1)));
	for (int i = 0; i < n; i++) {
		struct net_addr *a = &lw->addrs[lw->n++];

		a->len = sa[i].ss_family == AF_INET ? sizeof(a->in) : sizeof(a->in6);
		memcpy(&a->sa, &sa[i], a->len);
		addr_set_port(&a->sa, port);
	}
	return CONF_OK;
}

static int listen_wrong(struct conf_call *c, const char *what)
{
	return conf_error(c, 1, "%s in \"%.*s\" of the \"listen\" directive", what,
			  SPAN_ARG(conf_arg(c, 1)));
}

static int listen_port(struct conf_call *c, struct span s, int *port, struct listen_word *lw)
{
	const char *wrong = port_range(s, port, &lw->last_port);

	if (!wrong)
		return CONF_OK;
	return listen_wrong(c, strcmp(wrong, "port") ? "invalid port range" : "invalid port");
}

static int listen_address(struct conf_call *c, struct listen_word *lw)
{
	struct span w = conf_arg(c, 1), host = w;
	ssize_t colon = span_rfind_char(w, ':');
	int port = 80;

	if (span_starts(w, SPAN("unix:"))) {
		lw->n = 1;
		return addr_parse(w, 0, &lw->addrs[0])
			       ? CONF_OK
			       : listen_wrong(c, "no path in the unix domain socket");
	}
	if (is_port_word(w)) {
		if (listen_port(c, w, &port, lw) != CONF_OK)
			return CONF_ERR;
		wildcard(&lw->addrs[lw->n++], port);
		return CONF_OK;
	}
	if (span_find_char(w, '/', 0) >= 0 || (w.n && w.p[0] == '[' && !memchr(w.p, ']', w.n)))
		return listen_wrong(c, "invalid host");
	if (colon >= 0 && (w.p[0] != '[' || (colon > 0 && w.p[colon - 1] == ']'))) {
		host = span_cut(w, 0, (size_t)colon);
		if (listen_port(c, span_cut(w, (size_t)colon + 1, w.n), &port, lw) != CONF_OK)
			return CONF_ERR;
	}
	if (!host.n)
		return listen_wrong(c, "no host");
	if (span_eq(host, SPAN("*"))) {
		wildcard(&lw->addrs[lw->n++], port);
		return CONF_OK;
	}
	if (addr_parse_ip(host, &lw->addrs[0])) {
		addr_set_port(&lw->addrs[0].sa, port);
		lw->n = 1;
		return CONF_OK;
	}
	if (host.p[0] == '[')
		return listen_wrong(c, "invalid IPv6 address");
	return listen_resolve(c, host, port, lw);
}

/* ---- the parameters ---- */

struct listen_opts {
	struct listen_spec spec;
	bool set, default_server, ssl, http2, proxy_protocol, quic, bind;
};

static bool opt_number(struct span w, const char *name, int64_t low, int64_t high, int *out)
{
	struct span v;
	uint64_t n;

	if (!conf_param(w, name, &v) || !span_to_u64(v, (uint64_t)high, &n) || (int64_t)n < low)
		return false;
	*out = (int)n;
	return true;
}

static bool opt_keepalive(struct span v, struct listen_spec *s)
{
	struct span part[3] = {{0}};
	int64_t idle = 0;
	uint64_t n;
	int i = 0;

	if (span_eq(v, SPAN("on")) || span_eq(v, SPAN("off"))) {
		s->keepalive = v.n == 2;
		return true;
	}
	while (i < 3 && span_split(&v, ':', &part[i]))
		i++;
	s->keepalive = 1;
	if (part[0].n) {
		if (!conf_parse_sec(part[0], &idle))
			return false;
		s->keepidle = (int)idle;
	}
	if (part[1].n) {
		if (!conf_parse_sec(part[1], &idle))
			return false;
		s->keepintvl = (int)idle;
	}
	if (part[2].n) {
		if (!span_to_u64(part[2], 127, &n))
			return false;
		s->keepcnt = (int)n;
	}
	return v.p == NULL && (s->keepidle || s->keepintvl || s->keepcnt);
}

static bool opt_size(struct span w, const char *name, int *out)
{
	struct span v;
	int64_t n;

	if (!conf_param(w, name, &v) || !conf_parse_size(v, &n) || n < 0 || n > INT32_MAX)
		return false;
	*out = (int)n;
	return true;
}

static bool listen_flag(struct span w, struct listen_opts *o)
{
	const struct {
		struct span word;
		bool *flag, socket;
	} flags[] = {
		{SPAN("default_server"), &o->default_server, false},
		{SPAN("default"), &o->default_server, false},
		{SPAN("ssl"), &o->ssl, false},
		{SPAN("http2"), &o->http2, false},
		{SPAN("proxy_protocol"), &o->proxy_protocol, false},
		{SPAN("bind"), &o->spec.bind, true},
		{SPAN("deferred"), &o->spec.deferred, true},
		{SPAN("reuseport"), &o->spec.reuseport, true},
		{SPAN("multipath"), &o->spec.multipath, true},
	};

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		if (span_eq(w, flags[i].word)) {
			*flags[i].flag = true;
			o->set |= flags[i].socket;
			return true;
		}
	}
	return false;
}

static int listen_option(struct conf_call *c, unsigned i, struct listen_opts *o)
{
	struct span w = conf_arg(c, i), v;
	struct listen_spec *s = &o->spec;
	bool on;

	if (listen_flag(w, o))
		return CONF_OK;
	if (conf_param(w, "ipv6only", &v) && span_starts(v, SPAN("o"))) {
		if (!conf_parse_flag(v, &on))
			return conf_error(c, i, "invalid ipv6only flags \"%.*s\"", SPAN_ARG(v));
		s->ipv6only = on; /* means nothing on an IPv4 address, as in nginx */
		s->ipv6only_set = o->set = true;
		return CONF_OK;
	}
	if (conf_param(w, "so_keepalive", &v)) {
		o->set = true;
		return opt_keepalive(v, s)
			       ? CONF_OK
			       : conf_error(c, i, "invalid so_keepalive value: \"%.*s\"",
					    SPAN_ARG(v));
	}
	o->set = true;
	if (opt_number(w, "backlog", 1, INT32_MAX, &s->backlog) ||
	    opt_number(w, "fastopen", 0, INT32_MAX, &s->fastopen) ||
	    opt_size(w, "rcvbuf", &s->rcvbuf) || opt_size(w, "sndbuf", &s->sndbuf))
		return CONF_OK;
	if (span_starts(w, SPAN("backlog=")) || span_starts(w, SPAN("rcvbuf=")) ||
	    span_starts(w, SPAN("sndbuf=")) || span_starts(w, SPAN("fastopen=")))
		return conf_error(c, i, "invalid %.*s \"%.*s\"", (int)span_find_char(w, '=', 0),
				  w.p, SPAN_ARG(w));
	if (span_eq(w, SPAN("quic"))) {
		conf_error(c, i, "invalid parameter \"quic\"");
		return conf_remedy(c, "HTTP/3 is known to nginx and not supported by sluice yet");
	}
	return conf_error(c, i, "invalid parameter \"%.*s\"", SPAN_ARG(w));
}

/* ---- ports ---- */

static struct http_port *port_find(struct http_main *m, const struct net_addr *a)
{
	for (size_t i = 0; i < m->nports; i++)
		if (addr_eq((const struct sockaddr *)&m->ports[i]->spec.sa, &a->sa))
			return m->ports[i];
	return NULL;
}

static bool is_wildcard(const struct sockaddr *sa)
{
	static const struct in6_addr any = IN6ADDR_ANY_INIT;

	if (sa->sa_family == AF_INET)
		return ((const struct sockaddr_in *)sa)->sin_addr.s_addr == 0;
	return sa->sa_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)sa)->sin6_addr, &any, sizeof(any)) == 0;
}

static struct http_port *port_new(struct conf_call *c, struct http_main *m,
				  const struct net_addr *a)
{
	struct http_port *p = arena_zalloc(c->ctx->arena, sizeof(*p)), **slot;
	char text[ADDR_TEXT_MAX];

	slot = p ? ARENA_PUSH(c->ctx->arena, m->ports, &m->nports, &m->ports_cap) : NULL;
	if (!slot) {
		conf_error(c, 0, "out of memory");
		return NULL;
	}
	*slot = p;
	list_init(&p->members);
	memcpy(&p->spec.sa, &a->sa, a->len);
	p->spec.salen = a->len;
	p->spec.type = SOCK_STREAM;
	p->spec.name = arena_dup(c->ctx->arena,
				 span_make(text, addr_format(&a->sa, true, text, sizeof(text))));
	p->spec.backlog = p->spec.rcvbuf = p->spec.sndbuf = p->spec.fastopen = p->spec.setfib =
		p->spec.keepalive = -1;
	p->spec.ipv6only = a->sa.sa_family == AF_INET6;
	p->wildcard = is_wildcard(&a->sa);
	return p;
}

static int port_options(struct conf_call *c, struct http_port *p, const struct listen_opts *o)
{
	struct listen_spec *s = &p->spec;

	if (!o->set)
		return CONF_OK;
	if (s->bind)
		return conf_error(c, 1, "duplicate listen options for %.*s", SPAN_ARG(s->name));
	struct listen_spec keep = *s;

	*s = o->spec;
	s->sa = keep.sa;
	s->salen = keep.salen;
	s->type = keep.type;
	s->name = keep.name;
	if (!s->ipv6only_set)
		s->ipv6only = keep.ipv6only;
	s->bind = true;
	return CONF_OK;
}

static int port_join(struct conf_call *c, const struct net_addr *a, const struct listen_opts *o)
{
	struct http_main *m = http_main_of(c->ctx);
	struct server *s = server_of(c->scope);
	struct http_port *p = port_find(m, a);
	struct port_server *ps;
	struct list *l;

	if (!p)
		p = port_new(c, m, a);
	ps = p ? arena_zalloc(c->ctx->arena, sizeof(*ps)) : NULL;
	if (!ps)
		return CONF_ERR;
	list_each (l, &p->members)
		if (CONTAINER_OF(l, struct port_server, link)->server == s)
			return conf_error(c, 1, "a duplicate listen %.*s", SPAN_ARG(p->spec.name));
	if (port_options(c, p, o) != CONF_OK)
		return CONF_ERR;
	ps->server = s;
	list_push(&p->members, &ps->link);
	p->ssl |= o->ssl;
	p->tls_servers += o->ssl;
	if (o->http2 && !p->http2) /* the address's, as in nginx */
		list_each (l, &p->members)
			CONTAINER_OF(l, struct port_server, link)->server->listens_h2 = true;
	p->http2 |= o->http2;
	p->proxy_protocol |= o->proxy_protocol;
	if (o->default_server && p->default_given)
		return conf_error(c, 1, "a duplicate default server for %.*s",
				  SPAN_ARG(p->spec.name));
	if (o->default_server || !p->default_server)
		p->default_server = s;
	p->default_given |= o->default_server;
	s->has_listen = true;
	s->listens_h2 |= p->http2;
	return CONF_OK;
}

int listen_set(struct conf_call *c)
{
	struct listen_opts o = {.spec = {.backlog = -1,
					 .rcvbuf = -1,
					 .sndbuf = -1,
					 .fastopen = -1,
					 .setfib = -1,
					 .keepalive = -1}};
	struct listen_word *lw = arena_zalloc(c->ctx->arena, sizeof(*lw));

	if (!lw)
		return conf_error(c, 0, "out of memory");
	if (listen_address(c, lw) != CONF_OK)
		return CONF_ERR;
	for (unsigned i = 2; i <= conf_nargs(c); i++)
		if (listen_option(c, i, &o) != CONF_OK)
			return CONF_ERR;
	if (o.http2)
		conf_warn(c, 1,
			  "the \"listen ... http2\" directive is deprecated, use the \"http2\" "
			  "directive instead");
	for (size_t i = 0; i < lw->n; i++) {
		int port = addr_port(&lw->addrs[i].sa);

		do {
			if (port_join(c, &lw->addrs[i], &o) != CONF_OK)
				return CONF_ERR;
			addr_set_port(&lw->addrs[i].sa, ++port);
		} while (lw->last_port && port <= lw->last_port);
	}
	return CONF_OK;
}

int server_defaults(struct conf_call *c, struct server *s)
{
	struct conf_call inner = *c;
	struct listen_opts o = {.spec = {.backlog = -1}};
	struct net_addr a;

	if (!s->nnames) {
		struct server_name *n =
			ARENA_PUSH(c->ctx->arena, s->server_names, &s->nnames, &s->names_cap);

		if (!n)
			return conf_error(c, 0, "out of memory");
		*n = (struct server_name){.kind = NAME_EXACT};
	}
	s->name = s->server_names[0].kind == NAME_WILD_HEAD ||
				  s->server_names[0].kind == NAME_WILD_TAIL
			  ? s->server_names[0].text
			  : s->name;
	if (s->has_listen)
		return CONF_OK;
	inner.scope = s->scope;
	wildcard(&a, geteuid() == 0 ? 80 : 8000);
	return port_join(&inner, &a, &o);
}

/* ---- server_name ---- */

static struct span lower(struct conf_call *c, struct span s)
{
	char *p = arena_alloc(c->ctx->arena, s.n + 1);

	if (!p)
		return (struct span){0};
	for (size_t i = 0; i < s.n; i++)
		p[i] = ascii_lower(s.p[i]);
	return span_make(p, s.n);
}

static int server_name_word(struct conf_call *c, unsigned i, struct server *s)
{
	char host[256] = "";
	struct span w = conf_arg(c, i);
	struct server_name *n =
		ARENA_PUSH(c->ctx->arena, s->server_names, &s->nnames, &s->names_cap);

	if (!n)
		return conf_error(c, i, "out of memory");
	*n = (struct server_name){.kind = NAME_EXACT};
	if (w.n && w.p[0] == '~') {
		n->kind = NAME_REGEX;
		n->text = w;
		if (w.n == 1)
			return conf_error(c, i, "empty regex in server name \"%.*s\"", SPAN_ARG(w));
		n->re = conf_regex(c, i, span_cut(w, 1, w.n), true, &n->capture_vars,
				   &n->capture_groups, &n->ncapture_vars);
		return n->re ? CONF_OK : CONF_ERR;
	}
	if (span_eq(w, SPAN("$hostname"))) {
		gethostname(host, sizeof(host) - 1);
		w = span_of(host);
	}
	if (w.n && ((w.p[0] == '*' && (w.n < 3 || w.p[1] != '.')) || (w.p[0] == '.' && w.n < 2)))
		return conf_error(c, i, "server name \"%.*s\" is invalid", SPAN_ARG(w));
	if (span_find_char(w, '/', 0) >= 0)
		conf_warn(c, i, "server name \"%.*s\" has suspicious symbols", SPAN_ARG(w));
	w = lower(c, w);
	n->text = w;
	if (w.n > 1 && w.p[0] == '.') {
		n->kind = NAME_DOT;
	} else if (w.n > 2 && w.p[0] == '*' && w.p[1] == '.') {
		n->kind = NAME_WILD_HEAD;
	} else if (w.n > 2 && w.p[w.n - 1] == '*' && w.p[w.n - 2] == '.') {
		n->kind = NAME_WILD_TAIL;
	}
	if (n->kind == NAME_EXACT && w.n && w.p[w.n - 1] == '.')
		n->text.n--;
	return CONF_OK;
}

int server_name_set(struct conf_call *c)
{
	struct server *s = server_of(c->scope);
	size_t before = s->nnames;

	for (unsigned i = 1; i <= conf_nargs(c); i++)
		if (server_name_word(c, i, s) != CONF_OK)
			return CONF_ERR;
	if (before == 0) {
		struct span first = s->server_names[0].text;

		s->name = first.n > 1 && first.p[0] == '.' ? span_cut(first, 1, first.n) : first;
	}
	return CONF_OK;
}
