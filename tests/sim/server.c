#include "server.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "h2_server.h"
#include "link.h"
#include "raw.h"
#include "vanish.h"

/* What may go wrong before a request comes, and with the bytes below it. */
enum greeting {
	GREET_WELL,
	GREET_CUT,	 /* nothing leaves behind some byte: in the handshake, in a record */
	GREET_CUT_RESET, /* the same, with a reset */
	GREET_FLIP,	 /* some byte arrives as another */
	GREET_PLAIN,	 /* it does not know TLS */
	GREET_ONLY_12,	 /* which the worker may not want */
	GREET_CLOSE,
	GREET_HANG,
	GREET_END
};

#define STUCK_US 20000000 /* longer than any time-out */

struct sconn_timer {
	struct sim_timer t;
	struct sconn *s;
};

struct sconn {
	struct sconn *next; /* of all that are open */
	struct link link;
	unsigned group, server;
	enum greeting greeting;
	unsigned served; /* requests begun on this connection */
	/* the request under way */
	struct ask *ask;
	struct ask_try *try;
	enum act act;
	struct parse rx;
	bool http10, wants_close; /* as the request said */
	bool read_all, answering, answered, closes, tunnelled;
	struct feed tx;
	size_t step, rstep, rhad; /* rhad: since the last pause, of rstep */
	unsigned pause_us, rpause_us;
	bool tx_paused, rx_paused, rx_over, dead, hung, hooked, leaving;
	uint64_t spoke_us; /* when it said what nobody had asked; 0: never */
	int64_t up;	   /* tunnel: bytes from the client */
	struct sconn_timer tx_timer, rx_timer, idle_timer;
};

struct served_at {
	unsigned group, server;
};

static struct sconn *sconns;
static unsigned nsconns;
static const enum act *script;
static unsigned nscript;
bool server_always_greets_badly;
bool (*server_hook)(struct sconn *s, struct ask *a);

static void sconn_push(struct sconn *s);
static void sconn_pull(struct sconn *s);

#define SCONN_OF_TIMER(tp) CONTAINER_OF(tp, struct sconn_timer, t)->s

void server_script(const enum act *acts, unsigned n)
{
	script = acts;
	nscript = n;
}

unsigned servers_connected(void)
{
	unsigned streams;

	return nsconns + hservers_connected(&streams) + raws_connected();
}

void servers_note(void)
{
	for (struct sconn *s = sconns; s; s = s->next)
		sim_note("server %u.%u: a connection is open: greeting %d%s, %u requests, act "
			 "%d%s%s%s%s%s%s",
			 s->group, s->server, s->greeting, s->link.ready ? " done" : "", s->served,
			 s->act, s->read_all ? ", read" : "", s->answering ? ", answers" : "",
			 s->answered ? ", answered" : "", s->tunnelled ? ", a tunnel" : "",
			 s->leaving ? ", leaving" : "", s->hung ? ", hung" : "");
}

struct sim_conn *sconn_conn(struct sconn *s)
{
	return s->link.c;
}

/* It is not of the open ones any more. */
static void sconn_forget(struct sconn *s)
{
	struct sconn **at = &sconns;

	s->dead = true;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	nsconns--;
}

/* Can somebody tell that the answer ends too early? With TLS, from a missing close_notify. */
static bool sconn_end_looks_whole(struct sconn *s, bool reset)
{
	if (!s->link.tls)
		return true;
	if (reset || s->act == ACT_RESET || sim_chance(5000))
		return false;
	link_notify(&s->link);
	return true;
}

void sconn_end(struct sconn *s, bool reset)
{
	if (s->dead)
		return;
	sconn_forget(s);
	sim_timer_stop(&s->tx_timer.t);
	sim_timer_stop(&s->rx_timer.t);
	sim_timer_stop(&s->idle_timer.t);
	if (s->try && !s->answered) {
		s->try->cut = sconn_end_looks_whole(s, reset);
		s->try->bits = s->try->bits ? s->try->bits : NEXT_ERROR;
	}
	link_close(&s->link, reset);
	feed_fini(&s->tx);
}

/* An orderly end: what is left to be sent is sent first, close_notify too. */
static void sconn_leave(struct sconn *s)
{
	if (!s->leaving)
		link_notify(&s->link);
	s->leaving = true;
	if (link_flushed(&s->link))
		sconn_end(s, false);
}

void servers_close(void)
{
	while (sconns)
		sconn_end(sconns, false);
	hservers_close();
	raws_close();
}

/* ---- what is answered ---- */

