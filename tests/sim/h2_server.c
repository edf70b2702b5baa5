#include "h2_server.h"
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "link.h"
#include "server.h"
#include "vanish.h"

#define OUT_ENOUGH 16384
#define PING_MS	   10000 /* until the worker asks, and until it believes that nobody is there */

struct hstream;
struct hserver_timer {
	struct sim_timer t;
	struct hserver *c;
	struct hstream *s;
};

struct hstream {
	struct hstream *next; /* of the connection, until that ends */
	struct hserver *c;
	int32_t id;
	bool open;
	struct text head; /* as HTTP/1 would have it */
	struct ask *ask;
	struct ask_try *try;
	enum hact act;
	bool got_trailers;
	bool read_all, answering, answered, deferred, paused;
	bool tunnel;		       /* read_all: the client's direction is over */
	int64_t up, down, length, cut; /* cut: bytes after which the answer stops; -1: none */
	size_t step, owed;
	unsigned pause_us;
	struct hserver_timer answer_timer, pace_timer, window_timer;
};

struct hserver {
	struct hserver *next; /* of all */
	struct link link;
	unsigned group, server, served, open, all;
	nghttp2_session *session;
	struct hstream *streams;
	struct text out;
	size_t out_at;
	bool dead, in_session, leaving, reset;
	int32_t last;	    /* that a GOAWAY lets in; -1: none was sent */
	int32_t newest;	    /* stream that has begun */
	bool probed, heard; /* a PING followed the GOAWAY; it was answered */
	bool doomed;	    /* to be closed when nghttp2 has returned */
	struct hserver_timer leave_timer;
};

static struct hserver *hservers;
static const enum hact *hscript;
static unsigned nhscript;
static bool hprobes;

#define HSERVER_OF_TIMER(tp) CONTAINER_OF(tp, struct hserver_timer, t)->c
#define HSTREAM_OF_TIMER(tp) CONTAINER_OF(tp, struct hserver_timer, t)->s

static void hserver_push(struct hserver *c);
static void hstream_answer(struct hstream *s);
static void hstream_window_timer(struct sim_timer *t);

void hserver_script(const enum hact *acts, unsigned n)
{
	hscript = acts;
	nhscript = n;
}

void hservers_probe(void)
{
	hprobes = true;
}

unsigned hservers_connected(unsigned *streams)
{
	unsigned n = 0;

	*streams = 0;
	for (struct hserver *c = hservers; c; c = c->next) {
		n++;
		*streams += c->all;
	}
	return n;
}

/* ---- the end ---- */

static void hstream_free(struct hstream *s)
{
	sim_timer_stop(&s->answer_timer.t);
	sim_timer_stop(&s->pace_timer.t);
	sim_timer_stop(&s->window_timer.t);
	text_fini(&s->head);
	free(s);
}

/* May the end of the connection be what became of this one? A time-out, when the worker ends it. */
static bool hstream_error_counts(const struct hstream *s)
{
	return !s->try->bits ||
	       (s->open && !s->answered && (s->c->doomed || s->try->bits != NEXT_TIMEOUT));
}

/* What was on its way may be lost with the connection. */
static void hserver_end(struct hserver *c)
{
	struct hserver **at = &hservers;
	bool lost; /* what waits to be written, answers that look complete included */

	if (c->dead)
		return;
	c->dead = true;
	lost = c->doomed && (c->out_at < c->out.n || nghttp2_session_want_write(c->session));
	sim_timer_stop(&c->leave_timer.t);
	while (c->streams) {
		struct hstream *s = c->streams;

		c->streams = s->next;
		if (s->try && s->tunnel && lost)
			s->try->unclear = true; /* was it opened? */
		if (s->try && !s->try->refused && (lost || hstream_error_counts(s)))
			s->try->bits |= NEXT_ERROR;
		hstream_free(s);
	}
	nghttp2_session_del(c->session);
	if (!c->reset)
		link_notify(&c->link);
	link_close(&c->link, c->reset);
	text_fini(&c->out);
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	free(c);
}

void hservers_close(void)
{
	while (hservers)
		hserver_end(hservers);
}

static void hserver_doom(struct hserver *c, bool reset)
{
	c->doomed = true;
	c->reset |= reset;
}

