/* Names to addresses without blocking: c-ares, its sockets on the thread's loop.
 *
 * A resolver belongs to a snapshot's `resolver` directive (or is the system's, from resolv.conf). Answers are
 * cached per instance for their TTL, or `valid` seconds; concurrent questions for one name are asked once per
 * thread. Failures are kept for 10 s at most. */
#pragma once
#include "co/co.h"
#include "net/addr.h"

struct resolver_conf {
	const struct net_addr *servers; size_t nservers; /* 0: resolv.conf */
	int64_t valid_s;         /* 0: as the TTL says */
	bool ipv4, ipv6;
	uint64_t timeout_ms;
};
struct resolver;
struct resolver *resolver_new(const struct resolver_conf *c);
void resolver_free(struct resolver *r);
/* Fills at most max addresses (port 0). Number > 0; -ENOENT: no such name; -ETIMEDOUT; -ECANCELED; -EIO. Literals are
 * answered at once. *ttl_s (may be NULL): how long this is good. */
MAY_SUSPEND int resolver_lookup(struct resolver *r, struct span host, struct net_addr *out, size_t max, int64_t *ttl_s,
				uint64_t deadline_ms);
/* SRV records: host, port, priority, weight of each, hosts in a. Needed by `server ... service=`. */
void resolver_thread_fini(void);
