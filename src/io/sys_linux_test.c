#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>
#include "io/sys.h"

static char dir[64];
static char x_text[] = "x", yz_text[] = "yz";

static int setup(void **state)
{
	strcpy(dir, "/tmp/sluice-sys-test-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return rmdir(dir);
}

static const char *in_dir(const char *name)
{
	static char path[2][128];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof(path[0]), "%s/%s", dir, name);
	return path[turn];
}

static void test_files(void **state)
{
	char p[200];
	struct stat st;
	int fd = sys->openat(AT_FDCWD, in_dir("a"), O_RDWR | O_CREAT | O_EXCL, 0600), d;

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(sys->openat(AT_FDCWD, in_dir("a"), O_RDWR | O_CREAT | O_EXCL, 0600),
			 -EEXIST);
	assert_int_equal(sys->write(fd, "hello", 5), 5);
	assert_int_equal(sys->pwrite(fd, "J", 1, 0), 1);
	assert_int_equal(sys->pread(fd, p, sizeof(p), 0), 5);
	assert_memory_equal(p, "Jello", 5);
	assert_int_equal(sys->writev(fd, (struct iovec[]){{x_text, 1}, {yz_text, 2}}, 2),
			 3); /* no socket */
	assert_int_equal(sys->fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 8);
	assert_int_equal(sys->ftruncate(fd, 2), 0);
	assert_int_equal(sys->close(fd), 0);
	assert_int_equal(sys->close(fd), -EBADF);
	assert_int_equal(sys->rename(in_dir("a"), in_dir("b")), 0);
	d = sys->openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	assert_int_equal(sys->fstatat(d, "b", &st, 0), 0);
	assert_int_equal(st.st_size, 2);
	assert_int_equal(sys->fstatat(d, "a", &st, 0), -ENOENT);
	assert_int_equal(symlink("b", in_dir("link")), 0);
	assert_int_equal(sys->readlinkat(d, "link", p, sizeof(p)), 1);
	assert_int_equal(sys->realpath(in_dir("link"), p, sizeof(p)), strlen(in_dir("b")));
	assert_string_equal(p, in_dir("b"));
	assert_int_equal(sys->realpath(in_dir("link"), p, 5), -ENAMETOOLONG);
	assert_int_equal(sys->realpath(in_dir("none"), p, sizeof(p)), -ENOENT);
	assert_int_equal(sys->mkdir(in_dir("d"), 0700), 0);
	assert_int_equal(sys->unlink(in_dir("d")), -EISDIR);
	assert_int_equal(rmdir(in_dir("d")), 0);
	assert_int_equal(sys->unlink(in_dir("link")), 0);
	assert_int_equal(sys->unlink(in_dir("b")), 0);
	sys->close(d);
}

static void test_udp(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
			   from;
	socklen_t len = sizeof(at), flen = sizeof(from);
	int a = sys->socket(AF_INET, SOCK_DGRAM, 0), b = sys->socket(AF_INET, SOCK_DGRAM, 0);
	char p[8];

	assert_true(fcntl(a, F_GETFL) & O_NONBLOCK);
	assert_int_equal(sys->bind(a, (void *)&at, len), 0);
	assert_int_equal(sys->getsockname(a, (void *)&at, &len), 0);
	assert_int_equal(sys->recvfrom(a, p, sizeof(p), 0, NULL, NULL), -EAGAIN);
	assert_int_equal(sys->sendto(b, "hi", 2, 0, (void *)&at, len), 2);
	assert_int_equal(sys->recvfrom(a, p, sizeof(p), 0, (void *)&from, &flen), 2);
	assert_int_equal(from.sin_addr.s_addr, at.sin_addr.s_addr);
	assert_int_equal(sys->getpeername(b, (void *)&from, &flen), -ENOTCONN);
	sys->close(a);
	sys->close(b);
}

