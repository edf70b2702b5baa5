/* Basic credentials of a request (RFC 7617). A request that is meant for us as a proxy (CONNECT, or
 * an absolute target, on a server with tunnel_pass) has them in Proxy-Authorization (RFC 9110
 * 11.7); all others in Authorization. */
#pragma once
#include "serve/req.h"

/* Is the request for a proxy? Then its Proxy-Authorization is taken out of the fields: it was for
 * us, and nobody behind us gets it. Once, when the server is known. */
enum fail req_take_proxied(struct req *r);
/* Name (also kept as $remote_user) and password, in the arena. False: there are none that can be
 * read. Nothing is checked. */
bool req_credentials(struct req *r, struct span *user, struct span *password);
/* The answer will ask for credentials of that realm. The status to give: 401 or 407. */
int req_challenge(struct req *r, struct span realm);
