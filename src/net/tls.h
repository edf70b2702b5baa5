/* TLS over a stream. The only files of the tree that know OpenSSL are net/tls*.c.
 *
 * A tls_ctx is an immutable set of parameters (certificates, protocols, ...), shared by threads and
 * reference-counted: a snapshot holds its contexts, a connection holds the one it uses, so reloads
 * do not disturb connections. Session caches and ticket keys outlive snapshots in registries keyed
 * by name, so resumption survives a reload.
 *
 * Texts (PEM) are given, not paths: the opener read them. "data:" and "store:" forms are the
 * caller's words, passed through. Secrets never reach a log; a message names file and reason. */
#pragma once
#include <stdbool.h>
#include "base/arena.h"
#include "net/stream.h"

enum tls_protocol {
	TLS_SSLV2 = 1,
	TLS_SSLV3 = 2,
	TLS_V1 = 4,
	TLS_V1_1 = 8,
	TLS_V1_2 = 16,
	TLS_V1_3 = 32
};
enum tls_verify { TLS_VERIFY_OFF, TLS_VERIFY_ON, TLS_VERIFY_OPTIONAL, TLS_VERIFY_OPTIONAL_NO_CA };

struct tls_cert {
	struct span cert, key;		 /* PEM texts; key may be "engine:..."/"store:..." */
	struct span cert_path, key_path; /* for messages */
};
/* What a message may say of a name: "data:" is followed by what may be a key. */
static inline struct span tls_file_shown(struct span name)
{
	return span_starts(name, SPAN("data:")) ? SPAN("data:...") : name;
}
struct tls_command {
	struct span name, value;
}; /* ssl_conf_command */

struct tls_conf {
	bool server;
	unsigned protocols;	     /* enum tls_protocol */
	struct span ciphers, curves; /* OpenSSL's syntax; empty: default */
	bool prefer_server_ciphers;
	const struct tls_cert *certs;
	size_t ncerts; /* RSA and ECDSA pairs */
	const struct span *passwords;
	size_t npasswords;
	struct span client_ca, trusted, crl, dhparam; /* PEM texts */
	enum tls_verify verify;
	int verify_depth;
	bool session_tickets;
	const struct span *ticket_keys;
	size_t nticket_keys; /* 48 or 80 bytes each, first encrypts */
	enum { TLS_CACHE_OFF, TLS_CACHE_NONE, TLS_CACHE_BUILTIN, TLS_CACHE_SHARED } cache;
	struct span cache_name;
	size_t cache_size;	 /* bytes */
	int64_t session_timeout; /* s */
	const struct tls_command *commands;
	size_t ncommands;
	const struct span *alpn;
	size_t nalpn;	   /* in order of preference; server: offers, client: sends */
	size_t record_max; /* ssl_buffer_size, bytes; 0: 16 KiB */
	/* client side */
	bool session_reuse;
	bool reject_handshake; /* server: refuse with unrecognized_name */
	bool early_data;
};

struct tls_ctx;
/* NULL on failure: *err (in a) says what is wrong in words for the operator, nginx's form where it
 * has one. */
struct tls_ctx *tls_ctx_new(const struct tls_conf *conf, struct arena *a, struct span *err);
struct tls_ctx *tls_ctx_ref(struct tls_ctx *c);
void tls_ctx_unref(struct tls_ctx *c);
bool tls_ctx_has_certificate(const struct tls_ctx *c);
/* New in version 1.1 of ticket keys: called by a timer on one thread; rotates automatic keys when
 * due. */
void tls_rotate_ticket_keys(uint64_t wall_ms);

/* Chooses the context by server name during the handshake, on the loop: returns a borrowed context,
 * or NULL to refuse with unrecognized_name. sni is empty when the client sent none. */
struct tls_picker {
	struct tls_ctx *(*pick)(void *arg, struct span sni);
	void *arg;
	struct span not_alpn; /* a protocol of the context's that is not offered here; pick may set
				 it */
};

/* Starts TLS on a connected stream. 0, -ETIMEDOUT, -ECANCELED, -EPROTO, -EPIPE. early: bytes that
 * were read from the socket already (PROXY protocol, peeked first byte), consumed first. */
MAY_SUSPEND int tls_accept(struct stream *s, const struct tls_picker *p, struct tls_ctx *dflt,
			   struct inbuf *early, uint64_t deadline_ms);
struct tls_connect {
	struct tls_ctx *ctx;
	struct span sni;	 /* empty: not sent; never an IP literal */
	struct span verify_name; /* empty: the chain is checked but not the name; IPs allowed */
	bool verify;
	uint64_t session_key; /* which cached session to offer (peer identity + name); 0: none */
};
/* -EPERM: the certificate did not verify. */
MAY_SUSPEND int tls_connect(struct stream *s, const struct tls_connect *c, uint64_t deadline_ms);

/* Facts about an established connection for variables; empty when there is none. Built in a. */
enum tls_fact {
	TLS_PROTOCOL,
	TLS_CIPHER,
	TLS_CIPHERS,
	TLS_CURVE,
	TLS_CURVES,
	TLS_SIGALG,
	TLS_SIGALGS_OFFERED,
	TLS_SESSION_ID,
	TLS_SESSION_REUSED,
	TLS_EARLY_DATA,
	TLS_SERVER_NAME,
	TLS_ALPN,
	TLS_CLIENT_CERT,
	TLS_CLIENT_RAW_CERT,
	TLS_CLIENT_ESCAPED_CERT,
	TLS_CLIENT_S_DN,
	TLS_CLIENT_I_DN,
	TLS_CLIENT_S_DN_LEGACY,
	TLS_CLIENT_I_DN_LEGACY,
	TLS_CLIENT_SERIAL,
	TLS_CLIENT_FINGERPRINT,
	TLS_CLIENT_VERIFY,
	TLS_CLIENT_V_START,
	TLS_CLIENT_V_END,
	TLS_CLIENT_V_REMAIN,
	TLS_CLIENT_SIGALG,
};
struct span tls_fact(struct stream *s, enum tls_fact what, struct arena *a);
/* Did the handshake choose this protocol? */
bool tls_alpn_is(struct stream *s, struct span protocol);
/* Verification of the client's certificate: 1 verified, 0 none sent, -1 failed. With
 * TLS_VERIFY_OPTIONAL_NO_CA a chain that merely leads to no known CA counts as verified. The
 * handshake itself never fails over it: the caller answers 400 or goes on. */
int tls_client_verified(struct stream *s);
/* The stream ended without close_notify: a body that the end delimits may be cut short. */
bool tls_truncated(struct stream *s);
/* The name the client asked for in the handshake ("" when none): lives as long as the connection.
 */
struct span tls_sni(struct stream *s);
/* The last TLS error of this stream in words ("" when none), valid until the next call on the
 * thread. */
struct span stream_tls_error(struct stream *s);
/* Version of the library for -V: "OpenSSL 3.0.17 1 Jul 2025". */
struct span tls_library_version(void);

/* For stream.c. After tls_try_writev has given -EAGAIN some of the bytes may be encrypted already:
 * the same bytes must come first next time. Bytes are reported as written when the socket has taken
 * their records. */
ssize_t tls_recv(struct stream *s, void *p, size_t n);
ssize_t tls_try_writev(struct stream *s, const struct iovec *iov, int n);
int tls_shutdown(struct stream *s); /* 0, or -EAGAIN: close_notify has not left */
void tls_free(struct stream *s);
bool tls_pending(struct stream *s);
/* Bytes of records that were made, sent or not. */
uint64_t tls_written(const struct stream *s);
/* Frees this thread's buffers and client sessions. */
void tls_thread_fini(void);
