/* Over real loopback sockets: a server made of raw frames, in this thread. Time can be moved on. */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <unistd.h>
#include "base/pool.h"
#include "io/loop.h"
#include "proxy/group_fixture.h"
#include "proxy/h2_upconn.h"

#define HEAD_200 "\x88" /* HPACK: the static table's ":status: 200" */
#define NFRAMES	 4096

static struct group_fixture fixture;
static struct group *group;
static int listener;
static struct sys_ops ops;
static uint64_t skew_us;
static int sndbuf;	/* of connections; 0: the system's */
static bool vanished;	/* TCP says so of every connection */
static bool all_unread; /* and that nothing was acknowledged */

static uint64_t skewed_mono_us(void)
{
	return sys_linux.mono_us() + skew_us;
}

static int lying_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	struct tcp_info *info = val;
	int rc = sys_linux.getsockopt(fd, level, name, val, len);

	if (rc == 0 && level == IPPROTO_TCP && name == TCP_INFO && vanished) {
		info->tcpi_unacked = 1;
		info->tcpi_retransmits = 5;
		if (all_unread)
			info->tcpi_bytes_acked = 1;
	}
	return rc;
}

/* ---- the server ---- */

struct frame {
	uint8_t type, flags;
	int32_t stream;
	size_t n;
	uint32_t first; /* the first four bytes of its payload */
};

struct backend {
	int fd;
	struct frame frames[NFRAMES];
	size_t nframes, seen; /* seen: expect_frame has looked at them */
	size_t skip;	      /* of the client's first words */
	uint8_t *buf;
	size_t len;
};

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#define SERVER_BUF (1 << 20)

