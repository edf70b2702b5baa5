/* The origin of bench.py: as little work as an HTTP server can have, so that load generator and
 * origin together cost less than any proxy between them. Otherwise the proxy waits for them, falls
 * asleep between two requests, and its figures hold what sleeping and waking cost, on a virtual
 * machine the hypervisor's time too.
 *
 * GET /NAME sends FOLDER/NAME; files up to SMALL lie ready with their heads. POST reads the body away
 * and says ok. Persistent HTTP/1.1 connections, a request at a time, heads up to HEAD_MAX bytes; it
 * believes its clients, which are proxies. usage: origin PORT FOLDER */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES	 16
#define SMALL	 4096
#define HEAD_MAX 4096

struct file {
	char name[64];
	char answer[1024 + SMALL]; /* the head, and a small file's body */
	size_t len;
	int fd; /* a large one; -1: all is in `answer` */
	off_t size;
};

struct conn {
	int fd;
	char in[HEAD_MAX + 1];
	size_t have;	   /* of the head */
	long long body;	   /* still to be read away */
	const struct file *out; /* being sent, or NULL */
	size_t head_sent;
	off_t file_sent;
};

static struct file files[FILES];
static int ep, nfiles;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- what is served ---- */

static void make_answer(struct file *f, const char *type, off_t size)
{
	char date[64];
	time_t now = time(NULL);

	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
	f->fd = -1;
	f->size = size;
	f->len = (size_t)snprintf(f->answer, 1024,
				  "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: %s\r\n"
				  "Content-Type: %s\r\nContent-Length: %lld\r\n"
				  "Connection: keep-alive\r\n\r\n",
				  date, type, (long long)size);
}

static void load_file(const char *folder, const char *name)
{
	struct file *f = &files[nfiles++];
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	snprintf(f->name, sizeof(f->name), "%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	make_answer(f, "application/octet-stream", st.st_size);
	if (st.st_size > SMALL) {
		f->fd = fd;
		return;
	}
	if (read(fd, f->answer + f->len, (size_t)st.st_size) != st.st_size)
		die(path);
	f->len += (size_t)st.st_size;
	close(fd);
}

static const struct file *find_file(const char *target)
{
	for (int i = 0; i < nfiles; i++) {
		size_t n = strlen(files[i].name);

		if (!strncmp(target + 1, files[i].name, n) && target[1 + n] == ' ')
			return &files[i];
	}
	return NULL;
}

/* ---- connections ---- */

static void conn_end(struct conn *c)
{
	close(c->fd);
	free(c);
}

/* False: the connection has ended. */
static int conn_send(struct conn *c)
{
	const struct file *f = c->out;

	while (f && c->head_sent < f->len) {
		ssize_t n = send(c->fd, f->answer + c->head_sent, f->len - c->head_sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT | (f->fd < 0 ? 0 : MSG_MORE));

		if (n < 0)
			return errno == EAGAIN;
		c->head_sent += (size_t)n;
	}
	while (f && f->fd >= 0 && c->file_sent < f->size) {
		ssize_t n = sendfile(c->fd, f->fd, &c->file_sent, (size_t)(f->size - c->file_sent));

		if (n <= 0)
			return n < 0 && errno == EAGAIN;
	}
	c->out = NULL;
	c->head_sent = 0;
	c->file_sent = 0;
	return 1;
}

/* The request's head is there, and `rest` bytes behind it. */
static int conn_request(struct conn *c, size_t rest)
{
	const char *length = strcasestr(c->in, "\r\nContent-Length:");

	c->have = 0;
	c->body = length ? atoll(length + 17) - (long long)rest : 0;
	if (!strncmp(c->in, "POST ", 5))
		c->out = &files[0];
	else
		c->out = strncmp(c->in, "GET ", 4) ? NULL : find_file(c->in + 4);
	if (!c->out || c->body < 0)
		return 0;
	return c->body || conn_send(c);
}

static int conn_recv(struct conn *c)
{
	static char away[65536];
	ssize_t n;

	if (c->body) {
		n = recv(c->fd, away, sizeof(away), MSG_DONTWAIT);
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		c->body -= n;
		return c->body > 0 ? conn_recv(c) : c->body == 0 && conn_send(c);
	}
	n = recv(c->fd, c->in + c->have, HEAD_MAX - c->have, MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && errno == EAGAIN && c->have < HEAD_MAX;
	c->have += (size_t)n;
	c->in[c->have] = '\0';
	for (char *end = strstr(c->in, "\r\n\r\n"); end;) {
		size_t rest = c->have - (size_t)(end + 4 - c->in);

		end[2] = '\0';
		if (!conn_request(c, rest))
			return 0;
		return c->body ? conn_recv(c) : 1;
	}
	return conn_recv(c);
}

static void conn_accept(int listener)
{
	int fd, on = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = calloc(1, sizeof(*c));
		struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
					.data.ptr = c};

		if (!c)
			die("calloc");
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
			die("epoll_ctl");
	}
}

static void conn_event(struct conn *c, unsigned events)
{
	if ((c->out && !c->body && (events & EPOLLOUT) && !conn_send(c)) ||
	    ((events & (EPOLLIN | EPOLLRDHUP)) && !conn_recv(c)) ||
	    (events & (EPOLLHUP | EPOLLERR)))
		conn_end(c);
}

static int listen_on(const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((unsigned short)atoi(port)),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event e = {.events = EPOLLIN};
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (bind(fd, (void *)&a, sizeof(a)) < 0 || listen(fd, 4096) < 0 ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
		die("listen");
	return fd;
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"1k", "100k", "10m"};
	struct epoll_event ev[512];
	int listener;

	if (argc != 3)
		return 2;
	signal(SIGPIPE, SIG_IGN); /* sendfile knows no flag against it */
	make_answer(&files[nfiles++], "text/plain", 2);
	files[0].len += (size_t)sprintf(files[0].answer + files[0].len, "ok");
	for (int i = 0; i < 3; i++)
		load_file(argv[2], names[i]);
	listener = listen_on(argv[1]);
	for (;;) {
		int n = epoll_wait(ep, ev, 512, -1);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr)
				conn_event(ev[i].data.ptr, ev[i].events);
			else
				conn_accept(listener);
		}
	}
}
