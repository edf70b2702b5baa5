#include "h2_client.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oracle_time.h"

#define FIRST_INDEX   2000 /* behind the clients of HTTP/1 */
#define OUT_ENOUGH    16384
#define LINK_MOST     8192 /* what a link takes at once */
#define AGAIN_US      10000
#define REFUSED_MAX   60
#define RECONNECT_MAX 100

static struct mux *muxes;
static unsigned nmuxes;

static void mux_send(struct mux *c);
static void mux_receive(struct mux *c);
static void mux_hang_up(struct mux *c, const char *how, bool reset);

#define MUX_OF_TIMER(tp) CONTAINER_OF(tp, struct mux_timer, t)->c
#define ASK_OF_TIMER(tp) CONTAINER_OF(tp, struct mux_timer, t)->s

unsigned muxes_connected(unsigned *streams)
{
	unsigned n = 0;

	*streams = 0;
	for (struct mux *c = muxes; c; c = c->next) {
		n += c->connected;
		*streams += c->connected ? c->peak : 0;
	}
	return n;
}

static struct mux_ask *mux_find(struct mux *c, int32_t id)
{
	for (unsigned i = 0; i < c->nasks; i++)
		if (c->asks[i].id == id && c->asks[i].state == MUX_OPEN)
			return &c->asks[i];
	return NULL;
}

/* ---- a stream ends ---- */

static void mux_ask_over(struct mux_ask *s, enum mux_state state)
{
	sim_timer_stop(&s->cancel_timer.t);
	sim_timer_stop(&s->expect_timer.t);
	sim_timer_stop(&s->open_timer.t);
	s->state = state;
	s->id = 0;
	parse_fini(&s->in);
	parse_init(&s->in);
	if (--s->c->open == 0)
		s->c->quiet_us = sim_now_us();
}

/* The worker says that it has done nothing for this one. */
static void mux_ask_refused(struct mux_ask *s)
{
	struct ask *a = s->a;

	sim_note("client %u: request %u is refused", s->c->index, a->id);
	if (a->ntries)
		sim_broken("refused", "request %u was refused, but server %u.%u has seen it", a->id,
			   a->tries[0].group, a->tries[0].server);
	if (++s->refused == REFUSED_MAX)
		sim_broken("refused", "request %u is refused again and again", a->id);
	s->again_us = sim_now_us() + AGAIN_US * s->refused;
	a->sent = false;
	a->got_wire = 0;
	s->up = s->tunnel_got = 0;
	s->head_done = s->deferred = s->tunnelled = s->tunnel_done = false;
	mux_ask_over(s, MUX_WAITS);
}

static void mux_ask_lost(struct mux_ask *s, const char *how)
{
	if (!s->a->ended && s->a->got_status && !s->tunnelled)
		ask_check_end(s->a, false);
	else
		ask_lost(s->a, how);
	mux_ask_over(s, MUX_OVER);
}

static int mux_on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	struct mux_ask *s = mux_find(arg, id);
	char how[40];

	if (!s)
		return 0;
	snprintf(how, sizeof(how), "stream %d: error %u", id, error);
	if (error == NGHTTP2_REFUSED_STREAM && !s->cancelled && !s->a->got_status && !s->a->ended)
		mux_ask_refused(s);
	else
		mux_ask_lost(s, how);
	return 0;
}

static void mux_cancel(struct mux_ask *s)
{
	if (s->cancelled || s->state != MUX_OPEN)
		return;
	sim_note("client %u: resets request %u", s->c->index, s->a->id);
	s->cancelled = true;
	nghttp2_submit_rst_stream(s->c->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
}

static void mux_cancel_timer(struct sim_timer *t)
{
	mux_cancel(ASK_OF_TIMER(t));
	mux_send(MUX_OF_TIMER(t));
}

/* ---- heads ---- */

static int mux_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct mux_ask *s = mux_find(arg, frame->hd.stream_id);

	if (s) {
		parse_fini(&s->in);
		parse_init(&s->in);
	}
	return 0;
}

static void mux_check_name(struct mux_ask *s, struct span name, size_t before)
{
	static const char *const never[] = {"connection", "keep-alive", "transfer-encoding",
					    "upgrade",	  "te",		"proxy-connection"};

	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] >= 'A' && name.p[i] <= 'Z')
			sim_broken("framing", "request %u: field %.*s", s->a->id, SPAN_ARG(name));
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++)
		if (span_eq(name, span_of(never[i])))
			sim_broken("framing", "request %u: field %.*s", s->a->id, SPAN_ARG(name));
	if (name.n && name.p[0] == ':' &&
	    (before || s->head_done || !span_eq(name, SPAN(":status"))))
		sim_broken("framing", "request %u: %.*s where it must not be", s->a->id,
			   SPAN_ARG(name));
}

