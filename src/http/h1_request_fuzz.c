/* A request head parses the same whole, byte by byte and cut in two; what was parsed, written out
 * again, parses to the same; nothing that was let through could split a head. */
#include "base/bug.h"
#include "http/h1_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool texts_eq(const struct check *a, const struct check *b)
{
	return span_eq(buf_span(&a->text), buf_span(&b->text));
}

static void check_pieces(struct check *whole, const char *text, size_t n)
{
	size_t cuts[] = {0, n / 2, n > 1 ? n - 1 : 0, n % 61};

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct check parts;

		check_init(&parts, CHECK_REQUEST);
		parts.lim = whole->lim;
		check_parse(&parts, text, n, cuts[i], i == 0);
		BUG_ON(!texts_eq(whole, &parts));
		check_fini(&parts);
	}
}

static void check_fields_are_clean(const struct check *c)
{
	const struct http_request *r = &c->req;
	unsigned hosts = 0;

	hdrs_each (hd, &r->headers) {
		BUG_ON(!http_is_token(hd->name) || !http_is_field_value(hd->value));
		BUG_ON(hd->id != hdr_id_of(hd->name));
		hosts += hd->id == HDR_HOST;
	}
	BUG_ON(hosts > 1 || (hosts == 0 && r->version >= HTTP_11));
	BUG_ON(r->chunked && r->content_length >= 0);
	BUG_ON(r->method != METHOD_CONNECT && r->path.n == 0);
	BUG_ON(c->used != r->head_size);
}

/* What goes upstream, read by the same parser, says the same. */
static void check_written(struct check *c)
{
	const struct http_request *r = &c->req, *again;
	struct check second;
	struct buf out;
	size_t k = 0;

	buf_init(&out, 1 << 20);
	h1_write_request_line(&out, r->method_name, r->target);
	if (r->version == HTTP_10)
		out.p[out.len - 3] = '0';
	h1_write_fields(&out, &r->headers);
	h1_write_end(&out);
	check_init(&second, CHECK_REQUEST);
	second.lim =
		(struct h1_limits){1 << 20, 1 << 20, 1000, false, c->lim.underscores_in_headers};
	check_parse(&second, out.p, out.len, out.len, 0);
	again = &second.req;
	BUG_ON(second.rc != H1_DONE || second.used != out.len || second.parser.ndropped);
	BUG_ON(again->method != r->method || again->version != r->version);
	BUG_ON(!span_eq(again->target, r->target) || !span_eq(again->path, r->path));
	BUG_ON(again->content_length != r->content_length || again->chunked != r->chunked);
	BUG_ON(again->keep_alive != r->keep_alive || again->upgrade != r->upgrade);
	BUG_ON(again->headers.n != r->headers.n);
	hdrs_each (hd, &r->headers) {
		BUG_ON(!span_eq(hd->name, again->headers.v[k].name));
		BUG_ON(!span_eq(hd->value, again->headers.v[k++].value));
	}
	check_fini(&second);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct check whole;

	if (size > 2048)
		return 0;
	check_init(&whole, CHECK_REQUEST);
	if (size % 3 == 1)
		whole.lim = (struct h1_limits){64, 256, 8, true, true};
	if (size % 3 == 2)
		whole.lim.ignore_invalid_headers = false;
	check_parse(&whole, (const char *)data, size, size, 0);
	check_pieces(&whole, (const char *)data, size);
	if (whole.rc == H1_DONE) {
		check_fields_are_clean(&whole);
		check_written(&whole);
	}
	check_fini(&whole);
	return 0;
}
