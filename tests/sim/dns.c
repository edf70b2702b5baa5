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

/* The right answer to the question of n bytes at p; false: it is none. */
static bool dns_make(struct dns_answer *a, const void *p, size_t n)
{
	unsigned number;
	size_t question;

	if (n < 18 || n > 300)
		return false;
	memcpy(a->p, p, n);
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
	return true;
}

static void dns_got(const void *p, size_t n, const struct sockaddr *from, socklen_t fromlen)
{
	struct dns_answer *a;
	uint64_t delay = 0;

	if (n < 18 || n > 300)
		return;
	if (!calm && sim_chance(1500))
		return; /* silent */
	a = calloc(1, sizeof(*a));
	BUG_ON(!a);
	memcpy(&a->to, from, fromlen);
	a->tolen = fromlen;
	dns_make(a, p, n);
	if (!calm && sim_chance(2000))
		dns_spoil(a);
	else if (!calm && world.setup.dns_tcp && sim_chance(3000))
		a->p[2] |= 2, a->n = 12; /* truncated: to be asked over TCP */
	if (!calm && sim_chance(3000))
		delay = sim_draw(1500000);
	a->timer.run = dns_send;
	sim_timer_start(&a->timer, sim_now_us() + delay);
}

/* ---- over TCP (RFC 7766): each message behind its length ---- */

struct dns_conn {
	struct sim_conn *c;
	struct text in;
	enum { DNS_WELL, DNS_CLOSES, DNS_RESETS, DNS_SILENT, DNS_CUTS, DNS_END } act;
};

static void dns_conn_end(struct dns_conn *d, bool reset)
{
	if (!d->c)
		return;
	if (reset)
		sim_conn_reset(d->c);
	sim_conn_free(d->c);
	d->c = NULL;
	text_fini(&d->in);
}

static void dns_conn_answer(struct dns_conn *d, const char *p, size_t n)
{
	struct dns_answer a = {.n = 0};
	unsigned char head[2];

	if (d->act == DNS_CLOSES || d->act == DNS_RESETS || !dns_make(&a, p, n)) {
		dns_conn_end(d, d->act == DNS_RESETS);
		return;
	}
	if (d->act == DNS_SILENT)
		return;
	head[0] = (unsigned char)(a.n >> 8);
	head[1] = (unsigned char)a.n;
	sim_conn_write(d->c, head, 2);
	if (d->act == DNS_CUTS)
		a.n = (size_t)sim_draw(a.n);
	sim_conn_write(d->c, a.p, a.n);
	if (d->act == DNS_CUTS)
		dns_conn_end(d, false);
}

static void dns_conn_readable(struct sim_conn *c)
{
	struct dns_conn *d = sim_conn_owner(c);
	char p[512];
	ssize_t n;

	while ((n = sim_conn_read(c, p, 1 + (size_t)sim_draw(sizeof(p)))) > 0)
		text_add(&d->in, p, (size_t)n);
	while (d->c && d->in.n >= 2) {
		size_t size = (size_t)(unsigned char)d->in.p[0] << 8 | (unsigned char)d->in.p[1];

		if (d->in.n < size + 2)
			break;
		dns_conn_answer(d, d->in.p + 2, size);
		if (!d->c)
			return;
		memmove(d->in.p, d->in.p + size + 2, d->in.n - size - 2);
		d->in.n -= size + 2;
	}
	if (n < 0)
		dns_conn_end(d, false);
}

static void dns_conn_reset(struct sim_conn *c)
{
	dns_conn_end(sim_conn_owner(c), false);
}

static const struct sim_conn_ops dns_conn_ops = {
	.readable = dns_conn_readable, .writable = dns_conn_readable, .reset = dns_conn_reset};

static void dns_accepted(struct sim_listener *l, struct sim_conn *c)
{
	struct dns_conn *d = calloc(1, sizeof(*d));

	BUG_ON(!d);
	d->c = c;
	if (!calm && sim_chance(3000))
		d->act = sim_draw(DNS_END);
	sim_note("a name server is asked over TCP: act %d", d->act);
	sim_conn_set(c, &dns_conn_ops, d);
	dns_conn_readable(c);
}

void dns_start(void)
{
	struct place at = setup_dns_addr();

	if (world.setup.own_dns)
		return;
	sim_datagrams(&at.sa, at.len, dns_got);
	if (world.setup.dns_tcp)
		sim_listen(&at.sa, at.len, dns_accepted, NULL);
}
