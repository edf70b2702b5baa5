/* Pipes, splice and sendfile. A pipe has 16 slots; what is spliced from a socket comes in pieces
 * that fill slots before the bytes are many. */
#include <errno.h>
#include "io/sim_int.h"

#define SLOTS	   16
#define SLOT_BYTES 4096

struct pipe_end;

struct pipe_core {
	struct pipe_end *r, *w;
	struct sim_bytes bytes;
	unsigned nslots;
	size_t slot[SLOTS]; /* bytes in each, oldest first */
};

struct pipe_end {
	struct sim_desc d;
	struct pipe_core *p;
};

static struct pipe_core *core_of(struct sim_desc *d)
{
	return ((struct pipe_end *)d)->p;
}

static void slots_drop(struct pipe_core *p, size_t n)
{
	unsigned gone = 0;

	sim_bytes_drop(&p->bytes, n);
	while (gone < p->nslots && n >= p->slot[gone])
		n -= p->slot[gone++];
	for (unsigned i = gone; i < p->nslots; i++)
		p->slot[i - gone] = p->slot[i];
	p->nslots -= gone;
	if (n)
		p->slot[0] -= n;
}

static unsigned pipe_r_poll(struct sim_desc *d)
{
	struct pipe_core *p = core_of(d);

	return (p->bytes.len ? EPOLLIN : 0u) | (p->w ? 0u : EPOLLHUP);
}

static unsigned pipe_w_poll(struct sim_desc *d)
{
	struct pipe_core *p = core_of(d);

	return (p->nslots < SLOTS ? EPOLLOUT : 0u) | (p->r ? 0u : EPOLLERR);
}

static void pipe_close(struct sim_desc *d)
{
	struct pipe_core *p = core_of(d);

	if (p->r == (struct pipe_end *)d)
		p->r = NULL;
	else
		p->w = NULL;
	if (p->r)
		sim_desc_edge(&p->r->d, EPOLLHUP);
	if (p->w)
		sim_desc_edge(&p->w->d, EPOLLERR);
	if (!p->r && !p->w) {
		sim_bytes_free(&p->bytes);
		mem_plain_free(p);
	}
	mem_plain_free(d);
}

static ssize_t pipe_read(struct sim_desc *d, const struct iovec *iov, int niov, int flags)
{
	struct pipe_core *p = core_of(d);
	size_t n = MIN_OF(sim_iov_total(iov, niov), p->bytes.len);

	if (!p->bytes.len)
		return p->w ? -EAGAIN : 0;
	sim_iov_fill(iov, niov, &p->bytes, n);
	slots_drop(p, n);
	if (p->w)
		sim_desc_edge(&p->w->d, EPOLLOUT);
	return (ssize_t)n;
}

static ssize_t pipe_write(struct sim_desc *d, const struct iovec *iov, int niov, int flags)
{
	struct pipe_core *p = core_of(d);
	size_t want = sim_iov_total(iov, niov), room = (SLOTS - p->nslots) * (size_t)SLOT_BYTES;
	size_t n = MIN_OF(want, room);

	if (!p->r)
		return -EPIPE;
	if (want && !room)
		return -EAGAIN;
	sim_iov_append(&p->bytes, iov, niov, n);
	for (size_t left = n; left; left -= MIN_OF(left, (size_t)SLOT_BYTES))
		p->slot[p->nslots++] = MIN_OF(left, (size_t)SLOT_BYTES);
	sim_desc_edge(&p->r->d, EPOLLIN);
	return (ssize_t)n;
}

const struct sim_kind sim_kind_pipe_r = {
	.name = "pipe", .poll = pipe_r_poll, .close = pipe_close, .read = pipe_read};
const struct sim_kind sim_kind_pipe_w = {
	.name = "pipe", .poll = pipe_w_poll, .close = pipe_close, .write = pipe_write};

