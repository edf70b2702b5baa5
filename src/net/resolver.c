/* Names to addresses with c-ares. Its sockets are made and used through `sys` and watched by the
 * thread's loop. Of its own it reads /etc/hosts and /etc/resolv.conf, and the clock for its
 * repeats. */
#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "base/hash.h"
#include "base/list.h"
#include "base/mutant.h"
#include "base/pool.h"
#include "io/loop.h"
#include "net/resolver.h"

#define NAME_MAX_LEN  253
#define ADDRS_MAX     64   /* of one name */
#define CACHE_MAX     8192 /* names, over all threads */
#define NEGATIVE_MS   10000
#define CHANNELS_MAX  16   /* sets of servers per thread; idle ones above it are closed */
#define QUESTIONS_MAX 4096 /* in flight per thread and set of servers */
#define SRV_MAX	      64
#define TRY_MS	      1000
#define TRIES	      5	 /* 31 s */
#define READS_MAX     64 /* of a socket in a turn */

struct resolver {
	uint64_t set; /* hash of servers and times: who shares a channel and answers */
	bool ipv4, ipv6;
	int64_t valid_s;
	uint64_t timeout_ms;
	size_t nservers;
	struct net_addr servers[];
};

/* A socket of c-ares. */
struct dns_sock {
	struct list link;
	struct iofd io;
	struct channel *ch;	  /* NULL: closed */
	unsigned refs;		  /* 1, and one for sock_writer */
	bool want_write, writing; /* c-ares has something to send; sock_writer runs */
};

struct channel {
	struct list link;
	uint64_t set;
	ares_channel ares;
	struct list socks, questions;
	unsigned nquestions;
	struct timer timer;
	bool inside; /* c-ares is on the stack */
	bool more;   /* a socket has more input than one turn reads */
};

enum question_kind { ASK_V4 = 1, ASK_V6 = 2, ASK_SRV = 4 };

struct question {
	struct list link; /* in the channel until it is answered */
	struct co_waitq waiters;
	struct channel *ch;
	unsigned refs; /* c-ares, and each waiter */
	unsigned kind; /* enum question_kind */
	bool done;
	int rc; /* number of answers or -errno */
	int64_t ttl_s, valid_s;
	union {
		struct net_peer addrs[ADDRS_MAX];
		struct ares_srv_reply *srv;
	};
	size_t nname;
	char name[NAME_MAX_LEN + 1];
};

static _Thread_local struct list channels;
static _Thread_local unsigned nchannels;

/* ---- the cache ---- */

struct answer {
	struct hash_node node;
	struct list lru;
	uint64_t set, until_ms;
	int64_t ttl_s;
	unsigned kind;
	int rc;
	size_t nname;
	char *name; /* behind addrs */
	struct net_peer addrs[];
};

static struct {
	pthread_mutex_t lock;
	struct hash hash;
	struct list lru; /* newest first */
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER, .lru = {&cache.lru, &cache.lru}};

static uint64_t answer_hash(uint64_t set, unsigned kind, struct span name)
{
	return hash_bytes(name.p, name.n) ^ (set + kind) * 0x9e3779b97f4a7c15u;
}

static void answer_drop(struct answer *e)
{
	hash_remove(&cache.hash, &e->node);
	list_del(&e->lru);
	mem_free(e);
}

void resolver_cache_fini(void)
{
	while (!list_empty(&cache.lru))
		answer_drop(CONTAINER_OF(cache.lru.prev, struct answer, lru));
	hash_fini(&cache.hash);
	hash_init(&cache.hash);
}

/* With the lock held. */
static struct answer *answer_find(uint64_t set, unsigned kind, struct span name)
{
	struct hash_node *n = hash_first(&cache.hash, answer_hash(set, kind, name));

	for (; n; n = hash_next(n)) {
		struct answer *e = CONTAINER_OF(n, struct answer, node);

		if (e->set == set && e->kind == kind && span_eq(span_make(e->name, e->nname), name))
			return e;
	}
	return NULL;
}

