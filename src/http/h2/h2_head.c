/* Heads in: RFC 9113 8, RFC 8441. */
#include "http/h2/h2_head.h"
#include "http/framing.h"
#include "http/scan.h"
#include "http/uri.h"

enum {
	SEEN_METHOD = 1,
	SEEN_SCHEME = 2,
	SEEN_AUTHORITY = 4,
	SEEN_PATH = 8,
	SEEN_PROTOCOL = 16,
	SEEN_STATUS = 32,
};
#define LINE_EXTRA 4 /* ": " and CR LF */

static void head_init(struct h2_head *h, enum h2_head_kind kind, struct arena *a,
		      const struct h2_limits *lim, struct hdrs *headers)
{
	*h = (struct h2_head){
		.kind = kind, .arena = a, .lim = *lim, .headers = headers, .urgency = 3};
}

void h2_head_request(struct h2_head *h, struct arena *a, const struct h2_limits *lim,
		     struct http_request *req)
{
	head_init(h, H2_REQUEST, a, lim, &req->headers);
	h->req = req;
	req->version = HTTP_2;
	req->content_length = -1;
}

void h2_head_response(struct h2_head *h, struct arena *a, const struct h2_limits *lim,
		      enum http_method method, struct http_response *resp)
{
	head_init(h, H2_RESPONSE, a, lim, &resp->headers);
	h->of_response = true;
	h->method = method;
	h->resp = resp;
	resp->version = HTTP_2;
	resp->reason = (struct span){0}; /* there is none, whatever an HTTP/1 server said before */
	resp->content_length = -1;
}

void h2_head_trailers(struct h2_head *h, struct arena *a, const struct h2_limits *lim,
		      struct hdrs *trailers, bool of_response)
{
	head_init(h, H2_TRAILERS, a, lim, trailers);
	h->of_response = of_response;
}

static enum fail head_refuse(struct h2_head *h, enum fail f)
{
	if (h->of_response && f != FAIL_NO_MEMORY)
		f = f == FAIL_HEADERS_TOO_LARGE || f == FAIL_TOO_MANY_HEADERS ||
				    f == FAIL_URI_TOO_LONG
			    ? FAIL_UPSTREAM_BIG_HEAD
			    : FAIL_UPSTREAM_BAD_HEAD;
	h->fail = f;
	return f;
}

/* ---- pseudo-header fields ---- */

/* RFC 3986 3.1 */
static bool scheme_is_formed(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = (char)(s.p[i] | 0x20);
		bool letter = c >= 'a' && c <= 'z' && (s.p[i] & 0x40);

		if (!letter && (!i || !memchr("0123456789+-.", s.p[i], 13)))
			return false;
	}
	return s.n;
}

/* RFC 9113 8.3.1: others may come through here, but nobody translates them. */
static enum fail take_scheme(struct h2_head *h, struct span v)
{
	h->req->scheme = v;
	if (span_eq_nocase(v, SPAN("http")) || span_eq_nocase(v, SPAN("https")))
		return FAIL_OK;
	return scheme_is_formed(v) ? FAIL_UNKNOWN_SCHEME : FAIL_BAD_URI;
}

static enum fail take_method(struct h2_head *h, struct span v)
{
	if (!v.n || scan_class(v.p, v.p + v.n, BYTE_METHOD) != v.p + v.n)
		return FAIL_BAD_METHOD;
	h->req->method_name = v;
	h->req->method = http_method_of(v);
	return FAIL_OK;
}

static enum fail take_path(struct h2_head *h, struct span v)
{
	if (!v.n || scan_target(v.p, v.p + v.n) != v.p + v.n)
		return FAIL_BAD_URI;
	h->req->target = v;
	return FAIL_OK;
}

static enum fail take_status(struct h2_head *h, struct span v)
{
	uint64_t n;

