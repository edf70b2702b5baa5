#include "mod/range.h"
#include "http/date.h"
#include "io/loop.h"
#include "io/sys.h"
#include "mod/mods.h"
#include "serve/core.h"
#include "serve/req.h"

#define RANGE_CHUNK (32 * 1024) /* bytes read at a time for consumers that want memory */

/* ---- the cutter ---- */

static struct range_body *range_of(struct body *b)
{
	return CONTAINER_OF(b, struct range_body, body);
}

/* The next piece of the source; files are cut by their offsets, pipes cannot be. */
static MAY_SUSPEND enum fail range_pull(struct range_body *b)
{
	if (b->have_window) {
		if (b->window.last)
			return FAIL_FILE_ERROR; /* shorter than announced */
		b->window_at += (int64_t)piece_len(&b->window);
	}
	b->src->accept = PIECE_MEM | PIECE_FILE;
	b->have_window = true;
	return body_next(b->src, &b->window);
}

static enum fail range_read(struct range_body *b, int64_t off, size_t n, struct piece *out)
{
	ssize_t got;

	n = MIN_OF(n, (size_t)RANGE_CHUNK);
	if (!b->buf)
		b->buf = arena_alloc(b->arena, RANGE_CHUNK);
	if (!b->buf)
		return FAIL_NO_MEMORY;
	got = sys->pread(b->window.fd, b->buf, n, off);
	if (got <= 0)
		return FAIL_FILE_ERROR;
	*out = (struct piece){.kind = PIECE_MEM, .mem = span_make(b->buf, (size_t)got)};
	return FAIL_OK;
}

/* Up to n bytes at `skip` of the window. */
static enum fail range_slice(struct range_body *b, int64_t skip, int64_t n, struct piece *out)
{
	const struct piece *w = &b->window;

	n = MIN_OF(n, (int64_t)piece_len(w) - skip);
	*out = *w;
	out->last = false;
	if (w->kind == PIECE_MEM) {
		out->mem = span_cut(w->mem, (size_t)skip, (size_t)(skip + n));
		return FAIL_OK;
	}
	if (!(b->body.accept & PIECE_FILE))
		return range_read(b, w->off + skip, (size_t)n, out);
	out->off = w->off + skip;
	out->len = (size_t)n;
	return FAIL_OK;
}

static MAY_SUSPEND enum fail range_bytes(struct range_body *b, struct piece *out)
{
	struct range_cut *c = &b->cuts[b->at];
	int64_t pos = c->start + b->done;
	enum fail f;

	if (b->have_window && pos < b->window_at)
		return FAIL_INTERNAL;
	while (!b->have_window || pos >= b->window_at + (int64_t)piece_len(&b->window)) {
		f = range_pull(b);
		if (f != FAIL_OK)
			return f;
	}
	f = range_slice(b, pos - b->window_at, c->end - pos, out);
	if (f == FAIL_OK)
		b->done += (int64_t)piece_len(out);
	return f;
}

static MAY_SUSPEND enum fail range_next(struct body *body, struct piece *out)
{
	struct range_body *b = range_of(body);
	struct range_cut *c = &b->cuts[b->at];
	enum fail f = FAIL_OK;

	BUG_ON(body->done);
	if (c->text.n && !b->text_given) {
		*out = (struct piece){.kind = PIECE_MEM, .mem = c->text};
		b->text_given = true;
	} else {
		f = range_bytes(b, out);
	}
	if (f == FAIL_OK && b->done == c->end - c->start) {
		b->at++;
		b->done = 0;
		b->text_given = false;
	}
	out->last = body->done = f == FAIL_OK && b->at == b->n;
	return f;
}

static bool range_ready(struct body *body)
{
	struct range_body *b = range_of(body);
	const struct range_cut *c;

	if (b->at == b->n)
		return true;
	c = &b->cuts[b->at];
	if (c->text.n && !b->text_given)
		return true;
	if (b->have_window && c->start + b->done < b->window_at + (int64_t)piece_len(&b->window))
		return true;
	return c->start + b->done ==
		       (b->have_window ? b->window_at + (int64_t)piece_len(&b->window) : 0) &&
	       body_ready(b->src);
}