static const struct server_setup *sconn_setup(const struct sconn *s)
{
	return &world.setup.groups[s->group].servers[s->server];
}

static enum act sconn_draw(struct sconn *s)
{
	if (nscript) {
		nscript--;
		return *script++;
	}
	if (sim_draw(100) < sconn_setup(s)->mischief)
		return ACT_HONEST_END + (enum act)sim_draw(ACT_END - ACT_HONEST_END);
	return sim_chance(5500) ? ACT_ANSWER : (enum act)sim_draw(ACT_HONEST_END);
}

static const char *reason_of(int status)
{
	return status == 200 ? "OK" : status == 404 ? "Not Found" : REASON_OF_SERVERS;
}

static int draw_status(void)
{
	static const int list[] = {403, 404, 429, 500, 502, 503, 504};

	return list[sim_draw(7)];
}

static unsigned status_bits(int status)
{
	switch (status) {
	case 403:
		return NEXT_HTTP_403;
	case 404:
		return NEXT_HTTP_404;
	case 429:
		return NEXT_HTTP_429;
	case 500:
		return NEXT_HTTP_500;
	case 502:
		return NEXT_HTTP_502;
	case 503:
		return NEXT_HTTP_503;
	case 504:
		return NEXT_HTTP_504;
	default:
		return 0;
	}
}

static bool try_has_body(const struct sconn *s)
{
	return strcmp(s->ask->method, "HEAD") != 0 && s->try->status != 204 &&
	       s->try->status != 304;
}

static void answer_framing(struct sconn *s)
{
	struct feed *f = &s->tx;
	uint64_t kind = sim_draw(10);
	bool says_length = true;

	if (!try_has_body(s)) {
		if (s->try->status != 204 && sim_chance(5000))
			text_printf(&f->head, "Content-Length: %lld\r\n",
				    (long long)s->try->declared);
		return;
	}
	f->framing = FEED_RAW;
	f->length = s->try->declared;
	f->key = ask_answer_key(s->ask, ask_try_nth(s->ask, s->try));
	if (s->act == ACT_BAD_CHUNK)
		kind = 5;
	if (s->act == ACT_SHORT_FIN || s->act == ACT_SHORT_RESET || s->act == ACT_LONG)
		kind = kind < 8 ? kind : 0;
	if (kind >= 5 && kind < 8 && !s->http10) {
		f->framing = FEED_CHUNKED;
		f->chunk = 1 + (size_t)f->length / 1000 +
			   (size_t)sim_draw(sim_chance(3000) ? 30 : 2000);
		text_printf(&f->head, "Transfer-Encoding: chunked\r\n");
		says_length = false;
		if (sim_chance(2000))
			f->trailer = "X-Trailer: server\r\n";
		s->try->trailers = f->trailer;
	} else if (kind >= 8) {
		s->closes = s->try->until_close = true;
		says_length = false;
	}
	if (says_length)
		text_printf(&f->head, "Content-Length: %lld\r\n", (long long)s->try->declared);
}

