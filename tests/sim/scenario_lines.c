/* Every access leaves one line in the log: also those that never become a request, or are refused
 * before they are one. What stands in the lines was compared with nginx 1.22. */
#include <nghttp2/nghttp2.h>
#include "client.h"
#include "h2_client.h"
#include "knock.h"
#include "scenarios.h"

/* ---- HTTP/2, byte by byte ---- */

static const unsigned char get_zero[] = {/* GET /e/0 of the static table, and a literal path */
					 0x82, 0x86, 0x04, 0x04, '/', 'e', '/',
					 '0',  0x01, 0x03, 's',	 'i', 'm'};

static void lines_frame(struct text *t, unsigned type, unsigned flags, unsigned id, const void *p,
			size_t n)
{
	const unsigned char head[9] = {0,
				       (unsigned char)(n >> 8),
				       (unsigned char)n,
				       (unsigned char)type,
				       (unsigned char)flags,
				       0,
				       0,
				       (unsigned char)(id >> 8),
				       (unsigned char)id};

	text_add(t, head, sizeof(head));
	text_add(t, p, n);
}

static void lines_preface(struct text *t)
{
	text_add(t, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
	lines_frame(t, NGHTTP2_SETTINGS, 0, 0, "", 0);
}

static void lines_request(struct text *t, unsigned flags, unsigned id)
{
	lines_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | flags, id, get_zero,
		    sizeof(get_zero));
}

static void lines_half_preface(struct text *t)
{
	text_add(t, NGHTTP2_CLIENT_MAGIC, 9);
}

static void lines_bad_frame(struct text *t)
{
	lines_preface(t);
	lines_frame(t, NGHTTP2_DATA, 0, 0, "x", 1);
}

static void lines_half_head(struct text *t)
{
	lines_preface(t);
	lines_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, get_zero, 5);
}

static void lines_broken_head(struct text *t)
{
	lines_half_head(t);
	lines_frame(t, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void lines_no_hpack(struct text *t)
{
	lines_preface(t);
	lines_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1,
		    "\xff\xff\xff\xff\xff\xff\xff", 7);
}

static void lines_no_path(struct text *t)
{
	lines_preface(t);
	lines_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1,
		    get_zero, 2);
}

static void lines_get(struct text *t)
{
	lines_preface(t);
	lines_request(t, NGHTTP2_FLAG_END_STREAM, 1);
}

static void lines_reset(struct text *t)
{
	lines_preface(t);
	for (unsigned i = 0; i < 2; i++) {
		lines_request(t, 0, 1 + 2 * i);
		lines_frame(t, NGHTTP2_RST_STREAM, 0, 1 + 2 * i, "\0\0\0\x08", 4);
	}
}

static void lines_get_then_bad(struct text *t)
{
	lines_get(t);
	lines_frame(t, NGHTTP2_PING, 0, 1, "12345678", 8);
}

/* A head larger than all buffers for one. */
static void lines_large(struct text *t)
{
	text_printf(t, "GET /e/0 HTTP/1.1\r\nHost: sim\r\n");
	for (unsigned i = 0; i < 40; i++)
		text_printf(t, "X-%u: %01000d\r\n", i, 0);
	text_printf(t, "\r\n");
}

/* ---- the table ---- */

#define PLAIN .port = PORT_PLAIN
#define TLS   .port = PORT_TLS
#define LINE(status, request)                                                                      \
	{                                                                                          \
		{                                                                                  \
			status, status, request                                                    \
		}                                                                                  \
	}

