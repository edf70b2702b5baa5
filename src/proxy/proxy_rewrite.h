/* proxy_redirect, proxy_cookie_domain, proxy_cookie_path, proxy_cookie_flags: nginx's rules. */
#pragma once
#include "proxy/exchange.h"

/* The new value of a Location (or Refresh) field; out->p == NULL: it stays as it is. */
enum fail proxy_rewrite_location(struct exchange *x, bool refresh, struct span value,
				 struct span *out);
/* The same for a Set-Cookie field. */
enum fail proxy_rewrite_cookie(struct exchange *x, struct span value, struct span *out);
