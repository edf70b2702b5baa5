/* A connection that serves one exchange at a time, and what all protocols of that kind do with it
 * (HTTP/1 now; FastCGI, uwsgi and SCGI are of the kind): first member of their states. */
#pragma once
#include "proxy/exchange.h"

struct wire {
	struct upconn *conn; /* NULL: none, or given back */
	struct inbuf in;     /* what the connection has sent; not the upconn's own, so that this may
				outlive it */
	uint64_t received0, sent0; /* the connection's counts when this attempt took it */
	uint64_t mark;		   /* stream_mark then */
	size_t written;		   /* bytes of head and memory that went out at once */
	bool reset; /* sending heard of a reset: the end of what can be read proves nothing */
};

MAY_SUSPEND enum fail wire_connect(struct exchange *x, struct wire *w,
				   const struct upconn_want *want);
/* The same with a connection that is there. */
void wire_adopt(struct exchange *x, struct wire *w, struct upconn *u);
/* As proto_ops.send and .send_rest, for a request that is x->head and then the body as it is. */
enum fail wire_send(struct exchange *x, struct wire *w, bool *all);
MAY_SUSPEND enum fail wire_send_rest(struct exchange *x, struct wire *w);
MAY_SUSPEND enum fail wire_writev(struct exchange *x, struct wire *w, struct iovec *iov, int n);
MAY_SUSPEND enum fail wire_sendfile(struct exchange *x, struct wire *w, struct piece *p);
/* One read into w->in. *from: where its bytes were before,
 * when they have moved; else NULL. */
MAY_SUSPEND enum fail wire_more(struct exchange *x, struct wire *w, const char **from);
/* The first `used` bytes of w->in move to the request's arena; NULL: no memory. */
char *wire_keep(struct exchange *x, struct wire *w, size_t used);
MAY_SUSPEND enum fail wire_await(struct wire *w, int64_t bytes, uint64_t until_ms);
bool wire_heard(const struct wire *w);
bool wire_unseen(const struct wire *w, enum fail f);
static inline void wire_counts(const struct wire *w, struct proto_counts *c)
{
	if (!w->conn)
		return;
	c->received = (int64_t)(w->conn->stream.received - w->received0);
	c->sent = (int64_t)(w->conn->stream.sent - w->sent0);
}
/* reusable: may serve another exchange. */
static inline void wire_end(struct exchange *x, struct wire *w, bool reusable)
{
	struct upconn *u = w->conn;

	w->conn = NULL;
	if (reusable)
		upconn_give(u, x->pick.group);
	else
		upconn_drop(u);
}
static inline void wire_fini(struct wire *w)
{
	if (w->in.p)
		inbuf_free(&w->in);
}
void wire_tunnel(struct wire *w, struct tunnel *t);