static const struct knock_kind lines_kinds[] = {
	{"nothing", PLAIN, .words = ""},
	{"nothing, and goes", PLAIN, .words = "", .end = KNOCK_CLOSES},
	{"nothing, and resets", PLAIN, .words = "", .end = KNOCK_RESETS},
	{"a broken method", PLAIN, .words = "G\x01T / HTTP/1.1\r\nHost: sim\r\n\r\n",
	 .lines = LINE(400, "G\\x01T / HTTP/1.1")},
	{"no host", PLAIN, .words = "GET / HTTP/1.1\r\n\r\n", .lines = LINE(400, "GET / HTTP/1.1")},
	{"two hosts", PLAIN, .words = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
	 .lines = LINE(400, "GET / HTTP/1.1")},
	{"a version that is none", PLAIN, .words = "GET / HTTP/3.7\r\nHost: sim\r\n\r\n",
	 .lines = LINE(505, "GET / HTTP/3.7")},
	{"half a line", PLAIN, .words = "GET /e", .lines = LINE(408, "GET /e")},
	{"half a line, and goes", PLAIN, .words = "GET /e", .end = KNOCK_CLOSES,
	 .lines = LINE(400, "GET /e")},
	{"half a line, and resets", PLAIN, .words = "GET /e", .end = KNOCK_RESETS,
	 .lines = LINE(400, "GET /e")},
	{"half a head", PLAIN, .words = "GET /e HTTP/1.1\r\nHo",
	 .lines = LINE(408, "GET /e HTTP/1.1")},
	{"half a head, and goes", PLAIN, .words = "GET /e HTTP/1.1\r\nHo", .end = KNOCK_CLOSES,
	 .lines = LINE(400, "GET /e HTTP/1.1")},
	{"too large a head", PLAIN, .make = lines_large, .lines = LINE(400, "GET /e/0 HTTP/1.1")},
	{"TLS on a plain port", PLAIN, .words = "\x16\x03\x01\x02\x01\x01\r\n\r\n",
	 .lines = LINE(400, "\\x16\\x03\\x01\\x02\\x01\\x01")},
	{"a request, and one that is none", PLAIN,
	 .words = "GET /e/0 HTTP/1.1\r\nHost: sim\r\n\r\nGET\r\n\r\n",
	 .lines = {{200, 200, "GET /e/0 HTTP/1.1"}, {400, 400, "GET"}}},
	{"a request, and half one", PLAIN, .words = "GET /e/0 HTTP/1.1\r\nHost: sim\r\n\r\nGET / H",
	 .lines = {{200, 200, "GET /e/0 HTTP/1.1"}, {408, 408, "GET / H"}}},
	{"plain on a TLS port", TLS, .words = "GET /e/0 HTTP/1.1\r\nHost: sim\r\n\r\n",
	 .lines = LINE(400, "GET /e/0 HTTP/1.1")},
	{"half of it there", TLS, .words = "GET /e/0 HT", .lines = LINE(408, "GET /e/0 HT")},
	{"no TLS that anybody knows", TLS, .words = "\x16\x03\x01\x01\x05garbage"},
	{"half a greeting", TLS, .words = "\x16\x03\x01", .end = KNOCK_CLOSES},
	{"TLS, and nothing", TLS, .tls = true, .words = ""},
	{"TLS, and half a head", TLS, .tls = true, .words = "GET /e/0 HT",
	 .lines = LINE(408, "GET /e/0 HT")},
	{"TLS, half a head, and goes", TLS, .tls = true, .words = "GET /e/0 HT",
	 .end = KNOCK_CLOSES, .lines = LINE(400, "GET /e/0 HT")},
	{"TLS, and a broken method", TLS, .tls = true, .words = "G\x01T / HTTP/1.1\r\n\r\n",
	 .lines = LINE(400, "G\\x01T / HTTP/1.1")},
	{"no PROXY protocol", .port = PORT_PROXY, .words = "GET / HTTP/1.1\r\nHost: sim\r\n\r\n"},
	{"half of it", .port = PORT_PROXY, .words = "PROXY TC"},
	{"PROXY, and nothing", .port = PORT_PROXY, .words = "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n"},
	{"PROXY, and half a line", .port = PORT_PROXY,
	 .words = "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\nGET /", .lines = LINE(408, "GET /")},
	/* Before a preface is whole nobody knows that it will be HTTP/2. */
	{"half a preface", PLAIN, .make = lines_half_preface, .lines = LINE(400, "PRI * HTT")},
	{"half a preface, and goes", PLAIN, .make = lines_half_preface, .end = KNOCK_CLOSES,
	 .lines = LINE(400, "PRI * HTT")},
	{"a preface", PLAIN, .make = lines_preface},
	{"a preface, and goes", PLAIN, .make = lines_preface, .end = KNOCK_CLOSES},
	{"a frame that is none", PLAIN, .make = lines_bad_frame},
	{"half a head of HTTP/2", PLAIN, .make = lines_half_head, .lines = LINE(408, "-")},
	{"half a head of HTTP/2, and goes", PLAIN, .make = lines_half_head, .end = KNOCK_CLOSES,
	 .lines = LINE(400, "-")},
	{"half a head of HTTP/2, and resets", PLAIN, .make = lines_half_head, .end = KNOCK_RESETS,
	 .lines = LINE(400, "-")},
	{"another frame in the middle of it", PLAIN, .make = lines_broken_head,
	 .lines = LINE(400, "-")},
	{"a head that cannot be decoded", PLAIN, .make = lines_no_hpack, .lines = LINE(400, "-")},
	{"a head without a path", PLAIN, .make = lines_no_path, .end = KNOCK_CLOSES,
	 .lines = LINE(400, "-")},
	{"a request", PLAIN, .make = lines_get, .end = KNOCK_CLOSES,
	 .lines = LINE(200, "GET /e/0 HTTP/2.0")},
	{"requests that are reset at once", PLAIN, .make = lines_reset, .end = KNOCK_CLOSES,
	 .lines = {{499, 200, "GET /e/0 HTTP/2.0"}, {499, 200, "GET /e/0 HTTP/2.0"}}},
	{"a request, and a frame that is none", PLAIN, .make = lines_get_then_bad,
	 .lines = {{200, 400, "GET /e/0 HTTP/2.0"}}},
};

