/* For the tests of this room: a whole http{} configuration, a clock that stands still until it is
 * told to move, and clients over socket pairs. What a location answers is said by the directive
 * `say`. */
#pragma once
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "conf/opener.h"
#include "serve/conn.h"
#include "serve/error_log.h"
#include "serve/req_internal.h"
#include "serve/request_body.h"
#include "serve/serve.h"
#include <cmocka.h>
#undef fail /* cmocka's; ours is an enum */

#define assert_span(s, text)                                                                       \
	do {                                                                                       \
		struct span s_ = (s);                                                              \
		char b_[4096];                                                                     \
		assert_true(s_.n < sizeof(b_));                                                    \
		memcpy(b_, s_.n ? s_.p : "", s_.n);                                                \
		b_[s_.n] = 0;                                                                      \
		assert_string_equal(b_, text);                                                     \
	} while (0)

/* ---- the module that answers ---- */

struct say_conf {
	MAY_SUSPEND int (*handler)(struct req *r, const struct conf_node *say);
	const struct conf_node *node;
};
struct say_word {
	const char *word;
	MAY_SUSPEND int (*handler)(struct req *r, const struct conf_node *say);
};
/* Of the test: ends with NULL. */
static const struct say_word *say_words;

static struct conf_mod say_mod;

static MAY_SUSPEND int say_handler(struct req *r)
{
	const struct say_conf *s = req_conf(r, &say_mod);

	return s->handler(r, s->node);
}

static int say_set(struct conf_call *c)
{
	struct say_conf *s = conf_mine(c);

	for (const struct say_word *w = say_words; w && w->word; w++) {
		if (span_eq(conf_arg(c, 1), span_of(w->word))) {
			struct location *l = location_of(c->scope);

			s->handler = w->handler;
			s->node = c->node;
			l->handler = say_handler;
			l->auto_slash = l->name.n && l->name.p[l->name.n - 1] == '/';
			return CONF_OK;
		}
	}
	return conf_error(c, 1, "unknown word");
}

static const struct conf_row say_rows[] = {
	MCUSTOM("say", IN_LOCATION, 1, 20, CONF_MULTI, say_set, "What to answer."),
	MEND,
};
static struct conf_mod say_mod = {.name = "say", .size = sizeof(struct say_conf), .rows = say_rows};
static struct conf_mod *const say_confs[] = {&say_mod, NULL};
static const struct http_module say_module = {.name = "say", .confs = say_confs};

/* ---- configurations ---- */

struct serve_fixture {
	struct snapshot *snap;
	struct http_main *http;
	struct conf_ctx ctx;
	struct opener_memory opener;
	struct listener listeners[16]; /* of port i; they accept nothing by themselves */
	int result;
	char problems[4096]; /* messages, one a line */
};

static inline void serve_problems(struct serve_fixture *f)
{
	size_t n = 0;
	struct list *l;

	f->problems[0] = 0;
	list_each (l, &f->ctx.errors_list) {
		const struct conf_error *e = CONTAINER_OF(l, struct conf_error, link);

		n += (size_t)snprintf(f->problems + n, sizeof(f->problems) - n, "%s%.*s\n",
				      e->level == LOG_WARN ? "warn: " : "", SPAN_ARG(e->message));
		if (n >= sizeof(f->problems))
			break;
	}
}

/* http: what stands in http{}. Prefix /p/, configuration /c/. */
static inline void serve_load(struct serve_fixture *f, const char *http)
{
	static const struct http_module *const modules[] = {&core_module, &say_module, NULL};
	static struct conf_mod *mods[8];
	static const struct opener_file no_files[] = {{{NULL, 0}, {NULL, 0}}};
	static char text[65536];
	struct conf_scope *scope;
	size_t n = 0;

	http_modules_set(modules);
	mods[n++] = &error_log_mod;
	for (int i = 0; modules[i]; i++)
		for (struct conf_mod *const *c = modules[i]->confs; *c; c++)
			mods[n++] = *c;
	mods[n] = NULL;
	conf_mods_init(mods);
	*f = (struct serve_fixture){.snap = snapshot_new(1, 1)};
	opener_memory_init(&f->opener, no_files);
	assert_int_equal(conf_ctx_init(&f->ctx, &f->snap->arena, &f->opener.opener), CONF_OK);
	f->ctx.snapshot = f->snap;
	f->ctx.prefix = SPAN("/p/");
	f->ctx.conf_prefix = SPAN("/c/");
	snprintf(text, sizeof(text), "http { error_log /p/log; %s }", http);
	f->result = conf_parse_text(&f->ctx, SPAN("test"), span_of(text));
	if (conf_apply_all(&f->ctx, &scope) != CONF_OK)
		f->result = CONF_ERR;
	f->http = f->snap->http;
	serve_problems(f);
	for (size_t i = 0; f->result == CONF_OK && i < f->http->nports; i++) {
		struct http_port *p = f->http->ports[i];

		assert_true(i < ARRAY_LEN(f->listeners));
		f->listeners[i].spec = p->spec;
		atomic_init(&f->listeners[i].refs, 1);
		if (!p->covers)
			p->listener = &f->listeners[i];
	}
}

