#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include "io/loop.h"
#include "net/resolver.h"

/* ---- a DNS server in a thread of its own ---- */

static struct {
	pthread_t thread;
	int udp, tcp, stop[2];
	struct net_addr addr;
	atomic_uint queries, tcp_queries;
} dns;

struct msg {
	uint8_t b[4096];
	size_t n;
	unsigned answers;
};

static void put(struct msg *m, const void *p, size_t n)
{
	memcpy(m->b + m->n, p, n);
	m->n += n;
}

static void put16(struct msg *m, unsigned v)
{
	put(m, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

static void put_name(struct msg *m, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		put(m, (uint8_t[]){(uint8_t)n}, 1);
		put(m, name, n);
		name += n + (name[n] == '.');
	}
	put(m, "", 1);
}

/* A record of the name in the question, or of another. */
static void record(struct msg *m, const char *name, unsigned type, unsigned ttl,
		   const struct msg *data)
{
	if (name)
		put_name(m, name);
	else
		put16(m, 0xc00c);
	put16(m, type);
	put16(m, 1);
	put16(m, 0);
	put16(m, ttl);
	put16(m, (unsigned)data->n);
	put(m, data->b, data->n);
	m->answers++;
}

static void record_a(struct msg *m, const char *name, unsigned ttl, unsigned last)
{
	static struct msg d;

	d.n = 0;
	put(&d, (uint8_t[]){192, 0, 2, (uint8_t)last}, 4);
	record(m, name, 1, ttl, &d);
}

static void record_srv(struct msg *m, unsigned priority, unsigned weight, unsigned port,
		       const char *host)
{
	static struct msg d;

	d.n = 0;
	put16(&d, priority);
	put16(&d, weight);
	put16(&d, port);
	put_name(&d, host);
	record(m, NULL, 33, 60, &d);
}

static void answer_alias(struct msg *m, unsigned type)
{
	static struct msg d;

	d.n = 0;
	put_name(&d, "real.test");
	record(m, NULL, 5, 5, &d);
	if (type == 1)
		record_a(m, "real.test", 300, 2);
}

/* The code of the response, or -1: say nothing. */
static int answer(struct msg *m, const char *name, unsigned type, bool tcp)
{
	static struct msg v6 = {.b = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}, .n = 16};
	static unsigned slow;

	if (!strcmp(name, "none.test"))
		return 3;
	if (!strcmp(name, "broken.test"))
		return 2;
	if (!strcmp(name, "silent.test") || (!strcmp(name, "slow.test") && slow++ == 0))
		return -1;
	if (!strcmp(name, "a.test") && type == 28)
		record(m, NULL, 28, 300, &v6);
	else if ((!strcmp(name, "a.test") || !strcmp(name, "slow.test")) && type == 1)
		record_a(m, NULL, 300, 1);
	else if (!strcmp(name, "zero.test") && type == 1)
		record_a(m, NULL, 0, 1);
	else if (!strcmp(name, "alias.test"))
		answer_alias(m, type);
	else if (!strcmp(name, "big.test") && type == 1 && tcp)
		for (unsigned i = 1; i <= 40; i++)
			record_a(m, NULL, 300, i);
	if (!strcmp(name, "_http._tcp.srv.test") && type == 33) {
		record_srv(m, 10, 5, 8080, "a.test");
		record_srv(m, 20, 6, 8081, "b.test");
	}
	return 0;
}

/* Reads the question, writes the whole response; false: none. */
static bool respond(const uint8_t *q, size_t n, bool tcp, struct msg *m)
{
	char name[256];
	size_t at = 12, len = 0;
	bool big;
	int code;

	while (at < n && q[at]) {
		memcpy(name + len, q + at + 1, q[at]);
		len += q[at];
		name[len++] = '.';
		at += q[at] + 1u;
	}
	name[len ? len - 1 : 0] = '\0';
	atomic_fetch_add(tcp ? &dns.tcp_queries : &dns.queries, 1);
	m->n = m->answers = 0;
	put(m, q, 12);
	put(m, q + 12, at + 5 - 12);
	code = answer(m, name, (unsigned)(q[at + 1] << 8 | q[at + 2]), tcp);
	big = !strcmp(name, "big.test") && !tcp;
	m->b[2] = (uint8_t)(0x84 | (big ? 2 : 0));
	m->b[3] = (uint8_t)(0x80 | code);
	memset(m->b + 4, 0, 8);
	m->b[5] = 1;
	m->b[7] = (uint8_t)m->answers;
	return code >= 0;
}

