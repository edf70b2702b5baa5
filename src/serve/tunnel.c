#include "base/mutant.h"
#include "serve/tunnel.h"
#include <errno.h>
#include "http/fail.h"

#define TUNNEL_BUF 16384

static _Thread_local struct list tunnels;
static _Thread_local unsigned ntunnels;
static _Thread_local bool tunnels_ready;

unsigned tunnels_count(void)
{
	return ntunnels;
}

/* ---- connections as ends ---- */

static void tunnel_event(struct iofd *f);

static int wire_attach(struct tunnel_side *s, struct tunnel *t)
{
	s->stream->owner = t;
	s->stream->io.parked = tunnel_event;
	s->stream->io.parked_writes = true;
	return iofd_register(&s->stream->io);
}

static void wire_detach(struct tunnel_side *s)
{
	s->stream->io.parked = NULL;
}

static bool wire_readable(struct tunnel_side *s)
{
	return stream_readable(s->stream);
}

static ssize_t wire_recv(struct tunnel_side *s)
{
	return inbuf_recv(&s->in, s->stream);
}

static ssize_t wire_send(struct tunnel_side *s, struct span bytes)
{
	struct iovec iov = {(void *)bytes.p, bytes.n};

	return stream_try_writev(s->stream, &iov, 1);
}

static int wire_shutdown(struct tunnel_side *s)
{
	return stream_shutdown(s->stream);
}

static bool wire_hung_up(struct tunnel_side *s)
{
	return s->stream->io.ready & IO_HUP;
}

static const struct tunnel_end_ops wire_ops = {
	.attach = wire_attach,
	.detach = wire_detach,
	.readable = wire_readable,
	.recv = wire_recv,
	.send = wire_send,
	.shutdown = wire_shutdown,
	.hung_up = wire_hung_up,
};

/* ---- moving ---- */

static void tunnel_end(struct tunnel *t, int fail)
{
	timer_stop(&co_sched.wheel, &t->timer);
	list_del(&t->link);
	ntunnels--;
	t->client.ops->detach(&t->client);
	t->server.ops->detach(&t->server);
	inbuf_free(&t->client.in);
	inbuf_free(&t->server.in);
	t->ended(t, fail);
}

/* Writes what is buffered of `from` to `to`. 0, or -errno; all gone when inbuf is empty. */
static int side_flush(struct tunnel_side *from, struct tunnel_side *to)
{
	while (inbuf_len(&from->in)) {
		ssize_t n = to->ops->send(to, inbuf_span(&from->in));

		if (MUTANT(busy_wait) && n == -EAGAIN)
			continue;
		if (n == -EAGAIN || n == 0)
			return 0;
		if (n < 0)
			return (int)n;
		if (MUTANT(dropped_tunnel_byte) && (size_t)n < inbuf_len(&from->in))
			n++;
		from->moved += (uint64_t)n;
		inbuf_take(&from->in, (size_t)n);
	}
	return 0;
}

/* Moves what can be moved now from one side to the other. Returns > 0 when something moved, 0, or
 * -errno. */
static int side_move(struct tunnel_side *from, struct tunnel_side *to)
{
	uint64_t before = from->moved;
	int rc = side_flush(from, to);

	for (int i = 0; rc == 0 && !from->eof && inbuf_len(&from->in) == 0 && i < 16; i++) {
		ssize_t n;

		if (!from->ops->readable(from))
			break;
		if (!inbuf_reserve(&from->in, TUNNEL_BUF, NULL))
			return -ENOMEM;
		n = from->ops->recv(from);
		from->dry = n == -EAGAIN;
		if (n == -EAGAIN)
			break;
		if (n < 0)
			return (int)n;
		if (n == 0)
			from->eof = true;
		rc = side_flush(from, to);
	}
	if (rc < 0)
		return rc;
	if (inbuf_len(&from->in) == 0) {
		inbuf_free(&from->in);
		if (from->eof && !to->write_shut)
			to->write_shut = to->ops->shutdown(to) != -EAGAIN;
	}
	return from->moved != before;
}

static bool side_has_more(struct tunnel_side *s)
{
	return !s->eof && !s->dry && !inbuf_len(&s->in) && s->ops->readable(s);
}

static uint64_t side_others_moved_ms(struct tunnel_side *s)
{
	return s->ops->others_moved_ms ? s->ops->others_moved_ms(s) : 0;
}

static bool tunnel_is_idle(struct tunnel *t)
{
	uint64_t others =
		MAX_OF(side_others_moved_ms(&t->client), side_others_moved_ms(&t->server));

	t->moved_ms = MAX_OF(t->moved_ms, others);
	return t->idle_timeout_ms && io_now_ms() >= t->moved_ms + t->idle_timeout_ms &&
	       !side_has_more(&t->client) && !side_has_more(&t->server);
}

/* The next turn when there is more than this one should move, else the idle time-out. */
static void tunnel_arm(struct tunnel *t)
{
	if (side_has_more(&t->client) || side_has_more(&t->server))
		timer_start(&co_sched.wheel, &t->timer, io_now_ms());
	else if (t->idle_timeout_ms)
		timer_start(&co_sched.wheel, &t->timer, t->moved_ms + t->idle_timeout_ms);
	else
		timer_stop(&co_sched.wheel, &t->timer);
}

static void tunnel_step(struct tunnel *t)
{
	int up, down;

	t->client.dry = t->server.dry = false;
	up = side_move(&t->client, &t->server);
	down = up < 0 ? 0 : side_move(&t->server, &t->client);

	if (up < 0) {
		tunnel_end(t, FAIL_TUNNEL_ENDED);
		return;
	}
	if (down < 0) {
		tunnel_end(t, FAIL_TUNNEL_ENDED);
		return;
	}
	/* A server that has ended will not answer: what is left of the client's bytes has no
	 * reader. */
	if (t->client.write_shut && (t->server.write_shut || t->server.ops->hung_up(&t->server))) {
		tunnel_end(t, FAIL_OK);
		return;
	}
	if (up || down)
		t->moved_ms = io_now_ms();
	tunnel_arm(t);
}

static void tunnel_event(struct iofd *f)
{
	tunnel_step(CONTAINER_OF(f, struct stream, io)->owner);
}

static void tunnel_timer(struct timer *timer)
{
	struct tunnel *t = CONTAINER_OF(timer, struct tunnel, timer);

	bool woken = t->woken;

	t->woken = false;
	if (!woken && tunnel_is_idle(t))
		tunnel_end(t, FAIL_TUNNEL_ENDED);
	else
		tunnel_step(t);
}

void tunnel_start(struct tunnel *t)
{
	if (!tunnels_ready) {
		list_init(&tunnels);
		tunnels_ready = true;
	}
	list_push(&tunnels, &t->link);
	ntunnels++;
	timer_init(&t->timer, tunnel_timer);
	t->client.ops = t->client.ops ? t->client.ops : &wire_ops;
	t->server.ops = t->server.ops ? t->server.ops : &wire_ops;
	t->moved_ms = io_now_ms();
	if (t->client.ops->attach(&t->client, t) < 0 || t->server.ops->attach(&t->server, t) < 0) {
		tunnel_end(t, FAIL_NO_DESCRIPTORS);
		return;
	}
	tunnel_step(t);
}

void tunnel_wake(struct tunnel *t)
{
	t->woken = true;
	timer_start(&co_sched.wheel, &t->timer, io_now_ms());
}

void tunnels_abort(void)
{
	while (tunnels_ready && !list_empty(&tunnels))
		tunnel_end(CONTAINER_OF(tunnels.next, struct tunnel, link), FAIL_SHUTDOWN);
}