static void range_close(struct body *body)
{
	struct range_body *b = range_of(body);

	body_close(b->src);
	b->src = NULL;
}

struct body *range_body_init(struct range_body *b, struct arena *a, struct body *src,
			     struct range_cut *cuts, size_t n)
{
	static const struct body_ops ops = {
		.next = range_next, .ready = range_ready, .close = range_close};
	int64_t length = 0;

	for (size_t i = 0; i < n; i++)
		length += (int64_t)cuts[i].text.n + cuts[i].end - cuts[i].start;
	*b = (struct range_body){
		.body = {.ops = &ops, .length = length, .accept = PIECE_MEM},
		.src = src,
		.arena = a,
		.cuts = cuts,
		.n = n,
	};
	return &b->body;
}

MAY_SUSPEND bool range_source_whole(struct range_body *b, int64_t length)
{
	if (!body_ready(b->src))
		return false;
	if (range_pull(b) != FAIL_OK)
		b->window = (struct piece){.last = true}; /* the next pull fails as well */
	return (int64_t)piece_len(&b->window) == length;
}

struct range_cut *range_multipart(struct arena *a, const struct byte_range *v, size_t n,
				  int64_t length, struct span type, struct span boundary,
				  int64_t *total)
{
	struct range_cut *cuts = arena_zalloc(a, (n + 1) * sizeof(*cuts));

	if (!cuts)
		return NULL;
	*total = 0;
	for (size_t i = 0; i <= n; i++) {
		struct range_cut *c = &cuts[i];

		if (i == n) {
			c->text = arena_printf(a, "\r\n--%.*s--\r\n", SPAN_ARG(boundary));
		} else {
			c->start = v[i].start;
			c->end = v[i].end;
			c->text = arena_printf(
				a,
				"\r\n--%.*s\r\n%s%.*s%sContent-Range: bytes %lld-%lld/%lld\r\n\r\n",
				SPAN_ARG(boundary), type.n ? "Content-Type: " : "", SPAN_ARG(type),
				type.n ? "\r\n" : "", (long long)c->start, (long long)c->end - 1,
				(long long)length);
		}
		if (!c->text.p)
			return NULL;
		*total += (int64_t)c->text.n + c->end - c->start;
	}
	return cuts;
}

/* ---- the filter ---- */

static bool ranges_ascend(const struct byte_range *v, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (v[i].start < v[i - 1].end)
			return false;
	return true;
}

static enum fail range_refuse(struct req *r, int64_t length)
{
	struct span value = arena_printf(&r->arena, "bytes */%lld", (long long)length);
	enum fail f =
		value.p ? hdrs_set(&r->resp.headers, HDR_CONTENT_RANGE, value) : FAIL_NO_MEMORY;

	return f == FAIL_OK ? FAIL_RANGE : f;
}

/* Puts the cutter in front of the body; a body that was there for HEAD may be missing. */
static enum fail range_wrap(struct req *r, struct resp *resp, struct range_cut *cuts, size_t n,
			    bool any_order, bool *ok)
{
	int64_t length = resp->content_length;
	struct range_body *b;

	*ok = true;
	if (!resp->body)
		return FAIL_OK;
	b = arena_alloc(&r->arena, sizeof(*b));
	if (!b)
		return FAIL_NO_MEMORY;
	range_body_init(b, &r->arena, resp->body, cuts, n);
	if (any_order && r->method != METHOD_HEAD)
		*ok = range_source_whole(b, length);
	resp->body = &b->body;
	return FAIL_OK;
}

static enum fail range_single(struct req *r, struct resp *resp, const struct byte_range *v)
{
	struct range_cut *cut = arena_zalloc(&r->arena, sizeof(*cut));
	struct span value = arena_printf(&r->arena, "bytes %lld-%lld/%lld", (long long)v->start,
					 (long long)v->end - 1, (long long)resp->content_length);
	enum fail f;
	bool ok;

