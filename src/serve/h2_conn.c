/* A connection that speaks HTTP/2: input, output, time-outs and the end. */
#include "base/mutant.h"
#include "serve/h2_conn.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include "base/pool.h"
#include "serve/h2_conf.h"
#include "serve/h2_stream.h"

#define READ_ROOM     (64 * 1024)
#define READS_A_TURN  8
#define FORGET_AFTER  1000 /* ms without streams */
#define LEAVE_GRACE   1000 /* ms for the client to hear of the first GOAWAY */
#define LAST_WORDS    5000 /* ms for a client that reads late to hear of its error */
#define QUEUE_MAX     256  /* frames that wait in nghttp2 while the socket is full: no more input */
#define WINDOW_OF_ALL 0x7fffffff /* each stream has its own ceiling */

/* ---- the session ---- */

static _Thread_local char *read_room;

void h2_thread_fini(void)
{
	mem_free(read_room);
	read_room = NULL;
	h2_memory_thread_fini();
	h2_ahead_free();
}

static nghttp2_option *options_new(void)
{
	nghttp2_option *o;

	if (nghttp2_option_new(&o) != 0)
		return NULL;
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_http_messaging(o, 1); /* h2_head looks at them */
	nghttp2_option_set_no_closed_streams(o, 1);
	/* PRIORITY_UPDATE too: h2_priority.c */
	for (int type = NGHTTP2_CONTINUATION + 1; type < 256; type++)
		nghttp2_option_set_user_recv_extension_type(o, (uint8_t)type);
	/* Ours counts resets together with the rest. */
	nghttp2_option_set_stream_reset_rate_limit(o, UINT64_MAX, UINT64_MAX);
	/* What a table of sent fields saves in bytes it costs in memory, as long as the connection
	 * is idle. */
	nghttp2_option_set_max_deflate_dynamic_table_size(o, 0);
	return o;
}

/* Of the process, made once. */
static const nghttp2_option *session_options(void)
{
	static nghttp2_option *_Atomic made;
	nghttp2_option *o = made, *other = NULL;

	if (o)
		return o;
	o = options_new();
	if (o && !atomic_compare_exchange_strong(&made, &other, o)) {
		nghttp2_option_del(o);
		return other;
	}
	return o;
}

static int session_new(struct h2_conn *h)
{
	nghttp2_mem mem = h2_memory(h);
	const nghttp2_session_callbacks *cb = h2_callbacks();
	const nghttp2_option *o = session_options();

	return o && cb ? nghttp2_session_server_new3(&h->session, cb, h, o, &mem)
		       : NGHTTP2_ERR_NOMEM;
}

static int session_greet(struct h2_conn *h, const struct core_srv *srv)
{
	nghttp2_settings_entry iv[5] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->max_streams},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h->window},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		 (uint32_t)MIN_OF(srv->large_client_header_buffers.size *
					  srv->large_client_header_buffers.num,
				  (int64_t)INT32_MAX)},
		{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
	};
	int rc = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, iv,
					 h->extended_connect ? 5 : 4);

	return rc ? rc
		  : nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
							  WINDOW_OF_ALL);
}

static void h2_conn_end(struct io_turn_end *e);

static uint32_t timeout_ms(int64_t ms)
{
	return (uint32_t)MIN_OF(ms, (int64_t)UINT32_MAX);
}

/* They hold as long as the connection lives, whatever reloads say. */
static void h2_conn_limits(struct h2_conn *h, const struct conf_scope *scope)
{
	const struct h2_srv *conf = conf_get(scope, &h2_srv_mod);
	const struct core_srv *srv = conf_get(scope, &core_srv_mod);
	const struct core_loc *loc = conf_get(scope, &core_loc_mod);

	h->header_timeout_ms = timeout_ms(srv->client_header_timeout);
	h->send_timeout_ms = timeout_ms(loc->send_timeout);
	h->keepalive_timeout_ms = timeout_ms(loc->keepalive_timeout);
	h->max_streams = (uint32_t)conf->max_streams;
	h->max_glitches = (uint32_t)conf->max_glitches;
	h->window = (uint32_t)MIN_OF(conf->preread_size, (int64_t)INBUF_MAX);
	h->recv_window = (uint32_t)MIN_OF(conf->recv_buffer_size, (int64_t)INBUF_MAX);
	h->extended_connect = conf->extended_connect;
}

