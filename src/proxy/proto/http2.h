/* Between proto_http2.c and http2_tunnel.c: one exchange's stream. */
#pragma once
#include "proxy/exchange.h"
#include "proxy/h2_upconn.h"

struct http2 {
	struct exchange *x;
	struct h2_stream st;
	struct body body;
	struct inbuf held; /* what the body's reader has; a tunnel: what is on its way out */
	size_t given;	   /* bytes of it */
	int64_t received;
	uint64_t offered_ms; /* when there was something (more) of the request to send */
	struct tunnel *tunnel;
	struct span protocol; /* of an extended CONNECT */
};

/* The server has agreed to an extended CONNECT. */
enum fail http2_switched(struct exchange *x);
bool http2_tunnel(struct exchange *x, struct tunnel *t);
