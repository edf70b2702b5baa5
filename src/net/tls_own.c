/* Connections of our own: after a TLS 1.3 handshake the server needs nothing of OpenSSL's SSL
 * object but the keys and a few facts. The object, some 14 KB with what hangs on it, is freed;
 * tls_record carries on.
 *
 * The keys come from the callback meant for key logs: OpenSSL calls it in the moment in which it
 * begins to use a secret, with sequence number 0. From there on tls_record_cb counts records by
 * their headers. On the server's side these are, outwards, the tickets, which are written before
 * the handshake counts as done; inwards there are none, for OpenSSL has been given no byte behind
 * the client's Finished (see framed_recv in tls.c). */
#include <errno.h>
#include "base/pool.h"
#include "net/tls_int.h"

#define LISTS_MAX 512 /* bytes that are kept of what the client offered */
#define RAW_SIZE  (TLS_HEAD + TLS_CIPHER_MAX + 2048)

bool tls_take_over = true;

/* ---- secrets ---- */

static int nibble(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The bytes of hex up to the end, at most 48; 0 when it is something else. */
static size_t secret_parse(const char *hex, uint8_t *out)
{
	size_t n = strlen(hex) / 2;

	if (n > 48 || hex[2 * n])
		return 0;
	for (size_t i = 0; i < n; i++) {
		int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return 0;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return n;
}

/* "LABEL random secret", in hex. */
void tls_keylog_cb(const SSL *ssl, const char *line)
{
	struct span l = span_of(line);
	bool in = span_starts(l, SPAN("CLIENT_TRAFFIC_SECRET_0 "));
	const char *hex = strrchr(line, ' ');
	struct tls *t = tls_of(ssl);

	if (!tls_take_over || !t->framed || !hex ||
	    (!in && !span_starts(l, SPAN("SERVER_TRAFFIC_SECRET_0 "))))
		return;
	if (!t->secrets)
		t->secrets = mem_zalloc(sizeof(*t->secrets));
	if (!t->secrets)
		return;
	if (in)
		t->secrets->nin = secret_parse(hex + 1, t->secrets->in);
	else
		t->secrets->nout = secret_parse(hex + 1, t->secrets->out);
}

void tls_record_cb(int out, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
	struct tls_secrets *x;

	if (type != SSL3_RT_HEADER || !n || *(const uint8_t *)p != SSL3_RT_APPLICATION_DATA)
		return;
	x = tls_of(ssl)->secrets;
	if (x && out && x->nout)
		x->out_seq++;
	else if (x && !out && x->nin)
		x->in_seq++;
}

void tls_secrets_free(struct tls *t)
{
	if (!t->secrets)
		return;
	OPENSSL_cleanse(t->secrets, sizeof(*t->secrets));
	mem_free(t->secrets);
	t->secrets = NULL;
}

/* ---- taking over ---- */

static bool may_own(const struct tls *t)
{
	const struct tls_secrets *x = t->secrets;

	return x && t->framed && !t->frame && !t->early && x->nin && x->nin == x->nout &&
	       SSL_version(t->ssl) == TLS1_3_VERSION && SSL_is_init_finished(t->ssl) &&
	       !SSL_has_pending(t->ssl) && SSL_get_key_update_type(t->ssl) == SSL_KEY_UPDATE_NONE &&
	       !SSL_get0_peer_certificate(t->ssl);
}

static void keep_lists(struct tls_own *o, SSL *ssl)
{
	int *nids = o->lists;
	uint16_t *numbers = (uint16_t *)(o->lists + o->ngroups);
	const unsigned char *raw, *alpn;
	unsigned nalpn;

	if (o->ngroups)
		SSL_get1_groups(ssl, nids);
	SSL_get0_raw_cipherlist(ssl, &raw);
	for (int i = 0; i < o->nciphers; i++, raw += 2)
		*numbers++ = (uint16_t)(raw[0] << 8 | raw[1]);
	for (int i = 0; i < o->nsigalgs; i++) {
		unsigned char sig = 0, hash = 0;

		SSL_get_sigalgs(ssl, i, NULL, NULL, NULL, &sig, &hash);
		*numbers++ = (uint16_t)(hash << 8 | sig);
	}
	SSL_get0_alpn_selected(ssl, &alpn, &nalpn);
	if (nalpn)
		memcpy(numbers, alpn, nalpn);
}

static void keep_facts(struct tls_own *o, SSL *ssl)
{
	SSL_SESSION *sess = SSL_get0_session(ssl);
	const unsigned char *id = NULL;
	unsigned n = 0;

	o->curve = (int)SSL_get_negotiated_group(ssl);
	if (SSL_get_signature_type_nid(ssl, &o->sig_key))
		SSL_get_signature_nid(ssl, &o->sig_hash);
	o->sig_pss = tls_cert_is_pss(SSL_get_certificate(ssl));
	o->reused = SSL_session_reused(ssl);
	if (sess)
		id = SSL_SESSION_get_id(sess, &n);
	o->nid = (uint8_t)MIN_OF(n, sizeof(o->id));
	if (o->nid)
		memcpy(o->id, id, o->nid);
}

/* NULL: no memory, or too much to keep. */
static struct tls_own *own_new(SSL *ssl)
{
	size_t nciphers = SSL_get0_raw_cipherlist(ssl, NULL) == 2 ? 1 : 0, bytes;
	const unsigned char *raw, *alpn;
	int ngroups = (int)SSL_get1_groups(ssl, NULL),
	    nsigalgs = SSL_get_sigalgs(ssl, -1, NULL, NULL, NULL, NULL, NULL);
	struct tls_own *o;
	unsigned nalpn;

	nciphers = nciphers ? SSL_get0_raw_cipherlist(ssl, &raw) / 2 : 0;
	SSL_get0_alpn_selected(ssl, &alpn, &nalpn);
	ngroups = MAX_OF(ngroups, 0);
	nsigalgs = MAX_OF(nsigalgs, 0);
	bytes = 4 * (size_t)ngroups + 2 * nciphers + 2 * (size_t)nsigalgs + nalpn;
	if (bytes > LISTS_MAX || nalpn > 255)
		return NULL;
	o = mem_zalloc(sizeof(*o) + bytes);
	if (!o)
		return NULL;
	o->ngroups = (uint16_t)ngroups;
	o->nciphers = (uint16_t)nciphers;
	o->nsigalgs = (uint16_t)nsigalgs;
	o->nalpn = (uint8_t)nalpn;
	o->suite = (uint16_t)SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl));
	keep_lists(o, ssl);
	keep_facts(o, ssl);
	return o;
}

