/* The response on its way in: heads (interim ones are skipped), then a body that pulls from the
 * connection. */
#include <errno.h>
#include "io/loop.h"
#include "proxy/exchange.h"

#define INTERIM_MAX 64 /* 1xx answers before the final one */

/* Waits for input. While the request is still going out only the sender's clock runs. */
static MAY_SUSPEND enum fail recv_wait(struct exchange *x)
{
	for (;;) {
		bool sending = x->sending && co_child_running(&x->sender);
		uint64_t deadline = sending ? CO_NEVER : io_after((uint64_t)x->conf->read_timeout);
		int rc;

		/* It may have ended while we were not waiting. A server that closed its ear may
		 * still have answered: read on. */
		if (!sending && x->send_fail != FAIL_OK &&
		    (x->send_client || x->send_fail != FAIL_UPSTREAM_SEND))
			return x->send_fail;
		x->waiter = co_current();
		rc = stream_wait_readable(&x->conn->stream, deadline);
		x->waiter = NULL;
		if (rc >= 0)
			return FAIL_OK;
		if (rc != -EINTR) /* else the sender ended */
			return fail_of_upstream(rc, FAIL_UPSTREAM_READ_TIMEOUT,
						FAIL_UPSTREAM_CLOSED);
	}
}

static bool recv_room(struct exchange *x)
{
	struct inbuf *in = &x->in;
	const char *from;
	size_t size;

	if (in->end < in->cap)
		return true;
	size = in->cap ? (inbuf_len(in) == in->cap ? 2 * (size_t)in->cap : in->cap)
		       : (size_t)x->conf->buffer_size;
	if (!inbuf_reserve(in, size, &from))
		return false;
	if (from != in->p + in->start)
		h1_rebase_response(&x->resp, from, in->p + in->start);
	return true;
}

/* One read into x->in. */
static MAY_SUSPEND enum fail recv_more(struct exchange *x)
{
	for (;;) {
		enum fail f = recv_wait(x);
		ssize_t n;

		if (f != FAIL_OK)
			return f;
		if (!recv_room(x))
			return FAIL_NO_MEMORY;
		n = inbuf_recv(&x->in, &x->conn->stream);
		if (n > 0)
			return FAIL_OK;
		if (n == -ECONNRESET)
			return x->send_fail != FAIL_OK ? x->send_fail : FAIL_UPSTREAM_RESET;
		if (n != -EAGAIN)
			return x->send_fail != FAIL_OK
				       ? x->send_fail
				       : fail_of_upstream((int)n, FAIL_UPSTREAM_READ_TIMEOUT,
							  FAIL_UPSTREAM_CLOSED);
	}
}

/* A whole head is at the front of x->in; *used bytes of it. */
static MAY_SUSPEND enum fail recv_head(struct exchange *x, size_t *used)
{
	size_t max = (size_t)x->conf->max_header_size;
	struct h1_limits lim = {.line_max = max,
				.total_max = max,
				.headers_max = 1000,
				.ignore_invalid_headers = true,
				.underscores_in_headers = true};
	struct h1_parser p;

	h1_parser_init(&p);
	x->resp.headers.n = 0;
	x->resp.headers.present[0] = x->resp.headers.present[1] = 0;
	for (;;) {
		struct span in = inbuf_span(&x->in);
		int rc = in.n ? h1_parse_response(&p, in.p, in.n, &lim, x->method, &x->resp, used)
			      : H1_MORE;
		enum fail f;

		if (rc == H1_DONE)
			return FAIL_OK;
		if (rc < 0)
			return -rc == FAIL_HEADERS_TOO_LARGE || -rc == FAIL_TOO_MANY_HEADERS ||
					       -rc == FAIL_UPSTREAM_BIG_HEAD ||
					       -rc == FAIL_URI_TOO_LONG
				       ? FAIL_UPSTREAM_BIG_HEAD
			       : -rc == FAIL_NO_MEMORY ? FAIL_NO_MEMORY
						       : FAIL_UPSTREAM_BAD_HEAD;
		if (in.n >= max)
			return FAIL_UPSTREAM_BIG_HEAD;
		f = recv_more(x);
		if (f != FAIL_OK)
			return f;
	}
}

/* The head moves to the request's arena: the buffer is wanted for the body, and fields live as long
 * as the request. */
static enum fail recv_keep_head(struct exchange *x, size_t used)
{
	const char *from = x->in.p + x->in.start;
	char *to = arena_copy(&x->r->arena, from, used);

	if (!to)
		return FAIL_NO_MEMORY;
	h1_rebase_response(&x->resp, from, to);
	x->log->head = span_make(to, used);
	x->log->headers = NULL;
	inbuf_take(&x->in, used);
	return FAIL_OK;
}

/* Is all of the answer here already, as far as can be told without looking into chunks? */
static bool recv_complete(const struct exchange *x)
{
	struct span in = inbuf_span(&x->in);

	if (!http_response_has_body(x->method, x->resp.status))
		return true;
	if (x->resp.chunked)
		return span_ends(in, SPAN("0\r\n\r\n"));
	return x->resp.content_length >= 0 && (int64_t)in.n >= x->resp.content_length;
}

