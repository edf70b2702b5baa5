/* Upstream groups and their peers.
 *
 * Two lifetimes. A struct peer is one address of one group as the instance knows it: failures,
 * connections in use, idle connections; it lives in a registry keyed by group name and address and
 * outlives snapshots. A struct group is what one snapshot's `upstream` block (or a bare `proxy_pass
 * http://host`) says: an array of members with their parameters, each pointing at its peer, and a
 * balancer. Balancer state that must survive a reload (weights of the round robin) lives in the
 * group_state, also in a registry, by name.
 *
 * Peers are shared by all threads: counters are atomics, balancer state is under group_state.lock,
 * held for nanoseconds and never across a wait. Everything is instance-wide; `zone` is accepted and
 * changes nothing. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "base/hash.h"
#include "conf/conf.h"
#include "conf/template.h"
#include "http/fail.h"
#include "net/addr.h"
#include "serve/req.h"

/* What outlives snapshots of a group; found by name. */
struct group_state {
	struct hash_node node; /* registry */
	struct span name;
	pthread_mutex_t lock; /* balancer state, members of names that are resolved again */
	unsigned refs;	      /* groups and peers; under the registry's lock */
	unsigned id;	      /* small, for per-thread tables */
};

/* Which protocol ALPN chose last. */
enum peer_speaks { PEER_SPEAKS_UNKNOWN, PEER_SPEAKS_H2, PEER_SPEAKS_HTTP1 };

struct peer {
	struct hash_node node;	   /* registry */
	struct group_state *state; /* referenced */
	struct span group, name;   /* name: "127.0.0.1:8080", "unix:/x": $upstream_addr */
	struct net_addr addr;
	unsigned nth;		 /* the same address given several times in one group: 0, 1, ... */
	_Atomic unsigned refs;	 /* snapshots' members, connections */
	_Atomic unsigned active; /* requests (connections in use): max_conns, least_conn */
	_Atomic unsigned fails;	 /* within fail_timeout */
	_Atomic uint64_t checked_ms, accessed_ms; /* as nginx's */
	_Atomic uint64_t requests, failures, responses[6], sent,
		received;		 /* metrics: responses[status/100] */
	_Atomic unsigned idle;		 /* idle connections, all threads */
	_Atomic unsigned idle_thread;	 /* the thread that parked one last */
	_Atomic unsigned char speaks;	 /* enum peer_speaks */
	_Atomic uint64_t http1_until_ms; /* it said HTTP_1_1_REQUIRED: HTTP/2 is not tried before */
	_Atomic unsigned streams;	 /* HTTP/2: as many at once as it said last; 0: not known */
	_Atomic unsigned liked; /* as many at once as it seemed to like when it refused one */
	_Atomic uint64_t liked_until_ms; /* that long it counts; 0: it never refused one */
	_Atomic bool ends;		 /* it refused by ending the connection */
	unsigned id; /* small, for per-thread tables; reused when no connection is left */
	/* smooth weighted round robin, under state->lock; effective weight is weight - penalty */
	int current_weight, penalty;
};

struct group_member {
	struct peer *peer;  /* NULL: a free place for an address of a name that is resolved again */
	struct span server; /* as written in `server`: sticky ids, Host of the attempt */
	unsigned server_no; /* equal for members whose `server` is written the same */
	int weight, max_fails, max_conns;
	int64_t fail_timeout_ms, slow_start_ms;
	bool backup, down;
	bool gone; /* its name has this address no more; freed when no attempt is on it */
};

/* One `server` line. Its members are g->members[first .. first + nslots). */
struct group_server {
	struct span text, host; /* host: without port and brackets */
	int port;
	struct group_member proto; /* parameters for its members */
	size_t first, nslots;
	const struct net_addr *addrs;
	size_t naddrs; /* known while the configuration was read */
	bool is_name;  /* resolved again in the background, by thread 0: */
	bool asking;
	uint64_t due_ms;
	unsigned failed;
	bool resolve;	  /* `resolve`: ask the configured resolver, not the system's */
	unsigned same_as; /* the first server line of the same text */
};

struct group;
struct pick;

struct balancer {
	const char *name;
	/* Once per request, without the lock: evaluates keys. May be NULL. */
	void (*start)(struct group *g, struct pick *p);
	/* Prepares per-snapshot tables after all members are known. CONF_OK or CONF_ERR. May be
	 * NULL. */
	int (*init)(struct conf_call *c, struct group *g);
	/* Chooses among members of the current tier (backup or not) that pick_usable() allows and
	 * that were not tried yet. Called with the lock held. -1: none. */
	int (*choose)(struct group *g, struct pick *p);
};

