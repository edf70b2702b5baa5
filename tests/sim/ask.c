#include "ask.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/sim.h"
#include "knock.h"
#include "raw.h"
#include "world.h"

static struct ask *asks[ASKS_MAX];
static unsigned nasks;

struct ask *ask_new(const struct route *r, enum ask_kind kind, const char *method)
{
	struct ask *a = calloc(1, sizeof(*a));

	BUG_ON(!a || nasks == ASKS_MAX);
	*a = (struct ask){
		.id = nasks + 1, .kind = kind, .route = r, .method = method, .status = 200};
	a->upload = -1;
	a->seen_try = -1;
	asks[nasks++] = a;
	return a;
}

void ask_target(struct ask *a)
{
	if (a->kind == ASK_CONNECT) {
		snprintf(a->target, sizeof(a->target), "10.1.9.1:%u", PORT_RAW + a->id);
		raw_listen(a);
	} else {
		snprintf(a->target, sizeof(a->target), "%s%u", a->route->prefix, a->id);
	}
}

struct ask *ask_find(uint64_t id)
{
	return id >= 1 && id <= nasks ? asks[id - 1] : NULL;
}

struct ask *ask_nth(unsigned i)
{
	return asks[i];
}

unsigned asks_count(void)
{
	return nasks;
}

void ask_excuse(struct ask *a, const char *why)
{
	if (!a->excuse)
		a->excuse = why;
}

void asks_excuse(const char *why)
{
	for (unsigned i = 0; i < nasks; i++)
		if (!asks[i]->ended || ask_is_tunnel(asks[i])) /* its bytes may be on their way */
			ask_excuse(asks[i], why);
}

bool ask_is_sure(const struct ask *a)
{
	if (a->excuse || world.destructive)
		return false;
	if (a->kind == ASK_RETURN || a->kind == ASK_FILE || a->kind == ASK_CONNECT)
		return true;
	return (a->route->kind != ROUTE_NAME || a->resolves) &&
	       world.setup.groups[a->route->group].honest;
}

bool ask_is_unsafe(const struct ask *a)
{
	return strcmp(a->method, "POST") == 0 || strcmp(a->method, "PATCH") == 0 ||
	       strcmp(a->method, "LOCK") == 0;
}

/* ---- servers ---- */

/* Did this try end so that the idle connection may simply have been closed as we took it? Faults
 * may have lost what its server wrote. */
static bool try_replayable(const struct ask *a, const struct ask_try *t)
{
	return !t->fresh && (t->written == 0 || t->unclear || world.destructive) &&
	       a->route->retry_reused &&
	       (!ask_is_unsafe(a) || (a->route->next & NEXT_NON_IDEMPOTENT));
}

/* Another try after t: by the rules of proxy_next_upstream. Faults of the network may have hidden
 * anything from the worker. */
static void try_check_repeat(const struct ask *a, const struct ask_try *t, bool unclear)
{
	unsigned next = a->route->next;

	if (t->refused || try_replayable(a, t))
		return;
	if (ask_is_unsafe(a) && !(next & NEXT_NON_IDEMPOTENT))
		sim_broken("repeat-unsafe",
			   "%s of request %u came again, though server %u.%u had read it",
			   a->method, a->id, t->group, t->server);
	if (next & NEXT_OFF)
		sim_broken("repeat", "request %u came again, though proxy_next_upstream is off",
			   a->id);
	if (world.destructive || unclear)
		return;
	if (!t->bits)
		sim_broken("repeat", "request %u came again, though server %u.%u answered it",
			   a->id, t->group, t->server);
	if (!(next & t->bits))
		sim_broken(
			"repeat",
			"request %u came again, though proxy_next_upstream (%#x) has none of %#x",
			a->id, next, t->bits);
}

static void try_check_number(const struct ask *a)
{
	unsigned most = a->route->tries, counted = 0;

	if (a->route->kind == ROUTE_NAME || a->kind == ASK_CONNECT)
		return;
	if (!most || most > world.setup.groups[a->route->group].nservers)
		most = world.setup.groups[a->route->group].nservers;
	for (unsigned i = 0; i < a->ntries; i++)
		counted += !a->tries[i].refused && !try_replayable(a, &a->tries[i]);
	if (counted > most)
		sim_broken("tries", "request %u was tried %u times (at most %u)", a->id, counted,
			   most);
}

/* Somewhere a connection was given up for what happened below HTTP: what had been sent on it may
 * come late, behind what was sent elsewhere afterwards. */
static bool ask_has_unclear(const struct ask *a)
{
	for (unsigned i = 0; i < a->ntries; i++)
		if (a->tries[i].unclear)
			return true;
	return false;
}