static void serve_udp(void)
{
	static struct msg m;
	uint8_t q[512];
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	ssize_t n = recvfrom(dns.udp, q, sizeof(q), 0, (struct sockaddr *)&sa, &len);

	if (n > 16 && respond(q, (size_t)n, false, &m))
		sendto(dns.udp, m.b, m.n, 0, (struct sockaddr *)&sa, len);
}

static bool read_all(int fd, void *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = read(fd, (char *)p + at, n - at);

		if (got <= 0)
			return false;
		at += (size_t)got;
	}
	return true;
}

static void serve_tcp(void)
{
	static struct msg m;
	int fd = accept(dns.tcp, NULL, NULL);
	uint8_t len[2], q[512];

	while (read_all(fd, len, 2) && read_all(fd, q, len[1])) {
		respond(q, len[1], true, &m);
		len[0] = (uint8_t)(m.n >> 8);
		len[1] = (uint8_t)m.n;
		/* In pieces, so that the reader has to come back. */
		if (write(fd, len, 1) != 1 || write(fd, len + 1, 1) != 1 ||
		    write(fd, m.b, 100) != 100 ||
		    write(fd, m.b + 100, m.n - 100) != (ssize_t)m.n - 100)
			break;
		break;
	}
	close(fd);
}

static void *dns_main(void *arg)
{
	struct pollfd p[3] = {{dns.udp, POLLIN, 0}, {dns.tcp, POLLIN, 0}, {dns.stop[0], POLLIN, 0}};

	while (poll(p, 3, -1) > 0 && !p[2].revents) {
		if (p[0].revents)
			serve_udp();
		if (p[1].revents)
			serve_tcp();
	}
	return NULL;
}

static int setup(void **state)
{
	struct net_addr *a = &dns.addr;
	socklen_t len = sizeof(a->in);

	assert_true(addr_parse(SPAN("127.0.0.1"), 0, a));
	do { /* the same port for both */
		dns.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		dns.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		addr_set_port(&a->sa, 0);
		assert_int_equal(bind(dns.udp, &a->sa, a->len), 0);
		assert_int_equal(getsockname(dns.udp, &a->sa, &len), 0);
		if (bind(dns.tcp, &a->sa, a->len) == 0)
			break;
		close(dns.udp);
		close(dns.tcp);
	} while (true);
	assert_int_equal(listen(dns.tcp, 8), 0);
	assert_int_equal(pipe(dns.stop), 0);
	assert_int_equal(pthread_create(&dns.thread, NULL, dns_main, NULL), 0);
	return io_loop_init(0);
}

static int teardown(void **state)
{
	resolver_thread_fini();
	while (co_sched.live)
		io_loop_turn(0);
	io_loop_fini();
	close(dns.stop[1]);
	pthread_join(dns.thread, NULL);
	close(dns.stop[0]);
	close(dns.udp);
	close(dns.tcp);
	return 0;
}

/* ---- asking ---- */

struct ask {
	struct resolver *r;
	const char *name;
	struct net_addr out[64];
	size_t max;
	int64_t ttl;
	uint64_t deadline;
	int rc;
	bool done;
	struct co *co;
};

static void ask_main(void *arg)
{
	struct ask *a = arg;

	a->co = co_current();
	a->rc = resolver_lookup(a->r, span_of(a->name), a->out, a->max ? a->max : 64, &a->ttl,
				a->deadline ? a->deadline : CO_NEVER);
	a->done = true;
}

