#include "base/mutant.h"
#include "serve/conn.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include "base/pool.h"
#include "serve/cert_names.h"
#include "serve/error_log.h"
#include "serve/req_internal.h"
#include "serve/h2_conf.h"
#include "serve/h2_conn.h"
#include "serve/serve.h"
#include "serve/tunnel.h"

#define CONNS_KEEP   1024 /* free conn structs kept per thread */
#define LINGER_CHUNK 16384
#define LINGER_READS 8 /* in a turn */
/* ms, as by default: of connections whose port is not configured any more */
#define LINGER_TIME    30000
#define LINGER_TIMEOUT 5000
#define DRAIN_GRACE                                                                                \
	1000 /* ms since its last byte in which a connection is likely to send its next request */

static _Thread_local struct {
	struct slab slab;
	struct list all;
	unsigned count;
	bool ready, draining, aborted;
	struct conn_counters counters;
} conns;
_Thread_local void (*conns_empty)(void);

static _Atomic uint64_t conn_numbers;
static struct conn_counters *_Atomic all_counters[THREADS_MAX];

static void conn_event(struct iofd *f);
static void conn_timeout(struct timer *t);
static void conn_main(void *arg);

struct conn_counters *conn_counters(void)
{
	return &conns.counters;
}

unsigned conns_count(void)
{
	return conns.count;
}

bool conns_draining(void)
{
	return conns.draining;
}

static void conns_init(void)
{
	if (conns.ready)
		return;
	slab_init(&conns.slab, sizeof(struct conn), CONNS_KEEP);
	list_init(&conns.all);
	atomic_store(&all_counters[io_loop_index()], &conns.counters);
	conns.ready = true;
}

void conns_thread_fini(void)
{
	if (conns.ready && conns.count == 0) {
		atomic_store(&all_counters[io_loop_index()], NULL);
		slab_fini(&conns.slab);
		conns.ready = false;
	}
}

const struct sockaddr *conn_peer(const struct conn *c)
{
	return &c->peer.sa;
}

int conn_local(struct conn *c, struct net_addr *out)
{
	socklen_t len = sizeof(out->un);
	int rc = sys->getsockname(c->stream.io.fd, &out->sa, &len);

	out->len = len;
	return rc;
}

struct http_port *conn_port(struct conn *c)
{
	struct snapshot *s = snapshot_current();
	struct http_main *m = s ? s->http : NULL;
	struct http_port *port;
	struct net_addr local;

	if (!m)
		return NULL;
	port = http_port_find(m, c->listener, NULL);
	if (!port || !port->covered || conn_local(c, &local) < 0)
		return port;
	return http_port_find(m, c->listener, &local.sa);
}

/* Messages about a connection without a request. */
struct conn_logger {
	struct logger logger;
	const struct conn *conn;
};

static size_t conn_log_context(const struct logger *l, char *p, size_t size)
{
	const struct conn *c = CONTAINER_OF(l, struct conn_logger, logger)->conn;
	char ip[ADDR_TEXT_MAX];
	size_t n = addr_format_ip(conn_peer(c), ip, sizeof(ip));
	int len = snprintf(p, size, ", client: %.*s, server: %.*s", (int)n, ip,
			   SPAN_ARG(c->listener->spec.name));

	return len < 0 ? 0 : MIN_OF((size_t)len, size);
}

void conn_log(struct conn *c, enum log_level level, const char *what, struct span detail)
{
	struct http_port *port = conn_port(c);
	struct conn_logger l = {.logger = {.connection = c->number, .context = conn_log_context},
				.conn = c};

	if (!port)
		return;
	l.logger.sinks = error_log_of(port->default_server->scope)->sinks;
	log_msg(&l.logger, level, 0, "%s%.*s", what, SPAN_ARG(detail));
}

/* Read without a lock: each number is whole, their sum is of about this moment. */
void conns_counters_sum(struct serve_counters *out)
{
	*out = (struct serve_counters){.active = net_conn_total()};
	for (unsigned i = 0; i < THREADS_MAX; i++) {
		const struct conn_counters *k = atomic_load(&all_counters[i]);

		if (!k)
			continue;
		out->accepted += k->accepted;
		out->handled += k->handled;
		out->requests += k->requests;
		out->reading += (uint64_t)k->reading;
		out->writing += (uint64_t)k->writing;
		out->waiting += (uint64_t)k->waiting;
	}
}

/* ---- the end ---- */

