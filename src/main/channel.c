#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/pool.h"
#include "main/channel.h"

#define FDS_PER_CALL 200 /* the kernel takes 253 */
#define READ_STEP    65536

/* On the wire: head, one byte per FDS_PER_CALL descriptors (which travel with it), bytes. */
struct head {
	uint32_t type, nfds;
	uint64_t length;
};

struct channel_out {
	struct list link;
	size_t len, sent; /* head, descriptor bytes, bytes */
	size_t nfds, fds_sent;
	int *fds;
	char data[];
};

static size_t fd_bytes(size_t nfds)
{
	return (nfds + FDS_PER_CALL - 1) / FDS_PER_CALL;
}

int channel_pair(int fds[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	return 0;
}

void channel_init(struct channel *c, int fd)
{
	*c = (struct channel){.fd = fd};
	list_init(&c->out);
	buf_init(&c->in, (size_t)2 << 30);
}

static void close_fds(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void out_free(struct channel_out *o)
{
	close_fds(o->fds + o->fds_sent, o->nfds - o->fds_sent);
	list_del(&o->link);
	mem_free(o->fds);
	mem_free(o);
}

void channel_fini(struct channel *c)
{
	while (!list_empty(&c->out))
		out_free(CONTAINER_OF(c->out.next, struct channel_out, link));
	close_fds(c->in_fds, c->nin_fds);
	mem_free(c->in_fds);
	buf_fini(&c->in);
	if (c->fd >= 0)
		close(c->fd);
	*c = (struct channel){.fd = -1};
	list_init(&c->out);
}

/* ---- sending ---- */

static int dup_fds(struct channel_out *o, const int *fds, size_t n)
{
	o->fds = mem_alloc((n + 1) * sizeof(*o->fds));
	if (!o->fds)
		return -ENOMEM;
	for (; o->nfds < n; o->nfds++) {
		o->fds[o->nfds] = fcntl(fds[o->nfds], F_DUPFD_CLOEXEC, 3);
		if (o->fds[o->nfds] < 0)
			return -errno;
	}
	return 0;
}

int channel_send(struct channel *c, enum channel_type type, struct span bytes, const int *fds,
		 size_t nfds)
{
	struct head h = {.type = type, .nfds = (uint32_t)nfds, .length = bytes.n};
	size_t len = sizeof(h) + fd_bytes(nfds) + bytes.n;
	struct channel_out *o;
	int r;

	if (nfds > CHANNEL_FDS_MAX)
		return -E2BIG;
	o = mem_zalloc(sizeof(*o) + len);
	if (!o)
		return -ENOMEM;
	list_init(&o->link);
	o->len = len;
	memcpy(o->data, &h, sizeof(h));
	if (bytes.n)
		memcpy(o->data + sizeof(h) + fd_bytes(nfds), bytes.p, bytes.n);
	r = dup_fds(o, fds, nfds);
	if (r < 0) {
		out_free(o);
		return r;
	}
	list_push(&c->out, &o->link);
	r = channel_flush(c);
	return r == -EAGAIN ? 0 : r;
}

/* One byte with the next descriptors. */
static ssize_t send_fds(int fd, struct channel_out *o)
{
	union {
		char p[CMSG_SPACE(FDS_PER_CALL * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	size_t n = MIN_OF(o->nfds - o->fds_sent, FDS_PER_CALL);
	struct iovec iov = {.iov_base = o->data + o->sent, .iov_len = 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.p,
			   .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
	ssize_t r;

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(cm), o->fds + o->fds_sent, n * sizeof(int));
	r = sendmsg(fd, &m, MSG_NOSIGNAL);
	if (r == 1) {
		close_fds(o->fds + o->fds_sent, n);
		o->fds_sent += n;
	}
	return r;
}

static ssize_t send_some(int fd, struct channel_out *o)
{
	size_t to = o->len;

	if (o->sent >= sizeof(struct head) && o->fds_sent < o->nfds)
		return send_fds(fd, o);
	if (o->sent < sizeof(struct head))
		to = sizeof(struct head); /* the byte with descriptors must be a call of its own */
	return send(fd, o->data + o->sent, to - o->sent, MSG_NOSIGNAL);
}

int channel_flush(struct channel *c)
{
	c->flooded = false;
	while (!list_empty(&c->out)) {
		struct channel_out *o = CONTAINER_OF(c->out.next, struct channel_out, link);
		ssize_t r = send_some(c->fd, o);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == ETOOMANYREFS) {
			c->flooded = true;
			return -EAGAIN;
		}
		if (r < 0)
			return -errno;
		o->sent += (size_t)r;
		if (o->sent == o->len)
			out_free(o);
	}
	return 0;
}

/* ---- receiving ---- */

static int take_fds(struct channel *c, struct msghdr *m)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(m); cm; cm = CMSG_NXTHDR(m, cm)) {
		size_t n;
		int *more;

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (c->nin_fds + n > c->cap_in_fds) {
			more = mem_resize(c->in_fds, (c->nin_fds + n) * 2 * sizeof(int));
			if (!more) {
				close_fds((int *)CMSG_DATA(cm), n);
				return -ENOMEM;
			}
			c->in_fds = more;
			c->cap_in_fds = (c->nin_fds + n) * 2;
		}
		memcpy(c->in_fds + c->nin_fds, CMSG_DATA(cm), n * sizeof(int));
		c->nin_fds += n;
	}
	return m->msg_flags & MSG_CTRUNC ? -EMFILE : 0;
}

static int read_some(struct channel *c)
{
	union {
		char p[CMSG_SPACE(FDS_PER_CALL * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov;
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.p,
			   .msg_controllen = sizeof(control)};
	ssize_t r;

	if (!buf_reserve(&c->in, READ_STEP))
		return -ENOMEM;
	iov = (struct iovec){.iov_base = c->in.p + c->in.len, .iov_len = READ_STEP};
	do
		r = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	if (r == 0)
		return -EPIPE;
	c->in.len += (size_t)r;
	return take_fds(c, &m);
}

int channel_recv(struct channel *c, struct channel_msg *m)
{
	for (;;) {
		size_t skip;
		struct head h;
		int r;

		if (c->in.len >= sizeof(h)) {
			memcpy(&h, c->in.p, sizeof(h));
			if (h.nfds > CHANNEL_FDS_MAX || h.length > (uint64_t)2 << 30)
				return -EPROTO;
			skip = sizeof(h) + fd_bytes(h.nfds);
			if (c->in.len >= skip + h.length) {
				if (c->nin_fds < h.nfds)
					return -EPROTO;
				m->type = (enum channel_type)h.type;
				m->bytes = span_make(c->in.p + skip, h.length);
				m->fds = c->in_fds;
				m->nfds = h.nfds;
				return 1;
			}
		}
		r = read_some(c);
		if (r < 0)
			return r;
	}
}

void channel_done(struct channel *c, struct channel_msg *m)
{
	size_t used = sizeof(struct head) + fd_bytes(m->nfds) + m->bytes.n;

	close_fds(c->in_fds, m->nfds);
	c->nin_fds -= m->nfds;
	if (c->nin_fds)
		memmove(c->in_fds, c->in_fds + m->nfds, c->nin_fds * sizeof(int));
	buf_drop(&c->in, used);
}
