#include "base/mutant.h"
#include "base/bug.h"
#include "http/framing.h"
#include "http/uri.h"

const char target_root[] = "/", target_asterisk[] = "*";

bool target_may_start(enum http_method method, char c)
{
	if (method == METHOD_CONNECT)
		return true; /* authority: checked as a host when complete */
	return c == '/' || (c | 0x20) == 'h' || (c == '*' && method == METHOD_OPTIONS);
}

/* Path and query of text, which starts with '/', '?' or is empty. A fragment is cut. */
static void split_path(struct http_request *req, struct span text)
{
	const char *end = text.p + text.n, *stop;

	if (text.n && (stop = memchr(text.p, '#', text.n)) != NULL)
		end = stop;
	stop = end > text.p ? memchr(text.p, '?', (size_t)(end - text.p)) : NULL;
	req->has_query = stop != NULL;
	req->query = stop ? span_make(stop + 1, (size_t)(end - stop - 1)) : span_make(NULL, 0);
	req->path = span_make(text.p, (size_t)((stop ? stop : end) - text.p));
	if (req->path.n)
		return;
	/* RFC 9112 3.2.4: OPTIONS with an empty path and no query asks about the server. */
	if (req->method == METHOD_OPTIONS && !req->has_query)
		req->path = span_make(target_asterisk, 1);
	else
		req->path = span_make(target_root, 1);
}

static bool host_found(struct http_request *req, struct span authority)
{
	size_t n;

	if (!host_is_valid(authority, &n, &req->host_port))
		return false;
	req->host_n = (uint32_t)n;
	return true;
}

static enum fail split_absolute(struct http_request *req)
{
	struct span t = req->target, rest;
	size_t scheme = span_starts_nocase(t, SPAN("http://"))	  ? 4
			: span_starts_nocase(t, SPAN("https://")) ? 5
								  : 0;
	size_t n = 0;

	if (!scheme)
		return FAIL_BAD_URI;
	req->scheme = span_make(t.p, scheme);
	req->absolute_form = true;
	rest = span_cut(t, scheme + 3, t.n);
	while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
		n++;
	if (n < rest.n && rest.p[n] == '#')
		return FAIL_BAD_URI;
	req->authority = span_make(rest.p, n);
	if (!host_found(req, req->authority))
		return FAIL_BAD_HOST;
	split_path(req, span_cut(rest, n, rest.n));
	return FAIL_OK;
}

static enum fail split_authority(struct http_request *req)
{
	req->authority = req->target;
	/* RFC 9110 9.3.6: no default port. */
	if (!host_found(req, req->target) || req->host_port < 1)
		return FAIL_BAD_URI;
	return FAIL_OK;
}

enum fail target_split(struct http_request *req)
{
	req->scheme = req->authority = req->path = req->query = span_make(NULL, 0);
	req->has_query = req->absolute_form = false;
	req->host_n = 0;
	if (req->method == METHOD_CONNECT)
		return split_authority(req);
	if (likely(req->target.p[0] == '/')) {
		split_path(req, req->target);
		return FAIL_OK;
	}
	if (req->target.p[0] == '*') {
		req->path = req->target;
		return req->target.n == 1 && req->method == METHOD_OPTIONS ? FAIL_OK : FAIL_BAD_URI;
	}
	return split_absolute(req);
}

/* What the fields of a head say, gathered in one pass. */
struct gathered {
	const struct hdr *host, *length, *coding;
	unsigned hosts, lengths, codings;
	bool close, keep_alive, upgrade_named, upgrade_field, expect;
};

static void gather_connection(struct gathered *g, struct span value)
{
	struct span element;

	if (likely(span_eq_nocase(value, SPAN("keep-alive")))) {
		g->keep_alive = true;
		return;
	}
	while (hdr_list_next(&value, &element)) {
		if (span_eq_nocase(element, SPAN("close")))
			g->close = true;
		else if (span_eq_nocase(element, SPAN("keep-alive")))
			g->keep_alive = true;
		else if (span_eq_nocase(element, SPAN("upgrade")))
			g->upgrade_named = true;
	}
}

static void gather(struct gathered *g, const struct hdrs *h)
{
	hdrs_each (hd, h) {
		switch (hd->id) {
		case HDR_HOST:
			g->host = hd;
			g->hosts++;
			break;
		case HDR_CONTENT_LENGTH:
			g->length = hd;
			g->lengths++;
			break;
		case HDR_TRANSFER_ENCODING:
			g->coding = hd;
			g->codings++;
			break;
		case HDR_CONNECTION:
			gather_connection(g, hd->value);
			break;
		case HDR_UPGRADE:
			g->upgrade_field = true;
			break;
		case HDR_EXPECT:
			g->expect = span_eq_nocase(hd->value, SPAN("100-continue"));
			break;
		default:
			break;
		}
	}
}

static bool keeps_alive(const struct gathered *g, enum http_version version)
{
	return !g->close && (version >= HTTP_11 || g->keep_alive);
}

/* Exactly one field, digits only, below 2^63. Even "5, 5" is refused: whoever repeats it disagrees
 * with somebody about where a message ends. */
static bool length_parse(const struct gathered *g, int64_t *length)
{
	uint64_t v;

	if (g->lengths != 1 || !span_to_u64(g->length->value, INT64_MAX, &v))
		return false;
	*length = (int64_t)v;
	return true;
}

/* Transfer-Encoding of a request: only "chunked" alone is ours. 400 where the framing is ambiguous,
 * 501 where it is clear but unknown to us. */
static enum fail coding_check(const struct gathered *g)
{
	struct span rest = g->coding->value, element;
	bool chunked = false, unknown = false;

