#include "mod/auth_cache.h"
#include <pthread.h>
#include <string.h>
#include "io/sys.h"

#define WAYS 4
#define SETS (AUTH_CACHE_MAX / WAYS)

static struct auth_entry {
	struct auth_key key;
	uint64_t until_ms; /* 0: free */
} entries[SETS][WAYS];
static pthread_mutex_t entries_lock = PTHREAD_MUTEX_INITIALIZER;

static char secret[DIGEST_MAX];
static bool secret_drawn;
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void secret_draw(void)
{
	secret_drawn = sys->random(secret, sizeof(secret)) >= 0;
}

bool auth_key_make(struct arena *a, const struct file_version *v, struct span user,
		   struct span password, struct auth_key *key)
{
	uint64_t cut = user.n;
	size_t n = sizeof(*v) + sizeof(cut) + user.n + password.n;
	char *text = arena_alloc(a, n), *at = text;
	bool ok;

	pthread_once(&secret_once, secret_draw);
	if (!text || !secret_drawn)
		return false;
	at = mempcpy(at, v, sizeof(*v));
	at = mempcpy(at, &cut, sizeof(cut));
	at = mempcpy(at, user.p, user.n);
	if (password.n)
		memcpy(at, password.p, password.n);
	ok = digest_hmac(span_make(secret, sizeof(secret)), span_make(text, n), key->bytes);
	explicit_bzero(text, n);
	return ok;
}

static struct auth_entry *set_of(const struct auth_key *k)
{
	uint32_t n;

	memcpy(&n, k->bytes, sizeof(n));
	return entries[n % SETS];
}

bool auth_cache_has(const struct auth_key *k, uint64_t now_ms)
{
	struct auth_entry *set = set_of(k);
	bool found = false;

	pthread_mutex_lock(&entries_lock);
	for (unsigned i = 0; i < WAYS; i++)
		found |= set[i].until_ms > now_ms && digest_equal(&set[i].key, k, sizeof(*k));
	pthread_mutex_unlock(&entries_lock);
	return found;
}

/* In place of the one that ends first. */
void auth_cache_add(const struct auth_key *k, uint64_t now_ms)
{
	struct auth_entry *set = set_of(k), *e = set;

	pthread_mutex_lock(&entries_lock);
	for (unsigned i = 0; i < WAYS; i++) {
		if (digest_equal(&set[i].key, k, sizeof(*k))) {
			e = &set[i];
			break;
		}
		if (set[i].until_ms < e->until_ms)
			e = &set[i];
	}
	*e = (struct auth_entry){*k, now_ms + AUTH_CACHE_MS};
	pthread_mutex_unlock(&entries_lock);
}

void auth_cache_clear(void)
{
	pthread_mutex_lock(&entries_lock);
	explicit_bzero(entries, sizeof(entries));
	pthread_mutex_unlock(&entries_lock);
}