/* PING finds it out, or there are no requests: then it is idle. A time-out each may pass before. */
static void hserver_vanish(struct hserver *c)
{
	for (struct hstream *s = c->streams; s; s = s->next) {
		if (!s->try)
			continue;
		s->try->bits |= NEXT_TIMEOUT | NEXT_ERROR;
		s->try->hung = !s->answered && world.setup.read_timeout < PING_MS;
		s->try->unclear = true;
	}
	vanish(c->link.c, &(struct vanish_plan){"PING", 0, 2 * PING_MS + GROUP_IDLE_MS});
	hserver_doom(c, true);
}

static struct hstream *hstream_find(struct hserver *c, int32_t id)
{
	for (struct hstream *s = c->streams; s; s = s->next)
		if (s->id == id && s->open)
			return s;
	return NULL;
}

static int hserver_on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	struct hserver *c = arg;
	struct hstream *s = hstream_find(c, id);

	if (!s)
		return 0;
	sim_note("stream %d is closed: %u", id, error);
	s->open = false;
	if (s->tunnel && ask_is_sure(s->ask) && s->up != s->ask->tunnel_up)
		sim_broken("tunnel", "request %u: only %lld of %lld bytes came from the client",
			   s->ask->id, (long long)s->up, (long long)s->ask->tunnel_up);
	sim_timer_stop(&s->answer_timer.t);
	sim_timer_stop(&s->pace_timer.t);
	sim_timer_stop(&s->window_timer.t);
	c->open--;
	return 0;
}

/* ---- answers ---- */

static ssize_t hstream_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
			    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct hstream *s = source->ptr;
	int64_t until = s->cut >= 0 ? MIN_OF(s->cut, s->length) : s->length;
	size_t n = MIN_OF(length, (size_t)MAX_OF(until - s->down, 0));
	uint64_t key = ask_answer_key(s->ask, ask_try_nth(s->ask, s->try));
	nghttp2_nv trailer = {(uint8_t *)"x-trailer", (uint8_t *)"server", 9, 6, 0};

	if (s->act == HACT_ECHO && !s->read_all)
		n = MIN_OF(n, (size_t)MAX_OF(s->up - s->down, 0));
	if (s->ask->id % 2 && s->down < s->try->declared) /* see mux_read */
		n = MIN_OF(n, (size_t)(s->try->declared - s->down));
	if (s->step)
		n = MIN_OF(n, s->step);
	if (s->paused || (!n && s->down < until) || (s->cut >= 0 && s->down >= s->cut)) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	bytes_fill(key, (uint64_t)s->down, (char *)buf, n);
	s->down += (int64_t)n;
	s->try->written += (int64_t)n;
	if (s->cut >= 0 && s->down >= s->cut && s->act == HACT_RESET_MIDDLE) {
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, (uint32_t)sim_draw(14));
	} else if (s->cut < 0 && s->down == s->length) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->try->trailers && nghttp2_submit_trailer(session, id, &trailer, 1) == 0)
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		s->answered = true;
		if (s->act == HACT_STOP && !s->read_all)
			nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
	} else if (s->step) {
		s->paused = true;
		sim_timer_start(&s->pace_timer.t, sim_now_us() + s->pause_us);
	}
	return (ssize_t)n;
}

/* Its bytes, and its end when this side says that, or the other has. */
static ssize_t hstream_read_tunnel(nghttp2_session *session, int32_t id, uint8_t *buf,
				   size_t length, uint32_t *flags, nghttp2_data_source *source,
				   void *arg)
{
	struct hstream *s = source->ptr;
	size_t n = MIN_OF(length, (size_t)(s->length - s->down));
	bool over;

	if (s->step)
		n = MIN_OF(n, s->step);
	over = s->down + (int64_t)n == s->length && (s->ask->half_down || s->read_all);
	if (s->paused || (!n && !over)) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	bytes_fill(ask_answer_key(s->ask, ask_try_nth(s->ask, s->try)), (uint64_t)s->down,
		   (char *)buf, n);
	s->down += (int64_t)n;
	s->try->written += (int64_t)n;
	if (over) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		s->answered = true;
	} else if (s->act == HACT_RESET_MIDDLE && s->down >= s->cut) {
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, (uint32_t)sim_draw(14));
	} else if (s->step) {
		s->paused = true;
		sim_timer_start(&s->pace_timer.t, sim_now_us() + s->pause_us);
	}
	return (ssize_t)n;
}

