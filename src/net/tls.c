/* TLS over a stream: the handshake and the moving of bytes.
 *
 * OpenSSL sits on a BIO that calls iofd_recv and iofd_writev directly. Reading from it never waits;
 * writing to it always succeeds: what the socket does not take is kept in tls.out, and nothing more
 * is encrypted before that is gone. So OpenSSL only ever wants to read. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include "base/hash.h"
#include "base/pool.h"
#include "net/tls_int.h"

#define OUT_MAX (256u * 1024) /* unsent bytes of a handshake at most */

/* ---- words ---- */

static _Thread_local struct {
	const struct stream *s;
	char text[512];
} last_error;

void tls_say(const struct stream *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(last_error.text, sizeof(last_error.text), fmt, ap);
	va_end(ap);
	last_error.s = s;
}

struct span stream_tls_error(struct stream *s)
{
	return last_error.s == s ? span_of(last_error.text) : (struct span){"", 0};
}

size_t tls_error_text(char *p, size_t size)
{
	const char *data;
	unsigned long e;
	size_t n = 0;
	int flags;

	p[0] = '\0';
	while ((e = ERR_get_error_all(NULL, NULL, NULL, &data, &flags))) {
		char text[160];

		ERR_error_string_n(e, text, sizeof(text));
		if (n + 1 >= size)
			continue; /* empty the queue all the same */
		n += (size_t)snprintf(p + n, size - n, "%s %s%s%s", n ? "" : " (SSL:", text,
				      flags & ERR_TXT_STRING && *data ? ":" : "",
				      flags & ERR_TXT_STRING ? data : "");
		n = MIN_OF(n, size - 1);
	}
	if (n && n + 1 < size)
		n += (size_t)snprintf(p + n, size - n, ")");
	return n;
}

struct span tls_library_version(void)
{
	return span_of(OpenSSL_version(OPENSSL_VERSION));
}

/* ---- the BIO ---- */

/* Buffers of a thread: records on their way to one system call, and small pieces on their way to
 * one record. Taken with the first use. */
static _Thread_local struct {
	char *batch, *gather;
	size_t len;	      /* of batch */
	const struct tls *on; /* whose writes go to batch, or NULL */
} scratch;

static bool scratch_ready(void)
{
	if (!scratch.batch)
		scratch.batch = mem_alloc(TLS_BATCH_SIZE);
	if (!scratch.gather)
		scratch.gather = mem_alloc(TLS_RECORD_MAX);
	return scratch.batch && scratch.gather;
}

void tls_thread_fini(void)
{
	mem_free(scratch.batch);
	mem_free(scratch.gather);
	scratch.batch = scratch.gather = NULL;
	tls_own_thread_fini();
	tls_client_sessions_fini();
}

struct tls *tls_of(const SSL *ssl)
{
	struct stream *s = BIO_get_data(SSL_get_rbio(ssl));

	return s->tls;
}

/* Raw bytes that were read before: 0 when there are none left. */
static int in_take(struct tls *t, char *p, int n)
{
	size_t at = t->in.start + (t->hello ? t->in_at : 0);

	n = (int)MIN_OF((size_t)n, t->in.end - at);
	if (n == 0)
		return 0;
	memcpy(p, t->in.p + at, (size_t)n);
	if (t->hello) {
		t->in_at += (uint32_t)n;
	} else {
		inbuf_take(&t->in, (size_t)n);
		if (!inbuf_len(&t->in))
			inbuf_free(&t->in);
	}
	return n;
}

ssize_t tls_sock_recv(struct stream *s, void *p, size_t n)
{
	if (!(s->io.ready & IO_R))
		return -EAGAIN;
	return iofd_recv(&s->io, p, n);
}

