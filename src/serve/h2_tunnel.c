/* A stream as an end of a tunnel: WebSocket over HTTP/2 (RFC 8441). The stream's windows are what
 * stops either side. nghttp2's callbacks only wake the tunnel, which looks in the next turn. */
#include "serve/h2_stream.h"
#include <errno.h>
#include "serve/tunnel.h"

#define OUT_MAX 16384 /* bytes on their way that wait for the window */

static struct h2_client *stream_of_end(struct tunnel_side *side)
{
	return side->end;
}

static int client_end_attach(struct tunnel_side *side, struct tunnel *t)
{
	stream_of_end(side)->tunnel = t;
	h2_stream_open_window(stream_of_end(side));
	return 0;
}

static void client_end_detach(struct tunnel_side *side)
{
	stream_of_end(side)->tunnel = NULL;
}

static bool client_end_readable(struct tunnel_side *side)
{
	struct h2_client *s = stream_of_end(side);

	return inbuf_len(&s->in) || s->in_done || h2_gone(s);
}

static ssize_t client_end_recv(struct tunnel_side *side)
{
	struct h2_client *s = stream_of_end(side);
	struct inbuf *to = &side->in;
	size_t n = MIN_OF(inbuf_len(&s->in), (size_t)(to->cap - to->end));

	if (!inbuf_len(&s->in))
		return s->in_done ? 0 : h2_gone(s) ? -ECONNRESET : -EAGAIN;
	memcpy(to->p + to->end, s->in.p + s->in.start, n);
	to->end += (uint32_t)n;
	inbuf_take(&s->in, n);
	if (!inbuf_len(&s->in))
		inbuf_free(&s->in);
	if (!h2_gone(s)) {
		h2_conn_touch(s->h2);
		h2_conn_check(s->h2, nghttp2_session_consume_stream(s->h2->session, s->id, n));
	}
	return (ssize_t)n;
}

/* Bytes that wait are the stream's gathered ones; their memory is held only while there are some.
 */
static void out_tidy(struct h2_client *s)
{
	if (s->gather_at < s->gather_len)
		return;
	inbuf_free(&s->tunnel_out);
	s->gather = NULL;
	s->gather_at = s->gather_len = 0;
}

static ssize_t client_end_send(struct tunnel_side *side, struct span bytes)
{
	struct h2_client *s = stream_of_end(side);

	if (h2_gone(s))
		return -EPIPE;
	out_tidy(s);
	if (s->gather_len)
		return -EAGAIN;
	bytes.n = MIN_OF(bytes.n, (size_t)OUT_MAX);
	if (!inbuf_reserve(&s->tunnel_out, bytes.n, NULL))
		return -ENOMEM;
	memcpy(s->tunnel_out.p, bytes.p, bytes.n);
	s->gather = s->tunnel_out.p;
	s->gather_len = (uint32_t)bytes.n;
	h2_data_ready(s);
	h2_conn_touch(s->h2);
	return (ssize_t)bytes.n;
}

static int client_end_shutdown(struct tunnel_side *side)
{
	struct h2_client *s = stream_of_end(side);

	s->piece.last = true;
	if (!h2_gone(s)) {
		h2_data_ready(s);
		h2_conn_touch(s->h2);
	}
	return 0;
}

static bool client_end_hung_up(struct tunnel_side *side)
{
	return h2_gone(stream_of_end(side));
}

/* Bytes that the tunnel has handed over, or its end, lie in no frame yet. */
static bool out_waits(const struct h2_client *s)
{
	return s->gather_at < s->gather_len || (s->piece.last && !s->end_sent);
}

static uint64_t client_end_others_moved_ms(struct tunnel_side *side)
{
	struct h2_client *s = stream_of_end(side);

	return out_waits(s) && !h2_gone(s) ? h2_others_moved_ms(s) : 0;
}

static const struct tunnel_end_ops end_ops = {
	.attach = client_end_attach,
	.detach = client_end_detach,
	.readable = client_end_readable,
	.recv = client_end_recv,
	.send = client_end_send,
	.shutdown = client_end_shutdown,
	.hung_up = client_end_hung_up,
	.others_moved_ms = client_end_others_moved_ms,
};

void h2_tunnel(struct req *r, struct tunnel *t)
{
	t->client.ops = &end_ops;
	t->client.end = h2_of(r);
}

/* ---- the end ---- */

static uint64_t over_timeout_ms(struct h2_client *s)
{
	const struct core_loc *l = req_conf(&s->req, &core_loc_mod);

	return (uint64_t)l->send_timeout;
}

static void over_check(struct timer *timer)
{
	struct h2_client *s = CONTAINER_OF(timer, struct h2_client, timer);
	uint64_t until = 0;

	if (out_waits(s) && !h2_gone(s) && h2_others_moved_ms(s))
		until = h2_others_moved_ms(s) + over_timeout_ms(s);
	if (until > io_now_ms())
		timer_start(&co_sched.wheel, &s->timer, until);
	else
		h2_stream_end(s);
}

void h2_tunnel_event(struct h2_client *s)
{
	out_tidy(s);
	if (s->tunnel)
		tunnel_wake(s->tunnel);
	else if (s->timer.fire) /* over, and this was what it waited for */
		timer_start(&co_sched.wheel, &s->timer, io_now_ms());
}

void h2_tunnel_sent(struct h2_client *s, bool all)
{
	s->tunnel->moved_ms = io_now_ms();
	if (all)
		h2_tunnel_event(s);
}

/* What the tunnel has handed over may still wait for the window: send_timeout for that. */
void h2_tunnel_over(struct req *r)
{
	struct h2_client *s = h2_of(r);

	s->timer.fire = over_check;
	if (!h2_gone(s))
		h2_conn_pump(s->h2);
	if (h2_gone(s) || s->end_sent || !s->piece.last)
		h2_stream_end(s);
	else
		timer_start(&co_sched.wheel, &s->timer, io_now_ms() + over_timeout_ms(s));
}