static int mux_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
			 size_t namelen, const uint8_t *value, size_t valuelen, uint8_t flags,
			 void *arg)
{
	struct mux_ask *s = mux_find(arg, frame->hd.stream_id);

	if (!s)
		return 0;
	mux_check_name(s, span_make(name, namelen), s->in.head.n);
	if (s->head_done && !s->in.head.n)
		text_add(&s->in.head, "\r\n", 2); /* in place of a first line */
	if (name[0] == ':') {
		text_add(&s->in.head, "HTTP/2 ", 7);
	} else {
		text_add(&s->in.head, name, namelen);
		text_add(&s->in.head, ": ", 2);
	}
	text_add(&s->in.head, value, valuelen);
	text_add(&s->in.head, "\r\n", 2);
	return 0;
}

static void mux_go_on(struct mux_ask *s)
{
	s->may_send = true;
	if (s->deferred)
		nghttp2_session_resume_data(s->c->session, s->id);
	s->deferred = false;
}

static void mux_interim(struct mux_ask *s, int status, bool end)
{
	if (end || (status == 100 && !s->a->expect) || (status != 100 && status != 103))
		sim_broken("answer", "request %u got %d%s", s->a->id, status,
			   end ? " and the end" : "");
	mux_go_on(s);
}

/* Both have had all that there is. */
static void mux_tunnel_rest(struct mux_ask *s)
{
	struct ask *a = s->a;

	if (s->tunnel_got < a->length || s->up < a->tunnel_up || a->idles || s->tunnel_done)
		return;
	s->tunnel_done = true;
	a->ended = a->got_whole = true;
	mux_go_on(s);
}

static void mux_tunnel_data(struct mux_ask *s, const uint8_t *p, size_t n)
{
	struct ask *a = s->a;
	uint64_t key = ask_answer_key(a, (unsigned)MAX_OF(a->seen_try, 0));
	size_t right = bytes_check(key, (uint64_t)s->tunnel_got, (const char *)p, n);

	if (right < n || s->tunnel_got + (int64_t)n > a->length)
		sim_broken("tunnel", "request %u: byte %llu is wrong", a->id,
			   (unsigned long long)s->tunnel_got + right);
	s->tunnel_got += (int64_t)n;
	mux_tunnel_rest(s);
}

/* The other direction has ended. */
static void mux_tunnel_end(struct mux_ask *s)
{
	struct ask *a = s->a;

	if (ask_is_sure(a) && s->tunnel_got < a->length)
		sim_broken("tunnel", "request %u: only %lld of %lld bytes", a->id,
			   (long long)s->tunnel_got, (long long)a->length);
	if (ask_is_sure(a) && !a->half_down && !s->tunnel_done)
		sim_broken("tunnel", "request %u: it ended though nobody ends it", a->id);
}

static void mux_tunnelled(struct mux_ask *s, bool end)
{
	int64_t length;

	if (end && ask_is_sure(s->a))
		sim_broken("tunnel", "request %u: over before it began", s->a->id);
	s->tunnelled = true;
	if (s->a->kind == ASK_TUNNEL) {
		s->a->got_status = 101; /* as HTTP/1 says it */
		ask_check_head(s->a, &s->in, &length);
	} else {
		ask_check_connected(s->a, &s->in);
	}
	mux_go_on(s);
	mux_tunnel_rest(s);
}

#define BODIES_US 200000

static void mux_got_head(struct mux_ask *s, bool end)
{
	struct span line, version;
	uint64_t status;
	int64_t length;

	text_add(&s->in.head, "\r\n", 2);
	if (s->head_done) {
		if (!end)
			sim_broken("framing", "request %u: a second head is not the end", s->a->id);
		s->a->got_trailers = head_field(&s->in, "x-trailer", &line);
		return;
	}
	line = head_line(&s->in);
	if (!span_split(&line, ' ', &version) || !span_to_u64(line, 999, &status) || status < 100)
		sim_broken("framing", "request %u: status \"%.*s\"", s->a->id, SPAN_ARG(line));
	if (status < 200) {
		mux_interim(s, (int)status, end);
		return;
	}
	s->head_done = true;
	s->a->got_status = (int)status;
	if (status == 200 && ask_is_tunnel(s->a)) {
		mux_tunnelled(s, end);
		return;
	}
	ask_check_head(s->a, &s->in, &length);
	/* a head that waits for its turn behind bodies is late by that */
	time_check_stream(s->a, s->c->index,
			  s->c->rstep || sim_now_us() < s->c->data_us + BODIES_US);
}

