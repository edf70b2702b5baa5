/* TLS towards clients: the ssl_* directives, from files to a struct tls_ctx per server; the check
 * of client certificates; the $ssl_* variables. */
#include <stdio.h>
#include <string.h>
#include "conf/opener.h"
#include "mod/mods.h"
#include "serve/cert_names.h"
#include "serve/conn.h"
#include "serve/route.h"

struct ssl_file {
	struct span path;	/* as written */
	struct conf_node *node; /* where */
	struct tmpl *tmpl;	/* of certificates and their keys */
};
struct ssl_files {
	struct ssl_file *v;
	size_t n, cap;
};

struct ssl_conf {
	struct ssl_files certs, keys, ticket_keys;
	struct ssl_file passwords, dhparam, client_ca, trusted, crl;
	unsigned protocols;
	struct span ciphers, curves;
	bool prefer_server_ciphers, tickets, early_data, reject;
	int verify;
	int64_t verify_depth, buffer_size, session_timeout;
	int cache;
	struct span cache_name;
	int64_t cache_size;
	struct tls_command *commands;
	size_t ncommands, commands_cap;
};

#define SSL_WHERE	   (IN_HTTP | IN_SERVER)
#define DEFAULT_CACHE_SIZE (10 << 20)

/* ---- directives ---- */

static bool has_variables(struct span s)
{
	return span_find_char(s, '$', 0) >= 0;
}

static int file_check(struct conf_call *c)
{
	if (!has_variables(conf_arg(c, 1)))
		return CONF_OK;
	return conf_error(c, 1, "\"%s\" cannot have variables", c->row->name);
}

static int file_set(struct conf_call *c)
{
	char *conf = conf_mine(c);

	if (!conf || file_check(c) != CONF_OK)
		return CONF_ERR;
	*(struct ssl_file *)(conf + c->row->offset) =
		(struct ssl_file){.path = conf_arg(c, 1), .node = c->node};
	return CONF_OK;
}

static int files_set(struct conf_call *c)
{
	char *conf = conf_mine(c);
	struct ssl_files *fs;
	struct ssl_file *f;

	if (!conf || file_check(c) != CONF_OK)
		return CONF_ERR;
	fs = (struct ssl_files *)(conf + c->row->offset);
	if (conf_first_here(c))
		*fs = (struct ssl_files){0};
	f = ARENA_PUSH(c->ctx->arena, fs->v, &fs->n, &fs->cap);
	if (!f)
		return conf_error(c, 0, "out of memory");
	*f = (struct ssl_file){.path = conf_arg(c, 1), .node = c->node};
	return CONF_OK;
}

/* A certificate or its key: the name may have variables. */
static int pair_set(struct conf_call *c)
{
	char *conf = conf_mine(c);
	struct ssl_files *fs;
	struct ssl_file *f;

	if (!conf)
		return CONF_ERR;
	fs = (struct ssl_files *)(conf + c->row->offset);
	if (conf_first_here(c))
		*fs = (struct ssl_files){0};
	f = ARENA_PUSH(c->ctx->arena, fs->v, &fs->n, &fs->cap);
	if (!f)
		return conf_error(c, 0, "out of memory");
	*f = (struct ssl_file){.path = conf_arg(c, 1), .node = c->node};
	f->tmpl = tmpl_compile(c, 1);
	return f->tmpl ? CONF_OK : CONF_ERR;
}

static int command_set(struct conf_call *c)
{
	struct ssl_conf *conf = conf_mine(c);
	struct tls_command *k;

	if (!conf)
		return CONF_ERR;
	if (conf_first_here(c)) {
		conf->commands = NULL;
		conf->ncommands = conf->commands_cap = 0;
	}
	k = ARENA_PUSH(c->ctx->arena, conf->commands, &conf->ncommands, &conf->commands_cap);
	if (!k)
		return conf_error(c, 0, "out of memory");
	*k = (struct tls_command){conf_arg(c, 1), conf_arg(c, 2)};
	return CONF_OK;
}

