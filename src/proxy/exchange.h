/* One request's dealings with a group of servers: tries, sending, receiving, and what is logged about it.
 *
 * exchange_run reads top to bottom: take the body (buffered or streaming), pick, connect, send, receive the head, decide
 * whether to try the next one, hand the answer over as r->resp with a body that pulls from the connection. */
#pragma once
#include "proxy/upconn.h"
#include "serve/req.h"

/* What one attempt leaves for $upstream_*; -1 and FAIL_OK where nothing happened. */
struct attempt {
	struct span addr;         /* "127.0.0.1:8080", or the group's name when none was live */
	int status;               /* 0: no response */
	enum fail fail;
	int64_t connect_us, header_us, response_us;
	int64_t response_length, bytes_received, bytes_sent;
	struct attempt *next;
	bool redirected;          /* a new exchange of the same request began here: ":" instead of "," in variables */
};
struct upstream_log {
	struct attempt *first, *last;
	struct hdrs *headers;     /* of the last response: $upstream_http_*; NULL: none */
	struct body *body;        /* for $upstream_trailer_* */
};

extern const struct http_module proxy_module; /* proxy_pass and proxy_*, variables $upstream_*, $proxy_* */
