/* gRPC and gRPC-Web within an exchange: what grpc.c and grpc_web.c have for each other and for
 * their tests. PROTOCOL-HTTP2.md and PROTOCOL-WEB.md of gRPC say what is on the wire. */
#pragma once
#include "proxy/exchange.h"

/* A grpc-timeout field. False: malformed. */
bool grpc_timeout_parse(struct span s, uint64_t *ms);
/* The gRPC status that stands for one of HTTP. */
int grpc_status_of(int http);
/* Which dialect of gRPC-Web is that content type? */
enum grpc_web grpc_web_of(struct span content_type);
/* Is the request gRPC-Web? Then its body is translated. 0 or the status to answer. */
int grpc_web_prepare(struct exchange *x);

/* Base64 without line breaks, piece by piece; padding may stand between groups of four. */
struct base64_stream {
	uint32_t bits;
	unsigned nbits, nchars; /* of the unfinished group */
	unsigned pad;
};
/* Decodes n characters into out (room for n * 3 / 4 + 3 bytes). Returns the bytes, or -1. */
ssize_t base64_stream_decode(struct base64_stream *s, const char *in, size_t n, char *out);