static int cache_shared(struct conf_call *c, struct ssl_conf *conf, unsigned i)
{
	struct span rest = span_cut(conf_arg(c, i), 7, conf_arg(c, i).n), name;
	ssize_t colon = span_rfind_char(rest, ':');

	name = colon > 0 ? span_cut(rest, 0, (size_t)colon) : SPAN("");
	if (!name.n ||
	    !conf_parse_size(span_cut(rest, (size_t)colon + 1, rest.n), &conf->cache_size))
		return conf_error(c, i, "invalid session cache \"%.*s\"", SPAN_ARG(conf_arg(c, i)));
	if (conf->cache_size < 32768)
		return conf_error(c, i, "session cache \"%.*s\" is too small",
				  SPAN_ARG(conf_arg(c, i)));
	conf->cache = TLS_CACHE_SHARED;
	conf->cache_name = name;
	return CONF_OK;
}

/* A shared cache is as good as a builtin one in front of it: all threads share a process. */
static int cache_set(struct conf_call *c)
{
	struct ssl_conf *conf = conf_mine(c);
	bool shared = false;
	uint64_t n;

	if (!conf)
		return CONF_ERR;
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		struct span w = conf_arg(c, i);

		if (span_eq(w, SPAN("off"))) {
			conf->cache = TLS_CACHE_OFF;
		} else if (span_eq(w, SPAN("none"))) {
			conf->cache = TLS_CACHE_NONE;
		} else if (span_eq(w, SPAN("builtin")) ||
			   (span_starts(w, SPAN("builtin:")) &&
			    span_to_u64(span_cut(w, 8, w.n), INT32_MAX, &n) && n > 0)) {
			if (!shared)
				conf->cache = TLS_CACHE_BUILTIN;
		} else if (span_starts(w, SPAN("shared:"))) {
			if (cache_shared(c, conf, i) != CONF_OK)
				return CONF_ERR;
			shared = true;
		} else {
			return conf_error(c, i, "invalid session cache \"%.*s\"", SPAN_ARG(w));
		}
	}
	return CONF_OK;
}

static int ssl_on_set(struct conf_call *c)
{
	conf_error(c, 0, "unknown directive \"ssl\"");
	return conf_remedy(c, "nginx removed it too: use the \"listen ... ssl\" directive instead");
}

static int stapling_set(struct conf_call *c)
{
	if (!span_eq_nocase(conf_arg(c, 1), SPAN("off")))
		conf_warn(c, 0, "\"%s\" ignored, OCSP stapling is not supported yet", c->row->name);
	return CONF_OK;
}

static int ssl_init(struct conf_call *c, void *arg)
{
	struct ssl_conf *conf = arg;

	/* N09: sessions are kept without being asked for */
	conf->cache = TLS_CACHE_SHARED;
	conf->cache_name = SPAN("\x01"
				"default");
	conf->cache_size = DEFAULT_CACHE_SIZE;
	return CONF_OK;
}

/* ---- building ---- */

/* While a server's context is made. What was read may be a key: it lives in an arena of its own and
 * is wiped. */
struct ssl_build {
	struct conf_call call; /* of the server; the node changes with what is reported */
	struct arena *arena;   /* the snapshot's, when handshakes will need the texts */
	struct tls_conf tls;
	struct span *secrets;
	size_t nsecrets, secrets_cap;
};

