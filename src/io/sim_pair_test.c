/* What the simulator says of sockets is what Linux says: each scenario runs on the real kernel
 * (loopback) and then in worlds of many seeds, with the same checks. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/bug.h"
#include "io/sim.h"

#define ALL_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
#define ET	   (ALL_EVENTS)
#define SEEDS	   20

static int ep, quiet, lis; /* quiet: an epoll that nothing ever happens to */
static struct sockaddr_in at;
static bool simulated;

/* All that is under way arrives. */
static void settle(void)
{
	struct epoll_event ev;

	assert_int_equal(sys->epoll_wait(quiet, &ev, 1, simulated ? 1000 : 3), 0);
}

static void watch(int fd, unsigned events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	assert_int_equal(sys->epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), 0);
}

/* What is reported for fd now, 0 for nothing; nobody else may be. */
static unsigned told(int fd)
{
	struct epoll_event ev[8];
	unsigned mask = 0;

	settle();
	/* In a world, some events may come a turn later. */
	for (int n = 1; n > 0;) {
		n = sys->epoll_wait(ep, ev, 8, 0);
		for (int i = 0; i < n; i++) {
			assert_int_equal(ev[i].data.fd, fd);
			mask |= ev[i].events;
		}
		if (!simulated)
			break;
	}
	return mask;
}

static int stream(void)
{
	int fd = sys->socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	return fd;
}

static void listen_start(int backlog)
{
	socklen_t len = sizeof(at);

	at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	lis = stream();
	assert_int_equal(sys->bind(lis, (void *)&at, len), 0);
	assert_int_equal(sys->listen(lis, backlog), 0);
	assert_int_equal(sys->getsockname(lis, (void *)&at, &len), 0);
}

static int connect_start(void)
{
	int fd = stream(), r = sys->connect(fd, (void *)&at, sizeof(at));

	assert_true(r == 0 || r == -EINPROGRESS);
	return fd;
}

static int error_of(int fd)
{
	int err = -1;
	socklen_t len = sizeof(err);

	assert_int_equal(sys->getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	return err;
}

/* Two ends that are connected. */
static void pair(int *a, int *b)
{
	*a = connect_start();
	settle();
	*b = sys->accept(lis, NULL, NULL);
	assert_true(*b >= 0);
	settle();
	assert_int_equal(error_of(*a), 0);
}

static void send_all(int fd, const char *s)
{
	assert_int_equal(sys->send(fd, s, strlen(s), 0), strlen(s));
}

#define assert_recv(fd, result)                                                                    \
	do {                                                                                       \
		char in_[64];                                                                      \
		assert_int_equal(sys->recv((fd), in_, sizeof(in_), 0), (result));                  \
	} while (0)
#define assert_send(fd, result) assert_int_equal(sys->send((fd), "x", 1, 0), (result))

static void reset_at_close(int fd)
{
	struct linger l = {.l_onoff = 1};

	assert_int_equal(sys->setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
	sys->close(fd);
}

/* ---- scenarios ---- */

static void unconnected(void)
{
	int fd = stream();
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);

	watch(fd, ET);
	assert_int_equal(told(fd), EPOLLOUT | EPOLLHUP);
	assert_recv(fd, -ENOTCONN);
	assert_send(fd, -EPIPE);
	assert_int_equal(sys->shutdown(fd, SHUT_WR), -ENOTCONN);
	assert_int_equal(sys->getpeername(fd, (void *)&peer, &len), -ENOTCONN);
	sys->close(fd);
}

static void names(void)
{
	struct sockaddr_in a_name, b_peer, b_name, got;
	socklen_t len = sizeof(got);
	int a = connect_start(), b;

	settle();
	b = sys->accept(lis, (void *)&got, &len);
	assert_true(b >= 0);
	assert_int_equal(len, sizeof(got));
	assert_int_equal(sys->getsockname(a, (void *)&a_name, &len), 0);
	assert_int_equal(sys->getsockname(b, (void *)&b_name, &len), 0);
	assert_int_equal(sys->getpeername(b, (void *)&b_peer, &len), 0);
	assert_memory_equal(&a_name, &got, sizeof(got));
	assert_memory_equal(&b_peer, &got, sizeof(got));
	assert_memory_equal(&b_name, &at, sizeof(got));
	sys->close(a);
	sys->close(b);
}

static void edges_of_data(void)
{
	struct epoll_event ev = {.events = ET};
	char p[8];
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	ev.data.fd = b;
	assert_int_equal(told(b), EPOLLOUT);
	assert_int_equal(told(b), 0);
	assert_recv(b, -EAGAIN);
	send_all(a, "hello");
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT);
	assert_int_equal(told(b), 0);
	assert_int_equal(sys->recv(b, p, 2, MSG_PEEK), 2);
	assert_memory_equal(p, "he", 2);
	assert_int_equal(sys->recv(b, p, 2, 0), 2);
	assert_memory_equal(p, "he", 2);
	assert_int_equal(told(b), 0); /* an edge is not repeated */
	send_all(a, "!");
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT);
	assert_int_equal(sys->epoll_ctl(ep, EPOLL_CTL_MOD, b, &ev), 0);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT); /* that asks anew */
	assert_recv(b, 4);
	assert_recv(b, -EAGAIN);
	sys->close(a);
	sys->close(b);
}

