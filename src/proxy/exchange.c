#include "proxy/exchange.h"
#include <errno.h>
#include "base/hash.h"
#include "io/loop.h"
#include "serve/tunnel.h"

#define H2_IDENTITY 2  /* plain connections that speak HTTP/2 */
#define REFUSED_MAX 3  /* times that servers refuse a request and do nothing else */
#define GOAWAY_MAX  64 /* connections that end ahead of it, having answered others, or are full */

/* ---- log lines ---- */

/* "http://127.0.0.1:80/x" for the context of log lines. */
static void exchange_name_upstream(struct exchange *x, struct span name)
{
	bool is_unix = span_starts(name, SPAN("unix:"));
	size_t n = x->target->scheme.n + name.n + is_unix + x->uri.n;
	char *p = arena_alloc(&x->r->arena, n), *at = p;

	if (!p)
		return;
	memcpy(at, x->target->scheme.p, x->target->scheme.n);
	at += x->target->scheme.n;
	memcpy(at, name.p, name.n);
	at += name.n;
	if (is_unix)
		*at++ = ':';
	memcpy(at, x->uri.p, x->uri.n);
	x->r->log_upstream = span_make(p, n);
}

void exchange_log(struct exchange *x, enum log_level level, int err, const char *what,
		  const char *while_doing)
{
	if (err)
		req_log(x->r, level, 0, "%s (%d: %s) while %s", what, err, strerror(err),
			while_doing);
	else
		req_log(x->r, level, 0, "%s while %s", what, while_doing);
}

static const char *exchange_phase(const struct exchange *x)
{
	if (!x->connected)
		return "connecting to upstream";
	if (!x->sent && !x->proto->heard(x))
		return "sending request to upstream";
	return "reading response header from upstream";
}

/* What went wrong, where an errno says no more. */
static const char *exchange_words(enum fail f)
{
	switch (f) {
	case FAIL_UPSTREAM_CLOSED:
	case FAIL_UPSTREAM_TRUNCATED:
		return "upstream prematurely closed connection";
	case FAIL_UPSTREAM_REFUSED:
		return "upstream refused the request";
	case FAIL_UPSTREAM_FULL:
		return "upstream refused the request beside others (REFUSED_STREAM)";
	case FAIL_UPSTREAM_GOAWAY:
		return "upstream ended the connection ahead of the request (GOAWAY)";
	case FAIL_UPSTREAM_HTTP1:
		return "upstream requires HTTP/1.1 (proxy_http_version 1.1 or auto)";
	case FAIL_UPSTREAM_H2:
		return "upstream broke the rules of HTTP/2";
	case FAIL_UPSTREAM_BAD_HEAD:
		return "upstream sent invalid header";
	case FAIL_UPSTREAM_BIG_HEAD:
		return "upstream sent too big header";
	case FAIL_UPSTREAM_HPACK:
		return "upstream sent header that cannot be decoded, or a field above 64k";
	case FAIL_UPSTREAM_BAD_CHUNK:
		return "upstream sent invalid chunked response";
	case FAIL_UPSTREAM_UPGRADE:
		return "upstream switched protocols although nobody asked";
	case FAIL_UPSTREAM_WEBSOCKET:
		return "upstream sent an invalid WebSocket handshake";
	default:
		return NULL;
	}
}

/* What nginx would have written. */
static void exchange_log_fail(struct exchange *x, enum fail f, const char *phase)
{
	const char *words = exchange_words(f);

	switch (f) {
	case FAIL_UPSTREAM_CONNECT:
		exchange_log(x, LOG_ERR, x->pick.sys_err, "connect() failed", phase);
		break;
	case FAIL_UPSTREAM_CONNECT_TIMEOUT:
		exchange_log(x, LOG_ERR, ETIMEDOUT, "upstream timed out", phase);
		break;
	case FAIL_UPSTREAM_TLS:
	case FAIL_UPSTREAM_VERIFY:
		req_log(x->r, LOG_ERR, 0, "%.*s while %s", SPAN_ARG(x->pick.tls_error), phase);
		break;
	case FAIL_UPSTREAM_SEND_TIMEOUT:
	case FAIL_UPSTREAM_READ_TIMEOUT:
	case FAIL_UPSTREAM_SILENT:
		exchange_log(x, LOG_ERR, ETIMEDOUT, "upstream timed out", phase);
		break;
	case FAIL_UPSTREAM_RESET:
		exchange_log(x, LOG_ERR, ECONNRESET, "recv() failed", phase);
		break;
	case FAIL_UPSTREAM_SEND:
		exchange_log(x, LOG_ERR, ECONNRESET, "writev() failed", phase);
		break;
	case FAIL_CANCELLED:
	case FAIL_CLIENT_CLOSED:
	case FAIL_CLIENT_RESET:
		exchange_log(x, LOG_INFO, 0,
			     "client prematurely closed connection, so upstream connection is "
			     "closed too",
			     phase);
		break;
	default:
		if (words)
			exchange_log(x, LOG_ERR, 0, words, phase);
		break;
	}
}

