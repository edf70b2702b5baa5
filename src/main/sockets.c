#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"
#include "main/sockets.h"
#include "net/addr.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define INHERIT_MAX	4096
#define DEFAULT_BACKLOG 511

/* ---- options ---- */

static void set_option(int fd, const struct listen_spec *spec, int level, int name,
		       const char *what, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		log_msg(NULL, LOG_WARN, errno, "setsockopt(%s, %d) for %.*s failed, ignored", what,
			value, SPAN_ARG(spec->name));
}
#define SET(level, name, value) set_option(fd, spec, level, name, #name, value)

static bool is_tcp(const struct listen_spec *spec)
{
	return spec->type == SOCK_STREAM && spec->sa.ss_family != AF_UNIX;
}

static void configure_tcp(int fd, const struct listen_spec *spec)
{
	int deferred = 0;
	socklen_t len = sizeof(deferred);

	if (spec->keepidle > 0)
		SET(IPPROTO_TCP, TCP_KEEPIDLE, spec->keepidle);
	if (spec->keepintvl > 0)
		SET(IPPROTO_TCP, TCP_KEEPINTVL, spec->keepintvl);
	if (spec->keepcnt > 0)
		SET(IPPROTO_TCP, TCP_KEEPCNT, spec->keepcnt);
	if (spec->fastopen >= 0)
		SET(IPPROTO_TCP, TCP_FASTOPEN, spec->fastopen);
	/* An inherited socket may be deferred and wanted otherwise. */
	getsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &deferred, &len);
	if (spec->deferred != (deferred > 0))
		SET(IPPROTO_TCP, TCP_DEFER_ACCEPT, spec->deferred);
}

void socket_configure(int fd, const struct listen_spec *spec)
{
	if (spec->rcvbuf >= 0)
		SET(SOL_SOCKET, SO_RCVBUF, spec->rcvbuf);
	if (spec->sndbuf >= 0)
		SET(SOL_SOCKET, SO_SNDBUF, spec->sndbuf);
	if (spec->keepalive >= 0)
		SET(SOL_SOCKET, SO_KEEPALIVE, spec->keepalive);
	if (is_tcp(spec))
		configure_tcp(fd, spec);
	if (spec->type == SOCK_STREAM &&
	    listen(fd, spec->backlog >= 0 ? spec->backlog : DEFAULT_BACKLOG) < 0)
		log_msg(NULL, LOG_WARN, errno, "listen() to %.*s failed", SPAN_ARG(spec->name));
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* ---- opening ---- */

struct span socket_unix_path(struct span name)
{
	if (!span_starts(name, SPAN("unix:")) || span_starts(name, SPAN("unix:@")))
		return SPAN("");
	return span_cut(name, 5, name.n);
}

/* True when the socket file was left behind by a process that is gone: nobody answers. */
static bool remove_stale(const struct listen_spec *spec)
{
	const struct sockaddr_un *un = (const void *)&spec->sa;
	bool stale = false;
	int fd;

	if (spec->sa.ss_family != AF_UNIX || un->sun_path[0] == 0)
		return false;
	fd = socket(AF_UNIX, spec->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)un, spec->salen) < 0 && errno == ECONNREFUSED)
		stale = unlink(un->sun_path) == 0;
	close(fd);
	return stale;
}

static int bind_spec(int fd, const struct listen_spec *spec, bool test)
{
	const struct sockaddr *sa = (const void *)&spec->sa;
	const struct sockaddr_un *un = (const void *)&spec->sa;
	int r = bind(fd, sa, spec->salen);

	if (r < 0 && errno == EADDRINUSE && remove_stale(spec))
		r = bind(fd, sa, spec->salen);
	if (r < 0)
		return -errno;
	if (sa->sa_family == AF_UNIX && un->sun_path[0]) {
		if (test)
			unlink(un->sun_path);
		else if (chmod(un->sun_path, 0666) < 0)
			return -errno;
	}
	return 0;
}