static int build_error(struct ssl_build *b, const struct ssl_file *f, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
static int build_error(struct ssl_build *b, const struct ssl_file *f, const char *fmt, ...)
{
	struct conf_call c = f && f->node ? conf_call_on(&b->call, f->node) : b->call;
	struct span text;
	va_list ap;

	va_start(ap, fmt);
	text = arena_vprintf(b->call.ctx->arena, fmt, ap);
	va_end(ap);
	return conf_error(&c, f && f->node ? 1 : 0, "%.*s", SPAN_ARG(text));
}

static int file_read(struct ssl_build *b, const struct ssl_file *f, const char *what,
		     struct span *text)
{
	struct conf_ctx *ctx = b->call.ctx;
	struct span path, *secret;
	int rc;

	if (!f->path.n)
		return CONF_OK;
	if (span_starts(f->path, SPAN("data:"))) {
		*text = span_cut(f->path, 5, f->path.n);
		return CONF_OK;
	}
	path = conf_path(ctx, f->path, true);
	if (!path.p)
		return CONF_ERR;
	rc = ctx->opener->ops->read_file(ctx->opener, path, b->arena, text);
	if (rc < 0)
		return build_error(b, f, "cannot load %s \"%.*s\": BIO_new_file() failed (%d: %s)",
				   what, SPAN_ARG(path), -rc, strerror(-rc));
	secret = ARENA_PUSH(b->arena, b->secrets, &b->nsecrets, &b->secrets_cap);
	if (!secret)
		return build_error(b, f, "out of memory");
	*secret = *text;
	return CONF_OK;
}

static int read_certs(struct ssl_build *b, const struct ssl_conf *conf)
{
	struct tls_cert *certs = arena_zalloc(b->arena, (conf->certs.n + 1) * sizeof(*certs));

	if (!certs)
		return build_error(b, NULL, "out of memory");
	for (size_t i = 0; i < conf->certs.n; i++) {
		const struct ssl_file *cert = &conf->certs.v[i], *key = &conf->keys.v[i];

		certs[i].cert_path = tls_file_shown(cert->path);
		certs[i].key_path = tls_file_shown(key->path);
		if (file_read(b, cert, "certificate", &certs[i].cert) != CONF_OK)
			return CONF_ERR;
		if (span_starts(key->path, SPAN("engine:")) ||
		    span_starts(key->path, SPAN("store:")))
			certs[i].key = key->path;
		else if (file_read(b, key, "certificate key", &certs[i].key) != CONF_OK)
			return CONF_ERR;
	}
	b->tls.certs = certs;
	b->tls.ncerts = conf->certs.n;
	return CONF_OK;
}

static int read_passwords(struct ssl_build *b, const struct ssl_conf *conf)
{
	struct span text = {0}, line, *v = NULL, *slot;
	size_t n = 0, cap = 0;

	if (file_read(b, &conf->passwords, "password file", &text) != CONF_OK)
		return CONF_ERR;
	while (text.p && span_split(&text, '\n', &line)) {
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (!line.n)
			continue;
		slot = ARENA_PUSH(b->arena, v, &n, &cap);
		if (!slot)
			return build_error(b, NULL, "out of memory");
		*slot = line;
	}
	b->tls.passwords = v;
	b->tls.npasswords = n;
	return CONF_OK;
}

static int read_ticket_keys(struct ssl_build *b, const struct ssl_conf *conf)
{
	struct span *v = arena_zalloc(b->arena, (conf->ticket_keys.n + 1) * sizeof(*v));

	if (!v)
		return build_error(b, NULL, "out of memory");
	for (size_t i = 0; i < conf->ticket_keys.n; i++) {
		const struct ssl_file *f = &conf->ticket_keys.v[i];

		if (file_read(b, f, "session ticket key", &v[i]) != CONF_OK)
			return CONF_ERR;
		if (v[i].n != 48 && v[i].n != 80)
			return build_error(b, f, "\"%.*s\" must be 48 or 80 bytes",
					   SPAN_ARG(f->path));
	}
	b->tls.ticket_keys = v;
	b->tls.nticket_keys = conf->ticket_keys.n;
	return CONF_OK;
}

/* True when the certificates are only known by the handshake. */
static bool late_certs(const struct ssl_conf *conf)
{
	for (size_t i = 0; i < conf->certs.n; i++)
		if (has_variables(conf->certs.v[i].path) || has_variables(conf->keys.v[i].path))
			return true;
	return false;
}

static int read_all(struct ssl_build *b, const struct ssl_conf *conf)
{
	if (!late_certs(conf) && read_certs(b, conf) != CONF_OK)
		return CONF_ERR;
	if (read_passwords(b, conf) != CONF_OK || read_ticket_keys(b, conf) != CONF_OK ||
	    file_read(b, &conf->dhparam, "DH parameters", &b->tls.dhparam) != CONF_OK ||
	    file_read(b, &conf->client_ca, "client certificate authorities", &b->tls.client_ca) !=
		    CONF_OK ||
	    file_read(b, &conf->trusted, "trusted certificates", &b->tls.trusted) != CONF_OK)
		return CONF_ERR;
	return file_read(b, &conf->crl, "certificate revocation list", &b->tls.crl);
}

static void fill(struct tls_conf *t, const struct ssl_conf *conf, const struct server *s)
{
	static const struct span alpn[] = {SPAN_INIT("h2"), SPAN_INIT("http/1.1"),
					   SPAN_INIT("http/1.0"), SPAN_INIT("http/0.9")};
	bool h2 = server_has_h2(s);

	t->server = true;
	t->protocols = conf->protocols;
	t->ciphers = conf->ciphers;
	t->curves = conf->curves;
	t->prefer_server_ciphers = conf->prefer_server_ciphers;
	t->verify = (enum tls_verify)conf->verify;
	t->verify_depth = (int)conf->verify_depth;
	t->session_tickets = conf->tickets;
	t->cache = (__typeof__(t->cache))conf->cache;
	t->cache_name = conf->cache_name;
	t->cache_size = (size_t)conf->cache_size;
	t->session_timeout = conf->session_timeout;
	t->commands = conf->commands;
	t->ncommands = conf->ncommands;
	t->alpn = h2 ? alpn : alpn + 1;
	t->nalpn = ARRAY_LEN(alpn) - !h2;
	t->record_max = (size_t)conf->buffer_size;
	t->reject_handshake = conf->reject;
	t->early_data = conf->early_data;
}

static void ctx_release(void *ctx)
{
	tls_ctx_unref(ctx);
}

static int keep_names(struct ssl_build *b, const struct ssl_conf *conf, struct server *s)
{
	struct cert_names *c = arena_zalloc(b->arena, sizeof(*c));
	struct cert_name *v = arena_alloc(b->arena, conf->certs.n * sizeof(*v));

	if (!c || !v)
		return build_error(b, NULL, "out of memory");
	if (conf->certs.n > CERT_NAMES_OF_ONE)
		return build_error(b, NULL, "more than %d certificates with variables",
				   CERT_NAMES_OF_ONE);
	for (size_t i = 0; i < conf->certs.n; i++)
		v[i] = (struct cert_name){conf->certs.v[i].tmpl, conf->keys.v[i].tmpl};
	*c = (struct cert_names){b->tls, v, conf->certs.n, b->call.ctx->conf_prefix};
	s->cert_names = c;
	return CONF_OK;
}

static int build_ctx(struct ssl_build *b, const struct ssl_conf *conf, struct server *s)
{
	const struct ssl_file *blame = conf->certs.n ? &conf->certs.v[0] : NULL;
	struct span err = {0};
	struct tls_ctx *ctx;

	if (read_all(b, conf) != CONF_OK)
		return CONF_ERR;
	fill(&b->tls, conf, s);
	ctx = tls_ctx_new(&b->tls, b->call.ctx->arena, &err);
	if (!ctx)
		return build_error(b, blame, "%.*s", SPAN_ARG(err));
	if (snapshot_on_free(b->call.ctx->snapshot, ctx_release, ctx) < 0) {
		tls_ctx_unref(ctx);
		return build_error(b, NULL, "out of memory");
	}
	s->tls = ctx;
	return late_certs(conf) ? keep_names(b, conf, s) : CONF_OK;
}

static int check_conf(struct ssl_build *b, const struct ssl_conf *conf)
{
	const struct ssl_file *last;

	if (conf->certs.n > conf->keys.n) {
		last = &conf->certs.v[conf->certs.n - 1];
		return build_error(b, last,
				   "no \"ssl_certificate_key\" is defined for certificate \"%.*s\"",
				   SPAN_ARG(tls_file_shown(last->path)));
	}
	if ((conf->verify == TLS_VERIFY_ON || conf->verify == TLS_VERIFY_OPTIONAL) &&
	    !conf->client_ca.path.n && !conf->trusted.path.n)
		return build_error(b, NULL,
				   "no ssl_client_certificate or ssl_trusted_certificate for "
				   "ssl_verify_client");
	return CONF_OK;
}

static int build_server(struct conf_call *c, struct server *s)
{
	/* Without a scope there was no memory for the server: told. */
	const struct ssl_conf *conf = s->scope ? conf_get(s->scope, c->mod) : NULL;
	struct ssl_build b = {.call = *c};
	struct arena own;
	int rc;

	if (!conf || (!conf->certs.n && !conf->reject))
		return CONF_OK;
	b.call.scope = s->scope;
	b.call.node = s->scope->node;
	if (check_conf(&b, conf) != CONF_OK)
		return CONF_ERR;
	if (c->ctx->opener->offline) /* there is nothing in the files */
		return CONF_OK;
	arena_init(&own, 64 << 20);
	b.arena = late_certs(conf) ? c->ctx->arena : &own;
	rc = build_ctx(&b, conf, s);
	for (size_t i = 0; b.arena == &own && i < b.nsecrets; i++)
		if (b.secrets[i].n)
			explicit_bzero((char *)b.secrets[i].p, b.secrets[i].n);
	arena_fini(&own);
	return rc;
}

static bool has_tls(const struct server *s, const struct conf_mod *mod)
{
	const struct ssl_conf *conf = conf_get(s->scope, mod);

	return conf->certs.n || conf->reject;
}

static int no_certificate(struct conf_call *c, const struct server *s)
{
	struct conf_call sc = conf_call_on(c, s->scope->node);

	return conf_error(&sc, 0,
			  "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive");
}

/* A server without certificates is served with those of the default server. */
static int check_port(struct conf_call *c, const struct http_port *p)
{
	const struct ssl_conf *dflt;
	struct list *l;

	if (!p->ssl || !p->default_server) /* there was no memory for one: told */
		return CONF_OK;
	dflt = conf_get(p->default_server->scope, c->mod);
	if (dflt->certs.n)
		return CONF_OK;
	if (!dflt->reject)
		return no_certificate(c, p->default_server);
	list_each (l, &p->members) {
		const struct server *s = CONTAINER_OF(l, struct port_server, link)->server;

		if (!has_tls(s, c->mod))
			return no_certificate(c, s);
	}
	return CONF_OK;
}

static int ssl_link(struct conf_call *c, void *arg)
{
	struct http_main *m = arg;
	struct list *l;
	int rc = CONF_OK;

	list_each (l, &m->servers)
		if (build_server(c, CONTAINER_OF(l, struct server, link)) != CONF_OK)
			rc = CONF_ERR;
	for (size_t i = 0; i < m->nports; i++)
		if (check_port(c, m->ports[i]) != CONF_OK)
			rc = CONF_ERR;
	return rc;
}

static int ssl_done(struct conf_call *c, void *conf)
{
	return conf_later(c, CONF_LINK_OBJECTS, ssl_link, http_main_of(c->ctx));
}

/* ---- requests ---- */

static struct conf_mod ssl_conf_mod;

/* The handshake was made with another server's rules for client certificates. */
static bool misdirected(struct req *r)
{
	struct span sni = tls_sni(&r->conn->stream), name;

	if (!sni.n || !r->host.n || span_eq_nocase(sni, r->host))
		return false;
	name = arena_dup(&r->arena, sni);
	for (size_t i = 0; name.p && i < name.n; i++)
		((char *)name.p)[i] = ascii_lower(name.p[i]);
	return !name.p || vnames_find(r->port, name, NULL) != r->server;
}

/* Before anything else: is this the client that the server wants to see? */
static int ssl_check(struct req *r)
{
	const struct ssl_conf *conf = conf_get(r->server->scope, &ssl_conf_mod);
	int verified;

	if (!r->conn->tls || conf->verify == TLS_VERIFY_OFF)
		return PHASE_NEXT;
	if (misdirected(r)) {
		req_log(r, LOG_INFO, 0,
			"client attempted to request the server name different from the one that "
			"was negotiated");
		return req_fail(r, FAIL_MISDIRECTED);
	}
	verified = tls_client_verified(&r->conn->stream);
	if (verified < 0)
		return req_fail(r, FAIL_CERT_ERROR);
	if (verified == 0 && conf->verify == TLS_VERIFY_ON)
		return req_fail(r, FAIL_CERT_MISSING);
	return PHASE_NEXT;
}

static bool get_fact(struct var_ctx *v, const struct var *self, struct span *out)
{
	struct req *r = REQ_OF_VARS(v);

	if (!r->conn->tls)
		return false;
	*out = tls_fact(&r->conn->stream, (enum tls_fact)self->data, v->arena);
	return out->n > 0;
}

static bool get_none(struct var_ctx *v, const struct var *self, struct span *out)
{
	return false;
}

#define FACT(nm, fact)                                                                             \
	{                                                                                          \
		.name = SPAN_INIT("ssl_" nm), .get = get_fact, .data = fact,                       \
		.flags = VAR_CHANGEABLE                                                            \
	}

static const struct var vars[] = {
	FACT("protocol", TLS_PROTOCOL),
	FACT("cipher", TLS_CIPHER),
	FACT("ciphers", TLS_CIPHERS),
	FACT("curve", TLS_CURVE),
	FACT("curves", TLS_CURVES),
	FACT("sigalg", TLS_SIGALG),
	FACT("session_id", TLS_SESSION_ID),
	FACT("sigalgs", TLS_SIGALGS_OFFERED),
	FACT("session_reused", TLS_SESSION_REUSED),
	FACT("server_name", TLS_SERVER_NAME),
	FACT("alpn_protocol", TLS_ALPN),
	FACT("client_cert", TLS_CLIENT_CERT),
	FACT("client_raw_cert", TLS_CLIENT_RAW_CERT),
	FACT("client_escaped_cert", TLS_CLIENT_ESCAPED_CERT),
	FACT("client_s_dn", TLS_CLIENT_S_DN),
	FACT("client_i_dn", TLS_CLIENT_I_DN),
	FACT("client_s_dn_legacy", TLS_CLIENT_S_DN_LEGACY),
	FACT("client_i_dn_legacy", TLS_CLIENT_I_DN_LEGACY),
	FACT("client_serial", TLS_CLIENT_SERIAL),
	FACT("client_fingerprint", TLS_CLIENT_FINGERPRINT),
	FACT("client_verify", TLS_CLIENT_VERIFY),
	FACT("client_v_start", TLS_CLIENT_V_START),
	FACT("client_v_end", TLS_CLIENT_V_END),
	FACT("client_v_remain", TLS_CLIENT_V_REMAIN),
	FACT("client_sigalg", TLS_CLIENT_SIGALG),
	{.name = SPAN_INIT("ssl_early_data"),
	 .get = get_fact,
	 .data = TLS_EARLY_DATA,
	 .flags = VAR_CHANGEABLE | VAR_NO_CACHE},
	{.name = SPAN_INIT("ssl_ech_status"), .get = get_none, .flags = VAR_CHANGEABLE},
	{.name = SPAN_INIT("ssl_ech_outer_server_name"), .get = get_none, .flags = VAR_CHANGEABLE},
	{.name = {NULL, 0}},
};

/* ---- the module ---- */

static const struct conf_enum protocol_words[] = {
	{"SSLv2", TLS_SSLV2},  {"SSLv3", TLS_SSLV3},  {"TLSv1", TLS_V1}, {"TLSv1.1", TLS_V1_1},
	{"TLSv1.2", TLS_V1_2}, {"TLSv1.3", TLS_V1_3}, {NULL, 0},
};
static const struct conf_enum verify_words[] = {
	{"off", TLS_VERIFY_OFF},
	{"on", TLS_VERIFY_ON},
	{"optional", TLS_VERIFY_OPTIONAL},
	{"optional_no_ca", TLS_VERIFY_OPTIONAL_NO_CA},
	{NULL, 0},
};
static const struct conf_bounds buffer_bounds = {1, 1 << 30};

#define FILE_ROW(nm, fd, fn, fl, h)                                                                \
	{                                                                                          \
		.name = nm, .where = SSL_WHERE, .min = 1, .max = 1, .kind = CONF_CUSTOM,           \
		.flags = fl, .set = fn, .offset = offsetof(struct ssl_conf, fd), .help = h         \
	}

static const struct conf_row rows[] = {
	FILE_ROW("ssl_certificate", certs, pair_set, CONF_MULTI,
		 "Certificate and its chain, PEM; several for several kinds of keys. With "
		 "variables it "
		 "is read when a handshake wants it."),
	FILE_ROW("ssl_certificate_key", keys, pair_set, CONF_MULTI, "The key of the certificate."),
	FILE_ROW("ssl_session_ticket_key", ticket_keys, files_set, CONF_MULTI,
		 "48 or 80 bytes that encrypt session tickets; the first encrypts, all decrypt. "
		 "Default: made and rotated."),
	FILE_ROW("ssl_password_file", passwords, file_set, 0, "Passwords of keys, one a line."),
	FILE_ROW("ssl_dhparam", dhparam, file_set, 0,
		 "Parameters for DHE ciphers, which are off without."),
	FILE_ROW("ssl_client_certificate", client_ca, file_set, 0,
		 "Authorities of client certificates, whose names are sent to clients."),
	FILE_ROW("ssl_trusted_certificate", trusted, file_set, 0,
		 "More authorities, whose names are not sent."),
	FILE_ROW("ssl_crl", crl, file_set, 0, "Revoked client certificates."),
	CONF_ROW_("ssl_protocols", SSL_WHERE, 1, 255, CONF_MASK, 0, struct ssl_conf, protocols,
		  protocol_words, TLS_V1_2 | TLS_V1_3, "TLSv1.2 TLSv1.3",
		  "Versions that are spoken."),
	MSTR("ssl_ciphers", SSL_WHERE, struct ssl_conf, ciphers, "HIGH:!aNULL:!MD5",
	     "Ciphers up to TLS 1.2, in OpenSSL's words."),
	MSTR("ssl_ecdh_curve", SSL_WHERE, struct ssl_conf, curves, "auto",
	     "Groups for the key exchange."),
	MFLAG("ssl_prefer_server_ciphers", SSL_WHERE, struct ssl_conf, prefer_server_ciphers, false,
	      "Choose by the server's order of ciphers."),
	{.name = "ssl_session_cache",
	 .where = SSL_WHERE,
	 .min = 1,
	 .max = 2,
	 .kind = CONF_CUSTOM,
	 .set = cache_set,
	 .help = "off, none, builtin or shared:NAME:SIZE. Default: a shared one of 10m."},
	MSECONDS("ssl_session_timeout", SSL_WHERE, struct ssl_conf, session_timeout, 300,
		 "How long a session may be resumed."),
	MFLAG("ssl_session_tickets", SSL_WHERE, struct ssl_conf, tickets, true,
	      "Let clients keep sessions themselves."),
	MENUM("ssl_verify_client", SSL_WHERE, struct ssl_conf, verify, verify_words, TLS_VERIFY_OFF,
	      "Ask for client certificates."),
	MNUM("ssl_verify_depth", SSL_WHERE, struct ssl_conf, verify_depth, 1,
	     "Longest chain of a client certificate."),
	CONF_ROW_("ssl_buffer_size", SSL_WHERE, 1, 1, CONF_SIZE, 0, struct ssl_conf, buffer_size,
		  &buffer_bounds, 16384, "16k",
		  "Largest record; small ones let the first bytes be read sooner."),
	MFLAG("ssl_early_data", SSL_WHERE, struct ssl_conf, early_data, false,
	      "Take TLS 1.3 early data, which can be replayed: see $ssl_early_data."),
	MFLAG("ssl_reject_handshake", SSL_WHERE, struct ssl_conf, reject, false,
	      "Refuse the handshake for these names."),
	MCUSTOM("ssl_conf_command", SSL_WHERE, 2, 2, CONF_MULTI, command_set,
		"An OpenSSL configuration command."),
	MCUSTOM("ssl", SSL_WHERE, 1, 1, 0, ssl_on_set, "Removed: use \"listen ... ssl\"."),
	MCUSTOM("ssl_stapling", SSL_WHERE, 1, 1, 0, stapling_set,
		"Not supported yet: ignored with a warning."),
	MCUSTOM("ssl_stapling_file", SSL_WHERE, 1, 1, 0, stapling_set,
		"Not supported yet: ignored with a warning."),
	MCUSTOM("ssl_stapling_responder", SSL_WHERE, 1, 1, 0, stapling_set,
		"Not supported yet: ignored with a warning."),
	MIGNORED("ssl_certificate_cache", SSL_WHERE, 1, 3,
		 "Certificates whose names have variables are kept as long as their files are the "
		 "same."),
	MIGNORED("ssl_stapling_verify", SSL_WHERE, 1, 1, "Goes with ssl_stapling."),
	MEND,
};

static struct conf_mod ssl_conf_mod = {
	.name = "ssl",
	.size = sizeof(struct ssl_conf),
	.rows = rows,
	.init = ssl_init,
	.done = ssl_done,
	.done_where = IN_HTTP,
};

static struct conf_mod *const confs[] = {&ssl_conf_mod, NULL};

/* ---- ticket keys: one thread looks whether they are due ---- */

#define ROTATE_LOOK (10 * SECOND)
static struct timer rotate_timer;

static void rotate(struct timer *t)
{
	tls_rotate_ticket_keys(io_wall_ms());
	timer_start(&co_sched.wheel, t, io_now_ms() + ROTATE_LOOK);
}

static int ssl_thread_start(void)
{
	if (io_loop_index() != 0)
		return 0;
	timer_init(&rotate_timer, rotate);
	timer_start(&co_sched.wheel, &rotate_timer, io_now_ms() + ROTATE_LOOK);
	return 0;
}

static void ssl_thread_stop(void)
{
	if (io_loop_index() == 0)
		timer_stop(&co_sched.wheel, &rotate_timer);
}

const struct http_module ssl_module = {
	.name = "ssl",
	.confs = confs,
	.vars = vars,
	.phase = {[PHASE_POST_READ] = ssl_check},
	.thread_start = ssl_thread_start,
	.thread_stop = ssl_thread_stop,
};
