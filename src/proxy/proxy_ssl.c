/* proxy_ssl_* and proxy_bind: how connections of a location differ from others. */
#include "base/hash.h"
#include "conf/opener.h"
#include "proxy/exchange.h"
#include "serve/cert_names.h"

/* ---- configuration ---- */

/* A file's text; empty path: empty text. */
static int ssl_read(struct conf_call *c, const char *what, struct span path, struct span *text,
		    struct span *full)
{
	struct span p;

	*text = (struct span){0};
	if (!path.n || c->ctx->opener->offline)
		return CONF_OK;
	if (span_starts(path, SPAN("data:")) || span_starts(path, SPAN("engine:")) ||
	    span_starts(path, SPAN("store:"))) {
		*text = span_starts(path, SPAN("data:")) ? span_cut(path, 5, path.n) : path;
		*full = path;
		return CONF_OK;
	}
	p = conf_path(c->ctx, path, true);
	if (!p.p)
		return CONF_ERR;
	*full = p;
	if (c->ctx->opener->ops->read_file(c->ctx->opener, p, c->ctx->arena, text) < 0)
		return conf_error(c, 0, "cannot load %s \"%.*s\"", what, SPAN_ARG(p));
	return CONF_OK;
}

static struct span *ssl_passwords(struct conf_call *c, struct span text, size_t *n)
{
	struct span *v = NULL, line;
	size_t cap = 0;

	*n = 0;
	while (span_split(&text, '\n', &line)) {
		struct span *s;

		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (!line.n)
			continue;
		s = ARENA_PUSH(c->ctx->arena, v, n, &cap);
		if (s)
			*s = line;
	}
	return v;
}

static void ssl_ctx_free(void *ctx)
{
	tls_ctx_unref(ctx);
}

/* Contexts with equal settings are one: connections of different locations may then be shared. */
static uint64_t ssl_identity(const struct tls_conf *t)
{
	uint64_t h = t->protocols * 31u + (unsigned)t->verify * 7u + (unsigned)t->verify_depth +
		     t->session_reuse * 1009u;
	const struct span parts[] = {t->ciphers,
				     t->trusted,
				     t->crl,
				     t->nalpn ? t->alpn[t->nalpn - 1] : (struct span){0},
				     t->nalpn > 1 ? t->alpn[0] : (struct span){0},
				     t->ncerts ? t->certs[0].cert : (struct span){0},
				     t->ncerts ? t->certs[0].key : (struct span){0}};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		h = (h ^ hash_bytes(parts[i].p, parts[i].n)) * 0x9e3779b97f4a7c15u;
	for (size_t i = 0; i < t->ncommands; i++)
		h = (h ^ hash_bytes(t->commands[i].name.p, t->commands[i].name.n) ^
		     hash_bytes(t->commands[i].value.p, t->commands[i].value.n) * 3) *
		    0x9e3779b97f4a7c15u;
	return h | 1;
}

static int ssl_make_one(struct conf_call *c, const struct tls_conf *t, struct tls_ctx **out)
{
	struct span err = {0};

	*out = tls_ctx_new(t, c->ctx->arena, &err);
	if (!*out)
		return conf_error(c, 0, "%.*s", SPAN_ARG(err));
	if (snapshot_on_free(c->ctx->snapshot, ssl_ctx_free, *out) < 0) {
		ssl_ctx_free(*out);
		*out = NULL;
		return conf_error(c, 0, "out of memory");
	}
	return CONF_OK;
}

static int ssl_make(struct conf_call *c, struct proxy_conf *conf, struct tls_conf *t)
{
	struct tls_conf http1 = *t;

	conf->tls_identity = ssl_identity(t);
	if (ssl_make_one(c, t, &conf->tls) < 0)
		return CONF_ERR;
	http1.nalpn = 0;
	return t->nalpn ? ssl_make_one(c, &http1, &conf->tls_http1) : CONF_OK;
}

/* With variables: t and its texts are the snapshot's. */
static int ssl_names(struct conf_call *c, struct proxy_ssl *s, const struct tls_conf *t)
{
	struct cert_name *name = arena_alloc(c->ctx->arena, sizeof(*name));

	s->names = arena_alloc(c->ctx->arena, 2 * sizeof(*s->names));
	if (!name || !s->names)
		return conf_error(c, 0, "out of memory");
	*name = (struct cert_name){s->certificate, s->certificate_key};
	s->names[0] = (struct cert_names){*t, name, 1, c->ctx->conf_prefix};
	s->names[1] = s->names[0];
	s->names[1].tls.nalpn = 0;
	return CONF_OK;
}

static int ssl_certificate(struct conf_call *c, struct proxy_ssl *s, struct tls_conf *t,
			   struct tls_cert *cert)
{
	s->names = NULL;
	if (!s->certificate || (s->certificate->constant && !s->certificate->source.n))
		return CONF_OK;
	if (!s->certificate_key)
		return conf_error(
			c, 0,
			"no \"proxy_ssl_certificate_key\" is defined for certificate \"%.*s\"",
			SPAN_ARG(tls_file_shown(s->certificate->source)));
	if (!s->certificate->constant || !s->certificate_key->constant)
		return ssl_names(c, s, t);
	if (ssl_read(c, "certificate", s->certificate->source, &cert->cert, &cert->cert_path) < 0 ||
	    ssl_read(c, "certificate key", s->certificate_key->source, &cert->key,
		     &cert->key_path) < 0)
		return CONF_ERR;
	cert->cert_path = tls_file_shown(cert->cert_path);
	cert->key_path = tls_file_shown(cert->key_path);
	t->ncerts = cert->cert.n > 0;
	return CONF_OK;
}

