/* Whatever fields come, a head that is let through could have come in HTTP/1: it is written as one
 * and read back by the HTTP/1 parser, which must see the same request. */
#include "http/h1.h"
#include "http/h2/h2_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct h2_limits limits = {8192, 32768, 100, true, false, true};
static const struct h1_limits wide = {16384, 65536, 200, false, true};

/* The first byte says how it ends; then names and values, each behind a byte of length. */
static enum fail feed(struct h2_head *h, const uint8_t *p, size_t n)
{
	size_t at = 1;

	while (at < n) {
		struct span part[2];

		for (int i = 0; i < 2; i++) {
			size_t len = at < n ? p[at++] : 0;

			len = MIN_OF(len, n - MIN_OF(at, n));
			part[i] = span_make(p + MIN_OF(at, n), len);
			at += len;
		}
		(void)h2_head_field(h, part[0], part[1]);
	}
	return h2_head_end(h, n && (p[0] & 1));
}

static void read_back(const struct http_request *req)
{
	struct http_request again = {.method = METHOD_OTHER};
	struct h1_parser parser;
	struct arena a;
	struct buf out;
	size_t used;

	arena_init(&a, 1 << 20);
	buf_init(&out, 1 << 20);
	hdrs_init(&again.headers, &a);
	h1_write_request_line(&out, req->method_name, req->target);
	h1_write_fields(&out, &req->headers);
	h1_write_end(&out);
	BUG_ON(out.failed);
	h1_parser_init(&parser);
	BUG_ON(h1_parse_request(&parser, out.p, out.len, &wide, &again, &used) != H1_DONE);
	BUG_ON(used != out.len);
	BUG_ON(!span_eq(again.path, req->path) || !span_eq(again.query, req->query));
	BUG_ON(again.content_length != req->content_length || again.chunked);
	BUG_ON(again.upgrade != req->upgrade);
	BUG_ON(hdrs_find(&again.headers, HDR_TRANSFER_ENCODING));
	buf_fini(&out);
	arena_fini(&a);
}

static void try_request(const uint8_t *data, size_t size)
{
	struct http_request req = {.method = METHOD_OTHER};
	struct h2_head h;
	struct arena a;

	arena_init(&a, 1 << 20);
	hdrs_init(&req.headers, &a);
	h2_head_request(&h, &a, &limits, &req);
	if (feed(&h, data, size) == FAIL_OK)
		read_back(&req);
	arena_fini(&a);
}

static void try_response(const uint8_t *data, size_t size)
{
	struct http_response resp = {.status = 0};
	struct h2_fields f;
	struct h2_head h;
	struct arena a;

	arena_init(&a, 1 << 20);
	hdrs_init(&resp.headers, &a);
	h2_head_response(&h, &a, &limits, METHOD_GET, &resp);
	if (feed(&h, data, size) == FAIL_OK) {
		BUG_ON(resp.status < 100 || resp.status > 999);
		h2_fields_init(&f, &a, 4);
		h2_fields_add_hdrs(&f, &resp.headers);
		for (size_t i = 0; i < f.n; i++)
			BUG_ON(!http_is_field_value(span_make(f.v[i].value, f.v[i].valuelen)));
	}
	arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_request(data, size);
	try_response(data, size);
	return 0;
}