static size_t peer_copy(const struct net_peer *from, size_t n, struct net_addr *out, size_t max)
{
	n = MIN_OF(n, max);
	for (size_t i = 0; i < n; i++) {
		out[i] = (struct net_addr){.len = from[i].sa.sa_family == AF_INET
							  ? sizeof(struct sockaddr_in)
							  : sizeof(struct sockaddr_in6)};
		memcpy(&out[i].sa, &from[i].sa, out[i].len);
	}
	return n;
}

/* 0: not known. */
static int cache_get(const struct resolver *r, unsigned kind, struct span name,
		     struct net_addr *out, size_t max, int64_t *ttl_s)
{
	struct answer *e;
	int rc = 0;

	pthread_mutex_lock(&cache.lock);
	e = answer_find(r->set, kind, name);
	if (e && e->until_ms <= io_now_ms()) {
		answer_drop(e);
	} else if (e) {
		rc = e->rc;
		if (rc > 0)
			rc = (int)peer_copy(e->addrs, (size_t)rc, out, max);
		if (ttl_s)
			*ttl_s = (int64_t)((e->until_ms - io_now_ms() + 999) / 1000);
		list_del(&e->lru);
		list_push_front(&cache.lru, &e->lru);
	}
	pthread_mutex_unlock(&cache.lock);
	return rc;
}

static void cache_put(const struct question *q, uint64_t set)
{
	size_t n = q->rc > 0 ? (size_t)q->rc : 0;
	uint64_t keep_ms = n ? (uint64_t)(q->valid_s ? q->valid_s : q->ttl_s) * 1000 : NEGATIVE_MS;
	struct span name = span_make(q->name, q->nname);
	struct answer *e, *old;

	keep_ms <<= 3 * MUTANT(stale_names);
	if (keep_ms == 0 || (q->rc < 0 && q->rc != -ENOENT))
		return;
	e = mem_alloc(sizeof(*e) + n * sizeof(e->addrs[0]) + q->nname);
	if (!e)
		return;
	*e = (struct answer){.set = set,
			     .kind = q->kind,
			     .rc = q->rc,
			     .nname = q->nname,
			     .until_ms = io_now_ms() + keep_ms,
			     .name = (char *)&e->addrs[n]};
	memcpy(e->addrs, q->addrs, n * sizeof(e->addrs[0]));
	memcpy(e->name, q->name, q->nname);
	pthread_mutex_lock(&cache.lock);
	old = answer_find(set, q->kind, name);
	if (old)
		answer_drop(old);
	if (cache.hash.count >= CACHE_MAX)
		answer_drop(CONTAINER_OF(cache.lru.prev, struct answer, lru));
	if (hash_insert(&cache.hash, &e->node, answer_hash(set, q->kind, name)))
		list_push_front(&cache.lru, &e->lru);
	else
		mem_free(e);
	pthread_mutex_unlock(&cache.lock);
}

/* ---- c-ares on the loop ---- */

static void channel_arm(struct channel *ch)
{
	struct timeval tv, *t = ares_timeout(ch->ares, NULL, &tv);

	if (!t)
		timer_stop(&co_sched.wheel, &ch->timer);
	else
		timer_start(&co_sched.wheel, &ch->timer,
			    io_now_ms() + (uint64_t)t->tv_sec * 1000 + (uint64_t)t->tv_usec / 1000 +
				    1);
}

static void channel_process(struct channel *ch, int r, int w)
{
	ch->inside = true;
	ares_process_fd(ch->ares, r, w);
	ch->inside = false;
	channel_arm(ch);
}

static struct dns_sock *sock_find(struct channel *ch, int fd)
{
	struct list *it;

	list_each (it, &ch->socks) {
		struct dns_sock *s = CONTAINER_OF(it, struct dns_sock, link);

		if (s->io.fd == fd)
			return s;
	}
	return NULL;
}

static void sock_unref(struct dns_sock *s)
{
	if (--s->refs == 0)
		mem_free(s);
}

/* Edge-triggered: c-ares reads TCP piece by piece, so go on until a read has found nothing; the
 * next turn if that is long, for no event will tell of what is left. */
static void sock_readable(struct iofd *f)
{
	struct dns_sock *s = CONTAINER_OF(f, struct dns_sock, io);

	s->refs++;
	for (int i = 0; i < READS_MAX && s->ch && (f->ready & IO_R); i++)
		channel_process(s->ch, f->fd, ARES_SOCKET_BAD);
	if (s->ch && (f->ready & IO_R)) {
		s->ch->more = true;
		timer_start(&co_sched.wheel, &s->ch->timer, io_now_ms());
	}
	sock_unref(s);
}