void conn_close(struct conn *c, bool reset)
{
	timer_stop(&co_sched.wheel, &c->timer);
	if (c->state == CONN_IDLE)
		COUNT_DOWN(conns.counters.waiting);
	c->state = CONN_CLOSED;
	if (reset)
		stream_reset(&c->stream);
	else
		stream_close(&c->stream);
	if (c->h2)
		h2_conn_free(c);
	inbuf_free(&c->in);
	mem_free(c->extra);
	listener_unref(c->listener);
	list_del(&c->link);
	slab_give(&conns.slab, c);
	conns.count--;
	net_conn_closed();
	if (conns.draining && conns.count == 0 && conns_empty && !MUTANT(never_ends))
		conns_empty();
}

/* ---- parked ---- */

static int64_t conn_head_timeout(const struct http_port *port)
{
	const struct core_srv *srv = conf_get(port->default_server->scope, &core_srv_mod);

	return srv->client_header_timeout;
}

/* timeout_ms counts from since_ms; 0: none. */
static void conn_park(struct conn *c, enum conn_state state, int64_t timeout_ms, uint64_t since_ms)
{
	c->state = (uint8_t)state;
	c->co = NULL;
	c->req = NULL;
	c->parked_ms = since_ms;
	if (inbuf_len(&c->in) == 0)
		inbuf_free(&c->in);
	if (state == CONN_IDLE)
		COUNT_UP(conns.counters.waiting);
	if (timeout_ms > 0)
		timer_hold(&co_sched.wheel, &c->timer,
			   since_ms + (uint64_t)timeout_ms -
				   (MUTANT(early_deadline) && state == CONN_FRESH ? 200 : 0));
	if (iofd_register(&c->stream.io) < 0)
		conn_close(c, false);
}

/* When the connection closes if nothing more comes. */
static uint64_t conn_linger_due(const struct conn *c)
{
	return MIN_OF(c->parked_ms + c->linger_ms, c->linger_until);
}

/* Closing with input that was not read would reset the connection, and the client might lose the
 * answer; so all there is goes, a little in each turn. */
static void conn_linger_event(struct conn *c)
{
	static _Thread_local char scratch[LINGER_CHUNK];
	ssize_t n = 0;

	if (!c->shut)
		c->shut = stream_shutdown(&c->stream) != -EAGAIN;
	c->stream.io.parked_writes = !c->shut;
	for (int i = 0; i < LINGER_READS && n >= 0; i++) {
		n = stream_recv(&c->stream, scratch, sizeof(scratch));
		if ((n <= 0 && n != -EAGAIN) || (n > 0 && io_now_ms() >= c->linger_until)) {
			conn_close(c, false);
			return;
		}
		if (n > 0)
			c->parked_ms = io_now_ms();
	}
	/* No event will tell of what is left. */
	timer_start(&co_sched.wheel, &c->timer, n >= 0 ? io_now_ms() : conn_linger_due(c));
}

/* The client has gone while its request is being served. A half-close ends only requests that wait
 * for an upstream, as in nginx: a client that has said all it has to say may still read an answer
 * of our own. */
static void conn_abandoned(struct conn *c)
{
	uint8_t ready = c->stream.io.ready;

	if (!c->co || !c->req || c->cancelled || c->req->ignore_client_abort)
		return;
	if (!(ready & IO_HUP) && !((ready & IO_RDHUP) && c->req->upstream))
		return;
	c->cancelled = c->req->aborted = true;
	co_cancel(c->co);
}

static void conn_event(struct iofd *f)
{
	struct conn *c = CONTAINER_OF(f, struct conn, stream.io);

	switch (c->state) {
	case CONN_LINGER:
		conn_linger_event(c);
		return;
	case CONN_FRESH:
	case CONN_IDLE:
		break;
	case CONN_BUSY:
		conn_abandoned(c);
		return;
	case CONN_H2:
		h2_conn_event(c);
		return;
	default:
		return;
	}
	if (!(f->ready & (IO_R | IO_HUP | IO_RDHUP)))
		return;
	if (c->state == CONN_IDLE)
		COUNT_DOWN(conns.counters.waiting);
	c->state = CONN_BUSY;
	timer_rest(&co_sched.wheel, &c->timer);
	if (co_start(conn_main, c) < 0) {
		fail_count(FAIL_NO_STACKS);
		conn_close(c, false);
	}
}

