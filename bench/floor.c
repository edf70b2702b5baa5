/* The least that a proxy can cost here: bytes from one socket to the other, nothing parsed, one
 * upstream connection for each client connection. Four socket calls a request and a shared
 * epoll_wait, as every proxy needs them. bench.py shows it beside the others, so that their figures
 * can be read as what they add to the kernel's share. usage: floor PORT ORIGIN_PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct side {
	int fd;
	struct side *other;
};

static int ep;

static struct sockaddr_in loopback(const char *port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((unsigned short)atoi(port)),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void add_side(struct side *s, int fd, struct side *other)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
	int on = 1;

	*s = (struct side){fd, other};
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void accept_all(int listener, const struct sockaddr_in *origin)
{
	int client;

	while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct side *pair = calloc(2, sizeof(*pair)); /* lives as long as the process */
		int server = socket(AF_INET, SOCK_STREAM, 0);

		if (!pair || server < 0 ||
		    connect(server, (const void *)origin, sizeof(*origin)) < 0)
			exit(1);
		add_side(&pair[0], client, &pair[1]);
		add_side(&pair[1], server, &pair[0]);
	}
}

static void move(struct side *s)
{
	static char buf[65536];
	ssize_t n = s->fd < 0 ? -1 : recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n > 0) {
		if (send(s->other->fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
			exit(1); /* it has no buffers: for small answers only */
	} else if (s->fd >= 0 && (n == 0 || errno != EAGAIN)) {
		close(s->fd);
		close(s->other->fd);
		s->fd = s->other->fd = -1;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in own, origin;
	struct epoll_event e = {.events = EPOLLIN}, ev[512];
	int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (argc != 3)
		return 2;
	own = loopback(argv[1]);
	origin = loopback(argv[2]);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	ep = epoll_create1(0);
	if (bind(listener, (void *)&own, sizeof(own)) < 0 || listen(listener, 4096) < 0 ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e) < 0)
		return 1;
	for (;;) {
		int n = epoll_wait(ep, ev, 512, -1);

		for (int i = 0; i < n; i++) {
			if (!ev[i].data.ptr)
				accept_all(listener, &origin);
			else if (ev[i].events & EPOLLIN)
				move(ev[i].data.ptr);
		}
	}
}
