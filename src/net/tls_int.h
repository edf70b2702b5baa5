/* What net/tls*.c share. Nobody else may include this: OpenSSL stays behind tls.h. */
#pragma once
#include <stdatomic.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include "net/tls.h"

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

/* One connection. No buffers are held while it is idle. */
struct tls {
	SSL *ssl;
	struct tls_ctx *ctx;
	/* Raw input that is served before the socket's: given by the caller, or, until the server
	 * is picked, all that was read: then a new SSL object of the right context reads it again.
	 */
	struct inbuf in;
	uint32_t in_at;	     /* of the hello kept in `in`: how far the SSL object has read */
	struct inbuf out;    /* what OpenSSL wrote and the socket did not take */
	struct inbuf plain;  /* early data that was read while accepting */
	uint32_t owed;	     /* payload bytes that are in `out`, not yet reported as written */
	int io_err;	     /* of the last call on the socket, -errno */
	bool hello;	     /* input is kept in `in` */
	bool picked;	     /* the name was looked up */
	bool failed;	     /* OpenSSL must not be called again, except to free */
	bool eof, truncated; /* the socket's end; without close_notify before it */
	bool starved;	     /* what is buffered is not a whole record */
	bool shut;	     /* close_notify was sent */
	bool early;	     /* server: early data is still being read */
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

int tls_hello_cb(SSL *ssl, int *alert, void *arg);
int tls_alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
		unsigned inlen, void *arg);
