/* Facts about a connection, in nginx's formats. */
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "base/buf.h"
#include "net/tls_int.h"

#define LIST_MAX 4096 /* bytes of a list of names */

static struct span none(void)
{
	return (struct span){"", 0};
}

static struct span copy_text(struct arena *a, const char *s)
{
	return s ? arena_dup(a, span_of(s)) : none();
}

static struct span hex(struct arena *a, const unsigned char *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	char *out = arena_alloc(a, 2 * n);

	if (!out)
		return none();
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	return span_make(out, 2 * n);
}

/* What a memory BIO holds; frees it. */
static struct span bio_text(BIO *b, struct arena *a)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);
	struct span s = n > 0 ? arena_dup(a, span_make(p, (size_t)n)) : none();

	BIO_free(b);
	return s;
}

/* ---- lists ---- */

struct names {
	struct buf b;
};

static void names_add(struct names *l, const char *name, unsigned number)
{
	if (l->b.len)
		buf_add_char(&l->b, ':');
	if (name)
		buf_add_span(&l->b, span_of(name));
	else
		buf_printf(&l->b, "0x%04x", number);
}

static struct span names_end(struct names *l, struct arena *a)
{
	struct span s = arena_dup(a, buf_span(&l->b));

	buf_fini(&l->b);
	return s;
}

static struct span fact_ciphers(SSL *ssl, struct arena *a)
{
	struct names l;
	const unsigned char *raw;
	size_t n = SSL_get0_raw_cipherlist(ssl, &raw), width = SSL_get0_raw_cipherlist(ssl, NULL);

	buf_init(&l.b, LIST_MAX);
	for (size_t i = 0; width == 2 && i + 2 <= n; i += 2) {
		const SSL_CIPHER *c = SSL_CIPHER_find(ssl, raw + i);

		names_add(&l, c ? SSL_CIPHER_get_name(c) : NULL,
			  (unsigned)(raw[i] << 8 | raw[i + 1]));
	}
	return names_end(&l, a);
}

static const char *group_name(int nid)
{
	return nid & TLSEXT_nid_unknown ? NULL : OBJ_nid2sn(nid);
}

static struct span curve_text(int nid, struct arena *a)
{
	if (nid == NID_undef)
		return none();
	if (!group_name(nid))
		return arena_printf(a, "0x%04x", (unsigned)nid & 0xffff);
	return copy_text(a, group_name(nid));
}

static struct span fact_curves(SSL *ssl, struct arena *a)
{
	struct names l;
	int n = (int)SSL_get1_groups(ssl, NULL);
	int *nids = n > 0 ? arena_alloc(a, (size_t)n * sizeof(*nids)) : NULL;

	if (!nids)
		return none();
	n = (int)SSL_get1_groups(ssl, nids);
	buf_init(&l.b, LIST_MAX);
	for (int i = 0; i < n; i++)
		names_add(&l, group_name(nids[i]), (unsigned)nids[i] & 0xffff);
	return names_end(&l, a);
}

