/* The core's directives, a row each. */
#include "serve/core_rows.h"
#include "http/range.h"
#include "serve/core.h"
#include "serve/module.h"
#include "serve/route.h"
#include "serve/vars.h"

#define LOC_WHERE (IN_HTTP | IN_SERVER | IN_LOCATION)
#define IF_WHERE  (LOC_WHERE | IN_IF_LOCATION)
#define BIG       (1LL << 60)

static const struct conf_enum linger_words[] = {{"off", LINGER_OFF}, {"on", LINGER_ON}, {"always", LINGER_ALWAYS}, {NULL, 0}};
static const struct conf_enum satisfy_words[] = {{"all", 0}, {"any", 1}, {NULL, 0}};
static const struct conf_enum tokens_words[] = {{"off", TOKENS_OFF}, {"on", TOKENS_ON}, {"build", TOKENS_BUILD}, {NULL, 0}};
static const struct conf_enum ims_words[] = {{"off", IMS_OFF}, {"exact", IMS_EXACT}, {"before", IMS_BEFORE}, {NULL, 0}};
static const struct conf_enum in_file_words[] = {{"off", 0}, {"on", 1}, {"clean", 2}, {NULL, 0}};

static const struct conf_row srv_rows[] = {
	MMSEC("client_header_timeout", IN_HTTP | IN_SERVER, struct core_srv, client_header_timeout, MINUTE,
	      "Time a client has to send a complete request head."),
	MSIZE("client_header_buffer_size", IN_HTTP | IN_SERVER, struct core_srv, client_header_buffer_size, 1024,
	      "First buffer for a request head."),
	MBUFS("large_client_header_buffers", IN_HTTP | IN_SERVER, struct core_srv, large_client_header_buffers,
	      "Number and size of buffers for large request heads: no line may be longer than one."),
	MNUM("max_headers", IN_HTTP | IN_SERVER, struct core_srv, max_headers, 1000, "Most header lines in a request."),
	MFLAG("ignore_invalid_headers", IN_HTTP | IN_SERVER, struct core_srv, ignore_invalid_headers, true,
	      "Drop header lines with invalid names instead of refusing the request."),
	MFLAG("merge_slashes", IN_HTTP | IN_SERVER, struct core_srv, merge_slashes, true,
	      "Treat several slashes in a row in a URI as one."),
	MFLAG("underscores_in_headers", IN_HTTP | IN_SERVER, struct core_srv, underscores_in_headers, false,
	      "Header names with underscores are valid."),
	MEND,
};

struct conf_mod core_srv_mod = {
	.name = "core_srv", .size = sizeof(struct core_srv), .rows = srv_rows, .init = core_srv_init,
};