struct ask_try *ask_try_begin(struct ask *a, unsigned group, unsigned server, bool fresh,
			      bool unclear)
{
	struct ask_try *t = &a->tries[a->ntries];

	if (a->kind != ASK_PROXIED && !ask_is_tunnel(a))
		sim_broken("route", "request %u came to a server", a->id);
	if (a->route->kind != ROUTE_NAME && a->kind != ASK_CONNECT && a->route->group != group)
		sim_broken("route", "request %u came to group %u", a->id, group);
	unclear |= ask_has_unclear(a);
	/* A try that was given up may still be on its way. */
	if (a->seen_try >= 0 && !world.destructive && !unclear)
		sim_broken("repeat", "request %u came to a server after its answer", a->id);
	BUG_ON(a->ntries == TRIES_MAX);
	if (a->ntries)
		try_check_repeat(a, &a->tries[a->ntries - 1], unclear);
	a->ntries++;
	*t = (struct ask_try){.group = group,
			      .server = server,
			      .fresh = fresh,
			      .bits = NEXT_ERROR,
			      .unclear = unclear};
	try_check_number(a);
	return t;
}

unsigned ask_try_nth(const struct ask *a, const struct ask_try *t)
{
	return (unsigned)(t - a->tries);
}

uint64_t ask_answer_key(const struct ask *a, unsigned nth)
{
	if (a->kind == ASK_FILE)
		return bytes_key(BYTES_FILE, a->file, 0);
	return bytes_key(ask_is_tunnel(a) ? BYTES_TUNNEL_DOWN : BYTES_ANSWER, a->id, nth);
}

/* ---- clients ---- */

static bool status_is_own(int status)
{
	static const int own[] = {400, 403, 404, 405, 408, 411, 412, 413, 414, 416, 417,
				  421, 429, 499, 500, 501, 502, 503, 504, 505, 599};

	for (unsigned i = 0; i < sizeof(own) / sizeof(*own); i++)
		if (own[i] == status)
			return true;
	return false;
}

static void check_own(struct ask *a)
{
	a->own = true;
	if (!status_is_own(a->got_status))
		sim_broken("answer", "request %u: status %d without a server's id", a->id,
			   a->got_status);
	if (a->route->intercept && a->ntries)
		return;
	if (ask_is_sure(a))
		sim_broken("unanswered", "request %u (%s %s) got %d from the proxy", a->id,
			   a->method, a->target, a->got_status);
}

/* Whose answer is it, and may it be seen? */
static void check_try(struct ask *a, const struct parse *p)
{
	uint64_t nth = head_number(p, "X-Try", TRIES_MAX);
	const struct ask_try *t = &a->tries[nth];

	if (nth >= a->ntries)
		sim_broken("mixed", "request %u: the answer of a try that was not", a->id);
	if (nth + 1 != a->ntries && !ask_has_unclear(a))
		sim_broken("mixed", "request %u: the answer of try %u, after another one", a->id,
			   (unsigned)nth);
	if (!t->clean || t->status != a->got_status)
		sim_broken("answer", "request %u: %d, but the server said %d%s", a->id,
			   a->got_status, t->status, t->clean ? "" : ", and not in clean words");
	if (span_ends(head_line(p), SPAN(REASON_OF_SERVERS)) && !t->reason)
		sim_broken("mixed", "request %u: \"%.*s\", which its server never said", a->id,
			   SPAN_ARG(head_line(p)));
	a->seen_try = (int)nth;
}

static bool answer_has_body(const struct ask *a)
{
	return strcmp(a->method, "HEAD") != 0 && a->got_status != 204 && a->got_status != 304;
}

static int64_t answer_length(const struct ask *a)
{
	if (a->seen_try >= 0)
		return a->tries[a->seen_try].declared;
	return a->length;
}

static bool ask_crossed(const struct ask *a)
{
	return a->ntries && a->tries[a->ntries - 1].crossed;
}

/* What a server said unasked crossed the request, which may not have been read at all; or it
 * crossed the one before it, and that one's answer comes now. */
static bool answer_crossed(const struct ask *a, uint64_t id)
{
	const struct ask *other = id ? ask_find(id) : NULL;

	if (!id)
		return !a->ntries || ask_crossed(a);
	return other && other != a && ask_crossed(other);
}

enum parse_framing ask_check_head(struct ask *a, const struct parse *p, int64_t *length)
{
	struct span v;