/* The TLS 1.3 names of signature schemes (RFC 8446 section 4.2.3). */
static const char *sigalg_name(unsigned scheme)
{
	static const struct {
		unsigned scheme;
		const char *name;
	} t[] = {
		{0x0403, "ecdsa_secp256r1_sha256"},
		{0x0503, "ecdsa_secp384r1_sha384"},
		{0x0603, "ecdsa_secp521r1_sha512"},
		{0x0807, "ed25519"},
		{0x0808, "ed448"},
		{0x0804, "rsa_pss_rsae_sha256"},
		{0x0805, "rsa_pss_rsae_sha384"},
		{0x0806, "rsa_pss_rsae_sha512"},
		{0x0809, "rsa_pss_pss_sha256"},
		{0x080a, "rsa_pss_pss_sha384"},
		{0x080b, "rsa_pss_pss_sha512"},
		{0x0401, "rsa_pkcs1_sha256"},
		{0x0501, "rsa_pkcs1_sha384"},
		{0x0601, "rsa_pkcs1_sha512"},
		{0x0303, "ecdsa_sha224"},
		{0x0203, "ecdsa_sha1"},
		{0x0301, "rsa_pkcs1_sha224"},
		{0x0201, "rsa_pkcs1_sha1"},
		{0x0402, "dsa_sha256"},
		{0x0502, "dsa_sha384"},
		{0x0602, "dsa_sha512"},
		{0x0302, "dsa_sha224"},
		{0x0202, "dsa_sha1"},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		if (t[i].scheme == scheme)
			return t[i].name;
	return NULL;
}

static struct span fact_sigalgs(SSL *ssl, struct arena *a)
{
	struct names l;
	int n = SSL_get_sigalgs(ssl, -1, NULL, NULL, NULL, NULL, NULL);

	buf_init(&l.b, LIST_MAX);
	for (int i = 0; i < n; i++) {
		unsigned char sig = 0, hash = 0;

		SSL_get_sigalgs(ssl, i, NULL, NULL, NULL, &sig, &hash);
		names_add(&l, sigalg_name((unsigned)(hash << 8 | sig)),
			  (unsigned)(hash << 8 | sig));
	}
	return names_end(&l, a);
}

/* The scheme of key type and hash as this connection could have used it; else the parts' names. */
static struct span sigalg_text(int key, int hash, int group, struct arena *a)
{
	const char *md = hash == NID_undef ? NULL : OBJ_nid2ln(hash);

	switch (key) {
	case EVP_PKEY_ED25519:
		return SPAN("ed25519");
	case EVP_PKEY_ED448:
		return SPAN("ed448");
	case EVP_PKEY_RSA:
		return arena_printf(a, "rsa_pkcs1_%s", md ? md : "");
	case EVP_PKEY_RSA_PSS:
		return arena_printf(a, "rsa_pss_%s_%s", group ? "pss" : "rsae", md ? md : "");
	case EVP_PKEY_EC:
		return arena_printf(a, "ecdsa_%s%s",
				    !strcmp(md ? md : "", "sha256")   ? "secp256r1_"
				    : !strcmp(md ? md : "", "sha384") ? "secp384r1_"
				    : !strcmp(md ? md : "", "sha512") ? "secp521r1_"
								      : "",
				    md ? md : "");
	case EVP_PKEY_DSA:
		return arena_printf(a, "dsa_%s", md ? md : "");
	default:
		return none();
	}
}

bool tls_cert_is_pss(X509 *x)
{
	EVP_PKEY *k = x ? X509_get0_pubkey(x) : NULL;

	return k && EVP_PKEY_get_base_id(k) == EVP_PKEY_RSA_PSS;
}

static struct span fact_sigalg(SSL *ssl, struct arena *a, bool of_peer)
{
	int key = NID_undef, hash = NID_undef;
	X509 *x = of_peer ? SSL_get0_peer_certificate(ssl) : SSL_get_certificate(ssl);

	if (of_peer) {
		if (!SSL_get_peer_signature_type_nid(ssl, &key))
			return none();
		SSL_get_peer_signature_nid(ssl, &hash);
	} else {
		if (!SSL_get_signature_type_nid(ssl, &key))
			return none();
		SSL_get_signature_nid(ssl, &hash);
	}
	return sigalg_text(key, hash, tls_cert_is_pss(x), a);
}

/* ---- the client's certificate ---- */

static struct span pem(X509 *x, struct arena *a)
{
	BIO *b = BIO_new(BIO_s_mem());

	if (b)
		PEM_write_bio_X509(b, x);
	return b ? bio_text(b, a) : none();
}

/* As a header's value once was folded: every line but the first begins with a tab. */
static struct span pem_tabs(struct span s, struct arena *a)
{
	char *out = arena_alloc(a, 2 * s.n);
	size_t n = 0;

	if (!out || !s.n)
		return none();
	for (size_t i = 0; i < s.n - 1; i++) {
		out[n++] = s.p[i];
		if (s.p[i] == '\n')
			out[n++] = '\t';
	}
	return span_make(out, n);
}

static struct span percent(struct span s, struct arena *a)
{
	static const char digits[] = "0123456789ABCDEF";
	char *out = arena_alloc(a, 3 * s.n);
	size_t n = 0;

	if (!out)
		return none();
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i], low = c | 0x20;

		if ((low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
		    c == '_' || c == '~') {
			out[n++] = (char)c;
		} else {
			out[n++] = '%';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		}
	}
	return span_make(out, n);
}

static struct span dn(const X509_NAME *name, bool legacy, struct arena *a)
{
	BIO *b;

	if (!name)
		return none();
	if (legacy) {
		char *text = X509_NAME_oneline(name, NULL, 0);
		struct span s = copy_text(a, text);

		OPENSSL_free(text);
		return s;
	}
	b = BIO_new(BIO_s_mem());
	if (b)
		X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253);
	return b ? bio_text(b, a) : none();
}

static struct span serial(X509 *x, struct arena *a)
{
	BIO *b = BIO_new(BIO_s_mem());

	if (b)
		i2a_ASN1_INTEGER(b, X509_get0_serialNumber(x));
	return b ? bio_text(b, a) : none();
}

static struct span fingerprint(X509 *x, struct arena *a)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	return X509_digest(x, EVP_sha1(), sum, &n) ? hex(a, sum, n) : none();
}