/* ---- other frames ---- */

static int mux_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
		       size_t n, void *arg)
{
	struct mux *c = arg;
	struct mux_ask *s = mux_find(c, id);

	nghttp2_session_consume_connection(session, n);
	c->data_us = sim_now_us();
	if (!s)
		return 0;
	if (!s->head_done)
		sim_broken("framing", "request %u: DATA before a head", s->a->id);
	if (s->cancelled)
		return 0;
	if (s->tunnelled)
		mux_tunnel_data(s, p, n);
	else
		ask_check_data(s->a, span_make(p, n));
	s->owed += n;
	if (s->cancel_read >= 0 && s->a->got_body >= s->cancel_read)
		mux_cancel(s);
	else if (s->stuck)
		return 0;
	else if (c->open_us)
		sim_timer_start(&s->open_timer.t, sim_now_us() + c->open_us);
	else
		nghttp2_session_consume_stream(session, id, s->owed);
	if (!c->open_us)
		s->owed = 0;
	return 0;
}

static void mux_open_timer(struct sim_timer *t)
{
	struct mux_ask *s = ASK_OF_TIMER(t);

	nghttp2_session_consume_stream(s->c->session, s->id, s->owed);
	s->owed = 0;
	mux_send(s->c);
}

static void mux_got_goaway(struct mux *c, const nghttp2_goaway *g)
{
	sim_note("client %u: GOAWAY, last stream %d, error %u", c->index, g->last_stream_id,
		 g->error_code);
	if (g->error_code != NGHTTP2_NO_ERROR && !world.destructive)
		sim_broken("goaway", "client %u: error %u", c->index, g->error_code);
	if (!c->going && !c->left && !c->open && c->quiet_us && !c->rstep)
		time_check_idle(c->index, c->asked_us, c->quiet_us, c->begun);
	c->going = true;
}

static int mux_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct mux *c = arg;
	struct mux_ask *s = mux_find(c, frame->hd.stream_id);
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (frame->hd.type == NGHTTP2_GOAWAY)
		mux_got_goaway(c, &frame->goaway);
	if (!s || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	s->a->got_wire += (int64_t)frame->hd.length + 9;
	if (frame->hd.type == NGHTTP2_HEADERS)
		mux_got_head(s, end);
	if (!end)
		return 0;
	sim_note("client %u: request %u: %d, %lld bytes", c->index, s->a->id, s->a->got_status,
		 (long long)s->a->got_body);
	if (s->tunnelled)
		mux_tunnel_end(s);
	else
		ask_check_end(s->a, true);
	return 0;
}

static int mux_on_invalid(nghttp2_session *session, const nghttp2_frame *frame, int error,
			  void *arg)
{
	sim_broken("framing", "client %u: frame of type %u on stream %d: %s",
		   ((struct mux *)arg)->index, frame->hd.type, frame->hd.stream_id,
		   nghttp2_strerror(error));
	return 0;
}

static int mux_on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct mux_ask *s = mux_find(arg, frame->hd.stream_id);

	if (s && frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		((struct mux *)arg)->heads++;
	if (s && s->tunnelled)
		mux_tunnel_rest(s);
	if (s && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
		s->a->sent = true;
		s->a->sent_us = ((struct mux *)arg)->asked_us = sim_now_us();
	}
	return 0;
}

/* A request that waited in nghttp2 while a GOAWAY came. */
static int mux_on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error,
			   void *arg)
{
	struct mux_ask *s = mux_find(arg, frame->hd.stream_id);

	if (s && frame->hd.type == NGHTTP2_HEADERS && s->up == 0)
		mux_ask_refused(s);
	return 0;
}

static ssize_t mux_padding(nghttp2_session *session, const nghttp2_frame *frame, size_t most,
			   void *arg)
{
	struct mux *c = arg;
	size_t pad = c->pad ? (size_t)sim_draw(c->pad) : 0;

	return (ssize_t)MIN_OF(frame->hd.length + pad, most);
}

/* ---- requests ---- */