/* More of the socket's at the end of `in`. */
static ssize_t raw_recv(struct stream *s)
{
	struct tls *t = s->tls;
	ssize_t got;

	if (!inbuf_reserve(&t->in, inbuf_len(&t->in) + 2048, NULL))
		return -ENOMEM;
	got = tls_sock_recv(s, t->in.p + t->in.end, t->in.cap - t->in.end);
	if (got > 0)
		t->in.end += (uint32_t)got;
	return got;
}

/* While accepting, OpenSSL gets one record after the other however much it asks for, and what lies
 * behind stays in `in`. So when the handshake is done, it has read nothing but records that it has
 * consumed: the last one is the client's Finished, which must be the end of its record, for the
 * keys change after it (RFC 8446 section 5.1; OpenSSL insists). What does not look like a record at
 * all is passed as it comes. */
static ssize_t framed_recv(struct stream *s, char *p, int n)
{
	struct tls *t = s->tls;

	for (;;) {
		size_t at = t->in.start + (t->hello ? t->in_at : 0), have = t->in.end - at;
		const uint8_t *h = have ? (uint8_t *)t->in.p + at : NULL;
		ssize_t got;

		if (have && !t->frame && (h[0] < 20 || h[0] > 23)) {
			t->framed = false;
			return in_take(t, p, n);
		}
		if (!t->frame && have >= TLS_HEAD)
			t->frame = TLS_HEAD + (uint32_t)(h[3] << 8 | h[4]);
		if (t->frame && have) {
			n = in_take(t, p, (int)MIN_OF((uint32_t)n, t->frame));
			t->frame -= (uint32_t)n;
			return n;
		}
		got = raw_recv(s);
		if (got <= 0)
			return got;
	}
}

/* What does not come in records, perhaps from behind the records of a hello that is still kept. */
static ssize_t plain_recv(struct stream *s, char *p, int n)
{
	struct tls *t = s->tls;
	ssize_t got = in_take(t, p, n);

	if (got == 0 && t->hello) {
		got = raw_recv(s);
		return got > 0 ? in_take(t, p, n) : got;
	}
	return got ? got : tls_sock_recv(s, p, (size_t)n);
}

static int bio_read(BIO *b, char *p, int n)
{
	struct stream *s = BIO_get_data(b);
	struct tls *t = s->tls;
	ssize_t got;

	BIO_clear_retry_flags(b);
	if (n <= 0)
		return 0;
	got = t->framed ? framed_recv(s, p, n) : plain_recv(s, p, n);
	if (got > 0) {
		t->starved = false;
		return (int)got;
	}
	if (got == 0) {
		t->eof = true;
		return 0;
	}
	if (got == -EAGAIN)
		BIO_set_retry_read(b);
	else
		t->io_err = (int)got;
	return -1;
}

static int out_keep(struct tls *t, const char *p, size_t n)
{
	size_t len = inbuf_len(&t->out);

	if (len + n > OUT_MAX || !inbuf_reserve(&t->out, len + n, NULL))
		return -ENOMEM;
	memcpy(t->out.p + t->out.end, p, n);
	t->out.end += (uint32_t)n;
	return 0;
}

/* Whoever wrote is told that it failed: closing must not send the rest after all. */
static int out_failed(struct tls *t, ssize_t rc)
{
	t->failed = true;
	return (int)rc;
}

/* 0: sent or kept. */
int tls_out_send(struct stream *s, const char *p, size_t n)
{
	struct tls *t = s->tls;
	struct iovec iov = {(void *)p, n};
	ssize_t put = 0;

	t->written += n;
	if (!inbuf_len(&t->out) && (s->io.ready & IO_W)) {
		put = iofd_writev(&s->io, &iov, 1);
		if (put == -EAGAIN)
			put = 0;
		if (put < 0)
			return out_failed(t, put);
	}
	return (size_t)put < n ? out_keep(t, p + put, n - (size_t)put) : 0;
}

