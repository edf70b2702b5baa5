#include "h2_abuse.h"
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "link.h"

#define FIRST_INDEX 4000
#define FLOOD	    3000	/* frames: more than any account of glitches */
#define PATIENCE_US 3000000ull	/* until an error must have been answered */
#define LINGER_US   40000000ull /* until a time-out must have ended it, beyond the time-outs */

enum fate {
	FATE_END,	/* the connection, soon */
	FATE_RESET,	/* stream 1, or an answer that is no success; then PING is answered */
	FATE_END_RESET, /* either */
	FATE_TIMEOUT,	/* the connection, in the end */
};

struct abuse_kind {
	const char *name;
	enum fate fate;
	void (*make)(struct text *t);
	bool bare;	  /* no preface */
	bool answered;	  /* a success is one, too: nobody reads its body */
	unsigned streams; /* that it opens at most; 0: one */
};

struct abuse {
	struct abuse *next; /* of all */
	const struct abuse_kind *kind;
	struct world_start start;
	struct sim_timer begin, due, pace;
	struct link link;
	struct text out, in;
	size_t at, step;
	uint64_t after_us;
	unsigned index, pause_us;
	bool connected, done, reset, pinged, paused;
};

static struct abuse *abusers;
static unsigned nabusers;

#define ABUSE_OF(tp, member) CONTAINER_OF(tp, struct abuse, member)

unsigned abusers_connected(unsigned *streams)
{
	unsigned n = 0, most = world.setup.h2_streams ? world.setup.h2_streams : 128;

	*streams = 0;
	for (struct abuse *a = abusers; a; a = a->next) {
		n += a->connected;
		*streams += a->connected ? MIN_OF(MAX_OF(a->kind->streams, 1u), most) : 0;
	}
	return n;
}

/* ---- frames ---- */

static void put_frame(struct text *t, unsigned type, unsigned flags, uint32_t id, const void *p,
		      size_t n)
{
	const unsigned char head[9] = {
		(unsigned char)(n >> 16),  (unsigned char)(n >> 8),  (unsigned char)n,
		(unsigned char)type,	   (unsigned char)flags,     (unsigned char)(id >> 24),
		(unsigned char)(id >> 16), (unsigned char)(id >> 8), (unsigned char)id};

	text_add(t, head, sizeof(head));
	text_add(t, p, n);
}

static void put_number(struct text *t, unsigned type, uint32_t id, uint32_t v)
{
	const unsigned char p[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
				    (unsigned char)(v >> 8), (unsigned char)v};

	put_frame(t, type, 0, id, p, 4);
}

static void put_setting(struct text *t, unsigned id, uint32_t v)
{
	const unsigned char p[6] = {0,
				    (unsigned char)id,
				    (unsigned char)(v >> 24),
				    (unsigned char)(v >> 16),
				    (unsigned char)(v >> 8),
				    (unsigned char)v};

	put_frame(t, NGHTTP2_SETTINGS, 0, 0, p, 6);
}

/* A literal field without a place in the table (RFC 7541 6.2.2); values below 127 bytes. */
static void put_field(struct text *t, const char *name, const char *value)
{
	const unsigned char lengths[2] = {(unsigned char)strlen(name),
					  (unsigned char)strlen(value)};

	text_add(t, "\0", 1);
	text_add(t, &lengths[0], 1);
	text_add(t, name, lengths[0]);
	text_add(t, &lengths[1], 1);
	text_add(t, value, lengths[1]);
}

/* The four that a request has, and one more. */
static void put_head(struct text *t, const char *method, const char *path, const char *name,
		     const char *value)
{
	put_field(t, ":method", method);
	put_field(t, ":scheme", "http");
	put_field(t, ":authority", "sim");
	put_field(t, ":path", path);
	if (name)
		put_field(t, name, value);
}

static const char *path_of(enum route_kind kind, const char *rest)
{
	static char path[40];

	snprintf(path, sizeof(path), "%s%s", route_find_kind(&world.setup, kind)->prefix, rest);
	return path;
}