static struct dns_sock *sock_unread(struct channel *ch)
{
	struct list *it;

	list_each (it, &ch->socks) {
		struct dns_sock *s = CONTAINER_OF(it, struct dns_sock, link);

		if (s->io.registered && (s->io.ready & IO_R))
			return s;
	}
	return NULL;
}

static void channel_timer(struct timer *t)
{
	struct channel *ch = CONTAINER_OF(t, struct channel, timer);
	struct dns_sock *s = ch->more ? sock_unread(ch) : NULL;

	if (s)
		sock_readable(&s->io);
	else
		channel_process(ch, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	ch->more &= sock_unread(ch) != NULL;
	if (ch->more) /* another one */
		timer_start(&co_sched.wheel, &ch->timer, io_now_ms());
}

/* Parked descriptors are not told of writability: a TCP connection that is being made gets this. */
static void sock_writer(void *arg)
{
	struct dns_sock *s = arg;

	/* c-ares says that it has something to send before that is so, and is on the stack: it must
	 * not be called until it has returned. */
	while (s->want_write && (MUTANT(ares_inside) || co_yield () >= 0) && s->ch &&
	       s->want_write && iofd_wait(&s->io, IO_W, CO_NEVER) >= 0)
		if (s->ch)
			channel_process(s->ch, ARES_SOCKET_BAD, s->io.fd);
	s->writing = false;
	/* What came meanwhile was not told to the parked callback. */
	if (s->ch)
		sock_readable(&s->io);
	sock_unref(s);
}

static void sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct dns_sock *s = sock_find(arg, fd);

	if (!s)
		return;
	s->want_write = writable;
	if (!writable || s->writing)
		return;
	s->writing = true;
	s->refs++;
	if (co_start(sock_writer, s) < 0) {
		s->writing = false; /* c-ares will run into its time-out */
		s->refs--;
	}
}

static int to_errno(ssize_t rc)
{
	errno = (int)-rc;
	return -1;
}

static ares_socket_t sock_open(int domain, int type, int protocol, void *arg)
{
	struct channel *ch = arg;
	struct dns_sock *s = mem_zalloc(sizeof(*s));
	int fd = s ? sys->socket(domain, type, protocol) : -ENOMEM;
	int rc;

	if (fd < 0) {
		mem_free(s);
		return to_errno(fd);
	}
	s->refs = 1;
	s->ch = ch;
	iofd_init(&s->io, fd, sock_readable);
	rc = type == SOCK_DGRAM ? iofd_register(&s->io) : 0; /* TCP: once connecting */
	if (rc < 0) {
		iofd_close(&s->io);
		mem_free(s);
		return to_errno(rc);
	}
	list_push(&ch->socks, &s->link);
	return fd;
}

static int sock_close(ares_socket_t fd, void *arg)
{
	struct dns_sock *s = sock_find(arg, fd);

	if (!s)
		return 0;
	list_del(&s->link);
	s->ch = NULL;
	iofd_close(&s->io);
	sock_unref(s);
	return 0;
}

static int sock_connect(ares_socket_t fd, const struct sockaddr *sa, ares_socklen_t len, void *arg)
{
	struct dns_sock *s = sock_find(arg, fd);
	int rc = sys->connect(fd, sa, len);

	if (s && !s->io.registered && (rc == 0 || rc == -EINPROGRESS)) {
		int r = iofd_register(&s->io);

		s->io.ready = 0;
		if (r < 0)
			rc = r;
	}
	return rc < 0 ? to_errno(rc) : rc;
}

static ares_ssize_t sock_recv(ares_socket_t fd, void *p, size_t n, int flags, struct sockaddr *sa,
			      ares_socklen_t *len, void *arg)
{
	struct dns_sock *s = sock_find(arg, fd);
	ssize_t rc = sys->recvfrom(fd, p, n, flags, sa, len);

	if (s && rc <= 0)
		iofd_blocked(&s->io, IO_R);
	return rc < 0 ? to_errno(rc) : rc;
}