static int bio_write(BIO *b, const char *p, int n)
{
	struct stream *s = BIO_get_data(b);
	struct tls *t = s->tls;
	int rc = 0;

	BIO_clear_retry_flags(b);
	if (n <= 0)
		return 0;
	if (scratch.on == t && scratch.len + (size_t)n <= TLS_BATCH_SIZE) {
		memcpy(scratch.batch + scratch.len, p, (size_t)n);
		scratch.len += (size_t)n;
		return n;
	}
	if (scratch.on == t && scratch.len) {
		rc = tls_out_send(s, scratch.batch, scratch.len);
		scratch.len = 0;
	}
	if (rc == 0)
		rc = tls_out_send(s, p, (size_t)n);
	if (rc == 0)
		return n;
	t->io_err = rc;
	return -1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void bio_method_make(void)
{
	bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
	if (!bio_method)
		return;
	BIO_meth_set_read(bio_method, bio_read);
	BIO_meth_set_write(bio_method, bio_write);
	BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

/* ---- results ---- */

/* Sends what OpenSSL wrote: 0, -EAGAIN or -errno. */
int tls_out_flush(struct stream *s)
{
	struct tls *t = s->tls;

	while (inbuf_len(&t->out)) {
		struct iovec iov = {t->out.p + t->out.start, inbuf_len(&t->out)};
		ssize_t put = iofd_writev(&s->io, &iov, 1);

		if (put < 0)
			return put == -EAGAIN ? -EAGAIN : out_failed(t, put);
		inbuf_take(&t->out, (size_t)put);
		if (inbuf_len(&t->out) && !(s->io.ready & IO_W))
			return -EAGAIN;
	}
	inbuf_free(&t->out);
	return 0;
}

/* What a call that did not succeed means: -EAGAIN, 0 at the peer's end, -errno. Called right after
 * it: the error queue is the thread's. */
static ssize_t classify(struct stream *s, int ret, const char *call)
{
	struct tls *t = s->tls;
	char text[400];
	int err = SSL_get_error(t->ssl, ret);

	if (err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_CLIENT_HELLO_CB) {
		t->starved = true;
		return -EAGAIN;
	}
	if (err == SSL_ERROR_ZERO_RETURN && SSL_is_init_finished(t->ssl)) {
		/* SSL_OP_IGNORE_UNEXPECTED_EOF makes both ends look the same. */
		t->truncated = t->eof;
		return 0;
	}
	t->failed = true;
	if (t->io_err) {
		tls_say(s, "%s failed (%d: %s)", call, -t->io_err, strerror(-t->io_err));
		ERR_clear_error();
		return t->io_err;
	}
	if (t->eof && err != SSL_ERROR_SSL) {
		t->truncated = true;
		tls_say(s, "peer closed connection in SSL handshake");
		return SSL_is_init_finished(t->ssl) ? 0 : -EPIPE;
	}
	tls_error_text(text, sizeof(text));
	tls_say(s, "%s failed%s", call, text);
	return -EPROTO;
}

/* ---- beginning and end ---- */

static int tls_open(struct stream *s, struct tls_ctx *ctx)
{
	struct tls *t = s->tls;
	SSL *ssl;
	BIO *b;

	pthread_once(&bio_once, bio_method_make);
	ERR_clear_error();
	ssl = SSL_new(ctx->ssl);
	b = bio_method ? BIO_new(bio_method) : NULL;
	if (!ssl || !b) {
		SSL_free(ssl);
		BIO_free(b);
		ERR_clear_error();
		return -ENOMEM;
	}
	BIO_set_data(b, s);
	BIO_set_init(b, 1);
	SSL_set_bio(ssl, b, b);
	if (ctx->server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	t->ssl = ssl;
	t->ctx = ctx;
	t->early = ctx->server && ctx->early_data;
	return 0;
}

static int tls_begin(struct stream *s, struct tls_ctx *ctx, struct inbuf *early)
{
	struct tls *t = mem_zalloc(sizeof(*t));
	int rc;

	BUG_ON(s->tls);
	if (!t)
		return -ENOMEM;
	s->tls = t;
	if (last_error.s == s)
		last_error.s = NULL;
	rc = tls_open(s, ctx);
	if (rc < 0) {
		s->tls = NULL;
		mem_free(t);
		return rc;
	}
	tls_ctx_ref(ctx);
	if (early) {
		t->in = *early;
		*early = (struct inbuf){.p = NULL};
	}
	return 0;
}

void tls_free(struct stream *s)
{
	struct tls *t = s->tls;

	if (!t)
		return;
	/* An end without close_notify is no reason to forget the session, a failure is. */
	if (t->ssl && !t->failed)
		SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(t->ssl);
	ERR_clear_error();
	tls_ctx_unref(t->ctx);
	tls_ctx_unref(t->pick);
	inbuf_free(&t->in);
	inbuf_free(&t->out);
	inbuf_free(&t->plain);
	tls_own_free(t);
	tls_secrets_free(t);
	mem_free(t->sni);
	mem_free(t);
	s->tls = NULL;
}

static void say_goodbye(struct stream *s)
{
	struct tls *t = s->tls;

	t->shut = true;
	if (t->own) {
		tls_own_shutdown(s);
		return;
	}
	ERR_clear_error();
	if (SSL_shutdown(t->ssl) < 0)
		ERR_clear_error();
}

int tls_shutdown(struct stream *s)
{
	struct tls *t = s->tls;
	int rc;

	if (t->failed || (t->ssl && !SSL_is_init_finished(t->ssl)))
		return 0;
	rc = tls_out_flush(s);
	if (rc < 0)
		return rc == -EAGAIN ? rc : 0;
	if (!t->shut)
		say_goodbye(s);
	return !t->failed && inbuf_len(&t->out) ? -EAGAIN : 0;
}

/* ---- picking the context by name ---- */

/* The host name of the extension server_name (RFC 6066 section 3). False: malformed. */
static bool hello_sni(SSL *ssl, struct span *sni)
{
	const unsigned char *p;
	size_t n, len;

	*sni = (struct span){"", 0};
	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n))
		return true;
	if (n < 5 || (size_t)(p[0] << 8 | p[1]) != n - 2 || p[2] != TLSEXT_NAMETYPE_host_name)
		return false;
	len = (size_t)(p[3] << 8 | p[4]);
	if (len == 0 || len != n - 5 || len > TLSEXT_MAXLEN_host_name || memchr(p + 5, 0, len))
		return false;
	*sni = span_make(p + 5, len);
	return true;
}

static int hello_pick(struct tls *t, struct span sni, int *alert)
{
	struct tls_ctx *c = t->ctx;

	*alert = SSL_AD_INTERNAL_ERROR;
	t->sni = mem_alloc(sni.n + 1);
	if (!t->sni)
		return SSL_CLIENT_HELLO_ERROR;
	memcpy(t->sni, sni.p, sni.n);
	t->sni[sni.n] = '\0';
	t->picked = true;
	if (t->picker)
		c = t->picker->pick(t->picker->arg, sni);
	if (!c || c->reject) {
		*alert = SSL_AD_UNRECOGNIZED_NAME;
		return SSL_CLIENT_HELLO_ERROR;
	}
	if (c != t->ctx) {
		t->pick = tls_ctx_ref(c);
		return SSL_CLIENT_HELLO_RETRY;
	}
	return SSL_CLIENT_HELLO_SUCCESS;
}

int tls_hello_cb(SSL *ssl, int *alert, void *arg)
{
	struct tls *t = tls_of(ssl);
	struct span sni;
	int rc = SSL_CLIENT_HELLO_SUCCESS;

	if (!hello_sni(ssl, &sni)) {
		*alert = SSL_AD_DECODE_ERROR;
		return SSL_CLIENT_HELLO_ERROR;
	}
	if (t->picked && !span_eq(sni, span_of(t->sni))) {
		/* A second hello, after a HelloRetryRequest, must not move to another server. */
		*alert = SSL_AD_ILLEGAL_PARAMETER;
		return SSL_CLIENT_HELLO_ERROR;
	}
	if (!t->picked)
		rc = hello_pick(t, sni, alert);
	if (rc == SSL_CLIENT_HELLO_SUCCESS && t->hello) {
		t->hello = false;
		inbuf_take(&t->in, t->in_at);
		if (!inbuf_len(&t->in))
			inbuf_free(&t->in);
	}
	return rc;
}

/* Begins anew with the picked context; the hello is read a second time. So everything in it counts,
 * protocol versions, groups and tickets too, which switching the context of an SSL object that has
 * begun does not give. */
static int switch_context(struct stream *s)
{
	struct tls *t = s->tls;
	struct tls_ctx *old_ctx = t->ctx;
	SSL *old = t->ssl;
	int rc;

	rc = tls_open(s, t->pick);
	if (rc < 0)
		return rc;
	t->pick = NULL;
	t->in_at = 0;
	t->frame = 0;
	t->framed = true;
	t->starved = false;
	SSL_free(old);
	tls_ctx_unref(old_ctx);
	return 0;
}

/* ---- the handshake ---- */

/* Early data that comes with the first flight is handed on before the handshake ends. */
static int step_early(struct stream *s)
{
	struct tls *t = s->tls;
	size_t n = 0;
	int ret;

	if (!inbuf_reserve(&t->plain, TLS_RECORD_MAX, NULL))
		return -ENOMEM;
	ERR_clear_error();
	ret = SSL_read_early_data(t->ssl, t->plain.p + t->plain.end, t->plain.cap - t->plain.end,
				  &n);
	t->plain.end += (uint32_t)n;
	if (!inbuf_len(&t->plain))
		inbuf_free(&t->plain);
	if (ret == SSL_READ_EARLY_DATA_SUCCESS)
		return 0;
	if (ret == SSL_READ_EARLY_DATA_ERROR)
		return (int)classify(s, -1, "SSL_read_early_data()");
	t->early = false;
	return 1;
}

/* 0 when it is done, -EAGAIN for more input, -errno. */
static int step(struct stream *s)
{
	struct tls *t = s->tls;
	int ret;

	if (t->early) {
		ret = step_early(s);
		if (ret <= 0)
			return ret;
	}
	ERR_clear_error();
	ret = SSL_do_handshake(t->ssl);
	return ret == 1 ? 0 : (int)classify(s, ret, "SSL_do_handshake()");
}

static int handshake(struct stream *s, uint64_t deadline_ms)
{
	struct tls *t = s->tls;

	for (;;) {
		int rc = step(s), flushed;

		while (rc == -EAGAIN && t->pick) {
			rc = switch_context(s);
			if (rc == 0)
				rc = step(s);
		}
		while ((flushed = tls_out_flush(s)) == -EAGAIN && !t->failed) {
			flushed = iofd_wait(&s->io, IO_W, deadline_ms);
			if (flushed < 0)
				return flushed;
		}
		if (rc != -EAGAIN)
			return rc ? rc : flushed;
		if (flushed < 0)
			return flushed;
		rc = iofd_wait(&s->io, IO_R, deadline_ms);
		if (rc < 0)
			return rc;
	}
}

int tls_accept(struct stream *s, const struct tls_picker *p, struct tls_ctx *dflt,
	       struct inbuf *early, uint64_t deadline_ms)
{
	int rc = tls_begin(s, dflt, early);

	if (rc < 0)
		return rc;
	s->tls->picker = p;
	s->tls->hello = s->tls->framed = true;
	rc = handshake(s, deadline_ms);
	s->tls->picker = NULL;
	if (rc < 0)
		s->tls->failed = true;
	else
		tls_own_try(s);
	s->tls->framed = false;
	tls_secrets_free(s->tls);
	return rc;
}

static bool expect_name(SSL *ssl, struct span name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	char text[256];

	if (!span_to_cstr(name, text, sizeof(text)))
		return false;
	return X509_VERIFY_PARAM_set1_ip_asc(param, text) || SSL_set1_host(ssl, text);
}

static int connect_setup(struct tls *t, const struct tls_connect *c)
{
	char sni[256];

	ERR_clear_error();
	if (c->sni.n) {
		if (!span_to_cstr(c->sni, sni, sizeof(sni)) ||
		    !SSL_set_tlsext_host_name(t->ssl, sni))
			return -EINVAL;
	}
	SSL_set_verify(t->ssl, c->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	if (c->verify && c->verify_name.n && !expect_name(t->ssl, c->verify_name))
		return -EINVAL;
	if (c->session_key && c->ctx->session_reuse) {
		/* A session keeps the result of its verification: never offer it under other rules.
		 */
		uint64_t parts[3] = {c->session_key, c->ctx->identity + c->verify,
				     hash_bytes(c->verify_name.p, c->verify_name.n)};

		t->session_key = hash_bytes(parts, sizeof(parts)) | 1;
		tls_session_offer(t);
	}
	return 0;
}

static int verify_failed(struct stream *s, const struct tls_connect *c, long result)
{
	s->tls->failed = true;
	if (result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH)
		tls_say(s, "upstream SSL certificate does not match \"%.*s\"",
			SPAN_ARG(c->verify_name));
	else
		tls_say(s, "upstream SSL certificate verify error: (%ld:%s)", result,
			X509_verify_cert_error_string(result));
	return -EPERM;
}

int tls_connect(struct stream *s, const struct tls_connect *c, uint64_t deadline_ms)
{
	int rc = tls_begin(s, c->ctx, NULL);
	long result;

	if (rc < 0)
		return rc;
	rc = connect_setup(s->tls, c);
	if (rc == 0)
		rc = handshake(s, deadline_ms);
	result = SSL_get_verify_result(s->tls->ssl);
	if (c->verify && result != X509_V_OK && (rc == 0 || rc == -EPROTO))
		return verify_failed(s, c, result);
	if (rc < 0)
		s->tls->failed = true;
	else
		tls_session_keep(s->tls);
	return rc;
}

/* ---- reading ---- */

uint64_t tls_written(const struct stream *s)
{
	return s->tls->written;
}

bool tls_pending(struct stream *s)
{
	struct tls *t = s->tls;

	if (inbuf_len(&t->plain))
		return true;
	if (t->own)
		return tls_own_pending(t);
	return !t->failed && !t->starved && (inbuf_len(&t->in) || SSL_has_pending(t->ssl));
}

ssize_t tls_plain_take(struct tls *t, void *p, size_t n)
{
	n = MIN_OF(n, inbuf_len(&t->plain));
	memcpy(p, t->plain.p + t->plain.start, n);
	inbuf_take(&t->plain, n);
	if (!inbuf_len(&t->plain))
		inbuf_free(&t->plain);
	return (ssize_t)n;
}

/* > 0 bytes, 0: early data has ended, go on with SSL_read; -EAGAIN, -errno. */
static ssize_t recv_early(struct stream *s, void *p, size_t n)
{
	struct tls *t = s->tls;
	size_t got = 0;
	int ret;

	ERR_clear_error();
	ret = SSL_read_early_data(t->ssl, p, n, &got);
	if (ret == SSL_READ_EARLY_DATA_ERROR)
		return classify(s, -1, "SSL_read_early_data()");
	if (ret == SSL_READ_EARLY_DATA_FINISH)
		t->early = false;
	return (ssize_t)got;
}

ssize_t tls_recv(struct stream *s, void *p, size_t n)
{
	struct tls *t = s->tls;
	size_t got;
	int ret;

	if (inbuf_len(&t->plain))
		return tls_plain_take(t, p, n);
	if (t->failed)
		return t->io_err ? t->io_err : -EPROTO;
	if (t->own)
		return tls_own_recv(s, p, n);
	while (t->early) {
		ssize_t r = recv_early(s, p, n);

		if (r)
			return r;
	}
	ERR_clear_error();
	ret = SSL_read_ex(t->ssl, p, n, &got);
	return ret == 1 ? (ssize_t)got : classify(s, ret, "SSL_read()");
}

bool tls_truncated(struct stream *s)
{
	return s->tls && s->tls->truncated;
}

/* ---- writing ---- */

size_t tls_source_copy(struct tls_source *f, char *to, size_t max)
{
	size_t len = 0;

	while (f->n && len < max) {
		size_t k = MIN_OF(f->iov->iov_len - f->at, max - len);

		if (k)
			memcpy(to + len, (char *)f->iov->iov_base + f->at, k);
		len += k;
		f->at += k;
		if (f->at == f->iov->iov_len) {
			f->iov++;
			f->n--;
			f->at = 0;
		}
	}
	return len;
}

/* The next record's payload: in place when one piece fills it or is the last, else gathered. */
static struct span source_next(struct tls_source *f, size_t max)
{
	size_t room;

	while (f->n && f->at == f->iov->iov_len) {
		f->iov++;
		f->n--;
		f->at = 0;
	}
	if (!f->n)
		return (struct span){NULL, 0};
	room = f->iov->iov_len - f->at;
	if (f->n == 1 || room >= max) {
		struct span s = {(char *)f->iov->iov_base + f->at, MIN_OF(room, max)};

		f->at += s.n;
		return s;
	}
	return (struct span){scratch.gather, tls_source_copy(f, scratch.gather, max)};
}

/* One record: bytes or -errno. */
static ssize_t write_record(struct stream *s, struct span data)
{
	struct tls *t = s->tls;
	size_t put;
	int ret;

	ERR_clear_error();
	if (t->early || !SSL_is_init_finished(t->ssl))
		ret = SSL_write_early_data(t->ssl, data.p, data.n, &put);
	else
		ret = SSL_write_ex(t->ssl, data.p, data.n, &put);
	return ret == 1 ? (ssize_t)put : classify(s, ret, "SSL_write()");
}

static ssize_t write_batch(struct stream *s, const struct iovec *iov, int n)
{
	struct tls *t = s->tls;
	struct tls_source from = {iov, n, 0};
	size_t all = 0;
	ssize_t put = 0;
	int rc = 0;

	scratch.on = t;
	scratch.len = 0;
	for (int i = 0; i < TLS_BATCH_RECORDS; i++) {
		struct span data = source_next(&from, t->ctx->record_max);

		if (!data.n)
			break;
		put = write_record(s, data);
		if (put <= 0)
			break;
		BUG_ON((size_t)put != data.n); /* the BIO takes everything */
		all += (size_t)put;
	}
	scratch.on = NULL;
	if (scratch.len)
		rc = tls_out_send(s, scratch.batch, scratch.len);
	if (put < 0)
		return put;
	if (rc < 0) {
		t->failed = true;
		return rc;
	}
	return (ssize_t)all;
}

ssize_t tls_try_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct tls *t = s->tls;
	ssize_t put;
	int rc;

	if (t->failed || t->shut)
		return -EPIPE;
	rc = tls_out_flush(s);
	if (rc < 0)
		return rc;
	if (t->owed) {
		/* These are the bytes that the caller offers again: they have left. */
		put = t->owed;
		t->owed = 0;
		return put;
	}
	if (!scratch_ready())
		return -ENOMEM;
	put = t->own ? tls_own_write(s, iov, n, scratch.batch) : write_batch(s, iov, n);
	if (put > 0 && inbuf_len(&t->out)) {
		t->owed = (uint32_t)put;
		return -EAGAIN;
	}
	return put;
}
