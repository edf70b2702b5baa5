#define OPENSSL_SUPPRESS_DEPRECATED
#include "link.h"
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include "bytes.h"

static SSL_CTX *ctx;
static struct text cert_text, key_text;

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

/* ---- a certificate ---- */

static void cert_pem(struct text *t, BIO *b)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);

	text_add(t, p, (size_t)n);
	BIO_free(b);
}

static void cert_make(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	BIO *b = BIO_new(BIO_s_mem());

	BUG_ON(!key || !x);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	ASN1_TIME_set_string(X509_getm_notBefore(x), "20000101000000Z");
	ASN1_TIME_set_string(X509_getm_notAfter(x), "20991231235959Z");
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"sim", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	BUG_ON(!X509_sign(x, key, EVP_sha256()));
	PEM_write_bio_X509(b, x);
	cert_pem(&cert_text, b);
	b = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
	cert_pem(&key_text, b);
	X509_free(x);
	EVP_PKEY_free(key);
}

void link_warm(void)
{
	link_seed(0);
	RAND_set_rand_method(&rand_method);
	cert_make();
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

/* ---- moving bytes ---- */

void link_init(struct link *l, struct sim_conn *c, bool tls)
{
	SSL *ssl;

	*l = (struct link){.c = c, .tls = tls};
	if (!tls)
		return;
	ssl = SSL_new(ctx);
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(ssl);
	if (sim_chance(3000))
		SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
	l->ssl = ssl;
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

/* Ciphertext out. False: some is left. */
static bool link_flush(struct link *l)
{
	BIO *b = SSL_get_wbio(l->ssl);
	char *p;
	long n;

	while ((n = BIO_get_mem_data(b, &p)) > 0) {
		char part[4096];
		size_t k = (size_t)MIN_OF(n, (long)sizeof(part)), w;

		w = sim_conn_write(l->c, p, k);
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

void link_shutdown(struct link *l)
{
	if (l->tls) {
		SSL_shutdown(l->ssl);
		link_flush(l);
	}
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
