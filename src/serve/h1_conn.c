/* The HTTP/1 codec on the client side: reads one request, lets it be served, and decides what
 * becomes of the connection. The sink writes answers. */
#include "base/mutant.h"
#include <errno.h>
#include <netinet/tcp.h>
#include "base/pool.h"
#include "http/date.h"
#include "http/h1_body.h"
#include "serve/conn.h"
#include "serve/h1_sink.h"
#include "serve/req_internal.h"

#define DISCARD_MAX                                                                                \
	(1024 * 1024) /* bytes of an unread body that are read away to keep the connection */

/* ---- the request body ---- */

/* Bytes of the stream up to the end of what was given. */
static uint64_t wire_at(const struct client_body *b)
{
	return b->h1.stream->received - inbuf_len(b->h1.in) + b->h1.held;
}

static MAY_SUSPEND enum fail client_body_next(struct body *body, struct piece *out)
{
	struct client_body *b = CONTAINER_OF(body, struct client_body, body);
	enum fail f;

	if (b->failed != FAIL_OK) /* an error page's handler may ask again */
		return b->failed;
	if (b->expect_continue && !body_ready(&b->h1.body)) {
		f = b->req->sink->interim(b->req, 100, NULL);
		if (f != FAIL_OK)
			return f;
	}
	b->expect_continue = false;
	b->h1.body.accept = body->accept & PIECE_MEM;
	f = body_next(&b->h1.body, out);
	b->req->body_received = b->h1.received;
	if (b->h1.framing == H1_BODY_CHUNKED)
		b->req->body_wire = (int64_t)(wire_at(b) - b->wire_start);
	if (f == FAIL_OK && out->last) {
		body->done = true;
		body->trailers = b->h1.body.trailers;
	}
	if (f == FAIL_CANCELLED && b->req->aborted)
		f = FAIL_CLIENT_CLOSED;
	if (f != FAIL_CANCELLED) /* a sender that was told to stop; another may go on */
		b->failed = f;
	return f;
}

static bool client_body_ready(struct body *body)
{
	return body_ready(&CONTAINER_OF(body, struct client_body, body)->h1.body);
}

static void client_body_close(struct body *body)
{
	/* What is unread stays on the connection: the codec discards it after the answer. */
}

static const struct body_ops client_body_ops = {
	.next = client_body_next,
	.ready = client_body_ready,
	.close = client_body_close,
};

static void client_body_start(struct h1_client *h, struct conn *c)
{
	struct req *r = &h->req;
	struct client_body *b = &h->body;
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	h1_body_init(&b->h1, &c->stream, &c->in, r->in.chunked, r->in.content_length, &r->arena);
	b->h1.client = true;
	b->h1.timeout_ms = (uint64_t)l->client_body_timeout;
	b->h1.on_timeout = FAIL_CLIENT_TIMEOUT_BODY;
	b->h1.on_end = FAIL_CLIENT_CLOSED;
	b->failed = FAIL_OK;
	b->wire_start = wire_at(b);
	b->body = (struct body){
		.ops = &client_body_ops, .length = b->h1.body.length, .accept = PIECE_MEM};
	b->req = r;
	b->expect_continue =
		(r->in.expect_continue || MUTANT(unasked_continue)) && r->in.version >= HTTP_11;
	r->body = &b->body;
	h->has_body = true;
}

void h1_body_limits(struct req *r)
{
	struct h1_client *h = CONTAINER_OF(r, struct h1_client, req);
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	if (!h->has_body)
		return;
	h->body.h1.max = l->client_max_body_size > 0 ? l->client_max_body_size : -1;
	h->body.h1.timeout_ms = (uint64_t)l->client_body_timeout;
}

/* ---- the head ---- */

struct head_reader {
	struct conn *c;
	struct h1_client *h;
	struct h1_parser parser;
	struct h1_limits limits;
	size_t start_size;
	uint64_t deadline;
};

