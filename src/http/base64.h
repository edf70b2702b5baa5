/* Base64 (RFC 4648 4 and 5). */
#pragma once
#include "base/arena.h"
#include "base/span.h"

/* Decodes either alphabet, padding optional at the end. p == NULL: malformed, or no memory. */
struct span base64_decode(struct arena *a, struct span s);
/* Writes n bytes in the first alphabet, padded, to out (room for (n + 2) / 3 * 4); returns the
 * length. */
size_t base64_encode(char *out, const char *in, size_t n);