static void level_triggered(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, EPOLLIN);
	assert_int_equal(told(b), 0);
	send_all(a, "hello");
	settle();
	for (int i = 0; i < 3; i++) {
		struct epoll_event ev;

		assert_int_equal(sys->epoll_wait(ep, &ev, 1, 0), 1);
		assert_int_equal(ev.events, EPOLLIN);
	}
	assert_recv(b, 5);
	assert_int_equal(told(b), 0);
	sys->close(a);
	sys->close(b);
}

static void half_close(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	assert_int_equal(told(b), EPOLLOUT);
	send_all(a, "last");
	assert_int_equal(sys->shutdown(a, SHUT_WR), 0);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	assert_send(a, -EPIPE);
	assert_recv(b, 4);
	assert_recv(b, 0);
	assert_recv(b, 0);
	send_all(b, "answer"); /* the other way is open */
	settle();
	assert_recv(a, 6);
	assert_int_equal(told(b), 0);
	assert_int_equal(sys->shutdown(b, SHUT_WR), 0);
	assert_int_equal(told(b) & ~EPOLLRDHUP, EPOLLIN | EPOLLOUT | EPOLLHUP);
	assert_recv(a, 0);
	assert_int_equal(error_of(b), 0);
	sys->close(a);
	sys->close(b);
}

static void shut_reading(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	assert_int_equal(told(b), EPOLLOUT);
	assert_int_equal(sys->shutdown(b, SHUT_RD), 0);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	assert_recv(b, 0);
	send_all(a, "hi");
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	assert_recv(b, 2);
	assert_recv(b, 0);
	sys->close(a);
	sys->close(b);
}

static void shut_both(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	assert_int_equal(told(b), EPOLLOUT);
	assert_int_equal(sys->shutdown(b, SHUT_RDWR), 0);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
	assert_recv(b, 0);
	assert_send(b, -EPIPE);
	settle();
	assert_recv(a, 0);
	sys->close(a);
	sys->close(b);
}

static void closed_with_unread(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	assert_int_equal(told(b), EPOLLOUT);
	send_all(b, "unread");
	send_all(a, "hello");
	settle();
	sys->close(a);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	assert_recv(b, 5); /* Linux keeps what had come */
	assert_recv(b, -ECONNRESET);
	assert_recv(b, 0);
	assert_send(b, -EPIPE);
	sys->close(b);
}

static void lingering_zero(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	assert_int_equal(told(b), EPOLLOUT);
	reset_at_close(a);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	assert_send(b, -ECONNRESET); /* once */
	assert_send(b, -EPIPE);
	assert_recv(b, 0);
	sys->close(b);
}

static void error_read_once(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	reset_at_close(a);
	assert_int_equal(told(b) & EPOLLERR, EPOLLERR);
	assert_int_equal(error_of(b), ECONNRESET);
	assert_int_equal(error_of(b), 0);
	assert_recv(b, 0);
	assert_send(b, -EPIPE);
	assert_int_equal(told(b), 0);
	sys->close(b);
}

static void reset_after_fin(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	assert_int_equal(told(b), EPOLLOUT);
	send_all(a, "bye");
	sys->close(a);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	assert_send(b, 1); /* nobody is there */
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	assert_send(b, -EPIPE);
	assert_recv(b, 3);
	assert_recv(b, 0); /* the FIN came before */
	assert_int_equal(error_of(b), 0);
	sys->close(b);
}

