/* What proxy_pass and the proxy_* directives of a location say, or grpc_pass and grpc_*. One struct
 * per scope, immutable once the snapshot is served. Parsed by proxy_conf.c (plain rows),
 * proxy_pass.c, proxy_rewrite.c (redirects, cookies), proxy_ssl.c; what can be worked out before
 * the first request (request head, bitmaps of hidden headers, TLS context) is worked out in done.
 */
#pragma once
#include "proxy/group.h"
#include "net/tls.h"
#include "serve/core.h"

/* Where a request goes. Constant ones belong to the snapshot, others to the request. */
struct proxy_target {
	struct group *group;
	bool tls;
	struct span scheme;	 /* "http://" or "https://" */
	struct span host_header; /* $proxy_host: with the port unless it is the scheme's own */
	struct span port;	 /* $proxy_port; "" for Unix sockets */
	struct span uri;	 /* the URI part of proxy_pass; empty: none */
	struct span host;	 /* without port: the name for SNI and verification */
	bool evaluated;		 /* made at run time: uri replaces everything */
};

struct proxy_pass {
	struct span url;   /* as written; empty with variables (proxy_redirect default) */
	struct tmpl *tmpl; /* with variables, else NULL and target counts */
	struct proxy_target target;
	struct span location;  /* the prefix that target.uri replaces; empty for regex, named, if */
	struct span host_port; /* for linking: "host:port" as written */
	bool no_port;
};

/* A pair of proxy_redirect, proxy_cookie_domain, proxy_cookie_path. */
struct proxy_rewrite {
	struct regex *re; /* NULL: pattern is text */
	struct tmpl *pattern, *replacement;
	bool domain; /* compare whole, without case, a leading dot aside */
	struct var **names;
	unsigned *groups;
	size_t nnames; /* named captures of re */
};
struct proxy_rewrites {
	struct proxy_rewrite *v;
	size_t n, cap;
};

enum {
	COOKIE_SECURE = 1,
	COOKIE_SECURE_OFF = 2,
	COOKIE_HTTPONLY = 4,
	COOKIE_HTTPONLY_OFF = 8,
	COOKIE_STRICT = 16,
	COOKIE_LAX = 32,
	COOKIE_NONE = 64,
	COOKIE_SAMESITE_OFF = 128
};
struct proxy_cookie_flag {
	struct regex *re;
	struct tmpl *name;
	struct tmpl **flags;
	size_t nflags;
};
struct proxy_cookie_flags {
	struct proxy_cookie_flag *v;
	size_t n, cap;
};

struct proxy_header {
	struct span name;
	struct tmpl *value;
};
struct proxy_headers {
	struct proxy_header *v;
	size_t n, cap;
};

/* Bits of proxy_ignore_headers. */
enum {
	IGN_REDIRECT = 1,
	IGN_EXPIRES = 2,
	IGN_LIMIT_RATE = 4,
	IGN_BUFFERING = 8,
	IGN_CHARSET = 16,
	IGN_HTTP_EXPIRES = 32,
	IGN_CACHE_CONTROL = 64,
	IGN_SET_COOKIE = 128,
	IGN_VARY = 256
};
#define PROXY_HTTP_AUTO (HTTP_2 + 1) /* ALPN decides */
enum { PROXY_UPGRADE_OFF, PROXY_UPGRADE_WEBSOCKET, PROXY_UPGRADE_ANY };

struct proxy_ssl {
	bool session_reuse, server_name, verify;
	unsigned protocols;
	struct span ciphers, trusted, crl; /* the last two are paths */
	int64_t verify_depth;
	struct tmpl *name, *certificate, *certificate_key;
	struct cert_names *names; /* a certificate with variables: as configured, and for HTTP/1 */
	struct span password_file;
	struct conf_strs commands; /* name, value, name, value */
};

struct proxy_names {
	struct span *v;
	size_t n;
	uint64_t ids[2];
}; /* known ids as bits, others by name */