static struct span when(const ASN1_TIME *t, struct arena *a)
{
	BIO *b = BIO_new(BIO_s_mem());

	if (b)
		ASN1_TIME_print(b, t);
	return b ? bio_text(b, a) : none();
}

static struct span remaining_days(const ASN1_TIME *end, struct arena *a)
{
	struct tm tm;
	int64_t left;

	if (ASN1_TIME_to_tm(end, &tm) != 1)
		return none();
	left = (int64_t)timegm(&tm) - (int64_t)(io_wall_ms() / 1000);
	return arena_printf(a, "%lld", left > 0 ? (long long)(left / 86400) : 0LL);
}

static struct span verify_text(SSL *ssl, X509 *x, struct arena *a)
{
	long rc = SSL_get_verify_result(ssl);

	if (!x)
		return SPAN("NONE");
	if (rc == X509_V_OK)
		return SPAN("SUCCESS");
	return arena_printf(a, "FAILED:%s", X509_verify_cert_error_string(rc));
}

static struct span cert_fact(X509 *x, enum tls_fact what, struct arena *a)
{
	if (!x)
		return none();
	switch (what) {
	case TLS_CLIENT_CERT:
		return pem_tabs(pem(x, a), a);
	case TLS_CLIENT_RAW_CERT:
		return pem(x, a);
	case TLS_CLIENT_ESCAPED_CERT:
		return percent(pem(x, a), a);
	case TLS_CLIENT_S_DN:
	case TLS_CLIENT_S_DN_LEGACY:
		return dn(X509_get_subject_name(x), what == TLS_CLIENT_S_DN_LEGACY, a);
	case TLS_CLIENT_I_DN:
	case TLS_CLIENT_I_DN_LEGACY:
		return dn(X509_get_issuer_name(x), what == TLS_CLIENT_I_DN_LEGACY, a);
	case TLS_CLIENT_SERIAL:
		return serial(x, a);
	case TLS_CLIENT_FINGERPRINT:
		return fingerprint(x, a);
	case TLS_CLIENT_V_START:
		return when(X509_get0_notBefore(x), a);
	case TLS_CLIENT_V_END:
		return when(X509_get0_notAfter(x), a);
	case TLS_CLIENT_V_REMAIN:
		return remaining_days(X509_get0_notAfter(x), a);
	default:
		return none();
	}
}

/* ---- the doors ---- */

static struct span session_id(SSL *ssl, struct arena *a)
{
	SSL_SESSION *sess = SSL_get0_session(ssl);
	const unsigned char *id;
	unsigned n = 0;

	if (!sess)
		return none();
	id = SSL_SESSION_get_id(sess, &n);
	return hex(a, id, n);
}

static struct span alpn(SSL *ssl, struct arena *a)
{
	const unsigned char *p = NULL;
	unsigned n = 0;

	SSL_get0_alpn_selected(ssl, &p, &n);
	return n ? arena_dup(a, span_make(p, n)) : none();
}

/* ---- of a connection that was taken over ---- */

/* Any SSL object knows all suites by number. One for the process, never used for a connection. */
static SSL *finder;
static pthread_once_t finder_once = PTHREAD_ONCE_INIT;

static void finder_make(void)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());

	finder = c ? SSL_new(c) : NULL;
	SSL_CTX_free(c);
}

static const char *suite_name(unsigned number)
{
	unsigned char raw[2] = {(unsigned char)(number >> 8), (unsigned char)number};
	const SSL_CIPHER *c;

	pthread_once(&finder_once, finder_make);
	c = finder ? SSL_CIPHER_find(finder, raw) : NULL;
	return c ? SSL_CIPHER_get_name(c) : NULL;
}

static struct span own_list(const struct tls_own *o, enum tls_fact what, struct arena *a)
{
	const int32_t *p = o->lists;
	struct names l;

	buf_init(&l.b, LIST_MAX);
	for (int i = 0; what == TLS_CURVES && i < o->ngroups; i++)
		names_add(&l, group_name(p[i]), (unsigned)p[i] & 0xffff);
	p += o->ngroups;
	for (int i = 0; what != TLS_CURVES && i < (int)(o->nciphers + o->nsigalgs); i++) {
		unsigned number = ((const uint16_t *)p)[i];

		if ((what == TLS_CIPHERS) != (i < o->nciphers))
			continue;
		names_add(&l, what == TLS_CIPHERS ? suite_name(number) : sigalg_name(number),
			  number);
	}
	return names_end(&l, a);
}

static struct span own_alpn(const struct tls_own *o, struct arena *a)
{
	const uint16_t *numbers = (const uint16_t *)(o->lists + o->ngroups);

	return arena_dup(a, span_make(numbers + o->nciphers + o->nsigalgs, o->nalpn));
}