static ssize_t mux_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
			uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct mux_ask *s = source->ptr;
	int64_t all = s->a->upload + (s->a->bad_body ? s->bad_by : 0);
	size_t n = MIN_OF(MIN_OF(length, s->c->frame), (size_t)MAX_OF(all - s->up, 0));

	if (!s->may_send) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (s->a->id % 2 && s->up < s->a->upload) /* what is too much comes in a frame of its own */
		n = MIN_OF(n, (size_t)(s->a->upload - s->up));
	bytes_fill(bytes_key(BYTES_UPLOAD, s->a->id, 0), (uint64_t)s->up, (char *)buf, n);
	s->up += (int64_t)n;
	if (s->cancel_sent >= 0 && s->up >= s->cancel_sent)
		mux_cancel(s);
	if (s->up < all)
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (s->trailers && !s->cancelled) {
		nghttp2_nv nv = {(uint8_t *)"x-trailer", (uint8_t *)"client", 9, 6, 0};

		if (nghttp2_submit_trailer(session, id, &nv, 1) == 0)
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		s->a->up_trailers = true;
	}
	return (ssize_t)n;
}

/* Into a tunnel: the end when it is this side's to say, or when both have had all. */
static ssize_t mux_read_tunnel(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
			       uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct mux_ask *s = source->ptr;
	struct ask *a = s->a;
	size_t n = MIN_OF(MIN_OF(length, s->c->frame), (size_t)MAX_OF(a->tunnel_up - s->up, 0));
	bool all;

	if (s->may_send) {
		bytes_fill(bytes_key(BYTES_TUNNEL_UP, a->id, 0), (uint64_t)s->up, (char *)buf, n);
		s->up += (int64_t)n;
		if (s->cancel_sent >= 0 && s->up >= s->cancel_sent)
			mux_cancel(s);
	}
	all = s->may_send && s->up == a->tunnel_up && (a->half_up || s->tunnel_done);
	if (all)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (all || (s->may_send && n))
		return (ssize_t)n;
	s->deferred = true;
	return NGHTTP2_ERR_DEFERRED;
}

struct mux_fields {
	nghttp2_nv v[16];
	size_t n;
	char text[4000];
	size_t at;
};

static void mux_field(struct mux_fields *f, const char *name, const char *value, size_t n)
{
	f->v[f->n++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
				    .value = (uint8_t *)(uintptr_t)value,
				    .namelen = strlen(name),
				    .valuelen = n};
}

__attribute__((format(printf, 3, 4))) static void
mux_field_printf(struct mux_fields *f, const char *name, const char *fmt, ...)
{
	char *to = f->text + f->at;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(to, sizeof(f->text) - f->at, fmt, ap);
	va_end(ap);
	f->at += (size_t)n + 1;
	BUG_ON(f->at > sizeof(f->text));
	mux_field(f, name, to, (size_t)n);
}

static void mux_head(struct mux *c, struct ask *a, struct mux_fields *f)
{
	f->n = f->at = 0;
	mux_field_printf(f, ":method", "%s", ask_is_tunnel(a) ? "CONNECT" : a->method);
	if (a->kind == ASK_TUNNEL)
		mux_field_printf(f, ":protocol", "websocket");
	if (a->kind != ASK_CONNECT) {
		mux_field_printf(f, ":scheme", "%s", c->port == PORT_TLS ? "https" : "http");
		mux_field_printf(f, ":path", "%s", a->target);
	}
	mux_field_printf(f, ":authority", "%s", a->kind == ASK_CONNECT ? a->target : "sim");
	mux_field_printf(f, "x-id", "%u", a->id);
	if (a->id % 11 == 0)
		mux_field_printf(f, "x-fill", "%0*d", (int)(a->id % 3000), 0);
	if (a->kind == ASK_TUNNEL)
		mux_field_printf(f, "sec-websocket-version", "13");
	if (a->id % 7 == 0)
		mux_field_printf(f, "te", "trailers");
	if (a->kind == ASK_FILE && a->status == 206)
		mux_field_printf(f, "range", "bytes=%lld-%lld", (long long)a->from,
				 (long long)(a->from + a->length - 1));
	if (a->expect)
		mux_field_printf(f, "expect", "100-continue");
	if (a->upload >= 0 && !a->chunked)
		mux_field_printf(f, "content-length", "%lld", (long long)a->upload);
}

static void mux_submit(struct mux_ask *s)
{
	nghttp2_data_provider body = {.source = {.ptr = s}, .read_callback = mux_read};
	struct mux *c = s->c;
	struct mux_fields f;

	mux_head(c, s->a, &f);
	s->may_send = !s->a->expect && !ask_is_tunnel(s->a);
	s->cancelled = false;
	if (ask_is_tunnel(s->a))
		body.read_callback = mux_read_tunnel;
	s->id = nghttp2_submit_request(
		c->session, NULL, f.v, f.n,
		body.read_callback != mux_read || s->a->upload >= 0 ? &body : NULL, NULL);
	BUG_ON(s->id < 0);
	s->state = MUX_OPEN;
	s->a->begun = true;
	c->open++;
	c->begun++;
	c->peak = MAX_OF(c->peak, c->open);
	sim_note("client %u: stream %d: %s %s, %lld up", c->index, s->id, s->a->method,
		 s->a->target, (long long)s->a->upload);
	if (s->cancel_us)
		sim_timer_start(&s->cancel_timer.t, sim_now_us() + s->cancel_us);
	if (s->a->expect) /* 100 does not come: the body goes out all the same */
		sim_timer_start(&s->expect_timer.t, sim_now_us() + 1000000);
}

