/* Contexts: from the texts of a configuration to an SSL_CTX. */
#include <errno.h>
#include <stdio.h>
#include <openssl/conf.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include "base/hash.h"
#include "base/pool.h"
#include "net/tls_int.h"

/* While a context is made. */
struct making {
	const struct tls_conf *conf;
	struct tls_ctx *c;
	struct arena *a;
	struct span *err;
};

static bool wrong(struct making *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool wrong(struct making *m, const char *fmt, ...)
{
	char text[600];
	struct span words;
	va_list ap;

	va_start(ap, fmt);
	words = arena_vprintf(m->a, fmt, ap);
	va_end(ap);
	tls_error_text(text, sizeof(text));
	*m->err = arena_printf(m->a, "%.*s%s", SPAN_ARG(words), text);
	return false;
}

/* An end of file is how every list of PEM blocks ends; anything else in the queue is an error. */
static bool pem_ended(void)
{
	unsigned long e = ERR_peek_last_error();

	if (ERR_GET_LIB(e) != ERR_LIB_PEM || ERR_GET_REASON(e) != PEM_R_NO_START_LINE)
		return false;
	ERR_clear_error();
	return true;
}

static BIO *bio_of(struct span text)
{
	return BIO_new_mem_buf(text.p ? text.p : "", (int)text.n);
}

/* No password is not "ask the terminal". */
static int password_cb(char *buf, int size, int writing, void *arg)
{
	const struct span *pw = arg;

	if (!pw || pw->n > (size_t)size)
		return 0;
	memcpy(buf, pw->p, pw->n);
	return (int)pw->n;
}

/* ---- certificates ---- */

static bool add_chain(struct making *m, const struct tls_cert *cert, BIO *b)
{
	X509 *x;

	while ((x = PEM_read_bio_X509(b, NULL, password_cb, NULL))) {
		if (SSL_CTX_add0_chain_cert(m->c->ssl, x) != 1) {
			X509_free(x);
			return wrong(m, "SSL_CTX_add0_chain_cert(\"%.*s\") failed",
				     SPAN_ARG(cert->cert_path));
		}
	}
	if (!pem_ended())
		return wrong(m, "cannot load certificate \"%.*s\": PEM_read_bio_X509() failed",
			     SPAN_ARG(cert->cert_path));
	return true;
}

static bool use_cert(struct making *m, const struct tls_cert *cert)
{
	BIO *b = bio_of(cert->cert);
	X509 *x = b ? PEM_read_bio_X509_AUX(b, NULL, password_cb, NULL) : NULL;
	bool ok;

	if (!x) {
		BIO_free(b);
		return wrong(m, "cannot load certificate \"%.*s\": PEM_read_bio_X509_AUX() failed",
			     SPAN_ARG(cert->cert_path));
	}
	ok = SSL_CTX_use_certificate(m->c->ssl, x) == 1 ||
	     wrong(m, "SSL_CTX_use_certificate(\"%.*s\") failed", SPAN_ARG(cert->cert_path));
	X509_free(x);
	ok = ok && add_chain(m, cert, b);
	BIO_free(b);
	return ok;
}

static EVP_PKEY *key_from_pem(struct making *m, struct span text)
{
	const struct tls_conf *conf = m->conf;
	EVP_PKEY *key = NULL;

	for (size_t i = 0; !key && i < MAX_OF(conf->npasswords, 1); i++) {
		BIO *b = bio_of(text);

		ERR_clear_error();
		if (b)
			key = PEM_read_bio_PrivateKey(b, NULL, password_cb,
						      conf->npasswords ? (void *)&conf->passwords[i]
								       : NULL);
		BIO_free(b);
	}
	return key;
}

static EVP_PKEY *key_from_store(struct making *m, struct span uri)
{
	const char *text = arena_cstr(m->a, uri);
	EVP_PKEY *key = NULL;
	OSSL_STORE_CTX *st;

	st = text ? OSSL_STORE_open(text, NULL, NULL, NULL, NULL) : NULL;
	while (st && !key && !OSSL_STORE_eof(st)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(st);

		if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
			key = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
	}
	OSSL_STORE_close(st);
	return key;
}

static bool use_key(struct making *m, const struct tls_cert *cert)
{
	EVP_PKEY *key;
	bool ok;

	if (span_starts(cert->key, SPAN("engine:")))
		return wrong(m,
			     "cannot load certificate key \"%.*s\": OpenSSL engines are not "
			     "supported, use \"store:\" with a provider",
			     SPAN_ARG(cert->key_path));
	if (span_starts(cert->key, SPAN("store:"))) {
		key = key_from_store(m, span_cut(cert->key, 6, cert->key.n));
		if (!key)
			return wrong(m,
				     "cannot load certificate key \"%.*s\": OSSL_STORE_load() "
				     "failed",
				     SPAN_ARG(cert->key_path));
	} else {
		key = key_from_pem(m, cert->key);
		if (!key)
			return wrong(m,
				     "cannot load certificate key \"%.*s\": "
				     "PEM_read_bio_PrivateKey() failed",
				     SPAN_ARG(cert->key_path));
	}
	ERR_clear_error();
	ok = SSL_CTX_use_PrivateKey(m->c->ssl, key) == 1 ||
	     wrong(m, "SSL_CTX_use_PrivateKey(\"%.*s\") failed", SPAN_ARG(cert->key_path));
	EVP_PKEY_free(key);
	return ok;
}

static bool set_certs(struct making *m)
{
	for (size_t i = 0; i < m->conf->ncerts; i++) {
		if (!use_cert(m, &m->conf->certs[i]) || !use_key(m, &m->conf->certs[i]))
			return false;
	}
	m->c->has_cert = m->conf->ncerts > 0;
	return true;
}

/* ---- verification ---- */

/* The peer is told nothing: the answer to a bad certificate is an HTTP one. */
static int verify_cb(int ok, X509_STORE_CTX *x)
{
	return 1;
}

static bool add_trusted(struct making *m, struct span text, const char *what, bool announce)
{
	X509_STORE *store = SSL_CTX_get_cert_store(m->c->ssl);
	BIO *b = bio_of(text);
	unsigned n = 0;
	bool ok = b;
	X509 *x;

	while (ok && (x = PEM_read_bio_X509_AUX(b, NULL, password_cb, NULL))) {
		ok = X509_STORE_add_cert(store, x) == 1 &&
		     (!announce || SSL_CTX_add_client_CA(m->c->ssl, x) == 1);
		X509_free(x);
		n++;
	}
	BIO_free(b);
	if (!ok || !pem_ended() || !n)
		return wrong(m, "cannot load %s: PEM_read_bio_X509_AUX() failed", what);
	return true;
}

static bool add_crls(struct making *m)
{
	X509_STORE *store = SSL_CTX_get_cert_store(m->c->ssl);
	BIO *b = bio_of(m->conf->crl);
	unsigned n = 0;
	bool ok = b;
	X509_CRL *x;

	while (ok && (x = PEM_read_bio_X509_CRL(b, NULL, password_cb, NULL))) {
		ok = X509_STORE_add_crl(store, x) == 1;
		X509_CRL_free(x);
		n++;
	}
	BIO_free(b);
	if (!ok || !pem_ended() || !n)
		return wrong(m, "cannot load the revocation list: PEM_read_bio_X509_CRL() failed");
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return true;
}

static bool set_verify(struct making *m)
{
	const struct tls_conf *conf = m->conf;
	SSL_CTX *ssl = m->c->ssl;

	m->c->verify = conf->verify;
	if (conf->client_ca.n &&
	    !add_trusted(m, conf->client_ca, "the client certificate authorities", conf->server))
		return false;
	if (conf->trusted.n && !add_trusted(m, conf->trusted, "the trusted certificates", false))
		return false;
	if (conf->crl.n && !add_crls(m))
		return false;
	SSL_CTX_set_verify_depth(ssl, conf->verify_depth);
	if (conf->server && conf->verify != TLS_VERIFY_OFF)
		SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, verify_cb);
	return true;
}

