/* Request targets, percent-coding, normalisation: nginx's rules. */
#pragma once
#include "base/arena.h"
#include "base/span.h"
#include "http/fail.h"

/* Decodes and normalises a path: %XX decoded once, "." and ".." resolved (".." above the root refused), runs
 * of '/' merged when asked, fragment cut. Result in the arena, or the input itself when nothing changes.
 * FAIL_BAD_URI for malformed %, NUL (also %00), or escape above the root. */
enum fail uri_normalise(struct span path, bool merge_slashes, struct arena *a, struct span *out);

/* Which bytes are escaped, as nginx's several tables. */
enum uri_escape {
	URI_ESCAPE_PATH,      /* a decoded path to be sent upstream or in a Location */
	URI_ESCAPE_ARGS,      /* a value put into a query string */
	URI_ESCAPE_COMPONENT, /* everything but unreserved */
	URI_ESCAPE_HTML,      /* " ' < > & and controls, for links in listings */
	URI_ESCAPE_REFRESH, URI_ESCAPE_MEMCACHED,
};
/* Returns s itself when nothing needs escaping; p == NULL: no memory. */
struct span uri_escape(struct arena *a, struct span s, enum uri_escape kind);
/* Decodes %XX (malformed ones stay as they are); '+' stays. */
struct span uri_unescape(struct arena *a, struct span s);
/* & < > " for HTML text. */
struct span html_escape(struct arena *a, struct span s);
/* Value of the argument `name` (compared without case, as nginx) in a query string; false: not there. */
bool uri_arg(struct span query, struct span name, struct span *value);
/* Value of a cookie in a Cookie field; names compared without case as nginx does. */
bool cookie_value(struct span cookie, struct span name, struct span *value);

/* host[:port], RFC 3986 3.2.2: registered name, IPv4 or [IPv6]. Trailing dot dropped, lower-cased copy in
 * *host (arena), port -1 when absent. FAIL_BAD_HOST. */
enum fail host_parse(struct span authority, struct arena *a, struct span *host, int *port);

/* "http://host:port/path": splits what follows a scheme. false when it does not look like one. */
struct url_parts { struct span scheme, host, path; int port; bool is_unix; };
bool url_split(struct span url, struct url_parts *out);
