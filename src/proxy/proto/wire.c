#include "base/mutant.h"
#include "proxy/proto/wire.h"
#include <errno.h>
#include "io/loop.h"
#include "serve/tunnel.h"

enum fail wire_connect(struct exchange *x, struct wire *w, const struct upconn_want *want)
{
	enum fail f = upconn_take(&x->pick, want, &w->conn, &x->attempt->connect_us);

	if (f == FAIL_OK)
		wire_adopt(x, w, w->conn);
	else
		w->conn = NULL;
	return f;
}

void wire_adopt(struct exchange *x, struct wire *w, struct upconn *u)
{
	w->conn = u;
	w->received0 = u->stream.received;
	w->sent0 = u->stream.sent;
	w->mark = stream_mark(&u->stream);
	w->in = u->in;
	u->in = (struct inbuf){0};
	w->reset = false;
	x->connected = true;
	x->reused = u->reused;
}

/* ---- out ---- */

enum fail wire_send(struct exchange *x, struct wire *w, bool *all)
{
	struct iovec iov[2] = {{(void *)x->head.p, x->head.n}, {(void *)x->memory.p, x->memory.n}};
	bool memory = x->body_kind == SEND_MEMORY && x->memory.n;
	ssize_t n = stream_try_writev(&w->conn->stream, iov, memory ? 2 : 1);

	if (n < 0 && n != -EAGAIN)
		return fail_of_upstream((int)n, FAIL_UPSTREAM_SEND_TIMEOUT, FAIL_UPSTREAM_SEND);
	w->written = n > 0 ? (size_t)n : 0;
	*all = w->written == x->head.n + (memory ? x->memory.n : 0) &&
	       (x->body_kind == SEND_NOTHING || x->body_kind == SEND_MEMORY);
	if (MUTANT(dropped_up_byte) && !*all && w->written > x->head.n)
		w->written++;
	return FAIL_OK;
}

/* A reset before the server's end of stream was seen, and this is the only call that hears of it:
 * reading will find what has arrived and then an end like any other. */
static enum fail wire_send_errno(struct wire *w, int rc)
{
	if (rc == -ECONNRESET)
		w->reset = true;
	return rc < 0 ? fail_of_upstream(rc, FAIL_UPSTREAM_SEND_TIMEOUT, FAIL_UPSTREAM_SEND)
		      : FAIL_OK;
}

static uint64_t wire_send_timeout(const struct exchange *x)
{
	return (uint64_t)x->conf->send_timeout + (MUTANT(late_send_timeout) ? 500 : 0);
}

enum fail wire_writev(struct exchange *x, struct wire *w, struct iovec *iov, int n)
{
	return wire_send_errno(w,
			       stream_writev(&w->conn->stream, iov, n, wire_send_timeout(x), NULL));
}

enum fail wire_sendfile(struct exchange *x, struct wire *w, struct piece *p)
{
	int rc = stream_sendfile(&w->conn->stream, p->fd, &p->off, p->len, 0, wire_send_timeout(x));

	return rc == -EIO ? FAIL_FILE_ERROR : wire_send_errno(w, rc); /* our disk, not the server */
}

enum fail wire_send_rest(struct exchange *x, struct wire *w)
{
	struct iovec iov[2];
	size_t skip = w->written;
	int n = 0;

	if (skip < x->head.n)
		iov[n++] = (struct iovec){(char *)x->head.p + skip, x->head.n - skip};
	skip = skip > x->head.n ? skip - x->head.n : 0;
	if (x->body_kind == SEND_MEMORY && skip < x->memory.n)
		iov[n++] = (struct iovec){(char *)x->memory.p + skip, x->memory.n - skip};
	return n ? wire_writev(x, w, iov, n) : FAIL_OK;
}

/* ---- in ---- */

/* Waits for input. While the request is still going out only the sender's clock runs; afterwards
 * the time runs from *deadline on (0: from now), for a wake-up without bytes (part of a TLS record,
 * say) is no progress. */