static void before_bind(int fd, const struct listen_spec *spec)
{
	if (spec->sa.ss_family != AF_UNIX)
		SET(SOL_SOCKET, SO_REUSEADDR, 1);
	if (is_tcp(spec)) /* accepted sockets inherit it: one call less for each */
		SET(IPPROTO_TCP, TCP_NODELAY, 1);
	if (spec->reuseport)
		SET(SOL_SOCKET, SO_REUSEPORT, 1);
	if (spec->sa.ss_family == AF_INET6)
		SET(IPPROTO_IPV6, IPV6_V6ONLY, spec->ipv6only_set ? spec->ipv6only : 1);
}

int socket_open(const struct listen_spec *spec, bool test, const char **what)
{
	int protocol = spec->multipath && is_tcp(spec) ? IPPROTO_MPTCP : 0;
	int fd = socket(spec->sa.ss_family, spec->type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol), r;

	*what = "socket";
	if (fd < 0)
		return -errno;
	*what = "bind";
	before_bind(fd, spec);
	r = bind_spec(fd, spec, test);
	if (r == -EADDRINUSE && test)
		return fd;
	if (r < 0) {
		close(fd);
		return r;
	}
	socket_configure(fd, spec);
	return fd;
}

/* ---- inherited ---- */

static struct {
	int fd;
	int type;
	struct net_addr addr;
} inherited[INHERIT_MAX];
static unsigned ninherited;
static pid_t parent; /* the old binary; 0: none */

bool sockets_shared_with_parent(void)
{
	return parent && getppid() == parent;
}

static void inherit(int fd)
{
	struct net_addr a = {.len = sizeof(struct sockaddr_un)};
	int type = 0;
	socklen_t len = sizeof(type);

	if (ninherited == INHERIT_MAX || getsockname(fd, &a.sa, &a.len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
		log_msg(NULL, LOG_EMERG, errno,
			"inherited descriptor #%d is not a usable socket, ignored", fd);
		return;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	inherited[ninherited].fd = fd;
	inherited[ninherited].type = type;
	inherited[ninherited++].addr = a;
}

static void inherit_nginx(const char *list)
{
	struct span rest = span_of(list), part;
	uint64_t fd;

	log_msg(NULL, LOG_NOTICE, 0, "using inherited sockets from \"%s\"", list);
	while (span_split(&rest, ';', &part)) {
		if (part.n == 0)
			continue;
		if (!span_to_u64(part, INT32_MAX, &fd)) {
			log_msg(NULL, LOG_EMERG, 0,
				"invalid socket number \"%.*s\" in NGINX environment variable, "
				"ignoring the rest of the variable",
				SPAN_ARG(part));
			return;
		}
		inherit((int)fd);
	}
}

unsigned sockets_inherit(void)
{
	const char *nginx = getenv("NGINX"), *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	int count = pid && n && atoi(pid) == getpid() ? atoi(n) : 0;

	if (nginx) {
		parent = getppid();
		inherit_nginx(nginx);
	}
	for (int i = 0; i < count; i++)
		inherit(3 + i);
	unsetenv("NGINX");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return ninherited;
}

/* Unix names may come back with or without their final zero. */
static bool same_address(const struct net_addr *a, const struct listen_spec *spec)
{
	struct sockaddr_un x = {0}, y = {0};

	if (a->sa.sa_family != spec->sa.ss_family)
		return false;
	if (a->sa.sa_family != AF_UNIX)
		return addr_eq(&a->sa, (const struct sockaddr *)&spec->sa);
	memcpy(&x, &a->un, MIN_OF(a->len, sizeof(x)));
	memcpy(&y, &spec->sa, MIN_OF(spec->salen, sizeof(y)));
	return memcmp(x.sun_path, y.sun_path, sizeof(x.sun_path)) == 0;
}

int sockets_take(const struct listen_spec *spec)
{
	for (unsigned i = 0; i < ninherited; i++) {
		int fd = inherited[i].fd;

		if (fd < 0 || inherited[i].type != spec->type ||
		    !same_address(&inherited[i].addr, spec))
			continue;
		inherited[i].fd = -1;
		return fd;
	}
	return -1;
}

void sockets_close_rest(void)
{
	for (unsigned i = 0; i < ninherited; i++)
		if (inherited[i].fd >= 0)
			close(inherited[i].fd);
	ninherited = 0;
}
