/* Every system call, clock reading and random number of the tree, behind one table.
 *
 * sys_linux is the real one; the simulator provides another with a virtual network, clock
 * and disk. Nothing outside io/ makes a system call for I/O, reads a clock or draws a random number
 * except through these wrappers (start-up code in main/ aside).
 *
 * All return >= 0, or a negative errno. They never block on sockets (descriptors are non-blocking)
 * and retry EINTR themselves. Descriptors are plain ints in both implementations; the simulator's
 * are numbers of its own. epoll_wait returns 0 when a signal ends it. */
#pragma once
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct sys_ops {
	/* sockets: made non-blocking and close-on-exec */
	int (*socket)(int domain, int type, int protocol);
	int (*bind)(int fd, const struct sockaddr *sa, socklen_t len);
	int (*listen)(int fd, int backlog);
	int (*accept)(int fd, struct sockaddr *sa, socklen_t *len);
	int (*connect)(int fd, const struct sockaddr *sa,
		       socklen_t len); /* -EINPROGRESS as usual */
	int (*shutdown)(int fd, int how);
	int (*close)(int fd);
	int (*setsockopt)(int fd, int level, int name, const void *val, socklen_t len);
	int (*getsockopt)(int fd, int level, int name, void *val, socklen_t *len);
	int (*getsockname)(int fd, struct sockaddr *sa, socklen_t *len);
	int (*getpeername)(int fd, struct sockaddr *sa, socklen_t *len);
	ssize_t (*recv)(int fd, void *p, size_t n, int flags);
	ssize_t (*send)(int fd, const void *p, size_t n, int flags); /* MSG_NOSIGNAL is added */
	ssize_t (*writev)(int fd, const struct iovec *iov, int n);   /* sockets: no SIGPIPE */
	ssize_t (*readv)(int fd, const struct iovec *iov, int n);
	ssize_t (*recvfrom)(int fd, void *p, size_t n, int flags, struct sockaddr *sa,
			    socklen_t *len);
	ssize_t (*sendto)(int fd, const void *p, size_t n, int flags, const struct sockaddr *sa,
			  socklen_t len);
	ssize_t (*sendfile)(int out, int in, off_t *off, size_t n);
	ssize_t (*splice)(int in, int out, size_t n, unsigned flags);
	int (*pipe)(int fds[2]);
	/* readiness */
	int (*epoll_create)(void);
	int (*epoll_ctl)(int ep, int op, int fd, struct epoll_event *ev);
	int (*epoll_wait)(int ep, struct epoll_event *ev, int n, int timeout_ms);
	int (*eventfd)(void);
	int (*eventfd_signal)(int fd);
	int (*eventfd_drain)(int fd);
	/* files */
	int (*openat)(int dir, const char *path, int flags, mode_t mode);
	int (*fstat)(int fd, struct stat *st);
	int (*fstatat)(int dir, const char *path, struct stat *st, int flags);
	ssize_t (*pread)(int fd, void *p, size_t n, off_t off);
	ssize_t (*pwrite)(int fd, const void *p, size_t n, off_t off);
	ssize_t (*write)(int fd, const void *p, size_t n);
	int (*unlink)(const char *path);
	int (*rename)(const char *from, const char *to);
	int (*mkdir)(const char *path, mode_t mode);
	int (*ftruncate)(int fd, off_t n);
	ssize_t (*readlinkat)(int dir, const char *path, char *buf, size_t n);
	ssize_t (*realpath)(const char *path, char *buf, size_t n);
	/* clocks and randomness */
	uint64_t (*mono_us)(void); /* monotonic, microseconds */
	uint64_t (*wall_us)(void); /* since the epoch, microseconds */
	int (*random)(void *p, size_t n);
	/* threads and where they wait for each other: the simulator decides which one runs */
	int (*thread_start)(pthread_t *id, void *(*run)(void *arg), void *arg);
	void (*thread_join)(pthread_t id);
	void (*barrier_init)(pthread_barrier_t *b, unsigned n);
	void (*barrier_wait)(pthread_barrier_t *b);
};

extern const struct sys_ops sys_linux;
/* The table in use: set once before the first loop; &sys_linux by default. */
extern const struct sys_ops *sys;