/* 200 to an extended CONNECT (RFC 8441 5). */
static void hstream_tunnel(struct hstream *s)
{
	nghttp2_data_provider body = {.source = {.ptr = s}, .read_callback = hstream_read_tunnel};
	char id[16], nth[8];
	nghttp2_nv nv[3] = {
		{(uint8_t *)":status", (uint8_t *)"200", 7, 3, 0},
		{(uint8_t *)"x-id", (uint8_t *)id, 4, 0, 0},
		{(uint8_t *)"x-try", (uint8_t *)nth, 5, 0, 0},
	};

	nv[1].valuelen = (size_t)snprintf(id, sizeof(id), "%u", s->ask->id);
	nv[2].valuelen = (size_t)snprintf(nth, sizeof(nth), "%u", ask_try_nth(s->ask, s->try));
	s->try->status = 101; /* as a client of HTTP/1 has it */
	s->try->clean = true;
	s->try->bits = 0;
	s->try->declared = s->length = s->ask->length;
	s->try->written++;
	s->cut = (int64_t)sim_draw((uint64_t)s->length + 1);
	if (sim_chance(3000)) {
		s->step = 1 + (size_t)sim_draw(16000) + (size_t)s->length / 300;
		s->pause_us = (unsigned)sim_draw(8000);
	}
	nghttp2_submit_response(s->c->session, s->id, nv, 3, &body);
}

static void hstream_resume(struct hstream *s)
{
	if (s->deferred && s->open)
		nghttp2_session_resume_data(s->c->session, s->id);
	s->deferred = false;
}

static void hstream_pace_timer(struct sim_timer *t)
{
	struct hstream *s = HSTREAM_OF_TIMER(t);

	s->paused = false;
	hstream_resume(s);
	hserver_push(s->c);
}

static void hstream_head(struct hstream *s, int64_t says_length)
{
	static const char fill[2000] = {[0 ... 1999] = 's'};
	nghttp2_data_provider body = {.source = {.ptr = s}, .read_callback = hstream_read};
	char status[8], id[16], nth[8], length[24];
	bool bodiless = strcmp(s->ask->method, "HEAD") == 0 || s->try->status == 204 ||
			s->try->status == 304;
	nghttp2_nv nv[5] = {
		{(uint8_t *)":status", (uint8_t *)status, 7, 0, 0},
		{(uint8_t *)"x-id", (uint8_t *)id, 4, 0, 0},
		{(uint8_t *)"x-try", (uint8_t *)nth, 5, 0, 0},
	};
	size_t n = 3;

	nv[0].valuelen = (size_t)snprintf(status, sizeof(status), "%d", s->try->status);
	nv[1].valuelen = (size_t)snprintf(id, sizeof(id), "%u", s->ask->id);
	nv[2].valuelen = (size_t)snprintf(nth, sizeof(nth), "%u", ask_try_nth(s->ask, s->try));
	if (s->try->status != 204 && (sim_chance(6000) || says_length != s->length)) {
		nv[n] = (nghttp2_nv){(uint8_t *)"content-length", (uint8_t *)length, 14, 0, 0};
		nv[n++].valuelen =
			(size_t)snprintf(length, sizeof(length), "%lld", (long long)says_length);
	}
	if (sim_chance(1000))
		nv[n++] = (nghttp2_nv){(uint8_t *)"x-fill", (uint8_t *)(uintptr_t)fill, 6,
				       (size_t)sim_draw(sizeof(fill)), 0};
	if (s->act == HACT_BAD_HEAD) {
		nv[0].name = (uint8_t *)(sim_chance(5000) ? ":stapus" : "x bad: ");
		s->try->bits = NEXT_INVALID_HEADER;
		s->try->clean = false;
	}
	s->answered |= bodiless;
	s->try->written++;
	nghttp2_submit_response(s->c->session, s->id, nv, n, bodiless ? NULL : &body);
}