	/* 101 means nothing in HTTP/2 (RFC 9113 8.6). */
	if (v.n != 3 || !span_to_u64(v, 999, &n) || n < 100 || n == 101)
		return FAIL_BAD_PSEUDO_HEADER;
	h->resp->status = (int)n;
	return FAIL_OK;
}

static enum fail take_pseudo(struct h2_head *h, uint8_t bit, struct span v)
{
	if (h->seen & bit)
		return FAIL_BAD_PSEUDO_HEADER;
	h->seen |= bit;
	switch (bit) {
	case SEEN_METHOD:
		return take_method(h, v);
	case SEEN_SCHEME:
		return take_scheme(h, v);
	case SEEN_AUTHORITY:
		h->req->authority = v;
		return v.n && host_is_valid(v, NULL, NULL) ? FAIL_OK : FAIL_BAD_HOST;
	case SEEN_PATH:
		return take_path(h, v);
	case SEEN_STATUS:
		return take_status(h, v);
	default:
		h->protocol = v;
		return h->lim.extended_connect && http_is_token(v) ? FAIL_OK
								   : FAIL_BAD_PSEUDO_HEADER;
	}
}

static uint8_t pseudo_bit(const struct h2_head *h, struct span name)
{
	if (h->kind == H2_RESPONSE)
		return span_eq(name, SPAN(":status")) ? SEEN_STATUS : 0;
	if (h->kind != H2_REQUEST)
		return 0;
	if (span_eq(name, SPAN(":path")))
		return SEEN_PATH;
	if (span_eq(name, SPAN(":method")))
		return SEEN_METHOD;
	if (span_eq(name, SPAN(":scheme")))
		return SEEN_SCHEME;
	if (span_eq(name, SPAN(":authority")))
		return SEEN_AUTHORITY;
	return span_eq(name, SPAN(":protocol")) ? SEEN_PROTOCOL : 0;
}

/* ---- ordinary fields ---- */

bool h2_field_is_connection(enum hdr_id id)
{
	switch (id) {
	case HDR_CONNECTION:
	case HDR_KEEP_ALIVE:
	case HDR_PROXY_CONNECTION:
	case HDR_TRANSFER_ENCODING:
	case HDR_UPGRADE:
	case HDR_HTTP2_SETTINGS:
	case HDR_TE:
		return true;
	default:
		return false;
	}
}

/* RFC 9113 8.2.1: what HTTP/1 would not even take for a name is malformed; classes tells what
 * HTTP/1 may drop. */
static bool name_is_formed(struct span name, uint8_t *classes)
{
	*classes = 0;
	if (!name.n || scan_name(name.p, name.p + name.n, classes) != name.p + name.n)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if ((name.p[i] >= 'A' && name.p[i] <= 'Z') || (uint8_t)name.p[i] >= 0x7f)
			return false;
	return true;
}

