/* Listening sockets shared by all threads, and the fair spreading of what they accept.
 *
 * A struct listener belongs to the instance, not to a snapshot; it is found by name. Each thread
 * that serves has its loop registered on it (EPOLLEXCLUSIVE, or its own socket with reuseport). A
 * fresh connection goes to the thread that accepted it, unless that thread has clearly more
 * connections than the emptiest one: then the socket is handed over through the inbox before
 * anything was read. */
#pragma once
#include <stdatomic.h>
#include "conf/opener.h"
#include "io/loop.h"
#include "net/addr.h"

struct listener {
	struct list link;	 /* in the registry */
	struct listen_spec spec; /* spec.name is owned */
	unsigned id;   /* small number, never reused while it lives: index for snapshots */
	unsigned nfds; /* 1, or one per thread with reuseport */
	int fds[256];
	bool closing;
	atomic_uint refs; /* 1, one per socket on its way to another thread, and listener_ref's */
	/* Called on the owning thread's loop stack for each connection; takes over fd, and counts
	 * it with net_conn_opened before it returns. May come once or more after listener_leave,
	 * for sockets that were on their way. */
	void (*accepted)(struct listener *l, int fd, const struct net_addr *peer);
	/* SOCK_DGRAM: the thread's socket can be read (level-triggered: called until it is
	 * drained). */
	void (*datagram)(struct listener *l, int fd);
};

/* How many client connections a thread has: kept by the users (serve, stream), read by the
 * spreader. */
void net_conn_opened(void);
void net_conn_closed(void);
unsigned net_conn_count(unsigned thread);
unsigned net_conn_total(void);
/* Ceiling over all threads (worker_connections); 0: none. Above it, accepting pauses until one
 * closes. */
void net_conn_ceiling(unsigned max);
/* All loops of the process, so that connections can be handed over. Called by each thread at its
 * start. */
void net_thread_join(void);
/* Nothing is handed to it any more; what was posted before still runs on its loop's next turn. */
void net_thread_leave(void);

/* The registry: instance-wide, changed by one thread at a time. */
struct listener *listener_find(struct span name, int type);
/* Takes over the sockets; `accepted` or `datagram` must be set before the first thread joins. NULL:
 * no memory (the sockets are still the caller's). */
struct listener *listener_new(const struct listen_spec *spec, const int *fds, unsigned nfds);
/* The calling thread starts / stops to accept. Idempotent. */
int listener_join(struct listener *l);
void listener_leave(struct listener *l);
bool listener_joined(const struct listener *l); /* does the calling thread accept? */
/* After every thread has left: closes the sockets; the struct lives until its last reference is
 * given back. */
void listener_free(struct listener *l);
/* Connections hold the listener that accepted them. */
struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener *l);
/* Walks the registry; fn may free the one it is given. */
void listeners_each(void (*fn)(struct listener *l, void *arg), void *arg);
