/* Sockets as the worker sees them: the calls, their options and names. */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include "io/sim_int.h"

static struct sim_sock *sock_get(int fd, const char *call)
{
	return sim_fd_kind(fd, &sim_kind_sock, call);
}

/* ---- the descriptor ---- */

static unsigned sock_poll(struct sim_desc *d)
{
	struct sim_sock *s = (struct sim_sock *)d;

	if (s->dgram)
		return sim_dgram_poll(s);
	if (s->lis)
		return s->lis->npending ? EPOLLIN : 0;
	return s->end ? sim_end_poll(s->end) : EPOLLOUT | EPOLLHUP;
}

static void sock_gone(struct sim_desc *d)
{
	struct sim_sock *s = (struct sim_sock *)d;

	if (s->dgram)
		sim_dgram_close(s);
	if (s->lis)
		sim_listener_drop(s->lis);
	if (s->end)
		sim_end_close(s->end, s->linger0);
	mem_plain_free(s);
}

static ssize_t sock_read(struct sim_desc *d, const struct iovec *iov, int n, int flags)
{
	struct sim_sock *s = (struct sim_sock *)d;

	if (s->dgram)
		return sim_dgram_recv(s, iov, n, flags, NULL);
	return s->end ? sim_end_recv(s->end, iov, n, flags) : -ENOTCONN;
}

static ssize_t sock_write(struct sim_desc *d, const struct iovec *iov, int n, int flags)
{
	struct sim_sock *s = (struct sim_sock *)d;

	if (sim_chance(sim.o.faults.enobufs)) {
		SIM_LOG("fault: no buffers for %ld", d->fd);
		return sim_draw(2) ? -ENOBUFS : -ENOMEM;
	}
	if (s->dgram)
		return sim_dgram_send(s, iov, n, NULL);
	return s->end ? sim_end_send(s->end, iov, n) : -EPIPE;
}

const struct sim_kind sim_kind_sock = {
	.name = "socket",
	.poll = sock_poll,
	.close = sock_gone,
	.read = sock_read,
	.write = sock_write,
};

static struct sim_sock *sock_new(int domain, int type, int *fd)
{
	struct sim_sock *s = mem_plain_zalloc(sizeof(*s));

	s->domain = domain;
	s->type = type;
	*fd = sim_fd_open(&s->d, &sim_kind_sock);
	if (*fd < 0) {
		mem_plain_free(s);
		return NULL;
	}
	return s;
}

int sim_socket(int domain, int type, int protocol)
{
	struct sim_sock *s;
	int fd;

	type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
	if ((domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX) ||
	    (type != SOCK_STREAM && type != SOCK_DGRAM))
		SIM_MODEL("socket(%d, %d, %d)", domain, type, protocol);
	if (sim_chance(sim.o.faults.enobufs))
		return sim_draw(2) ? -ENOBUFS : -ENOMEM;
	s = sock_new(domain, type, &fd);
	if (s && type == SOCK_DGRAM)
		sim_dgram_new(s);
	SIM_LOG("socket %ld, type %ld", fd, type);
	return fd;
}

/* ---- listening ---- */

int sim_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sim_sock *s = sock_get(fd, "bind");
	struct sim_addr at = sim_addr_make(sa, len);

	if (!s)
		return -EBADF;
	if (s->bound.len || s->end || sa->sa_family != s->domain)
		return -EINVAL;
	if (s->dgram)
		return sim_dgram_bind(s, &at);
	if (sim_addr_port(&at) && !s->reuseport && sim_listener_taken(&at))
		return -EADDRINUSE;
	if (s->domain != AF_UNIX && !sim_addr_port(&at))
		sim_addr_set_port(&at, sim_port_ephemeral());
	s->bound = at;
	return 0;
}

int sim_sock_listen(int fd, int backlog)
{
	struct sim_sock *s = sock_get(fd, "listen");

	if (!s)
		return -EBADF;
	if (s->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	if (s->end || !s->bound.len)
		return -EINVAL;
	if (!s->lis) {
		s->lis = sim_listener_new(&s->bound);
		s->lis->sock = s;
	}
	s->lis->backlog = (unsigned)MAX_OF(backlog, 0);
	return 0;
}

int sim_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct sim_sock *s, *n;
	struct sim_end *e;
	int got;

	sim_preempt();
	s = sock_get(fd, "accept");
	if (!s)
		return -EBADF;
	if (!s->lis)
		return -EINVAL;
	if (sim_fd_room() < 0) /* Linux makes the socket before it looks whether one waits */
		return sim_fd_room();
	if (!s->lis->npending)
		return -EAGAIN;
	if (sim_chance(sim.o.faults.enobufs))
		return sim_draw(2) ? -ENOBUFS : -ENOMEM;
	n = sock_new(s->domain, s->type, &got);
	if (!n)
		return got;
	e = CONTAINER_OF(list_take(&s->lis->pending), struct sim_end, pending);
	s->lis->npending--;
	e->queue = NULL;
	e->sock = n;
	n->end = e;
	n->bound = e->local;
	SIM_LOG("accept %ld: %ld is connection %ld", fd, got, e->id);
	return sim_addr_give(&e->remote, sa, len) < 0 ? -EINVAL : got;
}