static unsigned hstatus_bits(int status)
{
	static const struct {
		int status;
		unsigned bit;
	} list[] = {{403, NEXT_HTTP_403}, {404, NEXT_HTTP_404}, {429, NEXT_HTTP_429},
		    {500, NEXT_HTTP_500}, {502, NEXT_HTTP_502}, {503, NEXT_HTTP_503},
		    {504, NEXT_HTTP_504}};

	for (unsigned i = 0; i < 7; i++)
		if (list[i].status == status)
			return list[i].bit;
	return 0;
}

static void hstream_interims(struct hstream *s)
{
	nghttp2_nv nv[] = {{(uint8_t *)":status", (uint8_t *)"103", 7, 3, 0},
			   {(uint8_t *)"link", (uint8_t *)"</x>", 4, 4, 0}};

	for (uint64_t n = sim_chance(1500) ? 1 + sim_draw(3) : 0; n; n--)
		nghttp2_submit_headers(s->c->session, NGHTTP2_FLAG_NONE, s->id, NULL, nv, 2, NULL);
}

/* An answer that begins as it should; how it goes on is the act's. */
static void hstream_begin(struct hstream *s)
{
	static const int bad[] = {403, 404, 429, 500, 502, 503, 504};
	struct ask_try *t = s->try;
	int64_t says;

	t->status = s->act == HACT_STATUS ? bad[sim_draw(7)] : s->ask->status;
	t->clean = true;
	t->bits = hstatus_bits(t->status);
	says = t->declared = s->length = s->ask->length;
	if (s->act == HACT_SHORT && s->length > 1)
		s->length = (int64_t)sim_draw((uint64_t)s->length - 1);
	if (s->act == HACT_LONG)
		s->length += 1 + (int64_t)sim_draw(100);
	if (s->act == HACT_RESET_MIDDLE || s->act == HACT_HANG_MIDDLE)
		s->cut = s->length ? (int64_t)sim_draw((uint64_t)s->length) : 0;
	if (s->act == HACT_SHORT || s->act == HACT_LONG || s->act == HACT_RESET_MIDDLE)
		t->bits |= NEXT_ERROR;
	if (s->act == HACT_SLOW) {
		s->step = 1 + (size_t)sim_draw(16000) + (size_t)s->length / 300;
		s->pause_us = (unsigned)sim_draw(8000);
	}
	t->trailers = world.setup.trailers && s->act != HACT_STOP && sim_chance(5000);
	hstream_interims(s);
	hstream_head(s, says);
}

static void hserver_settings(struct hserver *c)
{
	nghttp2_settings_entry iv[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
		 (uint32_t)sim_draw(sim_chance(5000) ? 2 : 100)},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)(500 + sim_draw(70000))}};

	nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, iv, 2);
}

/* The first of two GOAWAYs. */
static void hserver_leave(struct hserver *c)
{
	if (c->leaving)
		return;
	c->leaving = true;
	nghttp2_submit_shutdown_notice(c->session);
	sim_timer_start(&c->leave_timer.t, sim_now_us() + 200000 + 4 * world_latency_us());
}

static void hserver_leave_timer(struct sim_timer *t)
{
	struct hserver *c = HSERVER_OF_TIMER(t);

	nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE,
			      nghttp2_session_get_last_proc_stream_id(c->session), NGHTTP2_NO_ERROR,
			      NULL, 0);
	hserver_push(c);
}

/* GOAWAY with the last stream that is answered: with the others nothing was done. */
static void hserver_part(struct hserver *c)
{
	if (c->last >= 0)
		return;
	for (struct hstream *s = c->streams; s; s = s->next)
		if (s->answering)
			c->last = MAX_OF(c->last, s->id);
	for (struct hstream *s = c->streams; s; s = s->next)
		if (s->try && s->id > c->last)
			s->try->refused = true;
	c->leaving = true;
	nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, c->last, NGHTTP2_NO_ERROR, NULL, 0);
}

static bool hstream_opens_tunnel(const struct hstream *s)
{
	return s->tunnel && (s->act < HACT_HONEST_END || s->act == HACT_RESET_MIDDLE);
}