static void head_limits(struct head_reader *hr)
{
	const struct core_srv *s = req_conf(&hr->h->req, &core_srv_mod);
	size_t line =
		(size_t)MAX_OF(s->large_client_header_buffers.size, s->client_header_buffer_size);

	hr->limits = (struct h1_limits){
		.line_max = line,
		.total_max = MIN_OF(line * (size_t)s->large_client_header_buffers.num, INBUF_MAX),
		.headers_max = (size_t)s->max_headers,
		.ignore_invalid_headers = s->ignore_invalid_headers,
		.underscores_in_headers = s->underscores_in_headers,
	};
	hr->start_size = (size_t)MAX_OF(s->client_header_buffer_size, 2048);
	hr->deadline = hr->c->head_until_ms ? hr->c->head_until_ms
					    : io_after((uint64_t)s->client_header_timeout);
	hr->c->head_until_ms = 0;
}

/* Makes room and reads more of the head. */
static MAY_SUSPEND enum fail head_fill(struct head_reader *hr)
{
	struct conn *c = hr->c;
	const char *from = NULL;
	size_t have = inbuf_len(&c->in), want = have < hr->start_size ? hr->start_size : have * 2;
	ssize_t n;

	if (c->in.cap - c->in.end < 256 || !c->in.p) {
		if (want > hr->limits.total_max + 1024)
			want = hr->limits.total_max + 1024;
		if (want <= have || !inbuf_reserve(&c->in, want, &from))
			return want <= have ? FAIL_HEADERS_TOO_LARGE : FAIL_NO_MEMORY;
		h1_rebase_request(&hr->h->req.in, from, c->in.p + c->in.start);
	}
	n = inbuf_read(&c->in, &c->stream, hr->deadline);
	if (n == 0)
		return FAIL_CLIENT_CLOSED;
	return n < 0 ? fail_of_client((int)n, FAIL_CLIENT_TIMEOUT_HEAD) : FAIL_OK;
}

static MAY_SUSPEND enum fail head_read(struct head_reader *hr)
{
	struct req *r = &hr->h->req;

	h1_parser_init(&hr->parser);
	for (;;) {
		size_t used = 0;
		int rc = H1_MORE;

		if (inbuf_len(&hr->c->in))
			rc = h1_parse_request(&hr->parser, hr->c->in.p + hr->c->in.start,
					      inbuf_len(&hr->c->in), &hr->limits, &r->in, &used);
		if (rc == H1_DONE) {
			hr->h->head_in = used;
			return FAIL_OK;
		}
		if (rc < 0)
			return (enum fail) - rc;
		enum fail f = head_fill(hr);

		if (f != FAIL_OK)
			return f;
	}
}

/* The first bytes of a head. An event may have brought none (a TLS record without data, say): then
 * nothing has begun, and no clock but that of the wait runs. > 0, 0 at the end, -EAGAIN, -errno. */
static ssize_t head_begin(struct head_reader *hr)
{
	struct conn *c = hr->c;

	if (inbuf_len(&c->in))
		return 1;
	return inbuf_reserve(&c->in, hr->start_size, NULL) ? inbuf_recv(&c->in, &c->stream)
							   : -ENOMEM;
}

/* The head's spans point into the input buffer. Where a body or a tunnel will use that buffer while
 * the request lives, they move to the arena as one block; otherwise nothing is read into it until
 * the answer is out, and they stay. */
static enum fail head_keep(struct head_reader *hr)
{
	struct req *r = &hr->h->req;
	const char *from = inbuf_span(&hr->c->in).p;

	if (r->in.chunked || r->in.content_length > 0 || r->in.upgrade ||
	    r->in.method == METHOD_CONNECT) {
		char *to = arena_copy(&r->arena, from, hr->h->head_in);

		if (!to)
			return FAIL_NO_MEMORY;
		h1_rebase_request(&r->in, from, to);
	}
	inbuf_take(&hr->c->in, hr->h->head_in);
	r->request_length = (int64_t)hr->h->head_in;
	if (hr->parser.ndropped)
		req_log(r, LOG_INFO, 0, "client sent invalid header line: \"%.*s\"",
			SPAN_ARG(hr->parser.dropped_name));
	return FAIL_OK;
}