void tls_own_try(struct stream *s)
{
	struct tls *t = s->tls;
	struct tls_secrets *x = t->secrets;
	struct tls_own *o;

	SSL_set_msg_callback(t->ssl, NULL);
	o = may_own(t) ? own_new(t->ssl) : NULL;
	if (o && tls_record_init(&o->rec, o->suite, x->in, x->in_seq, x->out, x->out_seq, x->nin)) {
		t->own = o;
		SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		SSL_free(t->ssl);
		t->ssl = NULL;
	} else {
		mem_free(o);
	}
	ERR_clear_error();
}

void tls_own_free(struct tls *t)
{
	if (!t->own)
		return;
	tls_record_fini(&t->own->rec);
	mem_free(t->own);
	t->own = NULL;
}

/* ---- failures ---- */

/* The connection is spoilt: OpenSSL's words for it. */
static ssize_t own_fail(struct stream *s, const char *call)
{
	char text[400];

	s->tls->failed = true;
	tls_error_text(text, sizeof(text));
	tls_say(s, "%s failed%s", call, text);
	return -EPROTO;
}

static int reason_of(uint8_t alert)
{
	switch (alert) {
	case SSL_AD_BAD_RECORD_MAC:
		return SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC;
	case SSL_AD_RECORD_OVERFLOW:
		return SSL_R_ENCRYPTED_LENGTH_TOO_LONG;
	case SSL_AD_ILLEGAL_PARAMETER:
		return SSL_R_BAD_KEY_UPDATE;
	case SSL_AD_DECODE_ERROR:
		return SSL_R_BAD_LENGTH;
	case SSL_AD_UNEXPECTED_MESSAGE:
		return SSL_R_UNEXPECTED_RECORD;
	default:
		return ERR_R_INTERNAL_ERROR;
	}
}

