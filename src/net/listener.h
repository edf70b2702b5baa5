/* Listening sockets shared by all threads, and the fair spreading of what they accept.
 *
 * A struct listener belongs to the instance, not to a snapshot; it is found by name. Each thread that serves
 * has its loop registered on it (EPOLLEXCLUSIVE, or its own socket with reuseport). A fresh connection goes to
 * the thread that accepted it, unless that thread has clearly more connections than the emptiest one: then
 * the socket is handed over through the inbox before anything was read. */
#pragma once
#include <stdatomic.h>
#include "conf/opener.h"
#include "io/loop.h"
#include "net/addr.h"

struct listener {
	struct list link;        /* in the registry */
	struct listen_spec spec; /* spec.name is owned */
	unsigned id;             /* small number, never reused while it lives: index for snapshots */
	unsigned nfds;           /* 1, or one per thread with reuseport */
	int fds[256];
	bool closing;
	/* Called on the owning thread's loop stack for each connection; takes over fd. */
	void (*accepted)(struct listener *l, int fd, const struct net_addr *peer);
};

/* How many client connections a thread has: kept by the users (serve, stream), read by the spreader. */
void net_conn_opened(void);
void net_conn_closed(void);
unsigned net_conn_count(unsigned thread);
unsigned net_conn_total(void);
/* Ceiling over all threads (worker_connections); 0: none. Above it, accepting pauses until one closes. */
void net_conn_ceiling(unsigned max);
/* All loops of the process, so that connections can be handed over. Called by each thread at its start. */
void net_thread_join(void);
void net_thread_leave(void);

/* The registry: instance-wide, changed by one thread at a time. */
struct listener *listener_find(struct span name, int type);
struct listener *listener_new(const struct listen_spec *spec, const int *fds, unsigned nfds);
/* The calling thread starts / stops to accept. Idempotent. */
int listener_join(struct listener *l);
void listener_leave(struct listener *l);
/* After every thread has left: closes the sockets and frees it. */
void listener_free(struct listener *l);
