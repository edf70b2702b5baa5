/* What makes resumption work: ticket keys, the server's caches of sessions by id, and each thread's
 * sessions with upstream servers. All of it outlives the contexts. */
#include <errno.h>
#include <pthread.h>
#include <openssl/core_names.h>
#include <openssl/rand.h>
#include "base/hash.h"
#include "base/list.h"
#include "base/pool.h"
#include "net/tls_int.h"

/* ---- ticket keys ---- */

#define AUTO_KEYS 3 /* the one that encrypts, and two that still decrypt */

static struct {
	pthread_mutex_t lock;
	struct tls_ticket_key key[AUTO_KEYS];
	unsigned n;
	uint64_t period_ms,
		next_ms; /* longest session time-out of all contexts; 0: not yet known */
} automatic = {.lock = PTHREAD_MUTEX_INITIALIZER};

static EVP_CIPHER *aes128, *aes256;
static pthread_once_t ciphers_once = PTHREAD_ONCE_INIT;

static void ciphers_fetch(void)
{
	aes128 = EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL);
	aes256 = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
}

/* With the lock held. */
static bool keys_shift(void)
{
	struct tls_ticket_key k = {.aes256 = true};

	if (sys->random(&k, offsetof(struct tls_ticket_key, aes256)) < 0)
		return false;
	memmove(automatic.key + 1, automatic.key, sizeof(k) * (AUTO_KEYS - 1));
	automatic.key[0] = k;
	automatic.n = MIN_OF(automatic.n + 1, AUTO_KEYS);
	OPENSSL_cleanse(&k, sizeof(k));
	return true;
}

void tls_rotate_ticket_keys(uint64_t wall_ms)
{
	pthread_mutex_lock(&automatic.lock);
	if (automatic.n && automatic.period_ms && wall_ms >= automatic.next_ms) {
		if (automatic.next_ms && keys_shift() &&
		    wall_ms - automatic.next_ms >= automatic.period_ms)
			automatic.n = 1; /* overslept: what the older ones made has expired */
		automatic.next_ms = wall_ms + automatic.period_ms;
	}
	pthread_mutex_unlock(&automatic.lock);
}

static bool keys_prepare(int64_t timeout_s)
{
	uint64_t ms = (uint64_t)timeout_s * 1000;
	bool ok;

	pthread_mutex_lock(&automatic.lock);
	ok = automatic.n || keys_shift();
	automatic.period_ms = MAX_OF(automatic.period_ms, ms);
	pthread_mutex_unlock(&automatic.lock);
	return ok;
}

/* Copies the key that encrypts, or the one of this name; its index, or -1. */
static int key_find(const struct tls_ctx *c, const uint8_t *name, struct tls_ticket_key *out)
{
	const struct tls_ticket_key *k = c->keys ? c->keys : automatic.key;
	int found = -1;

	if (!c->keys)
		pthread_mutex_lock(&automatic.lock);
	for (size_t i = 0; i < (c->keys ? c->nkeys : automatic.n); i++)
		if (!name || CRYPTO_memcmp(k[i].name, name, sizeof(k->name)) == 0) {
			*out = k[i];
			found = (int)i;
			break;
		}
	if (!c->keys)
		pthread_mutex_unlock(&automatic.lock);
	return found;
}

static bool ticket_mac(EVP_MAC_CTX *mac, struct tls_ticket_key *k)
{
	OSSL_PARAM params[3] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->hmac, k->aes256 ? 32 : 16),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params);
}

/* Returns as SSL_CTX_set_tlsext_ticket_key_evp_cb wants: 2 also asks for a new ticket. */
static int ticket_cb(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int enc)
{
	struct tls_ticket_key k;
	int i = key_find(tls_of(ssl)->ctx, enc ? NULL : name, &k), rc = -1;
	EVP_CIPHER *aes;

	if (i < 0)
		return enc ? -1 : 0;
	aes = k.aes256 ? aes256 : aes128;
	if (enc && RAND_bytes(iv, EVP_CIPHER_get_iv_length(aes)) != 1)
		goto out;
	if (EVP_CipherInit_ex(cipher, aes, NULL, k.aes, iv, enc) != 1 || !ticket_mac(mac, &k))
		goto out;
	if (enc)
		memcpy(name, k.name, sizeof(k.name));
	/* TLS 1.3 clients use a ticket once (RFC 8446 appendix C.4). */
	rc = !enc && (i > 0 || SSL_version(ssl) >= TLS1_3_VERSION) ? 2 : 1;
out:
	OPENSSL_cleanse(&k, sizeof(k));
	return rc;
}

