#define OPENSSL_SUPPRESS_DEPRECATED
#include "link.h"
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include "bytes.h"
#include "setup.h"

static SSL_CTX *ctx, *servers[GROUPS_MAX][CERT_END];
static struct text cert_text, key_text, issuer_text;

/* ---- randomness ---- */

static uint64_t rand_key, rand_at;

static int rand_bytes(unsigned char *p, int n)
{
	bytes_fill(rand_key, rand_at, (char *)p, (size_t)n);
	rand_at += (uint64_t)n;
	return 1;
}

static int rand_status(void)
{
	return 1;
}

static const RAND_METHOD rand_method = {
	.bytes = rand_bytes, .pseudorand = rand_bytes, .status = rand_status};

void link_seed(uint64_t seed)
{
	rand_key = bytes_key(BYTES_FILE, seed, 255);
	rand_at = 0;
}

/* ---- certificates ---- */

static void cert_pem(struct text *t, BIO *b)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);

	text_add(t, p, (size_t)n);
	BIO_free(b);
}

static void cert_says(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, (char *)(uintptr_t)value);

	BUG_ON(!e || !X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

/* alt: names, NULL: may sign others; by NULL: itself. */
static X509 *cert_make(const char *cn, const char *alt, EVP_PKEY *key, X509 *by, EVP_PKEY *by_key,
		       bool expired)
{
	static int serial;
	X509 *x = X509_new();

	BUG_ON(!key || !x);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	ASN1_TIME_set_string(X509_getm_notBefore(x), "20000101000000Z");
	ASN1_TIME_set_string(X509_getm_notAfter(x),
			     expired ? "20010101000000Z" : "20991231235959Z");
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(by ? by : x));
	if (alt)
		cert_says(x, NID_subject_alt_name, alt);
	else
		cert_says(x, NID_basic_constraints, "CA:TRUE");
	BUG_ON(!X509_sign(x, by ? by_key : key, EVP_sha256()));
	return x;
}

static void cert_text_of(X509 *x, struct text *t)
{
	BIO *b = BIO_new(BIO_s_mem());

	PEM_write_bio_X509(b, x);
	cert_pem(t, b);
}

/* The worker's own. */
static void cert_of_worker(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = cert_make("sim", NULL, key, NULL, NULL, false);
	BIO *b = BIO_new(BIO_s_mem());

	cert_text_of(x, &cert_text);
	PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
	cert_pem(&key_text, b);
	X509_free(x);
	EVP_PKEY_free(key);
}

static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *n,
		       const unsigned char *in, unsigned inlen, void *arg)
{
	struct link *l = SSL_get_app_data(ssl);
	struct span want = l->greeting.alpn == ALPN_H2 ? SPAN("\2h2") : SPAN("\10http/1.1");

	for (unsigned i = 0; i < inlen; i += in[i] + 1u) {
		if (l->greeting.alpn == ALPN_NONE || in[i] + 1u != want.n ||
		    memcmp(in + i, want.p, want.n) != 0)
			continue;
		*out = in + i + 1;
		*n = in[i];
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_NOACK;
}

/* What the client asks for, before OpenSSL mixes it with what a session knows. */
static int hello_sni(SSL *ssl, int *alert, void *arg)
{
	struct link *l = SSL_get_app_data(ssl);
	const unsigned char *p;
	size_t n;

	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) && n > 5)
		snprintf(l->sni, sizeof(l->sni), "%.*s", (int)(n - 5), p + 5);
	return SSL_CLIENT_HELLO_SUCCESS;
}

static SSL_CTX *server_ctx(X509 *x, EVP_PKEY *key)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());

	BUG_ON(!c || SSL_CTX_use_certificate(c, x) != 1 || SSL_CTX_use_PrivateKey(c, key) != 1);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_alpn_select_cb(c, alpn_select, NULL);
	SSL_CTX_set_client_hello_cb(c, hello_sni, NULL);
	X509_free(x);
	return c;
}

