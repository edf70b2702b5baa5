/* What a head as a whole must satisfy, beyond its lines: target form, Host, Content-Length,
 * Transfer-Encoding, Connection (RFC 9112 3.2, 6, 9.3). Used by the HTTP/1 codec; pure functions
 * over a parsed head. */
#pragma once
#include "http/msg.h"

/* Splits req->target into scheme, authority, path and query by the form that the method asks for.
 * FAIL_BAD_URI, or FAIL_BAD_HOST for the authority. */
enum fail target_split(struct http_request *req);
/* True when a target of that method may begin with this byte. */
bool target_may_start(enum http_method method, char c);
/* Path of a target that has none ("http://a"); not in any buffer. */
extern const char target_root[], target_asterisk[];

/* Decide content_length, chunked, keep_alive, expect_continue and upgrade from version and
 * headers. */
enum fail framing_of_request(struct http_request *req);
enum fail framing_of_response(struct http_response *resp, enum http_method method);
/* May a field of that id stand in a trailer section? RFC 9110 6.5.1. */
bool trailer_allowed(enum hdr_id id);
