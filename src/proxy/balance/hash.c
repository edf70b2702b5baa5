/* hash KEY: CRC-32 as memcached clients have it; a key whose member is dead is hashed again with a
 * counter in front of it, and added up. */
#include <stdio.h>
#include <zlib.h>
#include "proxy/balance/weighted.h"

static void start(struct group *g, struct pick *p)
{
	if (p->req)
		p->hash_key = tmpl_eval(g->hash_key, &p->req->vars);
}

static uint32_t hash_step(struct pick *p)
{
	uint32_t crc = 0;

	if (p->rehash > 0) {
		char text[16];
		int n = snprintf(text, sizeof(text), "%u", p->rehash);

		crc = (uint32_t)crc32(crc, (const Bytef *)text, (uInt)n);
	}
	crc = (uint32_t)crc32(crc, (const Bytef *)p->hash_key.p, (uInt)p->hash_key.n);
	p->rehash++;
	return crc >> 16 & 0x7fff;
}

static int choose(struct group *g, struct pick *p)
{
	uint64_t now = co_sched.now_ms;

	if (leave_to_round_robin(g, p) || p->hash_key.n == 0)
		return balance_round_robin_choose(g, p);
	for (;;) {
		struct group_member *m;

		p->hash += hash_step(p);
		m = member_at_weight(g, p->hash % (uint32_t)g->total_weight);
		if (pick_usable(p, m, now))
			return (int)(m - g->members);
		if (++p->hash_tries > HASH_TRIES_MAX)
			return balance_round_robin_choose(g, p);
	}
}

const struct balancer balance_hash = {"hash", start, NULL, choose};
