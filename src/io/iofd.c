/* What coroutines do with descriptors: wait, read, write, connect. */
#include <errno.h>
#include <fcntl.h>
#include "io/loop.h"

/* ---- fairness ---- */

static _Thread_local struct {
	uint64_t resumes; /* co_sched.resumes when the counts began */
	size_t bytes;
	unsigned calls;
} budget;

void io_budget_spend(size_t bytes)
{
	if (budget.resumes != co_sched.resumes) {
		budget.resumes = co_sched.resumes;
		budget.bytes = budget.calls = 0;
	}
	budget.bytes += bytes;
	budget.calls++;
}

bool io_budget_spent(void)
{
	return budget.resumes == co_sched.resumes &&
	       (budget.bytes > IO_BUDGET_BYTES || budget.calls > IO_BUDGET_CALLS);
}

int io_fair(void)
{
	return io_budget_spent() ? co_yield () : 0;
}

/* ---- waiting ---- */

static int wait_event(struct iofd *f, unsigned what, uint64_t deadline_ms)
{
	struct co *me = co_current();
	int r;

	if (what & IO_R) {
		BUG_ON(f->reader);
		f->reader = me;
	}
	if (what & IO_W) {
		BUG_ON(f->writer);
		f->writer = me;
	}
	r = co_suspend(deadline_ms);
	if (f->reader == me)
		f->reader = NULL;
	if (f->writer == me)
		f->writer = NULL;
	return r;
}

int iofd_wait(struct iofd *f, unsigned what, uint64_t deadline_ms)
{
	int r;

	BUG_ON(!co_current() || !(what & (IO_R | IO_W)));
	if (co_cancelled())
		return -ECANCELED;
	if (io_budget_spent() && (f->ready & what)) {
		f->stalled_fair = true;
		r = co_yield ();
		f->stalled_fair = false;
		if (r < 0)
			return r;
	}
	while (f->fd >= 0) {
		if (f->ready & what)
			return f->ready;
		r = iofd_register(f);
		if (r == 0)
			r = wait_event(f, what, deadline_ms);
		if (r < 0)
			return r;
	}
	return -EBADF;
}

/* ---- moving bytes ---- */

/* Drained, or full: the bit comes back with the next event. After a hang-up none may come. */
static void not_ready(struct iofd *f, unsigned what, unsigned unless)
{
	if (!(f->ready & unless))
		f->ready &= (uint8_t)~what;
}

/* Counts the call; -EAGAIN always means not ready. */
static void moved(struct iofd *f, unsigned what, ssize_t n)
{
	io_budget_spend(n > 0 ? (size_t)n : 0);
	if (n == -EAGAIN)
		iofd_blocked(f, what);
}

ssize_t iofd_recv(struct iofd *f, void *p, size_t n)
{
	ssize_t r = sys->recv(f->fd, p, n, 0);

	moved(f, IO_R, r);
	if (r == 0 && n > 0)
		f->ready |= IO_R | IO_RDHUP; /* the end stays readable */
	else if (r > 0 && (size_t)r < n)
		not_ready(f, IO_R, IO_RDHUP | IO_HUP);
	return r;
}

ssize_t iofd_writev(struct iofd *f, const struct iovec *iov, int n)
{
	ssize_t r = n == 1 ? sys->send(f->fd, iov->iov_base, iov->iov_len, 0)
			   : sys->writev(f->fd, iov, n);
	ssize_t total = 0;

	moved(f, IO_W, r);
	for (int i = 0; i < n && r >= total; i++)
		total += (ssize_t)iov[i].iov_len;
	if (r >= 0 && r < total)
		not_ready(f, IO_W, IO_HUP);
	return r;
}

ssize_t iofd_send_more(struct iofd *f, const void *p, size_t n)
{
	ssize_t r = sys->send(f->fd, p, n, MSG_MORE);

	moved(f, IO_W, r);
	if (r >= 0 && (size_t)r < n)
		not_ready(f, IO_W, IO_HUP);
	return r;
}

ssize_t iofd_sendfile(struct iofd *f, int in, off_t *off, size_t n)
{
	ssize_t r = sys->sendfile(f->fd, in, off, n);

	moved(f, IO_W, r);
	return r;
}

ssize_t iofd_splice_in(struct iofd *f, int pipe_w, size_t n)
{
	ssize_t r = sys->splice(f->fd, pipe_w, n, SPLICE_F_MOVE);

	moved(f, IO_R, r);
	if (r == 0 && n > 0)
		f->ready |= IO_R | IO_RDHUP;
	return r;
}

ssize_t iofd_splice_out(struct iofd *f, int pipe_r, size_t n)
{
	ssize_t r = sys->splice(pipe_r, f->fd, n, SPLICE_F_MOVE);

	moved(f, IO_W, r);
	return r;
}

/* ---- connecting ---- */

int iofd_connect(struct iofd *f, const struct sockaddr *sa, socklen_t len, uint64_t deadline_ms)
{
	int r, err = 0;
	socklen_t size = sizeof(err);

	/* Before the connection stands nothing can be read or written, whatever was said before:
	 * an unconnected socket reports a hang-up. */
	f->ready = 0;
	r = sys->connect(f->fd, sa, len);
	if (r == 0) {
		f->ready = IO_W;
		return 0;
	}
	if (r != -EINPROGRESS)
		return r;
	r = iofd_wait(f, IO_W, deadline_ms);
	if (r < 0)
		return r;
	r = sys->getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &size);
	return r < 0 ? r : -err;
}