static void refused(void)
{
	struct sockaddr_in nobody = at;
	int fd = stream(), r;

	nobody.sin_port = htons(1);
	r = sys->connect(fd, (void *)&nobody, sizeof(nobody));
	assert_int_equal(r, -EINPROGRESS);
	watch(fd, ET);
	assert_int_equal(told(fd) & ~EPOLLRDHUP, EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR);
	assert_int_equal(error_of(fd), ECONNREFUSED);
	assert_int_equal(error_of(fd), 0);
	assert_recv(fd, 0);
	assert_send(fd, -EPIPE);
	sys->close(fd);
}

static void refused_and_read(void)
{
	struct sockaddr_in nobody = at;
	int fd = stream();

	nobody.sin_port = htons(1);
	assert_int_equal(sys->connect(fd, (void *)&nobody, sizeof(nobody)), -EINPROGRESS);
	settle();
	assert_recv(fd, -ECONNREFUSED);
	assert_recv(fd, 0);
	sys->close(fd);
}

static void connected(void)
{
	int fd = connect_start(), b;

	watch(fd, ET);
	assert_int_equal(told(fd), EPOLLOUT);
	assert_int_equal(error_of(fd), 0);
	(void)sys->connect(fd, (void *)&at, sizeof(at)); /* Linux says 0, once */
	assert_int_equal(sys->connect(fd, (void *)&at, sizeof(at)), -EISCONN);
	assert_recv(fd, -EAGAIN);
	send_all(fd, "early"); /* before accept */
	settle();
	b = sys->accept(lis, NULL, NULL);
	assert_recv(b, 5);
	sys->close(fd);
	sys->close(b);
}

static void accepted_in_order(void)
{
	int a[3], b, c;
	char p;

	assert_int_equal(sys->accept(lis, NULL, NULL), -EAGAIN);
	watch(lis, EPOLLIN);
	assert_int_equal(told(lis), 0);
	for (int i = 0; i < 3; i++) {
		a[i] = connect_start();
		settle();
		assert_int_equal(sys->send(a[i], &"012"[i], 1, 0), 1);
		settle();
	}
	for (int i = 0; i < 3; i++) {
		struct epoll_event ev;

		assert_int_equal(sys->epoll_wait(ep, &ev, 1, 0), 1);
		b = sys->accept(lis, NULL, NULL);
		assert_int_equal(sys->recv(b, &p, 1, 0), 1);
		assert_int_equal(p, '0' + i);
		sys->close(b);
	}
	assert_int_equal(told(lis), 0);
	c = sys->accept(lis, NULL, NULL);
	assert_int_equal(c, -EAGAIN);
	for (int i = 0; i < 3; i++)
		sys->close(a[i]);
}

static void reset_in_the_queue(void)
{
	int a = connect_start(), b;

	settle();
	send_all(a, "x");
	settle();
	reset_at_close(a);
	settle();
	b = sys->accept(lis, NULL, NULL);
	assert_true(b >= 0);
	assert_recv(b, 1);
	assert_recv(b, -ECONNRESET);
	assert_recv(b, 0);
	sys->close(b);
}