static void start(struct ask *a)
{
	assert_int_equal(co_start(ask_main, a), 0);
}

static void finish(struct ask *a)
{
	while (!a->done)
		io_loop_turn(10000);
}

static struct resolver *make(bool v4, bool v6, uint64_t timeout_ms, int64_t valid_s)
{
	struct resolver_conf c = {.servers = &dns.addr,
				  .nservers = 1,
				  .ipv4 = v4,
				  .ipv6 = v6,
				  .timeout_ms = timeout_ms,
				  .valid_s = valid_s};

	return resolver_new(&c);
}

static int lookup(struct resolver *r, const char *name, struct ask *a)
{
	*a = (struct ask){.r = r, .name = name};
	start(a);
	finish(a);
	return a->rc;
}

static bool has(const struct ask *a, const char *text)
{
	struct net_addr want;

	assert_true(addr_parse_ip(span_of(text), &want));
	for (int i = 0; i < a->rc; i++)
		if (addr_eq(&a->out[i].sa, &want.sa) && a->out[i].len == want.len)
			return true;
	return false;
}

static void answers(void **state)
{
	struct resolver *both = make(true, true, 5000, 0), *v4 = make(true, false, 5000, 0),
			*v6 = make(false, true, 5000, 0);
	struct ask a;

	assert_int_equal(lookup(both, "A.test.", &a), 2);
	assert_true(has(&a, "192.0.2.1") && has(&a, "2001:db8::1"));
	assert_int_equal(a.ttl, 300);
	assert_int_equal(lookup(v4, "a.test", &a), 1);
	assert_true(has(&a, "192.0.2.1"));
	assert_int_equal(lookup(v6, "a.test", &a), 1);
	assert_true(has(&a, "2001:db8::1"));
	assert_int_equal(lookup(both, "alias.test", &a), 1);
	assert_true(has(&a, "192.0.2.2"));
	assert_int_equal(a.ttl, 5); /* the alias's is the shortest */
	assert_int_equal(lookup(both, "10.1.2.3", &a), 1);
	assert_true(has(&a, "10.1.2.3"));
	assert_int_equal(lookup(both, "[::1]", &a), 1);
	assert_int_equal(lookup(both, "localhost", &a) > 0, 1); /* from the hosts file */
	resolver_free(both);
	resolver_free(v4);
	resolver_free(v6);
}

static void cached(void **state)
{
	struct resolver *r = make(true, false, 4000, 0), *same = make(true, false, 4000, 0);
	struct resolver *valid = make(true, false, 4001, 77), *strict = make(true, false, 4001, 0);
	unsigned before = atomic_load(&dns.queries);
	struct ask a;

	assert_int_equal(lookup(r, "a.test", &a), 1);
	assert_int_equal(lookup(same, "A.TEST", &a),
			 1); /* a reload: another resolver, the same servers */
	assert_int_equal(atomic_load(&dns.queries) - before, 1);
	assert_int_equal(lookup(r, "none.test", &a), -ENOENT);
	assert_int_equal(lookup(r, "none.test", &a), -ENOENT);
	assert_int_equal(atomic_load(&dns.queries) - before, 2);
	assert_int_equal(lookup(r, "zero.test", &a), 1); /* TTL 0: not kept */
	assert_int_equal(lookup(r, "zero.test", &a), 1);
	assert_int_equal(atomic_load(&dns.queries) - before, 4);
	assert_int_equal(lookup(valid, "zero.test", &a), 1);
	assert_int_equal(a.ttl, 77);
	assert_int_equal(lookup(valid, "zero.test", &a), 1);
	assert_int_equal(atomic_load(&dns.queries) - before, 5);
	resolver_free(r);
	resolver_free(same);
	assert_int_equal(lookup(strict, "zero.test", &a), 1); /* not what `valid` kept */
	assert_int_equal(atomic_load(&dns.queries) - before, 6);
	resolver_free(strict);
	resolver_free(valid);
}