int sim_open_listener(const struct sockaddr *sa, socklen_t len, int backlog, bool reuseport)
{
	int none = 0, fd, r;
	struct sim_faults keep = sim.o.faults;

	/* What the master opened: not the worker's trouble. */
	sim.o.faults = (struct sim_faults){0};
	fd = sim_socket(sa->sa_family, SOCK_STREAM, none);
	sock_get(fd, "listen")->reuseport = reuseport;
	r = sim_bind(fd, sa, len);
	if (r == 0)
		r = sim_sock_listen(fd, backlog);
	if (r < 0)
		sim_close(fd);
	sim.o.faults = keep;
	return r < 0 ? r : fd;
}

/* ---- connecting ---- */

static int connect_stream(struct sim_sock *s, const struct sim_addr *to)
{
	struct sim_addr from = s->bound.len ? s->bound : sim_addr_source(to);
	struct sim_link *l;
	int r;

	if (s->lis || (s->end && !s->end->dead))
		return s->end && s->end->connecting ? -EALREADY : -EISCONN;
	if (to->sa.sa_family != s->domain)
		return -EAFNOSUPPORT;
	if (s->end) { /* a second try on the same socket */
		s->end->sock = NULL;
		sim_end_close(s->end, false);
		s->end = NULL;
	}
	if (s->domain != AF_UNIX && !sim_addr_port(&from))
		sim_addr_set_port(&from, sim_port_ephemeral());
	l = sim_link_new(&from, to);
	l->busy++;
	r = sim_connect_start(&l->end[0], true);
	if (r == 0 || r == -EINPROGRESS) {
		s->end = &l->end[0];
		s->end->sock = s;
		s->bound = from;
	} else {
		sim_end_close(&l->end[0], false);
	}
	sim_link_release(l);
	return r;
}

int sim_sock_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sim_addr to = sim_addr_make(sa, len);
	struct sim_sock *s;
	int r;

	sim_preempt();
	s = sock_get(fd, "connect");
	if (!s)
		return -EBADF;
	r = s->dgram ? sim_dgram_connect(s, &to) : connect_stream(s, &to);
	SIM_LOG("connect %ld: %ld", fd, r);
	return r;
}

int sim_shutdown(int fd, int how)
{
	struct sim_sock *s = sock_get(fd, "shutdown");

	if (!s)
		return -EBADF;
	if (s->lis)
		SIM_MODEL("shutdown of the listener %d", fd);
	if (s->dgram)
		SIM_MODEL("shutdown of the datagram socket %d", fd);
	if (!s->end || s->end->dead || s->end->connecting)
		return -ENOTCONN;
	SIM_LOG("shutdown %ld: %ld", fd, how);
	sim_end_shutdown(s->end, how != SHUT_WR, how != SHUT_RD);
	sim_desc_edge(&s->d, ~0u); /* sk_state_change tells all */
	return 0;
}

/* ---- options ---- */

static int set_socket(struct sim_sock *s, int name, const void *val, socklen_t len)
{
	struct linger l;
	int v = 0;

	if (name == SO_LINGER) {
		if (len < sizeof(l))
			return -EINVAL;
		memcpy(&l, val, sizeof(l));
		s->linger0 = l.l_onoff && l.l_linger == 0;
		if (l.l_onoff && l.l_linger)
			SIM_MODEL("SO_LINGER of %d s", l.l_linger);
		return 0;
	}
	memcpy(&v, val, MIN_OF(len, (socklen_t)sizeof(v)));
	switch (name) {
	case SO_REUSEPORT:
		s->reuseport = v;
		return 0;
	case SO_REUSEADDR:
	case SO_KEEPALIVE:
	case SO_SNDBUF: /* the seed says how much there is */
	case SO_RCVBUF:
		return 0;
	default:
		SIM_MODEL("setsockopt(SOL_SOCKET, %d)", name);
	}
}

/* What changes no behaviour that is modelled. */
static bool option_harmless(int level, int name)
{
	static const struct {
		int level, name;
	} known[] = {
		{IPPROTO_TCP, TCP_NODELAY},	  {IPPROTO_TCP, TCP_CORK},
		{IPPROTO_TCP, TCP_QUICKACK},	  {IPPROTO_TCP, TCP_KEEPIDLE},
		{IPPROTO_TCP, TCP_KEEPINTVL},	  {IPPROTO_TCP, TCP_KEEPCNT},
		{IPPROTO_TCP, TCP_NOTSENT_LOWAT}, {IPPROTO_TCP, TCP_USER_TIMEOUT},
		{IPPROTO_IP, IP_TRANSPARENT},	  {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
		{IPPROTO_IPV6, IPV6_V6ONLY},	  {IPPROTO_IPV6, IPV6_TRANSPARENT},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].level == level && known[i].name == name)
			return true;
	return false;
}