static void mux_expect_timer(struct sim_timer *t)
{
	mux_go_on(ASK_OF_TIMER(t));
	mux_send(MUX_OF_TIMER(t));
}

/* Something that the worker did not ask for, and has to live with. */
static void mux_chat(struct mux *c)
{
	nghttp2_settings_entry iv = {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE,
				     (uint32_t)sim_draw(2) * 4096};
	static const uint8_t urgency[] = "u=1";

	c->chatter--;
	switch (sim_draw(5)) {
	case 0:
		nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &iv, 1);
		break;
	case 1:
		nghttp2_submit_window_update(c->session, NGHTTP2_FLAG_NONE, 0, 1000);
		break;
	case 2: /* RFC 9218 7.1: within the limit of streams */
		if (c->open > nghttp2_session_get_remote_settings(
				      c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
			break;
		for (unsigned i = 0; i < c->nasks; i++)
			if (c->asks[i].state == MUX_OPEN)
				nghttp2_submit_priority_update(c->session, NGHTTP2_FLAG_NONE,
							       c->asks[i].id, urgency, 3);
		break;
	default:
		nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
	}
}

static unsigned mux_waiting(const struct mux *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->nasks; i++)
		n += c->asks[i].state == MUX_WAITS;
	return n;
}

static bool mux_may_open(struct mux *c)
{
	return !c->going && !c->left && c->open < c->width &&
	       c->open < nghttp2_session_get_remote_settings(
				 c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) &&
	       nghttp2_session_check_request_allowed(c->session);
}

/* Requests whose time has come. */
static void mux_open_asks(struct mux *c)
{
	uint64_t now = sim_now_us(), next = UINT64_MAX;

	for (unsigned i = 0; i < c->nasks && mux_may_open(c); i++) {
		struct mux_ask *s = &c->asks[i];
		uint64_t at = MAX_OF(s->again_us, c->next_us);

		if (s->state != MUX_WAITS)
			continue;
		if (at > now) {
			next = MIN_OF(next, at);
			continue;
		}
		mux_submit(s);
		c->next_us = now + c->gap_us;
	}
	if (next != UINT64_MAX)
		sim_timer_start(&c->gap_timer.t, next);
	if (c->goes && !c->left && !mux_waiting(c) && c->heads == c->begun) {
		c->left = true;
		nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
	}
	if (c->chatter && c->open && sim_chance(c->chats))
		mux_chat(c);
}

/* ---- the bitter end ---- */

static void mux_doom(struct mux *c)
{
	sim_timer_stop(&c->doom_timer.t);
	sim_note("client %u: doom %d after %llu sent, %llu read", c->index, c->doom,
		 (unsigned long long)c->sent, (unsigned long long)c->got);
	switch (c->doom) {
	case DOOM_RESET:
	case DOOM_CLOSE:
		mux_hang_up(c, "doom", c->doom == DOOM_RESET);
		break;
	case DOOM_VANISH:
		vanish(c->link.c, &c->vanishes);
		mux_hang_up(c, "vanished", false);
		break;
	case DOOM_HALF:
		if (!c->half && c->link.ready)
			link_shutdown(&c->link);
		c->half = true;
		break;
	case DOOM_DEAF:
		c->deaf = true;
		c->doom = DOOM_CLOSE;
		sim_timer_start(&c->doom_timer.t, sim_now_us() + 30000000);
		break;
	default:
		break;
	}
}

static bool mux_doomed(struct mux *c)
{
	if (c->deaf || c->half || c->doom == DOOM_NONE)
		return false;
	return (c->doom_sent >= 0 && (int64_t)c->sent >= c->doom_sent) ||
	       (c->doom_read >= 0 && (int64_t)c->got >= c->doom_read);
}

static void mux_doom_timer(struct sim_timer *t)
{
	mux_doom(MUX_OF_TIMER(t));
}

