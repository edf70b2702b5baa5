#include "dns_msg.h"
#include <stdlib.h>
#include <string.h>
#include "base/bug.h"

size_t msg_question_size(const unsigned char *q)
{
	return 1u + q[12] + 5 + 4;
}

static void msg_put(struct dns_msg *m, const void *p, size_t n)
{
	BUG_ON(m->n + n > sizeof(m->p));
	memcpy(m->p + m->n, p, n);
	m->n += n;
}

void msg_begin(struct dns_msg *m, const unsigned char *q)
{
	m->n = 0;
	msg_put(m, q, 12 + msg_question_size(q));
	m->p[2] = 0x81;
	m->p[3] = 0x80;
	memset(m->p + 4, 0, 8);
	m->p[5] = 1;
}

void msg_put_record(struct dns_msg *m, unsigned name_at, unsigned type, unsigned ttl, const void *p,
		    size_t n)
{
	const unsigned char head[] = {(unsigned char)(0xc0 | name_at >> 8),
				      (unsigned char)name_at,
				      0,
				      (unsigned char)type,
				      0,
				      1,
				      0,
				      0,
				      0,
				      (unsigned char)ttl,
				      0,
				      (unsigned char)n};

	msg_put(m, head, sizeof(head));
	msg_put(m, p, n);
	m->p[7]++;
}

void msg_put_address(struct dns_msg *m, unsigned name_at, unsigned type, unsigned ttl,
		     unsigned server)
{
	struct place a = setup_server_addr(0, server, type == TYPE_A ? FAMILY_IPV4 : FAMILY_IPV6);

	if (type == TYPE_A)
		msg_put_record(m, name_at, type, ttl, &a.in.sin_addr, 4);
	else
		msg_put_record(m, name_at, type, ttl, &a.in6.sin6_addr, 16);
}

void msg_leaves(struct sim_timer *t)
{
	struct dns_msg *m = CONTAINER_OF(t, struct dns_msg, timer);

	sim_datagram_send(&m->from.sa, m->p, m->n, (struct sockaddr *)&m->to, m->tolen);
	if (m->good)
		*m->good = sim_now_us();
	free(m);
}

struct dns_msg *msg_new(const struct sockaddr *to, socklen_t len, uint64_t after_us)
{
	struct dns_msg *m = calloc(1, sizeof(*m));

	BUG_ON(!m);
	memcpy(&m->to, to, len);
	m->tolen = len;
	m->from = setup_dns_addr();
	m->timer.run = msg_leaves;
	sim_timer_start(&m->timer, sim_now_us() + after_us);
	return m;
}
