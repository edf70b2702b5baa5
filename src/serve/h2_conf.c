#include "serve/h2_conf.h"
#include "serve/core.h"

#define SRV_WHERE  (IN_HTTP | IN_SERVER)
#define LOC_WHERE  (IN_HTTP | IN_SERVER | IN_LOCATION)
#define WINDOW_MAX 0x7fffffff

/* Names that nginx gave up: what took their place, or nothing. */
static int obsolete_set(struct conf_call *c)
{
	static const struct {
		const char *name, *instead;
	} table[] = {
		{"http2_max_field_size", "large_client_header_buffers"},
		{"http2_max_header_size", "large_client_header_buffers"},
		{"http2_max_requests", "keepalive_requests"},
		{"http2_recv_timeout", "client_header_timeout"},
		{"http2_idle_timeout", "keepalive_timeout"},
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (span_eq(span_of(c->row->name), span_of(table[i].name))) {
			conf_warn(c, 0,
				  "the \"%s\" directive is obsolete, use the \"%s\" directive "
				  "instead",
				  c->row->name, table[i].instead);
			return CONF_OK;
		}
	}
	conf_warn(c, 0, "the \"%s\" directive is obsolete, ignored", c->row->name);
	return CONF_OK;
}

static const struct conf_bounds streams_bounds = {1, WINDOW_MAX};
static const struct conf_bounds window_bounds = {0, WINDOW_MAX};
static const struct conf_bounds recv_bounds = {16, WINDOW_MAX};
static const struct conf_bounds chunk_bounds = {1, 16 * 1024 * 1024};
static const struct conf_bounds glitch_bounds = {0, INT32_MAX};

#define OBSOLETE(nm, wh) MCUSTOM(nm, wh, 1, 1, CONF_MULTI, obsolete_set, "Obsolete: a warning.")

static const struct conf_row srv_rows[] = {
	MFLAG("http2", SRV_WHERE, struct h2_srv, on, false,
	      "Speak HTTP/2: chosen in the TLS handshake, or with prior knowledge without TLS."),
	MFLAG("http2_extended_connect", SRV_WHERE, struct h2_srv, extended_connect, false,
	      "Allow WebSocket over HTTP/2 (RFC 8441)."),
	CONF_ROW_("http2_max_concurrent_streams", SRV_WHERE, 1, 1, CONF_NUM, 0, struct h2_srv,
		  max_streams, &streams_bounds, 128, NULL,
		  "Requests in flight on one connection at most; a reset one counts until its work "
		  "has ended."),
	CONF_ROW_("http2_body_preread_size", SRV_WHERE, 1, 1, CONF_SIZE, 0, struct h2_srv,
		  preread_size, &window_bounds, 65536, "64k",
		  "Bytes of a request body that may come before anybody reads it."),
	CONF_ROW_("http2_recv_buffer_size", SRV_WHERE, 1, 1, CONF_SIZE, 0, struct h2_srv,
		  recv_buffer_size, &recv_bounds, 256 * 1024, "256k",
		  "Bytes of a request body that may wait in memory while it is being read; 1m at "
		  "most."),
	CONF_ROW_(
		"http2_max_glitches", SRV_WHERE, 1, 1, CONF_NUM, 0, struct h2_srv, max_glitches,
		&glitch_bounds, 500, NULL,
		"Useless or wrong frames, resets and refused streams that a connection may have "
		"on its account (a request that went well, and time, take from it); 0: no limit."),
	OBSOLETE("http2_max_field_size", SRV_WHERE),
	OBSOLETE("http2_max_header_size", SRV_WHERE),
	OBSOLETE("http2_max_requests", SRV_WHERE),
	OBSOLETE("http2_recv_timeout", SRV_WHERE),
	OBSOLETE("http2_idle_timeout", SRV_WHERE),
	OBSOLETE("http2_max_concurrent_pushes", SRV_WHERE),
	OBSOLETE("http2_push", LOC_WHERE),
	OBSOLETE("http2_push_preload", LOC_WHERE),
	MIGNORED("http2_pool_size", SRV_WHERE, 1, 1, "Connections have no pool."),
	MIGNORED("http2_streams_index_size", SRV_WHERE, 1, 1, "Tables size themselves."),
	MEND,
};

struct conf_mod h2_srv_mod = {
	.name = "h2_srv",
	.size = sizeof(struct h2_srv),
	.rows = srv_rows,
};

static const struct conf_row loc_rows[] = {
	CONF_ROW_("http2_chunk_size", LOC_WHERE, 1, 1, CONF_SIZE, 0, struct h2_loc, chunk_size,
		  &chunk_bounds, 8192, "8k",
		  "Longest DATA frame that is sent; 16k at most, whatever is given."),
	MEND,
};

struct conf_mod h2_loc_mod = {
	.name = "h2_loc",
	.size = sizeof(struct h2_loc),
	.rows = loc_rows,
};

bool server_has_h2(const struct server *s)
{
	const struct h2_srv *conf = conf_get(s->scope, &h2_srv_mod);

	return conf->on || s->listens_h2;
}