static void asked_once(void **state)
{
	struct resolver *r = make(true, false, 4002, 0);
	unsigned before = atomic_load(&dns.queries);
	static struct ask a[20];

	for (size_t i = 0; i < ARRAY_LEN(a); i++) {
		a[i] = (struct ask){.r = r, .name = "a.test"};
		start(&a[i]);
	}
	co_cancel(a[3].co);
	for (size_t i = 0; i < ARRAY_LEN(a); i++) {
		finish(&a[i]);
		assert_int_equal(a[i].rc, i == 3 ? -ECANCELED : 1);
	}
	assert_int_equal(atomic_load(&dns.queries) - before, 1);
	resolver_free(r);
}

static void failures(void **state)
{
	struct resolver *r = make(true, true, 120, 0), *patient = make(true, false, 1200, 0);
	struct ask a;

	assert_int_equal(lookup(r, "none.test", &a), -ENOENT);
	assert_int_equal(lookup(r, "empty.test", &a), -ENOENT);
	assert_int_equal(lookup(r, "broken.test", &a), -EIO);
	assert_int_equal(lookup(r, "", &a), -ENOENT);
	assert_int_equal(lookup(r, "a b", &a), -ENOENT);
	assert_int_equal(lookup(r, "silent.test", &a), -ETIMEDOUT);
	assert_int_equal(lookup(patient, "slow.test", &a), 1); /* asked again */
	a = (struct ask){.r = patient, .name = "silent.test", .deadline = 1};
	start(&a);
	finish(&a);
	assert_int_equal(a.rc, -ETIMEDOUT);
	resolver_free(r);
	resolver_free(patient);
}

static void truncated_goes_to_tcp(void **state)
{
	struct resolver *r = make(true, false, 5001, 0);
	struct ask a;

	assert_int_equal(lookup(r, "big.test", &a), 40);
	assert_true(has(&a, "192.0.2.40"));
	assert_int_equal(atomic_load(&dns.tcp_queries), 1);
	a = (struct ask){.r = r, .name = "big.test", .max = 3};
	start(&a);
	finish(&a);
	assert_int_equal(a.rc, 3);
	resolver_free(r);
}

struct ask_srv {
	struct resolver *r;
	const char *name;
	struct arena a;
	struct resolver_srv out[4];
	int64_t ttl;
	int rc;
	bool done;
};

static void srv_main(void *arg)
{
	struct ask_srv *s = arg;

	s->rc = resolver_lookup_srv(s->r, span_of(s->name), s->out, 4, &s->a, &s->ttl, CO_NEVER);
	s->done = true;
}

static void services(void **state)
{
	struct ask_srv s = {.r = make(true, false, 5000, 0), .name = "_http._tcp.srv.test"};

	arena_init(&s.a, 1 << 16);
	for (int i = 0; i < 2; i++) {
		s.done = false;
		assert_int_equal(co_start(srv_main, &s), 0);
		while (!s.done)
			io_loop_turn(10000);
		if (i) {
			assert_int_equal(s.rc, -ENOENT);
			break;
		}
		assert_int_equal(s.rc, 2);
		assert_true(span_eq(s.out[0].host, SPAN("a.test")) && s.out[0].port == 8080);
		assert_true(s.out[1].priority == 20 && s.out[1].weight == 6 &&
			    s.out[1].port == 8081);
		s.name = "none.test";
	}
	arena_fini(&s.a);
	resolver_free(s.r);
}

/* Questions in flight when the thread ends. */
static void thread_ends(void **state)
{
	struct resolver *r = make(true, false, 5003, 0);
	struct ask a = {.r = r, .name = "silent.test"};

	start(&a);
	assert_false(a.done);
	resolver_thread_fini();
	finish(&a);
	assert_int_equal(a.rc, -ECANCELED);
	resolver_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(cached),
		cmocka_unit_test(asked_once),
		cmocka_unit_test(failures),
		cmocka_unit_test(truncated_goes_to_tcp),
		cmocka_unit_test(services),
		cmocka_unit_test(thread_ends),
	};

	return cmocka_run_group_tests_name("resolver", tests, setup, teardown);
}