static void server_accept(struct backend *s)
{
	struct pollfd p = {listener, POLLIN, 0};
	int on = 1;

	*s = (struct backend){.skip = 24};
	assert_int_equal(poll(&p, 1, 5000), 1);
	s->fd = accept(listener, NULL, NULL);
	assert_true(s->fd >= 0);
	assert_int_equal(fcntl(s->fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	s->buf = mem_alloc(SERVER_BUF);
	assert_non_null(s->buf);
}

static void server_close(struct backend *s)
{
	close(s->fd);
	mem_free(s->buf);
	s->buf = NULL;
}

/* Nobody else wants to connect. */
static void nobody_connects(void)
{
	struct pollfd p = {listener, POLLIN, 0};

	assert_int_equal(poll(&p, 1, 0), 0);
}

static size_t server_parse(struct backend *s, size_t at)
{
	while (s->len - at >= 9) {
		const uint8_t *p = s->buf + at;
		size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

		if (s->len - at < 9 + n)
			break;
		assert_true(s->nframes < NFRAMES);
		s->frames[s->nframes++] =
			(struct frame){p[3], p[4], (int32_t)(be32(p + 5) & 0x7fffffff), n,
				       n >= 4 ? be32(p + 9) : 0};
		at += 9 + n;
	}
	return at;
}

/* What has arrived. False: the end, or a reset. */
static bool server_read(struct backend *s)
{
	for (;;) {
		ssize_t n = read(s->fd, s->buf + s->len, SERVER_BUF - s->len);
		size_t at;

		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			return false;
		s->len += (size_t)n;
		if (s->skip && s->len < s->skip)
			continue;
		at = server_parse(s, s->skip);
		s->skip = 0;
		memmove(s->buf, s->buf + at, s->len - at);
		s->len -= at;
	}
}

/* A frame of that kind that was not looked at yet, on that stream (-1: any), or NULL. */
static struct frame *server_find(struct backend *s, uint8_t type, int32_t stream)
{
	server_read(s);
	while (s->seen < s->nframes) {
		struct frame *f = &s->frames[s->seen++];

		if (f->type == type && (stream < 0 || f->stream == stream))
			return f;
	}
	return NULL;
}

static void turns(int n)
{
	while (n-- > 0)
		io_loop_turn(1);
}

static struct frame *expect_frame(struct backend *s, uint8_t type, int32_t stream)
{
	struct frame *f = NULL;

	for (int i = 0; i < 2000 && !f; i++) {
		io_loop_turn(5);
		f = server_find(s, type, stream);
	}
	assert_non_null(f);
	return f;
}

static void expect_no_frame(struct backend *s, uint8_t type)
{
	turns(10);
	assert_null(server_find(s, type, -1));
}

static void expect_end(struct backend *s)
{
	for (int i = 0; i < 2000 && server_read(s); i++)
		io_loop_turn(5);
	assert_false(server_read(s));
}

static void send_frame(struct backend *s, uint8_t type, uint8_t flags, int32_t stream,
		       const void *payload, size_t n)
{
	uint8_t head[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags};
	const char *p = payload;

	head[5] = (uint8_t)(stream >> 24);
	head[6] = (uint8_t)(stream >> 16);
	head[7] = (uint8_t)(stream >> 8);
	head[8] = (uint8_t)stream;
	assert_int_equal(write(s->fd, head, 9), 9);
	for (size_t put = 0; put < n;) {
		ssize_t k = write(s->fd, p + put, n - put);

		if (k > 0)
			put += (size_t)k;
		else
			assert_int_equal(errno, EAGAIN);
		if (put < n)
			io_loop_turn(1);
	}
}

static void send_numbers(struct backend *s, uint8_t type, int32_t stream, uint32_t a, uint32_t b,
			 size_t n)
{
	uint8_t p[8] = {(uint8_t)(a >> 24), (uint8_t)(a >> 16), (uint8_t)(a >> 8), (uint8_t)a,
			(uint8_t)(b >> 24), (uint8_t)(b >> 16), (uint8_t)(b >> 8), (uint8_t)b};

	send_frame(s, type, 0, stream, p, n);
}

static void send_setting(struct backend *s, uint16_t id, uint32_t v)
{
	uint8_t p[6] = {(uint8_t)(id >> 8), (uint8_t)id,       (uint8_t)(v >> 24),
			(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

	send_frame(s, NGHTTP2_SETTINGS, 0, 0, p, sizeof(p));
}

/* Its SETTINGS, which must come before anything else, and that it knows ours. */
static void server_hello(struct backend *s)
{
	send_frame(s, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
	send_frame(s, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
}

static void send_reset(struct backend *s, int32_t stream, uint32_t code)
{
	send_numbers(s, NGHTTP2_RST_STREAM, stream, code, 0, 4);
}

static void send_goaway(struct backend *s, int32_t last, uint32_t code)
{
	send_numbers(s, NGHTTP2_GOAWAY, 0, (uint32_t)last, code, 8);
}

static void send_head(struct backend *s, int32_t stream, bool end)
{
	send_frame(s, NGHTTP2_HEADERS,
		   NGHTTP2_FLAG_END_HEADERS | (end ? NGHTTP2_FLAG_END_STREAM : 0), stream, HEAD_200,
		   1);
}

static void send_data(struct backend *s, int32_t stream, size_t n, bool end)
{
	static const char zeroes[16384];

	while (n) {
		size_t k = MIN_OF(n, sizeof(zeroes));

		n -= k;
		send_frame(s, NGHTTP2_DATA, end && !n ? NGHTTP2_FLAG_END_STREAM : 0, stream, zeroes,
			   k);
	}
}

/* ---- requests ---- */

struct call {
	struct pick pick;
	struct upconn_want want;
	struct upconn *plain;
	struct h2_stream st;
	struct arena arena;
	struct http_response resp;
	enum fail fail; /* of taking a connection, then of opening a stream */
	int64_t connect_us;
	bool done;
	const char *body;
	size_t body_len;
};

static void call_submit(struct call *c)
{
	struct h2_fields f;

	h2_fields_init(&f, &c->arena, 4);
	h2_fields_add(&f, SPAN(":method"), c->body ? SPAN("POST") : SPAN("GET"), 0);
	h2_fields_add(&f, SPAN(":scheme"), SPAN("http"), 0);
	h2_fields_add(&f, SPAN(":path"), SPAN("/"), 0);
	h2_fields_add(&f, SPAN(":authority"), SPAN("a"), 0);
	c->st.arena = &c->arena;
	c->st.resp = &c->resp;
	c->st.limits = (struct h2_limits){.line_max = 4096, .total_max = 4096, .headers_max = 100};
	c->st.method = c->body ? METHOD_POST : METHOD_GET;
	c->st.has_body = c->body;
	c->st.piece = (struct piece){.kind = PIECE_MEM, .mem = {c->body, c->body_len}};
	c->st.piece_last = c->body;
	c->fail = h2_stream_open(&c->st, &f);
}

static void call_co(void *arg)
{
	struct call *c = arg;

	c->fail = h2_upconn_take(&c->pick, &c->want, true, &c->st, &c->plain, &c->connect_us);
	if (c->fail == FAIL_OK)
		call_submit(c);
	c->done = true;
}

static void call_start(struct call *c)
{
	const char *body = c->body;
	size_t n = c->body_len;

	*c = (struct call){.want = {.connect_timeout_ms = 5000, .sndbuf = sndbuf},
			   .body = body,
			   .body_len = n};
	arena_init(&c->arena, 1 << 20);
	list_init(&c->st.link);
	pick_init(&c->pick, group, NULL);
	assert_int_equal(pick_next(&c->pick), FAIL_OK);
	assert_int_equal(co_start(call_co, c), 0);
}

static void call_ready(struct call *c)
{
	for (int i = 0; i < 2000 && !c->done; i++)
		io_loop_turn(5);
	assert_true(c->done);
	assert_int_equal(c->fail, FAIL_OK);
}

static void call_go(struct call *c)
{
	c->body = NULL;
	call_start(c);
	call_ready(c);
}

static void call_over(struct call *c)
{
	h2_stream_leave(&c->st);
	inbuf_free(&c->st.in);
	pick_end(&c->pick, false);
	arena_fini(&c->arena);
}

/* Waits until it is on no connection any more: why. */
static enum fail call_failed(struct call *c)
{
	for (int i = 0; i < 2000 && c->st.conn; i++)
		io_loop_turn(5);
	assert_null(c->st.conn);
	return c->st.fail;
}

static void call_answered(struct call *c)
{
	for (int i = 0; i < 2000 && !c->st.ended && c->st.conn; i++)
		io_loop_turn(5);
	assert_true(c->st.ended);
	assert_int_equal(c->resp.status, 200);
}

static unsigned connections(unsigned *nstreams)
{
	unsigned n;

	return h2_upconn_count(nstreams ? nstreams : &n);
}

static void wait_connections(unsigned n)
{
	for (int i = 0; i < 2000 && connections(NULL) != n; i++)
		io_loop_turn(5);
	assert_int_equal(connections(NULL), n);
}

static void begin(const char *more)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	char text[256];

	listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(listener, 64), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&in, &len), 0);
	snprintf(text, sizeof(text), "server 127.0.0.1:%d; %s", ntohs(in.sin_port), more);
	group = fixture_group(&fixture, text);
	vanished = all_unread = false;
	sndbuf = 0;
}

static void finish(void)
{
	unsigned nstreams;

	h2_upconn_thread_fini();
	assert_int_equal(connections(&nstreams), 0);
	assert_int_equal(nstreams, 0);
	fixture_free(&fixture);
	close(listener);
}

/* What was sent arrives, then time passes. */
static void later(uint64_t ms)
{
	turns(5);
	skew_us += ms * 1000;
	turns(5);
}

/* ---- who shares what ---- */

static struct backend one, two;
static struct call a, b, c, d;

/* Those who come while somebody connects wait for him, and nobody waits for SETTINGS. */
static void one_connection_for_many(void **state)
{
	struct call *calls[] = {&a, &b, &c};
	unsigned n;

	begin("");
	for (int i = 0; i < 3; i++) {
		calls[i]->body = NULL;
		call_start(calls[i]);
	}
	for (int i = 0; i < 3; i++)
		call_ready(calls[i]);
	server_accept(&one);
	for (int i = 1; i <= 5; i += 2)
		expect_frame(&one, NGHTTP2_HEADERS, i);
	nobody_connects();
	assert_int_equal(connections(&n), 1);
	assert_int_equal(n, 3);
	assert_false(a.st.reused || b.st.reused || c.st.reused); /* it has proved nothing yet */
	assert_int_equal(h2_stream_extended_connect(&a.st), H2_NOT_YET);
	send_setting(&one, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
	expect_frame(&one, NGHTTP2_SETTINGS, 0);
	assert_int_equal(h2_stream_extended_connect(&a.st), H2_YES);
	for (int i = 0; i < 3; i++) {
		send_head(&one, a.st.id + 2 * i, true);
		call_answered(calls[i]);
		call_over(calls[i]);
	}
	assert_int_equal(connections(&n), 1);
	assert_int_equal(n, 0);
	call_go(&a);
	assert_true(a.st.reused);
	call_over(&a);
	server_close(&one);
	wait_connections(0);
	finish();
}

static void the_servers_limit_changes(void **state)
{
	begin("");
	call_go(&a);
	call_go(&b);
	server_accept(&one);
	send_setting(&one, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2);
	expect_frame(&one, NGHTTP2_SETTINGS, 0); /* the acknowledgement */
	expect_frame(&one, NGHTTP2_SETTINGS, 0);
	call_go(&c);
	server_accept(&two);
	assert_ptr_not_equal(c.st.conn, a.st.conn);
	assert_ptr_equal(b.st.conn, a.st.conn);
	send_setting(&one, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 3);
	expect_frame(&one, NGHTTP2_SETTINGS, 0);
	send_setting(&two, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
	expect_frame(&two, NGHTTP2_SETTINGS, 0);
	expect_frame(&two, NGHTTP2_SETTINGS, 0);
	call_go(&d);
	assert_ptr_equal(d.st.conn, a.st.conn);
	call_over(&d);
	/* Lower than what is open: nothing is taken away, nothing is added. */
	send_setting(&one, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
	expect_frame(&one, NGHTTP2_SETTINGS, 0);
	assert_non_null(a.st.conn);
	assert_non_null(b.st.conn);
	call_over(&c);
	call_go(&c); /* in the place of the one that left */
	nobody_connects();
	assert_ptr_not_equal(c.st.conn, a.st.conn);
	call_over(&a);
	call_over(&b);
	call_over(&c);
	server_close(&one);
	server_close(&two);
	wait_connections(0);
	finish();
}

/* Begun before the server said how many it takes, and not sent yet: another connection can have
 * them. What has left is the server's to refuse. */
static void the_limit_comes_late(void **state)
{
	begin("");
	call_go(&a);
	server_accept(&one);
	send_setting(&one, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2);
	call_start(&b);
	call_start(&c);
	assert_ptr_equal(c.st.conn, a.st.conn);
	expect_frame(&one, NGHTTP2_HEADERS, 3);
	assert_non_null(b.st.conn);
	assert_null(c.st.conn);
	assert_int_equal(c.st.fail, FAIL_UPSTREAM_FULL);
	call_over(&a);
	call_over(&b);
	call_over(&c);
	server_close(&one);
	wait_connections(0);
	finish();
}

/* "None at all" is said by servers that are busy: a connection that nobody may use is no help. */
static void no_streams_allowed(void **state)
{
	begin("");
	call_go(&a);
	server_accept(&one);
	send_setting(&one, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0);
	expect_frame(&one, NGHTTP2_SETTINGS, 0);
	expect_frame(&one, NGHTTP2_SETTINGS, 0);
	call_go(&b);
	server_accept(&two);
	server_hello(&two);
	expect_frame(&two, NGHTTP2_HEADERS, 1);
	send_head(&one, 1, true);
	call_answered(&a);
	call_over(&a);
	call_over(&b);
	server_close(&one);
	server_close(&two);
	wait_connections(0);
	finish();
}

static void limits_of_the_group(void **state)
{
	begin("keepalive 1; keepalive_requests 2; keepalive_timeout 7s;");
	call_go(&a);
	call_go(&b);
	call_go(&c); /* a connection carries two */
	server_accept(&one);
	server_hello(&one);
	server_accept(&two);
	server_hello(&two);
	assert_ptr_equal(a.st.conn, b.st.conn);
	assert_ptr_not_equal(a.st.conn, c.st.conn);
	call_over(&a);
	assert_int_equal(connections(NULL), 2);
	call_over(&b);
	expect_frame(&one, NGHTTP2_GOAWAY, 0);
	expect_end(&one);
	wait_connections(1);
	call_over(&c);
	turns(5);
	assert_int_equal(connections(NULL), 1);
	later(6000);
	assert_int_equal(connections(NULL), 1);
	later(1500);
	wait_connections(0);
	expect_frame(&two, NGHTTP2_GOAWAY, 0);
	server_close(&one);
	server_close(&two);
	finish();
}

static void the_oldest_idle_one_goes(void **state)
{
	begin("keepalive 1;");
	call_go(&a);
	server_accept(&one);
	send_setting(&one, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
	expect_frame(&one, NGHTTP2_SETTINGS, 0);
	expect_frame(&one, NGHTTP2_SETTINGS, 0);
	call_go(&b);
	server_accept(&two);
	server_hello(&two);
	call_over(&a);
	turns(3);
	assert_int_equal(connections(NULL), 2);
	call_over(&b);
	wait_connections(1);
	expect_end(&one);
	assert_true(server_read(&two));
	server_close(&one);
	server_close(&two);
	wait_connections(0);
	finish();
}

/* ---- ends ---- */

static void goaway(void **state)
{
	begin("");
	call_go(&a);
	call_go(&b);
	server_accept(&one);
	server_hello(&one);
	expect_frame(&one, NGHTTP2_HEADERS, 3);
	send_goaway(&one, 1, NGHTTP2_NO_ERROR);
	assert_int_equal(call_failed(&b), FAIL_UPSTREAM_REFUSED);
	assert_non_null(a.st.conn);
	call_go(&c);
	server_accept(&two);
	server_hello(&two);
	assert_ptr_not_equal(a.st.conn, c.st.conn);
	send_head(&one, 1, false);
	send_data(&one, 1, 10, true);
	call_answered(&a);
	assert_int_equal(inbuf_len(&a.st.in), 10);
	call_over(&a);
	call_over(&b);
	expect_end(&one);
	/* One that names no stream yet: all go on, none is added. */
	send_goaway(&two, 0x7fffffff, NGHTTP2_NO_ERROR);
	turns(5);
	server_close(&one);
	call_go(&a);
	server_accept(&one);
	server_hello(&one);
	assert_non_null(c.st.conn);
	send_goaway(&two, 1, NGHTTP2_NO_ERROR); /* and now it does */
	turns(3);
	send_head(&two, 1, true);
	call_answered(&c);
	call_over(&c);
	expect_end(&two);
	/* The end comes before the answer does. */
	send_goaway(&one, 1, NGHTTP2_INTERNAL_ERROR);
	assert_int_equal(shutdown(one.fd, SHUT_WR), 0);
	assert_int_equal(call_failed(&a), FAIL_UPSTREAM_CLOSED);
	assert_false(a.st.unseen);
	call_over(&a);
	server_close(&one);
	server_close(&two);
	wait_connections(0);
	finish();
}

static void resets(void **state)
{
	static const struct {
		uint32_t code;
		enum fail fail;
	} codes[] = {
		{NGHTTP2_NO_ERROR, FAIL_UPSTREAM_RESET},
		{NGHTTP2_CANCEL, FAIL_UPSTREAM_RESET},
		{NGHTTP2_INTERNAL_ERROR, FAIL_UPSTREAM_RESET},
		{NGHTTP2_HTTP_1_1_REQUIRED, FAIL_UPSTREAM_HTTP1},
		{12345, FAIL_UPSTREAM_RESET},
		{NGHTTP2_REFUSED_STREAM, FAIL_UPSTREAM_FULL},
	};

	begin("");
	call_go(&a);
	server_accept(&one);
	server_hello(&one);
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		call_go(&b);
		expect_frame(&one, NGHTTP2_HEADERS, b.st.id);
		send_reset(&one, b.st.id, codes[i].code);
		assert_int_equal(call_failed(&b), codes[i].fail);
		call_over(&b);
	}
	/* It refused with one open: that is what it takes now. */
	call_go(&b);
	server_accept(&two);
	server_hello(&two);
	assert_ptr_not_equal(a.st.conn, b.st.conn);
	send_head(&one, a.st.id, false);
	send_data(&one, a.st.id, 10, false);
	send_reset(&one, a.st.id, NGHTTP2_REFUSED_STREAM); /* a lie: it has begun to answer */
	assert_int_equal(call_failed(&a), FAIL_UPSTREAM_TRUNCATED);
	call_over(&a);
	send_head(&two, b.st.id, false);
	send_reset(&two, b.st.id, NGHTTP2_CANCEL);
	assert_int_equal(call_failed(&b), FAIL_UPSTREAM_TRUNCATED);
	call_over(&b);
	server_close(&one);
	server_close(&two);
	wait_connections(0);
	finish();
}

/* A request that was given up before it left needs no words. */
static void cancelled(void **state)
{
	begin("");
	call_go(&a);
	server_accept(&one);
	server_hello(&one);
	expect_frame(&one, NGHTTP2_HEADERS, 1);
	call_over(&a);
	assert_int_equal(expect_frame(&one, NGHTTP2_RST_STREAM, 1)->first, NGHTTP2_CANCEL);
	/* What still comes of it is nobody's. */
	send_head(&one, 1, false);
	send_data(&one, 1, 100, true);
	call_go(&b);
	expect_frame(&one, NGHTTP2_HEADERS, b.st.id);
	send_head(&one, b.st.id, true);
	call_answered(&b);
	call_over(&b);
	nobody_connects();
	server_close(&one);
	wait_connections(0);
	finish();
}

/* Ends without a GOAWAY. */
static void closed(void **state)
{
	begin("");
	call_go(&a);
	server_accept(&one);
	server_hello(&one);
	expect_frame(&one, NGHTTP2_HEADERS, 1);
	call_go(&b); /* leaves when the server has closed already, and nobody here knows */
	server_close(&one);
	assert_int_equal(call_failed(&a), FAIL_UPSTREAM_CLOSED);
	assert_false(a.st.unseen); /* it was read: who knows */
	assert_int_equal(call_failed(&b), FAIL_UPSTREAM_CLOSED);
	assert_true(b.st.unseen);
	call_over(&a);
	call_over(&b);
	wait_connections(0);
	finish();
}

/* A server that has read a part and closes resets, too: nothing is certain. */
static void reset_by_the_server(void **state)
{
	begin("");
	call_go(&a);
	server_accept(&one);
	server_hello(&one);
	expect_frame(&one, NGHTTP2_HEADERS, 1);
	call_go(&b);
	turns(3);
	server_close(&one);
	assert_int_equal(call_failed(&a), FAIL_UPSTREAM_RESET);
	assert_int_equal(call_failed(&b), FAIL_UPSTREAM_RESET);
	assert_false(a.st.unseen || b.st.unseen);
	call_over(&a);
	call_over(&b);
	wait_connections(0);
	finish();
}

/* ---- windows ---- */

static void windows(void **state)
{
	begin("");
	call_go(&a);
	call_go(&b);
	server_accept(&one);
	server_hello(&one);
	expect_frame(&one, NGHTTP2_HEADERS, 3);
	send_head(&one, 1, false);
	send_data(&one, 1, H2_WINDOW, false);
	for (int i = 0; i < 2000 && a.st.arrived < H2_WINDOW; i++)
		io_loop_turn(1);
	assert_int_equal(inbuf_len(&a.st.in), H2_WINDOW);
	expect_no_frame(&one, NGHTTP2_WINDOW_UPDATE); /* nobody has read it */
	/* The other stream is not its prisoner. */
	send_head(&one, 3, false);
	send_data(&one, 3, 1000, true);
	call_answered(&b);
	h2_stream_consume(&a.st, H2_WINDOW);
	inbuf_take(&a.st.in, H2_WINDOW);
	assert_int_equal(expect_frame(&one, NGHTTP2_WINDOW_UPDATE, 1)->first, H2_WINDOW);
	send_data(&one, 1, H2_WINDOW, false);
	for (int i = 0; i < 2000 && a.st.arrived < 2 * H2_WINDOW; i++)
		io_loop_turn(1);
	send_data(&one, 1, 1, false); /* beyond what was allowed */
	assert_true(call_failed(&a) != FAIL_OK);
	call_over(&a);
	call_over(&b);
	server_close(&one);
	wait_connections(0);
	finish();
}

/* Bytes of streams that were cancelled count against nobody for ever: 40 MiB go by. */
static void the_connections_window_is_given_back(void **state)
{
	begin("");
	call_go(&a);
	server_accept(&one);
	server_hello(&one);
	expect_frame(&one, NGHTTP2_HEADERS, 1);
	send_head(&one, 1, false);
	for (int64_t sent = 0; sent < 40 << 20; sent += H2_WINDOW) {
		send_data(&one, 1, H2_WINDOW, false);
		for (int i = 0; i < 2000 && a.st.arrived < sent + H2_WINDOW; i++)
			io_loop_turn(1);
		assert_int_equal(a.st.arrived, sent + H2_WINDOW);
		h2_stream_consume(&a.st, H2_WINDOW);
		inbuf_take(&a.st.in, H2_WINDOW);
		turns(2);
		server_read(&one);
		one.nframes = one.seen = 0;
	}
	call_over(&a);
	server_close(&one);
	wait_connections(0);
	finish();
}

/* The server's windows bound what we send; SETTINGS may make them negative. */
static void the_servers_window(void **state)
{
	static const char body[100000];
	size_t got = 0;
	struct frame *f;

	begin("");
	a.body = body;
	a.body_len = sizeof(body);
	call_start(&a);
	call_ready(&a);
	server_accept(&one);
	while (got < 65535) {
		f = expect_frame(&one, NGHTTP2_DATA, 1);
		got += f->n;
	}
	assert_int_equal(got, 65535);
	expect_no_frame(&one, NGHTTP2_DATA);
	send_setting(&one, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1000); /* now it is -64535 */
	send_numbers(&one, NGHTTP2_WINDOW_UPDATE, 0, 1 << 20, 0, 4);
	send_numbers(&one, NGHTTP2_WINDOW_UPDATE, 1, 64535, 0, 4);
	expect_no_frame(&one, NGHTTP2_DATA);
	send_numbers(&one, NGHTTP2_WINDOW_UPDATE, 1, 1, 0, 4);
	assert_int_equal(expect_frame(&one, NGHTTP2_DATA, 1)->n, 1);
	send_numbers(&one, NGHTTP2_WINDOW_UPDATE, 1, 1 << 20, 0, 4);
	for (got = 65536; got < sizeof(body); got += f->n)
		f = expect_frame(&one, NGHTTP2_DATA, 1);
	assert_int_equal(got, sizeof(body));
	assert_true(f->flags & NGHTTP2_FLAG_END_STREAM);
	assert_true(a.st.sent);
	call_over(&a);
	server_close(&one);
	wait_connections(0);
	finish();
}

/* ---- silence ---- */

/* Frames wait in the connection, but not without end, and new requests do not queue up behind. */
static void a_server_that_never_reads(void **state)
{
	static char body[1 << 20];
	int small = 4096;

	begin("");
	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	sndbuf = 16384;
	a.body = b.body = body;
	a.body_len = b.body_len = sizeof(body);
	call_start(&a);
	call_ready(&a);
	server_accept(&one);
	send_setting(&one, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30);
	send_numbers(&one, NGHTTP2_WINDOW_UPDATE, 0, 1 << 30, 0, 4);
	call_start(&b);
	call_ready(&b);
	turns(50);
	assert_true(piece_len(&a.st.piece) + piece_len(&b.st.piece) > 0);
	assert_ptr_equal(a.st.conn, b.st.conn);
	later(10500); /* PING */
	later(10500);
	assert_non_null(a.st.conn); /* its TCP answers: it may read yet */
	call_go(&c);
	server_accept(&two);
	server_hello(&two);
	assert_ptr_not_equal(c.st.conn, a.st.conn);
	for (int i = 0; i < 20000 && (!a.st.sent || !b.st.sent); i++) {
		server_read(&one);
		one.nframes = one.seen = 0;
		io_loop_turn(1);
	}
	assert_true(a.st.sent && b.st.sent);
	call_over(&a);
	call_over(&b);
	call_over(&c);
	server_close(&one);
	server_close(&two);
	wait_connections(0);
	finish();
}

static void ping_ack(struct backend *s)
{
	static const char zeroes[8];

	send_frame(s, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, zeroes, 8);
	turns(10);
}

/* PING when a request waits in silence: soon at first, then seldom, until a stream says something.
 */
static void pings_while_waiting(void **state)
{
	begin("");
	call_go(&a);
	server_accept(&one);
	server_hello(&one);
	expect_frame(&one, NGHTTP2_HEADERS, 1);
	for (int round = 0; round < 2; round++) {
		later(9000);
		expect_no_frame(&one, NGHTTP2_PING);
		later(1500);
		expect_frame(&one, NGHTTP2_PING, 0);
		ping_ack(&one);
		later(19000);
		expect_no_frame(&one, NGHTTP2_PING);
		later(1500);
		expect_frame(&one, NGHTTP2_PING, 0);
		ping_ack(&one);
		later(300000);
		expect_no_frame(&one, NGHTTP2_PING);
		later(11000);
		expect_frame(&one, NGHTTP2_PING, 0);
		ping_ack(&one);
		if (round == 0)
			send_head(&one, 1, false);
		turns(10);
	}
	assert_non_null(a.st.conn);
	assert_int_equal(a.st.fail, FAIL_OK);
	call_over(&a);
	server_close(&one);
	wait_connections(0);
	finish();
}

/* PING ahead of a request on a connection that was quiet; nothing while nobody wants anything. */
static void ping_before_a_request(void **state)
{
	begin("");
	call_go(&a);
	server_accept(&one);
	server_hello(&one);
	send_head(&one, 1, true);
	call_answered(&a);
	call_over(&a);
	later(9000);
	call_go(&a);
	expect_frame(&one, NGHTTP2_HEADERS, 3);
	send_head(&one, 3, true);
	call_answered(&a);
	call_over(&a);
	later(11000);
	expect_no_frame(&one, NGHTTP2_PING);
	call_go(&a);
	expect_frame(&one, NGHTTP2_PING, 0);
	expect_frame(&one, NGHTTP2_HEADERS, 5);
	/* No answer: a connection that is merely silent is kept for whom it has, and for nobody
	 * else. */
	later(11000);
	assert_non_null(a.st.conn);
	call_go(&b);
	server_accept(&two);
	server_hello(&two);
	assert_ptr_not_equal(a.st.conn, b.st.conn);
	ping_ack(&one); /* late */
	call_go(&c);
	nobody_connects();
	send_head(&one, 5, true);
	call_answered(&a);
	call_over(&a);
	call_over(&b);
	call_over(&c);
	server_close(&one);
	server_close(&two);
	wait_connections(0);
	finish();
}

/* Silent, and nobody is on it: then it goes. */
static void silent_and_empty(void **state)
{
	begin("");
	call_go(&a);
	server_accept(&one);
	server_hello(&one);
	later(10500);
	expect_frame(&one, NGHTTP2_PING, 0);
	call_over(&a);
	turns(5);
	assert_int_equal(connections(NULL), 1);
	later(10500);
	wait_connections(0);
	server_close(&one);
	finish();
}

static void gone_without_a_word(void **state)
{
	for (int unread = 0; unread < 2; unread++) {
		begin("");
		call_go(&a);
		server_accept(&one);
		server_hello(&one);
		expect_frame(&one, NGHTTP2_HEADERS, 1);
		send_head(&one, 1, false); /* this one has begun */
		for (int i = 0; i < 1000 && !a.st.head_done; i++)
			io_loop_turn(1);
		call_go(&b);
		expect_frame(&one, NGHTTP2_HEADERS, 3);
		vanished = true;
		all_unread = unread;
		later(10500);
		expect_frame(&one, NGHTTP2_PING, 0);
		later(9000);
		assert_non_null(b.st.conn);
		later(1500);
		assert_int_equal(call_failed(&b), FAIL_UPSTREAM_SILENT);
		assert_int_equal(b.st.unseen, unread);
		assert_int_equal(call_failed(&a), FAIL_UPSTREAM_SILENT);
		assert_false(a.st.unseen);
		call_over(&a);
		call_over(&b);
		wait_connections(0);
		server_close(&one);
		finish();
	}
}

/* ---- memory ---- */

/* Every allocation fails once: requests may, connections may, nothing is lost or freed twice. */
static void no_memory(void **state)
{
	bool whole = false;

	for (int fail_at = 1; !whole; fail_at++) {
		assert_true(fail_at < 2000);
		begin("");
		a.body = NULL;
		call_start(&a);
		mem_fail_after(fail_at);
		for (int i = 0; i < 2000 && !a.done; i++)
			io_loop_turn(5);
		whole = a.fail == FAIL_OK;
		if (whole) {
			turns(20);
			whole = a.st.conn;
		}
		mem_fail_after(-1);
		assert_true(a.done);
		call_over(&a);
		turns(3);
		finish();
	}
}

static int setup(void **state)
{
	ops = sys_linux;
	ops.mono_us = skewed_mono_us;
	ops.getsockopt = lying_getsockopt;
	sys = &ops;
	return io_loop_init(0);
}

static int teardown(void **state)
{
	upconn_thread_fini();
	stream_thread_fini();
	io_loop_fini();
	sys = &sys_linux;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_connection_for_many),
		cmocka_unit_test(the_servers_limit_changes),
		cmocka_unit_test(the_limit_comes_late),
		cmocka_unit_test(no_streams_allowed),
		cmocka_unit_test(limits_of_the_group),
		cmocka_unit_test(the_oldest_idle_one_goes),
		cmocka_unit_test(goaway),
		cmocka_unit_test(resets),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(closed),
		cmocka_unit_test(reset_by_the_server),
		cmocka_unit_test(windows),
		cmocka_unit_test(the_connections_window_is_given_back),
		cmocka_unit_test(the_servers_window),
		cmocka_unit_test(a_server_that_never_reads),
		cmocka_unit_test(pings_while_waiting),
		cmocka_unit_test(ping_before_a_request),
		cmocka_unit_test(silent_and_empty),
		cmocka_unit_test(gone_without_a_word),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests_name("h2_upconn", tests, setup, teardown);
}