static void conn_timeout(struct timer *t)
{
	struct conn *c = CONTAINER_OF(t, struct conn, timer);
	bool reset = false;

	if (c->state == CONN_H2) {
		h2_conn_timeout(c);
		return;
	}
	if (c->state == CONN_LINGER && io_now_ms() < conn_linger_due(c)) {
		conn_linger_event(c); /* the rest */
		return;
	}
	if (c->state == CONN_FRESH) {
		struct http_port *port = conn_port(c);
		const struct core_loc *l =
			port ? conf_get(port->default_server->scope, &core_loc_mod) : NULL;

		reset = l && l->reset_timedout_connection;
		fail_count(FAIL_CLIENT_TIMEOUT_HEAD);
		conn_log(c, LOG_INFO,
			 "client timed out (110: Connection timed out) while waiting for request",
			 SPAN(""));
	}
	conn_close(c, reset);
}

void conn_accepted(struct listener *l, int fd, const struct net_addr *peer)
{
	struct http_port *port;
	struct conn *c;

	conns_init();
	COUNT_UP(conns.counters.accepted);
	net_conn_opened();
	c = slab_take(&conns.slab);
	if (!c) {
		fail_count(FAIL_NO_MEMORY);
		sys->close(fd);
		net_conn_closed();
		return;
	}
	memset(c, 0, sizeof(*c));
	stream_init(&c->stream, fd, conn_event);
	timer_init(&c->timer, conn_timeout);
	if (peer->sa.sa_family == AF_UNIX)
		c->peer.sa.sa_family = AF_UNIX;
	else
		memcpy(&c->peer, &peer->sa, MIN_OF(peer->len, sizeof(c->peer)));
	c->listener = listener_ref(l);
	c->number = atomic_fetch_add_explicit(&conn_numbers, 1, memory_order_relaxed) + 1;
	c->opened_ms = io_now_ms();
	list_push(&conns.all, &c->link);
	conns.count++;
	COUNT_UP(conns.counters.handled);
	port = conn_port(c);
	if (!port) {
		conn_close(c, false);
		return;
	}
	conn_park(c, CONN_FRESH, conn_head_timeout(port), io_now_ms());
}

/* ---- the start: PROXY protocol and TLS ---- */

static MAY_SUSPEND bool conn_proxy_line(struct conn *c, uint64_t deadline)
{
	struct proxy_protocol pp;
	ssize_t n;

	for (;;) {
		n = proxy_protocol_parse(inbuf_span(&c->in), &pp);
		if (n != PROXY_PROTOCOL_MORE)
			break;
		if (inbuf_len(&c->in) >= 4096 || !inbuf_reserve(&c->in, 4096, NULL) ||
		    inbuf_read(&c->in, &c->stream, deadline) <= 0)
			return false;
	}
	if (n < 0) {
		fail_count(FAIL_CLIENT_PROXY_PROTOCOL);
		conn_log(c, LOG_ERR, "broken header while reading PROXY protocol", SPAN(""));
		return false;
	}
	c->extra = mem_zalloc(sizeof(*c->extra) + pp.tlvs.n);
	if (!c->extra)
		return false;
	c->extra->proxy_src = pp.src;
	c->extra->proxy_dst = pp.dst;
	c->extra->tlvs_len = pp.tlvs.n;
	if (pp.tlvs.n)
		memcpy(c->extra->tlvs, pp.tlvs.p, pp.tlvs.n);
	inbuf_take(&c->in, (size_t)n);
	return true;
}

struct conn_pick {
	struct conn *conn;
	struct http_port *port;
	struct tls_picker *picker;
};

/* Within a handshake: the variables of a request that is not there yet. Without a certificate
 * OpenSSL ends the handshake. */
static struct tls_ctx *conn_named_tls(const struct conn_pick *p, struct server *s, struct span sni)
{
	struct tls_ctx *ctx = NULL;
	struct req *r;

	if (memchr(sni.p, '/', sni.n))
		return s->tls;
	r = req_new(p->conn, p->port);
	if (r) {
		r->server = s;
		r->scope = s->scope;
		p->conn->tls = true; /* $ssl_server_name asks for it */
		ctx = cert_names_get(r, s->cert_names);
		p->conn->tls = false;
		req_free(r);
	}
	return ctx ? ctx : s->tls;
}

static struct server *server_of_sni(struct http_port *port, struct span sni)
{
	char lower[256];
	struct server *s;

	for (size_t i = 0; i < sni.n && i < sizeof(lower); i++)
		lower[i] = ascii_lower(sni.p[i]);
	s = vnames_find(port, sni.n < sizeof(lower) ? span_make(lower, sni.n) : SPAN(""), NULL);
	return s->tls ? s : port->default_server;
}

