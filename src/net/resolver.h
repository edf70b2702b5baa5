/* Names to addresses without blocking: c-ares, its sockets on the thread's loop.
 *
 * A resolver belongs to a snapshot's `resolver` directive (or is the system's, from resolv.conf).
 * Answers are cached per instance for their TTL, or `valid` seconds; concurrent questions for one
 * name are asked once per thread. Failures are kept for 10 s at most. */
#pragma once
#include "base/arena.h"
#include "co/co.h"
#include "net/addr.h"

struct resolver_conf {
	const struct net_addr *servers;
	size_t nservers; /* 0: resolv.conf */
	int64_t valid_s; /* 0: as the TTL says */
	bool ipv4, ipv6;
	uint64_t timeout_ms;
};
struct resolver;
/* Copies the servers. NULL: no memory. */
struct resolver *resolver_new(const struct resolver_conf *c);
/* No lookup may be running; the cache stays. */
void resolver_free(struct resolver *r);
/* Fills at most max addresses (port 0). Number > 0; -ENOENT: no such name; -ETIMEDOUT; -ECANCELED;
 * -EIO. Literals are answered at once. *ttl_s (may be NULL): how long this is good. */
MAY_SUSPEND int resolver_lookup(struct resolver *r, struct span host, struct net_addr *out,
				size_t max, int64_t *ttl_s, uint64_t deadline_ms);
/* SRV records (RFC 2782) of a name such as "_http._tcp.example.com": at most max, hosts in a, not
 * sorted, not cached. Returns and errors as resolver_lookup. Needed by `server ... service=`. */
struct resolver_srv {
	struct span host;
	uint16_t port, priority, weight;
};
MAY_SUSPEND int resolver_lookup_srv(struct resolver *r, struct span name, struct resolver_srv *out,
				    size_t max, struct arena *a, int64_t *ttl_s,
				    uint64_t deadline_ms);
/* Ends this thread's questions (they return -ECANCELED on the next turn) and closes its sockets:
 * before io_loop_fini. */
void resolver_thread_fini(void);
/* Forgets all answers: when no thread asks any more (tests, the simulator). */
void resolver_cache_fini(void);