#define SHORT_BODY    (32 * 1024) /* bytes */
#define SHORT_WAIT_MS 20

/* A short body mostly comes right behind its head. To wait for it a moment costs the client
 * nothing, for both then leave in one write; and as long as nothing was sent to the client, a
 * server that dies can still be replaced by another. */
static MAY_SUSPEND enum fail recv_short_body(struct exchange *x)
{
	int64_t want = x->resp.content_length;
	uint64_t until = io_now_ms() + SHORT_WAIT_MS;

	if (!x->conf->buffering || x->resp.chunked || want <= 0 || want > SHORT_BODY ||
	    x->resp.status == 101 || !http_response_has_body(x->method, x->resp.status))
		return FAIL_OK;
	if ((int64_t)inbuf_len(&x->in) < want && !inbuf_reserve(&x->in, (size_t)want, NULL))
		return FAIL_NO_MEMORY;
	while ((int64_t)inbuf_len(&x->in) < want) {
		int rc = stream_wait_readable(&x->conn->stream, until);
		ssize_t n;

		if (rc == -ETIMEDOUT || rc == -EINTR)
			return FAIL_OK; /* a slow server, or the sender has something to say: go on
					 */
		if (rc < 0)
			return fail_of_upstream(rc, FAIL_UPSTREAM_READ_TIMEOUT,
						FAIL_UPSTREAM_CLOSED);
		n = inbuf_recv(&x->in, &x->conn->stream);
		if (n > 0 || n == -EAGAIN)
			continue;
		/* With nobody else to ask the client gets what there is, cut short. */
		if (!x->pick.tries_left || !exchange_again(x, NEXT_ERROR, x->pick.tries_left - 1))
			return FAIL_OK;
		return n == -ECONNRESET ? FAIL_UPSTREAM_RESET : FAIL_UPSTREAM_CLOSED;
	}
	return FAIL_OK;
}

enum fail exchange_recv(struct exchange *x)
{
	enum fail f;

	x->interims = 0;
	for (;;) {
		size_t used = 0;

		f = recv_head(x, &used);
		if (f != FAIL_OK)
			return f;
		if (x->resp.status >= 200 || x->resp.status == 101) {
			f = recv_keep_head(x, used);
			break;
		}
		inbuf_take(&x->in, used);
		if (++x->interims > INTERIM_MAX)
			return FAIL_UPSTREAM_BAD_HEAD;
	}
	if (f != FAIL_OK)
		return f;
	if (x->resp.status == 101 && !x->upgrade)
		return FAIL_UPSTREAM_UPGRADE;
	if (!recv_complete(x))
		stream_quickack(&x->conn->stream);
	f = recv_short_body(x);
	if (f != FAIL_OK)
		return f;
	x->attempt->status = x->resp.status;
	x->attempt->header_us = (int64_t)(io_now_ms() - x->attempt->start_ms) * 1000;
	return FAIL_OK;
}

/* ---- the body ---- */

static bool exchange_reusable(const struct exchange *x)
{
	return x->resp.keep_alive && x->sent && !(x->sending && co_child_running(&x->sender));
}

/* The whole response is here: the connection is free before the client has it. Bytes beyond it mean
 * that the server lies. */
static void exchange_complete(struct h1_body *h)
{
	struct exchange *x = CONTAINER_OF(h, struct exchange, h1);
	bool clean = inbuf_len(&x->in) == h->held && h->framing != H1_BODY_UNTIL_CLOSE;

	if (x->sending && co_child_running(&x->sender))
		return; /* still sending: the end comes with close */
	exchange_finish(x, clean && exchange_reusable(x), false);
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
	inbuf_free(&x->in);
}

static struct body *exchange_no_body(struct exchange *x)
{
	x->h1.received = 0;
	exchange_send_stop(x);
	exchange_finish(x, exchange_reusable(x) && inbuf_len(&x->in) == 0, false);
	inbuf_free(&x->in);
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
		.rate = buffering ? bytes : 0,
		.trailers = c->pass_trailers,
	};
}

struct body *exchange_body(struct exchange *x, bool buffering)
{
	struct h1_body *h = &x->h1;
	bool chunked = x->resp.chunked, reset = h->reset;
	int64_t length = chunked ? -1 : x->resp.content_length;
	struct body *b;

	if (!http_response_has_body(x->method, x->resp.status) || (!chunked && length == 0))
		return exchange_no_body(x);
	h1_body_init(h, &x->conn->stream, &x->in, chunked, length, &x->r->arena);
	h->reset = reset;
	h->timeout_ms = (uint64_t)x->conf->read_timeout;
	h->on_timeout = FAIL_UPSTREAM_READ_TIMEOUT;
	h->on_end = FAIL_UPSTREAM_TRUNCATED;
	h->on_bad = FAIL_UPSTREAM_BAD_CHUNK;
	h->complete = exchange_complete;
	exchange_buffering(x, buffering);
	b = buffered_init(&x->buffered, &h->body, &x->buffered_conf);
	x->buffered.failed = exchange_body_failed;
	x->buffered.closed = exchange_body_closed;
	x->buffered.arg = x;
	x->log->body = &h->body;
	return b;
}
