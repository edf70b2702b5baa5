/* The directives of HTTP/2 to clients. What belongs to a connection is taken from the default
 * server of the address it came in on. */
#pragma once
#include "conf/conf.h"

struct h2_srv {		       /* http, server */
	bool on;	       /* http2 */
	bool extended_connect; /* RFC 8441 */
	int64_t max_streams, preread_size, recv_buffer_size, max_glitches;
};
extern struct conf_mod h2_srv_mod;

struct h2_loc { /* http, server, location */
	int64_t chunk_size;
};
extern struct conf_mod h2_loc_mod;
