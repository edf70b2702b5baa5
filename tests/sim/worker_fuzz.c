/* Whole connections through a real worker on the simulator. The input is a play: what clients send
 * and do, what servers say and do, how time passes. Whatever it is:
 *  - the worker does not crash, and comes to rest when the play is over: no connection, no
 * coroutine, no object of memory more than before, no server counted as busy;
 *  - what it sends to a server is nothing but whole requests by our own parser, until it is cut
 * off: whoever gets a second request past it has found a way to smuggle;
 *  - what it sends to a client of HTTP/1 begins with a status line.
 *
 * One worker lives through all plays; the world's randomness begins anew with each, so that a play
 * alone shows again what it showed. */
#define SLUICE_SIM /* the count of what is out is in the simulator's copy of base/ */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/pool.h"
#include "conf/snapshot.h"
#include "http/h1.h"
#include "io/loop.h"
#include "io/sim.h"
#include "link.h"
#include "main/load.h"
#include "main/modules.h"
#include "main/threads.h"
#include "net/listener.h"
#include "opener_sim.h"
#include "proxy/group.h"
#include "serve/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PORT	   80
#define PORT_PROXY 81
#define PORT_H2	   82
#define CLIENTS	   4
#define SERVERS	   16		/* connections of the worker to servers, in one play */
#define SAY_MAX	   4096		/* bytes of one line of a play */
#define REST_US	   70000000	/* longer than every time-out of the configuration */
#define STREAM_MAX (256 * 1024) /* bytes of requests that are looked at */

static const char conf[] =
	"worker_processes 1; error_log /logs/error.log crit; pid /run/sim.pid;\n"
	"events { worker_connections 512; }\n"
	"http { access_log off; client_header_timeout 5s; client_body_timeout 5s;\n"
	" send_timeout 5s; keepalive_timeout 5s; lingering_time 3s; lingering_timeout 1s;\n"
	" proxy_connect_timeout 5s; proxy_read_timeout 5s; proxy_send_timeout 5s;\n"
	" proxy_temp_path /tmp/proxy; client_body_temp_path /tmp/body; root /www;\n"
	" client_header_buffer_size 256; large_client_header_buffers 4 1k; client_max_body_size "
	"64k;\n"
	" upstream u { server 10.1.1.1:8000 max_fails=0; server 10.1.1.2:8000 max_fails=0; "
	"keepalive 4;\n"
	"  keepalive_timeout 5s; }\n"
	" upstream v { server 10.1.1.3:8000 max_fails=0; keepalive_timeout 5s; }\n"
	" server { listen 10.0.0.1:80; listen 10.0.0.1:81 proxy_protocol;\n"
	"  listen 10.0.0.1:82 http2; http2_recv_buffer_size 64k; http2_extended_connect on;\n"
	"  proxy_set_header Connection \"\"; proxy_set_header Host $host;\n"
	"  location / { proxy_pass http://u; }\n"
	"  location /d/ { proxy_pass http://u/x/; proxy_buffering off; proxy_request_buffering "
	"off; }\n"
	"  location /s/ { proxy_pass http://u; proxy_buffer_size 512; proxy_buffers 2 512;\n"
	"   client_body_buffer_size 64; proxy_intercept_errors on; error_page 404 502 /e; }\n"
	"  location /w/ { proxy_pass http://u; proxy_set_header Upgrade $http_upgrade;\n"
	"   proxy_set_header Connection upgrade; proxy_request_buffering off; }\n"
	"  location /n/ { proxy_pass http://u; proxy_next_upstream error timeout http_500 "
	"non_idempotent; }\n"
	"  location /h/ { proxy_pass http://v; proxy_http_version 2; }\n"
	"  location /i/ { proxy_pass http://v; proxy_http_version 2; proxy_buffering off;\n"
	"   proxy_request_buffering off; proxy_set_header Upgrade $http_upgrade;\n"
	"   proxy_set_header Connection upgrade; }\n"
	"  location /f/ { alias /www/; } location /e { return 200 sorry; }\n"
	"  location /r/ { rewrite ^/r/(.*)$ /$1?a=$1 last; } } }\n";