static bool field_name_is_valid(const struct h2_head *h, uint8_t classes)
{
	uint8_t ok = NAME_PLAIN;

	if (h->of_response || !h->lim.ignore_invalid_headers)
		ok = NAME_PLAIN | NAME_UNDERSCORE | NAME_TOKEN;
	else if (h->lim.underscores_in_headers)
		ok = NAME_PLAIN | NAME_UNDERSCORE;
	return !(classes & ~ok);
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool value_is_formed(struct span v)
{
	return !v.n ||
	       (!blank(v.p[0]) && !blank(v.p[v.n - 1]) && scan_value(v.p, v.p + v.n) == v.p + v.n);
}

/* What a known field means for the head as a whole. */
static enum fail note_field(struct h2_head *h, enum hdr_id id, struct span v)
{
	if (h2_field_is_connection(id) &&
	    (id != HDR_TE || h->of_response || !span_eq_nocase(v, SPAN("trailers"))))
		return FAIL_CONNECTION_FIELD;
	switch (id) {
	case HDR_COOKIE:
		h->ncookies++;
		return FAIL_OK;
	case HDR_HOST:
		h->nhosts++;
		return FAIL_OK;
	case HDR_CONTENT_LENGTH:
		h->nlengths++;
		return FAIL_OK;
	case HDR_EXPECT:
		if (h->kind == H2_REQUEST)
			h->req->expect_continue = span_eq_nocase(v, SPAN("100-continue"));
		return FAIL_OK;
	case HDR_PRIORITY:
		h->has_priority = h2_priority_parse(v, &h->urgency, &h->incremental);
		return FAIL_OK;
	default:
		return FAIL_OK;
	}
}

static enum fail drop(struct h2_head *h, struct span name)
{
	h->ndropped++;
	h->dropped_name = name;
	return FAIL_OK;
}

static enum fail take_regular(struct h2_head *h, struct span name, struct span v)
{
	uint8_t classes;
	enum hdr_id id;
	enum fail f;

	h->regular = true;
	if (h->nfields + h->ndropped >= h->lim.headers_max)
		return FAIL_TOO_MANY_HEADERS;
	if (!name_is_formed(name, &classes))
		return FAIL_BAD_HEADER_NAME;
	if (!value_is_formed(v))
		return FAIL_BAD_HEADER_LINE;
	if (!field_name_is_valid(h, classes))
		return h->of_response || !h->lim.ignore_invalid_headers ? FAIL_BAD_HEADER_NAME
									: drop(h, name);
	id = hdr_id_of(name);
	f = id != HDR_OTHER ? note_field(h, id, v) : FAIL_OK;
	if (f != FAIL_OK)
		return f;
	if (h->kind == H2_TRAILERS && !trailer_allowed(id))
		return drop(h, name);
	h->nfields++;
	return hdrs_append_name(h->headers, name, v) ? FAIL_OK : FAIL_NO_MEMORY;
}

/* Both in one block; what is a line of its own in HTTP/1 is counted as one. */
static enum fail field_keep(struct h2_head *h, struct span *name, struct span *value)
{
	size_t n = name->n + value->n;
	char *p;

	h->total += n + LINE_EXTRA;
	if (n + LINE_EXTRA > h->lim.line_max)
		return span_eq(*name, SPAN(":path")) ? FAIL_URI_TOO_LONG : FAIL_HEADERS_TOO_LARGE;
	if (h->total > h->lim.total_max)
		return FAIL_HEADERS_TOO_LARGE;
	p = arena_alloc(h->arena, n);
	if (!p)
		return FAIL_NO_MEMORY;
	if (name->n)
		memcpy(p, name->p, name->n);
	if (value->n)
		memcpy(p + name->n, value->p, value->n);
	*name = span_make(p, name->n);
	*value = span_make(p + name->n, value->n);
	return FAIL_OK;
}

enum fail h2_head_field(struct h2_head *h, struct span name, struct span value)
{
	enum fail f;
	uint8_t bit;

	if (h->fail != FAIL_OK)
		return h->fail;
	f = field_keep(h, &name, &value);
	if (f != FAIL_OK)
		return head_refuse(h, f);
	if (name.n && name.p[0] == ':') {
		bit = h->regular ? 0 : pseudo_bit(h, name);
		f = bit ? take_pseudo(h, bit, value) : FAIL_BAD_PSEUDO_HEADER;
	} else {
		f = take_regular(h, name, value);
	}
	return f == FAIL_OK ? FAIL_OK : head_refuse(h, f);
}

/* ---- the head as a whole ---- */

/* RFC 9113 8.2.3: crumbs become one field, where the first one stood. */
static enum fail join_cookies(struct h2_head *h)
{
	struct span all;
	struct hdr *first = NULL;

	if (h->ncookies < 2)
		return FAIL_OK;
	all = hdrs_join(h->headers, SPAN("cookie"), SPAN("; "));
	if (!all.p)
		return FAIL_NO_MEMORY;
	hdrs_each (hd, h->headers) {
		if (hd->id != HDR_COOKIE)
			continue;
		if (!first) {
			first = hd;
			hd->value = all;
		} else {
			hd->removed = true;
		}
	}
	return FAIL_OK;
}

/* One Content-Length, digits only, and nothing else than zero without a body. */
static enum fail check_length(struct h2_head *h, bool end_stream, bool may_lack, int64_t *length)
{
	uint64_t v;

	*length = -1;
	if (!h->nlengths)
		return FAIL_OK;
	if (h->nlengths > 1 ||
	    !span_to_u64(hdrs_value(h->headers, HDR_CONTENT_LENGTH), INT64_MAX, &v))
		return FAIL_BAD_CONTENT_LENGTH;
	*length = (int64_t)v;
	return end_stream && v && !may_lack ? FAIL_BAD_CONTENT_LENGTH : FAIL_OK;
}

/* RFC 9113 8.3.1: a Host that says something else than :authority is an attack or a mistake. What
 * follows looks at Host, so there is one. */
static enum fail settle_host(struct h2_head *h)
{
	struct http_request *req = h->req;
	struct span host = hdrs_value(&req->headers, HDR_HOST);

	if (h->nhosts > 1 || (!h->nhosts && !req->authority.n))
		return FAIL_BAD_HOST;
	if (h->nhosts)
		return host_is_valid(host, NULL, NULL) &&
				       (!req->authority.n || span_eq_nocase(host, req->authority))
			       ? FAIL_OK
			       : FAIL_BAD_HOST;
	return hdrs_append(&req->headers, HDR_HOST, SPAN("host"), req->authority) ? FAIL_OK
										  : FAIL_NO_MEMORY;
}

/* Path and query: an origin form, or the asterisk of OPTIONS. */
static enum fail split_target(struct http_request *req)
{
	struct http_request parts = {.method = req->method, .target = req->target};
	enum fail f;

	if (req->target.p[0] != '/' && req->target.p[0] != '*')
		return FAIL_BAD_URI;
	if (memchr(req->target.p, '#', req->target.n))
		return FAIL_BAD_URI; /* no fragment in :path */
	f = target_split(&parts);
	req->path = parts.path;
	req->query = parts.query;
	req->has_query = parts.has_query;
	return f;
}

/* RFC 9113 8.5, RFC 8441 4. */
static enum fail settle_connect(struct h2_head *h)
{
	struct http_request *req = h->req;
	int port;

	if (h->seen & SEEN_PROTOCOL) {
		if ((h->seen & (SEEN_SCHEME | SEEN_PATH | SEEN_AUTHORITY)) !=
		    (SEEN_SCHEME | SEEN_PATH | SEEN_AUTHORITY))
			return FAIL_BAD_PSEUDO_HEADER;
		req->method = METHOD_GET;
		req->method_name = SPAN("GET");
		return split_target(req);
	}
	if ((h->seen & (SEEN_SCHEME | SEEN_PATH)) || !(h->seen & SEEN_AUTHORITY))
		return FAIL_BAD_PSEUDO_HEADER;
	if (!host_is_valid(req->authority, NULL, &port) || port < 1)
		return FAIL_BAD_URI;
	req->target = req->authority;
	return FAIL_OK;
}

static enum fail settle_target(struct h2_head *h)
{
	if (!(h->seen & SEEN_METHOD))
		return FAIL_BAD_PSEUDO_HEADER;
	if (h->req->method == METHOD_CONNECT)
		return settle_connect(h);
	if ((h->seen & SEEN_PROTOCOL) ||
	    (h->seen & (SEEN_SCHEME | SEEN_PATH)) != (SEEN_SCHEME | SEEN_PATH))
		return FAIL_BAD_PSEUDO_HEADER;
	return split_target(h->req);
}

static char *line_put(char *p, struct span s)
{
	memcpy(p, s.p, s.n);
	return p + s.n;
}

/* "GET /x HTTP/2.0", for logs. */
static enum fail make_line(struct h2_head *h)
{
	struct http_request *req = h->req;
	size_t n = req->method_name.n + req->target.n + 10;
	char *line = arena_alloc(h->arena, n), *p = line;

	if (!line)
		return FAIL_NO_MEMORY;
	p = line_put(p, req->method_name);
	*p++ = ' ';
	p = line_put(p, req->target);
	line_put(p, SPAN(" HTTP/2.0"));
	req->line = span_make(line, n);
	return FAIL_OK;
}

/* An extended CONNECT as the upgrade request it stands for. */
static enum fail make_upgrade(struct h2_head *h)
{
	struct http_request *req = h->req;

	if (h->nlengths)
		return FAIL_BAD_CONTENT_LENGTH;
	req->upgrade = true;
	return hdrs_append(&req->headers, HDR_UPGRADE, SPAN("upgrade"), h->protocol) &&
			       hdrs_append(&req->headers, HDR_CONNECTION, SPAN("connection"),
					   SPAN("upgrade"))
		       ? FAIL_OK
		       : FAIL_NO_MEMORY;
}

static enum fail end_request(struct h2_head *h, bool end_stream)
{
	struct http_request *req = h->req;
	enum fail f = settle_target(h);

	req->head_size = (uint32_t)h->total;
	req->keep_alive = true;
	if (f == FAIL_OK)
		f = settle_host(h);
	if (f == FAIL_OK)
		f = join_cookies(h);
	if (f == FAIL_OK)
		f = check_length(h, end_stream, false, &req->content_length);
	if (f == FAIL_OK)
		f = make_line(h);
	if (f == FAIL_OK && h->protocol.n)
		return make_upgrade(h);
	req->chunked = !end_stream && req->content_length < 0 && req->method != METHOD_CONNECT;
	return f;
}

static enum fail end_response(struct h2_head *h, bool end_stream)
{
	struct http_response *resp = h->resp;
	bool bodiless;
	enum fail f;

	if (!(h->seen & SEEN_STATUS))
		return FAIL_BAD_PSEUDO_HEADER;
	bodiless = !http_response_has_body(h->method, resp->status);
	resp->keep_alive = true;
	resp->head_size = (uint32_t)h->total;
	if (resp->status < 200 && end_stream)
		return FAIL_BAD_PSEUDO_HEADER; /* RFC 9113 8.1: an interim head ends nothing */
	f = check_length(h, end_stream, bodiless, &resp->content_length);
	resp->chunked = !bodiless && !end_stream && resp->content_length < 0;
	return f;
}

enum fail h2_head_end(struct h2_head *h, bool end_stream)
{
	enum fail f = FAIL_OK;

	if (h->fail != FAIL_OK)
		return h->fail;
	if (h->kind == H2_REQUEST)
		f = end_request(h, end_stream);
	else if (h->kind == H2_RESPONSE)
		f = end_response(h, end_stream);
	else if (!end_stream)
		f = FAIL_BAD_PSEUDO_HEADER;
	return f == FAIL_OK ? FAIL_OK : head_refuse(h, f);
}

/* ---- RFC 9218 ---- */

/* A dictionary of structured fields, of which only u and i mean something; what is not understood
 * is passed over. */
bool h2_priority_parse(struct span value, uint8_t *urgency, bool *incremental)
{
	struct span item, v = value;
	bool found = false;

	while (span_split(&v, ',', &item)) {
		ssize_t semi = span_find_char(item, ';', 0);

		item = span_trim(semi >= 0 ? span_cut(item, 0, (size_t)semi) : item);
		if (item.n == 3 && item.p[0] == 'u' && item.p[1] == '=' && item.p[2] >= '0' &&
		    item.p[2] <= '7') {
			*urgency = (uint8_t)(item.p[2] - '0');
			found = true;
		} else if (span_eq(item, SPAN("i")) || span_eq(item, SPAN("i=?1"))) {
			*incremental = found = true;
		} else if (span_eq(item, SPAN("i=?0"))) {
			*incremental = false;
			found = true;
		}
	}
	return found;
}
