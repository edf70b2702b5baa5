#include "net/digest.h"
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

static const EVP_MD *digest_of(enum digest d)
{
	switch (d) {
	case DIGEST_MD5:
		return EVP_md5();
	case DIGEST_SHA1:
		return EVP_sha1();
	default:
		return EVP_sha256();
	}
}

static bool digest_feed(EVP_MD_CTX *ctx, enum digest d, const struct span *parts, size_t n)
{
	if (EVP_DigestInit_ex(ctx, digest_of(d), NULL) != 1)
		return false;
	for (size_t i = 0; i < n; i++)
		if (EVP_DigestUpdate(ctx, parts[i].p, parts[i].n) != 1)
			return false;
	return true;
}

size_t digest_parts(enum digest d, const struct span *parts, size_t n, char out[DIGEST_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (!ctx || !digest_feed(ctx, d, parts, n) || EVP_DigestFinal_ex(ctx, md, &len) != 1)
		len = 0;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	memcpy(out, md, len);
	return len;
}

bool digest_hmac(struct span key, struct span text, char out[DIGEST_MAX])
{
	unsigned len = 0;
	bool ok = HMAC(EVP_sha256(), key.p, (int)key.n, (const unsigned char *)text.p, text.n,
		       (unsigned char *)out, &len);

	ERR_clear_error();
	return ok;
}

bool digest_equal(const void *a, const void *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}
