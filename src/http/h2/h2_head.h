/* HTTP/2 heads: from the name/value pairs that nghttp2 gives out of a header block to the semantic
 * model, and back. Knows nothing of connections; used for requests from clients and for responses
 * from servers. nghttp2's own checks are expected to be off (nghttp2_option_set_no_http_messaging):
 * everything that RFC 9113 section 8 and RFC 8441 ask of a head is checked here, and characters are
 * as strictly looked at as by the HTTP/1 parser, so nothing that HTTP/1 could not carry gets in.
 *
 * One struct h2_head is one header block. Names and values are copied into the arena given at the
 * start and live as long as that. The first error sticks: later fields are looked at no more, and
 * h2_head_end says it again. */
#pragma once
#include <nghttp2/nghttp2.h>
#include "http/msg.h"

/* As struct h1_limits: a field counts as the line it would be in HTTP/1 ("name: value" CR LF). */
struct h2_limits {
	size_t line_max;	     /* longest field; :path above it is FAIL_URI_TOO_LONG */
	size_t total_max;	     /* all fields together */
	size_t headers_max;	     /* number of fields, pseudo-header fields not counted */
	bool ignore_invalid_headers; /* requests: drop fields whose names nginx calls invalid, else
					keep those that are tokens */
	bool underscores_in_headers;
	bool extended_connect; /* :protocol is allowed (SETTINGS_ENABLE_CONNECT_PROTOCOL was sent)
				*/
};

enum h2_head_kind { H2_REQUEST, H2_RESPONSE, H2_TRAILERS };

struct h2_head {
	enum h2_head_kind kind;
	bool of_response; /* errors are the server's, every token is a good name */
	struct arena *arena;
	struct h2_limits lim;
	struct http_request *req;   /* H2_REQUEST */
	struct http_response *resp; /* H2_RESPONSE */
	struct hdrs *headers;	    /* where fields go */
	enum http_method method;    /* H2_RESPONSE: of the request */
	enum fail fail;
	uint8_t seen; /* pseudo-header fields, a bit each */
	bool regular; /* an ordinary field was there: no pseudo-header fields any more */
	unsigned ncookies, nlengths, nhosts;
	size_t nfields, total;
	unsigned ndropped;
	struct span dropped_name; /* the last one that was ignored */
	struct span protocol;	  /* :protocol of an extended CONNECT, else empty */
	bool has_priority;	  /* RFC 9218 */
	uint8_t urgency;	  /* 0 to 7; 3 when nothing was said */
	bool incremental;
};

/* A request head; req->headers must be initialised (hdrs_init), the rest of req be zero. */
void h2_head_request(struct h2_head *h, struct arena *a, const struct h2_limits *lim,
		     struct http_request *req);
/* A response head (also an interim one). method: of the request that it answers. */
void h2_head_response(struct h2_head *h, struct arena *a, const struct h2_limits *lim,
		      enum http_method method, struct http_response *resp);
/* A trailer section. Fields that may not stand in one are dropped (trailer_allowed). */
void h2_head_trailers(struct h2_head *h, struct arena *a, const struct h2_limits *lim,
		      struct hdrs *trailers, bool of_response);

/* One field, in the order of the block (nghttp2's on_header). The reason when the head is no good;
 * for a response it is FAIL_UPSTREAM_BAD_HEAD or FAIL_UPSTREAM_BIG_HEAD, of a request any of the
 * reasons that HTTP/1 knows, or FAIL_BAD_PSEUDO_HEADER, FAIL_CONNECTION_FIELD. */
enum fail h2_head_field(struct h2_head *h, struct span name, struct span value);
/* The block is complete. end_stream: no body follows (trailers: must be true). Fills in what the
 * model wants besides: method, scheme, authority, path, query, target, line ("GET /x HTTP/2.0"),
 * one Host and one Cookie field, content_length, chunked (a body of unknown length follows),
 * expect_continue; or status. content_length is -1 when not given, and is checked against
 * end_stream: a message that announces a body and has none is malformed (RFC 9113 8.1.1).
 *
 * Extended CONNECT (h->protocol is set) comes out as the upgrade request that it stands for:
 * method GET, upgrade true, fields "Upgrade: <protocol>" and "Connection: upgrade"; neither length
 * nor chunked. */
enum fail h2_head_end(struct h2_head *h, bool end_stream);

/* "u=1, i" (RFC 9218 4): false when there is nothing usable. */
bool h2_priority_parse(struct span value, uint8_t *urgency, bool *incremental);

/* ---- the way back ---- */

/* Fields for nghttp2_submit_*. The array lies in the arena; names and values are borrowed (nghttp2
 * copies them, and makes the names lower case, unless its NO_COPY flags are set). */
struct h2_fields {
	struct arena *arena;
	nghttp2_nv *v;
	size_t n, cap;
	bool failed; /* no memory; check once at the end */
};
void h2_fields_init(struct h2_fields *f, struct arena *a, size_t expected);
/* name: lower case when flags says NGHTTP2_NV_FLAG_NO_COPY_NAME. */
void h2_fields_add(struct h2_fields *f, struct span name, struct span value, uint8_t flags);
/* All of h but what is connection-specific in HTTP/1 (Connection and what it names, Keep-Alive,
 * Proxy-Connection, Transfer-Encoding, Upgrade, TE other than trailers, HTTP2-Settings) and Host.
 */
void h2_fields_add_hdrs(struct h2_fields *f, const struct hdrs *h);
/* Must a field of that id be left out of HTTP/2? (TE: yes; add "te: trailers" yourself.) */
bool h2_field_is_connection(enum hdr_id id);

/* errors of nghttp2 (NGHTTP2_ERR_*) in words, for logs. */
struct span h2_error_words(int lib_error);
/* Error code of RFC 9113 7 in words ("ENHANCE_YOUR_CALM"); "" when unknown. */
struct span h2_code_name(uint32_t error_code);