int proxy_ssl_done(struct conf_call *c, struct proxy_conf *conf)
{
	static const struct span alpn[] = {SPAN_INIT("h2"), SPAN_INIT("http/1.1")};
	struct proxy_ssl *s = &conf->ssl;
	struct arena *a = c->ctx->arena;
	struct tls_conf *t = arena_zalloc(a, sizeof(*t));
	struct tls_cert *cert = arena_zalloc(a, sizeof(*cert));
	struct tls_command *cmds = arena_alloc(a, (s->commands.n / 2 + 1) * sizeof(*cmds));
	struct span full, text;

	if (!conf->pass->tmpl && !conf->pass->target.tls)
		return CONF_OK;
	if (!t || !cert || !cmds)
		return conf_error(c, 0, "out of memory");
	*t = (struct tls_conf){.protocols = s->protocols,
			       .ciphers = s->ciphers,
			       .session_reuse = s->session_reuse,
			       .verify = s->verify ? TLS_VERIFY_ON : TLS_VERIFY_OFF,
			       .verify_depth = (int)s->verify_depth,
			       .commands = cmds,
			       .ncommands = s->commands.n / 2,
			       .certs = cert};
	if (conf->http_version >= HTTP_2) {
		t->alpn = alpn;
		t->nalpn = conf->http_version == HTTP_2 ? 1 : 2;
	}
	for (size_t i = 0; i < t->ncommands; i++)
		cmds[i] = (struct tls_command){s->commands.v[2 * i], s->commands.v[2 * i + 1]};
	if (s->verify && !s->trusted.n)
		return conf_error(c, 0, "no proxy_ssl_trusted_certificate for proxy_ssl_verify");
	if (ssl_read(c, "certificates", s->trusted, &t->trusted, &full) < 0 ||
	    ssl_read(c, "revocation list", s->crl, &t->crl, &full) < 0)
		return CONF_ERR;
	if (s->password_file.n) {
		if (ssl_read(c, "password file", s->password_file, &text, &full) < 0)
			return CONF_ERR;
		t->passwords = ssl_passwords(c, text, &t->npasswords);
	}
	if (ssl_certificate(c, &conf->ssl, t, cert) < 0)
		return CONF_ERR;
	return ssl_make(c, conf, t);
}

/* ---- run time ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	return ((a ^ b) * 0x9e3779b97f4a7c15u) | 1;
}

static void ctx_unref(void *ctx)
{
	tls_ctx_unref(ctx);
}

/* The certificate that this request's variables name; none when they are empty. */
static bool ssl_named(struct exchange *x, const struct cert_names *names, struct tls_connect *tls,
		      uint64_t *identity)
{
	struct span name = tmpl_eval(x->conf->ssl.certificate, &x->r->vars);
	struct tls_ctx *ctx;

	if (x->r->vars.failed || !name.n)
		return !x->r->vars.failed;
	ctx = cert_names_get(x->r, names);
	if (!ctx)
		return false;
	if (req_cleanup(x->r, ctx_unref, tls_ctx_ref(ctx)) != FAIL_OK) {
		ctx_unref(ctx);
		return false;
	}
	tls->ctx = ctx;
	*identity = mix(*identity, hash_bytes(name.p, name.n));
	return true;
}

bool proxy_ssl_want(struct exchange *x, struct tls_connect *tls, uint64_t *identity)
{
	const struct proxy_conf *c = x->conf;
	struct span name = x->target->host;
	struct net_addr literal;

	if (c->ssl.name) {
		ssize_t colon;

		name = tmpl_eval(c->ssl.name, &x->r->vars);
		colon = name.n && name.p[0] != '[' ? span_find_char(name, ':', 0) : -1;
		if (colon >= 0)
			name = span_cut(name, 0, (size_t)colon);
	}
	if (x->r->vars.failed || !c->tls)
		return false;
	*tls = (struct tls_connect){.ctx = c->tls, .verify = c->ssl.verify, .verify_name = name};
	if (name.n && !addr_parse_ip(name, &literal))
		tls->sni = name;
	*identity = mix(mix(*identity, c->tls_identity), hash_bytes_nocase(name.p, name.n));
	if (c->ssl.names && !ssl_named(x, &c->ssl.names[0], tls, identity))
		return false;
	tls->session_key =
		c->ssl.session_reuse
			? mix(*identity, hash_bytes(x->attempt->addr.p, x->attempt->addr.n))
			: 0;
	return true;
}

bool proxy_ssl_http1(struct exchange *x, struct tls_connect *tls)
{
	const struct proxy_conf *c = x->conf;
	uint64_t same = 0;

	tls->ctx = c->tls_http1;
	tls->session_key = 0;
	return c->tls_http1 && (!c->ssl.names || ssl_named(x, &c->ssl.names[1], tls, &same));
}

bool proxy_bind_want(struct exchange *x, struct upconn_want *w)
{
	struct span text = tmpl_eval(x->conf->bind, &x->r->vars);
	struct net_addr *addr;

	if (x->r->vars.failed)
		return false;
	if (!text.n)
		return true;
	addr = arena_zalloc(&x->r->arena, sizeof(*addr));
	if (!addr)
		return false;
	if (!addr_parse(text, 0, addr)) {
		req_log(x->r, LOG_ERR, 0, "invalid local address \"%.*s\"", SPAN_ARG(text));
		return true;
	}
	w->bind = addr;
	w->bind_transparent = x->conf->bind_transparent;
	w->identity = mix(w->identity, hash_bytes(addr, addr->len + offsetof(struct net_addr, sa)));
	return true;
}