static const struct conf_row loc_rows[] = {
	CONF_ROW_("client_max_body_size", LOC_WHERE, 1, 1, CONF_SIZE, 0, struct core_loc, client_max_body_size, NULL,
		  1024 * 1024, "1m", "Largest request body; 0: no limit."),
	MSIZE("client_body_buffer_size", LOC_WHERE, struct core_loc, client_body_buffer_size, 16384,
	      "A request body up to this size is kept in memory, a longer one in a temporary file."),
	MMSEC("client_body_timeout", LOC_WHERE, struct core_loc, client_body_timeout, MINUTE,
	      "Longest wait between two reads of a request body."),
	MENUM("client_body_in_file_only", LOC_WHERE, struct core_loc, client_body_in_file_only, in_file_words, 0,
	      "Keep every request body in a file: on leaves it there, clean removes it."),
	MFLAG("client_body_in_single_buffer", LOC_WHERE, struct core_loc, client_body_in_single_buffer, false,
	      "Accepted; a body in memory always is in one buffer."),
	{.name = "client_body_temp_path", .where = LOC_WHERE, .min = 1, .max = 4, .kind = CONF_CUSTOM,
	 .set = temp_path_set, .help = "Folder and levels for request bodies in files."},
	MCUSTOM("root", IF_WHERE, 1, 1, 0, root_set, "Folder that URIs are looked up in."),
	MCUSTOM("alias", IN_LOCATION, 1, 1, 0, alias_set, "What the location's name is replaced by."),
	MFLAG("sendfile", IF_WHERE, struct core_loc, sendfile, true, "Let the kernel copy files to the connection."),
	MFLAG("tcp_nopush", LOC_WHERE, struct core_loc, tcp_nopush, true, "Send head and start of a file in one packet."),
	MFLAG("tcp_nodelay", LOC_WHERE, struct core_loc, tcp_nodelay, true, "Send small packets at once."),
	MSIZE("sendfile_max_chunk", LOC_WHERE, struct core_loc, sendfile_max_chunk, 2 * 1024 * 1024,
	      "Most bytes of one sendfile call."),
	MMSEC("send_timeout", LOC_WHERE, struct core_loc, send_timeout, MINUTE,
	      "Longest time in which a client reads nothing of its answer."),
	MSIZE("send_lowat", LOC_WHERE, struct core_loc, send_lowat, 0, "Accepted; has no effect on Linux."),
	MSIZE("postpone_output", LOC_WHERE, struct core_loc, postpone_output, 1460, "Accepted; small pieces are gathered anyway."),
	CONF_ROW_("limit_rate", IF_WHERE, 1, 1, CONF_TEMPLATE_SIZE, 0, struct core_loc, limit_rate, NULL, 0, NULL,
		  "Bytes a second of one answer; 0: no limit."),
	CONF_ROW_("limit_rate_after", IF_WHERE, 1, 1, CONF_TEMPLATE_SIZE, 0, struct core_loc, limit_rate_after, NULL, 0,
		  NULL, "Bytes before limit_rate begins to count."),
	MCUSTOM("keepalive_timeout", LOC_WHERE, 1, 2, 0, keepalive_timeout_set,
		"How long an idle client connection is kept; second: value of the Keep-Alive field."),
	MMSEC("keepalive_min_timeout", LOC_WHERE, struct core_loc, keepalive_min_timeout, 0,
	      "Idle connections are not closed earlier than this when shutting down."),
	MNUM("keepalive_requests", LOC_WHERE, struct core_loc, keepalive_requests, 1000, "Requests on one connection at most."),
	MMSEC("keepalive_time", LOC_WHERE, struct core_loc, keepalive_time, HOUR, "Age of a connection at most."),
	MCUSTOM("keepalive_disable", LOC_WHERE, 1, 2, 0, keepalive_disable_set, "Browsers that get no keep-alive: none, msie6, safari."),
	MENUM("satisfy", LOC_WHERE, struct core_loc, satisfy, satisfy_words, 0, "Must all access checks agree, or is any enough?"),
	MENUM("lingering_close", LOC_WHERE, struct core_loc, lingering_close, linger_words, LINGER_ON,
	      "Read what a client still sends before closing."),
	MMSEC("lingering_time", LOC_WHERE, struct core_loc, lingering_time, 30 * SECOND, "Longest time of that."),
	MMSEC("lingering_timeout", LOC_WHERE, struct core_loc, lingering_timeout, 5 * SECOND, "Longest silence in it."),
	MFLAG("reset_timedout_connection", LOC_WHERE, struct core_loc, reset_timedout_connection, false,
	      "Reset connections that timed out instead of closing them."),
	MFLAG("absolute_redirect", LOC_WHERE, struct core_loc, absolute_redirect, true, "Make Location absolute."),
	MFLAG("server_name_in_redirect", LOC_WHERE, struct core_loc, server_name_in_redirect, false,
	      "Use the first server_name in redirects, not the Host."),
	MFLAG("port_in_redirect", LOC_WHERE, struct core_loc, port_in_redirect, true, "Put the port into redirects."),
	MFLAG("msie_padding", LOC_WHERE, struct core_loc, msie_padding, true, "Pad short error pages for old browsers."),
	MFLAG("log_not_found", LOC_WHERE, struct core_loc, log_not_found, true, "Log files that are not there."),
	MFLAG("log_subrequest", LOC_WHERE, struct core_loc, log_subrequest, false, "Log subrequests too."),
	MFLAG("recursive_error_pages", LOC_WHERE, struct core_loc, recursive_error_pages, false,
	      "An error page may have an error page."),
	MFLAG("chunked_transfer_encoding", LOC_WHERE, struct core_loc, chunked_transfer_encoding, true,
	      "Send answers of unknown length in chunks."),
	MFLAG("etag", LOC_WHERE, struct core_loc, etag, true, "Send ETag for files."),
	MENUM("server_tokens", LOC_WHERE, struct core_loc, server_tokens, tokens_words, TOKENS_ON, "Say the version in Server."),
	MENUM("if_modified_since", LOC_WHERE, struct core_loc, if_modified_since, ims_words, IMS_EXACT,
	      "How If-Modified-Since is compared."),
	MNUM("max_ranges", LOC_WHERE, struct core_loc, max_ranges, INT32_MAX, "Most ranges in one request; 0: none."),
	MSTR("default_type", LOC_WHERE, struct core_loc, default_type, "text/plain", "Type of files with an unknown extension."),
	{.name = "types", .where = LOC_WHERE, .min = 0, .max = 0, .kind = CONF_BLOCK, .flags = CONF_EARLY, .set = types_set,
	 .help = "Extensions and their types."},
	MCUSTOM("error_page", IF_WHERE, 2, 255, CONF_MULTI, error_page_set, "What to answer instead of an error."),
	MCUSTOM("disable_symlinks", LOC_WHERE, 1, 2, 0, disable_symlinks_set, "Refuse paths with symbolic links."),
	MCUSTOM("open_file_cache", LOC_WHERE, 1, 2, 0, open_file_cache_set, "Keep descriptors of files that were served."),
	MSECONDS("open_file_cache_valid", LOC_WHERE, struct core_loc, open_file_cache_valid, 60, "How long an entry is believed."),
	MNUM("open_file_cache_min_uses", LOC_WHERE, struct core_loc, open_file_cache_min_uses, 1,
	     "Uses within inactive that keep a descriptor open."),
	MFLAG("open_file_cache_errors", LOC_WHERE, struct core_loc, open_file_cache_errors, false, "Cache errors as well."),
	MIGNORED("open_file_cache_events", LOC_WHERE, 1, 1, "Has no effect on Linux."),
	MCUSTOM("resolver", LOC_WHERE, 1, 255, 0, resolver_set, "Name servers; default: the system's."),
	MMSEC("resolver_timeout", LOC_WHERE, struct core_loc, resolver_timeout, 30 * SECOND, "Longest wait for an answer."),
	MCUSTOM("internal", IN_LOCATION, 0, 0, 0, internal_set, "Only for internal redirects."),
	MBLOCK("location", IN_SERVER | IN_LOCATION, 1, 2, core_location_block, "What holds for URIs that match."),
	MBLOCK("limit_except", IN_LOCATION, 1, 255, core_limit_except_block, "What holds for all but these methods."),
	MBLOCK("server", IN_HTTP, 0, 0, core_server_block, "A virtual server."),
	{.name = "http", .where = IN_MAIN, .min = 0, .max = 0, .kind = CONF_BLOCK, .set = core_http_block, .help = "The web server."},
	MCUSTOM("listen", IN_SERVER, 1, 255, CONF_MULTI, listen_set, "An address, port or socket of this server."),
	MCUSTOM("server_name", IN_SERVER, 1, 255, CONF_MULTI | CONF_NO_DROP, server_name_set, "Names of this server."),
	MIGNORED("types_hash_max_size", LOC_WHERE, 1, 1, "Tables size themselves."),
	MIGNORED("types_hash_bucket_size", LOC_WHERE, 1, 1, "Tables size themselves."),
	MIGNORED("server_names_hash_max_size", IN_HTTP, 1, 1, "Tables size themselves."),
	MIGNORED("server_names_hash_bucket_size", IN_HTTP, 1, 1, "Tables size themselves."),
	MIGNORED("variables_hash_max_size", IN_HTTP, 1, 1, "Tables size themselves."),
	MIGNORED("variables_hash_bucket_size", IN_HTTP, 1, 1, "Tables size themselves."),
	MIGNORED("connection_pool_size", IN_HTTP | IN_SERVER, 1, 1, "Connections have no pool."),
	MIGNORED("request_pool_size", IN_HTTP | IN_SERVER, 1, 1, "Arenas grow by themselves."),
	MIGNORED("output_buffers", LOC_WHERE, 2, 2, "Files are sent by the kernel or in pieces that fit."),
	MIGNORED("read_ahead", LOC_WHERE, 1, 1, "Left to the kernel."),
	MIGNORED("directio", LOC_WHERE, 1, 1, "Left to the kernel."),
	MIGNORED("directio_alignment", LOC_WHERE, 1, 1, "Left to the kernel."),
	MIGNORED("aio", LOC_WHERE, 1, 1, "Chosen automatically."),
	MIGNORED("aio_write", LOC_WHERE, 1, 1, "Chosen automatically."),
	MIGNORED("subrequest_output_buffer_size", LOC_WHERE, 1, 1, "Subrequests stream."),
	MIGNORED("msie_refresh", LOC_WHERE, 1, 1, "No browser needs it any more."),
	MEND,
};

struct conf_mod core_loc_mod = {
	.name = "core_loc", .size = sizeof(struct core_loc), .rows = loc_rows, .init = core_loc_init,
};

static struct conf_mod *const core_confs[] = {&core_srv_mod, &core_loc_mod, NULL};

const struct http_module core_module = {
	.name = "core",
	.confs = core_confs,
	.vars = core_vars,
};
