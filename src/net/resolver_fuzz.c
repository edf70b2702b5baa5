/* DNS answers: what a server on loopback says to each question is made of the input. The first byte
 * chooses: a whole datagram behind the right id; or a right header and question with the input's
 * counts and records; over A, AAAA and SRV questions. Whatever comes, a lookup ends, gives
 * addresses of the families asked for, and names that are no longer than names may be. */
#include <netinet/in.h>
#include <stdio.h>
#include "base/bug.h"
#include "io/loop.h"
#include "net/resolver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD	   12 /* bytes of a DNS header */
#define DATAGRAM   1200
#define TIMEOUT_MS 3
#define ADDRS	   8
#define SRVS	   8
#define HOST_MAX   1024 /* bytes of 255 that are all written as \\ddd */
#define ARENA_MAX  (1 << 20)
#define MODE_WHOLE 1
#define MODE_SRV   2
#define MODE_V6	   4

static struct {
	struct iofd io;
	struct net_addr addr;
	const uint8_t *data;
	size_t size;
} server;
static struct resolver *resolvers[2];
static unsigned names;

/* Offset behind the question of a query; 0: none. */
static size_t question_end(const uint8_t *q, size_t n)
{
	size_t at = HEAD;

	while (at < n && q[at])
		at += 1 + (size_t)q[at];
	return at + 5 <= n ? at + 5 : 0;
}

static size_t answer_make(uint8_t *out, const uint8_t *q, size_t n)
{
	const uint8_t *in = server.data + 1;
	size_t left = server.size - 1, at = question_end(q, n), k;

	if (server.data[0] & MODE_WHOLE) {
		k = MIN_OF(left, (size_t)DATAGRAM - 2);
		memcpy(out, q, 2);
		memcpy(out + 2, in, k);
		return k + 2;
	}
	if (!at || left < 8)
		return 0;
	memcpy(out, q, at);
	out[2] = 0x81; /* an answer, recursion desired */
	out[3] = 0x80 | (in[0] & 0x0f);
	memcpy(out + 6, in + 1, 6); /* counts of answers, authorities, additional ones */
	k = MIN_OF(left - 7, (size_t)DATAGRAM - at);
	memcpy(out + at, in + 7, k);
	return at + k;
}

static void on_query(struct iofd *f)
{
	uint8_t q[DATAGRAM], out[DATAGRAM];
	struct net_addr from;
	ssize_t n;

	for (;;) {
		from.len = sizeof(from.un);
		n = sys->recvfrom(f->fd, q, sizeof(q), 0, &from.sa, &from.len);
		if (n < 0)
			break;
		size_t k = n >= HEAD && server.size ? answer_make(out, q, (size_t)n) : 0;

		if (k)
			sys->sendto(f->fd, out, k, 0, &from.sa, from.len);
	}
	iofd_blocked(f, IO_R);
}

static void begin(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd;

	BUG_ON(io_loop_init(0) < 0);
	fd = sys->socket(AF_INET, SOCK_DGRAM, 0);
	BUG_ON(fd < 0 || sys->bind(fd, (void *)&sa, sizeof(sa)) < 0);
	server.addr.len = sizeof(server.addr.un);
	BUG_ON(sys->getsockname(fd, &server.addr.sa, &server.addr.len) < 0);
	iofd_init(&server.io, fd, on_query);
	BUG_ON(iofd_register(&server.io) < 0);
	for (int i = 0; i < 2; i++) {
		struct resolver_conf c = {.servers = &server.addr,
					  .nservers = 1,
					  .ipv4 = i == 0,
					  .ipv6 = i == 1,
					  .timeout_ms = TIMEOUT_MS};

		resolvers[i] = resolver_new(&c);
		BUG_ON(!resolvers[i]);
	}
}

static bool finished;

static void ask_addresses(struct span name)
{
	struct net_addr addrs[ADDRS];
	bool v6 = server.data[0] & MODE_V6;
	int64_t ttl = 0;
	int n = resolver_lookup(resolvers[v6], name, addrs, ADDRS, &ttl, io_after(2 * TIMEOUT_MS));

	BUG_ON(n == 0 || n > ADDRS);
	BUG_ON(n > 0 && ttl < 0);
	for (int i = 0; i < n; i++)
		BUG_ON(addrs[i].sa.sa_family != (v6 ? AF_INET6 : AF_INET));
}

static void ask_services(struct span name)
{
	struct resolver_srv srv[SRVS];
	struct arena a;
	int64_t ttl = 0;
	int n;

	arena_init(&a, ARENA_MAX);
	n = resolver_lookup_srv(resolvers[0], name, srv, SRVS, &a, &ttl, io_after(2 * TIMEOUT_MS));
	BUG_ON(n == 0 || n > SRVS);
	for (int i = 0; i < n; i++)
		BUG_ON(srv[i].host.n > HOST_MAX || memchr(srv[i].host.p, 0, srv[i].host.n));
	arena_fini(&a);
}

static void ask(void *arg)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "n%u.test", names++); /* none that is cached */

	if (server.data[0] & MODE_SRV)
		ask_services(span_make(text, (size_t)n));
	else
		ask_addresses(span_make(text, (size_t)n));
	finished = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (!io_loop)
		begin();
	server.data = data;
	server.size = size;
	finished = false;
	BUG_ON(co_start(ask, NULL) < 0);
	while (!finished)
		io_loop_turn(TIMEOUT_MS);
	server.size = 0;
	return 0;
}
