#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "base/bug.h"
#include "net/tls_record.h"

#define PLAIN_MAX   16384u
#define BARREN_MAX  32 /* records in a row without data */
#define CONTEXTS    32 /* per thread: two each of the connections that are at work */
#define KEY_UPDATE  24 /* HandshakeType (RFC 8446 section 4) */
#define NONCE_BYTES 12

/* AlertDescription (section 6) */
#define ALERT_UNEXPECTED_MESSAGE 10
#define ALERT_BAD_RECORD_MAC	 20
#define ALERT_RECORD_OVERFLOW	 22
#define ALERT_ILLEGAL_PARAMETER	 47
#define ALERT_DECODE_ERROR	 50
#define ALERT_INTERNAL_ERROR	 80
#define ALERT_CLOSE_NOTIFY	 0
#define ALERT_USER_CANCELED	 90

/* 2^24.5 full records is the limit of section 5.5. */
uint64_t tls_rekey_after = 1u << 24;

/* ---- suites ---- */

static const struct suite {
	const char *name;
	uint8_t key, hash; /* bytes */
} suites[] = {
	{NULL, 0, 0},
	{"AES-128-GCM", 16, 32},
	{"AES-256-GCM", 32, 48},
	{"ChaCha20-Poly1305", 32, 32},
};
#define SUITES (sizeof(suites) / sizeof(suites[0]))

static EVP_CIPHER *ciphers[SUITES];
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;

static void suites_fetch(void)
{
	for (size_t i = 1; i < SUITES; i++)
		ciphers[i] = EVP_CIPHER_fetch(NULL, suites[i].name, NULL);
}

/* ---- key schedule ---- */

/* HKDF-Expand-Label(secret, label, "", n) of section 7.1. n is never more than the hash has, so
 * that one round of HKDF-Expand (RFC 5869 section 2.3) does. */
static bool expand_label(const struct suite *su, const uint8_t *secret, const char *label,
			 uint8_t *out, size_t n)
{
	const EVP_MD *md = su->hash == 48 ? EVP_sha384() : EVP_sha256();
	uint8_t info[32], sum[EVP_MAX_MD_SIZE];
	size_t len = strlen(label), at = 0;
	bool ok;

	BUG_ON(n > su->hash || len + 11 > sizeof(info));
	info[at++] = 0;
	info[at++] = (uint8_t)n;
	info[at++] = (uint8_t)(6 + len);
	memcpy(info + at, "tls13 ", 6);
	at += 6;
	memcpy(info + at, label, len);
	at += len;
	info[at++] = 0; /* no context */
	info[at++] = 1; /* round */
	ok = HMAC(md, secret, su->hash, info, at, sum, NULL);
	if (ok)
		memcpy(out, sum, n);
	OPENSSL_cleanse(sum, sizeof(sum));
	return ok;
}

/* Section 7.3. */
static bool keys_derive(const struct suite *su, struct tls_keys *k)
{
	static atomic_uint_fast64_t tags = 1;

	k->tag = atomic_fetch_add_explicit(&tags, 1, memory_order_relaxed);
	return expand_label(su, k->secret, "key", k->key, su->key) &&
	       expand_label(su, k->secret, "iv", k->iv, NONCE_BYTES);
}

/* ---- the contexts of a thread ---- */

static _Thread_local struct {
	EVP_CIPHER_CTX *ctx;
	uint64_t tag;
} contexts[CONTEXTS];

static EVP_CIPHER_CTX *context_get(unsigned suite, const struct tls_keys *k, int enc)
{
	unsigned i = (unsigned)(k->tag % CONTEXTS);
	EVP_CIPHER_CTX *c = contexts[i].ctx;

	if (contexts[i].tag == k->tag)
		return c;
	if (!c)
		c = contexts[i].ctx = EVP_CIPHER_CTX_new();
	contexts[i].tag = 0;
	if (!c || EVP_CipherInit_ex(c, ciphers[suite], NULL, k->key, NULL, enc) != 1)
		return NULL;
	contexts[i].tag = k->tag;
	return c;
}

/* No context of this thread holds the key any longer. (A connection that was moved may leave one
 * behind, until another connection needs the place.) */
static void context_forget(const struct tls_keys *k)
{
	unsigned i = (unsigned)(k->tag % CONTEXTS);

	if (contexts[i].tag != k->tag || !k->tag)
		return;
	EVP_CIPHER_CTX_reset(contexts[i].ctx);
	contexts[i].tag = 0;
}

void tls_record_thread_fini(void)
{
	for (unsigned i = 0; i < CONTEXTS; i++) {
		EVP_CIPHER_CTX_free(contexts[i].ctx);
		contexts[i].ctx = NULL;
		contexts[i].tag = 0;
	}
}