static void hstream_answer(struct hstream *s)
{
	struct hserver *c = s->c;

	if (s->answering || !s->open || c->doomed)
		return;
	s->answering = true;
	s->ask->early |= !s->read_all && s->ask->upload >= 0;
	sim_note("server %u.%u: act %d for request %u", c->group, c->server, s->act, s->ask->id);
	if (hstream_opens_tunnel(s)) {
		if (s->act == HACT_LEAVE)
			hserver_leave(c);
		hstream_tunnel(s);
		return;
	}
	switch (s->act) {
	case HACT_RESET:
		s->try->bits = NEXT_ERROR;
		nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id,
					  sim_chance(5000) ? NGHTTP2_INTERNAL_ERROR
							   : NGHTTP2_CANCEL);
		break;
	case HACT_REFUSE:
		s->try->refused = true;
		nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id,
					  NGHTTP2_REFUSED_STREAM);
		break;
	case HACT_GOAWAY:
		s->try->refused = true;
		c->leaving = true;
		c->last = MAX_OF(s->id - 2, 0);
		nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, c->last, NGHTTP2_NO_ERROR,
				      NULL, 0);
		break;
	case HACT_CLOSE:
	case HACT_CUT:
		hserver_doom(c, s->act == HACT_CUT);
		break;
	case HACT_VANISH:
		hserver_vanish(c);
		break;
	case HACT_HANG:
	case HACT_STUCK:
		s->try->bits = NEXT_TIMEOUT;
		s->try->hung = s->act == HACT_HANG;
		break;
	case HACT_SETTINGS:
		hserver_settings(c);
		hstream_begin(s);
		break;
	case HACT_PART:
		hstream_begin(s);
		hserver_part(c);
		break;
	case HACT_LEAVE:
		hserver_leave(c);
		hstream_begin(s);
		break;
	default:
		hstream_begin(s);
	}
}

static void hstream_answer_timer(struct sim_timer *t)
{
	hstream_answer(HSTREAM_OF_TIMER(t));
	hserver_push(HSERVER_OF_TIMER(t));
}

/* ---- requests ---- */

static enum hact hstream_draw(struct hstream *s)
{
	const struct server_setup *v = &world.setup.groups[s->c->group].servers[s->c->server];

	if (nhscript) {
		nhscript--;
		return *hscript++;
	}
	if (sim_draw(100) < v->mischief)
		return HACT_HONEST_END + (enum hact)sim_draw(HACT_END - HACT_HONEST_END);
	return sim_chance(5500) ? HACT_ANSWER : (enum hact)sim_draw(HACT_HONEST_END);
}

/* ---- GOAWAY ---- */

/* A PING follows the first one. Who has answered that knows that no stream may begin any more (RFC
 * 9113 6.8), and says nothing later that it had made before. */
static int hserver_on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct hserver *c = arg;

	if (frame->hd.type != NGHTTP2_GOAWAY || !hprobes || c->probed)
		return 0;
	c->probed = true;
	nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, NULL);
	return 0;
}

static int hserver_on_frame_head(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
	struct hserver *c = arg;

	if (hd->type == NGHTTP2_PING && (hd->flags & NGHTTP2_FLAG_ACK))
		c->heard = true;
	if (hd->type != NGHTTP2_HEADERS || hd->stream_id <= c->newest)
		return 0;
	if (c->heard)
		sim_broken("goaway", "server %u.%u: stream %d begins behind a GOAWAY that was read",
			   c->group, c->server, hd->stream_id);
	c->newest = hd->stream_id;
	return 0;
}

static int hserver_on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct hserver *c = arg;
	struct hstream *s;

	/* nghttp2 lets in what comes before a GOAWAY that leaves it out has left. */
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST ||
	    (c->last >= 0 && frame->hd.stream_id > c->last))
		return 0;
	s = calloc(1, sizeof(*s));
	BUG_ON(!s);
	*s = (struct hstream){
		.next = c->streams, .c = c, .id = frame->hd.stream_id, .open = true, .cut = -1};
	s->answer_timer = (struct hserver_timer){{.run = hstream_answer_timer}, c, s};
	s->pace_timer = (struct hserver_timer){{.run = hstream_pace_timer}, c, s};
	s->window_timer = (struct hserver_timer){{.run = hstream_window_timer}, c, s};
	c->streams = s;
	c->open++;
	c->all++;
	return 0;
}