static const struct cmdline cmd = {.prefix = SPAN_INIT("/"),
				   .conf = SPAN_INIT("/conf/nginx.conf"),
				   .conf_prefix = SPAN_INIT("/conf/")};
static bool serving;

/* ---- the other ends ---- */

struct end {
	struct sim_conn *c; /* NULL: none, or over */
	bool connected, h2;
	size_t heard; /* bytes from the worker */
	char first[8];
	char *stream;	    /* server: what the worker sent */
	const uint8_t *say; /* what does not go at once is said later */
	size_t nsay;
};
static struct end clients[CLIENTS], servers[SERVERS];
static unsigned nservers;
static bool servers_speak_h2; /* its address says so of a listener */

static void end_close(struct end *e, bool reset)
{
	if (!e->c)
		return;
	if (reset)
		sim_conn_reset(e->c);
	sim_conn_free(e->c);
	e->c = NULL;
}

static void end_say(struct end *e)
{
	size_t n = e->c && e->nsay ? sim_conn_write(e->c, e->say, e->nsay) : 0;

	if (n) {
		e->say += n;
		e->nsay -= n;
	}
}

static void end_hear(struct end *e, const char *p, size_t n)
{
	if (e->heard < sizeof(e->first))
		memcpy(e->first + e->heard, p, MIN_OF(n, sizeof(e->first) - e->heard));
	if (e->stream && e->heard < STREAM_MAX)
		memcpy(e->stream + e->heard, p, MIN_OF(n, STREAM_MAX - e->heard));
	e->heard += n;
}

static void on_connected(struct sim_conn *c)
{
	struct end *e = sim_conn_owner(c);

	e->connected = true;
	end_say(e);
}

static void on_refused(struct sim_conn *c, int err)
{
	((struct end *)sim_conn_owner(c))->c = NULL;
}

static void on_readable(struct sim_conn *c)
{
	struct end *e = sim_conn_owner(c);
	char p[4096];
	ssize_t n;

	while ((n = sim_conn_read(c, p, sizeof(p))) > 0)
		end_hear(e, p, (size_t)n);
	if (n < 0)
		end_close(e, false);
}

static void on_writable(struct sim_conn *c)
{
	end_say(sim_conn_owner(c));
}

static void on_reset(struct sim_conn *c)
{
	end_close(sim_conn_owner(c), false);
}

static const struct sim_conn_ops ops = {on_connected, on_refused, on_readable, on_writable,
					on_reset};

static void on_accepted(struct sim_listener *l, struct sim_conn *c)
{
	struct end *e;

	if (nservers == SERVERS) {
		sim_conn_free(c);
		return;
	}
	e = &servers[nservers++];
	*e = (struct end){.c = c,
			  .connected = true,
			  .h2 = sim_listener_owner(l),
			  .stream = malloc(STREAM_MAX)};
	BUG_ON(!e->stream);
	sim_conn_set(c, &ops, e);
}

/* ---- the worker ---- */

static struct snapshot *first;

static void switched(void)
{
	serve_close_listeners(first);
	net_conn_ceiling(512);
	snapshot_drop_loader(first);
	serving = true;
}

static void begin(void)
{
	static struct sim_options o = {.seed = 1,
				       .latency_min_us = 10,
				       .latency_max_us = 300,
				       .sndbuf_min = 2048,
				       .sndbuf_max = 32768};
	static struct settings settings = {.nthreads = 1};
	static struct opener_sim opener;
	struct load_args args = {.cmd = &cmd,
				 .opener = &opener.opener,
				 .nthreads = 1,
				 .generation = 1,
				 .report = REPORT_LOG};

	modules_init();
	o.trace = getenv("SLUICE_TRACE"); /* to read what a play does */
	sim_start(&o);
	sim_libraries_follow(false);
	io_clock_init();
	sim_file_put("/www/a", "0123456789", 10);
	for (unsigned i = 1; i <= 3; i++) {
		struct sockaddr_in sa = {.sin_family = AF_INET,
					 .sin_port = htons(8000),
					 .sin_addr.s_addr = htonl(0x0a010100u | i)};

		sim_listen((struct sockaddr *)&sa, sizeof(sa), on_accepted,
			   i == 3 ? &servers_speak_h2 : NULL);
	}
	BUG_ON(threads_start(&settings, 1) < 0);
	args.snapshot = snapshot_new(1, 1);
	opener_sim_init(&opener, SPAN(conf), args.snapshot);
	first = load_config(&args, NULL);
	BUG_ON(!first);
	threads_switch(first, switched);
	while (!serving)
		io_loop_turn(UINT64_MAX);
}