	*length = -1;
	if (head_field(p, "Content-Length", &v))
		*length = (int64_t)head_number(p, "Content-Length", 0);
	if (head_count(p, "Content-Length") + head_count(p, "Transfer-Encoding") > 1)
		sim_broken("framing", "request %u: the answer's length is said twice", a->id);
	if (head_field(p, "X-Id", &v) && answer_crossed(a, head_number(p, "X-Id", UINT32_MAX))) {
		a->own = true;
	} else if (head_field(p, "X-Id", &v)) {
		if (head_number(p, "X-Id", 0) != a->id)
			sim_broken("mixed", "request %u got the answer of %.*s", a->id,
				   SPAN_ARG(v));
		if (a->kind == ASK_PROXIED || ask_is_tunnel(a))
			check_try(a, p);
		else if (a->got_status != a->status)
			sim_broken("answer", "request %u: %d, not %d", a->id, a->got_status,
				   a->status);
		if (*length >= 0 && a->got_status != 304 && *length != answer_length(a))
			sim_broken("answer", "request %u: length %lld, not %lld", a->id,
				   (long long)*length, (long long)answer_length(a));
	} else {
		check_own(a);
	}
	a->got_chunked = head_field(p, "Transfer-Encoding", &v);
	if (!answer_has_body(a))
		return PARSE_NONE;
	return a->got_chunked ? PARSE_CHUNKED : *length >= 0 ? PARSE_LENGTH : PARSE_CLOSE;
}

/* The last step of the handshake may still be on its way to the server. */
void ask_check_connected(struct ask *a, const struct parse *p)
{
	struct span v;

	if (head_field(p, "Content-Length", &v) || head_field(p, "Transfer-Encoding", &v))
		sim_broken("framing", "request %u: a tunnel has no length", a->id);
}

static void check_text(struct ask *a, struct span data)
{
	char want[32];
	int n = snprintf(want, sizeof(want), "id=%u", a->id);

	if (a->got_body + (int64_t)data.n > n || memcmp(want + a->got_body, data.p, data.n) != 0)
		sim_broken("answer", "request %u: the text is another's", a->id);
}

void ask_check_data(struct ask *a, struct span data)
{
	uint64_t at = (uint64_t)(a->from + a->got_body);
	size_t right;

	if (a->own) {
		a->got_body += (int64_t)data.n;
		return;
	}
	if (a->kind == ASK_RETURN) {
		check_text(a, data);
	} else {
		right = bytes_check(ask_answer_key(a, (unsigned)MAX_OF(a->seen_try, 0)), at, data.p,
				    data.n);
		if (right < data.n)
			sim_broken("body-down", "request %u: byte %llu of the answer is wrong",
				   a->id, (unsigned long long)at + right);
	}
	a->got_body += (int64_t)data.n;
	if (a->got_body > answer_length(a))
		sim_broken("body-down", "request %u: %lld bytes, but the server sent %lld", a->id,
			   (long long)a->got_body, (long long)answer_length(a));
}

/* Clients of HTTP/2 look. A body of no bytes at all has none, as HTTP/1 would not have them. */
static void check_trailers(const struct ask *a, const struct ask_try *t)
{
	bool pass = a->route->trailers && t->trailers;

	if (!a->muxed || t->unclear || !answer_has_body(a))
		return;
	if (a->got_trailers && !pass)
		sim_broken("trailers", "request %u: trailers that should not come", a->id);
	if (pass && t->declared && !a->got_trailers)
		sim_broken("trailers", "request %u: the trailers of the answer are lost", a->id);
}

void ask_check_end(struct ask *a, bool whole)
{
	const struct ask_try *t = a->seen_try >= 0 ? &a->tries[a->seen_try] : NULL;

	a->ended = true;
	a->ended_us = sim_now_us();
	a->got_whole = whole;
	if (whole && !a->own && t && a->kind == ASK_PROXIED)
		check_trailers(a, t);
	if (a->own || !answer_has_body(a) || a->got_body == answer_length(a))
		return;
	if (whole && !(t && t->until_close && t->cut))
		sim_broken("truncated", "request %u: %lld of %lld bytes look complete", a->id,
			   (long long)a->got_body, (long long)answer_length(a));
	a->got_whole = false;
	if (ask_is_sure(a) && !(t && t->cut))
		sim_broken("unanswered", "request %u: only %lld of %lld bytes", a->id,
			   (long long)a->got_body, (long long)answer_length(a));
}

void ask_lost(struct ask *a, const char *how)
{
	if (a->ended)
		return;
	a->ended = true;
	sim_note("request %u is not answered: %s%s%s", a->id, how, a->excuse ? ", excused: " : "",
		 a->excuse ? a->excuse : "");
	if (a->begun && ask_is_sure(a))
		sim_broken("unanswered", "request %u (%s %s): %s", a->id, a->method, a->target,
			   how);
}

/* ---- the end ---- */

/* id|status|body_bytes_sent|bytes_sent|completion|request_time|... */
struct log_words {
	struct span id, status, body, bytes, completion, time;
	struct span addr, request; /* setup.log_clients */
};

/* How setup.c has them. A full disk cuts lines, and the next one goes on where one was cut. */
#define LOG_BARS	 9
#define LOG_BARS_CLIENTS 11

