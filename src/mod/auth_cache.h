/* Credentials that were found right a short while ago, so that a hash which costs milliseconds is
 * not computed for each request. What is kept is a keyed digest of name, password and version of
 * the file; the key is drawn at start. Shared by all threads; AUTH_CACHE_MAX entries at most. */
#pragma once
#include "base/arena.h"
#include "mod/user_file.h"
#include "net/digest.h"

#define AUTH_CACHE_MAX 1024
#define AUTH_CACHE_MS  60000 /* an entry counts that long */

struct auth_key {
	char bytes[DIGEST_MAX];
};

/* False: no memory, or no randomness for the key; then nothing can be cached. */
bool auth_key_make(struct arena *a, const struct file_version *v, struct span user,
		   struct span password, struct auth_key *key);
bool auth_cache_has(const struct auth_key *k, uint64_t now_ms);
void auth_cache_add(const struct auth_key *k, uint64_t now_ms);
/* For tests: forgets all. */
void auth_cache_clear(void);
