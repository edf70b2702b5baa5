#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>
#include "base/bug.h"
#include "io/sys.h"

/* The value of a call: what it returns, or -errno. */
#define RESULT(call)                                                                               \
	({                                                                                         \
		__typeof__(call) r_;                                                               \
		do                                                                                 \
			r_ = (call);                                                               \
		while (r_ < 0 && errno == EINTR);                                                  \
		r_ < 0 ? (__typeof__(r_))-errno : r_;                                              \
	})

/* ---- sockets ---- */

static int linux_socket(int domain, int type, int protocol)
{
	return RESULT(socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
}

static int linux_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	return RESULT(bind(fd, sa, len));
}

static int linux_listen(int fd, int backlog)
{
	return RESULT(listen(fd, backlog));
}

static int linux_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	return RESULT(accept4(fd, sa, len, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

static int linux_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	if (connect(fd, sa, len) == 0)
		return 0;
	/* Interrupted, it goes on by itself; a second call would say EALREADY. */
	return errno == EINTR ? -EINPROGRESS : -errno;
}

static int linux_shutdown(int fd, int how)
{
	return RESULT(shutdown(fd, how));
}

static int linux_close(int fd)
{
	/* Linux has closed it even when it says EINTR. */
	return close(fd) == 0 || errno == EINTR ? 0 : -errno;
}

static int linux_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	return RESULT(setsockopt(fd, level, name, val, len));
}

static int linux_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	return RESULT(getsockopt(fd, level, name, val, len));
}

static int linux_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	return RESULT(getsockname(fd, sa, len));
}

static int linux_getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	return RESULT(getpeername(fd, sa, len));
}

static ssize_t linux_recv(int fd, void *p, size_t n, int flags)
{
	return RESULT(recv(fd, p, n, flags));
}

static ssize_t linux_send(int fd, const void *p, size_t n, int flags)
{
	return RESULT(send(fd, p, n, flags | MSG_NOSIGNAL));
}

static ssize_t linux_writev(int fd, const struct iovec *iov, int n)
{
	struct msghdr m = {.msg_iov = (struct iovec *)iov,
			   .msg_iovlen = (size_t)MIN_OF(n, IOV_MAX)};
	ssize_t r = RESULT(sendmsg(fd, &m, MSG_NOSIGNAL));

	return r == -ENOTSOCK ? RESULT(writev(fd, iov, MIN_OF(n, IOV_MAX))) : r;
}

static ssize_t linux_readv(int fd, const struct iovec *iov, int n)
{
	return RESULT(readv(fd, iov, MIN_OF(n, IOV_MAX)));
}

static ssize_t linux_recvfrom(int fd, void *p, size_t n, int flags, struct sockaddr *sa,
			      socklen_t *len)
{
	return RESULT(recvfrom(fd, p, n, flags, sa, len));
}

static ssize_t linux_sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *sa,
			    socklen_t len)
{
	return RESULT(sendto(fd, p, n, flags | MSG_NOSIGNAL, sa, len));
}

static ssize_t linux_sendfile(int out, int in, off_t *off, size_t n)
{
	return RESULT(sendfile(out, in, off, n));
}

static ssize_t linux_splice(int in, int out, size_t n, unsigned flags)
{
	return RESULT(splice(in, NULL, out, NULL, n, flags | SPLICE_F_NONBLOCK));
}

static int linux_pipe(int fds[2])
{
	return RESULT(pipe2(fds, O_NONBLOCK | O_CLOEXEC));
}

/* ---- readiness ---- */

static int linux_epoll_create(void)
{
	return RESULT(epoll_create1(EPOLL_CLOEXEC));
}

static int linux_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	return RESULT(epoll_ctl(ep, op, fd, ev));
}

static int linux_epoll_wait(int ep, struct epoll_event *ev, int n, int timeout_ms)
{
	int r = epoll_wait(ep, ev, n, timeout_ms);

	/* A signal ends the wait as a time-out would: the loop looks around and comes back. */
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	return r;
}