/* No connection any more; perhaps another one. */
static void mux_hang_up(struct mux *c, const char *how, bool reset)
{
	if (c->over)
		return;
	sim_note("client %u: connection over: %s", c->index, how);
	sim_timer_stop(&c->send_timer.t);
	sim_timer_stop(&c->read_timer.t);
	sim_timer_stop(&c->gap_timer.t);
	for (unsigned i = 0; i < c->nasks; i++)
		if (c->asks[i].state == MUX_OPEN)
			mux_ask_lost(&c->asks[i], how);
	nghttp2_session_del(c->session);
	c->session = NULL;
	link_close(&c->link, reset);
	text_fini(&c->out);
	c->out_at = 0;
	c->connected = c->read_paused = c->send_paused = false;
	if (mux_waiting(c) && c->going && !world_is_leaving() && c->doom == DOOM_NONE &&
	    c->connections < RECONNECT_MAX) {
		sim_timer_start(&c->begin_timer.t, sim_now_us() + 1000);
		return;
	}
	for (unsigned i = 0; i < c->nasks; i++) {
		if (c->asks[i].state != MUX_WAITS)
			continue;
		if (world_is_leaving() || c->left)
			ask_excuse(c->asks[i].a, "its client or the worker leaves");
		if (c->asks[i].a->begun)
			ask_lost(c->asks[i].a, "refused, and no other connection");
	}
	c->over = true;
	sim_timer_stop(&c->doom_timer.t);
	sim_timer_stop(&c->begin_timer.t);
	world_client_done();
}

/* ---- moving bytes ---- */

/* What nghttp2 has to say. */
static void mux_fill(struct mux *c)
{
	const uint8_t *p;
	ssize_t n;

	c->out.n = c->out_at = 0;
	while (c->out.n < OUT_ENOUGH && (n = nghttp2_session_mem_send(c->session, &p)) != 0) {
		BUG_ON(n < 0);
		text_add(&c->out, p, (size_t)n);
	}
}

static size_t mux_allowance(struct mux *c, size_t n)
{
	n = MIN_OF(n, c->step ? c->step : LINK_MOST);
	if (c->doom_sent >= 0 && !c->half && c->doom != DOOM_NONE &&
	    (int64_t)(c->sent + n) > c->doom_sent)
		n = (size_t)(c->doom_sent - (int64_t)c->sent);
	return n;
}

static void mux_send_timer(struct sim_timer *t)
{
	MUX_OF_TIMER(t)->send_paused = false;
	mux_send(MUX_OF_TIMER(t));
}

/* False: nothing (more) can be written now. */
static bool mux_write(struct mux *c)
{
	size_t n, k;

	if (c->out_at == c->out.n) {
		mux_open_asks(c);
		mux_fill(c);
	}
	if (!c->out.n)
		return false;
	n = mux_allowance(c, c->out.n - c->out_at);
	if (!n)
		return false;
	k = link_write(&c->link, c->out.p + c->out_at, n);
	c->out_at += k;
	c->sent += k;
	if (k < n)
		return false;
	if (c->step && c->pause_us) {
		c->send_paused = true;
		sim_timer_start(&c->send_timer.t, sim_now_us() + c->pause_us);
	}
	return true;
}

/* Is there nothing left to do on this connection? */
static void mux_rest(struct mux *c)
{
	if (c->over || !c->session || c->open || !link_flushed(&c->link) ||
	    (c->tunnels && c->out_at < c->out.n))
		return;
	if (c->going)
		mux_hang_up(c, "the worker goes", false);
	else if (!mux_waiting(c) && !c->stays)
		mux_hang_up(c, "done", false);
}

static void mux_send(struct mux *c)
{
	if (c->in_session)
		return;
	while (c->session && c->link.ready && !c->half && !c->send_paused) {
		if (mux_doomed(c)) {
			mux_doom(c);
			return;
		}
		if (!mux_write(c))
			break;
	}
	mux_rest(c);
}

static void mux_closed(struct mux *c, bool reset)
{
	if (!reset && !c->going && !c->left && !c->half && c->doom == DOOM_NONE &&
	    !world.destructive && !world.ending)
		sim_broken("goaway", "client %u: closed without a word", c->index);
	/* What it has to say of its windows meets a door that is closed at the end of lingering. */
	for (unsigned i = 0; reset && c->going && c->rstep && i < c->nasks; i++)
		ask_excuse(c->asks[i].a, "its client reads more slowly than the worker lingers");
	mux_hang_up(c, reset ? "reset" : "closed", false);
}

static void mux_read_timer(struct sim_timer *t)
{
	MUX_OF_TIMER(t)->read_paused = false;
	mux_receive(MUX_OF_TIMER(t));
}

static void mux_input(struct mux *c, const char *p, size_t n)
{
	ssize_t used;

	c->got += n;
	c->in_session = true;
	used = nghttp2_session_mem_recv(c->session, (const uint8_t *)p, n);
	c->in_session = false;
	if (used < 0)
		sim_broken("framing", "client %u: %s", c->index, nghttp2_strerror((int)used));
}

