/* Digests of OpenSSL's making, for whoever compares secrets. Any thread. */
#pragma once
#include <stdbool.h>
#include "base/span.h"

enum digest { DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256 };
#define DIGEST_MAX 32 /* bytes of the longest */

/* The digest of n parts as if they were one text. Its length in bytes, or 0: no memory, or the
 * system's policy forbids this one. */
size_t digest_parts(enum digest d, const struct span *parts, size_t n, char out[DIGEST_MAX]);
/* HMAC-SHA-256 (RFC 2104) of one text: 32 bytes to out. */
bool digest_hmac(struct span key, struct span text, char out[DIGEST_MAX]);
/* Are n bytes the same? Takes as long when they are not. */
bool digest_equal(const void *a, const void *b, size_t n);
