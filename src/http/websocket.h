/* The handshake of WebSocket in HTTP/1 (RFC 6455 4.2.2), which HTTP/2 does without: whoever bridges
 * the two answers the client's key. */
#pragma once
#include "base/span.h"

#define WEBSOCKET_ACCEPT_LEN 28

/* Sec-WebSocket-Accept of that Sec-WebSocket-Key. */
void websocket_accept(struct span key, char out[WEBSOCKET_ACCEPT_LEN]);
/* SHA-1 (RFC 3174): not for secrets. */
void sha1_sum(const void *p, size_t n, uint8_t out[20]);
