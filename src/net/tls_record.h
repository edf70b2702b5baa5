/* The record layer of TLS 1.3 (RFC 8446 section 5) for a connection whose handshake OpenSSL has
 * done: nothing here but keys, counters and the few messages that may come after a handshake. No
 * socket, no stream: net/tls_own.c moves the bytes.
 *
 * A struct tls_record belongs to one connection, is plain memory and may move to another thread
 * between two calls. The cipher contexts live in a small cache of each thread and are keyed again
 * when a connection wakes, so that an idle connection has none.
 *
 * Always true: a sequence number is used once with a key; nothing that failed its tag is handed
 * out. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TLS_HEAD	5u  /* of a record (section 5.1) */
#define TLS_TAG		16u /* of all three suites */
#define TLS_OVERHEAD	(TLS_HEAD + 1u + TLS_TAG)
#define TLS_CIPHER_MAX	(16384u + 256u)	    /* of the encrypted part (section 5.2) */
#define TLS_UPDATE_SIZE (TLS_OVERHEAD + 5u) /* a KeyUpdate in its record */
#define TLS_ALERT_SIZE	(TLS_OVERHEAD + 2u)

enum tls_content { TLS_TYPE_ALERT = 21, TLS_TYPE_HANDSHAKE = 22, TLS_TYPE_DATA = 23 };

/* What goes one way. */
struct tls_keys {
	uint64_t seq; /* of the next record */
	uint64_t tag; /* names this key in the thread's cache: never used twice */
	uint8_t secret[48], key[32], iv[12];
};

struct tls_record {
	struct tls_keys in, out;
	uint8_t suite;	/* low byte of the cipher suite's number: 0x1301 to 0x1303 */
	uint8_t barren; /* records in a row that brought no data */
	uint8_t nmsg;	/* bytes of a handshake message that is not yet complete */
	uint8_t msg[5];
	bool update_due; /* the peer asked for a KeyUpdate: before our next data (section 4.6.3) */
	bool ended;	 /* close_notify was received, or the socket's end */
};

/* suite: 0x1301 TLS_AES_128_GCM_SHA256, 0x1302 TLS_AES_256_GCM_SHA384, 0x1303
 * TLS_CHACHA20_POLY1305_SHA256 (appendix B.4). in, out: the application traffic secrets of n bytes
 * (32, or 48 for 0x1302), and how many records each has protected already. False: unknown suite,
 * wrong n, or OpenSSL has no such cipher. */
bool tls_record_init(struct tls_record *r, unsigned suite, const uint8_t *in, uint64_t in_seq,
		     const uint8_t *out, uint64_t out_seq, size_t n);
/* Forgets all secrets. */
void tls_record_fini(struct tls_record *r);
/* Of n bytes that begin with a record: its length with the header, 0 when the header is not
 * complete, or -alert: nothing but protected records of at most 2^14 + 256 bytes may come
 * (section 5.2). */
ssize_t tls_record_length(const void *p, size_t n);

enum tls_got {
	TLS_GOT_DATA,	 /* n bytes at p, at least one */
	TLS_GOT_NOTHING, /* an empty record, a KeyUpdate or user_canceled: go on */
	TLS_GOT_END,	 /* close_notify; nothing after it counts (section 6.1) */
	TLS_GOT_ALERT,	 /* the peer gave up with `alert` */
	TLS_GOT_ERROR,	 /* we must, with `alert` */
};
struct tls_opened {
	uint8_t alert;
	uint8_t *p;
	size_t n;
};
/* Opens the record of `size` bytes (what tls_record_length said) at raw. out: where the plaintext
 * goes, with room for size - 21 bytes; may be raw + 5. What it holds after an error is not to be
 * looked at. */
enum tls_got tls_record_open(struct tls_record *r, const uint8_t *raw, size_t size, uint8_t *out,
			     struct tls_opened *o);
/* Makes a record of the n bytes (1 to 2^14) at p + 5, in place; the room must be n + 22 bytes. Its
 * length, or 0 when OpenSSL fails. */
size_t tls_record_seal(struct tls_record *r, uint8_t *p, size_t n, enum tls_content type);
/* To be called before data is sealed: when a KeyUpdate is due (the peer asked, or the key has
 * protected as much as is good for it, section 5.5), writes it to p (TLS_UPDATE_SIZE bytes) and
 * goes on with the next key. Bytes written, 0 when none was due, -1 when OpenSSL fails. */
ssize_t tls_record_update(struct tls_record *r, uint8_t *p);

/* Records after which our own direction gets a new key with AES-GCM. A variable for tests. */
extern uint64_t tls_rekey_after;
/* Frees this thread's contexts. */
void tls_record_thread_fini(void);
