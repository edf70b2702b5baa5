/* The request on its way out. Head and a body in memory leave in one system call; what does not go
 * at once, files and streamed bodies are sent by a child task while the exchange already waits for
 * the answer, so that an early answer is seen. */
#include <errno.h>
#include "io/loop.h"
#include "proxy/exchange.h"
#include "serve/request_body.h"

static bool exchange_has_body(const struct req *r)
{
	return r->buffered ? r->buffered->length > 0 : r->body != NULL;
}

/* A body that was streamed to an earlier server is gone, or part of it is. An error page that asks
 * with GET can do without. */
static int exchange_body_gone(struct exchange *x)
{
	struct req *r = x->r;

	if (r->method != r->in.method)
		return 0;
	req_log(r, LOG_ERR, 0,
		"the request body was sent to another server already and was not kept "
		"(proxy_request_buffering off)");
	return r->error_status ? r->error_status : 502;
}

int exchange_take_body(struct exchange *x)
{
	const struct proxy_conf *c = x->conf;
	struct req *r = x->r;
	int rc;

	x->body_kind = SEND_NOTHING;
	if (c->set_body) {
		x->memory = tmpl_eval(c->set_body, &r->vars);
		x->body_kind = SEND_MEMORY;
		x->body_length = (int64_t)x->memory.n;
		return r->vars.failed ? req_fail(r, FAIL_NO_MEMORY) : 0;
	}
	if (!c->pass_request_body || !exchange_has_body(r))
		return 0;
	if (!r->buffered && (r->body_received || r->body->done))
		return exchange_body_gone(x);
	if (!r->buffered && !c->request_buffering &&
	    (!r->in.chunked || c->http_version >= HTTP_11)) {
		x->body_kind = SEND_STREAM;
		x->body_length = r->in.chunked ? -1 : r->in.content_length;
		return 0;
	}
	rc = req_read_body(r);
	if (rc)
		return rc;
	x->body_length = r->buffered->length;
	x->body_kind = r->buffered->fd >= 0  ? SEND_BUFFERED
		       : r->buffered->length ? SEND_MEMORY
					     : SEND_NOTHING;
	x->memory = r->buffered->mem;
	return 0;
}

/* ---- the child ---- */

static void sender_fail(struct exchange *x, enum fail f, bool client)
{
	x->send_fail = f;
	x->send_client = client;
}

/* A reset before the server's end of stream was seen, and this is the only call that hears of it:
 * reading will find what has arrived and then an end like any other. */
static enum fail sender_errno(struct exchange *x, int rc)
{
	if (rc == -ECONNRESET)
		x->h1.reset = true;
	return rc < 0 ? fail_of_upstream(rc, FAIL_UPSTREAM_SEND_TIMEOUT, FAIL_UPSTREAM_SEND)
		      : FAIL_OK;
}

static MAY_SUSPEND enum fail sender_writev(struct exchange *x, struct iovec *iov, int n)
{
	int rc = stream_writev(&x->conn->stream, iov, n, (uint64_t)x->conf->send_timeout, NULL);

	return sender_errno(x, rc);
}

static MAY_SUSPEND enum fail sender_piece(struct exchange *x, struct piece *p)
{
	char size[24];
	struct iovec iov[3];
	int n = 0, rc;

	if (p->kind == PIECE_FILE) {
		rc = stream_sendfile(&x->conn->stream, p->fd, &p->off, p->len, 0,
				     (uint64_t)x->conf->send_timeout);
		return sender_errno(x, rc);
	}
	if (x->body_length < 0 && p->mem.n)
		iov[n++] = (struct iovec){size, chunked_head(size, p->mem.n)};
	if (p->mem.n)
		iov[n++] = (struct iovec){(void *)p->mem.p, p->mem.n};
	if (x->body_length < 0) {
		if (p->mem.n)
			iov[n++] = (struct iovec){(char *)"\r\n0\r\n\r\n", p->last ? 7 : 2};
		else if (p->last)
			iov[n++] = (struct iovec){(char *)"0\r\n\r\n", 5};
	}
	return n ? sender_writev(x, iov, n) : FAIL_OK;
}