static ares_ssize_t sock_send(ares_socket_t fd, const struct iovec *iov, int n, void *arg)
{
	struct dns_sock *s = sock_find(arg, fd);
	ssize_t rc = sys->writev(fd, iov, n);

	if (s && rc == -EAGAIN)
		iofd_blocked(&s->io, IO_W);
	return rc < 0 ? to_errno(rc) : rc;
}

static const struct ares_socket_functions sock_functions = {
	sock_open, sock_close, sock_connect, sock_recv, sock_send,
};

/* ---- channels ---- */

static bool set_servers(struct channel *ch, const struct resolver *r)
{
	struct ares_addr_port_node *nodes, *n;
	int rc;

	if (!r->nservers)
		return true;
	nodes = mem_zalloc(r->nservers * sizeof(*nodes));
	if (!nodes)
		return false;
	for (size_t i = 0; i < r->nservers; i++) {
		struct span b = addr_bytes(&r->servers[i].sa);

		n = &nodes[i];
		n->next = i + 1 < r->nservers ? n + 1 : NULL;
		n->family = r->servers[i].sa.sa_family;
		n->udp_port = n->tcp_port = addr_port(&r->servers[i].sa);
		memcpy(&n->addr, b.p, b.n);
	}
	rc = ares_set_servers_ports(ch->ares, nodes);
	mem_free(nodes);
	return rc == ARES_SUCCESS;
}

static void channel_close(struct channel *ch)
{
	struct list *it, *tmp;

	timer_stop(&co_sched.wheel, &ch->timer);
	ch->inside = true;
	ares_destroy(ch->ares); /* answers every question, closes the sockets */
	list_each_safe (it, tmp, &ch->socks)
		sock_close(CONTAINER_OF(it, struct dns_sock, link)->io.fd, ch);
	list_del(&ch->link);
	nchannels--;
	mem_free(ch);
}

static pthread_once_t ares_once = PTHREAD_ONCE_INIT;

static void ares_setup(void)
{
	ares_library_init(ARES_LIB_INIT_ALL);
}

static struct channel *channel_new(const struct resolver *r)
{
	struct channel *ch = mem_zalloc(sizeof(*ch));
	/* A question is repeated a few times within the time-out, each time waiting twice as long;
	 * soon at first, for resolver_timeout may be shorter than what is known here. (Over TCP
	 * there is one try.) */
	uint64_t try_ms = MIN_OF(MAX_OF(r->timeout_ms / 6, 20), TRY_MS);
	struct ares_options o = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
		.timeout = (int)try_ms,
		.tries = TRIES,
		.lookups = (char *)"fb",
		.sock_state_cb = sock_state,
		.sock_state_cb_data = ch,
	};

	if (!ch)
		return NULL;
	pthread_once(&ares_once, ares_setup);
	if (ares_init_options(&ch->ares, &o,
			      ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
				      ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB |
				      ARES_OPT_DOMAINS) != ARES_SUCCESS) {
		mem_free(ch);
		return NULL;
	}
	ares_set_socket_functions(ch->ares, &sock_functions, ch);
	ch->set = r->set;
	list_init(&ch->socks);
	list_init(&ch->questions);
	timer_init(&ch->timer, channel_timer);
	list_push_front(&channels, &ch->link);
	nchannels++;
	if (!set_servers(ch, r)) {
		channel_close(ch);
		return NULL;
	}
	return ch;
}

static struct channel *channel_get(const struct resolver *r)
{
	struct list *it, *tmp;

	if (!channels.next)
		list_init(&channels);
	list_each_safe (it, tmp, &channels) {
		struct channel *ch = CONTAINER_OF(it, struct channel, link);

		if (ch->set == r->set)
			return ch;
		if (nchannels >= CHANNELS_MAX && list_empty(&ch->questions) && !ch->inside)
			channel_close(ch);
	}
	return channel_new(r);
}

void resolver_thread_fini(void)
{
	struct list *it, *tmp;

	if (!channels.next)
		return;
	list_each_safe (it, tmp, &channels)
		channel_close(CONTAINER_OF(it, struct channel, link));
}

/* ---- questions ---- */

static void question_unref(struct question *q)
{
	if (--q->refs)
		return;
	if (q->kind == ASK_SRV && q->srv)
		ares_free_data(q->srv);
	mem_free(q);
}