static void own_alert(struct stream *s, uint8_t level, uint8_t alert)
{
	uint8_t p[TLS_ALERT_SIZE];
	size_t n;

	p[TLS_HEAD] = level;
	p[TLS_HEAD + 1] = alert;
	n = tls_record_seal(&s->tls->own->rec, p, 2, TLS_TYPE_ALERT);
	if (n)
		tls_out_send(s, (char *)p, n);
	ERR_clear_error();
}

static ssize_t own_refuse(struct stream *s, uint8_t alert)
{
	own_alert(s, SSL3_AL_FATAL, alert);
	ERR_raise(ERR_LIB_SSL, reason_of(alert));
	return own_fail(s, "SSL_read()");
}

void tls_own_shutdown(struct stream *s)
{
	own_alert(s, SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY);
}

/* ---- reading ---- */

static _Thread_local uint8_t *raw_room; /* RAW_SIZE bytes, with the first use */

void tls_own_thread_fini(void)
{
	mem_free(raw_room);
	raw_room = NULL;
	tls_record_thread_fini();
}

/* A whole record at the front: its length. 0: not yet; < 0: -alert. */
static ssize_t whole_record(const void *p, size_t have)
{
	ssize_t n = have ? tls_record_length(p, have) : 0;

	return n > 0 && (size_t)n > have ? 0 : n;
}

bool tls_own_pending(const struct tls *t)
{
	const struct inbuf *in = &t->in;

	return !t->failed && !t->own->rec.ended && in->p &&
	       whole_record(in->p + in->start, inbuf_len(in));
}

static ssize_t deliver(struct stream *s, const struct tls_opened *o, void *p, size_t n)
{
	struct tls *t = s->tls;

	if (o->p == p)
		return (ssize_t)o->n;
	n = MIN_OF(n, o->n);
	if (n < o->n) {
		if (!inbuf_reserve(&t->plain, o->n - n, NULL)) {
			t->failed = true;
			t->io_err = -ENOMEM;
			return -ENOMEM;
		}
		memcpy(t->plain.p, o->p + n, o->n - n);
		t->plain.end = (uint32_t)(o->n - n);
	}
	memcpy(p, o->p, n);
	return (ssize_t)n;
}

/* One record: bytes; 0 when it brought none; -errno. Right into p when that has room for all of it.
 */
static ssize_t read_record(struct stream *s, uint8_t *raw, size_t size, void *p, size_t n)
{
	bool direct = size >= TLS_HEAD + TLS_TAG && n >= size - TLS_HEAD - TLS_TAG;
	struct tls_opened o;

	ERR_clear_error();
	switch (tls_record_open(&s->tls->own->rec, raw, size, direct ? p : raw + TLS_HEAD, &o)) {
	case TLS_GOT_DATA:
		return deliver(s, &o, p, n);
	case TLS_GOT_ALERT:
		ERR_raise_data(ERR_LIB_SSL, SSL_AD_REASON_OFFSET + o.alert, "SSL alert number %d",
			       o.alert);
		return own_fail(s, "SSL_read()");
	case TLS_GOT_ERROR:
		ERR_clear_error();
		return own_refuse(s, o.alert);
	default:
		return 0;
	}
}