/* ---- the connection's end ---- */

void *proto_state(struct exchange *x, const struct proto_ops *ops, size_t size)
{
	if (x->proto != ops || !x->state) {
		exchange_forget(x);
		x->state = arena_alloc(&x->r->arena, size);
		if (x->state)
			ops->init(x);
		x->proto = ops;
	}
	return x->state;
}

void exchange_forget(struct exchange *x)
{
	if (x->state)
		x->proto->fini(x);
}

static struct proto_counts exchange_counts(const struct exchange *x)
{
	struct proto_counts c = {0};

	if (x->state)
		x->proto->counts(x, &c);
	return c;
}

void exchange_note_bytes(struct exchange *x)
{
	struct proto_counts c = exchange_counts(x);

	if (!x->connected)
		return;
	x->attempt->bytes_received = x->attempt->lost_received + c.received;
	x->attempt->bytes_sent = x->attempt->lost_sent + c.sent;
}

void exchange_finish(struct exchange *x, bool whole, bool failed)
{
	struct attempt *at = x->attempt;
	bool connected = x->connected;

	if (!x->counted && at) {
		struct proto_counts c = exchange_counts(x);

		x->counted = true;
		at->response_us = (int64_t)(io_now_ms() - at->start_ms) * 1000;
		at->response_length = x->tunnelled ? x->tunnelled : c.body;
		exchange_note_bytes(x);
	}
	x->connected = false;
	if (x->pick.member)
		pick_end(&x->pick, failed);
	if (connected)
		x->proto->end(x, whole);
}

/* The connection is given up in the middle of an attempt; the attempt may go on with another one.
 */
static void exchange_drop(struct exchange *x)
{
	exchange_send_stop(x);
	if (!x->connected)
		return;
	exchange_note_bytes(x);
	x->attempt->lost_received = x->attempt->bytes_received;
	x->attempt->lost_sent = x->attempt->bytes_sent;
	x->connected = false;
	x->proto->end(x, false);
	exchange_forget(x);
}

static void exchange_fini(void *arg)
{
	struct exchange *x = arg;

	BUG_ON(x->sending);
	exchange_finish(x, false, false);
	exchange_forget(x);
	if (x->replay)
		replay_fini(x->replay);
	if (x->tunnel)
		inbuf_free(&x->tunnel->server.in);
}

/* ---- one attempt ---- */

static struct attempt *attempt_new(struct exchange *x, struct span addr)
{
	struct attempt *at =
		x->log->first ? arena_alloc(&x->r->arena, sizeof(*at)) : &x->first_attempt;

	if (!at)
		return NULL;
	*at = (struct attempt){.addr = addr,
			       .start_ms = io_now_ms(),
			       .connect_us = -1,
			       .header_us = -1,
			       .response_us = -1,
			       .response_length = -1,
			       .redirected = x->redirected};
	x->redirected = false;
	if (x->log->last)
		x->log->last->next = at;
	else
		x->log->first = at;
	x->log->last = x->attempt = at;
	x->counted = false;
	return at;
}

uint64_t exchange_within(const struct exchange *x, uint64_t ms)
{
	uint64_t now = io_now_ms(), left = x->deadline_ms <= now ? 1 : x->deadline_ms - now;

	return x->deadline_ms == CO_NEVER ? ms : ms ? MIN_OF(ms, left) : left;
}

static bool exchange_want(struct exchange *x, struct upconn_want *w, struct tls_connect *tls)
{
	const struct proxy_conf *c = x->conf;

	*w = (struct upconn_want){
		.connect_timeout_ms = exchange_within(x, (uint64_t)c->connect_timeout),
		.keepalive_socket = c->socket_keepalive,
		.rcvbuf = (int)c->socket_rcvbuf,
		.sndbuf = (int)c->socket_sndbuf,
	};
	if (x->target->tls && !proxy_ssl_want(x, tls, &w->identity))
		return false;
	if (x->target->tls)
		w->tls = tls;
	if (c->http_version == HTTP_2 && !x->target->tls)
		w->identity = H2_IDENTITY;
	if (c->bind && !proxy_bind_want(x, w))
		return false;
	return true;
}

/* Sends and receives over the connection. */
static MAY_SUSPEND enum fail exchange_talk(struct exchange *x)
{
	enum fail f = exchange_send(x);

	return f == FAIL_OK ? exchange_recv(x) : f;
}

/* Can the request's body be sent from its start? */
static bool exchange_repeatable(const struct exchange *x)
{
	return !x->body_touched || (x->replay && replay_can(x->replay));
}