static int rc_of(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENODATA:
	case ARES_ENOTFOUND:
	case ARES_EBADNAME:
		return -ENOENT;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	case ARES_ENOMEM:
		return -ENOMEM;
	case ARES_ECANCELLED:
	case ARES_EDESTRUCTION:
		return -ECANCELED;
	default:
		return -EIO;
	}
}

static void question_end(struct question *q)
{
	q->done = true;
	list_del(&q->link);
	q->ch->nquestions--;
	q->ch = NULL;
	co_waitq_wake_all(&q->waiters, 0);
	question_unref(q);
}

static void on_addrs(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	struct question *q = arg;
	struct ares_addrinfo_node *n;
	int64_t ttl = INT32_MAX;

	q->rc = rc_of(status);
	for (n = ai ? ai->nodes : NULL; n && q->rc < ADDRS_MAX; n = n->ai_next) {
		/* A server may say more than it was asked. */
		if (!(n->ai_family == AF_INET && (q->kind & ASK_V4)) &&
		    !(n->ai_family == AF_INET6 && (q->kind & ASK_V6)))
			continue;
		memcpy(&q->addrs[q->rc++].sa, n->ai_addr, n->ai_addrlen);
		ttl = MIN_OF(ttl, (int64_t)n->ai_ttl);
	}
	if (q->rc == 0)
		q->rc = -ENOENT;
	for (struct ares_addrinfo_cname *c = ai ? ai->cnames : NULL; c; c = c->next)
		ttl = MIN_OF(ttl, (int64_t)c->ttl);
	q->ttl_s = MAX_OF(ttl, 0);
	ares_freeaddrinfo(ai);
	cache_put(q, q->ch->set);
	question_end(q);
}

static void on_srv(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
	struct question *q = arg;

	if (status == ARES_SUCCESS)
		status = ares_parse_srv_reply(msg, len, &q->srv);
	q->rc = rc_of(status);
	for (struct ares_srv_reply *s = q->srv; s; s = s->next)
		q->rc++;
	if (q->rc == 0)
		q->rc = -ENOENT;
	question_end(q);
}

static void question_ask(struct question *q)
{
	struct channel *ch = q->ch;
	struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT,
		.ai_family = q->kind == ASK_V4	 ? AF_INET
			     : q->kind == ASK_V6 ? AF_INET6
						 : AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
	};

	ch->inside = true;
	if (q->kind == ASK_SRV)
		ares_query(ch->ares, q->name, ns_c_in, ns_t_srv, on_srv, q);
	else
		ares_getaddrinfo(ch->ares, q->name, NULL, &hints, on_addrs, q);
	ch->inside = false;
	channel_arm(ch);
}

/* The question in flight, or a new one, with a reference for the caller. */
static struct question *question_get(struct channel *ch, const struct resolver *r, unsigned kind,
				     struct span name)
{
	struct question *q;
	struct list *it;

	list_each (it, &ch->questions) {
		q = CONTAINER_OF(it, struct question, link);
		if (q->kind == kind && span_eq(span_make(q->name, q->nname), name)) {
			q->refs++;
			return q;
		}
	}
	if (ch->nquestions >= QUESTIONS_MAX)
		return NULL;
	q = mem_zalloc(sizeof(*q));
	if (!q)
		return NULL;
	q->ch = ch;
	q->kind = kind;
	q->refs = 2;
	q->valid_s = r->valid_s;
	q->nname = name.n;
	memcpy(q->name, name.p, name.n);
	co_waitq_init(&q->waiters);
	list_push(&ch->questions, &q->link);
	ch->nquestions++;
	question_ask(q);
	return q;
}

/* Waits for the answer: q->rc when there is one. */
static int question_wait(struct question *q, const struct resolver *r, uint64_t deadline_ms)
{
	uint64_t own = io_after(r->timeout_ms);
	int rc = 0;

	if (!q->done)
		rc = co_waitq_wait(&q->waiters, MIN_OF(own, deadline_ms));
	if (rc < 0)
		return rc;
	return q->done ? q->rc : -EIO;
}