static void put_request(struct text *t, uint32_t id, bool end, const char *method, const char *path,
			const char *name, const char *value)
{
	struct text head = {0};

	put_head(&head, method, path, name, value);
	put_frame(t, NGHTTP2_HEADERS,
		  NGHTTP2_FLAG_END_HEADERS | (end ? NGHTTP2_FLAG_END_STREAM : 0), id, head.p,
		  head.n);
	text_fini(&head);
}

static void put_get(struct text *t, uint32_t id, const char *name, const char *value)
{
	put_request(t, id, true, "GET", path_of(ROUTE_RETURN, "0"), name, value);
}

static void put_post(struct text *t, uint32_t id, const char *name, const char *value)
{
	put_request(t, id, false, "POST", path_of(ROUTE_RETURN, "0"), name, value);
}

/* ---- the table ---- */

static void make_bad_preface(struct text *t)
{
	text_printf(t, "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n");
}

static void make_data_on_0(struct text *t)
{
	put_frame(t, NGHTTP2_DATA, 0, 0, "x", 1);
}

static void make_head_on_0(struct text *t)
{
	put_get(t, 0, NULL, NULL);
}

static void make_even_stream(struct text *t)
{
	put_get(t, 2, NULL, NULL);
}

static void make_backwards(struct text *t)
{
	put_get(t, 5, NULL, NULL);
	put_get(t, 3, NULL, NULL);
}

static void make_lone_continuation(struct text *t)
{
	put_frame(t, NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 1, "", 0);
}