static void mux_receive(struct mux *c)
{
	char p[16384];

	while (c->session && !c->deaf && !c->read_paused) {
		size_t most = c->rstep && c->rstep < sizeof(p) ? c->rstep : sizeof(p);
		ssize_t n;

		if (c->doom_read >= 0 && !c->half && c->doom != DOOM_NONE &&
		    c->doom_read - (int64_t)c->got < (int64_t)most)
			most = (size_t)MAX_OF(c->doom_read - (int64_t)c->got, 1);
		n = link_read(&c->link, p, most);
		if (n == 0)
			break;
		if (n < 0) {
			mux_closed(c, n == -2);
			return;
		}
		mux_input(c, p, (size_t)n);
		if (mux_doomed(c)) {
			mux_doom(c);
			return;
		}
		c->rtaken += (size_t)n; /* TLS gives a record at most, and some are tiny */
		if (c->rstep && c->rtaken >= c->rstep && !c->was_reset) {
			c->rtaken = 0;
			c->read_paused = true;
			sim_timer_start(&c->read_timer.t, sim_now_us() + c->rpause_us);
		}
	}
	mux_send(c);
}

/* ---- the connection ---- */

static nghttp2_session_callbacks *mux_callbacks(void)
{
	nghttp2_session_callbacks *cb;

	BUG_ON(nghttp2_session_callbacks_new(&cb) != 0);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, mux_on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, mux_on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, mux_on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, mux_on_invalid);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, mux_on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, mux_on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, mux_on_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, mux_on_not_sent);
	nghttp2_session_callbacks_set_select_padding_callback(cb, mux_padding);
	return cb;
}

static void mux_session(struct mux *c)
{
	nghttp2_session_callbacks *cb = mux_callbacks();
	nghttp2_settings_entry iv[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->window},
				       {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
	nghttp2_option *o;

	BUG_ON(nghttp2_option_new(&o) != 0);
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_http_messaging(o, 1); /* looked at here */
	BUG_ON(nghttp2_session_client_new2(&c->session, cb, c, o) != 0);
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, iv, 2);
}

static void mux_greet(struct mux *c)
{
	char line[80];

	if (c->port == PORT_TLS && !link_chose_h2(&c->link))
		sim_broken("alpn", "client %u: h2 was not chosen", c->index);
	c->greeted_us = sim_now_us();
	mux_session(c);
	if (c->port != PORT_PROXY)
		return;
	snprintf(line, sizeof(line), "PROXY TCP4 192.0.2.%u 192.0.2.1 %u 80\r\n",
		 1 + c->index % 200, c->index);
	text_add(&c->out, line, strlen(line));
}

static void mux_on_move(struct sim_conn *sc)
{
	struct mux *c = sim_conn_owner(sc);

	if (!c->connected)
		return;
	if (!link_move(&c->link)) {
		mux_closed(c, true);
		return;
	}
	if (!c->link.ready)
		return;
	if (!c->session)
		mux_greet(c);
	mux_send(c);
	if (c->session)
		mux_receive(c);
}

static void mux_on_refused(struct sim_conn *sc, int err)
{
	struct mux *c = sim_conn_owner(sc);

	c->link.c = NULL;
	mux_hang_up(c, "refused", false);
}

static void mux_on_reset(struct sim_conn *sc)
{
	struct mux *c = sim_conn_owner(sc);

	c->read_paused = false;
	c->was_reset = true;
	if (c->session)
		mux_receive(c); /* what came before it can be read */
	if (c->connected)
		mux_closed(c, true);
}

static const struct sim_conn_ops mux_ops = {
	.connected = mux_on_move,
	.refused = mux_on_refused,
	.readable = mux_on_move,
	.writable = mux_on_move,
	.reset = mux_on_reset,
};

static void mux_begin(struct sim_timer *t)
{
	struct mux *c = MUX_OF_TIMER(t);
	struct place to = setup_listen_addr(c->port);
	struct sim_conn *sc;

	c->going = c->left = c->was_reset = false;
	if (world_is_leaving()) {
		mux_hang_up(c, "too late", false);
		return;
	}
	c->connected = true;
	c->connections++;
	c->open = c->begun = c->heads = c->peak = 0;
	c->greeted_us = c->asked_us = c->quiet_us = 0;
	sim_note("client %u connects to port %u for HTTP/2", c->index, c->port);
	sc = sim_connect(setup_client_addr(c->index, c->port), &to.sa, to.len, &mux_ops, c);
	link_init(&c->link, sc, c->port == PORT_TLS);
	if (c->port == PORT_TLS)
		link_offer_h2(&c->link);
	if (c->doom != DOOM_NONE && c->doom_us)
		sim_timer_start(&c->doom_timer.t, sim_now_us() + c->doom_us);
}

