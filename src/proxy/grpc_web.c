/* gRPC-Web: what browsers speak, who cannot read trailers. Requests are gRPC with another content
 * type; in responses the trailers follow the messages as one more frame, marked by the highest bit
 * of its first byte. The text dialect has all of it in base64. */
#include "http/base64.h"
#include "proxy/grpc.h"

#define TEXT_MAX 12288 /* bytes of one piece in base64; a multiple of three */

enum grpc_web grpc_web_of(struct span t)
{
	struct span rest;

	if (!span_starts_nocase(t, SPAN("application/grpc-web")))
		return GRPC_WEB_NONE;
	rest = span_cut(t, 20, t.n);
	if (span_starts_nocase(rest, SPAN("-text")))
		rest = span_cut(rest, 5, rest.n);
	if (rest.n && rest.p[0] != '+' && rest.p[0] != ';' && rest.p[0] != ' ')
		return GRPC_WEB_NONE;
	return rest.p == t.p + 20 ? GRPC_WEB_BINARY : GRPC_WEB_TEXT;
}

/* "+proto" of "application/grpc-web-text+proto". */
static struct span type_suffix(struct span t)
{
	ssize_t plus = span_find_char(t, '+', 0);

	return plus < 0 ? (struct span){0} : span_cut(t, (size_t)plus, t.n);
}

/* ---- base64 ---- */

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t base64_stream_decode(struct base64_stream *s, const char *in, size_t n, char *out)
{
	char *at = out;

	for (size_t i = 0; i < n; i++) {
		int v = base64_value(in[i]);

		if (in[i] == '=' && s->nchars >= 2)
			s->pad++;
		else if (v < 0 || s->pad)
			return -1;
		s->bits = s->bits << 6 | (uint32_t)(v < 0 ? 0 : v);
		if (++s->nchars < 4)
			continue;
		for (unsigned k = 0; k < 3 - s->pad; k++)
			*at++ = (char)(s->bits >> (16 - 8 * k));
		*s = (struct base64_stream){0};
	}
	return at - out;
}

/* ---- the request ---- */

struct web_request {
	struct body body;
	struct body *inner;
	struct req *r;
	struct base64_stream base64;
	char *buf; /* of the last piece */
	size_t cap;
};

static MAY_SUSPEND enum fail web_request_next(struct body *b, struct piece *out)
{
	struct web_request *w = CONTAINER_OF(b, struct web_request, body);
	ssize_t n;
	enum fail f = body_next(w->inner, out);

	if (f != FAIL_OK)
		return f;
	if (out->mem.n > w->cap) {
		w->cap = out->mem.n;
		w->buf = arena_alloc(&w->r->arena, w->cap + 4);
	}
	if (out->mem.n && !w->buf)
		return FAIL_NO_MEMORY;
	n = out->mem.n ? base64_stream_decode(&w->base64, out->mem.p, out->mem.n, w->buf) : 0;
	if (n < 0 || (out->last && w->base64.nchars))
		return FAIL_BAD_GRPC_WEB;
	out->mem = span_make(w->buf, (size_t)n);
	b->done = out->last;
	return FAIL_OK;
}

static bool web_request_ready(struct body *b)
{
	return body_ready(CONTAINER_OF(b, struct web_request, body)->inner);
}

static void web_request_close(struct body *b)
{
}

static const struct body_ops web_request_ops = {
	.next = web_request_next,
	.ready = web_request_ready,
	.close = web_request_close,
};

int grpc_web_prepare(struct exchange *x)
{
	struct req *r = x->r;
	struct web_request *w;

	x->grpc_web = grpc_web_of(hdrs_value(&r->in.headers, HDR_CONTENT_TYPE));
	if (x->grpc_web != GRPC_WEB_TEXT || !r->body)
		return 0;
	w = arena_zalloc(&r->arena, sizeof(*w));
	if (!w)
		return req_fail(r, FAIL_NO_MEMORY);
	*w = (struct web_request){
		.body = {.ops = &web_request_ops, .length = -1, .accept = PIECE_MEM},
		.inner = r->body,
		.r = r};
	w->inner->accept = PIECE_MEM;
	r->body = &w->body;
	return 0;
}

struct span grpc_web_field(struct exchange *x, enum hdr_id id, struct span value)
{
	if (id == HDR_CONTENT_LENGTH && x->grpc_web == GRPC_WEB_TEXT)
		return (struct span){0};
	if (id != HDR_CONTENT_TYPE)
		return value;
	return arena_printf(&x->r->arena, "application/grpc%.*s", SPAN_ARG(type_suffix(value)));
}

/* ---- the response ---- */

