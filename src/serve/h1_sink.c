#include "base/mutant.h"
#include "serve/h1_sink.h"
#include <errno.h>
#include "base/pool.h"
#include "http/date.h"
#include "serve/conn.h"
#include "serve/req_internal.h"
#include "serve/tunnel.h"

#define STALL_PATIENCE_MS 50 /* a client may keep its upstream waiting this long in all */
#define H1_BESIDE                                                                                  \
	2048 /* a body this short is copied behind the head: one buffer is cheaper to send than    \
		several */
#define SMALL_FILE (16 * 1024) /* copied behind the head: one system call and one packet less */

static struct h1_client *h1_of(struct req *r)
{
	return CONTAINER_OF(r, struct h1_client, req);
}

/* ---- writing ---- */

struct h1_send {
	struct h1_client *h;
	struct iovec *iov;
	int n;
	int data_at; /* which iov holds the piece's bytes; -1: none */
	bool more;   /* n is 1, and a file follows */
	struct piece *piece;
};

static enum fail h1_write_error(struct h1_client *h, int err)
{
	h->req.broken = true;
	h->timed_out = err == -ETIMEDOUT;
	if (err == -ECANCELED && h->req.aborted)
		return FAIL_CLIENT_CLOSED;
	return fail_of_client(err, FAIL_CLIENT_TIMEOUT_SEND);
}

/* The client is slow: waits for room, and past the patience lets the body go on in the background.
 * Returns 0 or -errno. */
static MAY_SUSPEND int h1_wait_room(struct h1_send *s, uint64_t deadline)
{
	struct h1_client *h = s->h;
	struct body *b = h->req.resp.body;
	struct iofd *f = &h->req.conn->stream.io;
	uint64_t began = io_now_ms(), until;
	int rc;

	if (!b || !b->ops->stalled)
		return MIN_OF(iofd_wait(f, IO_W, deadline), 0);
	if (h->stall_ms <= STALL_PATIENCE_MS) {
		until = began + STALL_PATIENCE_MS - h->stall_ms + 1;
		rc = iofd_wait(f, IO_W, MIN_OF(until, deadline));
		h->stall_ms += (uint32_t)MIN_OF(io_now_ms() - began, 1000000);
		if (rc != -ETIMEDOUT)
			return MIN_OF(rc, 0);
		h->stall_ms = STALL_PATIENCE_MS + 1;
	}
	/* A body that works in the background already does nothing here. */
	if (s->piece && s->data_at >= 0) {
		s->piece->mem = span_make(s->iov[s->data_at].iov_base, s->iov[s->data_at].iov_len);
		body_stalled(b, s->piece);
		s->iov[s->data_at] = (struct iovec){(void *)s->piece->mem.p, s->piece->mem.n};
	} else if (s->piece) {
		body_stalled(b, s->piece);
		if (s->piece->kind != PIECE_PIPE)
			return 0;
	}
	return MIN_OF(iofd_wait(f, IO_W, deadline), 0);
}

static void iov_advance(struct iovec *iov, int n, size_t done)
{
	for (int i = 0; i < n && done; i++) {
		size_t k = MIN_OF(done, iov[i].iov_len);

		if (!k)
			continue;
		iov[i].iov_base = (char *)iov[i].iov_base + k;
		iov[i].iov_len -= k;
		done -= k;
	}
}