	if (g->codings != 1)
		return FAIL_BAD_TRANSFER_ENCODING;
	if (span_eq_nocase(rest, SPAN("chunked")))
		return FAIL_OK;
	while (hdr_list_next(&rest, &element)) {
		if (chunked) /* twice, or not last */
			return FAIL_BAD_TRANSFER_ENCODING;
		chunked = span_eq_nocase(element, SPAN("chunked"));
		unknown |= !chunked;
	}
	return unknown ? FAIL_UNKNOWN_TRANSFER_ENCODING : FAIL_BAD_TRANSFER_ENCODING;
}

static enum fail host_check(struct http_request *req, const struct gathered *g)
{
	if (g->hosts > 1 || (g->hosts == 0 && req->version >= HTTP_11))
		return FAIL_BAD_HOST;
	if (g->hosts == 0)
		return FAIL_OK;
	if (req->authority.n) /* what it names goes before Host (RFC 9112 3.2.2) */
		return host_is_valid(g->host->value, NULL, NULL) ? FAIL_OK : FAIL_BAD_HOST;
	return host_found(req, g->host->value) ? FAIL_OK : FAIL_BAD_HOST;
}

enum fail framing_of_request(struct http_request *req)
{
	struct gathered g = {0};
	enum fail f;

	gather(&g, &req->headers);
	f = host_check(req, &g);
	if (f)
		return f;
	req->content_length = -1;
	req->chunked = false;
	if (g.lengths && !length_parse(&g, &req->content_length))
		return FAIL_BAD_CONTENT_LENGTH;
	if (g.codings) {
		if (req->version < HTTP_11 || (g.lengths && !MUTANT(length_beside_chunks)))
			return FAIL_BAD_TRANSFER_ENCODING;
		f = coding_check(&g);
		if (f)
			return f;
		req->chunked = true;
	}
	req->keep_alive = keeps_alive(&g, req->version);
	/* RFC 9110 10.1.1, 7.8: both are for HTTP/1.1 only. */
	req->expect_continue = g.expect && req->version >= HTTP_11;
	req->upgrade = g.upgrade_named && g.upgrade_field && req->version >= HTTP_11;
	return FAIL_OK;
}

enum fail framing_of_response(struct http_response *resp, enum http_method method)
{
	struct gathered g = {0};
	bool bodiless = !http_response_has_body(method, resp->status);

	gather(&g, &resp->headers);
	resp->content_length = -1;
	resp->chunked = false;
	if (g.lengths && (g.codings || !length_parse(&g, &resp->content_length)))
		return FAIL_UPSTREAM_BAD_HEAD;
	if (g.codings) {
		if (g.codings != 1 || !span_eq_nocase(g.coding->value, SPAN("chunked")))
			return FAIL_UPSTREAM_BAD_HEAD;
		resp->chunked = true;
	}
	resp->keep_alive = keeps_alive(&g, resp->version);
	resp->upgrade = g.upgrade_named && g.upgrade_field && resp->version >= HTTP_11;
	if (!bodiless && !resp->chunked && resp->content_length < 0)
		resp->keep_alive = false; /* until close */
	/* RFC 9112 6.1: framing that the version or the status forbids. The message is understood,
	 * but what the sender puts behind it is not to be trusted. */
	if (resp->chunked && resp->version < HTTP_11)
		resp->keep_alive = false;
	if ((resp->status < 200 || resp->status == 204) &&
	    (resp->chunked || resp->content_length > 0))
		resp->keep_alive = false;
	return FAIL_OK;
}

bool trailer_allowed(enum hdr_id id)
{
	switch (id) {
	/* framing and routing */
	case HDR_HOST:
	case HDR_CONNECTION:
	case HDR_CONTENT_LENGTH:
	case HDR_TRANSFER_ENCODING:
	case HDR_KEEP_ALIVE:
	case HDR_PROXY_CONNECTION:
	case HDR_TE:
	case HDR_TRAILER:
	case HDR_UPGRADE:
	case HDR_HTTP2_SETTINGS:
	case HDR_VIA:
	case HDR_X_FORWARDED_FOR:
	case HDR_X_FORWARDED_PROTO:
	case HDR_X_FORWARDED_HOST:
	case HDR_X_REAL_IP:
	/* modifiers of the request */
	case HDR_EXPECT:
	case HDR_IF_MODIFIED_SINCE:
	case HDR_IF_UNMODIFIED_SINCE:
	case HDR_IF_MATCH:
	case HDR_IF_NONE_MATCH:
	case HDR_IF_RANGE:
	case HDR_RANGE:
	case HDR_PRAGMA:
	case HDR_CACHE_CONTROL:
	/* authentication and state */
	case HDR_AUTHORIZATION:
	case HDR_PROXY_AUTHORIZATION:
	case HDR_PROXY_AUTHENTICATE:
	case HDR_WWW_AUTHENTICATE:
	case HDR_COOKIE:
	case HDR_SET_COOKIE:
	case HDR_ORIGIN:
	case HDR_SEC_WEBSOCKET_KEY:
	/* what had to be known before the body */
	case HDR_AGE:
	case HDR_DATE:
	case HDR_EXPIRES:
	case HDR_LOCATION:
	case HDR_RETRY_AFTER:
	case HDR_VARY:
	case HDR_STATUS:
	case HDR_CONTENT_TYPE:
	case HDR_CONTENT_ENCODING:
	case HDR_CONTENT_RANGE:
	case HDR_X_ACCEL_REDIRECT:
	case HDR_X_ACCEL_LIMIT_RATE:
	case HDR_X_ACCEL_BUFFERING:
	case HDR_X_ACCEL_EXPIRES:
	case HDR_X_ACCEL_CHARSET:
		return false;
	default:
		return true;
	}
}
