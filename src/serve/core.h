/* The http{} tree as served: ports, virtual servers, locations, and the core directives' structs.
 * Immutable within a snapshot. */
#pragma once
#include "base/hash.h"
#include "base/regex.h"
#include "conf/conf.h"
#include "conf/snapshot.h"
#include "conf/template.h"
#include "net/addr.h"
#include "net/listener.h"
#include "net/tls.h"

struct req;
struct server;
struct location;

/* snapshot->http */
struct http_main {
	struct snapshot *snapshot;
	struct conf_scope *scope;
	struct var_table *vars;
	struct list servers; /* struct server, in order of the file */
	struct http_port **ports;
	size_t nports, ports_cap;
	struct list log_formats, buffered_logs; /* mod/log */
	struct list upstreams;			/* proxy/group: by name */
	struct list status_zones;
	unsigned long nlocations;
};
/* The http_main being built or served. */
struct http_main *http_main_of(struct conf_ctx *ctx);

/* One address:port and the servers on it. */
struct http_port {
	struct listen_spec spec;
	struct listener *listener; /* NULL until published */
	struct server *default_server;
	bool default_given; /* by default_server, not by position */
	bool ssl, http2, proxy_protocol, quic;
	bool wildcard;		  /* 0.0.0.0 or [::] */
	struct vnames *names;	  /* server names on this address; NULL: only the default */
	struct http_port *covers; /* wildcard port whose socket serves this address too (no bind of
				     its own) */
	bool covered; /* some other port lives on this one's socket: look at the local address */
	struct list members; /* struct port_server */
	unsigned tls_servers;
};

struct server {
	struct list link;
	struct http_main *main;
	struct conf_scope *scope;
	struct span name; /* first server_name: $server_name, redirects */
	struct server_name *server_names;
	size_t nnames, names_cap;
	struct location *root;	       /* pseudo-location that holds the tree */
	struct list named;	       /* struct location @x */
	struct tls_ctx *tls;	       /* NULL: no ssl_certificate */
	struct cert_names *cert_names; /* not NULL: tls is without certificates, these have them */
	bool has_listen;
	bool listens_h2; /* a listen has http2 */
	bool connects;	 /* a tunnel_pass is somewhere in it: CONNECT is not refused at once */
	struct conf_file *file;
	uint32_t line; /* where it stands: explain, messages */
};

struct server_name {
	struct span text; /* lower case */
	enum { NAME_EXACT, NAME_WILD_HEAD, NAME_WILD_TAIL, NAME_DOT, NAME_REGEX } kind;
	struct regex *re;
	struct var **capture_vars;
	unsigned *capture_groups;
	size_t ncapture_vars;
};

/* The server for a Host (lower case, no port): exact, longest *.x, longest x.*, first regex (which
 * may set captures in r), default. r may be NULL (SNI). */
struct server *vnames_find(const struct http_port *port, struct span host, struct req *r);
/* The port of an accepted connection: by listener and local address. NULL: the snapshot has it no
 * more. */
struct http_port *http_port_find(const struct http_main *m, const struct listener *l,
				 const struct sockaddr *local);

enum location_kind {
	LOC_PREFIX,
	LOC_PREFIX_FINAL /* ^~ */,
	LOC_EXACT,
	LOC_REGEX,
	LOC_REGEX_NOCASE,
	LOC_NAMED,
	LOC_IF,
	LOC_LIMIT_EXCEPT
};
struct location {
	struct list link; /* among its siblings */
	struct location *parent;
	struct server *server;
	enum location_kind kind;
	struct span name; /* prefix, regex text, or @name */
	struct regex *re;
	struct var **capture_vars;
	unsigned *capture_groups;
	size_t ncapture_vars;
	struct conf_scope *scope;
	bool internal, auto_slash; /* auto_slash: prefix ends with '/' and has a proxy handler:
				      redirect "/x" to "/x/" */
	struct list children;
	struct loc_tree *tree; /* compiled prefixes of the children */
	struct location **regexes;
	size_t nregexes;
	/* content handler of the location (proxy_pass, stub_status, ...): before the content phase
	 */
	int (*handler)(struct req *r);
	/* if blocks and rewrite code: mod/rewrite */
	void *rewrite_code;
	/* limit_except: methods allowed here, and the scope that holds for the others */
	uint32_t limit_except_methods;
	struct conf_scope *limit_except_scope;
	struct conf_file *file;
	uint32_t line;
};
/* The object a scope belongs to, for directives of locations (also IN_IF_LOCATION,
 * IN_LIMIT_EXCEPT). */