static int hserver_on_header(nghttp2_session *session, const nghttp2_frame *frame,
			     const uint8_t *name, size_t namelen, const uint8_t *value,
			     size_t valuelen, uint8_t flags, void *arg)
{
	struct hstream *s = hstream_find(arg, frame->hd.stream_id);

	if (s && s->ask)
		s->got_trailers |= span_eq(span_make(name, namelen), SPAN("x-trailer"));
	if (!s || s->ask)
		return 0;
	if (!s->head.n)
		text_add(&s->head, "\r\n", 2); /* in place of a first line */
	text_add(&s->head, name, namelen);
	text_add(&s->head, ": ", 2);
	text_add(&s->head, value, valuelen);
	text_add(&s->head, "\r\n", 2);
	return 0;
}

static const char *const expected_names[] = {"authority", "method", "path",	      "scheme",
					     "x-id",	  "x-fill", "content-length", "te"};
static const char *const tunnel_names[] = {"protocol", "sec-websocket-version"};

static bool is_among(struct span name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq(name, span_of(names[i])))
			return true;
	return false;
}

/* Pseudo-header fields lost their colon to head_next, which takes it for the name's end: so their
 * values begin with the name. */
static struct span pseudo_field(const struct parse *p, const char *name)
{
	struct span n, v;
	size_t at = 0;

	while (head_next(p, &at, &n, &v)) {
		struct span word;

		if (!n.n && span_split(&v, ':', &word) && span_eq(word, span_of(name)))
			return span_trim(v);
	}
	return SPAN("");
}

static void hstream_check_names(struct ask *a, const struct parse *p)
{
	struct span n, v;
	size_t at = 0;

	while (head_next(p, &at, &n, &v)) {
		if (!n.n)
			span_split(&v, ':', &n);
		if (!is_among(n, expected_names, ARRAY_LEN(expected_names)) &&
		    !(ask_is_tunnel(a) && is_among(n, tunnel_names, ARRAY_LEN(tunnel_names))))
			sim_broken("request", "request %u: field %.*s: %.*s", a->id, SPAN_ARG(n),
				   SPAN_ARG(span_cut(v, 0, 100)));
	}
}

static void hstream_check_head(struct hstream *s, bool end)
{
	struct parse p = {.head = s->head};
	struct ask *a = ask_find(head_number(&p, "x-id", 0));
	char host[16];
	struct span v;

	text_add(&p.head, "\r\n", 2);
	s->head = p.head;
	snprintf(host, sizeof(host), "g%u", s->c->group);
	if (!a ||
	    !span_eq(pseudo_field(&p, "method"),
		     ask_is_tunnel(a) ? SPAN("CONNECT") : span_of(a->method)) ||
	    (ask_is_tunnel(a) && !span_eq(pseudo_field(&p, "protocol"), SPAN("websocket"))) ||
	    !span_eq(pseudo_field(&p, "path"), span_of(a->target)) ||
	    !span_eq(pseudo_field(&p, "authority"), span_of(host)) ||
	    !span_eq(pseudo_field(&p, "scheme"), s->c->link.tls ? SPAN("https") : SPAN("http")))
		sim_broken("request", "server %u.%u got \"%.*s\"", s->c->group, s->c->server,
			   (int)MIN_OF(p.head.n, 300), p.head.p);
	hstream_check_names(a, &p);
	if (head_field(&p, "content-length", &v) &&
	    (int64_t)head_number(&p, "content-length", 0) != MAX_OF(a->upload, 0))
		sim_broken("request", "request %u: content-length %.*s instead of %lld", a->id,
			   SPAN_ARG(v), (long long)a->upload);
	if (end && a->upload > 0)
		sim_broken("request", "request %u came without its body", a->id);
	s->ask = a;
}

