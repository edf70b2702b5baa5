/* A client connection. Idle ones are this struct, parked on their loop, and nothing else: no stack,
 * no buffer.
 *
 * States: FRESH (accepted, nothing read) → BUSY (a coroutine serves it) → IDLE (keep-alive, parked)
 * → BUSY ... → LINGER (answer sent, reading the rest away, parked) → closed; or → TUNNEL (both
 * streams belong to a struct tunnel); or → H2 (HTTP/2: a struct h2_conn looks after it until LINGER
 * or the end). Owner: one thread. While BUSY, `co` is its coroutine; a
 * hang-up of the client cancels it unless the request ignores that. */
#pragma once
#include "base/list.h"
#include "net/listener.h"
#include "net/proxy_protocol.h"
#include "net/stream.h"
#include "serve/core.h"
#include "serve/req.h"

enum conn_state {
	CONN_FRESH,
	CONN_BUSY,
	CONN_IDLE,
	CONN_LINGER,
	CONN_TUNNEL,
	CONN_H2,
	CONN_CLOSED
};

/* What only some connections have. Memory: mem_*. */
struct conn_extra {
	struct net_addr proxy_src, proxy_dst; /* PROXY protocol */
	size_t tlvs_len;
	char tlvs[];
};

struct h2_conn;

struct conn {
	struct stream stream;
	struct inbuf in;
	struct list link;     /* of the thread */
	struct timer timer;   /* FRESH: head time-out; IDLE: keep-alive; LINGER */
	struct net_peer peer; /* after PROXY protocol and realip: still the socket's own */
	struct listener *listener;
	struct conn_extra *extra; /* NULL mostly */
	struct co *co;		  /* BUSY */
	struct req *req;	  /* the one in flight, NULL between; NULL for HTTP/2 */
	struct h2_conn *h2;	  /* HTTP/2; NULL: HTTP/1 */
	uint64_t number;	  /* $connection */
	uint64_t opened_ms;
	uint64_t linger_until;	/* LINGER: no longer than that (lingering_time) */
	uint64_t parked_ms;	/* since when it has been FRESH or IDLE; LINGER: its last byte */
	uint64_t head_until_ms; /* the first head was waited for in vain until then; 0: not */
	uint32_t requests;	/* $connection_requests */
	/* of the location that answered last */
	union {
		uint32_t keepalive_ms;
		uint32_t linger_ms; /* LINGER: lingering_timeout */
	};
	uint32_t keepalive_min_ms;
	uint8_t state;
	bool tls, greeted; /* PROXY line and TLS handshake are behind us */
	bool cancelled;	   /* the client went away while BUSY */
	bool speaks_h2;	   /* known when greeted */
	bool shut;	   /* while lingering: the end has been said */
	bool pipelined;	   /* this request was already in the buffer: $pipe */
	bool nagle;	   /* TCP_NODELAY is off: tcp_nodelay of the location that answered last */
};

/* For listeners' accepted(). */
void conn_accepted(struct listener *l, int fd, const struct net_addr *peer);
/* Ends a BUSY connection's request loop: the codec says what comes next. */
enum conn_next {
	CONN_NEXT_REQUEST,
	CONN_NEXT_CLOSE,
	CONN_NEXT_LINGER,
	CONN_NEXT_RESET,
	CONN_NEXT_TUNNEL
};
/* The HTTP/1 codec (h1_conn.c): reads and serves one request. */
MAY_SUSPEND enum conn_next h1_conn_request(struct conn *c);
/* The port it came in on, in the current snapshot; NULL: not served any more. */
struct http_port *conn_port(struct conn *c);
/* The server that speaks before a request says which: SNI's, or the port's default one. */
struct server *conn_server(struct conn *c, struct http_port *port);
/* The local address (getsockname, or the PROXY protocol's). */
int conn_local(struct conn *c, struct net_addr *out);
/* The client's address as a sockaddr (PROXY protocol's only through the variables). */
const struct sockaddr *conn_peer(const struct conn *c);
/* The HTTP/2 codec (h2_conn.c). start: from the connection's coroutine, which then returns. They
 * free c, if at all, at the end of the turn. */
void h2_conn_start(struct conn *c);
void h2_conn_event(struct conn *c);
void h2_conn_timeout(struct conn *c);
void h2_conn_drain(struct conn *c); /* graceful end */
void h2_conn_abort(struct conn *c); /* at once */
void h2_conn_free(struct conn *c);  /* its struct h2_conn; no streams are left */
/* Shuts down, reads away what still comes, closes: lingering_timeout after the last byte, and no
 * later than conn_linger_times says. */
void conn_linger(struct conn *c);
/* The answer is out: lingering_time begins. l: of its location; NULL: of no location. */
void conn_linger_times(struct conn *c, const struct core_loc *l);
/* Messages about a connection without a request. */
void conn_log(struct conn *c, enum log_level level, const char *what, struct span detail);
/* Closes and frees (not while its coroutine runs, except as the last thing it does). */
void conn_close(struct conn *c, bool reset);

/* Per-thread: graceful end. */
void conns_drain(void); /* idle ones close, busy ones finish without keep-alive */
void conns_abort(void); /* busy ones are cancelled, all close */
unsigned conns_count(void);
bool conns_draining(void);
extern _Thread_local void (*conns_empty)(
	void); /* called when the last one closes while draining; may be NULL */
void conns_thread_fini(void);

/* Written by their thread, read by any: relaxed atomics, which cost nothing on the writing side. */
struct conn_counters {
	_Atomic uint64_t accepted, handled, requests;
	_Atomic int64_t reading, writing, waiting;
};
#define COUNT_UP(field)                                                                            \
	atomic_store_explicit(&(field), atomic_load_explicit(&(field), memory_order_relaxed) + 1,  \
			      memory_order_relaxed)
#define COUNT_DOWN(field)                                                                          \
	atomic_store_explicit(&(field), atomic_load_explicit(&(field), memory_order_relaxed) - 1,  \
			      memory_order_relaxed)
struct serve_counters;
void conns_counters_sum(struct serve_counters *out);
/* This thread's; others read them. */
struct conn_counters *conn_counters(void);
