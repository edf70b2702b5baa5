#include "setup.h"
#include <stdio.h>
#include <string.h>
#include "io/sim.h"
#include "link.h"

/* ---- addresses ---- */

static struct place place_ipv4(unsigned a, unsigned b, unsigned c, unsigned port)
{
	return (struct place){.len = sizeof(struct sockaddr_in),
			      .in = {.sin_family = AF_INET,
				     .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(10u << 24 | a << 16 | b << 8 | c)}};
}

/* 2001:db8::a:b:c */
static struct place place_ipv6(unsigned a, unsigned b, unsigned c, unsigned port)
{
	const unsigned words[8] = {0x2001, 0xdb8, 0, 0, 0, a, b, c};
	struct place p = {.len = sizeof(struct sockaddr_in6),
			  .in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)}};

	for (unsigned i = 0; i < 16; i++)
		p.in6.sin6_addr.s6_addr[i] = (uint8_t)(words[i / 2] >> (i % 2 ? 0 : 8));
	return p;
}

static struct place place_unix(const char *path)
{
	struct place p = {.len = sizeof(struct sockaddr_un), .un.sun_family = AF_UNIX};

	snprintf(p.un.sun_path, sizeof(p.un.sun_path), "%s", path);
	return p;
}

struct place setup_listen_addr(unsigned port)
{
	return port == PORT_IPV6   ? place_ipv6(0, 0, 1, PORT_PLAIN)
	       : port == PORT_UNIX ? place_unix("/run/sim.sock")
				   : place_ipv4(0, 0, 1, port);
}

struct place setup_server_addr(unsigned group, unsigned server, enum family family)
{
	char path[32];

	snprintf(path, sizeof(path), "/run/g%u.%u.sock", group, server);
	return family == FAMILY_IPV6   ? place_ipv6(1, group, server + 1, PORT_BACK)
	       : family == FAMILY_UNIX ? place_unix(path)
				       : place_ipv4(1, group, server + 1, PORT_BACK);
}

const struct sockaddr *setup_client_addr(unsigned client, unsigned port)
{
	static struct place p;

	if (port == PORT_UNIX)
		return NULL;
	p = port == PORT_IPV6 ? place_ipv6(2, client / 250, client % 250 + 1, 0)
			      : place_ipv4(2, client / 250, client % 250 + 1, 0);
	return &p.sa;
}

struct place setup_raw_addr(unsigned id)
{
	return place_ipv4(1, 9, 1, PORT_RAW + id);
}

struct place setup_dns_addr(void)
{
	return place_ipv4(0, 0, 53, 53);
}

size_t setup_file_size(unsigned n)
{
	static const size_t sizes[FILES] = {0, 1, 100, 4000, 16384, 16385, 200000, 1 << 20};

	return sizes[n];
}

/* ---- choosing ---- */

struct route *setup_route(struct setup *s, enum route_kind kind)
{
	struct route *r = &s->routes[s->nroutes];

	*r = (struct route){.kind = kind,
			    .buffering = true,
			    .request_buffering = true,
			    .retry_reused = true,
			    .temp_files = true,
			    .next = NEXT_ERROR | NEXT_TIMEOUT,
			    .buffer_size = 4096,
			    .buffers = 8,
			    .body_buffer = 16384};
	snprintf(r->prefix, sizeof(r->prefix), "/%c/", 'a' + s->nroutes);
	s->nroutes++;
	return r;
}

static void setup_times(struct setup *s)
{
	s->header_timeout = 3000;
	s->body_timeout = 3000;
	s->send_timeout = 4000;
	s->keepalive_timeout = 8000;
	s->connect_timeout = 1000;
	s->proxy_send_timeout = 3000;
	s->read_timeout = 3000;
	s->lingering_time = 4000;
	s->lingering_timeout = 1000;
}