bool tls_alpn_is(struct stream *s, struct span protocol)
{
	const struct tls_own *o = s->tls ? s->tls->own : NULL;
	const unsigned char *p = NULL;
	unsigned n = 0;

	if (!s->tls)
		return false;
	if (o) {
		p = (const unsigned char *)((const uint16_t *)(o->lists + o->ngroups) +
					    o->nciphers + o->nsigalgs);
		n = o->nalpn;
	} else if (s->tls->ssl) {
		SSL_get0_alpn_selected(s->tls->ssl, &p, &n);
	}
	return span_eq(span_make(p, n), protocol);
}

/* There is no certificate of the client, and no early data. */
static struct span own_fact(struct stream *s, enum tls_fact what, struct arena *a)
{
	const struct tls_own *o = s->tls->own;

	switch (what) {
	case TLS_PROTOCOL:
		return SPAN("TLSv1.3");
	case TLS_CIPHER:
		return copy_text(a, suite_name(o->suite));
	case TLS_CURVE:
		return curve_text(o->curve, a);
	case TLS_CIPHERS:
	case TLS_CURVES:
	case TLS_SIGALGS_OFFERED:
		return own_list(o, what, a);
	case TLS_SIGALG:
		return sigalg_text(o->sig_key, o->sig_hash, o->sig_pss, a);
	case TLS_SESSION_ID:
		return hex(a, o->id, o->nid);
	case TLS_SESSION_REUSED:
		return o->reused ? SPAN("r") : SPAN(".");
	case TLS_SERVER_NAME:
		return tls_sni(s);
	case TLS_ALPN:
		return own_alpn(o, a);
	case TLS_CLIENT_VERIFY:
		return SPAN("NONE");
	default:
		return none();
	}
}

static struct span conn_fact(struct stream *s, enum tls_fact what, struct arena *a)
{
	SSL *ssl = s->tls->ssl;

	if (!SSL_get_session(ssl) && what != TLS_SERVER_NAME)
		return none(); /* in the middle of the hello: OpenSSL would look into nothing */
	switch (what) {
	case TLS_PROTOCOL:
		return copy_text(a, SSL_get_version(ssl));
	case TLS_CIPHER:
		return copy_text(a, SSL_get_cipher_name(ssl));
	case TLS_CIPHERS:
		return fact_ciphers(ssl, a);
	case TLS_CURVE:
		return curve_text((int)SSL_get_negotiated_group(ssl), a);
	case TLS_CURVES:
		return fact_curves(ssl, a);
	case TLS_SIGALG:
		return fact_sigalg(ssl, a, false);
	case TLS_SIGALGS_OFFERED:
		return fact_sigalgs(ssl, a);
	case TLS_CLIENT_SIGALG:
		return fact_sigalg(ssl, a, true);
	case TLS_SESSION_ID:
		return session_id(ssl, a);
	case TLS_SESSION_REUSED:
		return SSL_session_reused(ssl) ? SPAN("r") : SPAN(".");
	case TLS_EARLY_DATA:
		return SSL_is_init_finished(ssl) ? none() : SPAN("1");
	case TLS_SERVER_NAME:
		return tls_sni(s);
	case TLS_ALPN:
		return alpn(ssl, a);
	case TLS_CLIENT_VERIFY:
		return verify_text(ssl, SSL_get0_peer_certificate(ssl), a);
	default:
		return cert_fact(SSL_get0_peer_certificate(ssl), what, a);
	}
}

struct span tls_fact(struct stream *s, enum tls_fact what, struct arena *a)
{
	struct span f;

	if (!s->tls)
		return none();
	f = s->tls->own ? own_fact(s, what, a) : conn_fact(s, what, a);
	ERR_clear_error();
	return f.p ? f : none();
}

/* Chains that end at nobody we know: what ssl_verify_client optional_no_ca lets in. */
static bool merely_unknown_ca(long rc)
{
	return rc == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
	       rc == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
	       rc == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	       rc == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

int tls_client_verified(struct stream *s)
{
	long rc;

	if (!s->tls || s->tls->own || !SSL_get0_peer_certificate(s->tls->ssl))
		return 0;
	rc = SSL_get_verify_result(s->tls->ssl);
	if (rc == X509_V_OK)
		return 1;
	return s->tls->ctx->verify == TLS_VERIFY_OPTIONAL_NO_CA && merely_unknown_ca(rc) ? 1 : -1;
}

struct span tls_sni(struct stream *s)
{
	if (!s->tls)
		return none();
	if (s->tls->ctx->server)
		return span_of(s->tls->sni ? s->tls->sni : "");
	return span_of(SSL_get_servername(s->tls->ssl, TLSEXT_NAMETYPE_host_name));
}
