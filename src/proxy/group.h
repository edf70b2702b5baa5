/* Upstream groups and their peers.
 *
 * Two lifetimes. A struct peer is one address of one group as the instance knows it: failures, connections in use,
 * idle connections; it lives in a registry keyed by group name and address and outlives snapshots. A struct
 * group is what one snapshot's `upstream` block (or a bare `proxy_pass http://host`) says: an array of members
 * with their parameters, each pointing at its peer, and a balancer. Balancer state that must survive a reload
 * (weights of the round robin) lives in the group_state, also in a registry, by name.
 *
 * Peers are shared by all threads: counters are atomics, balancer state is under group_state.lock, held for
 * nanoseconds and never across a wait. Everything is instance-wide; `zone` is accepted and changes nothing. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "conf/conf.h"
#include "conf/template.h"
#include "http/fail.h"
#include "net/addr.h"
#include "serve/req.h"

struct peer {
	struct list link;              /* registry */
	struct span group, name;       /* name: "127.0.0.1:8080", "unix:/x": $upstream_addr */
	struct net_addr addr;
	_Atomic unsigned refs;         /* snapshots' members */
	_Atomic unsigned active;       /* requests (connections in use): max_conns, least_conn */
	_Atomic unsigned fails;        /* within fail_timeout */
	_Atomic uint64_t checked_ms, accessed_ms; /* as nginx's */
	_Atomic uint64_t requests, failures, responses[6], sent, received; /* metrics: responses[status/100] */
	_Atomic unsigned idle;         /* idle connections, all threads */
	unsigned id;                   /* small, for per-thread tables */
};

struct group_member {
	struct peer *peer;
	struct span server;            /* as written in `server`: sticky ids, Host of the attempt */
	int weight, max_fails, max_conns;
	int64_t fail_timeout_ms, slow_start_ms;
	bool backup, down;
	/* smooth weighted round robin, under group_state.lock */
	int current_weight, effective_weight;
};

struct group;
struct pick;

struct balancer {
	const char *name;
	/* Prepares per-snapshot tables after all members are known. CONF_OK or CONF_ERR. */
	int (*init)(struct conf_call *c, struct group *g);
	/* Chooses among members of the current tier (backup or not) that pick_usable() allows and that were not tried
	 * yet. Called with the lock held. -1: none. */
	int (*choose)(struct group *g, struct pick *p);
};

struct group {
	struct list link;              /* http_main.upstreams */
	struct span name;
	struct http_main *main;
	struct group_member *members; size_t nmembers, members_cap;
	size_t nbackup; int total_weight;
	const struct balancer *balancer;
	void *balancer_data;           /* its tables */
	struct tmpl *hash_key; bool hash_consistent; int random_two; /* parameters of hash, random */
	struct group_state *state;     /* lock, survives reloads */
	int keepalive;                 /* idle connections kept per thread; 0: none; default 32 */
	int64_t keepalive_requests, keepalive_time_ms, keepalive_timeout_ms;
	bool implicit;                 /* made by proxy_pass with an address or a name */
	int default_port;              /* -1: members must have one */
	bool used, single;             /* single: exactly one member, max_fails is then ignored as in nginx */
};

/* One request's way through a group. Lives in the request. */
struct pick {
	struct group *group;
	struct req *req;
	struct group_member *member;   /* the one chosen; NULL between attempts */
	uint64_t tried[4];             /* bitmap over members (256), more: tried_more */
	uint64_t *tried_more;
	unsigned ntried;
	bool on_backup;
	uint32_t hash; unsigned hash_tries; /* balancers' scratch */
	uint64_t hash_point;
};

/* The group of that name in the snapshot being built, or NULL. */
struct group *group_find(struct http_main *m, struct span name);
/* An implicit group for "host:port" (addresses resolved through the opener; unresolvable: warning and retry in the background,
 * N02). default_port 80/443. Found again when it exists. NULL: reported. */
struct group *group_implicit(struct conf_call *c, unsigned word, struct span host_port, int default_port);
/* At run time, for proxy_pass with variables: a group of the addresses that were just resolved; lives in the request. */
struct group *group_of_addrs(struct req *r, struct span host, const struct net_addr *addrs, size_t n);

void pick_init(struct pick *p, struct group *g, struct req *r);
/* Chooses the next peer: sets p->member and counts it active. FAIL_OK, FAIL_UPSTREAM_NO_LIVE or FAIL_UPSTREAM_BUSY. */
enum fail pick_next(struct pick *p);
/* Ends the attempt on p->member: not active any more; failed: counts towards max_fails. */
void pick_end(struct pick *p, bool failed);
/* For balancers: may this member be chosen now (not down, not tried, not failed too often, below max_conns)? */
bool pick_usable(struct pick *p, struct group_member *m, uint64_t now_ms);
bool pick_tried(const struct pick *p, size_t i);

/* The balancers: one file each in balance/. */
extern const struct balancer balance_round_robin, balance_least_conn, balance_ip_hash, balance_hash, balance_hash_consistent,
	balance_random;
/* Used by hash balancers when they give up, and as the default. */
int balance_round_robin_choose(struct group *g, struct pick *p);

extern const struct http_module upstream_module; /* `upstream {}` and what stands in it */
/* Every peer of the instance, for metrics: calls fn under the registry's lock. */
void peers_each(void (*fn)(struct peer *p, void *arg), void *arg);