static void make_interrupted_head(struct text *t)
{
	put_frame(t, NGHTTP2_HEADERS, 0, 1, "\x82", 1);
	put_frame(t, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void make_settings_short(struct text *t)
{
	put_frame(t, NGHTTP2_SETTINGS, 0, 0, "12345", 5);
}

static void make_settings_stream(struct text *t)
{
	put_frame(t, NGHTTP2_SETTINGS, 0, 1, "", 0);
}

static void make_settings_window(struct text *t)
{
	put_setting(t, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0x80000000u);
}

static void make_settings_frame(struct text *t)
{
	put_setting(t, NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 100);
}

static void make_ping_short(struct text *t)
{
	put_frame(t, NGHTTP2_PING, 0, 0, "1234567", 7);
}

static void make_window_0(struct text *t)
{
	put_number(t, NGHTTP2_WINDOW_UPDATE, 0, 0);
}

static void make_window_over(struct text *t)
{
	put_number(t, NGHTTP2_WINDOW_UPDATE, 0, 0x7fffffff);
}

static void make_stream_window_over(struct text *t)
{
	put_post(t, 1, NULL, NULL);
	put_number(t, NGHTTP2_WINDOW_UPDATE, 1, 0x7fffffff);
}

static void make_long_frame(struct text *t)
{
	static const char p[20000];

	put_post(t, 1, NULL, NULL);
	put_frame(t, NGHTTP2_DATA, 0, 1, p, sizeof(p));
}

static void make_push(struct text *t)
{
	put_frame(t, NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1, "\0\0\0\2\x82", 5);
}

static void make_bad_hpack(struct text *t)
{
	put_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1,
		  "\xff\xff\xff\xff\xff\xff\xff", 7);
}

static void make_reset_idle(struct text *t)
{
	put_number(t, NGHTTP2_RST_STREAM, 7, NGHTTP2_CANCEL);
}

static void make_padding(struct text *t)
{
	put_post(t, 1, NULL, NULL);
	put_frame(t, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, "\x09xx", 3);
}

static void make_pings(struct text *t)
{
	for (unsigned i = 0; i < FLOOD; i++)
		put_frame(t, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void make_settings(struct text *t)
{
	for (unsigned i = 0; i < FLOOD; i++)
		put_setting(t, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 4096);
}

static void make_priorities(struct text *t)
{
	for (unsigned i = 0; i < FLOOD; i++)
		put_frame(t, NGHTTP2_PRIORITY, 0, 1 + 2 * i, "\0\0\0\0\1", 5);
}

static void make_unknown(struct text *t)
{
	for (unsigned i = 0; i < FLOOD; i++)
		put_frame(t, 0x77, 0, 0, "x", 1);
}

static void make_updates(struct text *t)
{
	for (unsigned i = 0; i < FLOOD; i++)
		put_number(t, NGHTTP2_WINDOW_UPDATE, 0, 1);
}

static void make_empty_data(struct text *t)
{
	put_post(t, 1, NULL, NULL);
	for (unsigned i = 0; i < FLOOD; i++)
		put_frame(t, NGHTTP2_DATA, 0, 1, "", 0);
}

static void make_rapid_reset(struct text *t)
{
	for (unsigned i = 0; i < FLOOD; i++) {
		put_post(t, 1 + 2 * i, NULL, NULL);
		put_number(t, NGHTTP2_RST_STREAM, 1 + 2 * i, NGHTTP2_CANCEL);
	}
}

static void make_refused(struct text *t)
{
	for (unsigned i = 0; i < FLOOD; i++)
		put_post(t, 1 + 2 * i, NULL, NULL);
}

static void make_continuations(struct text *t)
{
	put_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, "\x82", 1);
	for (unsigned i = 0; i < FLOOD; i++)
		put_frame(t, NGHTTP2_CONTINUATION, 0, 1, "", 0);
}

/* One field of 4000 bytes goes into the table, and is named again and again by a byte. */
static void make_bomb(struct text *t)
{
	struct text head = {0};

	put_head(&head, "GET", path_of(ROUTE_RETURN, "0"), NULL, NULL);
	text_add(&head, "\x40\x01z\x7f\xa1\x1e", 6); /* indexed: "z", 127 + 33 + 30 * 128 bytes */
	for (unsigned i = 0; i < 127 + 33 + 30 * 128; i++)
		text_add(&head, "b", 1);
	for (unsigned i = 0; i < 10000; i++)
		text_add(&head, "\xbe", 1);
	put_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1, head.p,
		  head.n);
	text_fini(&head);
}

/* Half a megabyte of fields. */
static void make_large_head(struct text *t)
{
	struct text head = {0};
	char value[101];

	memset(value, 'v', 100);
	value[100] = 0;
	put_head(&head, "GET", path_of(ROUTE_RETURN, "0"), NULL, NULL);
	put_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, head.p, head.n);
	for (unsigned i = 0; i < 32; i++) {
		head.n = 0;
		for (unsigned k = 0; k < 140; k++)
			put_field(&head, "x-large", value);
		put_frame(t, NGHTTP2_CONTINUATION, i == 31 ? NGHTTP2_FLAG_END_HEADERS : 0, 1,
			  head.p, head.n);
	}
	text_fini(&head);
}

static void make_upper_case(struct text *t)
{
	put_get(t, 1, "X-Upper", "1");
}

static void make_connection_field(struct text *t)
{
	put_get(t, 1, "connection", "close");
}

static void make_second_method(struct text *t)
{
	put_get(t, 1, ":method", "POST");
}

static void make_no_path(struct text *t)
{
	put_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1,
		  "\x82\x86", 2);
}

static void make_short_body(struct text *t)
{
	put_post(t, 1, "content-length", "10");
	put_frame(t, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "12345", 5);
}

static void make_long_body(struct text *t)
{
	put_post(t, 1, "content-length", "3");
	put_frame(t, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "12345", 5);
}

static void make_beyond_window(struct text *t)
{
	static const char p[16384];

	put_post(t, 1, NULL, NULL);
	for (unsigned i = 0; i < 64; i++)
		put_frame(t, NGHTTP2_DATA, 0, 1, p, sizeof(p));
}

/* Answers that nobody wants to have. */
static void make_unread(struct text *t)
{
	put_setting(t, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
	for (unsigned i = 0; i < 100; i++)
		put_request(t, 1 + 2 * i, true, "GET", path_of(ROUTE_FILES, "7.bin"), NULL, NULL);
}

static void make_half_head(struct text *t)
{
	put_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, "\x82", 1);
}