/* What is known of a head that was refused is in the log: the line at least. */
static void head_known(struct head_reader *hr)
{
	struct req *r = &hr->h->req;
	struct span line = inbuf_span(&hr->c->in);

	if (r->in.line.n) {
		r->request_length = (int64_t)line.n;
		(void)req_set_uri(r);
		return;
	}
	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] == '\r' || line.p[i] == '\n')
			line.n = i;
	r->in.line = line;
}

/* ---- after the answer ---- */

static bool body_unread(const struct h1_client *h)
{
	return h->has_body && !h->body.h1.body.done;
}

/* The answer's end is the connection's: when it was cut only a reset tells. */
static bool answer_ends_with_conn(const struct h1_client *h)
{
	return h->req.head_sent && !h->no_body && !h->chunked && h->left < 0;
}

/* May the connection be kept? Reads away what is left of the body when that is little. */
static MAY_SUSPEND enum conn_next conn_after(struct h1_client *h, struct conn *c)
{
	struct req *r = &h->req;
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	if (r->tunnelled)
		return CONN_NEXT_TUNNEL;
	if (c->cancelled || r->aborted || r->broken)
		return (h->timed_out && l->reset_timedout_connection) ||
				       (r->broken && answer_ends_with_conn(h))
			       ? CONN_NEXT_RESET
			       : CONN_NEXT_CLOSE;
	if (r->dropped)
		return CONN_NEXT_CLOSE;
	/* Where a body that broke off ends, and the next request begins, nobody knows. */
	if (h->has_body && h->body.failed != FAIL_OK && h->body.failed != FAIL_BODY_TOO_LARGE)
		r->keep_alive = false;
	conn_linger_times(c, l);
	if (r->keep_alive && body_unread(h)) {
		h->body.h1.max = -1;
		h->body.h1.timeout_ms = (uint64_t)l->lingering_timeout;
		h->body.h1.until_ms = c->linger_until;
		enum fail f = body_drain(&h->body.h1.body, DISCARD_MAX);

		/* Closing while more comes in would reset the connection under the answer. */
		if (f == FAIL_BODY_TOO_LARGE && l->lingering_close != LINGER_OFF)
			return CONN_NEXT_LINGER;
		if (f != FAIL_OK)
			return CONN_NEXT_CLOSE;
	}
	if (h->has_body)
		body_close(&h->body.h1.body);
	if (r->keep_alive) {
		c->keepalive_ms = (uint32_t)MIN_OF(l->keepalive_timeout, UINT32_MAX);
		c->keepalive_min_ms = (uint32_t)MIN_OF(l->keepalive_min_timeout, UINT32_MAX);
		return CONN_NEXT_REQUEST;
	}
	if (l->lingering_close == LINGER_ALWAYS ||
	    (l->lingering_close == LINGER_ON &&
	     (body_unread(h) || inbuf_len(&c->in) || stream_readable(&c->stream))))
		return CONN_NEXT_LINGER;
	return CONN_NEXT_CLOSE;
}

/* keepalive_disable: old browsers that mistake what comes next on the connection. */
static bool browser_disabled(const struct req *r, const struct core_loc *l)
{
	struct span ua = hdrs_value(&r->in.headers, HDR_USER_AGENT);
	ssize_t at;

	if (!l->keepalive_disable || !ua.n)
		return false;
	at = span_find(ua, SPAN("MSIE "));
	if (at >= 0 && (l->keepalive_disable & 1) && r->in.method == METHOD_POST) {
		struct span v = span_cut(ua, (size_t)at + 5, (size_t)at + 7);

		return v.n == 2 && v.p[1] == '.' && v.p[0] >= '1' && v.p[0] <= '6';
	}
	return (l->keepalive_disable & 2) && span_find(ua, SPAN("Safari/")) >= 0 &&
	       span_find(ua, SPAN("Mac OS X")) >= 0 && span_find(ua, SPAN("Chrome/")) < 0;
}