/* ---- beginning and end ---- */

bool tls_record_init(struct tls_record *r, unsigned suite, const uint8_t *in, uint64_t in_seq,
		     const uint8_t *out, uint64_t out_seq, size_t n)
{
	const struct suite *su;

	*r = (struct tls_record){.suite = (uint8_t)suite};
	if (suite >> 8 != 0x13 || !(suite & 0xff) || (suite & 0xff) >= SUITES)
		return false;
	su = &suites[suite & 0xff];
	pthread_once(&fetch_once, suites_fetch);
	if (!ciphers[suite & 0xff] || n != su->hash)
		return false;
	memcpy(r->in.secret, in, n);
	memcpy(r->out.secret, out, n);
	r->in.seq = in_seq;
	r->out.seq = out_seq;
	if (keys_derive(su, &r->in) && keys_derive(su, &r->out))
		return true;
	tls_record_fini(r);
	return false;
}

void tls_record_fini(struct tls_record *r)
{
	context_forget(&r->in);
	context_forget(&r->out);
	OPENSSL_cleanse(r, sizeof(*r));
}

/* Section 7.2. */
static bool keys_next(struct tls_record *r, struct tls_keys *k)
{
	const struct suite *su = &suites[r->suite];
	uint8_t next[sizeof(k->secret)];
	bool ok = expand_label(su, k->secret, "traffic upd", next, su->hash);

	context_forget(k);
	if (ok)
		memcpy(k->secret, next, su->hash);
	OPENSSL_cleanse(next, sizeof(next));
	k->seq = 0;
	return ok && keys_derive(su, k);
}

/* ---- one record ---- */

/* Section 5.3. */
static void nonce_of(const struct tls_keys *k, uint8_t *nonce)
{
	memcpy(nonce, k->iv, NONCE_BYTES);
	for (unsigned i = 0; i < 8; i++)
		nonce[4 + i] ^= (uint8_t)(k->seq >> (56 - 8 * i));
}

/* A context that has seen nonce and additional data, or NULL. */
static EVP_CIPHER_CTX *record_begin(struct tls_record *r, struct tls_keys *k, const uint8_t *head)
{
	EVP_CIPHER_CTX *c = context_get(r->suite, k, k == &r->out);
	uint8_t nonce[NONCE_BYTES];
	int n;

	nonce_of(k, nonce);
	if (!c || k->seq == UINT64_MAX || EVP_CipherInit_ex(c, NULL, NULL, NULL, nonce, -1) != 1 ||
	    EVP_CipherUpdate(c, NULL, &n, head, TLS_HEAD) != 1)
		return NULL;
	k->seq++;
	return c;
}

size_t tls_record_seal(struct tls_record *r, uint8_t *p, size_t n, enum tls_content type)
{
	size_t inner = n + 1, outer = inner + TLS_TAG;
	EVP_CIPHER_CTX *c;
	int len, last;

	BUG_ON(n == 0 || n > PLAIN_MAX);
	p[0] = TLS_TYPE_DATA;
	p[1] = p[2] = 3;
	p[3] = (uint8_t)(outer >> 8);
	p[4] = (uint8_t)outer;
	p[TLS_HEAD + n] = (uint8_t)type;
	c = record_begin(r, &r->out, p);
	if (!c || EVP_CipherUpdate(c, p + TLS_HEAD, &len, p + TLS_HEAD, (int)inner) != 1 ||
	    EVP_CipherFinal_ex(c, p + TLS_HEAD + len, &last) != 1 ||
	    (size_t)(len + last) != inner ||
	    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TLS_TAG, p + TLS_HEAD + inner) != 1)
		return 0;
	return TLS_HEAD + outer;
}

ssize_t tls_record_update(struct tls_record *r, uint8_t *p)
{
	bool worn = r->out.seq >= tls_rekey_after && suites[r->suite].name[0] == 'A';
	static const uint8_t msg[5] = {KEY_UPDATE, 0, 0, 1, 0};
	size_t n;

	if (!worn && !r->update_due)
		return 0;
	memcpy(p + TLS_HEAD, msg, sizeof(msg));
	n = tls_record_seal(r, p, sizeof(msg), TLS_TYPE_HANDSHAKE);
	if (!n || !keys_next(r, &r->out))
		return -1;
	r->update_due = false;
	return (ssize_t)n;
}

ssize_t tls_record_length(const void *p, size_t n)
{
	const uint8_t *h = p;
	size_t len;

	if (n && h[0] != TLS_TYPE_DATA)
		return -ALERT_UNEXPECTED_MESSAGE;
	if (n < TLS_HEAD)
		return 0;
	len = (size_t)(h[3] << 8 | h[4]);
	return len > TLS_CIPHER_MAX ? -ALERT_RECORD_OVERFLOW : (ssize_t)(TLS_HEAD + len);
}