int sim_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	struct sim_sock *s = sock_get(fd, "setsockopt");

	if (!s)
		return -EBADF;
	if (level == SOL_SOCKET)
		return set_socket(s, name, val, len);
	if (level == IPPROTO_TCP && s->domain == AF_UNIX)
		return -EOPNOTSUPP;
	if (level == IPPROTO_TCP && name == TCP_CORK && s->end) {
		int on = 0;

		memcpy(&on, val, MIN_OF(len, (socklen_t)sizeof(on)));
		sim_end_cork(s->end, on);
	} else if (!option_harmless(level, name))
		SIM_MODEL("setsockopt(%d, %d) of %d", level, name, fd);
	return 0;
}

static void tcp_info_fill(const struct sim_end *e, struct tcp_info *ti)
{
	uint32_t rtt = MAX_OF(e->rtt_us, 1u);

	ti->tcpi_state = e->connecting ? TCP_SYN_SENT
			 : e->dead     ? TCP_CLOSE
			 : e->wr_shut  ? (e->done ? TCP_LAST_ACK : TCP_FIN_WAIT1)
			 : e->done     ? TCP_CLOSE_WAIT
				       : TCP_ESTABLISHED;
	ti->tcpi_rtt = rtt;
	ti->tcpi_rttvar = rtt / 2;
	ti->tcpi_snd_cwnd = 10;
	ti->tcpi_snd_mss = ti->tcpi_rcv_mss = 1460;
	ti->tcpi_rcv_space = (uint32_t)e->rcvbuf;
	ti->tcpi_unacked = (uint32_t)((e->inflight + 1459) / 1460);
	ti->tcpi_retransmits = (uint8_t)sim_end_retransmits(e);
}

/* The tail of Linux's struct, which the C library's header does not have. */
struct tcp_info_tail {
	uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
	uint32_t segs_out, segs_in, notsent_bytes, min_rtt, data_segs_in, data_segs_out;
	uint64_t delivery_rate, busy_time, rwnd_limited, sndbuf_limited;
	uint32_t delivered, delivered_ce;
	uint64_t bytes_sent, bytes_retrans;
};

static int get_tcp_info(const struct sim_end *e, void *val, socklen_t *len)
{
	struct {
		struct tcp_info ti;
		struct tcp_info_tail tail;
	} all = {0};

	_Static_assert(sizeof(struct tcp_info) == 104, "the tail begins here");
	if (e) {
		tcp_info_fill(e, &all.ti);
		all.tail.bytes_acked = e->bytes_acked;
		all.tail.bytes_received = e->bytes_received;
		all.tail.bytes_sent = e->bytes_sent;
		all.tail.notsent_bytes = (uint32_t)(e->tx.len - e->inflight);
	} else {
		all.ti.tcpi_state = TCP_CLOSE;
	}
	*len = MIN_OF(*len, (socklen_t)sizeof(all));
	memcpy(val, &all, *len);
	return 0;
}

static int sock_error(struct sim_sock *s)
{
	int err = s->dgram ? sim_dgram_error(s) : s->end ? s->end->err : 0;

	if (s->end)
		s->end->err = 0;
	return err;
}

int sim_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	struct sim_sock *s = sock_get(fd, "getsockopt");
	int v;

	if (!s)
		return -EBADF;
	if (level == IPPROTO_TCP && name == TCP_INFO)
		return s->domain == AF_UNIX ? -EOPNOTSUPP : get_tcp_info(s->end, val, len);
	if (level != SOL_SOCKET)
		SIM_MODEL("getsockopt(%d, %d) of %d", level, name, fd);
	switch (name) {
	case SO_ERROR:
		v = sock_error(s);
		break;
	case SO_TYPE:
		v = s->type;
		break;
	case SO_DOMAIN:
		v = s->domain;
		break;
	case SO_ACCEPTCONN:
		v = s->lis != NULL;
		break;
	default:
		SIM_MODEL("getsockopt(SOL_SOCKET, %d)", name);
	}
	*len = MIN_OF(*len, (socklen_t)sizeof(v));
	memcpy(val, &v, *len);
	return 0;
}

/* ---- names ---- */

int sim_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct sim_sock *s = sock_get(fd, "getsockname");
	struct sim_addr none = {.len = 0};

	if (!s)
		return -EBADF;
	none.sa.sa_family = (sa_family_t)s->domain;
	none.len = s->domain == AF_INET	   ? sizeof(struct sockaddr_in)
		   : s->domain == AF_INET6 ? sizeof(struct sockaddr_in6)
					   : sizeof(sa_family_t);
	if (s->dgram)
		return sim_addr_give(sim_dgram_local(s), sa, len);
	return sim_addr_give(s->end ? &s->end->local : s->bound.len ? &s->bound : &none, sa, len);
}

int sim_getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct sim_sock *s = sock_get(fd, "getpeername");
	const struct sim_addr *peer;

	if (!s)
		return -EBADF;
	peer = s->dgram						? sim_dgram_peer(s)
	       : s->end && !s->end->dead && !s->end->connecting ? &s->end->remote
								: NULL;
	return peer && peer->len ? sim_addr_give(peer, sa, len) : -ENOTCONN;
}