/* Group N is "gN", and servers of the first one "N.sim". */
static void certs_of_servers(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *by_key = EVP_EC_gen("P-256");
	X509 *by = cert_make("issuer", NULL, by_key, NULL, NULL, false);
	X509 *other = cert_make("issuer", NULL, key, NULL, NULL, false);

	cert_text_of(by, &issuer_text);
	for (unsigned g = 0; g < GROUPS_MAX; g++) {
		char cn[16], alt[64];
		const char *names = alt;

		snprintf(cn, sizeof(cn), "g%u", g);
		snprintf(alt, sizeof(alt), "DNS:g%u%s", g,
			 g ? "" : ",DNS:1.sim,DNS:2.sim,DNS:3.sim,DNS:4.sim");
		servers[g][CERT_RIGHT] =
			server_ctx(cert_make(cn, names, key, by, by_key, false), key);
		servers[g][CERT_OTHER_NAME] = server_ctx(
			cert_make("else", "DNS:else,DNS:*.g0", key, by, by_key, false), key);
		servers[g][CERT_OTHER_ISSUER] =
			server_ctx(cert_make(cn, names, key, other, key, false), key);
		servers[g][CERT_EXPIRED] =
			server_ctx(cert_make(cn, names, key, by, by_key, true), key);
	}
	X509_free(by);
	X509_free(other);
	EVP_PKEY_free(key);
	EVP_PKEY_free(by_key);
}

void link_warm(void)
{
	link_seed(0);
	RAND_set_rand_method(&rand_method);
	cert_of_worker();
	certs_of_servers();
	ctx = SSL_CTX_new(TLS_client_method());
	BUG_ON(!ctx);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

struct span link_cert(void)
{
	return span_make(cert_text.p, cert_text.n);
}

struct span link_key(void)
{
	return span_make(key_text.p, key_text.n);
}

struct span link_issuer(void)
{
	return span_make(issuer_text.p, issuer_text.n);
}

const char *link_websocket_accept(struct span key)
{
	static char out[32];
	unsigned char sum[20];
	char text[128];
	int n = snprintf(text, sizeof(text), "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
			 (int)MIN_OF(key.n, (size_t)64), key.p);

	EVP_Digest(text, (size_t)n, sum, NULL, EVP_sha1(), NULL);
	EVP_EncodeBlock((unsigned char *)out, sum, sizeof(sum));
	return out;
}

/* ---- greeting ---- */

static SSL *link_ssl(struct link *l, struct sim_conn *c, SSL_CTX *of)
{
	SSL *ssl = of ? SSL_new(of) : NULL;

	*l = (struct link){.c = c, .tls = of, .ssl = ssl, .out_stop = -1, .out_flip = -1};
	if (!of)
		return NULL;
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_app_data(ssl, l);
	return ssl;
}

void link_init_server(struct link *l, struct sim_conn *c, const struct link_greeting *g)
{
	SSL *ssl = link_ssl(l, c, servers[g->group][g->cert]);

	l->greeting = *g;
	SSL_set_accept_state(ssl);
	if (g->only_12)
		SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
	if (g->only_13)
		SSL_set_min_proto_version(ssl, TLS1_3_VERSION);
	if (g->no_tickets)
		SSL_set_options(ssl, SSL_OP_NO_TICKET);
}

void link_init(struct link *l, struct sim_conn *c, bool tls)
{
	SSL *ssl = link_ssl(l, c, tls ? ctx : NULL);

	if (!tls)
		return;
	SSL_set_connect_state(ssl);
	if (sim_chance(3000))
		SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
}

void link_offer_h2(struct link *l)
{
	static const unsigned char both[] = "\2h2\10http/1.1";

	SSL_set_alpn_protos(l->ssl, both, sizeof(both) - 1);
}

bool link_chose_h2(const struct link *l)
{
	const unsigned char *p;
	unsigned n;

	SSL_get0_alpn_selected(l->ssl, &p, &n);
	return n == 2 && p[0] == 'h' && p[1] == '2';
}

bool link_is_13(const struct link *l)
{
	return SSL_version(l->ssl) == TLS1_3_VERSION;
}

bool link_is_resumed(const struct link *l)
{
	return SSL_session_reused(l->ssl);
}

void link_update_key(struct link *l)
{
	if (l->ready && link_is_13(l))
		SSL_key_update(l->ssl, SSL_KEY_UPDATE_REQUESTED);
}

/* ---- moving bytes ---- */

bool link_is_stopped(const struct link *l)
{
	return l->out_stop >= 0 && l->out >= l->out_stop;
}

bool link_is_spoiled(const struct link *l)
{
	return l->tls && (l->out_stop >= 0 || l->out_flip >= 0);
}

/* Ciphertext out. False: some is left. */
static bool link_flush(struct link *l)
{
	BIO *b = SSL_get_wbio(l->ssl);
	char *p;
	long n;

	while ((n = BIO_get_mem_data(b, &p)) > 0) {
		char part[4096];
		size_t k = (size_t)MIN_OF(n, (long)sizeof(part)), w;

		if (l->out_stop >= 0)
			k = MIN_OF(k, (size_t)(l->out_stop - l->out));
		if (!k)
			return false;
		if (l->out_flip >= l->out && l->out_flip < l->out + (int64_t)k)
			p[l->out_flip - l->out] ^= 0x10;
		w = sim_conn_write(l->c, p, k);
		if (l->out_flip >= l->out + (int64_t)w && l->out_flip < l->out + (int64_t)k)
			p[l->out_flip - l->out] ^= 0x10; /* its turn comes again */
		l->out += (int64_t)w;
		if (w)
			BIO_read(b, part, (int)w);
		if (w < k)
			return false;
	}
	return true;
}

/* Ciphertext in. As link_read. */
static ssize_t link_fill(struct link *l)
{
	char part[4096];
	ssize_t n = sim_conn_read(l->c, part, sizeof(part));

	if (n > 0)
		BIO_write(SSL_get_rbio(l->ssl), part, (int)n);
	return n;
}

bool link_move(struct link *l)
{
	if (!l->tls)
		l->ready = true;
	while (!l->ready) {
		int r, err;

		ERR_clear_error();
		r = SSL_do_handshake(l->ssl);
		link_flush(l);
		if (r == 1) {
			l->ready = true;
			break;
		}
		err = SSL_get_error(l->ssl, r);
		if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE)
			return false;
		r = (int)link_fill(l);
		if (r <= 0)
			return r == 0;
	}
	if (l->tls)
		link_flush(l);
	return true;
}