static struct h2_conn *h2_conn_new(struct conn *c, struct http_port *port)
{
	const struct conf_scope *scope = conn_server(c, port)->scope;
	struct h2_conn *h = mem_zalloc(sizeof(*h));

	if (!h)
		return NULL;
	h->conn = c;
	list_init(&h->streams);
	list_init(&h->starting);
	io_turn_end_init(&h->end, h2_conn_end);
	h2_conn_limits(h, scope);
	h->glitch_ms = h->idle_ms = h->head_ms = io_now_ms();
	h2_scan_init(&h->scan);
	if (session_new(h) != 0 || session_greet(h, conf_get(scope, &core_srv_mod)) != 0) {
		nghttp2_session_del(h->session);
		mem_free(h);
		return NULL;
	}
	return h;
}

void h2_conn_free(struct conn *c)
{
	struct h2_conn *h = c->h2;

	BUG_ON(h->nstreams);
	h2_memory_wake(h);
	if (h->waiting)
		COUNT_DOWN(conn_counters()->waiting);
	list_del(&h->end.link);
	nghttp2_session_del(h->session);
	inbuf_free(&h->out);
	h2_priority_free(h);
	mem_free(h);
	c->h2 = NULL;
}

/* ---- output ---- */

void h2_conn_touch(struct h2_conn *h)
{
	h2_memory_wake(h);
	io_turn_end_arm(&h->end);
}

char *h2_conn_room(struct h2_conn *h, size_t n)
{
	struct inbuf *b = &h->out;
	size_t have = inbuf_len(b);

	if (b->cap - b->end < n || !b->p) {
		/* From one size of the thread's buffers to the next. */
		size_t want = MAX_OF(have + n, b->cap < 4096 ? (size_t)4096 : (size_t)b->cap);

		if (have + n > b->cap && b->cap)
			want = MAX_OF(want, (size_t)b->cap * 4);
		if (have + n <= H2_OUT_ROOM)
			want = MIN_OF(want, (size_t)H2_OUT_ROOM);
		if (!inbuf_reserve(b, want, NULL))
			return NULL;
	}
	return b->p + b->end;
}

/* What the socket takes of what is gathered. all false: more is coming, so only whole TLS records.
 */
static void h2_conn_write(struct h2_conn *h, bool all)
{
	struct conn *c = h->conn;

	while (inbuf_len(&h->out) && h->phase != H2_DEAD) {
		size_t len = inbuf_len(&h->out);
		struct iovec iov = {h->out.p + h->out.start, all ? len : len & ~(size_t)16383};
		ssize_t n;

		if (!iov.iov_len)
			break;
		n = stream_try_writev(&c->stream, &iov, 1);

		if (n > 0) {
			inbuf_take(&h->out, (size_t)n);
			h->moved_ms = io_now_ms();
			continue;
		}
		if (n == -EAGAIN || n == 0) {
			if (!h->blocked)
				h->moved_ms = io_now_ms();
			h->blocked = c->stream.io.parked_writes = true;
			return;
		}
		h2_conn_die(h);
		return;
	}
	h->blocked = c->stream.io.parked_writes = false;
}

/* A frame of nghttp2's. False: it has none, or paused, or the connection is dead. */
static bool pump_frame(struct h2_conn *h)
{
	const uint8_t *p;
	ssize_t n = nghttp2_session_mem_send(h->session, &p);
	char *to;

	if (n == 0)
		return false;
	to = n > 0 ? h2_conn_room(h, (size_t)n) : NULL;
	if (!to) {
		h2_conn_die(h);
		return false;
	}
	memcpy(to, p, (size_t)n);
	h2_conn_put(h, (size_t)n);
	return true;
}