int sim_pipe(int fds[2])
{
	struct pipe_core *p = mem_plain_zalloc(sizeof(*p));
	struct pipe_end *r = mem_plain_zalloc(sizeof(*r)), *w = mem_plain_zalloc(sizeof(*w));
	int fd = sim_fd_open(&r->d, &sim_kind_pipe_r), second;

	*p = (struct pipe_core){.r = r, .w = w};
	r->p = w->p = p;
	if (fd < 0) {
		mem_plain_free(r);
		mem_plain_free(w);
		mem_plain_free(p);
		return fd;
	}
	second = sim_fd_open(&w->d, &sim_kind_pipe_w);
	if (second < 0) {
		p->w = NULL;
		mem_plain_free(w);
		sim_close(fd);
		return second;
	}
	fds[0] = fd;
	fds[1] = second;
	SIM_LOG("pipe %ld, %ld", fd, second);
	return 0;
}

/* ---- splice ---- */

/* Pieces of the socket's making, one slot each. */
/* Behind what it has moved, splice leaves a connection's error to the next call. */
static ssize_t splice_in(struct sim_desc *in, struct pipe_core *p, size_t n)
{
	const struct sim_sock *s = CONTAINER_OF(in, struct sim_sock, d);
	char piece[SLOT_BYTES];
	size_t done = 0;

	if (p->nslots == SLOTS)
		return -EAGAIN;
	while (done < n && p->nslots < SLOTS) {
		size_t want = MIN_OF(n - done, sizeof(piece));
		ssize_t got;

		if (done && !s->end->rx.len)
			break;
		if (want > 1 && sim_draw(8) == 0)
			want = sim_between(1, want);
		got = in->kind->read(in, &(struct iovec){piece, want}, 1, 0);
		if (got <= 0 && !done)
			return got;
		if (got <= 0)
			break;
		sim_bytes_put(&p->bytes, piece, (size_t)got);
		p->slot[p->nslots++] = (size_t)got;
		done += (size_t)got;
	}
	sim_desc_edge(&p->r->d, EPOLLIN);
	return (ssize_t)done;
}

static ssize_t splice_out(struct pipe_core *p, struct sim_desc *out, size_t n)
{
	struct iovec iov;
	ssize_t put;

	if (!p->bytes.len)
		return p->w ? -EAGAIN : 0;
	iov = (struct iovec){p->bytes.p + p->bytes.head, MIN_OF(n, p->bytes.len)};
	put = out->kind->write(out, &iov, 1, 0);
	if (put <= 0)
		return put;
	slots_drop(p, (size_t)put);
	if (p->w)
		sim_desc_edge(&p->w->d, EPOLLOUT);
	return put;
}

ssize_t sim_splice(int in, int out, size_t n, unsigned flags)
{
	struct sim_desc *i = sim_fd_get(in, "splice"), *o = sim_fd_get(out, "splice");
	ssize_t r;

	if (!i || !o)
		return -EBADF;
	if (n == 0)
		return 0;
	if (o->kind == &sim_kind_pipe_w && i->kind == &sim_kind_sock)
		r = splice_in(i, core_of(o), n);
	else if (i->kind == &sim_kind_pipe_r && o->kind == &sim_kind_sock)
		r = splice_out(core_of(i), o, n);
	else
		SIM_MODEL("splice from a %s to a %s", i->kind->name, o->kind->name);
	SIM_LOG("splice %ld to %ld: %ld", in, out, r);
	return r;
}

ssize_t sim_sendfile(int out, int in, off_t *off, size_t n)
{
	struct sim_desc *o = sim_fd_get(out, "sendfile");
	struct span bytes;
	ssize_t r;

	if (!o)
		return -EBADF;
	if (!off || o->kind != &sim_kind_sock)
		SIM_MODEL("sendfile without an offset, or to a %s", o->kind->name);
	r = sim_file_bytes(in, *off, &bytes);
	if (r == 0 && bytes.n)
		r = o->kind->write(o, &(struct iovec){(void *)bytes.p, MIN_OF(n, bytes.n)}, 1, 0);
	if (r > 0)
		*off += r;
	SIM_LOG("sendfile %ld from %ld: %ld", out, in, r);
	return r;
}
