/* A protocol that is spoken to servers: how one exchange gets a connection, sends its request and
 * takes the answer off the wire. One proto_*.c per protocol; exchange*.c know none of them.
 *
 * The verbs are called for one attempt at a time, in this order: connect; send, and then, from a
 * child task when `send` did not take everything, send_rest and send_piece; at the same time recv
 * for each head, at last await and body; end; fini. A protocol keeps what it needs in a struct of
 * its own (proto_state), which lives in the request's arena: one per exchange, used again by its
 * next attempt.
 *
 * What the exchange does for every protocol: it picks servers and decides about other tries, takes
 * the client's body piece by piece, runs and cancels the sending task, counts interim answers,
 * frees servers from slow clients, writes the log. What a protocol finds there: x->head (the
 * request head as HTTP/1.1 says it), x->body_kind, x->memory, x->body_length, x->method. Whoever
 * waits for the server while x->sending sets x->waiter and takes -EINTR from its wait: the sending
 * task has ended. */
#pragma once
#include "http/body.h"
#include "http/fail.h"

struct exchange;
struct upconn_want;
struct tunnel;

struct proto_counts {
	int64_t received, sent; /* bytes on the wire, of this attempt */
	int64_t body;		/* bytes of the response body that were given to its reader */
};

struct proto_ops {
	const char *name;
	/* Makes a state of what proto_state found memory for. */
	void (*init)(struct exchange *x);
	/* A connection to x->pick.member: sets x->connected, x->reused (it has served before) and
	 * x->attempt->connect_us; on failure x->pick.sys_err and .tls_error. May put another
	 * protocol into x->proto, when the server chose it (ALPN). As upconn_take. */
	MAY_SUSPEND enum fail (*connect)(struct exchange *x, struct upconn_want *w);
	/* Head and body in memory, as far as they go without waiting. *all: nothing is left, the
	 * body included; else a task is started that calls send_rest and, for SEND_BUFFERED and
	 * SEND_STREAM, send_piece. */
	enum fail (*send)(struct exchange *x, bool *all);
	MAY_SUSPEND enum fail (*send_rest)(struct exchange *x);
	/* b: where the piece comes from, for its trailers. */
	MAY_SUSPEND enum fail (*send_piece)(struct exchange *x, struct piece *p,
					    const struct body *b);
	/* Pieces that send_piece takes: enum piece_kind bits. */
	unsigned (*accepts)(const struct exchange *x);
	/* The next head, interim or final, into x->resp, final ones in memory of the request; or
	 * a 103 when exchange_passes_hints says so: x->hints is set, x->resp says nothing then.
	 * Also returns what stopped the sending task when the answer has not begun. */
	MAY_SUSPEND enum fail (*recv)(struct exchange *x);
	/* Waits until so many bytes of the body are here (-1: all of it), or until then. FAIL_OK
	 * also when time is up; otherwise what happened to the server. */
	MAY_SUSPEND enum fail (*await)(struct exchange *x, int64_t bytes, uint64_t until_ms);
	/* The response has no body, or one of no bytes: do trailers follow? As long as that is not
	 * known: `unknown`. NULL: never. */
	bool (*follows)(const struct exchange *x, bool unknown);
	/* The body of the response in x->resp, which has one. Tells exchange_complete when all of
	 * it is here. */
	struct body *(*body)(struct exchange *x);
	/* Has the server said anything in this attempt? */
	bool (*heard)(const struct exchange *x);
	/* After that failure: is it certain that the server has acted on nothing of the request? */
	bool (*unseen)(const struct exchange *x, enum fail f);
	void (*counts)(const struct exchange *x, struct proto_counts *c);
	/* The attempt's use of the connection ends (x->connected). whole: request and response are
	 * complete, so it may be used again. Otherwise: cancelled. Bytes that the body's reader
	 * holds stay. */
	void (*end)(struct exchange *x, bool whole);
	/* Frees those, too. May be called more than once. */
	void (*fini)(struct exchange *x);
	/* A 101 (or its like) came: the server's side of t. False: no memory. */
	bool (*tunnel)(struct exchange *x, struct tunnel *t);
};

/* The state of that protocol in x, made when it is not there yet; NULL: no memory. x->proto is ops
 * from then on. */
void *proto_state(struct exchange *x, const struct proto_ops *ops, size_t size);

extern const struct proto_ops proto_http1, proto_http2, proto_tunnel;
/* For a connection that turned out to speak HTTP/1 (ALPN). */
struct upconn;
enum fail http1_adopt(struct exchange *x, struct upconn *u);