static void hstream_request(struct hstream *s, bool end)
{
	hstream_check_head(s, end);
	server_check_tls(&s->c->link, s->c->group, s->ask);
	s->try = ask_try_begin(s->ask, s->c->group, s->c->server, s->c->served++ == 0,
			       link_is_spoiled(&s->c->link));
	sim_note("server %u.%u: request %u on stream %d, try %u", s->c->group, s->c->server,
		 s->ask->id, s->id, s->ask->ntries - 1);
	s->act = hstream_draw(s);
	s->tunnel = ask_is_tunnel(s->ask);
	if (s->tunnel) { /* there is no end to wait for */
		s->try->read_us = sim_now_us();
		hstream_answer(s);
	} else if (s->act == HACT_EARLY || s->act == HACT_STOP || s->act == HACT_ECHO ||
		   s->act == HACT_GOAWAY || s->act == HACT_STUCK || s->act == HACT_REFUSE ||
		   (s->act >= HACT_HONEST_END && sim_chance(3000)))
		hstream_answer(s);
}

static void hstream_check_trailers(const struct hstream *s)
{
	const struct ask *a = s->ask;

	if (s->got_trailers && !(a->up_trailers && a->route->trailers))
		sim_broken("trailers", "request %u came with trailers", a->id);
	if (a->up_trailers && a->route->trailers && !s->got_trailers)
		sim_broken("trailers", "request %u came without its trailers", a->id);
}

static void hstream_whole(struct hstream *s)
{
	struct ask *a = s->ask;

	if (s->tunnel) {
		s->read_all = true;
		hstream_resume(s);
		return;
	}
	if (s->up != MAX_OF(a->upload, 0))
		sim_broken("body-up", "request %u: %lld of %lld bytes of the upload look complete",
			   a->id, (long long)s->up, (long long)a->upload);
	if (a->bad_body)
		sim_broken("malformed", "request %u with a broken body came to its end", a->id);
	hstream_check_trailers(s);
	s->read_all = s->try->whole = true;
	s->try->read_us = sim_now_us();
	if (s->act == HACT_SLOW && !s->answering)
		sim_timer_start(&s->answer_timer.t, sim_now_us() + sim_draw(250000));
	else
		hstream_answer(s);
	hstream_resume(s);
}

static int hserver_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct hstream *s = hstream_find(arg, frame->hd.stream_id);
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (!s || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && !s->ask)
		hstream_request(s, end);
	if (end)
		hstream_whole(s);
	return 0;
}

static void hstream_window_timer(struct sim_timer *t)
{
	struct hstream *s = HSTREAM_OF_TIMER(t);

	nghttp2_session_consume_stream(s->c->session, s->id, s->owed);
	s->owed = 0;
	hserver_push(s->c);
}

static void hstream_tunnel_data(struct hstream *s, const uint8_t *p, size_t n)
{
	struct ask *a = s->ask;
	size_t right = bytes_check(bytes_key(BYTES_TUNNEL_UP, a->id, 0), (uint64_t)s->up,
				   (const char *)p, n);

	s->up += (int64_t)n;
	if (right < n || s->up > a->tunnel_up)
		sim_broken("tunnel", "request %u: byte %lld from the client is wrong", a->id,
			   (long long)s->up);
}

static int hserver_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
			   size_t n, void *arg)
{
	struct hstream *s = hstream_find(arg, id);
	size_t right;

	nghttp2_session_consume_connection(session, n);
	if (!s)
		return 0;
	if (s->tunnel) {
		hstream_tunnel_data(s, p, n);
		nghttp2_session_consume_stream(session, id, n);
		return 0;
	}
	right = bytes_check(bytes_key(BYTES_UPLOAD, s->ask->id, 0), (uint64_t)s->up,
			    (const char *)p, n);
	s->up += (int64_t)n;
	if (right < n || s->up > s->ask->upload + (s->ask->bad_body ? 1 << 20 : 0))
		sim_broken("body-up", "request %u: byte %llu of the upload is wrong", s->ask->id,
			   (unsigned long long)s->up - n + right);
	if (s->act == HACT_STUCK) {
		s->try->stuck_us = sim_now_us();
		return 0;
	}
	if (s->act == HACT_LAZY) {
		s->owed += n;
		sim_timer_start(&s->window_timer.t, sim_now_us() + 1 + sim_draw(3000));
	} else {
		nghttp2_session_consume_stream(session, id, n);
	}
	if (s->act == HACT_ECHO)
		hstream_resume(s);
	return 0;
}