bool h1_may_keep(const struct req *r)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	const struct conn *c = r->conn;

	return l->keepalive_timeout > 0 && !conns_draining() && !browser_disabled(r, l) &&
	       c->requests < l->keepalive_requests &&
	       io_now_ms() - c->opened_ms < (uint64_t)l->keepalive_time;
}

static MAY_SUSPEND void h1_serve(struct h1_client *h, struct conn *c, enum fail f)
{
	struct req *r = &h->req;

	if (f == FAIL_OK) {
		enum fail uri;

		f = req_set_server(r);
		uri = req_set_uri(r); /* known even when the host is bad: for the logs */
		f = f == FAIL_OK ? uri : f;
	}
	if (f == FAIL_OK && c->greeted && r->port->ssl && !c->tls)
		f = FAIL_HTTP_TO_HTTPS;
	if (f != FAIL_OK) {
		r->keep_alive = false;
		req_serve_error(r, f);
		return;
	}
	r->keep_alive = r->in.keep_alive;
	if (r->in.chunked || r->in.content_length > 0)
		client_body_start(h, c);
	req_serve(r);
}

static struct h1_client *h1_client_new(struct conn *c, struct http_port *port)
{
	struct req *r = req_new(c, port);
	struct h1_client *h;

	if (!r)
		return NULL;
	h = CONTAINER_OF(r, struct h1_client, req);
	memset((char *)h + sizeof(struct req), 0,
	       offsetof(struct h1_client, body) - sizeof(struct req));
	r->sink = &h1_sink;
	return h;
}

MAY_SUSPEND enum conn_next h1_conn_request(struct conn *c)
{
	struct http_port *port = conn_port(c);
	struct head_reader hr = {.c = c};
	enum conn_next next;
	struct h1_client *h;
	ssize_t n;
	enum fail f;

	h = port ? h1_client_new(c, port) : NULL;
	if (!h)
		return CONN_NEXT_CLOSE;
	hr.h = h;
	head_limits(&hr);
	n = head_begin(&hr);
	if (n <= 0) {
		req_free(&h->req);
		return n == -EAGAIN ? CONN_NEXT_REQUEST : CONN_NEXT_CLOSE;
	}
	COUNT_UP(conn_counters()->reading);
	f = head_read(&hr);
	COUNT_DOWN(conn_counters()->reading);
	/* Nothing of a head was there: an ordinary end of the connection, not a request. */
	if (f != FAIL_OK && inbuf_len(&c->in) == 0) {
		req_free(&h->req);
		return CONN_NEXT_CLOSE;
	}
	c->requests++;
	c->req = &h->req;
	h->req.conn_request = c->requests;
	h->req.pipelined = c->pipelined;
	COUNT_UP(conn_counters()->requests);
	COUNT_UP(conn_counters()->writing);
	if (f == FAIL_OK)
		f = head_keep(&hr);
	else
		head_known(&hr);
	if (f == FAIL_CLIENT_CLOSED || f == FAIL_CLIENT_RESET || f == FAIL_CLIENT_TIMEOUT_HEAD ||
	    f == FAIL_CANCELLED) {
		const struct core_loc *l = req_conf(&h->req, &core_loc_mod);

		h->req.status = req_fail(&h->req, f);
		if (f == FAIL_CLIENT_CLOSED || f == FAIL_CLIENT_RESET)
			h->req.status = 400; /* 499 is of requests, and this is none */
		req_log_phase(&h->req);
		next = f == FAIL_CLIENT_TIMEOUT_HEAD && l->reset_timedout_connection
			       ? CONN_NEXT_RESET
			       : CONN_NEXT_CLOSE;
	} else {
		h1_serve(h, c, f);
		next = conn_after(h, c);
	}
	COUNT_DOWN(conn_counters()->writing);
	if (next != CONN_NEXT_TUNNEL) /* a tunnel frees its request when it ends */
		req_free(&h->req);
	return next;
}
