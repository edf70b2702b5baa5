/* A byte stream: a socket, plain or with TLS on it, that coroutines read and write.
 *
 * One struct stream is one connection on one loop. Reads and writes are whole operations with
 * absolute deadlines for reads and progress time-outs for writes (a write may take for ever as long
 * as the peer takes some bytes within each timeout). Errors are -errno: -EPIPE/-ECONNRESET for a
 * lost peer, -ETIMEDOUT, -ECANCELED, -EPROTO for a TLS failure (text in stream_tls_error).
 *
 * An idle stream is small: no buffers are held between calls. */
#pragma once
#include "io/loop.h"
#include "net/addr.h"

struct tls;

struct stream {
	struct iofd io;
	struct tls *tls;	 /* NULL: plain */
	uint64_t received, sent; /* payload bytes */
	void *owner; /* for parked callbacks whose stream lies in another's struct; not touched here
		      */
};

void stream_init(struct stream *s, int fd, void (*parked)(struct iofd *));
/* Without waiting: > 0, 0 at the end, -EAGAIN, -errno. */
ssize_t stream_recv(struct stream *s, void *p, size_t n);
/* At least one byte, 0 at the end. */
MAY_SUSPEND ssize_t stream_read(struct stream *s, void *p, size_t n, uint64_t deadline_ms);
/* All of it (head and body leave in one system call when they fit the socket; one TLS record up to
 * record_max). timeout_ms: longest time without progress. 0 or -errno; *done (may be NULL) bytes
 * taken. */
MAY_SUSPEND int stream_writev(struct stream *s, struct iovec *iov, int n, uint64_t timeout_ms,
			      size_t *done);
static inline MAY_SUSPEND int stream_write(struct stream *s, const void *p, size_t n,
					   uint64_t timeout_ms)
{
	struct iovec iov = {(void *)p, n};

	return stream_writev(s, &iov, 1, timeout_ms, NULL);
}
/* What the socket takes now: bytes, or -EAGAIN, -errno. After -EAGAIN the next write must begin
 * with the same bytes: a TLS record of them may be half out. */
ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, int n);
/* The same for one piece behind which more follows at once: they may share a packet. */
ssize_t stream_try_send_more(struct stream *s, const void *p, size_t n);
/* [*off, *off+n) of a file: sendfile when plain, through a buffer with TLS. max_chunk bytes per
 * call (0: no limit), other coroutines run between two. -EIO: the file is shorter. */
MAY_SUSPEND int stream_sendfile(struct stream *s, int fd, off_t *off, size_t n, size_t max_chunk,
				uint64_t timeout_ms);
/* Plain streams only: moves up to n bytes between the socket and a pipe without copying.
 * in: waits; > 0 bytes, 0 at the end; the pipe must be empty. out: everything, waiting. */
static inline bool stream_can_splice(const struct stream *s)
{
	return !s->tls;
}
MAY_SUSPEND ssize_t stream_splice_in(struct stream *s, int pipe_w, size_t n, uint64_t deadline_ms);
MAY_SUSPEND int stream_splice_out(struct stream *s, int pipe_r, size_t n, uint64_t timeout_ms);
/* Waits for input or the end (TLS: what is buffered counts as ready). IO_R, or -ETIMEDOUT,
 * -ECANCELED. */
MAY_SUSPEND int stream_wait_readable(struct stream *s, uint64_t deadline_ms);
/* True when a read would find something without waiting. */
bool stream_readable(struct stream *s);
/* The peer is gone or has sent its end (checked without reading): client abort detection. */
bool stream_peer_closed(struct stream *s);
/* Sends FIN (TLS: close_notify first). 0, or -EAGAIN: the socket has no room for close_notify and
 * nothing was sent; again when it has. */
int stream_shutdown(struct stream *s);
/* Closes; sends close_notify when that needs no waiting. Idempotent. */
void stream_close(struct stream *s);
/* Closes with a TCP reset (reset_timedout_connection, 444). */
void stream_reset(struct stream *s);
int stream_set_nodelay(struct stream *s, bool on);
/* Where the stream is, in bytes on the wire (TLS: of records), when everything written up to now
 * has been sent. */
uint64_t stream_mark(const struct stream *s);
/* True when the peer's TCP has acknowledged nothing behind that mark, so that no program can have
 * read any of it. False when it has, or when that cannot be told (Unix sockets): unless nothing was
 * sent at all. */
bool stream_unacked_since(struct stream *s, uint64_t mark);
/* True when TCP sends the same bytes again and again and none of them is acknowledged: the peer is
 * gone, or the network between. A peer that merely does not read acknowledges. False when that
 * cannot be told. */
bool stream_peer_vanished(struct stream *s);
/* Acknowledges now what was received: a peer that sends in small pieces with Nagle's algorithm on
 * waits for it, up to the 40 ms of a delayed acknowledgement. */
void stream_quickack(struct stream *s);

/* An input buffer: [start, end) of what was read and not yet consumed. Memory from the thread's
 * size classes; none while empty and idle. */
struct inbuf {
	char *p;
	uint32_t start, end, cap;
};
#define INBUF_MAX (1u << 20)
static inline struct span inbuf_span(const struct inbuf *b)
{
	return (struct span){b->p ? b->p + b->start : NULL, b->end - b->start};
}
static inline size_t inbuf_len(const struct inbuf *b)
{
	return b->end - b->start;
}
static inline void inbuf_take(struct inbuf *b, size_t n)
{
	b->start += (uint32_t)n;
	if (b->start == b->end)
		b->start = b->end = 0;
}
/* Makes cap at least size and moves the content to the front when needed; keeps it. *from receives
 * where the content was before (for rebasing), may be NULL. False: no memory, or above INBUF_MAX.
 */
bool inbuf_reserve(struct inbuf *b, size_t size, const char **from);
/* Frees the memory; content is lost. */
void inbuf_free(struct inbuf *b);
/* Reads into the free room (there must be some). As stream_read / stream_recv. */
MAY_SUSPEND ssize_t inbuf_read(struct inbuf *b, struct stream *s, uint64_t deadline_ms);
ssize_t inbuf_recv(struct inbuf *b, struct stream *s);

/* Pipes for splice: pooled per thread. 0 or -errno. Give back only an empty one; otherwise close
 * it. */
int splice_pipe_take(int fds[2]);
void splice_pipe_give(int fds[2], bool empty);
/* Frees this thread's caches (pipes, buffers, TLS sessions): at the end of a thread. */
void stream_thread_fini(void);
void inbuf_thread_fini(void); /* for stream_thread_fini */
