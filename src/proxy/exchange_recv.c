/* The response on its way in: heads (interim ones are skipped), then a body that pulls from the
 * connection. */
#include <errno.h>
#include "http/websocket.h"
#include "io/loop.h"
#include "proxy/exchange.h"

#define INTERIM_MAX   64	  /* 1xx answers before the final one */
#define SHORT_BODY    (32 * 1024) /* bytes */
#define SHORT_WAIT_MS 20

/* What follows a body of no bytes. */
static bool exchange_follows(const struct exchange *x, bool unknown)
{
	return x->proto->follows && x->proto->follows(x, unknown);
}

/* How many bytes of body are likely to be here soon; -1: none, but the end of the stream, which
 * then need not be reset; 0: nothing. */
static int64_t short_body(const struct exchange *x)
{
	int64_t n = x->resp.content_length;

	if (!http_response_has_body(x->method, x->resp.status) || (n == 0 && !x->resp.chunked))
		return exchange_follows(x, true) ? -1 : 0;
	return x->resp.chunked || n > SHORT_BODY ? 0 : MAX_OF(n, 0);
}

/* A short body mostly comes right behind its head. To wait for it a moment costs the client
 * nothing, for both then leave in one write; and as long as nothing was sent to the client, a
 * server that dies can still be replaced by another. */
static MAY_SUSPEND enum fail recv_short_body(struct exchange *x)
{
	int64_t want = short_body(x);
	enum fail f;

	if (!want || !x->conf->buffering || x->resp.status == 101)
		return FAIL_OK;
	f = x->proto->await(x, want, io_now_ms() + SHORT_WAIT_MS);
	if (f != FAIL_UPSTREAM_CLOSED && f != FAIL_UPSTREAM_RESET)
		return f;
	/* With nobody else to ask the client gets what there is, cut short. */
	return x->pick.tries_left && exchange_again(x, NEXT_ERROR, x->pick.tries_left - 1)
		       ? f
		       : FAIL_OK;
}

/* RFC 6455 4.1: what the client of a WebSocket looks at before it believes in it. A client that
 * speaks HTTP/1 does that itself. */
static bool websocket_holds(const struct exchange *x)
{
	const struct hdrs *h = &x->resp.headers;
	const struct hdr *got = hdrs_find_name(h, SPAN("Sec-WebSocket-Accept"));
	char want[WEBSOCKET_ACCEPT_LEN];

	if (!x->r->own_key ||
	    !span_eq_nocase(hdrs_value(&x->r->in.headers, HDR_UPGRADE), SPAN("websocket")))
		return true;
	websocket_accept(hdrs_value(&x->r->in.headers, HDR_SEC_WEBSOCKET_KEY), want);
	return got && span_eq(got->value, span_make(want, sizeof(want))) &&
	       span_eq_nocase(hdrs_value(h, HDR_UPGRADE), SPAN("websocket")) &&
	       (x->proto != &proto_http1 || hdrs_has_token(h, HDR_CONNECTION, SPAN("upgrade")));
}

bool exchange_passes_hints(struct exchange *x, size_t bytes)
{
	struct req *r = x->r;
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	if (r->parent || r->head_sent || !req_is_11(r) ||
	    !tmpl_any_true(&l->early_hints, &r->vars) || r->vars.failed)
		return false;
	x->hints_bytes += bytes;
	return x->hints_bytes <= (size_t)x->conf->buffer_size;
}

enum fail exchange_recv(struct exchange *x)
{
	enum fail f;

	x->interims = 0;
	for (;;) {
		x->hints = NULL;
		f = x->proto->recv(x);
		if (f == FAIL_OK && x->hints)
			f = proxy_pass_hints(x);
		if (f != FAIL_OK)
			return f;
		if (!x->hints && (x->resp.status >= 200 || x->resp.status == 101))
			break;
		if (++x->interims > INTERIM_MAX)
			return FAIL_UPSTREAM_BAD_HEAD;
	}
	if (x->resp.status == 101 && !x->upgrade)
		return FAIL_UPSTREAM_UPGRADE;
	if (x->resp.status == 101 && !websocket_holds(x))
		return FAIL_UPSTREAM_WEBSOCKET;
	f = recv_short_body(x);
	if (f != FAIL_OK)
		return f;
	x->attempt->status = x->resp.status;
	exchange_note_bytes(x); /* may be asked for while the body is on its way */
	x->attempt->header_us = (int64_t)(io_now_ms() - x->attempt->start_ms) * 1000;
	return FAIL_OK;
}

/* ---- the body ---- */

void exchange_complete(struct exchange *x)
{
	if (x->sending && co_child_running(&x->sender))
		return; /* still sending: the end comes with close */
	exchange_finish(x, true, false);
}

/* The source failed while the client already has the head. */
static void exchange_body_failed(void *arg, enum fail f)
{
	struct exchange *x = arg;
	const char *doing = "reading upstream";

	x->attempt->fail = f;
	if (f == FAIL_UPSTREAM_READ_TIMEOUT)
		exchange_log(x, LOG_ERR, ETIMEDOUT, "upstream timed out", doing);
	else if (f == FAIL_UPSTREAM_TRUNCATED)
		exchange_log(x, LOG_ERR, 0, "upstream prematurely closed connection", doing);
	else if (f == FAIL_UPSTREAM_BAD_CHUNK)
		exchange_log(x, LOG_ERR, 0, "upstream sent invalid chunked response", doing);
	else if (f == FAIL_UPSTREAM_RESET)
		exchange_log(x, LOG_ERR, ECONNRESET, "recv() failed", doing);
}

static void exchange_body_closed(void *arg)
{
	struct exchange *x = arg;

	exchange_send_stop(x);
	exchange_finish(x, false, false);
	exchange_forget(x);
}

static struct body *exchange_no_body(struct exchange *x)
{
	exchange_send_stop(x);
	exchange_finish(x, true, false);
	exchange_forget(x);
	return NULL;
}

static void exchange_buffering(struct exchange *x, bool buffering)
{
	const struct proxy_conf *c = x->conf;
	struct span rate = tmpl_eval(c->limit_rate, &x->r->vars);
	int64_t bytes = 0;

	if (rate.n && !conf_parse_size(rate, &bytes))
		bytes = 0;
	x->buffered_conf = (struct buffered_conf){
		.off = !buffering,
		.memory = (size_t)c->buffers.num * (size_t)c->buffers.size,
		.block = (size_t)c->buffers.size,
		.file = c->max_temp_file_size,
		.temp_path = c->temp_path,
		.log = req_logger(x->r),
		.rate = buffering ? bytes : 0,
		.trailers = c->pass_trailers,
	};
}

/* Can the client have trailers of an answer with a length? HTTP/1 sends them behind chunks only. */
static bool exchange_wants_trailers(const struct exchange *x)
{
	return x->conf->pass_trailers && (x->r->in.version >= HTTP_2 || x->grpc_web);
}

struct body *exchange_body(struct exchange *x, bool buffering)
{
	struct body *inner, *b;

	if (!http_response_has_body(x->method, x->resp.status) ||
	    (!x->resp.chunked && x->resp.content_length == 0 &&
	     !exchange_follows(x, exchange_wants_trailers(x))))
		return exchange_no_body(x);
	inner = x->proto->body(x);
	exchange_buffering(x, buffering);
	b = buffered_init(&x->buffered, inner, &x->buffered_conf);
	x->buffered.failed = exchange_body_failed;
	x->buffered.closed = exchange_body_closed;
	x->buffered.arg = x;
	x->log->body = inner;
	return b;
}