/* ---- parameters ---- */

static bool set_protocols(struct making *m)
{
	static const struct {
		unsigned bit;
		int version;
		uint64_t off;
	} all[] = {
		{TLS_SSLV3, SSL3_VERSION, SSL_OP_NO_SSLv3},
		{TLS_V1, TLS1_VERSION, SSL_OP_NO_TLSv1},
		{TLS_V1_1, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
		{TLS_V1_2, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
		{TLS_V1_3, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
	};
	unsigned want = m->conf->protocols ? m->conf->protocols : TLS_V1_2 | TLS_V1_3;
	int min = 0, max = 0;

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (want & all[i].bit) {
			min = min ? min : all[i].version;
			max = all[i].version;
			SSL_CTX_clear_options(m->c->ssl, all[i].off);
		} else {
			SSL_CTX_set_options(m->c->ssl, all[i].off);
		}
	}
	if (SSL_CTX_set_min_proto_version(m->c->ssl, min) != 1 ||
	    SSL_CTX_set_max_proto_version(m->c->ssl, max) != 1)
		return wrong(m, "SSL_CTX_set_min_proto_version() failed");
	return true;
}

static bool set_ciphers(struct making *m)
{
	const struct tls_conf *conf = m->conf;
	SSL_CTX *ssl = m->c->ssl;
	const char *text;

	if (conf->ciphers.n) {
		text = arena_cstr(m->a, conf->ciphers);
		if (!text || SSL_CTX_set_cipher_list(ssl, text) != 1)
			return wrong(m, "SSL_CTX_set_cipher_list(\"%.*s\") failed",
				     SPAN_ARG(conf->ciphers));
	}
	if (conf->prefer_server_ciphers)
		SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* The library's own list begins with X25519 (or what succeeds it). */
	if (conf->curves.n && !span_eq(conf->curves, SPAN("auto"))) {
		text = arena_cstr(m->a, conf->curves);
		if (!text || SSL_CTX_set1_groups_list(ssl, text) != 1)
			return wrong(m, "SSL_CTX_set1_curves_list(\"%.*s\") failed",
				     SPAN_ARG(conf->curves));
	}
	return true;
}

/* Without a file there is no DHE: it costs the server far more than the client. */
static bool set_dh(struct making *m)
{
	EVP_PKEY *dh = NULL;
	BIO *b;

	if (!m->conf->dhparam.n)
		return true;
	b = bio_of(m->conf->dhparam);
	if (b)
		dh = PEM_read_bio_Parameters(b, NULL);
	BIO_free(b);
	if (!dh)
		return wrong(m, "cannot load DH parameters: PEM_read_bio_DHparams() failed");
	if (SSL_CTX_set0_tmp_dh_pkey(m->c->ssl, dh) != 1) {
		EVP_PKEY_free(dh);
		return wrong(m, "SSL_CTX_set0_tmp_dh_pkey() failed");
	}
	return true;
}

static bool set_alpn(struct making *m)
{
	const struct tls_conf *conf = m->conf;
	struct tls_ctx *c = m->c;
	size_t n = 0;

	for (size_t i = 0; i < conf->nalpn; i++) {
		if (conf->alpn[i].n == 0 || conf->alpn[i].n > 255)
			return wrong(m, "invalid ALPN protocol \"%.*s\"", SPAN_ARG(conf->alpn[i]));
		n += conf->alpn[i].n + 1;
	}
	if (n == 0)
		return true;
	c->alpn = mem_alloc(n);
	if (!c->alpn)
		return wrong(m, "no memory");
	for (size_t i = 0; i < conf->nalpn; i++) {
		c->alpn[c->nalpn++] = (uint8_t)conf->alpn[i].n;
		memcpy(c->alpn + c->nalpn, conf->alpn[i].p, conf->alpn[i].n);
		c->nalpn += conf->alpn[i].n;
	}
	if (conf->server)
		SSL_CTX_set_alpn_select_cb(c->ssl, tls_alpn_cb, NULL);
	else if (SSL_CTX_set_alpn_protos(c->ssl, c->alpn, (unsigned)c->nalpn) != 0)
		return wrong(m, "SSL_CTX_set_alpn_protos() failed");
	return true;
}

int tls_alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
		unsigned inlen, void *arg)
{
	const struct tls *t = tls_of(ssl);
	struct span have = span_make(t->ctx->alpn, t->ctx->nalpn);
	unsigned char *chosen;

	/* It can only be the first one. */
	if (t->picker && have.n && t->picker->not_alpn.n &&
	    span_eq(span_cut(have, 1, 1 + (size_t)(uint8_t)have.p[0]), t->picker->not_alpn))
		have = span_cut(have, 1 + (size_t)(uint8_t)have.p[0], have.n);
	if (SSL_select_next_proto(&chosen, outlen, (const unsigned char *)have.p, (unsigned)have.n,
				  in, inlen) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 section 3.2 */
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static bool run_commands(struct making *m)
{
	const struct tls_conf *conf = m->conf;
	SSL_CONF_CTX *cc;
	bool ok = true;

	if (!conf->ncommands)
		return true;
	cc = SSL_CONF_CTX_new();
	if (!cc)
		return wrong(m, "SSL_CONF_CTX_new() failed");
	SSL_CONF_CTX_set_flags(
		cc, SSL_CONF_FLAG_FILE | SSL_CONF_FLAG_CERTIFICATE | SSL_CONF_FLAG_SHOW_ERRORS |
			    (conf->server ? SSL_CONF_FLAG_SERVER : SSL_CONF_FLAG_CLIENT));
	SSL_CONF_CTX_set_ssl_ctx(cc, m->c->ssl);
	for (size_t i = 0; ok && i < conf->ncommands; i++) {
		const struct tls_command *k = &conf->commands[i];
		const char *name = arena_cstr(m->a, k->name), *value = arena_cstr(m->a, k->value);
		int rc = name && value ? SSL_CONF_cmd(cc, name, value) : 0;

		if (rc <= 0)
			ok = wrong(m, "SSL_CONF_cmd(\"%.*s\", \"%.*s\") failed", SPAN_ARG(k->name),
				   SPAN_ARG(k->value));
	}
	if (ok && SSL_CONF_CTX_finish(cc) != 1)
		ok = wrong(m, "SSL_CONF_CTX_finish() failed");
	SSL_CONF_CTX_free(cc);
	return ok;
}

/* ---- the whole ---- */

static void digest_span(EVP_MD_CTX *md, struct span s)
{
	uint64_t n = s.n;

	EVP_DigestUpdate(md, &n, sizeof(n));
	EVP_DigestUpdate(md, s.p, s.n);
}

/* A session is good only where the same certificates are shown and the same clients are let in. */
static bool set_identity(struct making *m)
{
	const struct tls_conf *conf = m->conf;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char sum[EVP_MAX_MD_SIZE];
	uint32_t rules[2] = {conf->verify, (uint32_t)conf->verify_depth};
	unsigned n = 0;
	bool ok;

	ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	if (ok) {
		EVP_DigestUpdate(md, rules, sizeof(rules));
		digest_span(md, conf->client_ca);
		digest_span(md, conf->trusted);
		digest_span(md, conf->crl);
		for (size_t i = 0; i < conf->ncerts; i++)
			digest_span(md, conf->certs[i].cert);
		ok = EVP_DigestFinal_ex(md, sum, &n) == 1;
	}
	EVP_MD_CTX_free(md);
	if (!ok || SSL_CTX_set_session_id_context(m->c->ssl, sum, MIN_OF(n, 32)) != 1)
		return wrong(m, "SSL_CTX_set_session_id_context() failed");
	memcpy(&m->c->identity, sum, sizeof(m->c->identity));
	return true;
}

/* So that the server's hello says that the name was understood (RFC 6066 section 3). */
static int sni_cb(SSL *ssl, int *alert, void *arg)
{
	return SSL_TLSEXT_ERR_OK;
}

static void set_basics(struct making *m)
{
	const struct tls_conf *conf = m->conf;
	struct tls_ctx *c = m->c;

	c->server = conf->server;
	c->reject = conf->reject_handshake;
	c->early_data = conf->early_data;
	c->record_max =
		conf->record_max ? MIN_OF(conf->record_max, TLS_RECORD_MAX) : TLS_RECORD_MAX;
	c->record_max = MAX_OF(c->record_max, 512);
	SSL_CTX_set_options(c->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					    SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_SINGLE_DH_USE);
	SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					 SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_read_ahead(c->ssl, 1);
	SSL_CTX_set_max_send_fragment(c->ssl, c->record_max);
	SSL_CTX_set_default_passwd_cb(c->ssl, password_cb);
	if (!conf->server)
		return;
	SSL_CTX_set_client_hello_cb(c->ssl, tls_hello_cb, NULL);
	SSL_CTX_set_tlsext_servername_callback(c->ssl, sni_cb);
	SSL_CTX_set_keylog_callback(c->ssl, tls_keylog_cb);
	SSL_CTX_set_msg_callback(c->ssl, tls_record_cb);
	if (conf->early_data) {
		/* Replays are the request handlers' matter (RFC 8470), as tickets are stateless. */
		SSL_CTX_set_options(c->ssl, SSL_OP_NO_ANTI_REPLAY);
		SSL_CTX_set_max_early_data(c->ssl, TLS_RECORD_MAX);
		SSL_CTX_set_recv_max_early_data(c->ssl, TLS_RECORD_MAX);
	}
}

static bool check_ticket_keys(struct making *m)
{
	for (size_t i = 0; i < m->conf->nticket_keys; i++)
		if (m->conf->ticket_keys[i].n != 48 && m->conf->ticket_keys[i].n != 80)
			return wrong(m, "a session ticket key must be 48 or 80 bytes, not %zu",
				     m->conf->ticket_keys[i].n);
	return true;
}

struct tls_ctx *tls_ctx_new(const struct tls_conf *conf, struct arena *a, struct span *err)
{
	struct tls_ctx *c = mem_zalloc(sizeof(*c));
	struct making m = {.conf = conf, .c = c, .a = a, .err = err};
	bool ok = c;

	*err = (struct span){NULL, 0};
	ERR_clear_error();
	if (ok) {
		atomic_init(&c->refs, 1);
		c->ssl = SSL_CTX_new(conf->server ? TLS_server_method() : TLS_client_method());
		ok = c->ssl;
	}
	if (!ok)
		wrong(&m, "SSL_CTX_new() failed");
	if (ok)
		set_basics(&m);
	ok = ok && set_protocols(&m) && set_ciphers(&m) && set_certs(&m) && set_verify(&m) &&
	     set_dh(&m) && set_alpn(&m) && check_ticket_keys(&m) && set_identity(&m) &&
	     (tls_sessions_setup(c, conf) || wrong(&m, "cannot set up TLS sessions")) &&
	     run_commands(&m);
	ERR_clear_error();
	if (ok)
		return c;
	tls_ctx_unref(c);
	return NULL;
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void tls_ctx_unref(struct tls_ctx *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	SSL_CTX_free(c->ssl);
	if (c->keys)
		OPENSSL_cleanse(c->keys, c->nkeys * sizeof(*c->keys));
	mem_free(c->keys);
	mem_free(c->alpn);
	mem_free(c);
}

bool tls_ctx_has_certificate(const struct tls_ctx *c)
{
	return c->has_cert;
}
