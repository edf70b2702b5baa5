#include "dns.h"
#include <stdlib.h>
#include <string.h>
#include "base/span.h"
#include "base/bug.h"
#include "setup.h"
#include "world.h"

#define DNS_MAX 512

struct dns_answer {
	struct sim_timer timer;
	struct sockaddr_storage to;
	socklen_t tolen;
	unsigned char p[DNS_MAX];
	size_t n;
};

static bool calm;

void dns_calm(void)
{
	calm = true;
}

static void dns_send(struct sim_timer *t)
{
	struct dns_answer *a = CONTAINER_OF(t, struct dns_answer, timer);
	struct place from = setup_dns_addr();

	sim_datagram_send(&from.sa, a->p, a->n, (struct sockaddr *)&a->to, a->tolen);
	free(a);
}

/* The number in "\1N\3sim\0", or 0. */
static unsigned dns_number(const unsigned char *q, size_t n)
{
	unsigned v = 0;

	if (n < 6 || q[0] < 1 || q[0] > 3 || n < q[0] + 6u || memcmp(q + 1 + q[0], "\3sim", 5) != 0)
		return 0;
	for (unsigned i = 0; i < q[0]; i++)
		v = v * 10 + (unsigned)(q[1 + i] - '0');
	return v;
}

static void dns_put_address(struct dns_answer *a, unsigned number)
{
	static const unsigned char record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 2, 0, 4, 10, 1, 0};

	memcpy(a->p + a->n, record, sizeof(record));
	a->n += sizeof(record);
	a->p[a->n++] = (unsigned char)number;
	a->p[7] = 1;
}

static void dns_spoil(struct dns_answer *a)
{
	switch (sim_draw(6)) {
	case 0:
		a->p[3] |= 3; /* no such name */
		break;
	case 1:
		a->p[3] |= 2; /* the server failed */
		break;
	case 2:
		a->p[2] |= 2; /* truncated */
		break;
	case 3:
		a->n = 12 + (size_t)sim_draw(a->n - 12); /* cut */
		break;
	case 4:
		a->p[0] ^= 1; /* another question's */
		break;
	default:
		for (size_t i = 2; i < a->n; i++)
			a->p[i] = (unsigned char)sim_draw(256);
	}
}

static void dns_got(const void *p, size_t n, const struct sockaddr *from, socklen_t fromlen)
{
	struct dns_answer *a;
	unsigned number;
	uint64_t delay = 0;
	size_t question;

	if (n < 18 || n > 300)
		return;
	if (!calm && sim_chance(1500))
		return; /* silent */
	a = calloc(1, sizeof(*a));
	BUG_ON(!a);
	memcpy(a->p, p, n);
	memcpy(&a->to, from, fromlen);
	a->tolen = fromlen;
	number = dns_number(a->p + 12, n - 12);
	question = 12 + strlen((char *)a->p + 12) + 5;
	a->n = MIN_OF(question, n);
	a->p[2] = 0x81;
	a->p[3] = 0x80;
	a->p[10] = a->p[11] = a->p[8] = a->p[9] = 0;
	if (!number || number > world.setup.groups[0].nservers)
		a->p[3] |= 3;
	else
		dns_put_address(a, number);
	if (!calm && sim_chance(2000))
		dns_spoil(a);
	if (!calm && sim_chance(3000))
		delay = sim_draw(1500000);
	a->timer.run = dns_send;
	sim_timer_start(&a->timer, sim_now_us() + delay);
}

void dns_start(void)
{
	struct place at = setup_dns_addr();

	sim_datagrams(&at.sa, at.len, dns_got);
}