static int linux_eventfd(void)
{
	return RESULT(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static int linux_eventfd_signal(int fd)
{
	uint64_t one = 1;
	ssize_t r = RESULT(write(fd, &one, sizeof(one)));

	return r < 0 ? (int)r : 0;
}

static int linux_eventfd_drain(int fd)
{
	uint64_t count;
	ssize_t r = RESULT(read(fd, &count, sizeof(count)));

	return r < 0 && r != -EAGAIN ? (int)r : 0;
}

/* ---- files ---- */

static int linux_openat(int dir, const char *path, int flags, mode_t mode)
{
	return RESULT(openat(dir, path, flags | O_CLOEXEC, mode));
}

static int linux_fstat(int fd, struct stat *st)
{
	return RESULT(fstat(fd, st));
}

static int linux_fstatat(int dir, const char *path, struct stat *st, int flags)
{
	return RESULT(fstatat(dir, path, st, flags));
}

static ssize_t linux_pread(int fd, void *p, size_t n, off_t off)
{
	return RESULT(pread(fd, p, n, off));
}

static ssize_t linux_pwrite(int fd, const void *p, size_t n, off_t off)
{
	return RESULT(pwrite(fd, p, n, off));
}

static ssize_t linux_write(int fd, const void *p, size_t n)
{
	return RESULT(write(fd, p, n));
}

static int linux_unlink(const char *path)
{
	return RESULT(unlink(path));
}

static int linux_rename(const char *from, const char *to)
{
	return RESULT(rename(from, to));
}

static int linux_mkdir(const char *path, mode_t mode)
{
	return RESULT(mkdir(path, mode));
}

static int linux_ftruncate(int fd, off_t n)
{
	return RESULT(ftruncate(fd, n));
}

static ssize_t linux_readlinkat(int dir, const char *path, char *buf, size_t n)
{
	return RESULT(readlinkat(dir, path, buf, n));
}

static ssize_t linux_realpath(const char *path, char *buf, size_t n)
{
	char *whole = realpath(path, NULL);
	ssize_t len;

	if (!whole)
		return -errno;
	len = (ssize_t)strlen(whole);
	if ((size_t)len < n)
		memcpy(buf, whole, (size_t)len + 1);
	else
		len = -ENAMETOOLONG;
	free(whole);
	return len;
}

/* ---- clocks and randomness ---- */

static uint64_t clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t linux_mono_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

static uint64_t linux_wall_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

static int linux_random(void *p, size_t n)
{
	char *at = p;

	while (n) {
		ssize_t r = RESULT(getrandom(at, n, 0));

		if (r < 0)
			return (int)r;
		at += r;
		n -= (size_t)r;
	}
	return 0;
}

/* ---- threads ---- */

static int linux_thread_start(pthread_t *id, void *(*run)(void *arg), void *arg)
{
	return -pthread_create(id, NULL, run, arg);
}

static void linux_thread_join(pthread_t id)
{
	BUG_ON(pthread_join(id, NULL));
}

static void linux_barrier_init(pthread_barrier_t *b, unsigned n)
{
	BUG_ON(pthread_barrier_init(b, NULL, n));
}

static void linux_barrier_wait(pthread_barrier_t *b)
{
	pthread_barrier_wait(b);
}

const struct sys_ops sys_linux = {
	.socket = linux_socket,
	.bind = linux_bind,
	.listen = linux_listen,
	.accept = linux_accept,
	.connect = linux_connect,
	.shutdown = linux_shutdown,
	.close = linux_close,
	.setsockopt = linux_setsockopt,
	.getsockopt = linux_getsockopt,
	.getsockname = linux_getsockname,
	.getpeername = linux_getpeername,
	.recv = linux_recv,
	.send = linux_send,
	.writev = linux_writev,
	.readv = linux_readv,
	.recvfrom = linux_recvfrom,
	.sendto = linux_sendto,
	.sendfile = linux_sendfile,
	.splice = linux_splice,
	.pipe = linux_pipe,
	.epoll_create = linux_epoll_create,
	.epoll_ctl = linux_epoll_ctl,
	.epoll_wait = linux_epoll_wait,
	.eventfd = linux_eventfd,
	.eventfd_signal = linux_eventfd_signal,
	.eventfd_drain = linux_eventfd_drain,
	.openat = linux_openat,
	.fstat = linux_fstat,
	.fstatat = linux_fstatat,
	.pread = linux_pread,
	.pwrite = linux_pwrite,
	.write = linux_write,
	.unlink = linux_unlink,
	.rename = linux_rename,
	.mkdir = linux_mkdir,
	.ftruncate = linux_ftruncate,
	.readlinkat = linux_readlinkat,
	.realpath = linux_realpath,
	.mono_us = linux_mono_us,
	.wall_us = linux_wall_us,
	.random = linux_random,
	.thread_start = linux_thread_start,
	.thread_join = linux_thread_join,
	.barrier_init = linux_barrier_init,
	.barrier_wait = linux_barrier_wait,
};

const struct sys_ops *sys = &sys_linux;
