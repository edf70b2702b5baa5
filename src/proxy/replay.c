#include "proxy/replay.h"
#include "base/span.h"

static enum fail replay_next(struct body *b, struct piece *out);
static bool replay_ready(struct body *b);
static void replay_close(struct body *b);

static const struct body_ops replay_ops = {
	.next = replay_next,
	.ready = replay_ready,
	.close = replay_close,
};

struct body *replay_init(struct replay *p, struct body *inner)
{
	*p = (struct replay){
		.body = {.ops = &replay_ops, .length = inner->length, .accept = PIECE_MEM},
		.inner = inner};
	return &p->body;
}

static void replay_keep(struct replay *p, struct span s)
{
	if (p->lost || !s.n)
		return;
	if (p->stopped || inbuf_len(&p->kept) + s.n > REPLAY_MAX ||
	    (p->kept.cap - p->kept.end < s.n &&
	     !inbuf_reserve(&p->kept, inbuf_len(&p->kept) + s.n, NULL))) {
		p->lost = true;
		inbuf_free(&p->kept);
		p->at = 0;
		return;
	}
	memcpy(p->kept.p + p->kept.end, s.p, s.n);
	p->kept.end += (uint32_t)s.n;
	p->at += s.n;
}

static void replay_end(struct replay *p)
{
	p->body.done = true;
	p->body.trailers = p->inner->trailers;
}

static MAY_SUSPEND enum fail replay_next(struct body *b, struct piece *out)
{
	struct replay *p = CONTAINER_OF(b, struct replay, body);
	size_t rest = inbuf_len(&p->kept) - p->at;
	enum fail f;

	p->touched = true;
	if (rest || p->inner->done) {
		*out = (struct piece){.kind = PIECE_MEM, .last = p->inner->done};
		out->mem = rest ? span_make(p->kept.p + p->kept.start + p->at, rest) : SPAN("");
		p->at += rest;
		if (out->last)
			replay_end(p);
		return FAIL_OK;
	}
	p->inner->accept = PIECE_MEM;
	f = body_next(p->inner, out);
	if (f != FAIL_OK)
		return f;
	replay_keep(p, out->mem);
	if (out->last)
		replay_end(p);
	return FAIL_OK;
}

static bool replay_ready(struct body *b)
{
	struct replay *p = CONTAINER_OF(b, struct replay, body);

	return inbuf_len(&p->kept) > p->at || p->inner->done || body_ready(p->inner);
}

static void replay_close(struct body *b)
{
}

bool replay_can(const struct replay *p)
{
	return !p->touched || !p->lost;
}

void replay_rewind(struct replay *p)
{
	p->at = 0;
	p->body.done = false;
}

void replay_stop(struct replay *p)
{
	p->stopped = true;
}

void replay_fini(struct replay *p)
{
	inbuf_free(&p->kept);
	p->lost = true;
}