static void listener_closed(void)
{
	int a = connect_start(), b;

	settle();
	watch(a, ET);
	assert_int_equal(told(a), EPOLLOUT);
	sys->close(lis); /* with one in the queue */
	lis = -1;
	assert_int_equal(told(a), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	assert_recv(a, -ECONNRESET);
	assert_recv(a, 0);
	sys->close(a);
	b = connect_start();
	settle();
	assert_int_equal(error_of(b), ECONNREFUSED);
	sys->close(b);
}

/* Fills the way from a to b; how much it took. */
static size_t fill(int a)
{
	static char block[65536];
	size_t all = 0;

	for (int idle = 0; idle < 3; idle++) {
		ssize_t n;

		while ((n = sys->send(a, block, sizeof(block), 0)) > 0) {
			all += (size_t)n;
			idle = 0;
		}
		assert_int_equal(n, -EAGAIN);
		settle();
	}
	return all;
}

static void full_and_drained(void)
{
	static char block[65536];
	size_t all, got = 0;
	unsigned mask = 0;
	int a, b;

	pair(&a, &b);
	all = fill(a);
	watch(a, ET);
	assert_int_equal(told(a), 0);
	assert_send(a, -EAGAIN);
	while (got < all) {
		ssize_t n = sys->recv(b, block, sizeof(block), 0);

		if (n == -EAGAIN) {
			mask |= told(a);
			continue;
		}
		assert_true(n > 0);
		got += (size_t)n;
	}
	mask |= told(a);
	assert_int_equal(mask, EPOLLOUT);
	assert_recv(b, -EAGAIN);
	assert_send(a, 1);
	sys->close(a);
	sys->close(b);
}

/* A FIN waits until the bytes before it have been read. */
static void closed_with_unsent(void)
{
	static char block[65536];
	size_t all, got = 0;
	ssize_t n;
	int a, b;

	pair(&a, &b);
	all = fill(a);
	sys->close(a);
	while ((n = sys->recv(b, block, sizeof(block), 0)) != 0) {
		if (n == -EAGAIN)
			settle();
		else
			got += (size_t)n;
		assert_true(n > 0 || n == -EAGAIN);
	}
	assert_int_equal(got, all);
	sys->close(b);
}

static void closed_leaves_epoll(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	send_all(a, "x");
	settle();
	sys->close(b);
	settle();
	assert_int_equal(sys->epoll_wait(ep, &(struct epoll_event){0}, 1, 0), 0);
	settle();
	assert_int_equal(error_of(a), ECONNRESET); /* it was not read */
	sys->close(a);
}

static void registered_late(void)
{
	struct epoll_event ev = {.events = ET};
	int a, b;

	pair(&a, &b);
	send_all(a, "x");
	sys->close(a);
	settle();
	watch(b, ET);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	assert_int_equal(sys->epoll_ctl(ep, EPOLL_CTL_ADD, b, &ev), -EEXIST);
	assert_int_equal(sys->epoll_ctl(ep, EPOLL_CTL_DEL, b, &ev), 0);
	assert_int_equal(sys->epoll_ctl(ep, EPOLL_CTL_DEL, b, &ev), -ENOENT);
	assert_recv(b, 1);
	sys->close(b);
}

static void vectors(void)
{
	char p[3], q[8];
	struct iovec out[] = {{(char *)"ab", 2}, {NULL, 0}, {(char *)"cde", 3}};
	struct iovec in[] = {{p, 3}, {q, 8}};
	int a, b;

	pair(&a, &b);
	assert_int_equal(sys->writev(a, out, 3), 5);
	settle();
	assert_int_equal(sys->readv(b, in, 2), 5);
	assert_memory_equal(p, "abc", 3);
	assert_memory_equal(q, "de", 2);
	sys->close(a);
	sys->close(b);
}

static uint64_t info_at(int fd, size_t offset)
{
	char all[512] = {0};
	socklen_t len = sizeof(all);
	uint64_t v;

	assert_int_equal(sys->getsockopt(fd, IPPROTO_TCP, TCP_INFO, all, &len), 0);
	assert_true(len >= offset + sizeof(v));
	memcpy(&v, all + offset, sizeof(v));
	return v;
}

#define BYTES_ACKED 120 /* offsets in the kernel's struct tcp_info */
#define BYTES_SENT  200

static void told_what_arrived(void)
{
	uint64_t acked, sent;
	int a, b;

	pair(&a, &b);
	acked = info_at(a, BYTES_ACKED);
	sent = info_at(a, BYTES_SENT);
	send_all(a, "hello");
	settle();
	assert_int_equal(info_at(a, BYTES_ACKED) - acked, 5);
	assert_int_equal(info_at(a, BYTES_SENT) - sent, 5);
	sys->close(b); /* with unread input */
	settle();
	sys->close(a);
}

static void sent_into_a_closed_end(void)
{
	uint64_t acked, sent;
	int a, b;

	pair(&a, &b);
	sys->close(b);
	settle();
	acked = info_at(a, BYTES_ACKED);
	sent = info_at(a, BYTES_SENT);
	send_all(a, "hello");
	settle();
	assert_int_equal(info_at(a, BYTES_ACKED) - acked, 0);
	assert_int_equal(info_at(a, BYTES_SENT) - sent, 5);
	sys->close(a);
}

static void spliced(void)
{
	int a, b, c, d, p[2];
	char in[16];

	pair(&a, &b);
	pair(&c, &d);
	assert_int_equal(sys->pipe(p), 0);
	assert_int_equal(sys->splice(b, p[1], 100, 0), -EAGAIN);
	assert_int_equal(sys->splice(p[0], c, 100, 0), -EAGAIN);
	send_all(a, "through");
	settle();
	assert_int_equal(sys->splice(b, p[1], 100, 0), 7);
	assert_int_equal(sys->splice(b, p[1], 100, 0), -EAGAIN);
	assert_int_equal(sys->splice(p[0], c, 100, 0), 7);
	settle();
	assert_int_equal(sys->recv(d, in, sizeof(in), 0), 7);
	assert_memory_equal(in, "through", 7);
	sys->close(a);
	settle();
	assert_int_equal(sys->splice(b, p[1], 100, 0), 0);
	for (int i = 0; i < 2; i++)
		sys->close(p[i]);
	sys->close(b);
	sys->close(c);
	sys->close(d);
}

/* What came before a reset is moved first; the reset is the next call's. */
static void spliced_reset(void)
{
	int a, b, p[2];

	pair(&a, &b);
	assert_int_equal(sys->pipe(p), 0);
	send_all(a, "last");
	settle();
	reset_at_close(a);
	settle();
	assert_int_equal(sys->splice(b, p[1], 100, 0), 4);
	assert_int_equal(sys->splice(b, p[1], 100, 0), -ECONNRESET);
	assert_int_equal(sys->splice(b, p[1], 100, 0), 0);
	for (int i = 0; i < 2; i++)
		sys->close(p[i]);
	sys->close(b);
}

static void pipe_full(void)
{
	static char block[100000];
	int p[2];

	assert_int_equal(sys->pipe(p), 0);
	watch(p[1], EPOLLOUT | EPOLLET);
	assert_int_equal(told(p[1]), EPOLLOUT);
	assert_int_equal(sys->writev(p[1], &(struct iovec){block, sizeof(block)}, 1), 65536);
	assert_int_equal(sys->writev(p[1], &(struct iovec){block, 1}, 1), -EAGAIN);
	assert_int_equal(sys->readv(p[0], &(struct iovec){block, 65536}, 1), 65536);
	assert_int_equal(told(p[1]), EPOLLOUT);
	assert_int_equal(sys->readv(p[0], &(struct iovec){block, 1}, 1), -EAGAIN);
	sys->close(p[1]);
	assert_int_equal(sys->readv(p[0], &(struct iovec){block, 1}, 1), 0);
	sys->close(p[0]);
}

static void eventfd_edges(void)
{
	int e = sys->eventfd();

	watch(e, EPOLLIN | EPOLLET);
	assert_int_equal(told(e), 0);
	assert_int_equal(sys->eventfd_signal(e), 0);
	assert_int_equal(told(e), EPOLLIN);
	assert_int_equal(told(e), 0);
	assert_int_equal(sys->eventfd_signal(e), 0); /* each write is an edge */
	assert_int_equal(told(e), EPOLLIN);
	assert_int_equal(sys->eventfd_drain(e), 0);
	assert_int_equal(told(e), 0);
	sys->close(e);
}

static void datagrams(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in from;
	socklen_t len = sizeof(to), flen = sizeof(from);
	int a = sys->socket(AF_INET, SOCK_DGRAM, 0), b = sys->socket(AF_INET, SOCK_DGRAM, 0);
	char p[8];

	assert_int_equal(sys->bind(a, (void *)&to, len), 0);
	assert_int_equal(sys->getsockname(a, (void *)&to, &len), 0);
	watch(a, ET & ~EPOLLRDHUP);
	assert_int_equal(told(a), EPOLLOUT);
	assert_int_equal(sys->recv(a, p, 8, 0), -EAGAIN);
	assert_int_equal(sys->send(b, "x", 1, 0), -EDESTADDRREQ);
	assert_int_equal(sys->connect(b, (void *)&to, len), 0);
	assert_int_equal(sys->send(b, "hello", 5, 0), 5);
	assert_int_equal(told(a), EPOLLIN | EPOLLOUT);
	assert_int_equal(sys->recvfrom(a, p, 2, 0, (void *)&from, &flen), 2); /* the rest is lost */
	assert_int_equal(sys->recv(a, p, 8, 0), -EAGAIN);
	assert_int_equal(sys->sendto(a, "yes", 3, 0, (void *)&from, flen), 3);
	settle();
	assert_int_equal(sys->recv(b, p, 8, 0), 3);
	sys->close(a);
	assert_int_equal(sys->send(b, "x", 1, 0), 1);
	settle();
	assert_int_equal(sys->recv(b, p, 8, 0), -ECONNREFUSED); /* once */
	assert_int_equal(sys->recv(b, p, 8, 0), -EAGAIN);
	sys->close(b);
}

static void set_cork(int fd, int on)
{
	assert_int_equal(sys->setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)), 0);
}