static void make_half_bodies(struct text *t)
{
	for (unsigned i = 0; i < 50; i++) {
		put_post(t, 1 + 2 * i, "content-length", "10000");
		put_frame(t, NGHTTP2_DATA, 0, 1 + 2 * i, "12345", 5);
	}
}

static void make_nothing(struct text *t)
{
}

static const struct abuse_kind kinds[] = {
	{"a broken preface", FATE_END, make_bad_preface, .bare = true},
	{"DATA on stream 0", FATE_END, make_data_on_0},
	{"HEADERS on stream 0", FATE_END, make_head_on_0},
	{"a stream with an even number", FATE_END, make_even_stream},
	{"a stream below another", FATE_END, make_backwards},
	{"CONTINUATION of nothing", FATE_END, make_lone_continuation},
	{"a frame inside a header block", FATE_END, make_interrupted_head},
	{"SETTINGS of 5 bytes", FATE_END, make_settings_short},
	{"SETTINGS on a stream", FATE_END, make_settings_stream},
	{"an impossible window", FATE_END, make_settings_window},
	{"an impossible frame size", FATE_END, make_settings_frame},
	{"PING of 7 bytes", FATE_END, make_ping_short},
	{"WINDOW_UPDATE of 0", FATE_END, make_window_0},
	{"a window that overflows", FATE_END, make_window_over},
	{"a stream's window that overflows", FATE_RESET, make_stream_window_over, .answered = true},
	{"a frame too long", FATE_END, make_long_frame},
	{"PUSH_PROMISE", FATE_END, make_push},
	{"a block that cannot be decoded", FATE_END, make_bad_hpack},
	{"RST_STREAM of an idle stream", FATE_END, make_reset_idle},
	{"padding longer than its frame", FATE_END_RESET,
	 make_padding}, /* what comes behind an answer is passed over */
	{"many PINGs", FATE_END, make_pings},
	{"many SETTINGS", FATE_END, make_settings},
	{"many PRIORITYs", FATE_END, make_priorities},
	{"many frames of no known type", FATE_END, make_unknown},
	{"many WINDOW_UPDATEs", FATE_END, make_updates},
	{"many empty DATAs", FATE_END, make_empty_data},
	{"many streams that are reset at once", FATE_END, make_rapid_reset, .streams = FLOOD},
	{"many streams above the limit", FATE_END, make_refused, .streams = FLOOD},
	{"many empty CONTINUATIONs", FATE_END, make_continuations},
	{"a block that unfolds to 40 MB", FATE_END_RESET, make_bomb},
	{"half a megabyte of fields", FATE_END_RESET, make_large_head},
	{"a name in upper case", FATE_RESET, make_upper_case},
	{"Connection", FATE_RESET, make_connection_field},
	{"two methods", FATE_RESET, make_second_method},
	{"no path", FATE_RESET, make_no_path},
	{"a body shorter than its length", FATE_RESET, make_short_body, .answered = true},
	{"a body longer than its length", FATE_RESET, make_long_body, .answered = true},
	{"more than the window", FATE_END_RESET, make_beyond_window},
	{"answers that are never read", FATE_TIMEOUT, make_unread, .streams = 100},
	{"half a head", FATE_TIMEOUT, make_half_head},
	{"bodies that do not end", FATE_TIMEOUT, make_half_bodies, .streams = 50},
	{"silence", FATE_TIMEOUT, make_nothing},
};

unsigned abuse_kinds(void)
{
	return sizeof(kinds) / sizeof(*kinds);
}

/* ---- what comes of it ---- */

static void abuse_end(struct abuse *a, const char *how)
{
	if (a->done)
		return;
	a->done = true;
	sim_note("client %u (%s): %s", a->index, a->kind->name, how);
	sim_timer_stop(&a->due);
	sim_timer_stop(&a->pace);
	sim_timer_stop(&a->begin);
	if (a->connected)
		link_close(&a->link, sim_chance(3000));
	a->connected = false;
	text_fini(&a->out);
	text_fini(&a->in);
	world_client_done();
}

static bool abuse_is_judged(void)
{
	return !world.destructive && !world.ending;
}