static void answer_interims(struct sconn *s)
{
	if (s->http10 || !sim_chance(1500))
		return;
	for (unsigned i = 0, n = 1 + (unsigned)sim_draw(3); i < n; i++)
		text_printf(&s->tx.head,
			    s->ask->upload > 0 && sim_chance(5000)
				    ? "HTTP/1.1 100 Continue\r\n\r\n"
				    : "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
}

/* A head that says all, and the body's plan. */
static void answer_clean(struct sconn *s)
{
	struct feed *f = &s->tx;
	unsigned nth = ask_try_nth(s->ask, s->try);

	s->try->clean = true;
	s->try->reason = reason_of(s->try->status);
	s->try->declared = s->ask->length;
	s->try->bits = status_bits(s->try->status);
	answer_interims(s);
	text_printf(&f->head, "HTTP/1.1 %d %s\r\nX-Id: %u\r\nX-Try: %u\r\n", s->try->status,
		    reason_of(s->try->status), s->ask->id, nth);
	if (sim_chance(1500)) {
		text_printf(&f->head, "X-Fill: ");
		for (uint64_t i = 0, n = sim_draw(6000); i < n; i++)
			text_add(&f->head, "s", 1);
		text_printf(&f->head, "\r\n");
	}
	answer_framing(s);
	s->closes |= s->wants_close || sim_chance(700);
	if (s->closes && (s->try->until_close || sim_chance(7000)))
		text_printf(&f->head, "Connection: close\r\n");
	else if (s->closes) /* not a word: the proxy may take it for idle, but not in an honest
			       group */
		s->closes = s->wants_close || !world.setup.groups[s->group].honest;
	text_printf(&f->head, "\r\n");
}

static void answer_upgrade(struct sconn *s)
{
	struct feed *f = &s->tx;
	struct span key;

	s->try->status = 101;
	s->try->clean = true;
	s->try->declared = s->ask->length;
	s->try->bits = 0;
	text_printf(&f->head,
		    "HTTP/1.1 101 Switching Protocols\r\nX-Id: %u\r\nX-Try: %u\r\nUpgrade: "
		    "websocket\r\n"
		    "Connection: upgrade\r\n",
		    s->ask->id, ask_try_nth(s->ask, s->try));
	if (head_field(&s->rx, "Sec-WebSocket-Key", &key))
		text_printf(&f->head, "Sec-WebSocket-Accept: %s\r\n", link_websocket_accept(key));
	text_printf(&f->head, "\r\n");
	f->framing = FEED_RAW;
	f->length = s->ask->length;
	f->key = ask_answer_key(s->ask, ask_try_nth(s->ask, s->try));
	s->tunnelled = true;
}

static void answer_garbage(struct sconn *s)
{
	static const char *const bad[] = {
		"HTTP/1.1 2x0 OK\r\n\r\n",
		"HTTP/9.9 200 OK\r\n\r\n",
		"\r\n\r\n\r\n\r\n",
		"SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked, what\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA b: c\x01\x02\r\n:\r\n\r\n"};

	text_printf(&s->tx.head, "%s", bad[sim_draw(sizeof(bad) / sizeof(*bad))]);
	s->try->bits = NEXT_INVALID_HEADER;
	s->closes = true;
}

static void answer_long_head(struct sconn *s)
{
	text_printf(&s->tx.head, "HTTP/1.1 200 OK\r\n");
	for (unsigned i = 0; i < 300; i++)
		text_printf(&s->tx.head, "X-Very-%u: %0*d\r\n", i, 300, 0);
	text_printf(&s->tx.head, "\r\n");
	s->try->bits = NEXT_INVALID_HEADER;
	s->closes = true;
}

/* The ways in which a right answer ends wrongly. */
static void answer_spoil(struct sconn *s)
{
	struct feed *f = &s->tx;
	int64_t all = (int64_t)f->head.n + (f->framing == FEED_NONE ? 0 : f->length);

	switch (s->act) {
	case ACT_SHORT_FIN:
	case ACT_SHORT_RESET:
		f->cut = (int64_t)sim_draw((uint64_t)all);
		s->try->bits |= NEXT_ERROR;
		break;
	case ACT_HANG_MIDDLE:
	case ACT_VANISH_MIDDLE:
		f->cut = (int64_t)sim_draw((uint64_t)all);
		s->try->bits = f->cut < (int64_t)f->head.n ? NEXT_TIMEOUT : s->try->bits;
		break;
	case ACT_EARLY_CLOSE: /* the reset may overtake the answer, or not */
		s->try->bits |= NEXT_ERROR;
		s->closes = true;
		break;
	case ACT_LONG:
		f->after = "HTTP/1.1 200 OK\r\nX-Id: 0\r\nContent-Length: 3\r\n\r\nbad";
		break;
	case ACT_BAD_CHUNK:
		f->bad_chunk = f->framing == FEED_CHUNKED && f->length
				       ? (int64_t)sim_draw((uint64_t)f->length)
				       : -1;
		break;
	default:
		break;
	}
}

static void answer_prepare(struct sconn *s)
{
	feed_init(&s->tx);
	s->try->status = s->act == ACT_STATUS ? draw_status() : s->ask->status;
	if (s->act == ACT_GARBAGE)
		answer_garbage(s);
	else if (s->act == ACT_LONG_HEAD)
		answer_long_head(s);
	else if (s->act == ACT_UNASKED_101 && s->ask->kind != ASK_TUNNEL) {
		text_printf(&s->tx.head, "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n");
		s->try->bits = NEXT_INVALID_HEADER;
		s->closes = true;
	} else if (s->ask->kind == ASK_TUNNEL && (s->act < ACT_HONEST_END || s->act >= ACT_LONG)) {
		answer_upgrade(s);
	} else {
		answer_clean(s);
		answer_spoil(s);
	}
}

/* ---- answering ---- */

static void sconn_pace(struct sconn *s)
{
	if (s->act != ACT_SLOW)
		return;
	s->step = 1 + (size_t)sim_draw(20000) + (size_t)s->tx.length / 300;
	s->pause_us = (unsigned)sim_draw(8000);
}

/* A request that waits for an answer has its time-out; a connection that is idle may be taken once
 * more before its time is over. */
static void sconn_vanish(struct sconn *s)
{
	unsigned wait = world.setup.read_timeout;
	bool idle = s->act == ACT_VANISH_IDLE;

	vanish(s->link.c,
	       &(struct vanish_plan){idle ? "keepalive_timeout of a group" : "proxy_read_timeout",
				     idle ? 0 : wait, idle ? GROUP_IDLE_MS + wait : wait});
	sconn_end(s, false);
}

void sconn_answer(struct sconn *s, enum act act)
{
	s->act = act;
	if (s->answering || s->dead || !s->ask)
		return;
	s->hooked = false;
	sim_note("server %u.%u: act %d for request %u", s->group, s->server, act, s->ask->id);
	if (act == ACT_CLOSE || act == ACT_RESET || act == ACT_CLOSE_UPLOAD) {
		s->try->bits = NEXT_ERROR;
		sconn_end(s, act == ACT_RESET);
		return;
	}
	if (act == ACT_HANG || act == ACT_VANISH) {
		s->try->bits = NEXT_TIMEOUT;
		s->try->hung = s->hung = true;
		if (act == ACT_VANISH)
			sconn_vanish(s);
		return;
	}
	answer_prepare(s);
	s->answering = true;
	s->ask->early |= !s->read_all && s->ask->upload >= 0;
	sconn_pace(s);
	if (act == ACT_SLOW) {
		s->tx_paused = true;
		sim_timer_start(&s->tx_timer.t, sim_now_us() + sim_draw(250000));
	}
	sconn_push(s);
}

/* The next request may come. */
static void sconn_next(struct sconn *s)
{
	s->ask = NULL;
	s->try = NULL;
	s->answering = s->answered = s->read_all = false;
	s->tx_paused = false;
	s->step = 0;
	parse_init(&s->rx);
}

/* All is sent that will be. */
static void sconn_tunnel_rest(struct sconn *s)
{
	if (s->rx_over)
		sconn_leave(s);
	else if (s->ask->half_down)
		link_end(&s->link);
}

static void sconn_rest(struct sconn *s)
{
	if (s->answered && s->tunnelled)
		sconn_tunnel_rest(s);
	if (!s->answered || s->tunnelled)
		return;
	if (s->act == ACT_EARLY_CLOSE || (s->closes && s->read_all)) {
		sconn_leave(s);
		return;
	}
	if (!s->read_all)
		return;
	if (s->act == ACT_CLOSE_IDLE || s->act == ACT_SPEAK_IDLE || s->act == ACT_VANISH_IDLE)
		sim_timer_start(&s->idle_timer.t, sim_now_us() + sim_draw(60000));
	sconn_next(s);
}

static void sconn_out(struct sconn *s)
{
	if (feed_was_cut(&s->tx)) {
		if (s->act == ACT_HANG_MIDDLE) {
			s->hung = true;
			return;
		}
		if (s->act == ACT_VANISH_MIDDLE) {
			sconn_vanish(s);
			return;
		}
		sconn_end(s, s->act == ACT_SHORT_RESET);
		return;
	}
	s->answered = true;
	if (s->tx.after)
		s->spoke_us = sim_now_us();
	sconn_rest(s);
}

/* Ends it when the bytes below it stop. */
static bool sconn_is_stopped(struct sconn *s)
{
	if (!link_is_stopped(&s->link))
		return false;
	if (s->try && !s->answered)
		s->try->bits = NEXT_ERROR;
	sim_note("server %u.%u: cut behind byte %lld", s->group, s->server,
		 (long long)s->link.out_stop);
	sconn_end(s, s->greeting == GREET_CUT_RESET);
	return true;
}

static void sconn_push(struct sconn *s)
{
	const char *p;

	while (!s->dead && s->answering && !s->answered && !s->tx_paused && !s->hung) {
		size_t n = feed_peek(&s->tx, &p), k;

		if (sconn_is_stopped(s))
			return;
		if (!n) {
			if (link_flushed(&s->link))
				sconn_out(s);
			return;
		}
		if (s->step && n > s->step)
			n = s->step;
		k = link_write(&s->link, p, n);
		feed_take(&s->tx, k);
		s->try->written += (int64_t)k;
		if (k < n && !(k && s->link.tls)) /* TLS takes a record at a time */
			return;
		if (s->step && s->pause_us && feed_peek(&s->tx, &p)) {
			s->tx_paused = true;
			sim_timer_start(&s->tx_timer.t, sim_now_us() + s->pause_us);
		}
	}
}

static void sconn_tx_timer(struct sim_timer *t)
{
	SCONN_OF_TIMER(t)->tx_paused = false;
	sconn_push(SCONN_OF_TIMER(t));
}

static void sconn_idle_timer(struct sim_timer *t)
{
	static const char words[] =
		"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	struct sconn *s = SCONN_OF_TIMER(t);

	if (s->act == ACT_VANISH_IDLE) {
		if (s->answered)
			sconn_vanish(s);
		return;
	}
	if (s->act == ACT_SPEAK_IDLE && !s->answering) {
		link_write(&s->link, words, sizeof(words) - 1);
		if (s->try)
			s->try->written++;
	}
	if (s->try && !s->answered) /* in the middle of the next answer, perhaps */
		s->try->bits |= NEXT_ERROR;
	sconn_end(s, false);
}

/* ---- the request ---- */

/* "/x/ID..." */
static struct ask *ask_of_target(struct span target)
{
	struct span digits;
	uint64_t id;
	size_t n = 3;

	while (n < target.n && target.p[n] >= '0' && target.p[n] <= '9')
		n++;
	digits = span_cut(target, 3, n);
	return target.n > 3 && span_to_u64(digits, ASKS_MAX, &id) ? ask_find(id) : NULL;
}

static bool field_is_expected(struct span name)
{
	static const char *const names[] = {
		"Host",	   "Connection",	"X-Id",
		"X-Fill",  "Content-Length",	"Transfer-Encoding",
		"Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version"};

	if (world.setup.auth && span_eq_nocase(name, SPAN("Authorization")))
		return true;

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (span_eq_nocase(name, span_of(names[i])))
			return true;
	return false;
}

static void check_fields(struct sconn *s, struct ask *a)
{
	struct span name, value;
	size_t at = 0;
	char host[64];

	snprintf(host, sizeof(host), "g%u", s->group);
	while (head_next(&s->rx, &at, &name, &value))
		if (!field_is_expected(name) ||
		    head_count(&s->rx, span_eq(name, SPAN("Host")) ? "Host" : "X-Id") != 1)
			sim_broken("request", "request %u: field %.*s: %.*s", a->id, SPAN_ARG(name),
				   SPAN_ARG(span_cut(value, 0, 100)));
	if (head_number(&s->rx, "X-Id", 0) != a->id)
		sim_broken("request", "request %u has the fields of another", a->id);
	if (!head_field(&s->rx, "Host", &value) ||
	    (a->route->kind != ROUTE_NAME && !span_eq(value, span_of(host))))
		sim_broken("request", "request %u: Host is %.*s", a->id, SPAN_ARG(value));
}

/* How the body comes. */
static enum parse_framing check_framing(struct sconn *s, struct ask *a)
{
	struct span v;
	bool chunked = head_field(&s->rx, "Transfer-Encoding", &v);
	bool length = head_field(&s->rx, "Content-Length", &v);

	if (chunked + length > 1 || head_count(&s->rx, "Content-Length") > 1 ||
	    (chunked && s->http10))
		sim_broken("framing", "request %u came with an ambiguous body", a->id);
	if (length &&
	    (int64_t)head_number(&s->rx, "Content-Length", UINT32_MAX) != MAX_OF(a->upload, 0))
		sim_broken("request", "request %u: Content-Length %.*s instead of %lld", a->id,
			   SPAN_ARG(v), (long long)a->upload);
	if (a->upload > 0 && !chunked && !length)
		sim_broken("request", "request %u came without its body", a->id);
	if (a->upload < 0 && chunked)
		sim_broken("request", "request %u came with a body", a->id);
	return chunked ? PARSE_CHUNKED : length ? PARSE_LENGTH : PARSE_NONE;
}

static struct ask *check_line(struct sconn *s)
{
	struct span line = head_line(&s->rx), method, target;
	struct ask *a = NULL;

	if (span_split(&line, ' ', &method) && span_split(&line, ' ', &target))
		a = ask_of_target(target);
	if (!a)
		sim_broken("request", "server %u.%u got \"%.*s\"", s->group, s->server,
			   SPAN_ARG(head_line(&s->rx)));
	if (!span_eq(method, span_of(a->method)) || !span_eq(target, span_of(a->target)))
		sim_broken("request", "request %u came as \"%.*s\"", a->id,
			   SPAN_ARG(head_line(&s->rx)));
	s->http10 = span_eq(line, SPAN("HTTP/1.0"));
	if (s->http10 != route_is_http10(&world.setup, a->route) ||
	    (!s->http10 && !span_eq(line, SPAN("HTTP/1.1"))))
		sim_broken("request", "request %u came as %.*s", a->id, SPAN_ARG(line));
	return a;
}

/* Does a request come over a connection that its route allows? */
void server_check_tls(const struct link *l, unsigned group, const struct ask *a)
{
	const struct route *r = a->route;
	char name[16];
	struct span sni;

	if (!l->tls)
		return;
	snprintf(name, sizeof(name), "g%u", group);
	sni = span_of(l->sni);
	if (r->kind == ROUTE_NAME ? !span_ends(sni, SPAN(".sim")) : !span_eq(sni, span_of(name)))
		sim_broken("tls", "request %u: the name is \"%.*s\"", a->id, SPAN_ARG(sni));
	if (r->ssl_verify && l->greeting.cert != CERT_RIGHT)
		sim_broken("tls", "request %u came though the certificate (%d) is wrong", a->id,
			   l->greeting.cert);
	if (r->ssl_only_13 && !link_is_13(l))
		sim_broken("tls", "request %u came over TLS 1.2", a->id);
	if (r->ssl_forget && link_is_resumed(l))
		sim_broken("tls", "request %u came over a session that was kept", a->id);
}

static void sconn_begin(struct sconn *s)
{
	struct ask *a = check_line(s);
	enum parse_framing framing;
	struct span v;

	server_check_tls(&s->link, s->group, a);
	check_fields(s, a);
	framing = check_framing(s, a);
	s->ask = a;
	s->try = ask_try_begin(a, s->group, s->server, s->served == 0, link_is_spoiled(&s->link));
	s->try->crossed =
		s->spoke_us && sim_now_us() <= s->spoke_us + 3 * world_latency_us() + 5000;
	s->served++;
	s->wants_close = s->http10 ||
			 (head_field(&s->rx, "Connection", &v) && span_eq_nocase(v, SPAN("close")));
	s->closes = s->tunnelled = s->hung = false;
	s->rstep = 0;
	sim_note("server %u.%u: request %u, try %u", s->group, s->server, a->id, a->ntries - 1);
	parse_body(&s->rx, framing, MAX_OF(a->upload, 0));
	s->hooked = server_hook && server_hook(s, a);
	if (s->hooked)
		return;
	s->act = sconn_draw(s);
	if (s->act == ACT_LAZY) {
		/* within any proxy_read_timeout */
		s->rstep = 1 + (size_t)sim_draw(4000) + (size_t)MAX_OF(a->upload, 0) / 200;
		s->rpause_us = (unsigned)sim_draw(4000);
	}
	if (s->act == ACT_STUCK) {
		s->try->bits = NEXT_TIMEOUT;
		s->try->stuck_us = sim_now_us();
		s->hung = s->rx_paused = true;
		sim_timer_start(&s->rx_timer.t, sim_now_us() + STUCK_US);
	}
	if (s->act == ACT_EARLY || s->act == ACT_EARLY_CLOSE || s->act == ACT_RESET ||
	    (s->act == ACT_CLOSE_UPLOAD && a->upload <= 0))
		sconn_answer(s, s->act);
}

static void sconn_body(struct sconn *s, struct span data)
{
	struct ask *a = s->ask;
	uint64_t at = (uint64_t)(s->rx.body - (int64_t)data.n);
	size_t right = bytes_check(bytes_key(BYTES_UPLOAD, a->id, 0), at, data.p, data.n);

	if (right < data.n || s->rx.body > a->upload)
		sim_broken("body-up", "request %u: byte %llu of the upload is wrong", a->id,
			   (unsigned long long)at + right);
	if (s->act == ACT_CLOSE_UPLOAD && !s->answering && sim_chance(5000))
		sconn_answer(s, s->act);
}

static void sconn_whole(struct sconn *s)
{
	struct ask *a = s->ask;

	if (s->rx.body != MAX_OF(a->upload, 0))
		sim_broken("body-up", "request %u: %lld of %lld bytes of the upload look complete",
			   a->id, (long long)s->rx.body, (long long)a->upload);
	if (a->bad_body)
		sim_broken("malformed", "request %u with a broken chunk came to its end", a->id);
	s->read_all = s->try->whole = true;
	s->try->read_us = sim_now_us();
	if (!s->answering && !s->hung && !s->hooked)
		sconn_answer(s, s->act == ACT_CLOSE_UPLOAD ? ACT_CLOSE : s->act);
	else
		sconn_rest(s);
}

static void sconn_tunnel(struct sconn *s, struct span in)
{
	struct ask *a = s->ask;
	size_t right =
		bytes_check(bytes_key(BYTES_TUNNEL_UP, a->id, 0), (uint64_t)s->up, in.p, in.n);

	s->up += (int64_t)in.n;
	if (right < in.n || s->up > a->tunnel_up)
		sim_broken("tunnel", "request %u: byte %lld from the client is wrong", a->id,
			   (long long)s->up);
}

static void sconn_input(struct sconn *s, struct span in)
{
	struct span data;

	while (!s->dead) {
		if (s->tunnelled && s->read_all) {
			if (in.n)
				sconn_tunnel(s, in);
			return;
		}
		if (s->read_all && in.n && s->try->crossed) {
			/* What was said unasked looked like the answer. */
			sconn_end(s, true);
			return;
		}
		if (s->read_all && in.n)
			sim_broken("mixed",
				   "server %u.%u got more behind request %u, which it answers",
				   s->group, s->server, s->ask->id);
		if (s->read_all)
			return;
		switch (parse_step(&s->rx, &in, &data)) {
		case PARSE_MORE:
			return;
		case PARSE_HEAD:
			sconn_begin(s);
			break;
		case PARSE_DATA:
			sconn_body(s, data);
			break;
		case PARSE_END:
			sconn_whole(s);
			break;
		case PARSE_BAD:
			sim_broken("framing", "server %u.%u: %s", s->group, s->server, s->rx.why);
		}
	}
}

static void sconn_rx_timer(struct sim_timer *t)
{
	SCONN_OF_TIMER(t)->rx_paused = false;
	sconn_pull(SCONN_OF_TIMER(t));
}

static void sconn_closed(struct sconn *s, ssize_t how)
{
	if (s->tunnelled && s->read_all && ask_is_sure(s->ask) && s->up != s->ask->tunnel_up)
		sim_broken("tunnel", "request %u: only %lld of %lld bytes came from the client",
			   s->ask->id, (long long)s->up, (long long)s->ask->tunnel_up);
	if (s->tunnelled && s->read_all && s->ask->half_up && how == -1) {
		s->rx_over = true;
		if (s->answered)
			sconn_leave(s);
		return;
	}
	sconn_end(s, false);
}

/* Nothing but the end matters. */
static void sconn_hear_nothing(struct sconn *s)
{
	char p[512];
	ssize_t n;

	while ((n = sim_conn_read(s->link.c, p, sizeof(p))) > 0) {
	}
	if (n < 0)
		sconn_end(s, false);
}

static void sconn_pull(struct sconn *s)
{
	char p[8192];

	if (s->leaving && !s->dead)
		sconn_hear_nothing(s);
	while (!s->dead && !s->rx_paused && !s->leaving && !s->rx_over) {
		size_t most = s->rstep ? s->rstep : 1 + (size_t)sim_draw(sizeof(p));
		ssize_t n = link_read(&s->link, p, most);

		if (n == 0)
			break;
		if (n < 0) {
			sconn_closed(s, n);
			return;
		}
		sconn_input(s, span_make(p, (size_t)n));
		s->rhad += (size_t)n;
		if (s->link.tls &&
		    s->rhad < s->rstep) /* a record, however small, is read by itself */
			continue;
		s->rhad = 0;
		if (!s->dead && s->rstep && !s->read_all) {
			s->rx_paused = true;
			sim_timer_start(&s->rx_timer.t, sim_now_us() + s->rpause_us);
		}
	}
	if (!s->dead && s->link.tls)
		sconn_is_stopped(s); /* reading answers, too */
}

/* ---- greeting ---- */

static void sconn_greet_plain(struct sconn *s)
{
	static const char words[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

	sim_conn_write(s->link.c, words, sizeof(words) - 1);
	sconn_end(s, false);
}

/* The rest of the connection is another's. */
static void sconn_becomes_h2(struct sconn *s)
{
	sconn_forget(s);
	feed_fini(&s->tx);
	hserver_accepted(s->group, s->server, &s->link);
}

static void sconn_move(struct sconn *s)
{
	if (s->greeting == GREET_HANG && !s->dead)
		sconn_hear_nothing(s);
	if (s->dead || s->greeting == GREET_HANG)
		return;
	if (s->greeting == GREET_PLAIN) {
		sconn_greet_plain(s);
		return;
	}
	if (s->greeting == GREET_CLOSE || !link_move(&s->link)) {
		sim_note("server %u.%u: no handshake", s->group, s->server);
		sconn_end(s, false);
		return;
	}
	if (sconn_is_stopped(s) || !s->link.ready)
		return;
	if (s->link.tls && link_chose_h2(&s->link)) {
		sconn_becomes_h2(s);
		return;
	}
	sconn_pull(s);
}

static void sconn_draw_greeting(struct sconn *s)
{
	const struct server_setup *v = sconn_setup(s);

	if (sim_draw(100) < v->mischief && (server_always_greets_badly || sim_chance(3000)))
		s->greeting = (enum greeting)sim_draw(GREET_END);
}

static void sconn_draw_spoil(struct sconn *s)
{
	struct link *l = &s->link;

	if (s->greeting == GREET_CUT || s->greeting == GREET_CUT_RESET)
		l->out_stop = (int64_t)sim_draw(sim_chance(5000) ? 1000 : 30000);
	if (s->greeting == GREET_FLIP)
		l->out_flip = (int64_t)sim_draw(sim_chance(5000) ? 1000 : 30000);
}

static void sconn_greet(struct sconn *s)
{
	const struct group_setup *g = &world.setup.groups[s->group];
	const struct server_setup *v = sconn_setup(s);
	struct link_greeting how = {
		.group = s->group, .cert = (enum link_cert)v->cert, .alpn = ALPN_HTTP1};
	struct sim_conn *c = s->link.c;

	how.no_tickets = sim_chance(2000);
	how.only_12 = g->honest ? false : sim_chance(2000);
	how.only_13 = sim_chance(1000);
	if (g->automatic ? v->chooses_h2 : g->http2)
		how.alpn = ALPN_H2;
	sconn_draw_greeting(s);
	how.only_12 |= s->greeting == GREET_ONLY_12;
	if (how.only_12)
		how.only_13 = false;
	link_init_server(&s->link, c, &how);
	sconn_draw_spoil(s);
	sim_note("server %u.%u: greeting %d, certificate %d", s->group, s->server, s->greeting,
		 how.cert);
}

/* ---- events ---- */

static void sconn_on_readable(struct sim_conn *c)
{
	struct sconn *s = sim_conn_owner(c);

	if (s->link.ready)
		sconn_pull(s);
	else
		sconn_move(s);
}

static void sconn_on_writable(struct sim_conn *c)
{
	struct sconn *s = sim_conn_owner(c);

	if (!s->link.ready)
		sconn_move(s);
	else if (s->leaving)
		sconn_leave(s);
	else if (s->answered && s->tunnelled)
		sconn_tunnel_rest(s);
	else
		sconn_push(s);
}

static void sconn_on_reset(struct sim_conn *c)
{
	struct sconn *s = sim_conn_owner(c);

	if (!s->dead)
		sconn_end(s, false);
}

static const struct sim_conn_ops sconn_ops = {
	.readable = sconn_on_readable,
	.writable = sconn_on_writable,
	.reset = sconn_on_reset,
};

static void server_accepted(struct sim_listener *l, struct sim_conn *c)
{
	struct served_at *at = sim_listener_owner(l);
	struct sconn *s;

	if (world.setup.groups[at->group].http2 && !world.setup.groups[at->group].tls) {
		struct link plain;

		link_init(&plain, c, false);
		hserver_accepted(at->group, at->server, &plain);
		return;
	}
	s = calloc(1, sizeof(*s));
	BUG_ON(!s);
	*s = (struct sconn){.group = at->group, .server = at->server, .next = sconns};
	sconns = s;
	nsconns++;
	s->tx_timer = (struct sconn_timer){{.run = sconn_tx_timer}, s};
	s->rx_timer = (struct sconn_timer){{.run = sconn_rx_timer}, s};
	s->idle_timer = (struct sconn_timer){{.run = sconn_idle_timer}, s};
	feed_init(&s->tx);
	parse_init(&s->rx);
	sim_conn_set(c, &sconn_ops, s);
	link_init(&s->link, c, false);
	if (world.setup.groups[at->group].tls)
		sconn_greet(s);
	sconn_move(s);
}

static void server_listen(struct served_at *at, enum family family)
{
	struct place p = setup_server_addr(at->group, at->server, family);

	sim_listen(&p.sa, p.len, server_accepted, at);
}

void servers_start(void)
{
	static struct served_at at[GROUPS_MAX][SERVERS_MAX];

	for (unsigned g = 0; g < world.setup.ngroups; g++) {
		for (unsigned i = 0; i < world.setup.groups[g].nservers; i++) {
			enum family family = world.setup.groups[g].servers[i].family;

			at[g][i] = (struct served_at){g, i};
			server_listen(&at[g][i], FAMILY_IPV4); /* names lead there */
			if (family != FAMILY_IPV4)
				server_listen(&at[g][i], family);
		}
	}
}