static void soon(void)
{
	struct epoll_event ev;

	assert_int_equal(sys->epoll_wait(quiet, &ev, 1, simulated ? 50 : 3), 0);
}

static void corked(void)
{
	int a, b;

	pair(&a, &b);
	set_cork(a, 1);
	send_all(a, "head");
	soon();
	assert_recv(b, -EAGAIN);
	send_all(a, "body");
	soon();
	assert_recv(b, -EAGAIN);
	set_cork(a, 0);
	soon();
	assert_recv(b, 8);
	set_cork(a, 1);
	send_all(a, "late");
	soon();
	assert_recv(b, -EAGAIN);
	sys->epoll_wait(quiet, &(struct epoll_event){0}, 1, 300);
	assert_recv(b, 4); /* it does not hold for ever */
	send_all(a, "end");
	sys->close(a);
	settle();
	assert_recv(b, 3);
	assert_recv(b, 0);
	sys->close(b);
}

/* ---- Unix ---- */

static struct sockaddr_un un = {.sun_family = AF_UNIX};

/* Instead of the listener of run_one. */
static void unix_listen(void)
{
	snprintf(un.sun_path, sizeof(un.sun_path), "/tmp/sluice-sim-test-%d", (int)getpid());
	sys->close(lis);
	lis = sys->socket(AF_UNIX, SOCK_STREAM, 0);
	unlink(un.sun_path);
	assert_int_equal(sys->bind(lis, (void *)&un, sizeof(un)), 0);
	assert_int_equal(sys->listen(lis, 2), 0);
}