/* Lower case without the last dot; false: no name. */
static bool normalise(struct span host, char *out, size_t *n)
{
	if (host.n && host.p[host.n - 1] == '.')
		host.n--;
	if (host.n == 0 || host.n > NAME_MAX_LEN)
		return false;
	for (size_t i = 0; i < host.n; i++) {
		if ((unsigned char)host.p[i] <= ' ' || host.p[i] == 0x7f)
			return false;
		out[i] = ascii_lower(host.p[i]);
	}
	out[host.n] = '\0';
	*n = host.n;
	return true;
}

int resolver_lookup(struct resolver *r, struct span host, struct net_addr *out, size_t max,
		    int64_t *ttl_s, uint64_t deadline_ms)
{
	char text[NAME_MAX_LEN + 1];
	unsigned kind = (r->ipv4 ? ASK_V4 : 0) | (r->ipv6 ? ASK_V6 : 0);
	struct span name = {text, 0};
	struct question *q;
	struct channel *ch;
	int rc;

	if (ttl_s)
		*ttl_s = INT32_MAX;
	if (addr_parse_ip(host, out))
		return 1;
	if (!normalise(host, text, &name.n) || !kind)
		return -ENOENT;
	rc = cache_get(r, kind, name, out, max, ttl_s);
	if (rc)
		return rc;
	ch = channel_get(r);
	q = ch ? question_get(ch, r, kind, name) : NULL;
	if (!q)
		return -ENOMEM;
	rc = question_wait(q, r, deadline_ms);
	if (rc > 0) {
		rc = (int)peer_copy(q->addrs, (size_t)rc, out, max);
		if (ttl_s)
			*ttl_s = r->valid_s ? r->valid_s : q->ttl_s;
	}
	question_unref(q);
	return rc;
}

static int srv_copy(const struct question *q, struct resolver_srv *out, size_t max, struct arena *a)
{
	size_t n = 0;

	for (struct ares_srv_reply *s = q->srv; s && n < max; s = s->next, n++) {
		out[n] = (struct resolver_srv){arena_dup(a, span_of(s->host)), s->port, s->priority,
					       s->weight};
		if (!out[n].host.p)
			return -ENOMEM;
	}
	return (int)n;
}

int resolver_lookup_srv(struct resolver *r, struct span name, struct resolver_srv *out, size_t max,
			struct arena *a, int64_t *ttl_s, uint64_t deadline_ms)
{
	char text[NAME_MAX_LEN + 1];
	struct span lower = {text, 0};
	struct channel *ch;
	struct question *q;
	int rc;

	if (!normalise(name, text, &lower.n))
		return -ENOENT;
	ch = channel_get(r);
	q = ch ? question_get(ch, r, ASK_SRV, lower) : NULL;
	if (!q)
		return -ENOMEM;
	rc = question_wait(q, r, deadline_ms);
	if (rc > 0)
		rc = srv_copy(q, out, max, a);
	/* The library does not give the TTL of these. */
	if (ttl_s)
		*ttl_s = r->valid_s ? r->valid_s : 30;
	question_unref(q);
	return rc;
}

/* ---- resolvers ---- */

struct resolver *resolver_new(const struct resolver_conf *c)
{
	struct resolver *r = mem_zalloc(sizeof(*r) + c->nservers * sizeof(r->servers[0]));
	uint64_t set = c->nservers;

	if (!r)
		return NULL;
	r->ipv4 = c->ipv4;
	r->ipv6 = c->ipv6;
	r->valid_s = c->valid_s;
	r->timeout_ms = c->timeout_ms ? c->timeout_ms : 30000;
	r->nservers = c->nservers;
	set = hash_bytes(&set, sizeof(set)) + r->timeout_ms + ((uint64_t)r->valid_s << 32);
	for (size_t i = 0; i < c->nservers; i++) {
		struct span b = addr_bytes(&c->servers[i].sa);

		r->servers[i] = c->servers[i];
		if (!addr_port(&r->servers[i].sa))
			addr_set_port(&r->servers[i].sa, 53);
		set = set * 31 + hash_bytes(b.p, b.n) + (uint64_t)addr_port(&r->servers[i].sa);
	}
	r->set = set;
	return r;
}

void resolver_free(struct resolver *r)
{
	mem_free(r);
}