struct proxy_head;
struct proxy_conf {
	const struct proxy_pass *pass;
	bool buffering, request_buffering, ignore_client_abort, socket_keepalive, intercept_errors;
	bool pass_request_headers, pass_request_body, pass_trailers, force_ranges, retry_reused;
	int http_version; /* HTTP_10, HTTP_11, HTTP_2, PROXY_HTTP_AUTO */
	bool grpc;	  /* grpc_pass */
	bool grpc_web;	  /* grpc_web on */
	bool tunnel;	  /* tunnel_pass */
	bool allow_link_local;
	struct conf_tmpls allow_upstream;
	int upgrade;
	int64_t socket_rcvbuf, socket_sndbuf, send_lowat;
	int64_t connect_timeout, send_timeout, read_timeout, next_upstream_timeout,
		next_upstream_tries;
	unsigned next_upstream, ignore_headers;
	int64_t buffer_size, max_header_size, busy_buffers_size, max_temp_file_size,
		temp_file_write_size;
	struct conf_bufs buffers;
	struct span temp_path;
	int temp_levels[3];
	struct tmpl *limit_rate, *method, *set_body, *bind;
	bool bind_transparent;
	struct proxy_headers set_headers;
	struct conf_strs hide_headers, pass_headers;
	bool redirect_off, redirect_default;
	struct proxy_rewrites redirects, cookie_domains, cookie_paths;
	struct proxy_cookie_flags cookie_flags;
	struct proxy_ssl ssl;
	/* worked out in done */
	struct proxy_names hidden;
	struct proxy_head *head;
	struct tls_ctx *tls;
	struct tls_ctx *tls_http1; /* offers no HTTP/2; NULL: tls does not either */
	uint64_t tls_identity;
	bool rewrites_cookies;
};
extern struct conf_mod proxy_mod, grpc_mod, tunnel_mod; /* all of struct proxy_conf */

/* The location's (or if's, or limit_except's) settings for this request. */
static inline const struct proxy_conf *proxy_conf_of(const struct req *r)
{
	return req_conf(r, &proxy_mod);
}
/* proxy_ignore_client_abort of the request's scope. */
bool proxy_ignores_abort(const struct req *r);

/* ---- setters and finishers of the files beside ---- */
extern const struct conf_enum proxy_next_upstream_words[], proxy_ignore_words[],
	proxy_protocol_words[];
int proxy_set_header_set(struct conf_call *c);
int proxy_bind_set(struct conf_call *c);
int proxy_hidden_done(struct conf_call *c, struct proxy_conf *conf);
/* Makes sizes fit together. */
void proxy_clamp(struct proxy_conf *conf);
int proxy_pass_set(struct conf_call *c);
int proxy_pass_set_text(struct conf_call *c, struct span url); /* the same with another text */
int proxy_redirect_set(struct conf_call *c);
int proxy_cookie_domain_set(struct conf_call *c);
int proxy_cookie_path_set(struct conf_call *c);
int proxy_cookie_flags_set(struct conf_call *c);
int proxy_ssl_done(struct conf_call *c, struct proxy_conf *conf);
int proxy_head_done(struct conf_call *c, struct proxy_conf *conf);
int proxy_redirect_done(struct conf_call *c, struct proxy_conf *conf);

/* ---- proxy_pass at run time (proxy_pass.c) ---- */

/* Where this request goes: the constant target, or the evaluated one. 0 or the status to answer
 * (req_fail was called). */
MAY_SUSPEND int proxy_target_find(struct req *r, const struct proxy_conf *conf,
				  const struct proxy_target **out);
/* The request target to send, by nginx's rules. FAIL_BAD_URI: it would leave the replaced prefix
 * through ".." (N19). */
enum fail proxy_uri(struct req *r, const struct proxy_pass *pass, const struct proxy_target *t,
		    struct span *out);
/* The parts of a proxy_pass URL. False: *err says why ("invalid URL prefix", ...). */
bool proxy_url_parse(struct arena *a, struct span url, struct proxy_target *t,
		     struct span *host_port, bool *no_port, const char **err);
