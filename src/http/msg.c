#include "base/bug.h"
#include "http/msg.h"

/* Names by method; those of one length are compared in turn. */
static const struct span method_names[] = {
	[METHOD_GET] = SPAN_INIT("GET"),	   [METHOD_HEAD] = SPAN_INIT("HEAD"),
	[METHOD_POST] = SPAN_INIT("POST"),	   [METHOD_PUT] = SPAN_INIT("PUT"),
	[METHOD_DELETE] = SPAN_INIT("DELETE"),	   [METHOD_OPTIONS] = SPAN_INIT("OPTIONS"),
	[METHOD_PATCH] = SPAN_INIT("PATCH"),	   [METHOD_CONNECT] = SPAN_INIT("CONNECT"),
	[METHOD_TRACE] = SPAN_INIT("TRACE"),	   [METHOD_MKCOL] = SPAN_INIT("MKCOL"),
	[METHOD_COPY] = SPAN_INIT("COPY"),	   [METHOD_MOVE] = SPAN_INIT("MOVE"),
	[METHOD_PROPFIND] = SPAN_INIT("PROPFIND"), [METHOD_PROPPATCH] = SPAN_INIT("PROPPATCH"),
	[METHOD_LOCK] = SPAN_INIT("LOCK"),	   [METHOD_UNLOCK] = SPAN_INIT("UNLOCK"),
};

enum http_method http_method_of(struct span name)
{
	if (likely(name.n == 3 && memcmp(name.p, "GET", 3) == 0))
		return METHOD_GET;
	for (unsigned m = METHOD_HEAD; m < ARRAY_LEN(method_names); m++)
		if (name.n == method_names[m].n && name.p[0] == method_names[m].p[0] &&
		    span_eq(name, method_names[m]))
			return (enum http_method)m;
	return METHOD_OTHER;
}

bool http_method_is_safe(enum http_method m)
{
	return m == METHOD_GET || m == METHOD_HEAD || m == METHOD_OPTIONS || m == METHOD_TRACE ||
	       m == METHOD_PROPFIND;
}

bool http_method_is_idempotent(enum http_method m)
{
	switch (m) {
	case METHOD_PUT:
	case METHOD_DELETE:
	case METHOD_MKCOL:
	case METHOD_COPY:
	case METHOD_MOVE:
	case METHOD_PROPPATCH:
	case METHOD_UNLOCK:
		return true;
	default:
		return http_method_is_safe(m);
	}
}

struct span http_version_name(enum http_version v)
{
	switch (v) {
	case HTTP_09:
		return SPAN("HTTP/0.9");
	case HTTP_10:
		return SPAN("HTTP/1.0");
	case HTTP_11:
		return SPAN("HTTP/1.1");
	case HTTP_2:
		return SPAN("HTTP/2.0");
	case HTTP_3:
		return SPAN("HTTP/3.0");
	}
	return SPAN("");
}

#define REASON(status, text) [(status)-100] = SPAN_INIT(text)
static const struct span reasons[] = {
	REASON(100, "Continue"),
	REASON(101, "Switching Protocols"),
	REASON(103, "Early Hints"),
	REASON(200, "OK"),
	REASON(201, "Created"),
	REASON(202, "Accepted"),
	REASON(204, "No Content"),
	REASON(206, "Partial Content"),
	REASON(301, "Moved Permanently"),
	REASON(302, "Moved Temporarily"),
	REASON(303, "See Other"),
	REASON(304, "Not Modified"),
	REASON(307, "Temporary Redirect"),
	REASON(308, "Permanent Redirect"),
	REASON(400, "Bad Request"),
	REASON(401, "Unauthorized"),
	REASON(402, "Payment Required"),
	REASON(403, "Forbidden"),
	REASON(404, "Not Found"),
	REASON(405, "Not Allowed"),
	REASON(406, "Not Acceptable"),
	REASON(408, "Request Time-out"),
	REASON(409, "Conflict"),
	REASON(410, "Gone"),
	REASON(411, "Length Required"),
	REASON(412, "Precondition Failed"),
	REASON(413, "Request Entity Too Large"),
	REASON(414, "Request-URI Too Large"),
	REASON(415, "Unsupported Media Type"),
	REASON(416, "Requested Range Not Satisfiable"),
	REASON(421, "Misdirected Request"),
	REASON(429, "Too Many Requests"),
	REASON(500, "Internal Server Error"),
	REASON(501, "Not Implemented"),
	REASON(502, "Bad Gateway"),
	REASON(503, "Service Temporarily Unavailable"),
	REASON(504, "Gateway Time-out"),
	REASON(505, "HTTP Version Not Supported"),
	REASON(507, "Insufficient Storage"),
};

struct span http_reason(int status)
{
	if (status < 100 || (size_t)status >= 100 + ARRAY_LEN(reasons) || !reasons[status - 100].p)
		return SPAN("");
	return reasons[status - 100];
}
