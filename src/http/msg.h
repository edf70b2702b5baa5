/* The semantic model of HTTP that handlers and filters see, whatever protocol carries it. */
#pragma once
#include <stdbool.h>
#include "base/span.h"
#include "http/fail.h"
#include "http/hdrs.h"

enum http_method {
	METHOD_OTHER,
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_DELETE,
	METHOD_OPTIONS,
	METHOD_PATCH,
	METHOD_CONNECT,
	METHOD_TRACE,
	METHOD_MKCOL,
	METHOD_COPY,
	METHOD_MOVE,
	METHOD_PROPFIND,
	METHOD_PROPPATCH,
	METHOD_LOCK,
	METHOD_UNLOCK,
};
enum http_method http_method_of(struct span name);  /* case-sensitive */
bool http_method_is_safe(enum http_method m);	    /* RFC 9110 9.2.1 */
bool http_method_is_idempotent(enum http_method m); /* RFC 9110 9.2.2, and the WebDAV ones */

enum http_version { HTTP_09 = 9, HTTP_10 = 100, HTTP_11 = 101, HTTP_2 = 200, HTTP_3 = 300 };
struct span http_version_name(enum http_version v); /* "HTTP/1.1", "HTTP/2.0" */

/* A request head. Spans live as long as the buffer it was parsed from. */
struct http_request {
	enum http_method method;
	enum http_version version;
	struct span method_name;
	struct span line;      /* the request line without its end ("" for HTTP/2): $request */
	struct span target;    /* as sent: $request_uri is made of it */
	struct span scheme;    /* absolute-form and HTTP/2; else empty */
	struct span authority; /* of the absolute form or CONNECT, or :authority; port included */
	struct span path;  /* origin-form path, undecoded, starts with '/' ("*" for OPTIONS *) */
	struct span query; /* behind '?', without it */
	bool has_query;
	bool absolute_form; /* the target was one: the client takes us for a proxy */
	struct hdrs headers;
	/* framing, decided by the codec after RFC 9112 6.3 */
	int64_t content_length; /* -1: not given */
	bool chunked;
	bool keep_alive; /* what the client's version and Connection field allow */
	bool expect_continue;
	bool upgrade;	    /* Upgrade field named by Connection */
	uint32_t head_size; /* bytes on the wire */
	/* of the authority, or else of the one Host field: bytes of the host part (0: the codec has
	 * not looked), port (-1: none) */
	uint32_t host_n;
	int host_port;
};

struct http_response {
	int status;
	enum http_version version;
	struct span reason; /* may be empty: the codec puts the standard one */
	struct hdrs headers;
	int64_t content_length; /* -1 */
	bool chunked;
	bool keep_alive;
	bool upgrade;
	uint32_t head_size;
};

/* Reason phrases as nginx writes them; "" when there is none. */
struct span http_reason(int status);
/* Does a response of that status to that method have a body on the wire? RFC 9112 6.3. */
static inline bool http_response_has_body(enum http_method method, int status)
{
	if (method == METHOD_HEAD || status < 200 || status == 204 || status == 304)
		return false;
	return method != METHOD_CONNECT || status >= 300;
}
