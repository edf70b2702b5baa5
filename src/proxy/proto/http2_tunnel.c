/* WebSocket to servers that speak HTTP/2: extended CONNECT (RFC 8441), and its stream as an end of
 * a tunnel. */
#include <errno.h>
#include "http/websocket.h"
#include "io/loop.h"
#include "proxy/proto/http2.h"
#include "serve/tunnel.h"

#define OUT_MAX 16384 /* bytes on their way that wait for the window */

/* The answer as HTTP/1 would have had it: 101, with the key answered. */
enum fail http2_switched(struct exchange *x)
{
	struct span key = hdrs_value(&x->r->in.headers, HDR_SEC_WEBSOCKET_KEY);
	char accept[WEBSOCKET_ACCEPT_LEN];
	struct span value;
	enum fail f;

	websocket_accept(key, accept);
	value = arena_dup(&x->r->arena, span_make(accept, sizeof(accept)));
	if (!value.p)
		return FAIL_NO_MEMORY;
	x->resp.status = 101;
	hdrs_remove(&x->resp.headers, HDR_CONTENT_LENGTH);
	f = hdrs_add(&x->resp.headers, SPAN("Upgrade"), ((struct http2 *)x->state)->protocol);
	return f == FAIL_OK ? hdrs_add(&x->resp.headers, SPAN("Sec-WebSocket-Accept"), value) : f;
}

/* ---- the end of a tunnel ---- */

static void end_event(struct h2_stream *st)
{
	struct http2 *h = CONTAINER_OF(st, struct http2, st);

	if (h->tunnel)
		tunnel_wake(h->tunnel);
}

static int end_attach(struct tunnel_side *side, struct tunnel *t)
{
	struct http2 *h = side->end;

	h->tunnel = t;
	h->st.event = end_event;
	return 0;
}

static void end_detach(struct tunnel_side *side)
{
	struct http2 *h = side->end;

	h->tunnel = NULL;
	h->st.event = NULL;
}

static bool end_readable(struct tunnel_side *side)
{
	struct http2 *h = side->end;

	return inbuf_len(&h->st.in) || h->st.ended || !h->st.conn;
}

static ssize_t end_recv(struct tunnel_side *side)
{
	struct h2_stream *st = &((struct http2 *)side->end)->st;
	struct inbuf *to = &side->in;
	size_t n = MIN_OF(inbuf_len(&st->in), (size_t)(to->cap - to->end));

	if (!inbuf_len(&st->in))
		return st->ended ? 0 : st->conn ? -EAGAIN : -ECONNRESET;
	memcpy(to->p + to->end, st->in.p + st->in.start, n);
	to->end += (uint32_t)n;
	inbuf_take(&st->in, n);
	if (!inbuf_len(&st->in))
		inbuf_free(&st->in);
	h2_stream_consume(st, n);
	return (ssize_t)n;
}

static ssize_t end_send(struct tunnel_side *side, struct span bytes)
{
	struct http2 *h = side->end;
	struct h2_stream *st = &h->st;

	if (!st->conn)
		return -EPIPE;
	if (piece_len(&st->piece))
		return -EAGAIN;
	bytes.n = MIN_OF(bytes.n, (size_t)OUT_MAX);
	if (!inbuf_reserve(&h->held, bytes.n, NULL))
		return -ENOMEM;
	memcpy(h->held.p, bytes.p, bytes.n);
	st->piece = (struct piece){.kind = PIECE_MEM, .mem = {h->held.p, bytes.n}};
	h2_stream_resume(st);
	return (ssize_t)bytes.n;
}

/* Bytes that the tunnel has handed over, or its end, lie in no frame yet. */
static bool out_waits(const struct h2_stream *st)
{
	return st->conn && (piece_len(&st->piece) || (st->piece_last && !st->sent));
}

/* When the other direction is over too the tunnel is, and with it the stream: so what waits for the
 * window goes first. */
static int end_shutdown(struct tunnel_side *side)
{
	struct http2 *h = side->end;

	if (!h->st.piece_last) {
		h->st.piece_last = true;
		h2_stream_resume(&h->st);
	}
	return out_waits(&h->st) ? -EAGAIN : 0;
}

static bool end_hung_up(struct tunnel_side *side)
{
	return !((struct http2 *)side->end)->st.conn;
}

static uint64_t end_others_moved_ms(struct tunnel_side *side)
{
	const struct h2_stream *st = &((struct http2 *)side->end)->st;

	return out_waits(st) ? st->sent_ms : 0;
}

static const struct tunnel_end_ops end_ops = {
	.attach = end_attach,
	.detach = end_detach,
	.readable = end_readable,
	.recv = end_recv,
	.send = end_send,
	.shutdown = end_shutdown,
	.hung_up = end_hung_up,
	.others_moved_ms = end_others_moved_ms,
};

bool http2_tunnel(struct exchange *x, struct tunnel *t)
{
	t->server.ops = &end_ops;
	t->server.end = x->state;
	return true;
}
