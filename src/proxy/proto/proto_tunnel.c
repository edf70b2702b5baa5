/* No protocol at all: CONNECT opens a connection, and what the client says goes through it as it
 * is. The answer is ours as soon as the connection is there. */
#include "proxy/proto/proto.h"
#include "proxy/proto/wire.h"

static void tunnel_init(struct exchange *x)
{
	*(struct wire *)x->state = (struct wire){0};
}

static MAY_SUSPEND enum fail tunnel_connect(struct exchange *x, struct upconn_want *want)
{
	struct wire *w = proto_state(x, &proto_tunnel, sizeof(*w));

	want->fresh = true;
	return w ? wire_connect(x, w, want) : FAIL_NO_MEMORY;
}

static enum fail tunnel_send(struct exchange *x, bool *all)
{
	*all = true;
	return FAIL_OK;
}

static MAY_SUSPEND enum fail tunnel_send_rest(struct exchange *x)
{
	return FAIL_OK;
}

static MAY_SUSPEND enum fail tunnel_send_piece(struct exchange *x, struct piece *p,
					       const struct body *b)
{
	return FAIL_OK;
}

static unsigned tunnel_accepts(const struct exchange *x)
{
	return PIECE_MEM;
}

static MAY_SUSPEND enum fail tunnel_recv(struct exchange *x)
{
	x->resp.status = 200;
	x->resp.content_length = -1;
	x->resp.reason = SPAN("Connection established");
	return FAIL_OK;
}

static MAY_SUSPEND enum fail tunnel_await(struct exchange *x, int64_t bytes, uint64_t until_ms)
{
	return FAIL_OK;
}

static struct body *tunnel_no_body(struct exchange *x)
{
	return NULL;
}

static bool tunnel_heard(const struct exchange *x)
{
	return wire_heard(x->state);
}

static bool tunnel_unseen(const struct exchange *x, enum fail f)
{
	return true;
}

static void tunnel_counts(const struct exchange *x, struct proto_counts *c)
{
	wire_counts(x->state, c);
}

static void tunnel_over(struct exchange *x, bool whole)
{
	wire_end(x, x->state, false);
}

static void tunnel_fini(struct exchange *x)
{
	wire_fini(x->state);
}

static bool tunnel_side_of(struct exchange *x, struct tunnel *t)
{
	wire_tunnel(x->state, t);
	return true;
}

const struct proto_ops proto_tunnel = {
	.name = "tunnel",
	.init = tunnel_init,
	.connect = tunnel_connect,
	.send = tunnel_send,
	.send_rest = tunnel_send_rest,
	.send_piece = tunnel_send_piece,
	.accepts = tunnel_accepts,
	.recv = tunnel_recv,
	.await = tunnel_await,
	.body = tunnel_no_body,
	.heard = tunnel_heard,
	.unseen = tunnel_unseen,
	.counts = tunnel_counts,
	.end = tunnel_over,
	.fini = tunnel_fini,
	.tunnel = tunnel_side_of,
};