struct web_response {
	struct body body;
	struct body *inner;
	struct exchange *x;
	struct piece rest; /* of the source, not given yet */
	struct span end;   /* the frame of trailers, as it goes out */
	enum { WEB_MESSAGES, WEB_TRAILERS } stage;
	char *text; /* TEXT_MAX in base64 */
};

/* 0x80, length, and the fields as lines. */
static enum fail web_trailers(struct web_response *w)
{
	const struct hdrs *t = w->inner->trailers;
	struct arena *a = &w->x->r->arena;
	size_t n = 0;
	char *p, *at;

	if (t)
		hdrs_each (hd, t)
			n += hd->name.n + hd->value.n + 4;
	p = at = arena_alloc(a, 5 + n);
	if (!p)
		return FAIL_NO_MEMORY;
	*at++ = (char)0x80;
	for (int shift = 24; shift >= 0; shift -= 8)
		*at++ = (char)(n >> shift);
	if (t)
		hdrs_each (hd, t) {
			at = mempcpy(at, hd->name.p, hd->name.n);
			at = mempcpy(at, ": ", 2);
			if (hd->value.n)
				at = mempcpy(at, hd->value.p, hd->value.n);
			at = mempcpy(at, "\r\n", 2);
		}
	w->end = span_make(p, (size_t)(at - p));
	if (w->x->grpc_web == GRPC_WEB_TEXT) {
		p = arena_alloc(a, w->end.n * 4 / 3 + 4);
		if (!p)
			return FAIL_NO_MEMORY;
		w->end = span_make(p, base64_encode(p, w->end.p, w->end.n));
	}
	w->stage = WEB_TRAILERS;
	return FAIL_OK;
}

static enum fail web_text(struct web_response *w, struct piece *out)
{
	struct span part = span_cut(w->rest.mem, 0, MIN_OF(w->rest.mem.n, (size_t)TEXT_MAX));

	if (!w->text)
		w->text = arena_alloc(&w->x->r->arena, TEXT_MAX / 3 * 4 + 4);
	if (!w->text)
		return FAIL_NO_MEMORY;
	w->rest.mem = span_cut(w->rest.mem, part.n, w->rest.mem.n);
	out->mem = span_make(w->text, base64_encode(w->text, part.p, part.n));
	out->flush = true;
	return FAIL_OK;
}

static MAY_SUSPEND enum fail web_response_next(struct body *b, struct piece *out)
{
	struct web_response *w = CONTAINER_OF(b, struct web_response, body);
	enum fail f = FAIL_OK;

	*out = (struct piece){.kind = PIECE_MEM, .mem = SPAN("")};
	if (w->stage == WEB_MESSAGES && !w->rest.mem.n && !w->rest.last) {
		f = body_next(w->inner, &w->rest);
		if (f != FAIL_OK)
			return f;
	}
	if (w->rest.mem.n && w->x->grpc_web == GRPC_WEB_TEXT)
		return web_text(w, out);
	if (w->rest.mem.n) {
		out->mem = w->rest.mem;
		out->flush = true;
		w->rest.mem.n = 0;
		return FAIL_OK;
	}
	if (!w->rest.last)
		return FAIL_OK;
	f = web_trailers(w);
	out->mem = w->end;
	out->last = b->done = true;
	return f;
}

static bool web_response_ready(struct body *b)
{
	struct web_response *w = CONTAINER_OF(b, struct web_response, body);

	return w->rest.mem.n || w->rest.last || body_ready(w->inner);
}

static void web_response_close(struct body *b)
{
	body_close(CONTAINER_OF(b, struct web_response, body)->inner);
}

static const struct body_ops web_response_ops = {
	.next = web_response_next,
	.ready = web_response_ready,
	.close = web_response_close,
};

enum fail grpc_web_answer(struct exchange *x)
{
	struct resp *resp = &x->r->resp;
	struct web_response *w;

	if (!span_starts_nocase(resp->content_type, SPAN("application/grpc")))
		return FAIL_OK; /* not an answer of gRPC */
	resp->content_type = arena_printf(&x->r->arena, "application/grpc-web%s%.*s",
					  x->grpc_web == GRPC_WEB_TEXT ? "-text" : "",
					  SPAN_ARG(type_suffix(resp->content_type)));
	if (!resp->content_type.p)
		return FAIL_NO_MEMORY;
	if (!resp->body)
		return FAIL_OK; /* trailers only: they are in the head */
	w = arena_zalloc(&x->r->arena, sizeof(*w));
	if (!w)
		return FAIL_NO_MEMORY;
	*w = (struct web_response){
		.body = {.ops = &web_response_ops, .length = -1, .accept = PIECE_MEM},
		.inner = resp->body,
		.x = x};
	w->inner->accept = PIECE_MEM;
	resp->body = &w->body;
	resp->content_length = -1;
	return FAIL_OK;
}