/* One round: nghttp2's frames until `out` is full. False: it has no more. */
static bool pump_round(struct h2_conn *h)
{
	while (!h2_conn_full(h))
		if (!pump_frame(h))
			return h->phase != H2_DEAD && h2_conn_full(h);
	return true;
}

/* The socket is full. There is always some room for what is not DATA: nghttp2 says that the
 * connection has failed, and why, in a frame. */
static void pump_control(struct h2_conn *h)
{
	while (inbuf_len(&h->out) < H2_OUT_ROOM &&
	       nghttp2_session_get_outbound_queue_size(h->session) && pump_frame(h))
		;
}

void h2_conn_pump(struct h2_conn *h)
{
	h2_conn_touch(h);
	while (h->phase != H2_DEAD && pump_round(h)) {
		h2_conn_write(h, false);
		if (h->blocked)
			return;
		if (io_budget_spent()) {
			h->more = true;
			return;
		}
	}
}

/* ---- the end ---- */

static void abort_streams(struct h2_conn *h)
{
	struct list *l, *tmp;

	list_each_safe (l, tmp, &h->streams)
		h2_stream_abort(CONTAINER_OF(l, struct h2_client, link));
}

void h2_conn_die(struct h2_conn *h)
{
	if (h->phase == H2_DEAD)
		return;
	h->phase = H2_DEAD;
	h2_conn_touch(h);
	abort_streams(h);
}

void h2_conn_check(struct h2_conn *h, int rc)
{
	if (!nghttp2_is_fatal(rc))
		return;
	h->starved = true;
	h2_conn_touch(h);
}

void h2_conn_leave(struct h2_conn *h)
{
	if (h->phase != H2_OPEN)
		return;
	h2_conn_touch(h);
	if (MUTANT(silent_end)) {
		h2_conn_die(h);
		return;
	}
	h->phase = H2_NOTICED;
	h->leave_ms = io_now_ms() + LEAVE_GRACE;
	nghttp2_submit_shutdown_notice(h->session);
	/* What the client sent before it heard of that is here when the answer is. */
	nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
}

/* The second GOAWAY says which streams are the last. */
static void h2_conn_last_call(struct h2_conn *h)
{
	if (h->phase != H2_NOTICED)
		return;
	h->phase = H2_LEAVING;
	h2_conn_touch(h);
	h2_conn_check(h, nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
					       nghttp2_session_get_last_proc_stream_id(h->session) -
						       2 * MUTANT(forgetful_goaway),
					       NGHTTP2_NO_ERROR, NULL, 0));
}

void h2_conn_noticed(struct h2_conn *h)
{
	h2_conn_last_call(h);
}

bool h2_conn_blame(struct h2_conn *h, uint32_t error, struct span words)
{
	char text[160];

	if (h->terminated)
		return false;
	h->terminated = true;
	h->error = error;
	fail_count(error == NGHTTP2_ENHANCE_YOUR_CALM ? FAIL_CLIENT_GLITCHES
						      : FAIL_CLIENT_H2_PROTOCOL);
	snprintf(text, sizeof(text), "%.*s%s%.*s", SPAN_ARG(h2_code_name(error)),
		 words.n ? ": " : "", SPAN_ARG(words));
	conn_log(h->conn, LOG_INFO, "HTTP/2 connection ended: ", span_of(text));
	return true;
}

/* Out of order: a GOAWAY with the reason, and no more. */
static void h2_conn_terminate(struct h2_conn *h, uint32_t error)
{
	if (h2_conn_blame(h, error, SPAN("")))
		h2_conn_check(h, nghttp2_session_terminate_session(h->session, error));
}