/* The connection is over. */
static void abuse_over(struct abuse *a)
{
	if (a->kind->fate == FATE_RESET && !a->reset && abuse_is_judged())
		sim_broken("abuse", "client %u (%s): the connection ended, not the stream alone",
			   a->index, a->kind->name);
	abuse_end(a, "the worker ends it");
}

static void abuse_goaway(struct abuse *a, uint32_t error)
{
	sim_note("client %u (%s): GOAWAY, error %u", a->index, a->kind->name, error);
	if (error && a->kind->fate == FATE_TIMEOUT && abuse_is_judged() &&
	    error != NGHTTP2_ENHANCE_YOUR_CALM)
		sim_broken("abuse", "client %u (%s): GOAWAY with error %u", a->index, a->kind->name,
			   error);
	if (error && a->kind->fate != FATE_TIMEOUT)
		abuse_over(a);
}

static void abuse_refused(struct abuse *a)
{
	if (a->kind->fate == FATE_END || a->kind->fate == FATE_TIMEOUT || a->reset)
		return;
	a->reset = true;
	sim_note("client %u (%s): its stream is refused", a->index, a->kind->name);
	put_frame(&a->out, NGHTTP2_PING, 0, 0, "12345678", 8);
}

/* ":status 200" of the static table, behind changes of the dynamic one's size (RFC 7541 6). */
static bool says_200(const unsigned char *p, size_t n)
{
	size_t at = 0;

	while (at < n && (p[at] & 0xe0) == 0x20) {
		bool more = (p[at++] & 0x1f) == 0x1f;

		while (more && at < n)
			more = p[at++] & 0x80;
	}
	return at < n && p[at] == 0x88;
}

static void abuse_frame(struct abuse *a, const unsigned char *p, size_t n)
{
	uint32_t id = ((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]) &
		      INT32_MAX;

	switch (p[3]) {
	case NGHTTP2_GOAWAY:
		if (n >= 8)
			abuse_goaway(a, (uint32_t)p[13] << 24 | (uint32_t)p[14] << 16 |
						(uint32_t)p[15] << 8 | p[16]);
		break;
	case NGHTTP2_RST_STREAM:
		if (id == 1)
			abuse_refused(a);
		break;
	case NGHTTP2_HEADERS:
		if (id == 1 && n && a->kind->fate == FATE_RESET && !a->kind->answered &&
		    says_200(p + 9, n) && abuse_is_judged())
			sim_broken("malformed", "client %u: %s was answered with 200", a->index,
				   a->kind->name);
		if (id == 1 && a->kind->fate != FATE_END)
			abuse_refused(a);
		break;
	case NGHTTP2_PING:
		if (a->reset && (p[4] & NGHTTP2_FLAG_ACK))
			abuse_end(a, "and goes on");
		break;
	default:
		break;
	}
}

/* Whole frames; what is in their bodies does not matter. */
static void abuse_input(struct abuse *a)
{
	size_t at = 0;

	while (!a->done && a->in.n - at >= 9) {
		const unsigned char *p = (const unsigned char *)a->in.p + at;
		size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

		if (a->in.n - at < n + 9)
			break;
		abuse_frame(a, p, n);
		at += n + 9;
	}
	if (a->done)
		return;
	memmove(a->in.p, a->in.p + at, a->in.n - at);
	a->in.n -= at;
}

static void abuse_due(struct sim_timer *t)
{
	struct abuse *a = ABUSE_OF(t, due);

	if (abuse_is_judged())
		sim_broken("abuse", "client %u (%s): the connection goes on", a->index,
			   a->kind->name);
	abuse_end(a, "enough");
}

/* ---- moving bytes ---- */

static void abuse_push(struct abuse *a)
{
	while (!a->done && !a->paused && a->at < a->out.n) {
		size_t n = a->out.n - a->at, k;

		n = MIN_OF(n, a->step ? a->step : 8192);
		k = link_write(&a->link, a->out.p + a->at, n);
		a->at += k;
		if (k < n)
			return;
		if (a->step) {
			a->paused = true;
			sim_timer_start(&a->pace, sim_now_us() + a->pause_us);
		}
	}
}