static bool log_split(struct span line, struct log_words *w)
{
	unsigned bars = 0, want = world.setup.log_clients ? LOG_BARS_CLIENTS : LOG_BARS;
	struct span word;

	for (size_t i = 0; i < line.n; i++)
		bars += line.p[i] == '|';
	if (bars != want)
		return false;
	w->request = line;
	while (bars-- && span_split(&w->request, '|', &word))
		w->addr = word; /* the last but one */
	return span_split(&line, '|', &w->id) && span_split(&line, '|', &w->status) &&
	       span_split(&line, '|', &w->body) && span_split(&line, '|', &w->bytes) &&
	       span_split(&line, '|', &w->completion) && span_split(&line, '|', &w->time);
}

static int64_t log_number(struct span s)
{
	uint64_t n;

	return span_to_u64(s, INT64_MAX, &n) ? (int64_t)n : -1;
}

/* "1.234" in ms. */
static int64_t log_time_ms(struct span s)
{
	ssize_t dot = span_find_char(s, '.', 0);

	if (dot < 0)
		return -1;
	return log_number(span_cut(s, 0, (size_t)dot)) * 1000 +
	       log_number(span_cut(s, (size_t)dot + 1, s.n));
}

static void check_line(struct ask *a, const struct log_words *w)
{
	int64_t status = log_number(w->status);

	a->lines++;
	a->log_ms = log_time_ms(w->time);
	if (a->lines > 1)
		sim_broken("log", "request %u has %u lines", a->id, a->lines);
	if (a->got_status && status != a->got_status && a->got_status != 101 &&
	    a->kind != ASK_CONNECT)
		sim_broken("log", "request %u: the log says %lld, the client saw %d", a->id,
			   (long long)status, a->got_status);
	if (a->stalls && (a->log_ms + 2 < world.setup.send_timeout ||
			  a->log_ms > world.setup.send_timeout + 500))
		sim_broken("deadline", "request %u: send_timeout after %lld ms", a->id,
			   (long long)a->log_ms);
	if (!a->got_whole || ask_is_tunnel(a))
		return;
	if (log_number(w->bytes) != a->got_wire)
		sim_broken("log", "request %u: %lld bytes in the log, %lld came", a->id,
			   (long long)log_number(w->bytes), (long long)a->got_wire);
	if (!a->got_chunked && answer_has_body(a) && log_number(w->body) != a->got_body)
		sim_broken("log", "request %u: a body of %lld bytes in the log, %lld came", a->id,
			   (long long)log_number(w->body), (long long)a->got_body);
	if (!span_eq(w->completion, SPAN("OK")))
		sim_broken("log", "request %u was answered, but the log does not say OK", a->id);
}

void asks_check_log(struct span text, bool may_lack_lines)
{
	struct span line;

	while (text.n && span_split(&text, '\n', &line)) {
		struct log_words w;
		struct ask *a;

		if (!line.n)
			continue;
		if (!log_split(line, &w)) {
			if (may_lack_lines) /* a full disk cuts them */
				continue;
			sim_broken("log", "a broken line: %.*s", SPAN_ARG(line));
		}
		if (world.setup.log_clients &&
		    knock_check_line(w.addr, (int)log_number(w.status), w.request))
			continue;
		a = ask_find((uint64_t)MAX_OF(log_number(w.id), 0));
		if (a)
			check_line(a, &w);
	}
	for (unsigned i = 0; i < nasks && !may_lack_lines; i++)
		if (!asks[i]->lines && (asks[i]->got_status || asks[i]->ntries))
			sim_broken("log", "request %u has no line", asks[i]->id);
}

void asks_check_rotated(uint64_t at_us)
{
	for (unsigned i = 0; i < nasks; i++) {
		const struct ask *a = asks[i];

		/* The end of others is not what the client sees. */
		if (a->got_whole && !a->lines && !a->muxed && !ask_is_tunnel(a) && a->upload <= 0 &&
		    a->ended_us + 1000 + world.slack_us < at_us)
			sim_broken("reopen", "request %u has no line in the log of its time",
				   a->id);
	}
}

void asks_check_all(void)
{
	for (unsigned i = 0; i < nasks; i++)
		if (asks[i]->begun && !asks[i]->ended)
			sim_broken("stuck", "request %u was neither answered nor given up",
				   asks[i]->id);
}

struct ask_counts asks_counted(void)
{
	struct ask_counts c = {0};

	for (unsigned i = 0; i < nasks; i++) {
		const struct ask *a = asks[i];

		c.asked += a->begun;
		c.whole += a->got_whole && !a->own;
		c.own += a->own;
		c.lost += a->begun && !a->got_whole;
		c.excused += a->excuse != NULL;
		c.tries += a->ntries;
	}
	return c;
}
