/* Request targets, percent-coding, normalisation: nginx's rules. */
#pragma once
#include "base/arena.h"
#include "base/span.h"
#include "http/fail.h"

/* Decodes and normalises a path: %XX decoded once, "." and ".." resolved (".." above the root
 * refused), runs of '/' merged when asked, cut at a literal '?' or '#'. An escaped '/' or '.'
 * counts like a literal one, an escaped '?', '#' or '%' is just that byte. Result in the arena, or
 * the input itself when nothing changes. FAIL_BAD_URI for malformed %, NUL (also %00), escape above
 * the root, or a path that does not start with
 * '/' ("*" alone is let through); FAIL_NO_MEMORY. */
enum fail uri_normalise(struct span path, bool merge_slashes, struct arena *a, struct span *out);

/* Which bytes are escaped, as nginx's several tables. */
enum uri_escape {
	URI_ESCAPE_PATH,      /* a decoded path to be sent upstream or in a Location */
	URI_ESCAPE_ARGS,      /* a value put into a query string */
	URI_ESCAPE_COMPONENT, /* everything but unreserved */
	URI_ESCAPE_HTML,      /* what ssi's encoding="url" escapes: space " # % ' < > \ ^ ` { | } */
	URI_ESCAPE_REFRESH,   /* the same without # and %, which an URL may hold already */
	URI_ESCAPE_MEMCACHED, /* controls, space, % */
};
/* Returns s itself when nothing needs escaping; p == NULL: no memory. */
struct span uri_escape(struct arena *a, struct span s, enum uri_escape kind);
/* Decodes %XX (malformed ones stay as they are); '+' stays. s itself when there is none; p == NULL:
 * no memory. */
struct span uri_unescape(struct arena *a, struct span s);
/* & < > " for HTML text. */
struct span html_escape(struct arena *a, struct span s);
/* Value of the argument `name` (compared without case, as nginx) in a query string; false: not
 * there, or without '='. */
bool uri_arg(struct span query, struct span name, struct span *value);
/* Value of a cookie in a Cookie field; names compared without case as nginx does. */
bool cookie_value(struct span cookie, struct span name, struct span *value);

/* Is this host[:port] by RFC 3986 3.2.2 (no user information, no empty labels, port up to 65535)?
 * host_len: length of the host part, brackets included; port: -1 when absent or empty. Both may be
 * NULL. */
bool host_is_valid(struct span authority, size_t *host_len, int *port);
/* host[:port], RFC 3986 3.2.2: registered name, IPv4 or [IPv6]. Trailing dot dropped, lower-cased
 * copy in *host (arena), port -1 when absent. FAIL_BAD_HOST. */
enum fail host_parse(struct span authority, struct arena *a, struct span *host, int *port);
/* The second half of it, for a host part that host_is_valid has found. FAIL_OK or FAIL_NO_MEMORY.
 */
enum fail host_lower(struct span name, struct arena *a, struct span *host);

/* "http://host:port/path": splits what follows a scheme. false when it does not look like one. */
struct url_parts {
	struct span scheme, host, path;
	int port;
	bool is_unix;
};
bool url_split(struct span url, struct url_parts *out);