	if (!cut || !value.p)
		return FAIL_NO_MEMORY;
	cut->start = v->start;
	cut->end = v->end;
	f = range_wrap(r, resp, cut, 1, false, &ok);
	if (f != FAIL_OK)
		return f;
	resp->status = 206;
	resp->reason = (struct span){0};
	resp->content_length = v->end - v->start;
	return hdrs_set(&resp->headers, HDR_CONTENT_RANGE, value);
}

static struct span part_type(struct req *r, const struct resp *resp)
{
	if (!resp->content_type.n || !resp->charset.n)
		return resp->content_type;
	return arena_printf(&r->arena, "%.*s; charset=%.*s", SPAN_ARG(resp->content_type),
			    SPAN_ARG(resp->charset));
}

/* Ranges in another order than the body's need all of it at hand: a file, or memory in one piece.
 * When the body turns out not to be, its first piece is taken already, so the whole goes out as one
 * range. */
static enum fail range_whole(struct resp *resp, struct range_body *b, struct range_cut *all)
{
	*all = (struct range_cut){.end = resp->content_length};
	b->cuts = all;
	b->n = 1;
	b->body.length = resp->content_length;
	return FAIL_OK;
}

static enum fail range_multi(struct req *r, struct resp *resp, const struct byte_range *v, size_t n)
{
	struct span type = part_type(r, resp);
	struct span boundary = arena_printf(&r->arena, "%020llu", (unsigned long long)io_rand64());
	struct span mtype =
		arena_printf(&r->arena, "multipart/byteranges; boundary=%.*s", SPAN_ARG(boundary));
	int64_t total;
	struct range_cut *cuts;
	enum fail f;
	bool ok;

	if (!boundary.p || !mtype.p)
		return FAIL_NO_MEMORY;
	cuts = range_multipart(&r->arena, v, n, resp->content_length, type, boundary, &total);
	if (!cuts)
		return FAIL_NO_MEMORY;
	f = range_wrap(r, resp, cuts, n + 1, !ranges_ascend(v, n), &ok);
	if (f != FAIL_OK)
		return f;
	if (!ok)
		return range_whole(resp, CONTAINER_OF(resp->body, struct range_body, body), cuts);
	resp->status = 206;
	resp->reason = (struct span){0};
	resp->content_type = mtype;
	resp->charset = (struct span){0};
	resp->content_length = total;
	return FAIL_OK;
}

static enum fail range_apply(struct req *r, struct resp *resp, struct span value, int64_t max)
{
	size_t n = 1;
	struct byte_range *v;

	for (size_t i = 0; i < value.n; i++)
		n += value.p[i] == ',';
	n = MIN_OF(n, (size_t)max);
	v = arena_alloc(&r->arena, n * sizeof(*v));
	if (!v)
		return FAIL_NO_MEMORY;
	switch (http_ranges(value, resp->content_length, v, &n)) {
	case RANGE_OK:
		return n == 1 ? range_single(r, resp, v) : range_multi(r, resp, v, n);
	case RANGE_UNSATISFIABLE:
		return range_refuse(r, resp->content_length);
	default:
		return FAIL_OK;
	}
}

static enum fail range_filter(struct req *r, struct resp *resp)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	const struct hdr *range;
	struct http_validators v;

	if (!resp->allow_ranges || resp->status != 200 || resp->content_length < 0 ||
	    l->max_ranges == 0 || r->parent || r->in.version < HTTP_10)
		return FAIL_OK;
	range = hdrs_find(&r->in.headers, HDR_RANGE);
	v.etag = hdrs_value(&resp->headers, HDR_ETAG);
	v.last_modified = resp->last_modified;
	if (v.last_modified < 0 &&
	    !http_date_parse(hdrs_value(&resp->headers, HDR_LAST_MODIFIED), &v.last_modified))
		v.last_modified = -1;
	if (range && http_if_range(&r->in, &v)) {
		enum fail f = range_apply(r, resp, range->value, l->max_ranges);

		if (f != FAIL_OK || resp->status != 200)
			return f;
	}
	if (hdrs_find(&resp->headers, HDR_ACCEPT_RANGES))
		return FAIL_OK;
	return hdrs_add_id(&resp->headers, HDR_ACCEPT_RANGES, SPAN("bytes"));
}

const struct http_module range_module = {
	.name = "range",
	.filter = range_filter,
};
