/* What net/tls*.c share. Nobody else may include this: OpenSSL stays behind tls.h. */
#pragma once
#include <stdatomic.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include "net/tls.h"
#include "net/tls_record.h"

#define TLS_RECORD_MAX 16384u /* payload of a record */

/* nginx's files: 48 bytes are AES-128, 80 bytes AES-256. */
struct tls_ticket_key {
	uint8_t name[16], hmac[32], aes[32];
	bool aes256;
};

struct tls_cache; /* server sessions by id: see tls_session.c */

struct tls_ctx {
	atomic_uint refs;
	SSL_CTX *ssl;
	bool server, has_cert, reject, early_data, session_reuse;
	enum tls_verify verify;
	size_t record_max;
	struct tls_cache *cache;     /* NULL: none. Lives for ever. */
	struct tls_ticket_key *keys; /* NULL: the automatic ones */
	size_t nkeys;
	uint8_t *alpn; /* as on the wire */
	size_t nalpn;
	uint64_t identity; /* hash of what decides whom we trust and who we are */
};

/* What a server's handshake tells on its way about the keys that come after it. */
struct tls_secrets {
	uint8_t in[48], out[48];  /* application traffic secrets (RFC 8446 section 7.1) */
	size_t nin, nout;	  /* their bytes, 0 until they are in use */
	uint64_t in_seq, out_seq; /* records that they have protected */
};

/* A connection that was taken over from OpenSSL: our record layer, and the facts of the handshake.
 */
struct tls_own {
	struct tls_record rec;
	int curve, sig_key, sig_hash; /* NIDs */
	bool sig_pss, reused;
	uint8_t nid, nalpn;
	uint16_t suite, nciphers, ngroups, nsigalgs;
	uint8_t id[SSL_MAX_SSL_SESSION_ID_LENGTH];
	/* What the client offered: ngroups NIDs, nciphers numbers, nsigalgs numbers; then ALPN. */
	int32_t lists[];
};

/* One connection. No buffers are held while it is idle. */
struct tls {
	SSL *ssl;		     /* NULL: taken over */
	struct tls_own *own;	     /* NULL: OpenSSL's */
	struct tls_secrets *secrets; /* while accepting */
	struct tls_ctx *ctx;
	/* Raw input that is served before the socket's: given by the caller, or, until the server
	 * is picked, all that was read: then a new SSL object of the right context reads it again.
	 */
	struct inbuf in;
	uint32_t in_at;	    /* of the hello kept in `in`: how far the SSL object has read */
	struct inbuf out;   /* what OpenSSL wrote and the socket did not take */
	struct inbuf plain; /* early data that was read while accepting */
	uint64_t written;   /* bytes of records, sent or in `out` */
	uint32_t owed;	    /* payload bytes that are in `out`, not yet reported as written */
	int io_err;	    /* of the last call on the socket, -errno */
	uint32_t frame; /* while framed: bytes of the record that OpenSSL is reading, not yet given
			 */
	bool framed;	/* OpenSSL is given no byte beyond the record that it reads */
	bool hello;	/* input is kept in `in` */
	bool picked;	/* the name was looked up */
	bool failed;	/* OpenSSL must not be called again, except to free */
	bool eof, truncated;		 /* the socket's end; without close_notify before it */
	bool starved;			 /* what is buffered is not a whole record */
	bool shut;			 /* close_notify was sent */
	bool early;			 /* server: early data is still being read */
	const struct tls_picker *picker; /* during the handshake */
	struct tls_ctx *pick;		 /* the context to go on with, owned; NULL: this one */
	uint64_t session_key;		 /* client: under which its sessions are kept; 0: not */
	char *sni;			 /* as the ClientHello had it, server only */
};

/* The connection of an SSL object of ours. */
struct tls *tls_of(const SSL *ssl);
/* Sets the text of stream_tls_error. */
void tls_say(const struct stream *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Empties OpenSSL's error queue into " (SSL: error:...)"; returns the length. */
size_t tls_error_text(char *p, size_t size);

/* Sessions. */
bool tls_sessions_setup(struct tls_ctx *c, const struct tls_conf *conf);
void tls_session_offer(struct tls *t); /* client: before the handshake */
void tls_session_keep(struct tls *t);  /* client: after it */
void tls_client_sessions_fini(void);   /* this thread's */
/* The caches of servers, which live as long as the process: when no context is left (tests, the
 * simulator). */
void tls_caches_fini(void);

bool tls_cert_is_pss(X509 *x);
int tls_hello_cb(SSL *ssl, int *alert, void *arg);
int tls_alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
		unsigned inlen, void *arg);

/* ---- the take-over: tls_own.c ---- */

/* A tests' switch: false leaves every connection to OpenSSL. */
extern bool tls_take_over;

/* For the contexts of servers: they fill tls.secrets. */
void tls_keylog_cb(const SSL *ssl, const char *line);
void tls_record_cb(int out, int version, int type, const void *p, size_t n, SSL *ssl, void *arg);
void tls_secrets_free(struct tls *t);
/* After a handshake of a server. When everything permits it, s->tls->own carries the connection on,
 * and the SSL object is gone; otherwise nothing has changed. */
void tls_own_try(struct stream *s);
void tls_own_free(struct tls *t);
void tls_own_thread_fini(void); /* this thread's buffer and cipher contexts */
/* As tls_recv, tls_pending, tls_shutdown. */
ssize_t tls_own_recv(struct stream *s, void *p, size_t n);
bool tls_own_pending(const struct tls *t);
void tls_own_shutdown(struct stream *s);
/* One system call's worth of records, as tls_try_writev without what is owed: bytes taken or
 * -errno. batch: TLS_BATCH_SIZE bytes. */
ssize_t tls_own_write(struct stream *s, const struct iovec *iov, int n, char *batch);

#define TLS_BATCH_RECORDS 4   /* records that leave in one system call */
#define TLS_RECORD_EXTRA  256 /* header, tag and padding of one, generously */
#define TLS_BATCH_SIZE	  (TLS_BATCH_RECORDS * (TLS_RECORD_MAX + TLS_RECORD_EXTRA))

struct tls_source {
	const struct iovec *iov;
	int n;
	size_t at; /* into iov[0] */
};
/* The next max bytes at most, copied: how many. */
size_t tls_source_copy(struct tls_source *f, char *to, size_t max);
/* Sent or kept in tls.out: 0. */
int tls_out_send(struct stream *s, const char *p, size_t n);
/* Sends what is kept: 0, -EAGAIN or -errno. */
int tls_out_flush(struct stream *s);
ssize_t tls_sock_recv(struct stream *s, void *p, size_t n);
ssize_t tls_plain_take(struct tls *t, void *p, size_t n);