static int unix_connect(void)
{
	int fd = sys->socket(AF_UNIX, SOCK_STREAM, 0),
	    r = sys->connect(fd, (void *)&un, sizeof(un));

	if (r < 0)
		sys->close(fd);
	return r < 0 ? r : fd;
}

static void unix_pair(int *a, int *b)
{
	unix_listen();
	*a = unix_connect();
	assert_true(*a >= 0);
	*b = sys->accept(lis, NULL, NULL);
	assert_true(*b >= 0);
}

static void unix_names(void)
{
	struct sockaddr_un name;
	socklen_t len = sizeof(name), mine;
	int a, b;

	unix_pair(&a, &b);
	assert_int_equal(sys->getsockname(b, (void *)&name, &len), 0);
	assert_int_equal(len, offsetof(struct sockaddr_un, sun_path) + strlen(un.sun_path) + 1);
	assert_string_equal(name.sun_path, un.sun_path);
	mine = sizeof(name);
	assert_int_equal(sys->getpeername(b, (void *)&name, &mine), 0);
	assert_int_equal(mine, sizeof(sa_family_t)); /* the client has none */
	len = sizeof(name);
	assert_int_equal(sys->getpeername(a, (void *)&name, &len), 0);
	assert_string_equal(name.sun_path, un.sun_path);
	sys->close(a);
	sys->close(b);
	unlink(un.sun_path);
}

static void unix_closed(void)
{
	int a, b;

	unix_pair(&a, &b);
	watch(b, ET);
	assert_int_equal(told(b), EPOLLOUT);
	send_all(a, "bye");
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT);
	sys->close(a);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
	assert_send(b, -EPIPE);
	assert_recv(b, 3);
	assert_recv(b, 0);
	assert_int_equal(error_of(b), 0);
	sys->close(b);
	unlink(un.sun_path);
}