static bool explicit_keys(struct tls_ctx *c, const struct tls_conf *conf)
{
	c->keys = mem_zalloc(conf->nticket_keys * sizeof(*c->keys));
	if (!c->keys)
		return false;
	for (size_t i = 0; i < conf->nticket_keys; i++) {
		const char *p = conf->ticket_keys[i].p;
		struct tls_ticket_key *k = &c->keys[i];

		k->aes256 = conf->ticket_keys[i].n == 80;
		memcpy(k->name, p, 16);
		if (k->aes256) {
			memcpy(k->hmac, p + 16, 32);
			memcpy(k->aes, p + 48, 32);
		} else {
			memcpy(k->aes, p + 16, 16);
			memcpy(k->hmac, p + 32, 16);
		}
	}
	c->nkeys = conf->nticket_keys;
	return true;
}

/* ---- the server's caches ---- */

#define SHARDS 16

struct cached {
	struct hash_node node;
	struct list lru;
	uint64_t expires_ms;
	uint32_t size;
	uint8_t idlen, id[SSL_MAX_SSL_SESSION_ID_LENGTH];
	uint8_t der[];
};

struct shard {
	pthread_mutex_t lock;
	struct hash hash;
	struct list lru; /* newest first */
	size_t used;
};

struct tls_cache {
	struct tls_cache *next;
	struct span name;
	_Atomic size_t size; /* bytes over all shards */
	struct shard shard[SHARDS];
};

static struct tls_cache *caches;
static pthread_mutex_t caches_lock = PTHREAD_MUTEX_INITIALIZER;
static int cache_index = -1; /* of the cache in an SSL_CTX */

static size_t cached_bytes(size_t der)
{
	return sizeof(struct cached) + der + 32; /* buckets and malloc's own */
}

static void cached_drop(struct shard *sh, struct cached *e)
{
	hash_remove(&sh->hash, &e->node);
	list_del(&e->lru);
	sh->used -= cached_bytes(e->size);
	mem_free(e);
}

static struct shard *cache_shard(struct tls_cache *c, const uint8_t *id, size_t n, uint64_t *hash)
{
	*hash = hash_bytes(id, n);
	return &c->shard[*hash >> 60];
}

static struct cached *cached_find(struct shard *sh, uint64_t hash, const uint8_t *id, size_t n)
{
	struct hash_node *node;

	for (node = hash_first(&sh->hash, hash); node; node = hash_next(node)) {
		struct cached *e = CONTAINER_OF(node, struct cached, node);

		if (e->idlen == n && memcmp(e->id, id, n) == 0)
			return e;
	}
	return NULL;
}

/* Takes over e. */
static void cache_put(struct tls_cache *c, struct cached *e)
{
	uint64_t hash;
	struct shard *sh = cache_shard(c, e->id, e->idlen, &hash);
	size_t bytes = cached_bytes(e->size), max = c->size / SHARDS;
	struct cached *old;

	pthread_mutex_lock(&sh->lock);
	old = cached_find(sh, hash, e->id, e->idlen);
	if (old)
		cached_drop(sh, old);
	while (sh->used + bytes > max && !list_empty(&sh->lru))
		cached_drop(sh, CONTAINER_OF(sh->lru.prev, struct cached, lru));
	if (bytes <= max && hash_insert(&sh->hash, &e->node, hash)) {
		list_push_front(&sh->lru, &e->lru);
		sh->used += bytes;
		e = NULL;
	}
	pthread_mutex_unlock(&sh->lock);
	mem_free(e);
}

static int session_new_cb(SSL *ssl, SSL_SESSION *sess)
{
	struct tls_cache *c = tls_of(ssl)->ctx->cache;
	unsigned n;
	const unsigned char *id = SSL_SESSION_get_id(sess, &n);
	int len = c && n ? i2d_SSL_SESSION(sess, NULL) : 0;
	struct cached *e;
	unsigned char *p;

	if (len <= 0 || len > 65536 || !(e = mem_alloc(sizeof(*e) + (size_t)len)))
		return 0;
	p = e->der;
	e->size = (uint32_t)i2d_SSL_SESSION(sess, &p);
	e->idlen = (uint8_t)n;
	memcpy(e->id, id, n);
	e->expires_ms = io_wall_ms() + (uint64_t)SSL_SESSION_get_timeout(sess) * 1000;
	cache_put(c, e);
	return 0; /* the session object stays OpenSSL's */
}