static inline void serve_load_ok(struct serve_fixture *f, const char *http)
{
	serve_load(f, http);
	if (f->result != CONF_OK)
		print_error("%s", f->problems);
	assert_int_equal(f->result, CONF_OK);
}

static inline void serve_unload(struct serve_fixture *f)
{
	snapshot_drop_loader(f->snap);
}

static inline struct http_port *serve_port(struct serve_fixture *f, const char *name)
{
	for (size_t i = 0; i < f->http->nports; i++)
		if (span_eq(f->http->ports[i]->spec.name, span_of(name)))
			return f->http->ports[i];
	return NULL;
}

/* Loads, compares what was said about it ("" for nothing), and unloads. */
static inline void expect_problems(const char *http, const char *problems)
{
	struct serve_fixture f;

	serve_load(&f, http);
	if (strcmp(f.problems, problems))
		print_error("for: %s\n", http);
	assert_string_equal(f.problems, problems);
	serve_unload(&f);
}

/* ---- a request that came from nowhere ---- */

/* GET of a decoded URI in that server; to be given back with req_free. The snapshot is current. */
static inline struct req *serve_request(struct conn *c, struct http_port *port, struct server *s,
					const char *uri)
{
	struct req *r = req_new(c, port);

	assert_non_null(r);
	r->server = s;
	r->scope = s->scope;
	r->uri = r->unparsed_uri = span_of(uri);
	r->in.version = HTTP_11;
	r->in.method = r->method = METHOD_GET;
	r->in.method_name = r->method_name = SPAN("GET");
	return r;
}

/* ---- the loop, with a clock of its own ---- */

static struct sys_ops test_sys;
static uint64_t test_now_us;

static uint64_t test_mono(void)
{
	return test_now_us;
}

static inline int serve_setup(void **state)
{
	test_sys = sys_linux;
	test_sys.mono_us = test_mono;
	test_now_us = 1000000000;
	sys = &test_sys;
	return io_loop_init(0);
}

static inline int serve_teardown(void **state)
{
	int left = (int)conns_count() + (int)co_sched.live;

	conns_thread_fini();
	req_thread_fini();
	stream_thread_fini();
	io_loop_fini();
	sys = &sys_linux;
	return left;
}

/* Turns until nothing moves any more. */
static inline void settle_loop(void)
{
	for (int i = 0; i < 40; i++)
		io_loop_turn(0);
}

static inline void advance_ms(uint64_t ms)
{
	test_now_us += ms * 1000;
	settle_loop();
}

/* ---- clients ---- */

struct client {
	int fd;
	char got[262144];
	size_t n;
	bool eof, reset;
};

/* A connection accepted on port i of the configuration. */
static inline void client_open(struct client *k, struct serve_fixture *f, unsigned i)
{
	static const struct net_addr peer = {.len = sizeof(struct sockaddr_in),
					     .in = {.sin_family = AF_INET}};
	int fd[2];

	k->n = 0;
	k->eof = k->reset = false;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	k->fd = fd[0];
	conn_accepted(&f->listeners[i], fd[1], &peer);
}

static inline void client_recv(struct client *k, size_t max)
{
	while (max && k->n < sizeof(k->got) - 1) {
		ssize_t n = recv(k->fd, k->got + k->n,
				 max < sizeof(k->got) - 1 - k->n ? max : sizeof(k->got) - 1 - k->n,
				 MSG_DONTWAIT);

		if (n == 0)
			k->eof = true;
		if (n < 0 && errno == ECONNRESET)
			k->reset = true;
		if (n <= 0)
			break;
		k->n += (size_t)n;
		max -= (size_t)n;
	}
	k->got[k->n] = 0;
}

static inline void client_send(struct client *k, const char *p, size_t n)
{
	while (n) {
		ssize_t done = send(k->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (done < 0) {
			assert_int_equal(errno, EAGAIN);
			settle_loop();
			continue;
		}
		p += done;
		n -= (size_t)done;
	}
}

static inline void client_say(struct client *k, const char *text)
{
	client_send(k, text, strlen(text));
}

/* Sends a text, lets it be answered and reads what came. */
static inline const char *client_ask(struct client *k, const char *text)
{
	k->n = 0;
	client_say(k, text);
	for (int i = 0; i < 4; i++) {
		settle_loop();
		client_recv(k, SIZE_MAX);
	}
	return k->got;
}

static inline void client_close(struct client *k)
{
	close(k->fd);
	settle_loop();
}

/* Up to (not with) what, or the whole. */
static inline const char *body_of(const char *answer)
{
	const char *p = strstr(answer, "\r\n\r\n");

	return p ? p + 4 : "";
}