void setup_plain(struct setup *s)
{
	*s = (struct setup){.nthreads = 1,
			    .keepalive_requests = 1000,
			    .worker_connections = 512,
			    .tls = true,
			    .proxy_protocol = true,
			    .sendfile = true,
			    .ngroups = 1};
	setup_times(s);
	s->groups[0] = (struct group_setup){.servers[0] = {.weight = 1},
					    .nservers = 1,
					    .balancer = "",
					    .keepalive = 8,
					    .honest = true};
	setup_route(s, ROUTE_PROXY);
	setup_route(s, ROUTE_PROXY)->request_buffering = false;
	setup_route(s, ROUTE_PROXY)->buffering = false;
	setup_route(s, ROUTE_UPGRADE);
	setup_route(s, ROUTE_RETURN);
	setup_route(s, ROUTE_FILES);
}

static unsigned draw_of(const unsigned *list, size_t n)
{
	return list[sim_draw(n)];
}
#define DRAW_OF(...)                                                                               \
	draw_of((const unsigned[]){__VA_ARGS__},                                                   \
		sizeof((unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

static void draw_server(struct server_setup *v, bool honest)
{
	*v = (struct server_setup){.weight = DRAW_OF(1, 1, 1, 2, 5), .max_fails = 0};
	if (honest)
		return;
	v->max_fails = DRAW_OF(0, 0, 1, 3);
	v->max_conns = DRAW_OF(0, 0, 0, 1, 2, 20);
	v->mischief = DRAW_OF(0, 10, 30, 60, 100);
}

static void draw_group(struct group_setup *g, bool honest)
{
	static const char *const balancers[] = {"",
						"",
						"least_conn;",
						"ip_hash;",
						"random;",
						"random two;",
						"hash $request_uri;",
						"hash $request_uri consistent;"};

	*g = (struct group_setup){
		.honest = honest,
		.nservers = 1 + (unsigned)sim_draw(SERVERS_MAX),
		.keepalive = DRAW_OF(0, 1, 4, 32),
		.balancer = balancers[sim_draw(sizeof(balancers) / sizeof(*balancers))]};
	for (unsigned i = 0; i < g->nservers; i++)
		draw_server(&g->servers[i], honest);
	if (g->nservers > 1 && *g->balancer == 0 && sim_chance(2000))
		g->servers[g->nservers - 1].backup = true;
	if (g->nservers > 2 && sim_chance(1000))
		g->servers[0].down = true;
}

static unsigned draw_next(void)
{
	unsigned next = 0;

	if (sim_chance(1000))
		return NEXT_OFF;
	if (sim_chance(5000))
		return NEXT_ERROR | NEXT_TIMEOUT;
	for (unsigned bit = NEXT_ERROR; bit <= NEXT_NON_IDEMPOTENT; bit <<= 1)
		if (sim_chance(bit == NEXT_NON_IDEMPOTENT ? 1000 : 6000))
			next |= bit;
	return next ? next : NEXT_ERROR;
}

static void draw_route(struct setup *s, enum route_kind kind)
{
	struct route *r = setup_route(s, kind);

	r->group = (unsigned)sim_draw(s->ngroups);
	r->buffering = sim_chance(6000);
	r->request_buffering = sim_chance(5000);
	r->intercept = sim_chance(1500);
	r->retry_reused = sim_chance(5000);
	r->http10 = kind == ROUTE_PROXY && sim_chance(1500);
	r->next = draw_next();
	r->tries = DRAW_OF(0, 0, 1, 2, 3);
	r->buffer_size = DRAW_OF(512, 1024, 4096, 4096, 16384);
	r->buffers = DRAW_OF(1, 2, 8, 16);
	r->body_buffer = DRAW_OF(1, 1024, 16384, 65536);
	r->temp_files = sim_chance(6000);
	r->temp_max = DRAW_OF(8192, 65536, 1 << 20, 1 << 26);
	r->ignore_abort = sim_chance(1000);
	r->limit_rate = DRAW_OF(0, 0, 0, 0, 0, 100000, 1000000);
}

static void draw_times(struct setup *s)
{
	s->header_timeout = DRAW_OF(1000, 3000, 7000);
	s->body_timeout = DRAW_OF(1000, 3000, 7000);
	s->send_timeout = DRAW_OF(2000, 4000, 9000);
	s->keepalive_timeout = DRAW_OF(0, 1000, 3000, 15000);
	s->connect_timeout = DRAW_OF(500, 1000, 3000);
	s->proxy_send_timeout = DRAW_OF(1000, 3000);
	s->read_timeout = DRAW_OF(1000, 2000, 5000);
	s->lingering_time = DRAW_OF(1000, 4000);
	s->lingering_timeout = DRAW_OF(500, 1000);
	s->shutdown_timeout = DRAW_OF(0, 0, 500, 10000);
}

void setup_draw(struct setup *s, bool honest)
{
	*s = (struct setup){.nthreads = 1 + (unsigned)sim_draw(3),
			    .keepalive_requests = DRAW_OF(1, 3, 1000, 1000),
			    .worker_connections = 2048,
			    .tls = true,
			    .proxy_protocol = true,
			    .sendfile = sim_chance(7000),
			    .reset_timedout = sim_chance(2000),
			    .reuseport = sim_chance(2500),
			    .log_buffer = sim_chance(2000),
			    .body_max = DRAW_OF(0, 0, 100000),
			    .head_buffer = DRAW_OF(1024, 1024, 256),
			    .ngroups = 1 + (unsigned)sim_draw(GROUPS_MAX)};
	draw_times(s);
	for (unsigned i = 0; i < s->ngroups; i++)
		draw_group(&s->groups[i], honest || sim_chance(2500));
	for (unsigned i = 0, n = 2 + (unsigned)sim_draw(6); i < n; i++)
		draw_route(s, ROUTE_PROXY);
	for (unsigned i = 0, n = 1 + (unsigned)sim_draw(2); i < n; i++)
		draw_route(s, ROUTE_UPGRADE);
	draw_route(s, ROUTE_NAME);
	setup_route(s, ROUTE_RETURN);
	setup_route(s, ROUTE_FILES);
}

void setup_http2(struct setup *s, bool draw)
{
	s->http2 = true;
	if (!draw)
		return;
	for (unsigned i = 1; i < s->ngroups; i++) /* names lead to the first group */
		s->groups[i].http2 = sim_chance(6000);
	for (unsigned i = 0; i < s->nroutes; i++)
		if (s->routes[i].kind == ROUTE_UPGRADE)
			s->groups[s->routes[i].group].http2 = false;
	s->h2_streams = DRAW_OF(0, 0, 1, 3, 10);
	s->h2_preread = DRAW_OF(0, 1, 1000, 65536);
	s->h2_recv = DRAW_OF(0, 16, 4096, 65536);
	s->h2_chunk = DRAW_OF(0, 0, 100, 16384);
}

static void widen_group(struct setup *s, unsigned nth)
{
	struct group_setup *g = &s->groups[nth];

	g->tls = sim_chance(4000);
	g->automatic = g->tls && sim_chance(4000);
	if (g->automatic)
		g->http2 = false;
	for (unsigned i = 0; i < g->nservers; i++) {
		struct server_setup *v = &g->servers[i];

		v->family = sim_chance(5000) ? FAMILY_IPV4 : (enum family)sim_draw(3);
		v->chooses_h2 = sim_chance(5000);
		if (!g->honest && sim_chance(2000))
			v->cert = (unsigned)sim_draw(CERT_END);
	}
}

void setup_tunnels(struct setup *s)
{
	setup_route(s, ROUTE_CONNECT);
}

void setup_widen(struct setup *s)
{
	s->more_listeners = true;
	s->dns_tcp = sim_chance(5000);
	s->trailers = sim_chance(5000);
	for (unsigned i = 0; i < s->ngroups; i++)
		widen_group(s, i);
	if (sim_chance(6000))
		setup_tunnels(s);
	for (unsigned i = 0; i < s->nroutes; i++) {
		struct route *r = &s->routes[i];

		r->ssl_verify = sim_chance(5000);
		r->ssl_forget = sim_chance(2000);
		r->ssl_only_13 = sim_chance(1500);
		r->trailers = sim_chance(5000);
	}
}

const struct route *route_find_kind(const struct setup *s, enum route_kind kind)
{
	for (unsigned i = 0; i < s->nroutes; i++)
		if (s->routes[i].kind == kind)
			return &s->routes[i];
	return NULL;
}

/* ---- the text ---- */

static void print_server_name(unsigned group, unsigned server, enum family family, struct text *out)
{
	struct place p = setup_server_addr(group, server, family);

	if (family == FAMILY_UNIX)
		text_printf(out, "unix:%s", p.un.sun_path);
	else if (family == FAMILY_IPV6)
		text_printf(out, "[2001:db8::1:%x:%x]:%u", group, server + 1, PORT_BACK);
	else
		text_printf(out, "10.1.%u.%u:%u", group, server + 1, PORT_BACK);
}

static void print_group(const struct group_setup *g, unsigned nth, struct text *out)
{
	text_printf(out, "upstream g%u { %s\n", nth, g->balancer);
	if (g->name) {
		text_printf(out, "  server %s:%u resolve; resolver 10.0.0.53 ipv6=off", g->name,
			    PORT_BACK);
		if (g->name_valid)
			text_printf(out, " valid=%us", g->name_valid);
		text_printf(out, "; resolver_timeout 3s;\n");
	}
	for (unsigned i = 0; i < g->nservers && !g->name; i++) {
		const struct server_setup *v = &g->servers[i];

		text_printf(out, "  server ");
		print_server_name(nth, i, v->family, out);
		text_printf(out, " weight=%u max_fails=%u fail_timeout=2s", v->weight,
			    v->max_fails);
		if (v->max_conns)
			text_printf(out, " max_conns=%u", v->max_conns);
		text_printf(out, "%s%s;\n", v->backup ? " backup" : "", v->down ? " down" : "");
	}
	if (g->keepalive)
		text_printf(out, "  keepalive %u; keepalive_timeout %ums;\n", g->keepalive,
			    GROUP_IDLE_MS);
	else
		text_printf(out, "  keepalive 0;\n");
	text_printf(out, "}\n");
}

static void print_next(unsigned next, struct text *out)
{
	static const char *const words[] = {"error",	"timeout",  "invalid_header", "http_500",
					    "http_502", "http_503", "http_504",	      "http_403",
					    "http_404", "http_429", "non_idempotent", "off"};

	text_printf(out, " proxy_next_upstream");
	for (unsigned i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (next & 1u << i)
			text_printf(out, " %s", words[i]);
	text_printf(out, ";\n");
}

static const char *route_version(const struct setup *s, const struct route *r)
{
	if (r->kind != ROUTE_NAME && s->groups[r->group].automatic)
		return "auto";
	if (r->kind != ROUTE_NAME && s->groups[r->group].http2)
		return "2";
	return r->http10 ? "1.0" : "1.1";
}

bool route_is_http10(const struct setup *s, const struct route *r)
{
	return strcmp(route_version(s, r), "1.0") == 0;
}

/* Names lead to the servers of the first group. */
bool route_is_tls(const struct setup *s, const struct route *r)
{
	return s->groups[r->kind == ROUTE_NAME ? 0 : r->group].tls;
}

static void print_proxy(const struct setup *s, const struct route *r, struct text *out)
{
	text_printf(out,
		    "  proxy_buffering %s; proxy_request_buffering %s; proxy_http_version %s;\n",
		    r->buffering ? "on" : "off", r->request_buffering ? "on" : "off",
		    route_version(s, r));
	text_printf(out,
		    "  proxy_buffer_size %u; proxy_buffers %u %u; client_body_buffer_size %u;\n",
		    r->buffer_size, r->buffers, r->buffer_size, r->body_buffer);
	text_printf(out,
		    "  proxy_max_temp_file_size %u; proxy_retry_reused %s; "
		    "proxy_next_upstream_tries %u;\n",
		    r->temp_files ? r->temp_max : 0, r->retry_reused ? "on" : "off", r->tries);
	text_printf(out, " ");
	print_next(r->next, out);
	if (r->intercept)
		text_printf(out,
			    "  proxy_intercept_errors on; error_page 404 502 503 504 /oops;\n");
	if (r->ignore_abort)
		text_printf(out, "  proxy_ignore_client_abort on;\n");
	if (r->limit_rate)
		text_printf(out, "  proxy_limit_rate %u;\n", r->limit_rate);
	if (r->trailers)
		text_printf(out, "  proxy_pass_trailers on;\n");
	if (!route_is_tls(s, r))
		return;
	text_printf(out, "  proxy_ssl_session_reuse %s; proxy_ssl_protocols%s TLSv1.3;\n",
		    r->ssl_forget ? "off" : "on", r->ssl_only_13 ? "" : " TLSv1.2");
	if (r->ssl_verify)
		text_printf(out, "  proxy_ssl_verify on; "
				 "proxy_ssl_trusted_certificate /conf/issuer.crt;\n");
}

static void print_resolver(const struct route *r, struct text *out)
{
	if (!r->dns_timeout) {
		text_printf(out, "  resolver 10.0.0.53 valid=3s ipv6=off; resolver_timeout 1s;\n");
		return;
	}
	text_printf(out, "  resolver 10.0.0.53 ipv6=%s", r->dns_ipv6 ? "on" : "off");
	if (r->dns_valid)
		text_printf(out, " valid=%us", r->dns_valid);
	text_printf(out, "; resolver_timeout %ums;\n", r->dns_timeout);
}

static void print_route(const struct setup *s, const struct route *r, struct text *out)
{
	const char *scheme = route_is_tls(s, r) ? "https" : "http";

	if (r->kind == ROUTE_CONNECT) {
		text_printf(
			out,
			" tunnel_pass; tunnel_connect_timeout %ums; tunnel_read_timeout %ums;\n",
			s->connect_timeout, s->read_timeout);
		return;
	}
	text_printf(out, " location %s {\n", r->prefix);
	if (r->lingering_time)
		text_printf(out, "  lingering_time %ums; lingering_timeout %ums;\n",
			    r->lingering_time, r->lingering_timeout);
	if (r->refuse_ms)
		text_printf(out,
			    "  auth_basic sim; auth_basic_user_file /users; auth_delay %ums;\n",
			    r->refuse_ms);
	switch (r->kind) {
	case ROUTE_PROXY:
		print_proxy(s, r, out);
		text_printf(out, "  proxy_set_header Connection \"\"; proxy_pass %s://g%u;\n",
			    scheme, r->group);
		break;
	case ROUTE_UPGRADE:
		print_proxy(s, r, out);
		text_printf(out,
			    "  proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "
			    "upgrade;\n"
			    "  proxy_pass %s://g%u;\n",
			    scheme, r->group);
		break;
	case ROUTE_NAME:
		print_proxy(s, r, out);
		print_resolver(r, out);
		text_printf(out,
			    "  proxy_set_header Connection \"\"; proxy_pass %s://$arg_host:%u;\n",
			    scheme, PORT_BACK);
		break;
	case ROUTE_RETURN:
		text_printf(out, "  add_header X-Id $http_x_id; add_header X-Try 0;\n"
				 "  return 200 \"id=$http_x_id\";\n");
		break;
	case ROUTE_CONNECT:
		break;
	case ROUTE_FILES:
		text_printf(out,
			    "  add_header X-Id $http_x_id; add_header X-Try 0; alias /www/;\n");
		break;
	}
	text_printf(out, " }\n");
}

static void print_listen(const struct setup *s, struct text *out)
{
	const char *more = s->reuseport ? " reuseport" : "";

	text_printf(out, " listen 10.0.0.1:%u%s;\n", PORT_PLAIN, more);
	if (s->proxy_protocol)
		text_printf(out, " listen 10.0.0.1:%u proxy_protocol%s;\n", PORT_PROXY, more);
	if (s->more_listeners)
		text_printf(out, " listen [2001:db8::1]:%u%s; listen unix:/run/sim.sock;\n",
			    PORT_PLAIN, more);
	if (s->tls)
		text_printf(out,
			    " listen 10.0.0.1:%u ssl%s;\n"
			    " ssl_certificate /conf/sim.crt; ssl_certificate_key /conf/sim.key;\n",
			    PORT_TLS, more);
}

static void print_http2(const struct setup *s, struct text *out)
{
	static const char *const names[] = {"http2_max_concurrent_streams",
					    "http2_body_preread_size", "http2_recv_buffer_size",
					    "http2_chunk_size"};
	const unsigned values[] = {s->h2_streams, s->h2_preread, s->h2_recv, s->h2_chunk};

	if (s->http2)
		text_printf(out, " http2 on;%s\n",
			    route_find_kind(s, ROUTE_CONNECT) ? " http2_extended_connect on;" : "");
	for (unsigned i = 0; i < 4; i++)
		if (values[i])
			text_printf(out, " %s %u;\n", names[i], values[i]);
}

static void print_http(const struct setup *s, struct text *out)
{
	text_printf(out,
		    "log_format sim "
		    "'$http_x_id|$status|$body_bytes_sent|$bytes_sent|$request_completion|"
		    "$request_time|$request_method|$upstream_addr|$upstream_status|$request_"
		    "end_reason%s';\n",
		    s->log_clients ? "|$remote_addr|$request" : "");
	text_printf(out, "access_log /logs/access.log sim%s;\n",
		    s->log_buffer ? " buffer=4k flush=1s" : "");
	text_printf(out,
		    "client_header_timeout %ums; client_body_timeout %ums; send_timeout %ums;\n",
		    s->header_timeout, s->body_timeout, s->send_timeout);
	text_printf(out,
		    "keepalive_timeout %ums; keepalive_requests %u; client_max_body_size %u;\n",
		    s->keepalive_timeout, s->keepalive_requests, s->body_max);
	text_printf(out, "lingering_time %ums; lingering_timeout %ums; sendfile %s;\n",
		    s->lingering_time, s->lingering_timeout, s->sendfile ? "on" : "off");
	if (s->lingering)
		text_printf(out, "lingering_close %s;\n", s->lingering);
	text_printf(out, "reset_timedout_connection %s;\n", s->reset_timedout ? "on" : "off");
	if (s->head_buffer)
		text_printf(out,
			    "client_header_buffer_size %u; large_client_header_buffers 4 8k;\n",
			    s->head_buffer);
	text_printf(
		out,
		"proxy_connect_timeout %ums; proxy_send_timeout %ums; proxy_read_timeout %ums;\n",
		s->connect_timeout, s->proxy_send_timeout, s->read_timeout);
	text_printf(out,
		    "proxy_temp_path /tmp/proxy; client_body_temp_path /tmp/body; root /www;\n");
}

const char *setup_user(unsigned ask)
{
	static char text[32];

	snprintf(text, sizeof(text), "user%u:secret%u", ask % USERS, ask % USERS);
	return text;
}

void setup_users_print(struct text *out)
{
	for (unsigned i = 0; i < USERS; i++)
		text_printf(out, "user%u:{PLAIN}secret%u\n", i, i);
}

void setup_print(const struct setup *s, unsigned generation, struct text *out)
{
	text_printf(out, "worker_processes %u; error_log /logs/error.log info; pid /run/sim.pid;\n",
		    s->nthreads);
	if (s->shutdown_timeout)
		text_printf(out, "worker_shutdown_timeout %ums;\n", s->shutdown_timeout);
	text_printf(out, "events { worker_connections %u; }\nhttp {\n", s->worker_connections);
	print_http(s, out);
	for (unsigned i = 0; i < s->ngroups; i++)
		print_group(&s->groups[i], i, out);
	text_printf(out, "server {\n");
	print_listen(s, out);
	print_http2(s, out);
	if (s->auth)
		text_printf(out, " auth_basic sim; auth_basic_user_file /users;\n");
	for (unsigned i = 0; i < s->nroutes; i++)
		print_route(s, &s->routes[i], out);
	text_printf(out, " location = /oops { internal; return 599 \"oops %u\"; }\n}\n}\n",
		    generation);
}
