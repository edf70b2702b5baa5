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

static void tunnel_end(struct tunnel *t, int fail)
{
	timer_stop(&co_sched.wheel, &t->timer);
	list_del(&t->link);
	ntunnels--;
	t->client.stream->io.parked = NULL;
	t->server.stream->io.parked = NULL;
	inbuf_free(&t->client.in);
	inbuf_free(&t->server.in);
	t->ended(t, fail);
}

/* Writes what is buffered of `from` to `to`. 0, or -errno; all gone when inbuf is empty. */
static int side_flush(struct tunnel_side *from, struct tunnel_side *to)
{
	while (inbuf_len(&from->in)) {
		struct iovec iov = {from->in.p + from->in.start, inbuf_len(&from->in)};
		ssize_t n = stream_try_writev(to->stream, &iov, 1);

		if (n == -EAGAIN || n == 0)
			return 0;
		if (n < 0)
			return (int)n;
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

		if (!stream_readable(from->stream))
			break;
		if (!inbuf_reserve(&from->in, TUNNEL_BUF, NULL))
			return -ENOMEM;
		n = inbuf_recv(&from->in, from->stream);
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
		if (from->eof && !to->write_shut) {
			stream_shutdown(to->stream);
			to->write_shut = true;
		}
	}
	return from->moved != before;
}

static bool side_has_more(const struct tunnel_side *s)
{
	return !s->eof && !inbuf_len(&s->in) && stream_readable(s->stream);
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
	int up = side_move(&t->client, &t->server);
	int down = up < 0 ? 0 : side_move(&t->server, &t->client);

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
	if ((t->client.eof && t->server.eof && !inbuf_len(&t->client.in) &&
	     !inbuf_len(&t->server.in)) ||
	    (t->server.eof && !inbuf_len(&t->server.in) && (t->server.stream->io.ready & IO_HUP))) {
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

	if (t->idle_timeout_ms && io_now_ms() >= t->moved_ms + t->idle_timeout_ms &&
	    !side_has_more(&t->client) && !side_has_more(&t->server))
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
	t->client.stream->owner = t->server.stream->owner = t;
	t->client.stream->io.parked = t->server.stream->io.parked = tunnel_event;
	t->client.stream->io.parked_writes = t->server.stream->io.parked_writes = true;
	t->moved_ms = io_now_ms();
	if (iofd_register(&t->client.stream->io) < 0 || iofd_register(&t->server.stream->io) < 0) {
		tunnel_end(t, FAIL_NO_DESCRIPTORS);
		return;
	}
	tunnel_step(t);
}

void tunnels_abort(void)
{
	while (tunnels_ready && !list_empty(&tunnels))
		tunnel_end(CONTAINER_OF(tunnels.next, struct tunnel, link), FAIL_SHUTDOWN);
}