struct server *conn_server(struct conn *c, struct http_port *port)
{
	return c->tls ? server_of_sni(port, tls_sni(&c->stream)) : port->default_server;
}

static bool server_speaks_h2(const struct http_port *port, const struct server *s)
{
	const struct h2_srv *conf = conf_get(s->scope, &h2_srv_mod);

	return conf->on || port->http2;
}

static struct tls_ctx *conn_pick_tls(void *arg, struct span sni)
{
	const struct conn_pick *p = arg;
	struct server *s = server_of_sni(p->port, sni);

	/* Its context may be another port's too. */
	p->picker->not_alpn =
		server_speaks_h2(p->port, s) && !MUTANT(lost_alpn) ? SPAN("") : SPAN("h2");
	return s->cert_names ? conn_named_tls(p, s, sni) : s->tls;
}

/* False: closed or to be closed. A plain request on a TLS port is left to the codec, which answers
 * 497. */
static MAY_SUSPEND bool conn_handshake(struct conn *c, struct http_port *port, uint64_t deadline)
{
	struct tls_picker picker = {.pick = conn_pick_tls};
	struct conn_pick pick = {c, port, &picker};
	char first;
	int rc;

	picker.arg = &pick;
	if (inbuf_len(&c->in) == 0) {
		if (!inbuf_reserve(&c->in, 1024, NULL) ||
		    inbuf_read(&c->in, &c->stream, deadline) <= 0)
			return false;
	}
	first = *inbuf_span(&c->in).p;
	if (first != 0x16 && !(first & 0x80))
		return true;
	rc = tls_accept(&c->stream, &picker, port->default_server->tls, &c->in, deadline);
	if (rc < 0) {
		fail_count(FAIL_CLIENT_TLS);
		conn_log(c, LOG_INFO, "SSL_do_handshake() failed while SSL handshaking: ",
			 stream_tls_error(&c->stream));
	}
	c->tls = rc == 0;
	return rc == 0;
}

/* ALPN, or the preface of a client that knows (RFC 9113 3.3), which no HTTP/1 request begins with.
 */
static MAY_SUSPEND bool conn_speaks_h2(struct conn *c, struct http_port *port, uint64_t deadline)
{
	struct span in;

	if (c->tls)
		return tls_alpn_is(&c->stream, SPAN("h2"));
	if (!server_speaks_h2(port, port->default_server))
		return false;
	for (;;) {
		in = inbuf_span(&c->in);
		if (in.n && memcmp(in.p, NGHTTP2_CLIENT_MAGIC,
				   MIN_OF(in.n, (size_t)NGHTTP2_CLIENT_MAGIC_LEN)) != 0)
			return false;
		if (in.n >= NGHTTP2_CLIENT_MAGIC_LEN)
			return true;
		if (!inbuf_reserve(&c->in, 1024, NULL) ||
		    inbuf_read(&c->in, &c->stream, deadline) <= 0) {
			c->head_until_ms = deadline; /* HTTP/1 waits no longer than that either */
			return false;
		}
	}
}

static MAY_SUSPEND bool conn_greet(struct conn *c)
{
	struct http_port *port = conn_port(c);
	struct snapshot *s;
	uint64_t deadline;

	if (!port)
		return false;
	s = snapshot_ref(port->default_server->main->snapshot); /* a reload may come in between */
	deadline = io_after((uint64_t)conn_head_timeout(port));
	if (deadline != CO_NEVER) /* it was accepted then; an event need not bring bytes */
		deadline -= io_now_ms() - c->parked_ms;
	c->greeted = (!port->proxy_protocol || c->extra || conn_proxy_line(c, deadline)) &&
		     (!port->ssl || conn_handshake(c, port, deadline));
	c->speaks_h2 = c->greeted && conn_speaks_h2(c, port, deadline);
	if (!MUTANT(leaked_snapshot))
		snapshot_unref(s);
	return c->greeted;
}

/* ---- serving ---- */

static bool conn_has_input(struct conn *c)
{
	return inbuf_len(&c->in) > 0 || stream_readable(&c->stream);
}

void conn_linger_times(struct conn *c, const struct core_loc *l)
{
	int64_t longest = l ? l->lingering_time : LINGER_TIME;
	int64_t silence = l ? l->lingering_timeout : LINGER_TIMEOUT;

	c->linger_until = io_now_ms() + (uint64_t)longest;
	c->linger_ms = (uint32_t)MIN_OF(silence, UINT32_MAX);
}