static void test_stream(void **state)
{
	int fds[2], v;
	char p[8], q[8];
	socklen_t len = sizeof(v);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(sys->send(fds[0], "abc", 3, 0), 3);
	assert_int_equal(sys->recv(fds[1], p, sizeof(p), MSG_PEEK), 3);
	assert_int_equal(sys->readv(fds[1], (struct iovec[]){{p, 1}, {q, 7}}, 2), 3);
	assert_memory_equal(q, "bc", 2);
	assert_int_equal(sys->getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &v, &len), 0);
	assert_int_equal(v, SOCK_STREAM);
	v = 1;
	assert_int_equal(sys->setsockopt(fds[0], SOL_SOCKET, SO_KEEPALIVE, &v, sizeof(v)), 0);
	assert_int_equal(sys->shutdown(fds[1], SHUT_RDWR), 0);
	/* No SIGPIPE: it would end this process. */
	assert_int_equal(sys->send(fds[0], "x", 1, 0), -EPIPE);
	assert_int_equal(sys->writev(fds[0], (struct iovec[]){{x_text, 1}}, 1), -EPIPE);
	sys->close(fds[0]);
	sys->close(fds[1]);
}

static void test_many_iovecs(void **state)
{
	static struct iovec v[3000];
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	for (int i = 0; i < 3000; i++)
		v[i] = (struct iovec){x_text, 1};
	assert_int_equal(sys->writev(fds[0], v, 3000), 1024); /* as many as the system takes */
	sys->close(fds[0]);
	sys->close(fds[1]);
}

static void test_eventfd_and_pipe(void **state)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int e = sys->eventfd(), ep = sys->epoll_create(), fds[2];
	char c;

	assert_int_equal(sys->epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev), 0);
	assert_int_equal(sys->epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev), -EEXIST);
	assert_int_equal(sys->epoll_wait(ep, &ev, 1, 0), 0);
	assert_int_equal(sys->eventfd_signal(e), 0);
	assert_int_equal(sys->eventfd_signal(e), 0);
	assert_int_equal(sys->epoll_wait(ep, &ev, 1, -1), 1);
	assert_int_equal(sys->eventfd_drain(e), 0);
	assert_int_equal(sys->eventfd_drain(e), 0);
	assert_int_equal(sys->epoll_wait(ep, &ev, 1, 0), 0);
	assert_int_equal(sys->pipe(fds), 0);
	assert_int_equal(sys->readv(fds[0], &(struct iovec){&c, 1}, 1), -EAGAIN);
	sys->close(fds[0]);
	sys->close(fds[1]);
	sys->close(e);
	sys->close(ep);
}

static void on_alarm(int sig)
{
}

/* A signal ends the wait of epoll, so that the loop looks around. */
static void test_signal_ends_wait(void **state)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	struct itimerval once = {.it_value.tv_usec = 1000, .it_interval.tv_usec = 1000}, off = {0};
	struct epoll_event ev;
	int ep = sys->epoll_create();

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &once, NULL);
	assert_int_equal(sys->epoll_wait(ep, &ev, 1, -1), 0);
	setitimer(ITIMER_REAL, &off, NULL);
	sys->close(ep);
}

static void test_clocks_and_random(void **state)
{
	uint64_t a = sys->mono_us(), b = sys->mono_us(), r[2] = {0};

	assert_true(b >= a);
	assert_true(sys->wall_us() > 1577836800ull * 1000000); /* after 2020 */
	assert_int_equal(sys->random(r, sizeof(r)), 0);
	assert_true(r[0] != r[1]);
}

static pthread_barrier_t both;

static void *count_up(void *arg)
{
	++*(int *)arg;
	sys->barrier_wait(&both);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t id;
	int n = 0;

	sys->barrier_init(&both, 2);
	assert_int_equal(sys->thread_start(&id, count_up, &n), 0);
	sys->barrier_wait(&both);
	assert_int_equal(n, 1);
	sys->thread_join(id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_many_iovecs),
		cmocka_unit_test(test_eventfd_and_pipe),
		cmocka_unit_test(test_signal_ends_wait),
		cmocka_unit_test(test_clocks_and_random),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
