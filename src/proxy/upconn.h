/* Connections to upstream servers and the pools of idle ones.
 *
 * An upconn is one connection, owned by an exchange while in use and by the calling thread's pool
 * while idle. Idle ones are parked: a byte or an end from the server closes them. Pools are LIFO
 * per (peer, identity): identity tells apart connections that must not be mixed (TLS parameters and
 * name, bind address). A thread that has none may get one from another thread. */
#pragma once
#include "net/stream.h"
#include "net/tls.h"
#include "proxy/group.h"

struct upconn {
	struct stream stream;
	struct inbuf in;
	struct peer *peer; /* referenced */
	uint64_t identity;
	uint64_t opened_ms;
	uint32_t requests; /* that it has carried */
	bool reused;	   /* came from the pool: replay rules apply */
	bool tls, idle;
	struct list link, lru; /* while idle: of the peer, of the group */
	struct timer timer;
};

struct upconn_want {
	uint64_t identity;
	const struct tls_connect *tls; /* NULL: plain */
	const struct net_addr *bind;   /* local address, NULL: any */
	bool bind_transparent, keepalive_socket;
	int rcvbuf, sndbuf;	     /* 0: system's */
	uint64_t connect_timeout_ms; /* covers connect and TLS handshake */
	bool fresh;		     /* do not take an idle one */
};

/* A connection to p->member: an idle one if there is any that is still alive, else a new one.
 * FAIL_OK, FAIL_UPSTREAM_*, FAIL_CANCELLED, FAIL_NO_DESCRIPTORS or FAIL_NO_MEMORY; p->sys_err and
 * p->tls_error then say more. *connect_us: how long connect and handshake took; 0 for an idle one,
 * -1 on failure. */
MAY_SUSPEND enum fail upconn_take(struct pick *p, const struct upconn_want *w, struct upconn **out,
				  int64_t *connect_us);
/* The response was complete and the connection may be used again: parks it, or closes it when the
 * group's limits say so, or when there is input that nobody asked for. */
void upconn_give(struct upconn *u, struct group *g);
/* Closes. */
void upconn_drop(struct upconn *u);
/* Stream and input buffer were moved out (a tunnel has them): frees the rest. */
void upconn_detach(struct upconn *u);
/* Closes all idle connections of this thread; it takes part in nothing any more. */
void upconn_thread_fini(void);
/* Idle connections of this thread. */
unsigned upconn_idle_count(void);