static int hserver_on_invalid(nghttp2_session *session, const nghttp2_frame *frame, int error,
			      void *arg)
{
	if (error == NGHTTP2_ERR_REFUSED_STREAM) /* before it has heard of our settings */
		return 0;
	sim_broken("framing", "server %u.%u: frame of type %u: %s", ((struct hserver *)arg)->group,
		   ((struct hserver *)arg)->server, frame->hd.type, nghttp2_strerror(error));
	return 0;
}

/* ---- the connection ---- */

static void hserver_push(struct hserver *c)
{
	const uint8_t *p;
	size_t k;
	ssize_t n;

	if (c->in_session || c->dead)
		return;
	for (;;) {
		if (c->out_at == c->out.n) {
			c->out.n = c->out_at = 0;
			while (c->out.n < OUT_ENOUGH &&
			       (n = nghttp2_session_mem_send(c->session, &p)) > 0)
				text_add(&c->out, p, (size_t)n);
		}
		if (!c->out.n)
			break;
		k = link_write(&c->link, c->out.p + c->out_at, c->out.n - c->out_at);
		c->out_at += k;
		if (c->out_at < c->out.n && !(k && c->link.tls)) /* that takes a record at a time */
			break;
	}
	if (c->doomed || link_is_stopped(&c->link) ||
	    (c->leaving && !c->open && !c->out.n && link_flushed(&c->link) &&
	     !nghttp2_session_want_read(c->session)))
		hserver_end(c);
}

static void hserver_pull(struct hserver *c)
{
	char p[8192];
	ssize_t n, used;

	while ((n = link_read(&c->link, p, 1 + (size_t)sim_draw(sizeof(p)))) > 0) {
		c->in_session = true;
		used = nghttp2_session_mem_recv(c->session, (uint8_t *)p, (size_t)n);
		c->in_session = false;
		if (used < 0)
			sim_broken("framing", "server %u.%u: %s", c->group, c->server,
				   nghttp2_strerror((int)used));
		if (c->doomed)
			break;
	}
	if (n < 0)
		hserver_end(c);
	else
		hserver_push(c);
}

static void hserver_on_readable(struct sim_conn *sc)
{
	hserver_pull(sim_conn_owner(sc));
}

static void hserver_on_writable(struct sim_conn *sc)
{
	struct hserver *c = sim_conn_owner(sc);

	link_flushed(&c->link); /* what it had taken goes first */
	hserver_push(c);
}

static void hserver_on_reset(struct sim_conn *sc)
{
	hserver_end(sim_conn_owner(sc));
}

static const struct sim_conn_ops hserver_ops = {
	.readable = hserver_on_readable,
	.writable = hserver_on_writable,
	.reset = hserver_on_reset,
};

static void hserver_session(struct hserver *c)
{
	static const uint32_t windows[] = {65535, 65535, 1000, 1 << 20};
	nghttp2_settings_entry iv[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
		 world.setup.groups[c->group].honest ? 100 : 1 + (uint32_t)sim_draw(100)},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, windows[sim_draw(4)]},
		{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}};
	nghttp2_session_callbacks *cb;
	nghttp2_option *o;

	BUG_ON(nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&o) != 0);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, hserver_on_begin);
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, hserver_on_frame_head);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, hserver_on_sent);
	nghttp2_session_callbacks_set_on_header_callback(cb, hserver_on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, hserver_on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, hserver_on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, hserver_on_close);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, hserver_on_invalid);
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_http_messaging(o, 1);
	nghttp2_option_set_stream_reset_rate_limit(o, UINT64_MAX, UINT64_MAX);
	BUG_ON(nghttp2_session_server_new2(&c->session, cb, c, o) != 0);
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, iv,
				world.setup.groups[c->group].h2_tunnels ? 3 : 2);
}

void hserver_accepted(unsigned group, unsigned server, struct link *l)
{
	struct hserver *c = calloc(1, sizeof(*c));

	BUG_ON(!c);
	*c = (struct hserver){
		.next = hservers, .link = *l, .group = group, .server = server, .last = -1};
	hservers = c;
	c->leave_timer = (struct hserver_timer){{.run = hserver_leave_timer}, c, NULL};
	hserver_session(c);
	sim_conn_set(c->link.c, &hserver_ops, c);
	c->link.ready = true;
	hserver_pull(c);
}