static MAY_SUSPEND enum fail wire_wait(struct exchange *x, struct wire *w, uint64_t *deadline)
{
	for (;;) {
		bool sending = x->sending && co_child_running(&x->sender);
		int rc;

		if (sending)
			*deadline = 0;
		else if (!*deadline)
			*deadline = io_after((uint64_t)x->conf->read_timeout +
					     (MUTANT(missed_deadline) ? 500 : 0));

		/* It may have ended while we were not waiting. A server that closed its ear may
		 * still have answered: read on. */
		if (!sending && x->send_fail != FAIL_OK &&
		    (x->send_client || x->send_fail != FAIL_UPSTREAM_SEND))
			return x->send_fail;
		x->waiter = co_current();
		rc = stream_wait_readable(&w->conn->stream, sending ? CO_NEVER : *deadline);
		x->waiter = NULL;
		if (rc >= 0)
			return FAIL_OK;
		if (rc != -EINTR) /* else the sender ended */
			return fail_of_upstream(rc, FAIL_UPSTREAM_READ_TIMEOUT,
						FAIL_UPSTREAM_CLOSED);
	}
}

static bool wire_room(struct exchange *x, struct wire *w, const char **from)
{
	struct inbuf *in = &w->in;
	size_t size;

	*from = NULL;
	if (in->end < in->cap)
		return true;
	size = in->cap ? (inbuf_len(in) == in->cap ? 2 * (size_t)in->cap : in->cap)
		       : (size_t)x->conf->buffer_size;
	if (!inbuf_reserve(in, size, from))
		return false;
	if (*from == in->p + in->start || MUTANT(stale_pointer))
		*from = NULL;
	return true;
}

enum fail wire_more(struct exchange *x, struct wire *w, const char **from)
{
	uint64_t deadline = 0;

	*from = NULL;
	for (;;) {
		enum fail f = wire_wait(x, w, &deadline);
		ssize_t n;

		if (f != FAIL_OK)
			return f;
		if (!wire_room(x, w, from))
			return FAIL_NO_MEMORY;
		n = inbuf_recv(&w->in, &w->conn->stream);
		if (n > 0)
			return FAIL_OK;
		if (n == -EAGAIN && !*from)
			continue;
		if (n == -EAGAIN)
			return FAIL_OK;
		if (x->send_fail != FAIL_OK)
			return x->send_fail;
		return n == -ECONNRESET ? FAIL_UPSTREAM_RESET
					: fail_of_upstream((int)n, FAIL_UPSTREAM_READ_TIMEOUT,
							   FAIL_UPSTREAM_CLOSED);
	}
}

char *wire_keep(struct exchange *x, struct wire *w, size_t used)
{
	char *to = arena_copy(&x->r->arena, w->in.p + w->in.start, used);

	if (to)
		inbuf_take(&w->in, used);
	return to;
}

enum fail wire_await(struct wire *w, int64_t bytes, uint64_t until_ms)
{
	if ((int64_t)inbuf_len(&w->in) < bytes && !inbuf_reserve(&w->in, (size_t)bytes, NULL))
		return FAIL_NO_MEMORY;
	while ((int64_t)inbuf_len(&w->in) < bytes) {
		int rc = stream_wait_readable(&w->conn->stream, until_ms);
		ssize_t n;

		if (rc == -ETIMEDOUT || rc == -EINTR)
			return FAIL_OK; /* a slow server, or the sender has something to say: go on
					 */
		if (rc < 0)
			return fail_of_upstream(rc, FAIL_UPSTREAM_READ_TIMEOUT,
						FAIL_UPSTREAM_CLOSED);
		n = inbuf_recv(&w->in, &w->conn->stream);
		if (n <= 0 && n != -EAGAIN)
			return n == -ECONNRESET ? FAIL_UPSTREAM_RESET : FAIL_UPSTREAM_CLOSED;
	}
	return FAIL_OK;
}

bool wire_heard(const struct wire *w)
{
	return w->in.end || (w->conn && w->conn->stream.received != w->received0);
}

/* The server had closed before the request came: its end was seen, and its TCP took none of the
 * request. A reset proves nothing, for a server that has read a part and closes sends one too. */
bool wire_unseen(const struct wire *w, enum fail f)
{
	return f != FAIL_UPSTREAM_RESET && !w->reset &&
	       stream_unacked_since(&w->conn->stream, w->mark);
}

/* ---- the end ---- */

void wire_tunnel(struct wire *w, struct tunnel *t)
{
	t->server.stream = &w->conn->stream;
	t->server.in = w->in;
	w->in = (struct inbuf){0};
}