static void lines_run(void)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 8);

	world.o.latency_max_us = (unsigned)(h % 4 * 300);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 8) % 5;
	world_start();
	setup_plain(&world.setup);
	setup_http2(&world.setup, false);
	world.setup.nthreads = 1 + (unsigned)sim_draw(3);
	world.setup.log_clients = true;
	world.setup.log_buffer = sim_chance(3000);
	world.o.faults.preempt = 500;
	world.o.faults.short_read = world.o.faults.short_write = (unsigned)sim_draw(3000);
	world.o.faults.spurious_event = (unsigned)sim_draw(300);
	for (unsigned i = 0; i < sizeof(lines_kinds) / sizeof(*lines_kinds); i++)
		for (unsigned k = 0; k < 3; k++)
			knock_start(&lines_kinds[i], sim_draw(3000000));
	for (unsigned i = 0; i < 4; i++) {
		struct client *c = client_new();

		c->after_us = sim_draw(3000000);
		client_ask(c, &world.setup.routes[i % 3], ASK_PROXIED, "GET")->length = 1000;
		client_start(c);
	}
	for (uint64_t i = sim_draw(2); i > 0; i--)
		world_reload_at(sim_draw(3000000));
	world_run();
}

const struct scenario scenario_lines = {
	"lines", "every access leaves one line, what never becomes a request too", lines_run};

/* ---- logs that are opened again hold what was before ---- */

static void rotate_run(void)
{
	world.o.latency_max_us = 500;
	world.o.sndbuf_min = world.o.sndbuf_max = 65536;
	world_start();
	setup_plain(&world.setup);
	world.setup.nthreads = 1 + (unsigned)sim_draw(3);
	world.setup.log_buffer = sim_chance(7000);
	for (unsigned i = 0; i < 20; i++) {
		struct client *c = client_new();

		c->after_us = sim_draw(1000000);
		c->think_us = (unsigned)sim_draw(200000);
		for (unsigned k = 0; k < CLIENT_ASKS; k++)
			client_ask(c, &world.setup.routes[sim_draw(3)], ASK_PROXIED, "GET")
				->length = (int64_t)sim_draw(3000);
		client_start(c);
	}
	for (unsigned i = 0; i < 3; i++)
		world_reopen_at(100000 + sim_draw(1500000));
	world_run();
}

const struct scenario scenario_rotate = {"rotate", "logs are moved away while requests are logged",
					 rotate_run};

/* ---- requests that must be refused ---- */

static void malformed_run(void)
{
	uint64_t h = bytes_key(BYTES_FILE, world.o.seed, 11);

	world.o.latency_max_us = (unsigned)(h % 4 * 300);
	world.o.sndbuf_min = world.o.sndbuf_max = 4096u << (h >> 8) % 5;
	world_start();
	setup_plain(&world.setup);
	world.setup.nthreads = 1 + (unsigned)sim_draw(2);
	world.o.faults.short_read = (unsigned)sim_draw(9000);
	for (unsigned i = 0; i < malformed_count; i++) {
		static const unsigned ports[] = {PORT_PLAIN, PORT_PLAIN, PORT_TLS, PORT_PROXY};
		struct client *c = client_new();

		c->after_us = sim_draw(200000);
		c->raw = &malformed_list[i];
		c->port = ports[sim_draw(4)];
		if (sim_chance(5000)) {
			c->step = 1 + (size_t)sim_draw(10);
			c->pause_us = 100;
		}
		client_start(c);
	}
	world_run();
}

const struct scenario scenario_malformed = {
	"malformed", "requests that must be refused, and with which status", malformed_run};