struct group {
	struct list link; /* http_main.upstreams */
	struct span name;
	struct http_main *main;
	struct group_server *servers;
	size_t nservers, servers_cap;
	struct group_member *members;
	size_t nmembers; /* places, in the order of the servers */
	size_t nbackup;
	int total_weight;  /* weight: of the first tier, those that are down included */
	unsigned tries[2]; /* members that are not down, per tier */
	const struct balancer *balancer;
	void *balancer_data; /* its tables */
	struct tmpl *hash_key;
	bool hash_consistent;
	int random_two;		   /* parameters of hash, random */
	struct group_state *state; /* lock, survives reloads */
	int keepalive;		   /* idle connections kept per thread; 0: none; default 32 */
	int64_t keepalive_requests, keepalive_time_ms, keepalive_timeout_ms;
	bool implicit;	   /* made by proxy_pass with an address or a name */
	int default_port;  /* -1: members must have one */
	bool used, single; /* single: exactly one member, max_fails is then ignored as in nginx */
	bool resolving; /* some member's name is resolved again: everything above may change under
			   the lock */
	bool method_given; /* least_conn, hash, ...: a second one is warned of */
	struct resolver
		*resolver; /* of the block, for servers with `resolve`; NULL: that of http{} */
	bool resolver_off; /* names are resolved once (`resolver off`) */
	struct snapshot *snapshot; /* NULL: lives in a request */
};

/* One request's way through a group. Lives in the request. */
struct pick {
	struct group *group;
	struct req *req;
	struct group_member *member; /* the one chosen; NULL between attempts */
	uint64_t tried[4];	     /* bitmap over members (256), more: tried_more */
	uint64_t *tried_more;
	unsigned ntried;
	unsigned tries_left; /* attempts that nginx would still make; at 0 the last failure is the
				answer */
	bool on_backup;
	uint32_t hash;
	unsigned hash_tries, rehash; /* balancers' scratch */
	uint64_t hash_point;
	struct span hash_key;
	/* From upconn_take: what the failed attempt said. For the log. */
	int sys_err;	       /* errno, 0: none */
	struct span tls_error; /* in the request's arena */
	bool handshaking;      /* it is TLS's handshake that failed, or did not end */
};

/* The group of that name in the snapshot being built, or NULL. */
struct group *group_find(struct http_main *m, struct span name);
/* An implicit group for "host:port" (addresses resolved through the opener; unresolvable: warning
 * and retry in the background, N02). default_port 80/443. Found again when it exists. NULL:
 * reported. */
struct group *group_implicit(struct conf_call *c, unsigned word, struct span host_port,
			     int default_port);
/* At run time, for proxy_pass with variables: a group of the addresses (with ports) that were just
 * resolved; lives in the request. NULL: no memory. */
struct group *group_of_addrs(struct req *r, struct span host, const struct net_addr *addrs,
			     size_t n);

/* Counts p->tries_left and evaluates keys. The group must outlive the pick; nothing needs to be
 * undone unless p->member is set. */
void pick_init(struct pick *p, struct group *g, struct req *r);
/* Chooses the next peer: sets p->member and counts it active. FAIL_OK, FAIL_UPSTREAM_NO_LIVE,
 * FAIL_UPSTREAM_BUSY (some are only at max_conns), FAIL_UPSTREAM_RESOLVE (no name of the group has
 * an address yet), FAIL_NO_MEMORY. Does not suspend. */
enum fail pick_next(struct pick *p);
/* Ends the attempt on p->member: not active any more; failed: counts towards max_fails. p->member
 * becomes NULL. To use the same member once more (an idle connection turned out dead), do not end:
 * upconn_take with `fresh`. */
void pick_end(struct pick *p, bool failed);
/* For balancers: may this member be chosen now (not down, not tried, not failed too often, below
 * max_conns)? */
bool pick_usable(struct pick *p, struct group_member *m, uint64_t now_ms);
bool pick_tried(const struct pick *p, size_t i);

/* The balancers: one file each in balance/. */
extern const struct balancer balance_round_robin, balance_least_conn, balance_ip_hash, balance_hash,
	balance_hash_consistent, balance_random;
/* Used by hash balancers when they give up, and as the default. */
int balance_round_robin_choose(struct group *g, struct pick *p);

/* Building a group: group_new, group_add_server for each (addresses of a literal or resolved
 * through the opener; an unresolvable name is a warning), group_seal. Words of the call are
 * reported on. NULL, CONF_ERR: reported. */
struct group *group_new(struct conf_call *c, struct http_main *m, struct span name);
struct group_server *group_add_server(struct conf_call *c, unsigned word, struct group *g,
				      struct span text, int default_port);
int group_seal(struct conf_call *c, struct group *g);

/* The registries (peer.c). peer_ref_of finds or makes; both give a reference. NULL: no memory. */
struct group_state *group_state_ref_of(struct span name);
void group_state_unref(struct group_state *s);
struct peer *peer_ref_of(struct group_state *s, const struct net_addr *addr, unsigned nth);
void peer_ref(struct peer *p);
void peer_unref(struct peer *p);

/* Names of the current snapshot's groups are resolved again in the background, when their time to
 * live ends, or sooner while they have no address (upstream_resolve.c): on thread 0. */
int upstream_resolve_start(void);
void upstream_resolve_switched(void); /* what is new is asked for at once */
void upstream_resolve_stop(void);
/* Puts the addresses that a name has now in place of those it had. False: nothing changed. */
bool group_server_update(struct group *g, struct group_server *s, const struct net_addr *addrs,
			 size_t n);

extern const struct http_module upstream_module; /* `upstream {}` and what stands in it */
/* Every peer of the instance, for metrics: calls fn under the registry's lock. */
void peers_each(void (*fn)(struct peer *p, void *arg), void *arg);
