/* ip_hash: by the first three octets of an IPv4 address, all sixteen of IPv6. */
#include "proxy/balance/weighted.h"
#include "serve/conn.h"

#define IP_HASH_START  89
#define IP_HASH_FACTOR 113
#define IP_HASH_MODULO 6271

/* Clients without an IP address (Unix sockets) are all the same one. */
static void start(struct group *g, struct pick *p)
{
	static const char none[3];
	struct span ip = {NULL, 0};

	if (p->req && p->req->conn)
		ip = addr_bytes(conn_peer(p->req->conn));
	if (ip.n == 4)
		ip.n = 3;
	p->hash_key = ip.n ? ip : span_make(none, sizeof(none));
	p->hash = IP_HASH_START;
}

static int choose(struct group *g, struct pick *p)
{
	uint64_t now = co_sched.now_ms;
	uint32_t hash = p->hash;

	if (leave_to_round_robin(g, p))
		return balance_round_robin_choose(g, p);
	for (;;) {
		struct group_member *m;

		for (size_t i = 0; i < p->hash_key.n; i++)
			hash = (hash * IP_HASH_FACTOR + (uint8_t)p->hash_key.p[i]) % IP_HASH_MODULO;
		m = member_at_weight(g, hash % (uint32_t)g->total_weight);
		if (pick_usable(p, m, now)) {
			p->hash = hash;
			return (int)(m - g->members);
		}
		if (++p->hash_tries > HASH_TRIES_MAX)
			return balance_round_robin_choose(g, p);
	}
}

const struct balancer balance_ip_hash = {"ip_hash", start, NULL, choose};