static void exchange_note_refusal(struct exchange *x, enum fail f)
{
	x->bytes_out = false; /* as if it had not been sent */
	if (!x->refused && !x->goaways)
		x->refused_ms = io_now_ms();
	x->refused += f == FAIL_UPSTREAM_REFUSED;
	x->goaways += f != FAIL_UPSTREAM_REFUSED;
}

/* Who refuses and does nothing else is soon believed. A server whose connections do not live long
 * (RFC 9113 6.8) answers somebody on each of them, and one that has others to do may take this one
 * when it is alone, so our turn comes; it is waited for as long as for an answer. */
static bool exchange_refused_again(const struct exchange *x)
{
	const struct proxy_conf *c = x->conf;
	uint64_t now = io_now_ms();

	if (c->read_timeout && now - x->refused_ms >= (uint64_t)c->read_timeout)
		return false;
	if (c->next_upstream_timeout && now - x->start_ms >= (uint64_t)c->next_upstream_timeout)
		return false;
	return exchange_repeatable(x) && now < x->deadline_ms && x->refused <= REFUSED_MAX &&
	       x->goaways <= GOAWAY_MAX;
}

/* A connection that was idle died before it said anything: most likely it was being closed while we
 * took it. What must not be done twice (RFC 9110 9.2.2) wants to know for certain. */
static bool exchange_may_replay(const struct exchange *x, enum fail f)
{
	if (fail_is_refusal(f))
		return exchange_refused_again(x);
	/* RFC 9113 7: the server has left it for HTTP/1.1 to do. */
	if (f == FAIL_UPSTREAM_HTTP1)
		return exchange_repeatable(x) && x->conf->http_version == PROXY_HTTP_AUTO;
	if (f != FAIL_UPSTREAM_CLOSED && f != FAIL_UPSTREAM_RESET && f != FAIL_UPSTREAM_SEND &&
	    f != FAIL_UPSTREAM_SILENT)
		return false;
	/* The machine itself may be gone: rather another one. */
	if (f == FAIL_UPSTREAM_SILENT && x->pick.tries_left &&
	    exchange_again(x, NEXT_TIMEOUT, x->pick.tries_left - 1))
		return false;
	if (!x->connected || !x->reused || x->replayed || !x->conf->retry_reused || x->interims ||
	    x->proto->heard(x) || !exchange_repeatable(x))
		return false;
	return !tries_method_is_unsafe(x->r->method) ||
	       (x->conf->next_upstream & NEXT_NON_IDEMPOTENT) || x->proto->unseen(x, f);
}

/* What is tried first; ALPN may choose another. */
static const struct proto_ops *exchange_proto(const struct proxy_conf *c)
{
	if (c->http_version >= HTTP_2)
		return &proto_http2;
	return c->tunnel ? &proto_tunnel : &proto_http1;
}

static MAY_SUSPEND enum fail exchange_attempt(struct exchange *x)
{
	struct tls_connect tls;
	struct upconn_want want;
	const char *phase;
	enum fail f;

	if (!attempt_new(x, x->pick.member->peer->name))
		return FAIL_NO_MEMORY;
	exchange_name_upstream(x, x->attempt->addr);
	if (!exchange_want(x, &want, &tls))
		return FAIL_BAD_CONFIG_VALUE;
	x->replayed = false;
	for (;;) {
		x->sent = x->bytes_out = false;
		f = exchange_proto(x->conf)->connect(x, &want);
		if (f != FAIL_OK) {
			phase = x->pick.handshaking ? "SSL handshaking to upstream"
						    : "connecting to upstream";
			break;
		}
		f = exchange_talk(x);
		if (f == FAIL_OK)
			return FAIL_OK;
		phase = exchange_phase(x);
		if (fail_is_refusal(f))
			exchange_note_refusal(x, f);
		if (f == FAIL_UPSTREAM_SILENT && x->proto->unseen(x, f))
			x->bytes_out = false;
		exchange_send_stop(x); /* from now on nobody touches the body */
		if (!exchange_may_replay(x, f))
			break;
		exchange_drop(x);
		x->replayed = !fail_is_refusal(f);
		want.fresh = true;
	}
	exchange_drop(x);
	x->attempt->fail = f;
	exchange_log_fail(x, f, phase);
	return f;
}

/* ---- tries ---- */

bool exchange_again(const struct exchange *x, unsigned bit, unsigned tries_left)
{
	int64_t limit = x->conf->next_upstream_timeout;
	struct tries_state s = {
		.next_upstream = x->conf->next_upstream,
		.tries_left = tries_left,
		.bytes_out = x->bytes_out,
		.unrepeatable = !exchange_repeatable(x),
		.method = x->r->method,
		.timeout = (limit && io_now_ms() - x->start_ms >= (uint64_t)limit) ||
			   io_now_ms() >= x->deadline_ms,
	};

	return tries_again(&s, bit);
}