static void due(struct sim_timer *t)
{
}

/* Turns until that time. */
static void let_pass(uint64_t us)
{
	struct sim_timer t = {.run = due};
	uint64_t until = sim_now_us() + us;

	sim_timer_start(&t, until);
	while (sim_now_us() < until)
		io_loop_turn((until - sim_now_us()) / 1000 + 1);
	sim_timer_stop(&t);
}

/* ---- the play ---- */

struct play {
	const uint8_t *p, *end;
};

static uint8_t play_byte(struct play *y)
{
	return y->p < y->end ? *y->p++ : 0;
}

/* A length in one byte, or in two when the first has its high bit; then so many bytes. */
static void play_text(struct play *y, struct end *e)
{
	size_t n = play_byte(y);

	if (n & 0x80)
		n = (n & 0x7f) << 8 | play_byte(y);
	n = MIN_OF(MIN_OF(n, (size_t)(y->end - y->p)), (size_t)SAY_MAX);
	if (e->c && !e->nsay) {
		e->say = y->p;
		e->nsay = n;
		if (e->connected)
			end_say(e);
	}
	y->p += n;
}

static void client_begin(struct end *e, unsigned port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(0x0a000001u)};

	if (e->c)
		return;
	*e = (struct end){.h2 = port == PORT_H2};
	e->c = sim_connect(NULL, (struct sockaddr *)&sa, sizeof(sa), &ops, e);
}

enum {
	OP_CLIENT_SAYS,
	OP_SERVER_SAYS,
	OP_TIME,
	OP_CLIENT_ENDS,
	OP_SERVER_ENDS,
	OP_CLIENT_BEGINS,
	OP_TIME_LONG,
	OPS
};

static void play_one(struct play *y)
{
	uint8_t op = play_byte(y), which = op >> 3;
	struct end *c = &clients[which % CLIENTS];
	/* the connection that was made last is 0: plays need not count them */
	struct end *s = &servers[(nservers + SERVERS - 1 - which % SERVERS) % SERVERS];

	switch (op % 8) {
	case OP_CLIENT_SAYS:
		client_begin(c, PORT);
		play_text(y, c);
		break;
	case OP_SERVER_SAYS:
		play_text(y, s);
		break;
	case OP_TIME:
		let_pass((uint64_t)play_byte(y) * 50);
		break;
	case OP_CLIENT_ENDS:
	case OP_SERVER_ENDS:
		c = op % 8 == OP_CLIENT_ENDS ? c : s;
		if (which & 16 && c->c)
			sim_conn_shutdown(c->c);
		else
			end_close(c, which & 8);
		break;
	case OP_CLIENT_BEGINS:
		client_begin(c, which & 16 ? PORT_PROXY : which & 8 ? PORT_H2 : PORT);
		break;
	default:
		let_pass((uint64_t)play_byte(y) * 50000);
	}
}

/* ---- afterwards ---- */