static size_t iov_total(const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

static uint64_t h1_send_deadline(struct h1_client *h)
{
	const struct core_loc *l = req_conf(&h->req, &core_loc_mod);

	return io_after((uint64_t)l->send_timeout);
}

static MAY_SUSPEND enum fail h1_send_bytes(struct h1_send *s)
{
	struct stream *st = &s->h->req.conn->stream;
	uint64_t deadline = 0;

	while (iov_total(s->iov, s->n)) {
		ssize_t k = s->more ? stream_try_send_more(st, s->iov->iov_base, s->iov->iov_len)
				    : stream_try_writev(st, s->iov, s->n);
		int rc;

		if (k > 0) {
			iov_advance(s->iov, s->n, (size_t)k + MUTANT(dropped_byte));
			s->h->req.bytes_sent += (uint64_t)k;
			deadline = 0;
			continue;
		}
		if (k != -EAGAIN && k != 0)
			return h1_write_error(s->h, (int)k);
		if (!deadline)
			deadline = h1_send_deadline(s->h);
		rc = h1_wait_room(s, deadline);
		if (rc < 0)
			return h1_write_error(s->h, rc);
		if (io_now_ms() >= deadline)
			return h1_write_error(s->h, -ETIMEDOUT);
	}
	return FAIL_OK;
}

/* 100 (Continue) is sent by the task that reads the body, while the answer, or a 103, may already
 * be on its way: one after the other. */
static MAY_SUSPEND enum fail h1_wait_turn(struct h1_client *h)
{
	while (h->interim) {
		int rc = co_waitq_wait(&h->interim_done, CO_NEVER);

		if (rc < 0)
			return h1_write_error(h, rc);
	}
	return h->torn ? h1_write_error(h, -ECONNRESET) : FAIL_OK;
}

static MAY_SUSPEND enum fail h1_send_all(struct h1_send *s)
{
	enum fail f = h1_wait_turn(s->h);

	return f == FAIL_OK ? h1_send_bytes(s) : f;
}

static MAY_SUSPEND enum fail h1_send_interim(struct h1_client *h, struct span text)
{
	struct iovec iov = {(void *)text.p, text.n};
	struct h1_send s = {.h = h, .iov = &iov, .n = 1, .data_at = -1};
	enum fail f = h1_wait_turn(h);

	if (f != FAIL_OK || h->req.head_sent)
		return f;
	h->interim = true;
	co_waitq_init(&h->interim_done);
	f = h1_send_bytes(&s);
	h->req.header_bytes += text.n;
	h->interim = false;
	h->torn = f != FAIL_OK;
	co_waitq_wake_all(&h->interim_done, 0);
	return f;
}

/* ---- the head ---- */

static char *add(char *p, struct span s)
{
	if (s.n)
		memcpy(p, s.p, s.n);
	return p + s.n;
}

static char *add_field(char *p, struct span name, struct span value)
{
	p = add(p, name);
	*p++ = ':';
	*p++ = ' ';
	p = add(p, value);
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

static char *add_number(char *p, uint64_t v)
{
	char tmp[20];
	size_t n = 0;

	do {
		tmp[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	while (n)
		*p++ = tmp[--n];
	return p;
}

static char *add_status(char *p, const struct resp *resp)
{
	struct span reason = resp->reason.n ? resp->reason : http_reason(resp->status);

	p = add(p, SPAN("HTTP/1.1 "));
	*p++ = (char)('0' + resp->status / 100 % 10);
	*p++ = (char)('0' + resp->status / 10 % 10);
	*p++ = (char)('0' + resp->status % 10);
	*p++ = ' ';
	p = add(p, reason);
	return add(p, SPAN("\r\n"));
}

static char *add_connection(char *p, struct h1_client *h, const struct resp *resp,
			    const struct core_loc *l)
{
	if (resp->status == 101)
		return add(p, SPAN("Connection: upgrade\r\n"));
	if (resp->tunnel) /* CONNECT: the connection is the tunnel now */
		return p;
	if (!h->req.keep_alive)
		return add(p, SPAN("Connection: close\r\n"));
	p = add(p, SPAN("Connection: keep-alive\r\n"));
	if (l->keepalive_header_s > 0) {
		p = add(p, SPAN("Keep-Alive: timeout="));
		p = add_number(p, (uint64_t)l->keepalive_header_s);
		p = add(p, SPAN("\r\n"));
	}
	return p;
}

static size_t head_room(const struct resp *resp)
{
	size_t n = 512 + resp->reason.n + resp->content_type.n + resp->charset.n +
		   resp->location.n + resp->server.n + resp->date.n;

	hdrs_each (hd, &resp->headers)
		n += hd->name.n + hd->value.n + 4;
	return n;
}

static char *add_standard(char *p, const struct resp *resp, const struct core_loc *l)
{
	p = add_field(p, SPAN("Server"), resp->server.n ? resp->server : server_token(l));
	p = add_field(p, SPAN("Date"), resp->date.n ? resp->date : io_time_http());
	if (resp->content_type.n) {
		p = add(p, SPAN("Content-Type: "));
		p = add(p, resp->content_type);
		if (resp->charset.n) {
			p = add(p, SPAN("; charset="));
			p = add(p, resp->charset);
		}
		p = add(p, SPAN("\r\n"));
	}
	if (resp->content_length >= 0) {
		p = add(p, SPAN("Content-Length: "));
		p = add_number(p, (uint64_t)resp->content_length);
		p = add(p, SPAN("\r\n"));
	}
	if (resp->last_modified >= 0) {
		p = add(p, SPAN("Last-Modified: "));
		http_date_format(resp->last_modified, p);
		p = add(p + HTTP_DATE_LEN, SPAN("\r\n"));
	}
	if (resp->location.p)
		p = add_field(p, SPAN("Location"), resp->location);
	return p;
}

/* Only chunks can have some. */
static bool h1_trailers(struct req *r)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	return req_is_11(r) && l->chunked_transfer_encoding;
}

/* Decides the framing: RFC 9112 6. */
static void head_framing(struct h1_client *h, struct resp *resp, bool has_body,
			 const struct core_loc *l)
{
	struct req *r = &h->req;

	h->no_body = !http_response_has_body(r->in.method, resp->status);
	h->chunked = false;
	if (resp->status == 204 || resp->status == 101)
		resp->content_length = -1;
	if (!has_body && !h->no_body && resp->content_length < 0)
		resp->content_length = 0;
	if (has_body && !h->no_body && resp->adds_trailers) /* which only chunks can have */
		resp->content_length = -1;
	if (!h->no_body && resp->content_length < 0) {
		if (h1_trailers(r))
			h->chunked = true;
		else
			r->keep_alive = false;
	}
	h->left = h->no_body || h->chunked ? -1 : resp->content_length;
	r->keep_alive = r->keep_alive && h1_may_keep(r);
	/* Whether a client that was never told to go on will send its body cannot be known. */
	if (h->has_body && h->body.expect_continue)
		r->keep_alive = false;
}

static enum fail h1_head(struct req *r, struct resp *resp, bool has_body)
{
	struct h1_client *h = h1_of(r);
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	size_t room = head_room(resp) + H1_BESIDE;
	char *p;

	if (unlikely(l->tcp_nodelay == r->conn->nagle)) {
		r->conn->nagle = !l->tcp_nodelay;
		stream_set_nodelay(&r->conn->stream, l->tcp_nodelay);
	}
	head_framing(h, resp, has_body, l);
	h->out = p = arena_alloc(&r->arena, room);
	if (!p)
		return FAIL_NO_MEMORY;
	p = add_status(p, resp);
	p = add_standard(p, resp, l);
	if (h->chunked)
		p = add(p, SPAN("Transfer-Encoding: chunked\r\n"));
	p = add_connection(p, h, resp, l);
	hdrs_each (hd, &resp->headers)
		p = add_field(p, hd->name, hd->value);
	p = add(p, SPAN("\r\n"));
	h->out_len = (size_t)(p - h->out);
	h->out_cap = room;
	BUG_ON(h->out_len > room);
	r->header_bytes += h->out_len; /* besides 100 (Continue) */
	return FAIL_OK;
}

/* ---- pieces ---- */

/* Sends what is in line and then one span of data (may be empty). */
static MAY_SUSPEND enum fail h1_push(struct h1_client *h, struct span before, struct piece *pc,
				     struct span after)
{
	struct iovec iov[4] = {
		{h->out, h->out_len},
		{(void *)before.p, before.n},
		{pc ? (void *)pc->mem.p : NULL, pc ? pc->mem.n : 0},
		{(void *)after.p, after.n},
	};
	struct h1_send s = {.h = h, .iov = iov, .n = 4, .data_at = pc ? 2 : -1, .piece = pc};

	/* For a slow client the piece stays in hand, so that its body can be told to go on without
	 * us. */
	if (pc && h->stall_ms <= STALL_PATIENCE_MS &&
	    before.n + pc->mem.n + after.n <= h->out_cap - h->out_len) {
		char *p = add(add(add(h->out + h->out_len, before), pc->mem), after);

		iov[0].iov_len = (size_t)(p - h->out);
		s = (struct h1_send){.h = h, .iov = iov, .n = 1, .data_at = -1};
	}
	h->out_len = 0;
	return h1_send_all(&s);
}

static enum fail h1_flush(struct req *r)
{
	struct h1_client *h = h1_of(r);

	return h->out_len ? h1_push(h, SPAN(""), NULL, SPAN("")) : FAIL_OK;
}

/* "0\r\n" trailers "\r\n", in the arena. */
static struct span chunked_end(struct req *r)
{
	const struct hdrs *sets[2] = {&r->resp.trailers,
				      r->resp.body ? r->resp.body->trailers : NULL};
	size_t n = 5;
	char *p, *at;

	for (int i = 0; i < 2; i++)
		if (sets[i])
			hdrs_each (hd, sets[i])
				n += hd->name.n + hd->value.n + 4;
	if (n == 5)
		return SPAN("0\r\n\r\n");
	p = at = arena_alloc(&r->arena, n);
	if (!p)
		return (struct span){0};
	at = add(at, SPAN("0\r\n"));
	for (int i = 0; i < 2; i++)
		if (sets[i])
			hdrs_each (hd, sets[i])
				at = add_field(at, hd->name, hd->value);
	at = add(at, SPAN("\r\n"));
	return span_make(p, (size_t)(at - p));
}

static bool gather_room(struct h1_client *h, size_t n)
{
	if (h->out_len + n <= h->out_cap)
		return true;
	if (h->out_len + n > H1_GATHER + 4096)
		return false;
	char *p = arena_alloc(&h->req.arena, H1_GATHER + 4096);

	if (!p)
		return false;
	memcpy(p, h->out, h->out_len);
	h->out = p;
	h->out_cap = H1_GATHER + 4096;
	return true;
}

/* A small piece that need not leave now is put in line. */
static bool h1_gather(struct h1_client *h, const struct piece *pc, struct span before,
		      struct span after)
{
	if (pc->flush || pc->last || pc->mem.n > H1_GATHER / 4 ||
	    !gather_room(h, before.n + pc->mem.n + after.n))
		return false;
	char *p = h->out + h->out_len;

	p = add(p, before);
	p = add(p, pc->mem);
	p = add(p, after);
	h->out_len = (size_t)(p - h->out);
	return true;
}

static MAY_SUSPEND enum fail h1_data_mem(struct h1_client *h, struct piece *pc)
{
	char size[24];
	struct span before = SPAN(""), after = SPAN("");

	if (h->chunked && pc->mem.n) {
		before = span_make(size, chunked_head(size, pc->mem.n));
		after = SPAN("\r\n");
	}
	if (h1_gather(h, pc, before, after))
		return FAIL_OK;
	if (h->chunked && pc->last) {
		struct span end = chunked_end(&h->req);

		if (!end.n)
			return FAIL_NO_MEMORY;
		if (after.n) {
			char *p = arena_alloc(&h->req.arena, 2 + end.n);

			if (!p)
				return FAIL_NO_MEMORY;
			memcpy(p, "\r\n", 2);
			memcpy(p + 2, end.p, end.n);
			end = span_make(p, end.n + 2);
		}
		after = end;
	}
	return h1_push(h, before, pc, after);
}

/* A short file is cheaper as memory: it leaves with the head. */
static MAY_SUSPEND enum fail h1_small_file(struct h1_client *h, const struct piece *pc)
{
	char *p = h->small ? h->small : arena_alloc(&h->req.arena, SMALL_FILE);
	struct piece mem = {.kind = PIECE_MEM, .last = pc->last, .flush = pc->flush};
	size_t at = 0;

	if (!p)
		return FAIL_NO_MEMORY;
	h->small = p; /* h1_data_mem sends it or copies it */
	while (at < pc->len) {
		ssize_t n = sys->pread(pc->fd, p + at, pc->len - at, pc->off + (off_t)at);

		if (n <= 0)
			return FAIL_FILE_ERROR;
		at += (size_t)n;
	}
	mem.mem = span_make(p, pc->len);
	return h1_data_mem(h, &mem);
}

static MAY_SUSPEND enum fail h1_chunk_open(struct h1_client *h, size_t n)
{
	char size[24];
	struct span before = span_make(size, chunked_head(size, n));

	return h->chunked ? h1_push(h, before, NULL, SPAN("")) : h1_flush(&h->req);
}

static MAY_SUSPEND enum fail h1_chunk_end(struct h1_client *h, bool last)
{
	struct span end;

	if (!h->chunked)
		return FAIL_OK;
	if (!last)
		return h1_push(h, SPAN("\r\n"), NULL, SPAN(""));
	end = chunked_end(&h->req);
	return end.n ? h1_push(h, SPAN("\r\n"), NULL, end) : FAIL_NO_MEMORY;
}

/* tcp_nopush: the head and the beginning of the file in one packet. */
static MAY_SUSPEND enum fail h1_before_file(struct h1_client *h, size_t n, bool nopush)
{
	struct iovec iov = {h->out, h->out_len};
	struct h1_send s = {.h = h, .iov = &iov, .n = 1, .data_at = -1, .more = true};

	if (h->chunked || !nopush)
		return h1_chunk_open(h, n);
	h->out_len = 0;
	return h1_send_all(&s);
}

static MAY_SUSPEND enum fail h1_data_file(struct h1_client *h, const struct piece *pc)
{
	const struct core_loc *l = req_conf(&h->req, &core_loc_mod);
	struct stream *st = &h->req.conn->stream;
	off_t off = pc->off;
	enum fail f;
	int rc;

	if (pc->len <= SMALL_FILE)
		return h1_small_file(h, pc);
	f = h1_before_file(h, pc->len, l->tcp_nopush);
	if (f != FAIL_OK)
		return f;
	rc = stream_sendfile(st, pc->fd, &off, pc->len, (size_t)l->sendfile_max_chunk,
			     (uint64_t)l->send_timeout);
	h->req.bytes_sent += (uint64_t)(off - pc->off);
	if (rc < 0)
		return h1_write_error(h, rc);
	return h1_chunk_end(h, pc->last);
}

static MAY_SUSPEND enum fail h1_data_pipe(struct h1_client *h, struct piece *pc)
{
	struct iofd *f = &h->req.conn->stream.io;
	struct h1_send s = {.h = h, .data_at = -1, .piece = pc};
	uint64_t deadline = h1_send_deadline(h);
	enum fail fl = h1_chunk_open(h, pc->len);

	while (fl == FAIL_OK && pc->kind == PIECE_PIPE && pc->len) {
		ssize_t n = iofd_splice_out(f, pc->fd, pc->len);
		int rc;

		if (n > 0) {
			pc->len -= (size_t)n;
			h->req.bytes_sent += (uint64_t)n;
			deadline = h1_send_deadline(h);
			continue;
		}
		if (n != -EAGAIN)
			return h1_write_error(h, n ? (int)n : -EPIPE);
		rc = h1_wait_room(&s, deadline);
		if (rc < 0 || io_now_ms() >= deadline)
			return h1_write_error(h, rc < 0 ? rc : -ETIMEDOUT);
	}
	if (fl != FAIL_OK)
		return fl;
	if (pc->kind == PIECE_MEM) { /* the body rescued the rest */
		struct span rest = pc->mem;
		struct piece mem = {.kind = PIECE_MEM, .mem = rest, .flush = true};
		bool chunked = h->chunked;

		h->chunked = false;
		fl = h1_data_mem(h, &mem);
		h->chunked = chunked;
		if (fl != FAIL_OK)
			return fl;
	}
	return h1_chunk_end(h, pc->last);
}

static MAY_SUSPEND enum fail h1_data(struct req *r, const struct piece *given)
{
	struct h1_client *h = h1_of(r);
	struct piece pc = *given;

	if (h->no_body)
		return pc.last ? h1_flush(r) : FAIL_OK;
	if (h->left >= 0) {
		size_t n = piece_len(&pc);

		if (n > (uint64_t)h->left) { /* never more than was announced */
			h->req.broken = true;
			return FAIL_INTERNAL;
		}
		h->left -= (int64_t)n;
		if (pc.last && h->left > 0)
			h->req.broken = true; /* cut: the client must see that it is not whole */
	}
	switch (pc.kind) {
	case PIECE_FILE:
		return h1_data_file(h, &pc);
	case PIECE_PIPE:
		return h1_data_pipe(h, &pc);
	default:
		return h1_data_mem(h, &pc);
	}
}

static MAY_SUSPEND enum fail h1_interim(struct req *r, int status, const struct hdrs *headers)
{
	struct h1_client *h = h1_of(r);
	struct buf b;
	enum fail f;

	if (!req_is_11(r) || r->head_sent)
		return FAIL_OK;
	if (status == 100 && !headers)
		return h1_send_interim(h, SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
	buf_init(&b, 65536);
	h1_write_status_line(&b, status, http_reason(status));
	if (headers)
		h1_write_fields(&b, headers);
	h1_write_end(&b);
	f = b.failed ? FAIL_NO_MEMORY : h1_send_interim(h, span_make(b.p, b.len));
	buf_fini(&b);
	return f;
}

static unsigned h1_accepts(struct req *r)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	return PIECE_MEM | (l->sendfile ? PIECE_FILE : 0) |
	       (stream_can_splice(&r->conn->stream) ? PIECE_PIPE : 0);
}

static bool h1_client_gone(struct req *r)
{
	return r->aborted || stream_peer_closed(&r->conn->stream);
}

/* The tunnel has both streams now. */
static void h1_tunnel(struct req *r, struct tunnel *t)
{
	struct conn *c = r->conn;

	c->state = CONN_TUNNEL;
	c->co = NULL;
	t->client.stream = &c->stream;
	t->client.in = c->in;
	c->in = (struct inbuf){0};
}

static void h1_tunnel_over(struct req *r)
{
	struct conn *c = r->conn;

	req_free(r);
	conn_close(c, false);
}

const struct sink_ops h1_sink = {
	.head = h1_head,
	.data = h1_data,
	.flush = h1_flush,
	.interim = h1_interim,
	.trailers = h1_trailers,
	.accepts = h1_accepts,
	.client_gone = h1_client_gone,
	.body_limits = h1_body_limits,
	.tunnel = h1_tunnel,
	.tunnel_over = h1_tunnel_over,
	.connection_fields = true,
};
