/* The same for response heads and trailer sections. */
#include "base/bug.h"
#include "http/h1_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_pieces(struct check *whole, const char *text, size_t n)
{
	size_t cuts[] = {0, n / 2, n > 1 ? n - 1 : 0, n % 61};

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct check parts;

		check_init(&parts, whole->kind);
		parts.method = whole->method;
		parts.lim = whole->lim;
		check_parse(&parts, text, n, cuts[i], i == 0);
		BUG_ON(!span_eq(buf_span(&whole->text), buf_span(&parts.text)));
		check_fini(&parts);
	}
}

static void check_written(struct check *c)
{
	const struct http_response *r = &c->resp, *again;
	struct check second;
	struct buf out;
	size_t k = 0;

	buf_init(&out, 1 << 20);
	h1_write_status_line(&out, r->status, r->reason);
	if (r->version == HTTP_10)
		out.p[7] = '0';
	h1_write_fields(&out, &r->headers);
	h1_write_end(&out);
	check_init(&second, CHECK_RESPONSE);
	second.method = c->method;
	second.lim = (struct h1_limits){1 << 20, 1 << 20, 1000, false, true};
	check_parse(&second, out.p, out.len, out.len, 0);
	again = &second.resp;
	BUG_ON(second.rc != H1_DONE || second.used != out.len);
	BUG_ON(again->status != r->status || again->version != r->version);
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

static void run(enum check_kind kind, enum http_method method, const char *text, size_t n)
{
	struct check whole;

	check_init(&whole, kind);
	whole.method = method;
	if (n % 3 == 1)
		whole.lim = (struct h1_limits){64, 256, 8, true, true};
	check_parse(&whole, text, n, n, 0);
	check_pieces(&whole, text, n);
	if (whole.rc == H1_DONE) {
		hdrs_each (hd, check_headers(&whole))
			BUG_ON(!http_is_token(hd->name) || !http_is_field_value(hd->value));
		if (kind == CHECK_RESPONSE)
			check_written(&whole);
	}
	check_fini(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 2048)
		return 0;
	run(CHECK_RESPONSE, size & 1 ? METHOD_GET : METHOD_HEAD, (const char *)data, size);
	run(CHECK_TRAILERS, METHOD_GET, (const char *)data, size);
	return 0;
}