static void exchange_end_attempt(struct exchange *x, enum fail f, bool failed)
{
	if (x->attempt) { /* NULL: there was no memory for the first one */
		x->attempt->fail = f;
		if (x->attempt->status == 0)
			x->attempt->status = fail_status(f);
	}
	exchange_send_stop(x);
	exchange_finish(x, false, failed);
}

static MAY_SUSPEND enum fail exchange_tries(struct exchange *x)
{
	for (;;) {
		enum fail f = pick_next(&x->pick);
		unsigned bit;

		if (f != FAIL_OK) {
			if (attempt_new(x, x->pick.group->name)) {
				exchange_name_upstream(x, x->pick.group->name);
				exchange_end_attempt(x, f, false);
			}
			req_log(x->r, LOG_ERR, 0, "%s while connecting to upstream",
				f == FAIL_UPSTREAM_BUSY ? "all servers are at max_conns"
							: "no live upstreams");
			return f;
		}
		f = exchange_attempt(x);
		if (f == FAIL_OK) {
			bit = tries_status_bit(x->resp.status);
			if (!bit || !(x->conf->next_upstream & bit) ||
			    !exchange_again(x, bit, x->pick.tries_left - 1))
				return FAIL_OK;
			fail_count(FAIL_UPSTREAM_STATUS);
			exchange_end_attempt(x, FAIL_UPSTREAM_STATUS,
					     !(bit & (NEXT_HTTP_403 | NEXT_HTTP_404)));
			exchange_forget(x);
			continue;
		}
		exchange_end_attempt(x, f, fail_whose(f) == 'S');
		bit = fail_next_bit(f);
		if (!bit || !exchange_again(x, bit, x->pick.tries_left))
			return f;
		fail_count(f);
	}
}

/* ---- the handler ---- */

static struct exchange *exchange_new(struct req *r, const struct proxy_conf *conf)
{
	struct exchange *x = arena_alloc(&r->arena, sizeof(*x));

	if (!x)
		return NULL;
	memset(x, 0, offsetof(struct exchange, first_attempt));
	if (req_cleanup(r, exchange_fini, x) != FAIL_OK)
		return NULL;
	x->r = r;
	x->conf = conf;
	x->log = r->upstream;
	x->redirected = x->log;
	x->proto = exchange_proto(conf);
	if (!x->log) {
		x->log = &x->own_log;
		x->log->carried_rate = -1;
		r->upstream = x->log;
	}
	x->log->head = (struct span){0};
	x->log->headers = NULL;
	x->log->body = NULL;
	hdrs_init(&x->resp.headers, &r->arena);
	x->start_ms = io_now_ms();
	x->deadline_ms = CO_NEVER;
	r->ignore_client_abort = conf->ignore_client_abort;
	return x;
}

static int exchange_prepare(struct exchange *x)
{
	struct req *r = x->r;
	int rc = proxy_target_find(r, x->conf, &x->target);
	enum fail f;

	if (rc)
		return rc;
	x->log->target = x->target;
	f = proxy_uri(r, x->conf->pass, x->target, &x->uri);
	if (f != FAIL_OK)
		return req_fail(r, f);
	rc = x->conf->grpc ? grpc_prepare(x) : 0;
	if (rc)
		return rc;
	rc = exchange_take_body(x);
	if (rc)
		return rc;
	f = x->conf->tunnel ? FAIL_OK : proxy_head_build(x);
	if (f != FAIL_OK)
		return req_fail(r, f);
	pick_init(&x->pick, x->target->group, r);
	if (x->conf->next_upstream_tries && x->conf->next_upstream_tries < x->pick.tries_left)
		x->pick.tries_left = (unsigned)x->conf->next_upstream_tries;
	return 0;
}

int exchange_run(struct req *r)
{
	return exchange_with(r, proxy_conf_of(r));
}

int exchange_with(struct req *r, const struct proxy_conf *conf)
{
	struct exchange *x;
	enum fail f;
	int rc;

	BUG_ON(!conf->pass);
	x = exchange_new(r, conf);
	if (!x)
		return req_fail(r, FAIL_NO_MEMORY);
	rc = exchange_prepare(x);
	if (rc)
		return rc;
	f = exchange_tries(x);
	if (f != FAIL_OK) {
		if (x->send_client && x->send_fail != FAIL_OK)
			f = x->send_fail;
		if (f == FAIL_CANCELLED && r->aborted)
			f = FAIL_CLIENT_CLOSED;
		return req_fail(r, f);
	}
	if (x->replay)
		replay_stop(x->replay);
	rc = proxy_answer(x);
	if (rc != PHASE_DONE) /* the answer is not used: nobody closes its body */
		exchange_send_stop(x);
	return rc;
}
