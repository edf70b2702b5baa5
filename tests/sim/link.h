/* A client's end of a connection, plain or with TLS on it (OpenSSL over memory). */
#pragma once
#include <stdbool.h>
#include "io/sim.h"

struct link {
	struct sim_conn *c; /* NULL: closed */
	void *ssl;
	bool tls, ready; /* ready: connected, and greeted with TLS */
	bool ended;
};

/* Once in the parent: contexts, a certificate. */
void link_warm(void);
/* PEM of the worker's certificate and key. */
struct span link_cert(void), link_key(void);
/* In the child: OpenSSL's randomness from the world's seed. */
void link_seed(uint64_t seed);

void link_init(struct link *l, struct sim_conn *c, bool tls);
/* Before the first move of a TLS one: ALPN; afterwards: what came of it. */
void link_offer_h2(struct link *l);
bool link_chose_h2(const struct link *l);
/* After connected, readable, writable: moves the handshake on. False: it failed. */
bool link_move(struct link *l);
size_t link_write(struct link *l, const void *p, size_t n); /* taken */
/* > 0; 0: nothing now; -1: the end; -2: reset, or a TLS failure. */
ssize_t link_read(struct link *l, void *p, size_t n);
bool link_flushed(struct link *l);  /* all that was taken has left */
void link_shutdown(struct link *l); /* half-close */
void link_close(struct link *l, bool reset);