static void mux_serving(struct world_start *w)
{
	struct mux *c = CONTAINER_OF(w, struct mux, start);

	sim_timer_start(&c->begin_timer.t, sim_now_us() + c->after_us);
}

static void mux_gap_timer(struct sim_timer *t)
{
	mux_send(MUX_OF_TIMER(t));
}

struct mux *mux_new(void)
{
	struct mux *c = calloc(1, sizeof(*c));

	BUG_ON(!c);
	c->index = FIRST_INDEX + nmuxes++;
	c->port = PORT_PLAIN;
	c->width = MUX_ASKS;
	c->window = 65535;
	c->chats = 1000;
	c->frame = 16384;
	c->doom_sent = c->doom_read = -1;
	c->next = muxes;
	muxes = c;
	c->send_timer = (struct mux_timer){{.run = mux_send_timer}, c, NULL};
	c->read_timer = (struct mux_timer){{.run = mux_read_timer}, c, NULL};
	c->doom_timer = (struct mux_timer){{.run = mux_doom_timer}, c, NULL};
	c->begin_timer = (struct mux_timer){{.run = mux_begin}, c, NULL};
	c->gap_timer = (struct mux_timer){{.run = mux_gap_timer}, c, NULL};
	return c;
}

struct mux_ask *mux_add(struct mux *c, const struct route *r, enum ask_kind kind,
			const char *method)
{
	struct mux_ask *s = &c->asks[c->nasks++];

	BUG_ON(c->nasks > MUX_ASKS);
	*s = (struct mux_ask){
		.c = c, .a = ask_new(r, kind, method), .cancel_sent = -1, .cancel_read = -1};
	s->a->muxed = true;
	ask_target(s->a);
	c->tunnels |= ask_is_tunnel(s->a);
	s->cancel_timer = (struct mux_timer){{.run = mux_cancel_timer}, c, s};
	s->expect_timer = (struct mux_timer){{.run = mux_expect_timer}, c, s};
	s->open_timer = (struct mux_timer){{.run = mux_open_timer}, c, s};
	parse_init(&s->in);
	return s;
}

void mux_upload(struct mux_ask *s, int64_t length, bool chunked)
{
	s->a->upload = length;
	s->a->chunked = chunked;
	if (world.setup.body_max && length > world.setup.body_max)
		ask_excuse(s->a, "the body is too large");
}

/* Over small buffers and long ways an upload waits for others longer than the worker may like. */
static void mux_patience(const struct mux *c)
{
	uint64_t bytes = 0, trips, ms;

	for (unsigned i = 0; i < c->nasks; i++) /* with frames and padding about twice */
		bytes += 2 * (uint64_t)MAX_OF(c->asks[i].a->upload, 0);
	trips = bytes / MAX_OF(world.o.sndbuf_min, 1u);
	ms = trips * 2 * world_latency_us() / 1000;
	if (ms > world.setup.body_timeout)
		world.setup.body_timeout = (unsigned)ms;
}

void mux_start(struct mux *c)
{
	mux_patience(c);
	for (unsigned i = 0; i < c->nasks; i++) {
		struct mux_ask *s = &c->asks[i];

		if (c->doom != DOOM_NONE || s->cancel_us || s->cancel_read >= 0 ||
		    s->cancel_sent >= 0 || s->stuck)
			ask_excuse(s->a, "its client");
		if (ask_is_tunnel(s->a) &&
		    (c->step || c->rstep || c->frame < 500 || c->window < 2000))
			ask_excuse(s->a,
				   "its client is so slow that nothing may move for too long");
		if (s->a->bad_body)
			ask_excuse(s->a, "a length that is not that of its body");
	}
	world_client_new();
	c->start.fn = mux_serving;
	world_when_serving(&c->start);
}

void muxes_leaving(void)
{
	/* by when the worker must have accepted */
	uint64_t late = world_latency_us() * 2 + world.slack_us, now = sim_now_us(),
		 safe = now > late ? now - late : 0;

	for (struct mux *c = muxes; c; c = c->next)
		for (unsigned i = 0; i < c->nasks; i++)
			if (c->asks[i].state != MUX_OVER &&
			    (world.setup.shutdown_timeout || !c->greeted_us ||
			     c->greeted_us > safe))
				ask_excuse(c->asks[i].a, "shutdown");
}