size_t link_write(struct link *l, const void *p, size_t n)
{
	int r;

	if (!l->tls)
		return sim_conn_write(l->c, p, n);
	if (!link_flush(l))
		return 0;
	ERR_clear_error();
	r = SSL_write(l->ssl, p, (int)MIN_OF(n, (size_t)8192));
	link_flush(l);
	return r > 0 ? (size_t)r : 0;
}

bool link_flushed(struct link *l)
{
	return !l->tls || link_flush(l);
}

ssize_t link_read(struct link *l, void *p, size_t n)
{
	if (!l->tls)
		return sim_conn_read(l->c, p, n);
	for (;;) {
		ssize_t k;
		int r;

		ERR_clear_error();
		r = SSL_read(l->ssl, p, (int)n);
		if (r > 0)
			return r;
		link_flush(l);
		switch (SSL_get_error(l->ssl, r)) {
		case SSL_ERROR_WANT_READ:
		case SSL_ERROR_WANT_WRITE:
			break;
		case SSL_ERROR_ZERO_RETURN:
			return -1;
		default:
			return -2;
		}
		k = link_fill(l);
		if (k <= 0) /* an end without close_notify is no end */
			return k == -1 ? -2 : k;
	}
}

void link_notify(struct link *l)
{
	if (!l->tls || !l->ready)
		return;
	ERR_clear_error();
	SSL_shutdown(l->ssl);
	link_flush(l);
}

bool link_end(struct link *l)
{
	if (!l->notified)
		link_notify(l);
	l->notified = true;
	if (!link_flushed(l))
		return false;
	if (!l->ended)
		sim_conn_shutdown(l->c);
	l->ended = true;
	return true;
}

void link_shutdown(struct link *l)
{
	link_notify(l);
	sim_conn_shutdown(l->c);
}

void link_close(struct link *l, bool reset)
{
	if (l->tls)
		SSL_free(l->ssl);
	l->ssl = NULL;
	if (l->c && reset)
		sim_conn_reset(l->c);
	if (l->c)
		sim_conn_free(l->c);
	l->c = NULL;
}