/* The record at the front of what is kept. */
static ssize_t read_kept(struct stream *s, ssize_t size, void *p, size_t n)
{
	struct inbuf *in = &s->tls->in;
	ssize_t r;

	if (size < 0)
		return own_refuse(s, (uint8_t)-size);
	r = read_record(s, (uint8_t *)in->p + in->start, (size_t)size, p, n);
	inbuf_take(in, (size_t)size);
	if (!inbuf_len(in))
		inbuf_free(in);
	return r;
}

/* What lies behind the records that were read waits in `in`. */
static ssize_t keep_raw(struct tls *t, const uint8_t *p, size_t n)
{
	if (!n) {
		inbuf_free(&t->in);
		return 0;
	}
	inbuf_take(&t->in, inbuf_len(&t->in));
	if (!inbuf_reserve(&t->in, n, NULL)) {
		t->failed = true;
		t->io_err = -ENOMEM;
		return -ENOMEM;
	}
	memcpy(t->in.p, p, n);
	t->in.end = (uint32_t)n;
	return 0;
}

/* Reads from the socket behind what is kept, which is less than a record, and opens the first one.
 */
static ssize_t read_socket(struct stream *s, void *p, size_t n)
{
	struct tls *t = s->tls;
	size_t have = inbuf_len(&t->in);
	ssize_t got, size, r = 0, rc;

	if (!raw_room && !(raw_room = mem_alloc(RAW_SIZE)))
		return -ENOMEM;
	got = tls_sock_recv(s, raw_room + have, RAW_SIZE - have);
	if (got == 0) {
		t->eof = t->truncated = t->own->rec.ended = true;
		return 0;
	}
	if (got == -EAGAIN)
		return got;
	if (got < 0) {
		t->failed = true;
		t->io_err = (int)got;
		tls_say(s, "SSL_read() failed (%d: %s)", (int)-got, strerror((int)-got));
		return got;
	}
	if (have)
		memcpy(raw_room, t->in.p + t->in.start, have);
	have += (size_t)got;
	size = whole_record(raw_room, have);
	if (size > 0)
		r = read_record(s, raw_room, (size_t)size, p, n);
	rc = keep_raw(t, raw_room + MAX_OF(size, 0), have - (size_t)MAX_OF(size, 0));
	return r < 0 ? r : rc < 0 ? rc : r;
}

ssize_t tls_own_recv(struct stream *s, void *p, size_t n)
{
	struct tls *t = s->tls;

	for (;;) {
		struct span in = inbuf_span(&t->in);
		ssize_t size = whole_record(in.p, in.n), r;

		if (t->own->rec.ended) {
			inbuf_free(&t->in);
			return 0;
		}
		r = size ? read_kept(s, size, p, n) : read_socket(s, p, n);
		if (r)
			return r;
	}
}

/* ---- writing ---- */

ssize_t tls_own_write(struct stream *s, const struct iovec *iov, int n, char *batch)
{
	struct tls_source from = {iov, n, 0};
	struct tls *t = s->tls;
	struct tls_record *r = &t->own->rec;
	size_t all = 0, len = 0;
	int rc;

	ERR_clear_error();
	for (int i = 0; i < TLS_BATCH_RECORDS; i++) {
		size_t data, sealed;
		ssize_t update;

		update = tls_record_update(r, (uint8_t *)batch + len);
		if (update < 0)
			return own_fail(s, "SSL_write()");
		len += (size_t)update;
		data = tls_source_copy(&from, batch + len + TLS_HEAD, t->ctx->record_max);
		if (!data)
			break;
		sealed = tls_record_seal(r, (uint8_t *)batch + len, data, TLS_TYPE_DATA);
		if (!sealed)
			return own_fail(s, "SSL_write()");
		len += sealed;
		all += data;
	}
	rc = len ? tls_out_send(s, batch, len) : 0;
	if (rc < 0) {
		t->failed = true;
		return rc;
	}
	return (ssize_t)all;
}