/* The plaintext with its type and padding (TLSInnerPlaintext): 0 or an alert. */
static int record_decrypt(struct tls_record *r, const uint8_t *raw, size_t size, uint8_t *out,
			  size_t *n)
{
	EVP_CIPHER_CTX *c;
	int len, last;

	if (size < TLS_HEAD + TLS_TAG + 1)
		return ALERT_BAD_RECORD_MAC;
	*n = size - TLS_HEAD - TLS_TAG;
	if (*n > PLAIN_MAX + 1)
		return ALERT_RECORD_OVERFLOW; /* section 5.4 */
	c = record_begin(r, &r->in, raw);
	if (!c)
		return ALERT_INTERNAL_ERROR;
	if (EVP_CipherUpdate(c, out, &len, raw + TLS_HEAD, (int)*n) != 1 || (size_t)len != *n ||
	    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TLS_TAG, (void *)(raw + TLS_HEAD + *n)) !=
		    1 ||
	    EVP_CipherFinal_ex(c, out + len, &last) != 1)
		return ALERT_BAD_RECORD_MAC;
	return 0;
}

/* ---- what came ---- */

static enum tls_got got_error(struct tls_opened *o, uint8_t alert)
{
	o->alert = alert;
	return TLS_GOT_ERROR;
}

static enum tls_got got_nothing(struct tls_record *r, struct tls_opened *o)
{
	if (++r->barren > BARREN_MAX)
		return got_error(o, ALERT_UNEXPECTED_MESSAGE);
	return TLS_GOT_NOTHING;
}

/* Section 6: levels do not matter, alerts are not fragmented. */
static enum tls_got got_alert(struct tls_record *r, struct tls_opened *o)
{
	if (o->n != 2)
		return got_error(o, ALERT_DECODE_ERROR);
	o->alert = o->p[1];
	if (o->alert == ALERT_USER_CANCELED) {
		o->alert = 0;
		return got_nothing(r, o);
	}
	if (o->alert != ALERT_CLOSE_NOTIFY)
		return TLS_GOT_ALERT;
	r->ended = true;
	return TLS_GOT_END;
}

/* Section 4.6.3: KeyUpdate is all that a client may send; its record must end with it
 * (section 5.1). */
static enum tls_got got_handshake(struct tls_record *r, struct tls_opened *o)
{
	if (o->n == 0 || r->nmsg + o->n > sizeof(r->msg))
		return got_error(o, ALERT_UNEXPECTED_MESSAGE);
	memcpy(r->msg + r->nmsg, o->p, o->n);
	r->nmsg += (uint8_t)o->n;
	if (r->msg[0] != KEY_UPDATE)
		return got_error(o, ALERT_UNEXPECTED_MESSAGE);
	if (r->nmsg < sizeof(r->msg))
		return got_nothing(r, o);
	r->nmsg = 0;
	if (r->msg[1] || r->msg[2] || r->msg[3] != 1)
		return got_error(o, ALERT_DECODE_ERROR);
	if (r->msg[4] > 1)
		return got_error(o, ALERT_ILLEGAL_PARAMETER);
	if (!keys_next(r, &r->in))
		return got_error(o, ALERT_INTERNAL_ERROR);
	/* Many requests before we write are answered once. */
	r->update_due |= r->msg[4];
	return got_nothing(r, o);
}

enum tls_got tls_record_open(struct tls_record *r, const uint8_t *raw, size_t size, uint8_t *out,
			     struct tls_opened *o)
{
	size_t n = 0;
	int alert = record_decrypt(r, raw, size, out, &n);

	*o = (struct tls_opened){.p = out};
	if (alert)
		return got_error(o, (uint8_t)alert);
	while (n && out[n - 1] == 0) /* padding (section 5.4) */
		n--;
	if (!n)
		return got_error(o, ALERT_UNEXPECTED_MESSAGE);
	o->n = n - 1;
	if (r->nmsg && out[n - 1] != TLS_TYPE_HANDSHAKE)
		return got_error(o, ALERT_UNEXPECTED_MESSAGE);
	switch (out[n - 1]) {
	case TLS_TYPE_DATA:
		if (!o->n)
			return got_nothing(r, o);
		r->barren = 0;
		return TLS_GOT_DATA;
	case TLS_TYPE_ALERT:
		return got_alert(r, o);
	case TLS_TYPE_HANDSHAKE:
		return got_handshake(r, o);
	default:
		return got_error(o, ALERT_UNEXPECTED_MESSAGE);
	}
}