static MAY_SUSPEND void sender_body(struct exchange *x, struct body *b)
{
	struct piece p = {0};
	enum fail f;

	b->accept = x->body_length < 0 ? PIECE_MEM : PIECE_MEM | PIECE_FILE;
	while (!p.last) {
		f = body_next(b, &p);
		if (f != FAIL_OK) {
			sender_fail(x, f, true);
			return;
		}
		f = sender_piece(x, &p);
		if (f != FAIL_OK) {
			sender_fail(x, f, false);
			return;
		}
	}
}

/* What the first call to the socket left over of head and memory. */
static MAY_SUSPEND void sender_rest(struct exchange *x)
{
	struct iovec iov[2];
	size_t skip = x->written;
	int n = 0;
	enum fail f;

	if (skip < x->head.n)
		iov[n++] = (struct iovec){(char *)x->head.p + skip, x->head.n - skip};
	skip = skip > x->head.n ? skip - x->head.n : 0;
	if (x->body_kind == SEND_MEMORY && skip < x->memory.n)
		iov[n++] = (struct iovec){(char *)x->memory.p + skip, x->memory.n - skip};
	if (!n)
		return;
	f = sender_writev(x, iov, n);
	if (f != FAIL_OK)
		sender_fail(x, f, false);
}

static void sender_run(void *arg)
{
	struct exchange *x = arg;

	if (co_cancelled()) { /* before it ever ran: the body stays whole for another try */
		sender_fail(x, FAIL_CANCELLED, false);
		return;
	}
	sender_rest(x);
	if (x->send_fail == FAIL_OK && x->body_kind == SEND_STREAM && x->r->body) {
		x->body_touched = true;
		sender_body(x, x->r->body);
	} else if (x->send_fail == FAIL_OK && x->body_kind == SEND_BUFFERED) {
		struct body *b = req_body_again(x->r);

		if (b) {
			sender_body(x, b);
			body_close(b);
		} else {
			sender_fail(x, FAIL_NO_MEMORY, true);
		}
	}
	x->sent = x->send_fail == FAIL_OK;
	/* Whoever waits for the head must count its time from now on, or hear of the failure. */
	if (x->waiter)
		co_wake(x->waiter, -EINTR);
}

void exchange_send_stop(struct exchange *x)
{
	if (!x->sending)
		return;
	if (co_child_running(&x->sender)) {
		co_child_cancel(&x->sender);
		if (x->body_kind == SEND_STREAM) /* cut off in the middle: the client connection is
						    of no more use */
			x->r->keep_alive = false;
	}
	co_child_join(&x->sender);
	x->sending = false;
}

enum fail exchange_send(struct exchange *x)
{
	struct iovec iov[2] = {{(void *)x->head.p, x->head.n}, {(void *)x->memory.p, x->memory.n}};
	bool memory = x->body_kind == SEND_MEMORY && x->memory.n;
	ssize_t n = stream_try_writev(&x->conn->stream, iov, memory ? 2 : 1);

	x->send_fail = FAIL_OK;
	x->send_client = x->h1.reset = false;
	if (n < 0 && n != -EAGAIN)
		return fail_of_upstream((int)n, FAIL_UPSTREAM_SEND_TIMEOUT, FAIL_UPSTREAM_SEND);
	x->written = n > 0 ? (size_t)n : 0;
	x->bytes_out = true;
	if (x->written == x->head.n + (memory ? x->memory.n : 0) &&
	    (x->body_kind == SEND_NOTHING || x->body_kind == SEND_MEMORY)) {
		x->sent = true;
		return FAIL_OK;
	}
	if (co_child_start(&x->sender, sender_run, x) < 0)
		return FAIL_NO_STACKS;
	x->sending = true;
	return FAIL_OK;
}
