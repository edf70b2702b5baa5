#include "mod/password.h"
#include <crypt.h>
#include <string.h>
#include "base/pool.h"
#include "http/base64.h"
#include "net/digest.h"

static enum password_result same(struct span a, struct span b)
{
	return a.n == b.n && digest_equal(a.p, b.p, a.n) ? PASSWORD_RIGHT : PASSWORD_WRONG;
}

/* ---- $apr1$: Apache's MD5 ---- */

#define APR1_ROUNDS 1000
#define APR1_SALT   8
#define APR1_TEXT   22
#define MD5_BYTES   16

struct apr1 {
	struct span password, salt;
	char sum[DIGEST_MAX];
};

static bool apr1_sum(struct apr1 *m, const struct span *parts, size_t n)
{
	return digest_parts(DIGEST_MD5, parts, n, m->sum) == MD5_BYTES;
}

static bool apr1_first(struct apr1 *m)
{
	struct span inner[] = {m->password, m->salt, m->password};
	struct span parts[3 + PASSWORD_MAX / MD5_BYTES + 1 + 10];
	char other[DIGEST_MAX];
	size_t n = 0;

	if (digest_parts(DIGEST_MD5, inner, 3, other) != MD5_BYTES)
		return false;
	parts[n++] = m->password;
	parts[n++] = SPAN("$apr1$");
	parts[n++] = m->salt;
	for (size_t left = m->password.n; left; left -= MIN_OF(left, MD5_BYTES))
		parts[n++] = span_make(other, MIN_OF(left, MD5_BYTES));
	for (size_t i = m->password.n; i; i >>= 1)
		parts[n++] = i & 1 ? span_make("", 1) : span_cut(m->password, 0, 1);
	return apr1_sum(m, parts, n);
}

static bool apr1_round(struct apr1 *m, unsigned i)
{
	struct span sum = span_make(m->sum, MD5_BYTES), parts[4];
	size_t n = 0;

	parts[n++] = i & 1 ? m->password : sum;
	if (i % 3)
		parts[n++] = m->salt;
	if (i % 7)
		parts[n++] = m->password;
	parts[n++] = i & 1 ? sum : m->password;
	return apr1_sum(m, parts, n);
}

static void apr1_text(const struct apr1 *m, char out[APR1_TEXT])
{
	static const char digits[] =
		"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	const unsigned char *s = (const unsigned char *)m->sum;

	for (unsigned i = 0; i < 5; i++) {
		unsigned v =
			(unsigned)s[i] << 16 | (unsigned)s[i + 6] << 8 | s[i == 4 ? 5 : i + 12];

		for (unsigned k = 0; k < 4; k++, v >>= 6)
			*out++ = digits[v & 63];
	}
	*out++ = digits[s[11] & 63];
	*out = digits[s[11] >> 6];
}

static enum password_result check_apr1(struct span salt_and_text, struct span password)
{
	struct apr1 m = {.password = password};
	ssize_t end = span_find_char(salt_and_text, '$', 0);
	char text[APR1_TEXT];

	if (end < 0)
		return PASSWORD_UNKNOWN_FORM;
	m.salt = span_cut(salt_and_text, 0, MIN_OF((size_t)end, APR1_SALT));
	if (!apr1_first(&m))
		return PASSWORD_FAILED;
	for (unsigned i = 0; i < APR1_ROUNDS; i++)
		if (!apr1_round(&m, i))
			return PASSWORD_FAILED;
	apr1_text(&m, text);
	return same(span_cut(salt_and_text, (size_t)end + 1, salt_and_text.n),
		    span_make(text, APR1_TEXT));
}

/* ---- {SHA}, {SSHA}: LDAP's ---- */

#define SHA1_BYTES 20

static enum password_result check_sha(struct span base64, struct span password, bool salted)
{
	struct arena a;
	struct span raw, parts[2];
	char sum[DIGEST_MAX];
	enum password_result r = PASSWORD_UNKNOWN_FORM;

	arena_init(&a, 2 * ARENA_CHUNK);
	raw = base64_decode(&a, base64);
	if (raw.p && (salted ? raw.n >= SHA1_BYTES : raw.n == SHA1_BYTES)) {
		parts[0] = password;
		parts[1] = span_cut(raw, SHA1_BYTES, raw.n);
		r = digest_parts(DIGEST_SHA1, parts, 2, sum) != SHA1_BYTES
			    ? PASSWORD_FAILED
			    : same(span_cut(raw, 0, SHA1_BYTES), span_make(sum, SHA1_BYTES));
	}
	arena_fini(&a);
	return r;
}

/* ---- crypt(3) ---- */

static enum password_result check_crypt(struct span hash, struct span password)
{
	char setting[PASSWORD_HASH_MAX + 1], phrase[PASSWORD_MAX + 1];
	enum password_result r = PASSWORD_FAILED;
	struct crypt_data *work = mem_zalloc(sizeof(*work));
	const char *made;

	if (!work)
		return PASSWORD_FAILED;
	if (span_to_cstr(hash, setting, sizeof(setting)) &&
	    span_to_cstr(password, phrase, sizeof(phrase))) {
		made = crypt_rn(phrase, setting, work, sizeof(*work));
		r = made ? same(hash, span_of(made)) : PASSWORD_UNKNOWN_FORM;
	}
	explicit_bzero(phrase, sizeof(phrase));
	explicit_bzero(work, sizeof(*work));
	mem_free(work);
	return r;
}

enum password_result password_check(struct span hash, struct span password)
{
	if (hash.n > PASSWORD_HASH_MAX)
		return PASSWORD_UNKNOWN_FORM;
	if (password.n > PASSWORD_MAX || span_find_char(password, 0, 0) >= 0)
		return PASSWORD_WRONG; /* crypt(3) would see less of it than there is */
	if (span_starts(hash, SPAN("$apr1$")))
		return check_apr1(span_cut(hash, 6, hash.n), password);
	if (span_starts(hash, SPAN("{SHA}")))
		return check_sha(span_cut(hash, 5, hash.n), password, false);
	if (span_starts(hash, SPAN("{SSHA}")))
		return check_sha(span_cut(hash, 6, hash.n), password, true);
	if (span_starts(hash, SPAN("{PLAIN}")))
		return same(span_cut(hash, 7, hash.n), password);
	return check_crypt(hash, password);
}