static void unix_closed_with_unread(void)
{
	int a, b;

	unix_pair(&a, &b);
	watch(b, ET);
	send_all(a, "hello");
	send_all(b, "unread");
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT);
	sys->close(a);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	assert_send(b, -EPIPE);
	assert_recv(b, 5);
	assert_recv(b, -ECONNRESET);
	assert_recv(b, 0);
	sys->close(b);
	unlink(un.sun_path);
}

static void unix_half_close(void)
{
	int a, b;

	unix_pair(&a, &b);
	watch(b, ET);
	assert_int_equal(told(b), EPOLLOUT);
	assert_int_equal(sys->shutdown(a, SHUT_WR), 0);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	assert_recv(b, 0);
	send_all(b, "answer");
	settle();
	assert_recv(a, 6);
	sys->close(a);
	sys->close(b);
	unlink(un.sun_path);
}

static void unix_nobody(void)
{
	int fds[4], n = 0;

	unix_listen();
	while (n < 4 && (fds[n] = unix_connect()) >= 0)
		n++;
	assert_int_equal(n, 3); /* backlog 2, and one */
	assert_int_equal(fds[n], -EAGAIN);
	for (int i = 0; i < n; i++)
		sys->close(fds[i]);
	sys->close(lis);
	lis = -1;
	assert_int_equal(unix_connect(), -ECONNREFUSED);
	unlink(un.sun_path);
	strcat(un.sun_path, "-not");
	assert_int_equal(unix_connect(), -ENOENT);
}

/* ---- more of TCP ---- */

static void others_port(void)
{
	socklen_t len = sizeof(at);
	int fd = stream();

	assert_int_equal(sys->bind(fd, (void *)&at, len), -EADDRINUSE);
	sys->close(fd);
	fd = stream();
	assert_int_equal(sys->accept(fd, NULL, NULL), -EINVAL);
	sys->close(fd);
}

static void still_connecting(void)
{
	struct sockaddr_in far = at;
	int fd = stream();

	if (!simulated)
		goto end; /* no address of the machine is slow */
	assert_int_equal(sys->connect(fd, (void *)&far, sizeof(far)), -EINPROGRESS);
	watch(fd, ET);
	assert_recv(fd, -EAGAIN);
	assert_send(fd, -EAGAIN);
	assert_int_equal(sys->connect(fd, (void *)&far, sizeof(far)), -EALREADY);
	assert_int_equal(told(fd), EPOLLOUT);
end:
	sys->close(fd);
}

static void six(void)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback}, got;
	socklen_t len = sizeof(sa);
	int l = sys->socket(AF_INET6, SOCK_STREAM, 0), a = sys->socket(AF_INET6, SOCK_STREAM, 0), b;

	assert_int_equal(sys->bind(l, (void *)&sa, len), 0);
	assert_int_equal(sys->listen(l, 5), 0);
	assert_int_equal(sys->getsockname(l, (void *)&sa, &len), 0);
	assert_int_equal(sys->connect(a, (void *)&sa, len), -EINPROGRESS);
	settle();
	b = sys->accept(l, (void *)&got, &len);
	assert_true(b >= 0);
	assert_int_equal(len, sizeof(got));
	assert_memory_equal(&got.sin6_addr, &in6addr_loopback, 16);
	send_all(b, "six");
	settle();
	assert_recv(a, 3);
	sys->close(a);
	sys->close(b);
	sys->close(l);
}

/* Wildcard listeners; the name that was connected to is the socket's. */
static void any_address(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET}, got;
	socklen_t len = sizeof(sa);
	int l = stream(), a = stream(), b;

	assert_int_equal(sys->bind(l, (void *)&sa, len), 0);
	assert_int_equal(sys->listen(l, 5), 0);
	assert_int_equal(sys->getsockname(l, (void *)&sa, &len), 0);
	sa.sin_addr.s_addr = htonl(0x7f000005);
	assert_int_equal(sys->connect(a, (void *)&sa, len), -EINPROGRESS);
	settle();
	b = sys->accept(l, NULL, NULL);
	assert_true(b >= 0);
	assert_int_equal(sys->getsockname(b, (void *)&got, &len), 0);
	assert_memory_equal(&got, &sa, sizeof(sa));
	sys->close(a);
	sys->close(b);
	sys->close(l);
}

