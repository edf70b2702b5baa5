/* An actor's end of a connection, plain or with TLS on it (OpenSSL over memory). */
#pragma once
#include <stdbool.h>
#include "io/sim.h"

/* What a server shows. Only the first one is what proxy_ssl_verify may let pass. */
enum link_cert { CERT_RIGHT, CERT_OTHER_NAME, CERT_OTHER_ISSUER, CERT_EXPIRED, CERT_END };
enum link_alpn { ALPN_NONE, ALPN_HTTP1, ALPN_H2 };

/* How a server greets. */
struct link_greeting {
	unsigned group; /* whose name the certificate has */
	enum link_cert cert;
	enum link_alpn alpn; /* chosen when it is offered */
	bool only_12, only_13, no_tickets;
};

struct link {
	struct sim_conn *c; /* NULL: closed */
	void *ssl;
	bool tls, ready; /* ready: connected, and greeted with TLS */
	bool notified, ended;
	struct link_greeting greeting;
	char sni[64]; /* that the client asked for; "": none */
	/* of the bytes that go out over the network: so many leave and no more; this one is
	 * another. -1: neither */
	int64_t out_stop, out_flip;
	int64_t out; /* so many have left */
};

/* Once in the parent: contexts, a certificate. */
void link_warm(void);
/* PEM of the worker's certificate and key, and of who signs those of servers. */
struct span link_cert(void), link_key(void), link_issuer(void);
/* In the child: OpenSSL's randomness from the world's seed. */
void link_seed(uint64_t seed);

/* What a WebSocket server answers to a key (RFC 6455 4.2.2). */
const char *link_websocket_accept(struct span key);

void link_init(struct link *l, struct sim_conn *c, bool tls);
/* Before the first move of a TLS one: ALPN; afterwards: what came of it. */
void link_offer_h2(struct link *l);
bool link_chose_h2(const struct link *l);
/* The server's side. l stays where it is until it is ready. */
void link_init_server(struct link *l, struct sim_conn *c, const struct link_greeting *g);
bool link_is_13(const struct link *l);
bool link_is_resumed(const struct link *l);
void link_update_key(struct link *l);	    /* both sides' */
bool link_is_stopped(const struct link *l); /* at out_stop */
bool link_is_spoiled(const struct link *l); /* it will be stopped, or some byte is not as sent */
/* After connected, readable, writable: moves the handshake on. False: it failed. */
bool link_move(struct link *l);
size_t link_write(struct link *l, const void *p, size_t n); /* taken */
/* > 0; 0: nothing now; -1: the end; -2: reset, or a TLS failure. */
ssize_t link_read(struct link *l, void *p, size_t n);
bool link_flushed(struct link *l);  /* all that was taken has left */
void link_notify(struct link *l);   /* close_notify; it may still have to be flushed */
void link_shutdown(struct link *l); /* half-close */
/* The same when there is room for close_notify: false until then. */
bool link_end(struct link *l);
void link_close(struct link *l, bool reset);