static SSL_SESSION *session_get_cb(SSL *ssl, const unsigned char *id, int n, int *copy)
{
	struct tls_cache *c = tls_of(ssl)->ctx->cache;
	SSL_SESSION *sess = NULL;
	struct cached *e;
	struct shard *sh;
	uint64_t hash;

	*copy = 0;
	if (!c)
		return NULL;
	sh = cache_shard(c, id, (size_t)n, &hash);
	pthread_mutex_lock(&sh->lock);
	e = cached_find(sh, hash, id, (size_t)n);
	if (e && e->expires_ms <= io_wall_ms()) {
		cached_drop(sh, e);
	} else if (e) {
		const unsigned char *p = e->der;

		list_del(&e->lru);
		list_push_front(&sh->lru, &e->lru);
		sess = d2i_SSL_SESSION(NULL, &p, e->size);
	}
	pthread_mutex_unlock(&sh->lock);
	return sess;
}

static void session_remove_cb(SSL_CTX *ssl, SSL_SESSION *sess)
{
	struct tls_cache *c = SSL_CTX_get_ex_data(ssl, cache_index);
	unsigned n;
	const unsigned char *id = SSL_SESSION_get_id(sess, &n);
	struct cached *e;
	struct shard *sh;
	uint64_t hash;

	if (!c)
		return;
	sh = cache_shard(c, id, n, &hash);
	pthread_mutex_lock(&sh->lock);
	e = cached_find(sh, hash, id, n);
	if (e)
		cached_drop(sh, e);
	pthread_mutex_unlock(&sh->lock);
}

static struct tls_cache *cache_make(struct span name)
{
	struct tls_cache *c = mem_zalloc(sizeof(*c) + name.n);

	if (!c)
		return NULL;
	memcpy(c + 1, name.p, name.n);
	c->name = span_make(c + 1, name.n);
	for (int i = 0; i < SHARDS; i++) {
		pthread_mutex_init(&c->shard[i].lock, NULL);
		hash_init(&c->shard[i].hash);
		list_init(&c->shard[i].lru);
	}
	c->next = caches;
	caches = c;
	return c;
}

void tls_caches_fini(void)
{
	while (caches) {
		struct tls_cache *c = caches;

		caches = c->next;
		for (int i = 0; i < SHARDS; i++) {
			struct shard *sh = &c->shard[i];

			while (!list_empty(&sh->lru))
				cached_drop(sh, CONTAINER_OF(sh->lru.prev, struct cached, lru));
			hash_fini(&sh->hash);
			pthread_mutex_destroy(&sh->lock);
		}
		mem_free(c);
	}
}

/* By name; a new size counts from now on. */
static struct tls_cache *cache_get(struct span name, size_t size)
{
	struct tls_cache *c;

	pthread_mutex_lock(&caches_lock);
	if (cache_index < 0)
		cache_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	for (c = caches; c && !span_eq(c->name, name); c = c->next)
		;
	if (!c)
		c = cache_make(name);
	if (c)
		c->size = size;
	pthread_mutex_unlock(&caches_lock);
	return c;
}

/* ---- sessions with upstream servers ---- */

#define CLIENT_SESSIONS 1024 /* per thread; about 1.5 KiB each */

struct client_session {
	struct hash_node node;
	struct list lru;
	SSL_SESSION *sess;
};

static _Thread_local struct {
	struct hash hash;
	struct list lru;
	unsigned n;
} mine;

static void client_drop(struct client_session *e)
{
	hash_remove(&mine.hash, &e->node);
	list_del(&e->lru);
	mine.n--;
	SSL_SESSION_free(e->sess);
	mem_free(e);
}

static struct client_session *client_find(uint64_t key)
{
	struct hash_node *node = hash_first(&mine.hash, key);

	return node ? CONTAINER_OF(node, struct client_session, node) : NULL;
}

