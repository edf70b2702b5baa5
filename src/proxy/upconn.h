/* Connections to upstream servers and the pools of idle ones.
 *
 * An upconn is one connection, owned by an exchange while in use and by the calling thread's pool while idle. Idle ones are
 * parked: a byte or an end from the server closes them. Pools are LIFO per (peer, identity): identity tells apart connections
 * that must not be mixed (TLS parameters and name, bind address). A thread that has none may get one from another thread. */
#pragma once
#include "net/stream.h"
#include "net/tls.h"
#include "proxy/group.h"

struct upconn {
	struct stream stream;
	struct inbuf in;
	struct peer *peer;        /* referenced */
	uint64_t identity;
	uint64_t opened_ms;
	uint32_t requests;        /* that it has carried */
	bool reused;              /* came from the pool: replay rules apply */
	bool tls;
	struct list link, lru;    /* while idle */
	struct timer timer;
};

struct upconn_want {
	uint64_t identity;
	const struct tls_connect *tls; /* NULL: plain */
	const struct net_addr *bind;   /* local address, NULL: any */
	bool bind_transparent, keepalive_socket;
	int rcvbuf, sndbuf;            /* 0: system's */
	uint64_t connect_timeout_ms;   /* covers connect and TLS handshake */
	bool fresh;                    /* do not take an idle one */
};

/* A connection to p->member: an idle one if there is any that is still alive, else a new one. FAIL_OK or FAIL_UPSTREAM_*;
 * times (us, -1 none) of connect and handshake are set. */
MAY_SUSPEND enum fail upconn_take(struct pick *p, const struct upconn_want *w, struct upconn **out, int64_t *connect_us);
/* The response was complete and the connection may be used again: parks it, or closes it when the group's limits say so. */
void upconn_give(struct upconn *u, struct group *g);
/* Closes. */
void upconn_drop(struct upconn *u);
/* Closes all idle connections of this thread. */
void upconn_thread_fini(void);
