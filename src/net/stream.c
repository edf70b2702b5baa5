#include <errno.h>
#include <linux/tcp.h> /* the whole of struct tcp_info */
#include <netinet/in.h>
#include "net/stream.h"
#include "net/tls.h"
#include "base/bug.h"
#include "base/pool.h"

#define FILE_PIECE   16384 /* of a file, through memory, with TLS */
#define SPLICE_PIPES 64	   /* idle pipes kept per thread */
#define VANISHED_TRIES                                                                             \
	2 /* retransmissions in a row, each waiting twice as long as the one before */

void stream_init(struct stream *s, int fd, void (*parked)(struct iofd *))
{
	*s = (struct stream){.tls = NULL};
	iofd_init(&s->io, fd, parked);
}

ssize_t stream_recv(struct stream *s, void *p, size_t n)
{
	ssize_t got = unlikely(s->tls) ? tls_recv(s, p, n) : iofd_recv(&s->io, p, n);

	if (got > 0)
		s->received += (size_t)got;
	return got;
}

ssize_t stream_read(struct stream *s, void *p, size_t n, uint64_t deadline_ms)
{
	ssize_t got;

	if (s->tls && tls_pending(s)) {
		got = stream_recv(s, p, n);
		if (got != -EAGAIN)
			return got;
	}
	do {
		int rc = iofd_wait(&s->io, IO_R, deadline_ms);

		if (rc < 0)
			return rc;
		got = stream_recv(s, p, n);
	} while (got == -EAGAIN);
	return got;
}

ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, int n)
{
	ssize_t put;

	if (unlikely(s->tls))
		put = tls_try_writev(s, iov, n);
	else if (s->io.ready & IO_W)
		put = iofd_writev(&s->io, iov, n);
	else
		put = -EAGAIN; /* known to be full */
	if (put > 0)
		s->sent += (size_t)put;
	return put;
}

ssize_t stream_try_send_more(struct stream *s, const void *p, size_t n)
{
	struct iovec iov = {(void *)p, n};
	ssize_t put;

	if (s->tls || !(s->io.ready & IO_W))
		return stream_try_writev(s, &iov, 1);
	put = iofd_send_more(&s->io, p, n);
	if (put > 0)
		s->sent += (size_t)put;
	return put;
}

/* Takes n bytes off the front; returns the first piece that still holds some. */
static int iov_advance(struct iovec *iov, int n, size_t bytes)
{
	int i = 0;

	while (i < n && bytes >= iov[i].iov_len)
		bytes -= iov[i++].iov_len;
	if (i < n) {
		iov[i].iov_base = (char *)iov[i].iov_base + bytes;
		iov[i].iov_len -= bytes;
	}
	return i;
}

int stream_writev(struct stream *s, struct iovec *iov, int n, uint64_t timeout_ms, size_t *done)
{
	size_t all = 0;
	int rc = 0, i = iov_advance(iov, n, 0);

	while (i < n) {
		ssize_t put = stream_try_writev(s, iov + i, MIN_OF(n - i, 64));

		if (put >= 0) {
			all += (size_t)put;
			i += iov_advance(iov + i, n - i, (size_t)put);
			if (i == n)
				break;
		} else if (put != -EAGAIN) {
			rc = (int)put;
			break;
		}
		rc = iofd_wait(&s->io, IO_W, io_after(timeout_ms));
		if (rc < 0)
			break;
	}
	if (done)
		*done = all;
	return rc < 0 ? rc : 0;
}

/* Pieces through memory: TLS must see the bytes. */
static int send_file_copied(struct stream *s, int fd, off_t *off, size_t n, uint64_t timeout_ms)
{
	struct inbuf b = {0};
	int rc = 0;

	if (!inbuf_reserve(&b, FILE_PIECE, NULL))
		return -ENOMEM;
	while (n && rc == 0) {
		ssize_t got = sys->pread(fd, b.p, MIN_OF(n, b.cap), *off);
		struct iovec iov = {b.p, (size_t)MAX_OF(got, 0)};
		size_t put;

		if (got <= 0) {
			rc = got ? (int)got : -EIO;
			break;
		}
		rc = stream_writev(s, &iov, 1, timeout_ms, &put);
		*off += (off_t)put;
		n -= put;
	}
	inbuf_free(&b);
	return rc;
}

int stream_sendfile(struct stream *s, int fd, off_t *off, size_t n, size_t max_chunk,
		    uint64_t timeout_ms)
{
	if (s->tls)
		return send_file_copied(s, fd, off, n, timeout_ms);
	if (max_chunk == 0)
		max_chunk = SIZE_MAX;
	while (n) {
		size_t want = MIN_OF(n, max_chunk);
		ssize_t put = iofd_sendfile(&s->io, fd, off, want);
		int rc;

		if (put > 0) {
			s->sent += (size_t)put;
			n -= (size_t)put;
			if (n == 0)
				break;
			/* A full chunk was taken: others first, then more. */
			if ((size_t)put == want) {
				rc = co_yield ();
				if (rc < 0)
					return rc;
				continue;
			}
		} else if (put == 0) {
			return -EIO; /* the file became shorter */
		} else if (put != -EAGAIN) {
			return (int)put;
		}
		rc = iofd_wait(&s->io, IO_W, io_after(timeout_ms));
		if (rc < 0)
			return rc;
	}
	return 0;
}