static int client_new_cb(SSL *ssl, SSL_SESSION *sess)
{
	uint64_t key = tls_of(ssl)->session_key;
	struct client_session *e;

	if (!key || !SSL_SESSION_is_resumable(sess))
		return 0;
	if (!mine.lru.next)
		list_init(&mine.lru);
	e = client_find(key);
	if (e) {
		SSL_SESSION_free(e->sess);
		e->sess = sess;
		list_del(&e->lru);
		list_push_front(&mine.lru, &e->lru);
		return 1;
	}
	e = mem_alloc(sizeof(*e));
	if (!e)
		return 0;
	if (!hash_insert(&mine.hash, &e->node, key)) {
		mem_free(e);
		return 0;
	}
	e->sess = sess;
	list_push_front(&mine.lru, &e->lru);
	if (++mine.n > CLIENT_SESSIONS)
		client_drop(CONTAINER_OF(mine.lru.prev, struct client_session, lru));
	return 1;
}

void tls_session_offer(struct tls *t)
{
	struct client_session *e = client_find(t->session_key);

	if (e && SSL_set_session(t->ssl, e->sess) != 1)
		ERR_clear_error();
}

void tls_session_keep(struct tls *t)
{
	SSL_SESSION *sess;

	/* Of a renewed TLS 1.2 ticket the callback is not told, and the old session is spoilt. */
	if (!t->session_key || !SSL_session_reused(t->ssl) || SSL_version(t->ssl) >= TLS1_3_VERSION)
		return;
	sess = SSL_get1_session(t->ssl);
	if (sess && !client_new_cb(t->ssl, sess))
		SSL_SESSION_free(sess);
}

void tls_client_sessions_fini(void)
{
	while (mine.n)
		client_drop(CONTAINER_OF(mine.lru.prev, struct client_session, lru));
	hash_fini(&mine.hash);
}

/* ---- setting a context up ---- */

static bool server_setup(struct tls_ctx *c, const struct tls_conf *conf)
{
	char text[32];
	struct span name = conf->cache_name;
	long mode =
		SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR;

	if (conf->cache == TLS_CACHE_OFF)
		mode = SSL_SESS_CACHE_OFF;
	if (conf->cache ==
	    TLS_CACHE_BUILTIN) /* the same, shared by none but servers that are alike */
		name = span_make(text, (size_t)snprintf(text, sizeof(text), " %016llx",
							(unsigned long long)c->identity));
	if (conf->cache == TLS_CACHE_BUILTIN || conf->cache == TLS_CACHE_SHARED) {
		c->cache = cache_get(name, conf->cache_size ? conf->cache_size : 5u << 20);
		if (!c->cache || SSL_CTX_set_ex_data(c->ssl, cache_index, c->cache) != 1)
			return false;
	}
	/* An SSL object of another context never sees these: it begins anew when the name is known.
	 */
	if (c->cache) {
		SSL_CTX_sess_set_new_cb(c->ssl, session_new_cb);
		SSL_CTX_sess_set_get_cb(c->ssl, session_get_cb);
		SSL_CTX_sess_set_remove_cb(c->ssl, session_remove_cb);
	}
	SSL_CTX_set_session_cache_mode(c->ssl, mode);
	/* One ticket is enough: each connection gets a fresh one, and each costs CPU and memory. */
	SSL_CTX_set_num_tickets(c->ssl, conf->session_tickets || c->cache ? 1 : 0);
	if (!conf->session_tickets) {
		SSL_CTX_set_options(c->ssl, SSL_OP_NO_TICKET);
		return true;
	}
	pthread_once(&ciphers_once, ciphers_fetch);
	if (!aes128 || !aes256)
		return false;
	if (conf->nticket_keys ? !explicit_keys(c, conf) : !keys_prepare(conf->session_timeout))
		return false;
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(c->ssl, ticket_cb) == 1;
}

bool tls_sessions_setup(struct tls_ctx *c, const struct tls_conf *conf)
{
	if (conf->session_timeout > 0)
		SSL_CTX_set_timeout(c->ssl, (long)conf->session_timeout);
	if (conf->server)
		return server_setup(c, conf);
	c->session_reuse = conf->session_reuse;
	if (!conf->session_reuse) {
		SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
		return true;
	}
	SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->ssl, client_new_cb);
	return true;
}