void h2_conn_drain(struct conn *c)
{
	h2_conn_leave(c->h2);
}

/* Also those of whom it is nobody's business that their client has gone
 * (proxy_ignore_client_abort). */
void h2_conn_abort(struct conn *c)
{
	struct list *l, *tmp;

	h2_conn_die(c->h2);
	list_each_safe (l, tmp, &c->h2->streams)
		h2_stream_cancel(CONTAINER_OF(l, struct h2_client, link));
}

/* ---- time ---- */

/* Until when a connection without streams is kept. */
static uint64_t idle_until(const struct h2_conn *h)
{
	return h->idle_ms + (h->conn->requests ? h->conn->keepalive_ms : h->keepalive_timeout_ms);
}

static uint64_t h2_conn_deadline(struct h2_conn *h)
{
	uint64_t at = UINT64_MAX;

	if (h->more)
		return io_now_ms();
	if (h->blocked)
		at = h->moved_ms + h->send_timeout_ms;
	if (h->blocked && h->last_ms)
		at = MIN_OF(at, h->last_ms);
	if (h->head_ms)
		at = MIN_OF(at, h->head_ms + h->header_timeout_ms);
	if (!h->nstreams && !h->head_ms && h->phase == H2_OPEN)
		at = MIN_OF(at, h->forgotten ? idle_until(h)
					     : MIN_OF(idle_until(h), h->idle_ms + FORGET_AFTER));
	if (h->phase == H2_NOTICED)
		at = MIN_OF(at, h->leave_ms);
	return at;
}

static void h2_conn_arm(struct h2_conn *h)
{
	uint64_t at = h2_conn_deadline(h);

	if (at == UINT64_MAX)
		timer_stop(&co_sched.wheel, &h->conn->timer);
	else if (h->conn->timer.due != at)
		timer_start(&co_sched.wheel, &h->conn->timer, at);
}

static void h2_conn_read(struct h2_conn *h);

static void h2_conn_late(struct h2_conn *h)
{
	uint64_t now = io_now_ms();

	if (h->blocked && h->last_ms && now >= h->last_ms) {
		h2_conn_die(h);
	} else if (h->blocked && now >= h->moved_ms + h->send_timeout_ms) {
		fail_count(FAIL_CLIENT_TIMEOUT_SEND);
		h2_conn_die(h);
	} else if (h->head_ms && now >= h->head_ms + h->header_timeout_ms) {
		fail_count(FAIL_CLIENT_TIMEOUT_HEAD);
		conn_log(h->conn, LOG_INFO,
			 "client timed out (110: Connection timed out) while waiting for request",
			 SPAN(""));
		h->head_ms = 0;
		h->terminated = true;
		h2_conn_check(h, nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR));
	} else if (!h->nstreams && !h->head_ms && h->phase == H2_OPEN && now >= idle_until(h)) {
		h2_conn_leave(h);
	} else if (h->phase == H2_NOTICED && now >= h->leave_ms) {
		h2_conn_last_call(h);
	} else if (!h->nstreams && !h->forgotten && now >= h->idle_ms + FORGET_AFTER) {
		h->forgotten = true; /* at the end of the turn */
	}
}

void h2_conn_timeout(struct conn *c)
{
	struct h2_conn *h = c->h2;

	h2_conn_touch(h);
	if (h->more)
		h2_conn_read(h);
	else
		h2_conn_late(h);
}

/* ---- input ---- */

static void start_streams(struct h2_conn *h)
{
	struct list *l;

	while ((l = list_take(&h->starting)))
		h2_stream_start(CONTAINER_OF(l, struct h2_client, start));
}