static void bound_before_connecting(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000009)}, got;
	socklen_t len = sizeof(sa);
	int a = stream(), b;

	assert_int_equal(sys->bind(a, (void *)&sa, len), 0);
	assert_int_equal(sys->connect(a, (void *)&at, len), -EINPROGRESS);
	settle();
	b = sys->accept(lis, (void *)&got, &len);
	assert_true(b >= 0);
	assert_int_equal(got.sin_addr.s_addr, sa.sin_addr.s_addr);
	assert_true(got.sin_port != 0);
	sys->close(a);
	sys->close(b);
}

/* What we sent before their reset came is lost, and nothing is said twice. */
static void reset_while_sending(void)
{
	int a, b;

	pair(&a, &b);
	watch(a, ET);
	fill(a);
	reset_at_close(b);
	assert_int_equal(told(a), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	assert_recv(a, -ECONNRESET);
	assert_recv(a, 0);
	assert_send(a, -EPIPE);
	sys->close(a);
}

static void half_closed_and_reset(void)
{
	int a, b;

	pair(&a, &b);
	watch(b, ET);
	assert_int_equal(sys->shutdown(b, SHUT_WR), 0);
	settle();
	reset_at_close(a);
	assert_int_equal(told(b), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	assert_recv(b, -ECONNRESET);
	assert_recv(b, 0);
	sys->close(b);
}

static void fin_seen_twice(void)
{
	int a, b;

	pair(&a, &b);
	sys->close(a);
	settle();
	watch(b, EPOLLIN | EPOLLRDHUP); /* level-triggered: for ever */
	for (int i = 0; i < 3; i++) {
		assert_recv(b, 0);
		assert_int_equal(sys->epoll_wait(ep, &(struct epoll_event){0}, 1, 0), 1);
	}
	sys->close(b);
}

/* ---- running them ---- */

typedef void (*scenario)(void);

static void run_one(scenario s)
{
	ep = sys->epoll_create();
	quiet = sys->epoll_create();
	listen_start(16);
	s();
	if (lis >= 0)
		sys->close(lis);
	sys->close(ep);
	sys->close(quiet);
}

static void run_scenario(void **state)
{
	scenario s = (scenario)*state;

	if (sim_running()) /* the one before failed */
		sim_stop();
	simulated = false;
	run_one(s);
	simulated = true;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct sim_options o = {.seed = seed};

		sim_start(&o);
		sim_note("seed %d", (int)seed);
		run_one(s);
		assert_int_equal(sim_stop(), 0);
	}
}

#define SCENARIO(f)                                                                                \
	{                                                                                          \
		.name = #f, .test_func = run_scenario, .initial_state = (void *)f                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENARIO(unconnected),
		SCENARIO(names),
		SCENARIO(edges_of_data),
		SCENARIO(level_triggered),
		SCENARIO(half_close),
		SCENARIO(shut_reading),
		SCENARIO(shut_both),
		SCENARIO(closed_with_unread),
		SCENARIO(lingering_zero),
		SCENARIO(error_read_once),
		SCENARIO(reset_after_fin),
		SCENARIO(refused),
		SCENARIO(refused_and_read),
		SCENARIO(connected),
		SCENARIO(accepted_in_order),
		SCENARIO(reset_in_the_queue),
		SCENARIO(listener_closed),
		SCENARIO(full_and_drained),
		SCENARIO(closed_with_unsent),
		SCENARIO(closed_leaves_epoll),
		SCENARIO(registered_late),
		SCENARIO(vectors),
		SCENARIO(told_what_arrived),
		SCENARIO(sent_into_a_closed_end),
		SCENARIO(spliced),
		SCENARIO(spliced_reset),
		SCENARIO(pipe_full),
		SCENARIO(eventfd_edges),
		SCENARIO(datagrams),
		SCENARIO(corked),
		SCENARIO(unix_names),
		SCENARIO(unix_closed),
		SCENARIO(unix_closed_with_unread),
		SCENARIO(unix_half_close),
		SCENARIO(unix_nobody),
		SCENARIO(others_port),
		SCENARIO(still_connecting),
		SCENARIO(six),
		SCENARIO(any_address),
		SCENARIO(bound_before_connecting),
		SCENARIO(reset_while_sending),
		SCENARIO(half_closed_and_reset),
		SCENARIO(fin_seen_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