void conn_linger(struct conn *c)
{
	if (c->cancelled || conns.aborted || MUTANT(no_linger)) {
		conn_close(c, false);
		return;
	}
	c->shut = false;
	inbuf_take(&c->in, inbuf_len(&c->in));
	c->parked_ms = io_now_ms();
	c->co = NULL;
	c->req = NULL;
	c->state = CONN_LINGER;
	inbuf_free(&c->in);
	if (iofd_register(&c->stream.io) < 0)
		conn_close(c, false);
	else
		conn_linger_event(c);
}

/* How long a connection that does nothing stays at a graceful end (keepalive_min_timeout). */
static uint64_t conn_grace(const struct conn *c)
{
	return MAX_OF((uint64_t)DRAIN_GRACE, MIN_OF(c->keepalive_min_ms, c->keepalive_ms));
}

static int64_t conn_idle_timeout(struct conn *c)
{
	struct http_port *port = conn_port(c);

	if (!port)
		return 1;
	if (conns.draining)
		return (int64_t)conn_grace(c);
	return c->requests ? c->keepalive_ms : conn_head_timeout(port);
}

static void conn_main(void *arg)
{
	struct conn *c = arg;
	enum conn_next next = CONN_NEXT_REQUEST;
	uint64_t since_ms = c->parked_ms, received = c->stream.received;
	bool tls = c->tls;

	c->co = co_current();
	if (!c->greeted && (!conn_greet(c) || conns.aborted)) {
		conn_close(c, false);
		return;
	}
	if (c->speaks_h2) {
		h2_conn_start(c);
		return;
	}
	while (next == CONN_NEXT_REQUEST && conn_has_input(c)) {
		uint32_t before = c->requests;

		next = h1_conn_request(c);
		if (next != CONN_NEXT_TUNNEL)
			c->req = NULL;
		if (c->requests == before) /* what looked like input was none */
			break;
		c->pipelined = inbuf_len(&c->in) > 0;
	}
	if (next == CONN_NEXT_REQUEST && conns.aborted)
		next = CONN_NEXT_CLOSE;
	switch (next) {
	case CONN_NEXT_REQUEST:
		/* An event that brought nothing (a TLS record without data, say) wins no time. */
		if (c->stream.received != received || c->tls != tls)
			since_ms = io_now_ms();
		conn_park(c, c->requests ? CONN_IDLE : CONN_FRESH, conn_idle_timeout(c), since_ms);
		break;
	case CONN_NEXT_LINGER:
		conn_linger(c);
		break;
	case CONN_NEXT_TUNNEL:
		tunnel_start(c->req->resp.tunnel); /* may free c */
		if (conns.aborted)
			tunnels_abort();
		break;
	default:
		conn_close(c, next == CONN_NEXT_RESET);
	}
}

/* ---- graceful end ---- */

/* A client that was active a moment ago may be sending its next request right now: closing would
 * lose it. Such a connection stays for the rest of the grace, and what arrives is answered with
 * Connection: close. */
void conns_drain(void)
{
	struct list *l, *tmp;

	conns_init();
	conns.draining = true;
	list_each_safe (l, tmp, &conns.all) {
		struct conn *c = CONTAINER_OF(l, struct conn, link);

		if (c->state == CONN_H2) {
			h2_conn_drain(c);
			continue;
		}
		if (c->state != CONN_IDLE && c->state != CONN_FRESH)
			continue;
		if (io_now_ms() >= c->parked_ms + conn_grace(c))
			conn_close(c, false);
		else
			timer_start(&co_sched.wheel, &c->timer, c->parked_ms + conn_grace(c));
	}
	if (conns.count == 0 && conns_empty)
		conns_empty();
}

/* Whoever is busy is told to stop, and may just have been through: what comes of that connection
 * next is its end, too. */
void conns_abort(void)
{
	struct list *l, *tmp;

	conns_init();
	conns.aborted = !MUTANT(outlives_end);
	tunnels_abort();
	list_each_safe (l, tmp, &conns.all) {
		struct conn *c = CONTAINER_OF(l, struct conn, link);

		if (c->state == CONN_BUSY && c->co)
			co_cancel(c->co);
		else if (c->state == CONN_H2)
			h2_conn_abort(c);
		else if (c->state != CONN_TUNNEL)
			conn_close(c, false);
	}
}