static void abuse_pace(struct sim_timer *t)
{
	struct abuse *a = ABUSE_OF(t, pace);

	a->paused = false;
	abuse_push(a);
}

static void abuse_pull(struct abuse *a)
{
	char p[8192];
	ssize_t n = 0;

	while (!a->done && (n = link_read(&a->link, p, sizeof(p))) > 0) {
		if (a->kind->bare) /* it is not answered in frames */
			continue;
		text_add(&a->in, p, (size_t)n);
		abuse_input(a);
	}
	if (!a->done && n < 0)
		abuse_over(a);
	else if (!a->done)
		abuse_push(a);
}

static void abuse_on_move(struct sim_conn *c)
{
	struct abuse *a = sim_conn_owner(c);

	if (!link_move(&a->link))
		abuse_over(a);
	else if (a->link.ready)
		abuse_pull(a);
}

static void abuse_on_refused(struct sim_conn *c, int err)
{
	struct abuse *a = sim_conn_owner(c);

	a->connected = false;
	abuse_end(a, "refused");
}

/* What came before the reset is read first. */
static void abuse_on_reset(struct sim_conn *c)
{
	struct abuse *a = sim_conn_owner(c);

	if (a->link.ready)
		abuse_pull(a);
	if (!a->done)
		abuse_over(a);
}

static const struct sim_conn_ops abuse_ops = {
	.connected = abuse_on_move,
	.refused = abuse_on_refused,
	.readable = abuse_on_move,
	.writable = abuse_on_move,
	.reset = abuse_on_reset,
};

static uint64_t abuse_patience(const struct abuse *a)
{
	const struct setup *s = &world.setup;
	uint64_t us = PATIENCE_US + 40 * world_latency_us() +
		      (a->step ? (a->out.n / a->step + 1) * a->pause_us : 0) +
		      (a->out.n / world.o.sndbuf_min + 1) * 3 * world_latency_us();

	if (a->kind->fate == FATE_TIMEOUT)
		us += LINGER_US + 1000ull * (s->header_timeout + s->body_timeout + s->send_timeout +
					     s->keepalive_timeout + s->lingering_time);
	return us;
}

static void abuse_begin(struct sim_timer *t)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	struct abuse *a = ABUSE_OF(t, begin);
	struct place to = setup_listen_addr(PORT_PLAIN);

	if (world_is_leaving()) {
		abuse_end(a, "too late");
		return;
	}
	a->connected = true;
	sim_note("client %u begins: %s", a->index, a->kind->name);
	if (!a->kind->bare) {
		text_add(&a->out, preface, sizeof(preface) - 1);
		put_frame(&a->out, NGHTTP2_SETTINGS, 0, 0, "", 0);
	}
	a->kind->make(&a->out);
	if (sim_chance(3000)) {
		a->step = 1 + (size_t)sim_draw(1000) + a->out.n / 500;
		a->pause_us = (unsigned)sim_draw(1000);
	}
	sim_timer_start(&a->due, sim_now_us() + abuse_patience(a));
	link_init(
		&a->link,
		sim_connect(setup_client_addr(a->index, PORT_PLAIN), &to.sa, to.len, &abuse_ops, a),
		false);
}

static void abuse_serving(struct world_start *w)
{
	struct abuse *a = ABUSE_OF(w, start);

	sim_timer_start(&a->begin, sim_now_us() + a->after_us);
}

void abuse_start(unsigned nth, uint64_t after_us)
{
	struct abuse *a = calloc(1, sizeof(*a));

	BUG_ON(!a || nth >= abuse_kinds());
	*a = (struct abuse){.kind = &kinds[nth],
			    .next = abusers,
			    .index = FIRST_INDEX + nabusers++,
			    .after_us = after_us,
			    .start.fn = abuse_serving,
			    .begin.run = abuse_begin,
			    .due.run = abuse_due,
			    .pace.run = abuse_pace};
	abusers = a;
	world_client_new();
	world_when_serving(&a->start);
}
