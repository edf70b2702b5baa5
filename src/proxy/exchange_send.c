/* The request on its way out. Head and a body in memory leave in one system call; what does not go
 * at once, files and streamed bodies are sent by a child task while the exchange already waits for
 * the answer, so that an early answer is seen. */
#include <errno.h>
#include "proxy/exchange.h"
#include "serve/request_body.h"

static bool exchange_has_body(const struct req *r)
{
	const struct req_body *b = r->buffered;

	return b ? b->length > 0 || b->trailers : r->body != NULL;
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

/* Connections that many share end under requests more often than others. */
static int exchange_keep_body(struct exchange *x)
{
	x->replay = arena_alloc(&x->r->arena, sizeof(*x->replay));
	if (!x->replay)
		return req_fail(x->r, FAIL_NO_MEMORY);
	replay_init(x->replay, x->r->body);
	return 0;
}

static void exchange_memory(struct exchange *x, struct span body, const struct hdrs *trailers)
{
	x->trailers = x->conf->pass_trailers ? trailers : NULL;
	x->memory = body;
	x->body_length = (int64_t)body.n;
	x->body_kind = body.n || x->trailers ? SEND_MEMORY : SEND_NOTHING;
}

int exchange_take_body(struct exchange *x)
{
	const struct proxy_conf *c = x->conf;
	struct req *r = x->r;
	int rc;

	x->body_kind = SEND_NOTHING;
	if (c->set_body) {
		/* $request_body may stand in it. */
		if (!c->set_body->constant && c->request_buffering && exchange_has_body(r) &&
		    (r->buffered || !(r->body_received || r->body->done))) {
			rc = req_read_body(r);
			if (rc)
				return rc;
		}
		x->memory = tmpl_eval(c->set_body, &r->vars);
		x->body_kind = SEND_MEMORY;
		x->body_length = (int64_t)x->memory.n;
		return r->vars.failed ? req_fail(r, FAIL_NO_MEMORY) : 0;
	}
	if (!c->pass_request_body || !exchange_has_body(r))
		return 0;
	if (!r->buffered && r->body_received)
		return exchange_body_gone(x);
	if (!r->buffered && r->body->done) { /* streamed to an earlier server, empty */
		exchange_memory(x, (struct span){0}, r->body->trailers);
		return 0;
	}
	if (!r->buffered && !c->request_buffering &&
	    (!r->in.chunked || c->http_version >= HTTP_11)) {
		x->body_kind = SEND_STREAM;
		x->body_length = r->in.chunked ? -1 : r->in.content_length;
		return c->http_version >= HTTP_2 ? exchange_keep_body(x) : 0;
	}
	rc = req_read_body(r);
	if (rc)
		return rc;
	exchange_memory(x, r->buffered->mem, r->buffered->trailers);
	x->body_length = r->buffered->length;
	if (r->buffered->fd >= 0)
		x->body_kind = SEND_BUFFERED;
	return 0;
}

/* ---- the child ---- */

static void sender_fail(struct exchange *x, enum fail f, bool client)
{
	x->send_fail = f;
	x->send_client = client;
}

static MAY_SUSPEND void sender_body(struct exchange *x, struct body *b)
{
	struct piece p = {0};
	enum fail f;

	b->accept = (uint8_t)x->proto->accepts(x);
	while (!p.last) {
		f = body_next(b, &p);
		if (f != FAIL_OK) {
			sender_fail(x, f, true);
			return;
		}
		f = x->proto->send_piece(x, &p, b);
		if (f != FAIL_OK) {
			sender_fail(x, f, false);
			return;
		}
	}
}

static void sender_run(void *arg)
{
	struct exchange *x = arg;
	enum fail f;

	if (co_cancelled()) { /* before it ever ran: the body stays whole for another try */
		sender_fail(x, FAIL_CANCELLED, false);
		return;
	}
	f = x->proto->send_rest(x);
	if (f != FAIL_OK)
		sender_fail(x, f, false);
	if (x->send_fail == FAIL_OK && x->body_kind == SEND_STREAM && x->r->body) {
		x->body_touched = true;
		if (x->replay)
			replay_rewind(x->replay);
		sender_body(x, x->replay ? &x->replay->body : x->r->body);
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
	bool all = false;
	enum fail f;

	x->send_fail = FAIL_OK;
	x->send_client = false;
	f = x->proto->send(x, &all);
	if (f != FAIL_OK)
		return f;
	x->bytes_out = true;
	x->sent = all;
	if (all)
		return FAIL_OK;
	if (co_child_start(&x->sender, sender_run, x) < 0)
		return FAIL_NO_STACKS;
	x->sending = true;
	return FAIL_OK;
}