ssize_t stream_splice_in(struct stream *s, int pipe_w, size_t n, uint64_t deadline_ms)
{
	ssize_t got;

	BUG_ON(s->tls);
	do {
		int rc = iofd_wait(&s->io, IO_R, deadline_ms);

		if (rc < 0)
			return rc;
		got = iofd_splice_in(&s->io, pipe_w, n);
	} while (got == -EAGAIN);
	if (got > 0)
		s->received += (size_t)got;
	return got;
}

int stream_splice_out(struct stream *s, int pipe_r, size_t n, uint64_t timeout_ms)
{
	BUG_ON(s->tls);
	while (n) {
		ssize_t put = iofd_splice_out(&s->io, pipe_r, n);
		int rc;

		if (put > 0) {
			s->sent += (size_t)put;
			n -= (size_t)put;
			if (n == 0)
				break;
		} else if (put == 0) {
			return -EIO; /* the pipe held less than n */
		} else if (put != -EAGAIN) {
			return (int)put;
		}
		rc = iofd_wait(&s->io, IO_W, io_after(timeout_ms));
		if (rc < 0)
			return rc;
	}
	return 0;
}

int stream_wait_readable(struct stream *s, uint64_t deadline_ms)
{
	int rc;

	if (s->tls && tls_pending(s))
		return IO_R;
	rc = iofd_wait(&s->io, IO_R, deadline_ms);
	return rc < 0 ? rc : IO_R;
}

bool stream_readable(struct stream *s)
{
	return (s->io.ready & (IO_R | IO_HUP)) || (s->tls && tls_pending(s));
}

bool stream_peer_closed(struct stream *s)
{
	return s->io.fd < 0 || (s->io.ready & (IO_HUP | IO_RDHUP));
}

int stream_shutdown(struct stream *s)
{
	if (s->io.fd < 0)
		return 0;
	if (s->tls && tls_shutdown(s) == -EAGAIN)
		return -EAGAIN;
	sys->shutdown(s->io.fd, SHUT_WR);
	return 0;
}

void stream_close(struct stream *s)
{
	if (s->tls) {
		if (s->io.fd >= 0)
			tls_shutdown(s);
		tls_free(s);
	}
	if (s->io.fd >= 0)
		iofd_close(&s->io);
}

void stream_reset(struct stream *s)
{
	struct linger l = {.l_onoff = 1, .l_linger = 0};

	if (s->tls)
		tls_free(s);
	if (s->io.fd < 0)
		return;
	sys->setsockopt(s->io.fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	iofd_close(&s->io);
}

int stream_set_nodelay(struct stream *s, bool on)
{
	int v = on;

	return sys->setsockopt(s->io.fd, IPPROTO_TCP, TCP_NODELAY, &v, sizeof(v));
}

uint64_t stream_mark(const struct stream *s)
{
	return s->tls ? tls_written(s) : s->sent;
}

bool stream_unacked_since(struct stream *s, uint64_t mark)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (stream_mark(s) == mark)
		return true;
	if (sys->getsockopt(s->io.fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    len < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
		return false;
	return info.tcpi_bytes_acked <= mark + 1; /* the SYN counts as one */
}

bool stream_peer_vanished(struct stream *s)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (sys->getsockopt(s->io.fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    len < offsetof(struct tcp_info, tcpi_unacked) + sizeof(info.tcpi_unacked))
		return false;
	return info.tcpi_unacked && info.tcpi_retransmits >= VANISHED_TRIES;
}

void stream_quickack(struct stream *s)
{
	int on = 1;

	(void)sys->setsockopt(s->io.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

struct pipe_pair {
	int fds[2];
};
static _Thread_local struct pipe_pair pipes[SPLICE_PIPES];
static _Thread_local unsigned npipes;

int splice_pipe_take(int fds[2])
{
	if (npipes) {
		npipes--;
		fds[0] = pipes[npipes].fds[0];
		fds[1] = pipes[npipes].fds[1];
		return 0;
	}
	return sys->pipe(fds);
}

void splice_pipe_give(int fds[2], bool empty)
{
	if (empty && npipes < SPLICE_PIPES) {
		pipes[npipes++] = (struct pipe_pair){{fds[0], fds[1]}};
	} else {
		sys->close(fds[0]);
		sys->close(fds[1]);
	}
	fds[0] = fds[1] = -1;
}

void stream_thread_fini(void)
{
	while (npipes) {
		npipes--;
		sys->close(pipes[npipes].fds[0]);
		sys->close(pipes[npipes].fds[1]);
	}
	inbuf_thread_fini();
	tls_thread_fini();
}