/* The bytes of a chunked body that are there; -1: not whole, -2: broken. */
static ssize_t chunked_length(struct span in, struct arena *a)
{
	struct h1_limits lim = {SAY_MAX, STREAM_MAX, 1000, false, true};
	struct h1_parser p;
	struct hdrs trailers;
	struct chunked k;
	size_t at = 0, used;

	chunked_init(&k);
	for (;;) {
		struct span data;
		enum chunked_result r = chunked_next(&k, in.p + at, in.n - at, &used, &data);

		at += used;
		if (r == CHUNKED_BAD)
			return -2;
		if (r == CHUNKED_MORE)
			return -1;
		if (r == CHUNKED_LAST)
			break;
	}
	h1_parser_init(&p);
	hdrs_init(&trailers, a);
	switch (h1_parse_trailers(&p, in.p + at, in.n - at, &lim, &trailers, &used)) {
	case H1_DONE:
		return (ssize_t)(at + used);
	case H1_MORE:
		return -1;
	default:
		return -2;
	}
}

/* The request at the front of in: its bytes; 0: not whole, it was cut off, or a tunnel follows. */
static size_t request_check(struct span in, struct arena *a)
{
	struct h1_limits lim = {SAY_MAX, STREAM_MAX, 1000, false, true};
	struct http_request req = {0};
	struct h1_parser p;
	size_t used = 0;
	ssize_t n;
	int rc;

	h1_parser_init(&p);
	hdrs_init(&req.headers, a);
	rc = h1_parse_request(&p, in.p, in.n, &lim, &req, &used);
	if (rc < 0) /* the worker sent what we would refuse */
		sim_broken("request", "%.*s: %.*s", SPAN_ARG(fail_name((enum fail) - rc)),
			   SPAN_ARG(in));
	if (rc == H1_MORE || req.upgrade)
		return 0;
	in = span_cut(in, used, in.n);
	if (req.chunked) {
		n = chunked_length(in, a);
		BUG_ON(n == -2);
		return n < 0 ? 0 : used + (size_t)n;
	}
	if (req.content_length > 0 && in.n < (uint64_t)req.content_length)
		return 0;
	return used + (size_t)MAX_OF(req.content_length, 0);
}

static void requests_check(struct end *e)
{
	struct span in = span_make(e->stream, MIN_OF(e->heard, (size_t)STREAM_MAX));
	struct arena a;
	size_t n;

	arena_init(&a, 1 << 22);
	while (!e->h2 && in.n && (n = request_check(in, &a)) > 0)
		in = span_cut(in, n, in.n);
	arena_fini(&a);
	free(e->stream);
	e->stream = NULL;
}

static void peer_rests(struct peer *p, void *arg)
{
	BUG_ON(p->active || p->idle);
}

static void rest_check(void)
{
	struct serve_counters k;

	serve_counters_get(&k);
	if (k.active || k.reading || k.writing || k.waiting)
		sim_broken("counter", "active %llu reading %llu writing %llu waiting %llu",
			   (unsigned long long)k.active, (unsigned long long)k.reading,
			   (unsigned long long)k.writing, (unsigned long long)k.waiting);
	if (co_sched.live)
		sim_broken("coroutine", "%u are left", co_sched.live);
	peers_each(peer_rests, NULL);
}

static void play_all(struct play y)
{
	sim_reseed((uint64_t)(y.end - y.p));
	nservers = 0;
	memset(servers, 0, sizeof(servers));
	while (y.p < y.end)
		play_one(&y);
	let_pass(2000);
	for (unsigned i = 0; i < CLIENTS; i++) {
		end_close(&clients[i], false);
		if (clients[i].heard >= 5 && !clients[i].h2)
			BUG_ON(memcmp(clients[i].first, "HTTP/", 5) != 0);
		clients[i] = (struct end){0};
	}
	let_pass(REST_US);
	for (unsigned i = 0; i < nservers; i++) {
		end_close(&servers[i], false);
		requests_check(&servers[i]);
	}
	let_pass(1000);
	rest_check();
}

/* What a play leaves once is a cache that had been empty; what it leaves each time is a leak. */
static void leak_check(struct play y)
{
	static size_t most;

	if (mem_out().objects <= most)
		return;
	play_all(y);
	most = mem_out().objects;
	play_all(y);
	BUG_ON(mem_out().objects > most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct play y = {data, data + size};

	if (!serving)
		begin();
	play_all(y);
	leak_check(y);
	return 0;
}