/* Errors after which nghttp2 cannot go on. */
static void feed_failed(struct h2_conn *h, ssize_t rc)
{
	if (h->error)
		h2_conn_terminate(h, h->error);
	else if (rc == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
		h2_conn_terminate(h, NGHTTP2_PROTOCOL_ERROR);
	else if (rc == NGHTTP2_ERR_FLOODED || rc == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
		h2_conn_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
	else
		h2_conn_terminate(h, NGHTTP2_INTERNAL_ERROR);
}

static bool feed_part(struct h2_conn *h, const uint8_t *p, size_t n)
{
	ssize_t used;

	h2_check_part(h);
	used = n ? nghttp2_session_mem_recv(h->session, p, n) : 0;
	if (used < 0)
		feed_failed(h, used);
	return used >= 0;
}

/* In one part, unless a frame is in doubt. */
static bool feed_frames(void *arg, const uint8_t *p, size_t n, size_t seen)
{
	struct h2_conn *h = arg;
	size_t at = seen, fed = 0;
	uint32_t error = NGHTTP2_NO_ERROR;
	bool doubt, ok = true;

	while (at < n && ok) {
		at += h2_scan(h, p + at, n - at, &doubt);
		if (!doubt)
			break;
		ok = feed_part(h, p + fed, at - 1 - fed);
		fed = at - 1;
		error = ok ? h2_scan_verdict(h) : NGHTTP2_NO_ERROR;
		ok = ok && error == NGHTTP2_NO_ERROR;
	}
	if (error != NGHTTP2_NO_ERROR)
		h2_conn_terminate(h, error);
	return ok && feed_part(h, p + fed, n - fed - h->scan.frames.have);
}

static void h2_conn_feed(struct h2_conn *h, const uint8_t *p, size_t n)
{
	(void)h2_frames_feed(&h->scan.frames, p, n, feed_frames, h);
	h->scan.ended = 0;
	start_streams(h);
}

/* While the socket is full and answers to what came wait in nghttp2, more is not heard. */
static bool may_read(struct h2_conn *h)
{
	return h->phase != H2_DEAD && !h->starved && nghttp2_session_want_read(h->session) &&
	       !(h->blocked && nghttp2_session_get_outbound_queue_size(h->session) > QUEUE_MAX);
}

static void h2_conn_read(struct h2_conn *h)
{
	struct stream *st = &h->conn->stream;
	ssize_t n = 0;

	h->more = false;
	if (!read_room && !(read_room = mem_alloc(READ_ROOM))) {
		h2_conn_die(h);
		return;
	}
	for (int i = 0; may_read(h) && stream_readable(st); i++) {
		if (i == READS_A_TURN) {
			h->more = true;
			return;
		}
		n = stream_recv(st, read_room, READ_ROOM);
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			h2_conn_die(h);
			return;
		}
		h2_conn_feed(h, (const uint8_t *)read_room, (size_t)n);
	}
}

void h2_conn_event(struct conn *c)
{
	struct h2_conn *h = c->h2;

	h2_conn_touch(h);
	if (h->blocked && (c->stream.io.ready & IO_W)) {
		h2_conn_write(h, true);
		h2_conn_pump(h);
	}
	h2_conn_read(h);
}

/* ---- the end of a turn ---- */

/* All was said: GOAWAY is out and nobody is being served. */
static bool h2_conn_done(struct h2_conn *h)
{
	return !h->nstreams && !inbuf_len(&h->out) &&
	       (h->phase == H2_LEAVING || (!nghttp2_session_want_read(h->session) &&
					   !nghttp2_session_want_write(h->session)));
}

/* The client has said GOAWAY and all that it asked for is done: it gets one too. */
static void h2_conn_goodbye(struct h2_conn *h)
{
	if (h->phase != H2_OPEN || h->nstreams || h->terminated ||
	    nghttp2_session_want_read(h->session))
		return;
	h->phase = H2_NOTICED;
	h2_conn_last_call(h);
}

/* Memory that only moving bytes need. */
static void h2_conn_slim(struct h2_conn *h)
{
	if (h->waiting && h->nstreams)
		COUNT_DOWN(conn_counters()->waiting);
	else if (!h->waiting && !h->nstreams)
		COUNT_UP(conn_counters()->waiting);
	h->waiting = !h->nstreams;
	if (!inbuf_len(&h->out))
		inbuf_free(&h->out);
}

/* Is there a stream that nghttp2 has not ended? When it reads no more all the same, the connection
 * is in error; otherwise the client's GOAWAY says so, and what is on its way may still leave. */
static bool h2_conn_has_open(struct h2_conn *h)
{
	struct list *l;

	list_each (l, &h->streams)
		if (!CONTAINER_OF(l, struct h2_client, link)->closed)
			return true;
	return false;
}

/* An error of the connection takes its streams along. The reason waits for a client that does not
 * read, but not for ever. */
static void h2_conn_cut(struct h2_conn *h)
{
	if (!inbuf_len(&h->out) && !nghttp2_session_want_write(h->session)) {
		h->linger = true;
		h2_conn_die(h);
	} else if (!h->cut) {
		h->cut = true;
		abort_streams(h);
	}
}

/* A connection of HTTP/2 has no location. */
static void h2_conn_linger(struct conn *c)
{
	struct http_port *port = conn_port(c);

	conn_linger_times(c, port ? conf_get(conn_server(c, port)->scope, &core_loc_mod) : NULL);
	conn_linger(c);
}

static void h2_conn_end(struct io_turn_end *e)
{
	struct h2_conn *h = CONTAINER_OF(e, struct h2_conn, end);
	struct conn *c = h->conn;

	if (h->error)
		h2_conn_terminate(h, h->error);
	if (h->phase == H2_OPEN && !conn_port(c))
		h2_conn_leave(h);
	h2_conn_goodbye(h);
	if (h->phase != H2_DEAD) {
		if (h->blocked)
			pump_control(h);
		else
			h2_conn_pump(h);
		if (!h->blocked)
			h2_conn_write(h, true);
	}
	if (h->starved)
		h2_conn_die(h);
	list_del(&h->end.link);
	if (h->terminated && !h->last_ms)
		h->last_ms = io_now_ms() + LAST_WORDS;
	if (h->phase != H2_DEAD && h->nstreams && !nghttp2_session_want_read(h->session) &&
	    (h->phase != H2_LEAVING || h->terminated) && h2_conn_has_open(h))
		h2_conn_cut(h);
	list_del(&h->end.link);
	if (h->phase == H2_DEAD ? !h->nstreams : h2_conn_done(h)) {
		/* Whoever had to be stopped is not listened to any longer. */
		bool linger =
			(h->phase != H2_DEAD || h->linger) && h->error != NGHTTP2_ENHANCE_YOUR_CALM;

		timer_stop(&co_sched.wheel, &c->timer);
		c->stream.io.parked_writes = false;
		h2_conn_free(c);
		if (linger)
			h2_conn_linger(c);
		else
			conn_close(c, false);
		return;
	}
	h2_conn_slim(h);
	if (h->phase == H2_DEAD)
		timer_stop(&co_sched.wheel, &c->timer);
	else
		h2_conn_arm(h);
	if (h->forgotten && h->phase == H2_OPEN && !h->more)
		h2_memory_rest(h);
}

/* ---- the start ---- */

void h2_conn_start(struct conn *c)
{
	struct http_port *port = conn_port(c);

	c->h2 = port ? h2_conn_new(c, port) : NULL;
	if (!c->h2 || iofd_register(&c->stream.io) < 0) {
		conn_close(c, false);
		return;
	}
	c->state = CONN_H2;
	c->co = NULL;
	if (conns_draining())
		h2_conn_leave(c->h2);
	if (inbuf_len(&c->in))
		h2_conn_feed(c->h2, (const uint8_t *)c->in.p + c->in.start, inbuf_len(&c->in));
	inbuf_free(&c->in);
	h2_conn_read(c->h2);
	h2_conn_touch(c->h2);
}
