/* What a world is configured as: the facts that the oracle needs to know, and the text that the
 * worker reads, made from them. */
#pragma once
#include <netinet/in.h>
#include <sys/un.h>
#include "bytes.h"
#include "http/fail.h"

#define GROUPS_MAX    4
#define SERVERS_MAX   4 /* of a group */
#define ROUTES_MAX    16
#define GROUP_IDLE_MS 20000 /* keepalive_timeout of the groups */

enum family { FAMILY_IPV4, FAMILY_IPV6, FAMILY_UNIX };

struct server_setup {
	unsigned weight, max_fails, max_conns;
	bool backup, down;
	unsigned mischief; /* of 100 requests, how many are answered badly */
	enum family family;
	unsigned cert;	 /* with TLS: enum link_cert */
	bool chooses_h2; /* of an `automatic` group */
};

struct group_setup {
	struct server_setup servers[SERVERS_MAX];
	unsigned nservers;
	const char *balancer; /* "" or a directive */
	unsigned keepalive;   /* 0: none */
	bool http2;	      /* its servers speak that; not of routes that upgrade */
	bool h2_tunnels;      /* and these take WebSocket, by extended CONNECT */
	bool tls;	      /* its servers are reached with https:// */
	bool automatic;	      /* with TLS: proxy_http_version auto, each server chooses */
	const char *name;     /* its servers are the addresses of that; NULL: they stand there */
	unsigned name_valid;  /* s; 0: as long as the answer says */
	bool honest;	      /* no server of it does mischief, none is limited: every request that
				 nothing else disturbs must be answered */
};

enum route_kind {
	ROUTE_PROXY,
	ROUTE_UPGRADE,
	ROUTE_RETURN,
	ROUTE_FILES,
	ROUTE_NAME,
	ROUTE_CONNECT /* no location: tunnel_pass */
};

struct route {
	enum route_kind kind;
	char prefix[8]; /* "/a/" */
	unsigned group;
	bool buffering, request_buffering, intercept, retry_reused, http10, temp_files,
		ignore_abort;
	unsigned next;	/* NEXT_* of proxy_next_upstream */
	unsigned tries; /* 0: as many as servers */
	unsigned buffer_size, buffers, body_buffer;
	unsigned temp_max;
	unsigned limit_rate;
	unsigned lingering_time, lingering_timeout; /* 0: as everywhere */
	unsigned refuse_ms; /* nobody has a password, and hears of it so much later; 0: no */
	bool trailers;	    /* proxy_pass_trailers */
	/* of ROUTE_NAME; dns_timeout 0: as always */
	unsigned dns_timeout, dns_valid;
	bool dns_ipv6;
	/* with TLS */
	bool ssl_verify, ssl_forget /* proxy_ssl_session_reuse off */, ssl_only_13;
};

struct setup {
	unsigned nthreads;
	/* ms */
	unsigned header_timeout, body_timeout, send_timeout, keepalive_timeout, connect_timeout,
		proxy_send_timeout, read_timeout, lingering_time, lingering_timeout,
		shutdown_timeout;
	const char *lingering; /* lingering_close; NULL: as by default */
	unsigned keepalive_requests, worker_connections;
	bool tls, proxy_protocol, sendfile, reset_timedout, reuseport, log_buffer;
	bool log_clients;  /* addresses and first lines are in the access log, too */
	bool auth;	   /* who asks must have a password: setup_user */
	unsigned body_max; /* client_max_body_size; 0: none */
	unsigned head_buffer;
	bool trailers;	     /* servers of HTTP/2 send some */
	bool more_listeners; /* PORT_IPV6, PORT_UNIX */
	bool dns_tcp;	     /* the name server listens there too */
	bool own_dns;	     /* the scenario brings its own */
	bool http2;
	unsigned h2_streams, h2_preread, h2_recv, h2_chunk; /* 0: as by default */
	struct group_setup groups[GROUPS_MAX];
	unsigned ngroups;
	struct route routes[ROUTES_MAX];
	unsigned nroutes;
};

/* Everything honest and generous: the start for scenarios. One group of one server, routes of each
 * kind. */
void setup_plain(struct setup *s);
/* By the world's seed. honest: no mischief, no limits. */
void setup_draw(struct setup *s, bool honest);
/* What clients of HTTP/2 need; by default, or drawn. */
void setup_http2(struct setup *s, bool draw);
/* tunnel_pass for CONNECT, and WebSocket over HTTP/2. */
void setup_tunnels(struct setup *s);
/* Everything that worlds learned later, drawn: TLS to servers, other addresses. */
void setup_widen(struct setup *s);
/* The text. generation: goes into a header of answers of our own, so that reloads differ. */
void setup_print(const struct setup *s, unsigned generation, struct text *out);
bool route_is_http10(const struct setup *s, const struct route *r);
bool route_is_tls(const struct setup *s, const struct route *r);
/* One more, as setup_plain has them. */
struct route *setup_route(struct setup *s, enum route_kind kind);
const struct route *route_find_kind(const struct setup *s, enum route_kind kind);

#define USERS 24
/* "name:password" of the user of a request, and the lines of the file for all of them. */
const char *setup_user(unsigned ask);
void setup_users_print(struct text *out);

#define FILES 8 /* "/www/N.bin" */
size_t setup_file_size(unsigned n);

#define PORT_PLAIN 80
#define PORT_TLS   443
#define PORT_PROXY 81 /* PROXY protocol */
#define PORT_IPV6  6  /* port 80 of an IPv6 address */
#define PORT_UNIX  1  /* no port at all */
#define PORT_BACK  8000
#define PORT_RAW   20000 /* where the request with id 0 would CONNECT to */
struct place {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
};
struct place setup_listen_addr(unsigned port);
struct place setup_server_addr(unsigned group, unsigned server, enum family family);
/* Where a client of that listener is; NULL: it has no address. */
const struct sockaddr *setup_client_addr(unsigned client, unsigned port);
struct place setup_raw_addr(unsigned id);
struct place setup_dns_addr(void);