static inline struct location *location_of(const struct conf_scope *s)
{
	return (s->where & (IN_LOCATION | IN_IF_LOCATION | IN_LIMIT_EXCEPT)) ? s->owner : NULL;
}
/* Does it speak HTTP/2 (http2 on, or a listen with http2)? */
bool server_has_h2(const struct server *s);
struct server *server_of(const struct conf_scope *s); /* NULL in http{} */
/* A location object below the call's scope, with its own scope of kind `where`; not yet applied.
 * Used by `location`, and by `if` and `limit_except` (LOC_IF, LOC_LIMIT_EXCEPT: not part of
 * routing; their handler is their own or their parent's: location_handler). NULL: reported. */
struct location *location_new(struct conf_call *c, enum location_kind kind, enum conf_where where,
			      struct span name);
/* Compiles a regular expression that stands in word `word` and defines variables for its named
 * groups (vars may be NULL: names are then ignored). Freed with the snapshot. NULL: reported. */
struct regex *conf_regex(struct conf_call *c, unsigned word, struct span text, bool nocase,
			 struct var ***vars, unsigned **groups, size_t *n);
/* The content handler that holds in a location. */
int (*location_handler(const struct location *l))(struct req *r);

/* Finds r->location for r->uri in r->server: sets location, scope, captures. 0, or 301 (auto slash:
 * r->resp.location set), or 404 for an internal one. */
int location_find(struct req *r);
struct location *location_find_named(const struct server *s, struct span name);

/* ---- core directives ---- */
enum { TOKENS_OFF, TOKENS_ON, TOKENS_BUILD };
enum { LINGER_OFF, LINGER_ON, LINGER_ALWAYS };
enum { SYMLINKS_OFF, SYMLINKS_ON, SYMLINKS_NOT_OWNER };

struct core_srv { /* http, server */
	int64_t client_header_timeout, client_header_buffer_size, max_headers;
	struct conf_bufs large_client_header_buffers;
	bool ignore_invalid_headers, merge_slashes, underscores_in_headers;
};
extern struct conf_mod core_srv_mod;

struct core_loc { /* http, server, location */
	int64_t client_max_body_size, client_body_buffer_size, client_body_timeout;
	int client_body_in_file_only; /* 0 off, 1 on, 2 clean */
	bool client_body_in_single_buffer;
	struct span client_body_temp_path;
	int client_body_temp_levels[3];
	struct tmpl *root; /* absolute path or template; alias when `alias` */
	bool alias, root_set;
	struct location *alias_location;
	bool sendfile, tcp_nopush, tcp_nodelay;
	int64_t sendfile_max_chunk, send_timeout, send_lowat, postpone_output;
	struct tmpl *limit_rate, *limit_rate_after;
	int64_t keepalive_timeout, keepalive_header_s /* -1 none */, keepalive_min_timeout,
		keepalive_requests, keepalive_time;
	unsigned keepalive_disable;
	int satisfy; /* 0 all, 1 any */
	int64_t auth_delay;
	struct conf_tmpls early_hints;
	int lingering_close;
	int64_t lingering_time, lingering_timeout;
	bool reset_timedout_connection;
	bool absolute_redirect, server_name_in_redirect, port_in_redirect, msie_padding,
		msie_refresh, log_not_found, log_subrequest;
	bool recursive_error_pages, chunked_transfer_encoding, etag;
	int server_tokens;
	int if_modified_since;
	int64_t max_ranges;
	struct span default_type;
	struct types_table *types; /* NULL: the built-in ones */
	struct error_page *error_pages;
	size_t nerror_pages, error_pages_cap;
	struct logger logger; /* error_log */
	int disable_symlinks;
	struct tmpl *disable_symlinks_from;
	int64_t open_file_cache_max, open_file_cache_inactive, open_file_cache_valid,
		open_file_cache_min_uses;
	bool open_file_cache_errors;
	struct resolver *resolver;
	int64_t resolver_timeout;
};
extern struct conf_mod core_loc_mod;

struct error_page {
	int status,
		overwrite; /* overwrite: 0 as the page says ("="), -1 keep, else the new status */
	struct tmpl *uri;  /* path, URL or @name */
};

/* MIME type of a file name's extension: the types{} of the location or the built-in table, or
 * default_type. */
struct span types_find(const struct core_loc *l, struct span extension);

extern const struct http_module core_module; /* directives and variables of the core */
