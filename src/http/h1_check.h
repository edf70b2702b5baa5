/* For tests and fuzz targets only: parses a head in pieces, each call on a fresh block of the exact
 * size, so that a read too far and a span that did not move are seen by ASan; and prints what was
 * parsed, so that two parses can be compared as text. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include "base/buf.h"
#include "http/h1.h"

enum check_kind { CHECK_REQUEST, CHECK_RESPONSE, CHECK_TRAILERS };

struct check {
	enum check_kind kind;
	enum http_method method; /* of the request that a response answers */
	struct h1_limits lim;
	struct arena arena;
	struct h1_parser parser;
	struct http_request req;
	struct http_response resp;
	struct hdrs trailers;
	char *block; /* the spans point here */
	size_t used;
	int rc;
	struct buf text; /* what was parsed */
};

static inline struct hdrs *check_headers(struct check *c)
{
	return c->kind == CHECK_REQUEST	   ? &c->req.headers
	       : c->kind == CHECK_RESPONSE ? &c->resp.headers
					   : &c->trailers;
}

static inline void check_init(struct check *c, enum check_kind kind)
{
	*c = (struct check){
		.kind = kind, .method = METHOD_GET, .lim = {8192, 32768, 100, true, false}};
	arena_init(&c->arena, 4 << 20);
	buf_init(&c->text, 8 << 20);
	h1_parser_init(&c->parser);
	hdrs_init(check_headers(c), &c->arena);
}

static inline void check_fini(struct check *c)
{
	arena_fini(&c->arena);
	buf_fini(&c->text);
	free(c->block);
}

/* One call with the first n bytes of text. */
static inline int check_step(struct check *c, const char *text, size_t n)
{
	char *block = malloc(n ? n : 1);

	if (n)
		memcpy(block, text, n);
	if (c->block) {
		h1_rebase_request(&c->req, c->block, block);
		h1_rebase_response(&c->resp, c->block, block);
		h1_rebase_fields(&c->trailers, c->block, block);
	}
	free(c->block);
	c->block = block;
	if (c->kind == CHECK_REQUEST)
		c->rc = h1_parse_request(&c->parser, block, n, &c->lim, &c->req, &c->used);
	else if (c->kind == CHECK_RESPONSE)
		c->rc = h1_parse_response(&c->parser, block, n, &c->lim, c->method, &c->resp,
					  &c->used);
	else
		c->rc = h1_parse_trailers(&c->parser, block, n, &c->lim, &c->trailers, &c->used);
	return c->rc;
}

static inline void check_print_request(struct check *c)
{
	const struct http_request *r = &c->req;

	buf_printf(&c->text,
		   "%d %d <%.*s> line<%.*s> target<%.*s> scheme<%.*s> auth<%.*s> path<%.*s> "
		   "query%d<%.*s> cl=%lld ch=%d ka=%d ex=%d up=%d size=%u host=%u:%d\n",
		   (int)r->method, (int)r->version, SPAN_ARG(r->method_name), SPAN_ARG(r->line),
		   SPAN_ARG(r->target), SPAN_ARG(r->scheme), SPAN_ARG(r->authority),
		   SPAN_ARG(r->path), r->has_query, SPAN_ARG(r->query),
		   (long long)r->content_length, r->chunked, r->keep_alive, r->expect_continue,
		   r->upgrade, r->head_size, r->host_n, r->host_port);
}

static inline void check_print(struct check *c)
{
	buf_clear(&c->text);
	buf_printf(&c->text, "rc=%d ", c->rc);
	if (c->rc != H1_DONE)
		return;
	buf_printf(&c->text, "used=%zu dropped=%u\n", c->used, c->parser.ndropped);
	if (c->kind == CHECK_REQUEST)
		check_print_request(c);
	if (c->kind == CHECK_RESPONSE)
		buf_printf(&c->text, "%d %d <%.*s> cl=%lld ch=%d ka=%d up=%d size=%u\n",
			   (int)c->resp.version, c->resp.status, SPAN_ARG(c->resp.reason),
			   (long long)c->resp.content_length, c->resp.chunked, c->resp.keep_alive,
			   c->resp.upgrade, c->resp.head_size);
	hdrs_each (hd, check_headers(c))
		buf_printf(&c->text, "%u %.*s:<%.*s>\n", hd->id, SPAN_ARG(hd->name),
			   SPAN_ARG(hd->value));
}

/* The whole of text after pieces that end at cut, cut + step, ... (step 0: one cut only). */
static inline void check_parse(struct check *c, const char *text, size_t n, size_t cut, size_t step)
{
	int rc = H1_MORE;

	for (size_t at = cut; at < n && rc == H1_MORE; at = step ? at + step : n)
		rc = check_step(c, text, at);
	if (rc == H1_MORE)
		check_step(c, text, n);
	check_print(c);
}
