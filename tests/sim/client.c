#include "client.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "http/base64.h"
#include "oracle_time.h"

static struct client *clients;
static unsigned nclients, nconnected;

#define TIMER_OWNER(tp) CONTAINER_OF(tp, struct client_timer, t)->c

static void client_send(struct client *c);
static void client_receive(struct client *c);
static void client_end(struct client *c, const char *how, bool reset);
static void client_tunnelled(struct client *c);

unsigned clients_connected(void)
{
	return nconnected;
}

/* ---- requests ---- */

static const char *client_target_host(struct client *c)
{
	return c->absolute && c->asks[c->sending]->kind != ASK_CONNECT ? "http://sim" : "";
}

static void client_credentials(const struct ask *a, struct text *h)
{
	const char *user = setup_user(a->id);
	char base64[64];
	size_t n = base64_encode(base64, user, strlen(user));

	text_printf(h, "Authorization: Basic %.*s\r\n", (int)n, base64);
}

static void client_head(struct client *c, struct ask *a, struct text *h)
{
	if (c->port == PORT_PROXY && c->sending == 0)
		text_printf(h, "PROXY TCP4 192.0.2.%u 192.0.2.1 %u 80\r\n", 1 + c->index % 200,
			    1000 + c->index);
	text_printf(h, "%s %s%s HTTP/1.%d\r\nHost: %s\r\nX-Id: %u\r\n", a->method,
		    client_target_host(c), a->target, c->http10 ? 0 : 1,
		    a->kind == ASK_CONNECT ? a->target : "sim", a->id);
	if (a->kind == ASK_TUNNEL)
		text_printf(h, "Connection: upgrade\r\nUpgrade: websocket\r\n%s",
			    c->websocket_key ? "Sec-WebSocket-Key: c2ltdWxhdG9yIHNheXMhIQ==\r\n"
					       "Sec-WebSocket-Version: 13\r\n"
					     : "");
	else if (a->kind == ASK_CONNECT)
		text_printf(h, "User-Agent: sim\r\n");
	else if (a->id % 7 == 0)
		text_printf(h, "Connection: X-Hop%s\r\nX-Hop: 1\r\n",
			    c->http10 ? ", keep-alive" : "");
	else if (c->http10)
		text_printf(h, "Connection: keep-alive\r\n");
	if (a->id % 11 == 0) {
		text_printf(h, "X-Fill: ");
		for (unsigned i = 0; i < a->id % 3000; i++)
			text_add(h, "f", 1);
		text_printf(h, "\r\n");
	}
	if (world.setup.auth)
		client_credentials(a, h);
	if (a->kind == ASK_FILE && a->status == 206)
		text_printf(h, "Range: bytes=%lld-%lld\r\n", (long long)a->from,
			    (long long)(a->from + a->length - 1));
	if (a->expect)
		text_printf(h, "Expect: 100-continue\r\n");
	if (a->upload >= 0 && a->chunked)
		text_printf(h, "Transfer-Encoding: chunked\r\n");
	else if (a->upload >= 0)
		text_printf(h, "Content-Length: %lld\r\n", (long long)a->upload);
	text_printf(h, "\r\n");
}

static void client_make_feed(struct client *c, struct ask *a)
{
	struct feed *f = &c->feed;

	feed_fini(f);
	feed_init(f);
	client_head(c, a, &f->head);
	c->may_send_body = !a->expect;
	c->want_100 = a->expect;
	c->feed_ready = true;
	a->begun = true;
	sim_note("client %u: %s %s, %lld up", c->index, a->method, a->target, (long long)a->upload);
	if (a->upload < 0)
		return;
	f->framing = a->chunked ? FEED_CHUNKED : FEED_RAW;
	f->key = bytes_key(BYTES_UPLOAD, a->id, 0);
	f->length = a->upload;
	f->chunk = 1 + (size_t)a->upload / 1000 + (size_t)sim_draw(1999);
	f->extensions = sim_chance(2000);
	if (sim_chance(3000))
		f->trailer = "X-Trailer: client\r\n";
	a->up_trailers = a->chunked && f->trailer;
	if (a->bad_body)
		f->bad_chunk = (int64_t)sim_draw((uint64_t)a->upload);
}

static void client_make_raw(struct client *c)
{
	feed_fini(&c->feed);
	feed_init(&c->feed);
	if (c->port == PORT_PROXY)
		text_printf(&c->feed.head, "PROXY TCP4 192.0.2.1 192.0.2.1 1000 80\r\n");
	text_add(&c->feed.head, c->raw->text, strlen(c->raw->text));
	c->may_send_body = true;
	c->feed_ready = true;
}

/* Is there something to send now? */
static bool client_next_feed(struct client *c)
{
	if (c->feed_ready)
		return true;
	if (c->raw) {
		if (c->sent == 0)
			client_make_raw(c);
		return c->feed_ready;
	}
	if (c->sending >= c->nasks || c->closes || c->half)
		return false;
	if (!c->pipeline && c->sending != c->reading)
		return false;
	if (!c->pipeline && c->sending && sim_now_us() < c->answered_us + c->think_us) {
		sim_timer_start(&c->think_timer.t, c->answered_us + c->think_us);
		return false;
	}
	client_make_feed(c, c->asks[c->sending]);
	return true;
}

/* ---- the bitter end ---- */

static void client_doom(struct client *c)
{
	sim_timer_stop(&c->doom_timer.t);
	sim_note("client %u: doom %d after %llu sent, %llu read", c->index, c->doom,
		 (unsigned long long)c->sent, (unsigned long long)c->got);
	switch (c->doom) {
	case DOOM_RESET:
	case DOOM_CLOSE:
		client_end(c, "doom", c->doom == DOOM_RESET);
		break;
	case DOOM_VANISH:
		vanish(c->link.c, &c->vanishes);
		client_end(c, "vanished", false);
		break;
	case DOOM_HALF:
		if (!c->half && c->link.ready)
			link_shutdown(&c->link);
		c->half = true;
		if (c->tunnel_over)
			client_end(c, "doom", false);
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

static bool client_doomed(struct client *c)
{
	if (c->deaf || c->half || c->doom == DOOM_NONE)
		return false;
	return (c->doom_sent >= 0 && (int64_t)c->sent >= c->doom_sent) ||
	       (c->doom_read >= 0 && (int64_t)c->got >= c->doom_read);
}

static void client_doom_timer(struct sim_timer *t)
{
	client_doom(TIMER_OWNER(t));
}

static void client_end(struct client *c, const char *how, bool reset)
{
	if (c->done)
		return;
	c->done = true;
	sim_timer_stop(&c->send_timer.t);
	sim_timer_stop(&c->read_timer.t);
	sim_timer_stop(&c->think_timer.t);
	sim_timer_stop(&c->doom_timer.t);
	sim_timer_stop(&c->begin_timer.t);
	sim_timer_stop(&c->expect_timer.t);
	for (unsigned i = c->reading; i < c->nasks; i++) {
		/* What the first one may suffer takes those behind it along. */
		if (c->reading < i && !ask_is_sure(c->asks[c->reading]))
			ask_excuse(c->asks[i], "one before it was lost");
		if (c->asks[i]->begun)
			ask_lost(c->asks[i], how);
	}
	if (c->connected)
		nconnected--;
	link_close(&c->link, reset);
	feed_fini(&c->feed);
	parse_fini(&c->in);
	world_client_done();
}

/* ---- sending ---- */

/* How many bytes may go now. */
static size_t client_allowance(struct client *c, size_t n)
{
	if (c->silent && c->sent + n > c->stop_at)
		n = (size_t)(c->stop_at - c->sent);
	if (c->step && n > c->step)
		n = c->step;
	if (c->doom_sent >= 0 && !c->half && c->doom != DOOM_NONE &&
	    (int64_t)(c->sent + n) > c->doom_sent)
		n = (size_t)(c->doom_sent - (int64_t)c->sent);
	if (!c->may_send_body && c->feed.out + (int64_t)n > (int64_t)c->feed.head.n)
		n = (size_t)((int64_t)c->feed.head.n - c->feed.out);
	return n;
}

static void client_sent_all(struct client *c)
{
	c->feed_ready = false;
	if (c->raw)
		return;
	c->asks[c->sending]->sent = true;
	c->asks[c->sending]->sent_us = sim_now_us();
	c->sending++;
}

/* All is sent that will be. */
static void client_tunnel_rest(struct client *c)
{
	struct ask *a = c->asks[c->reading];

	if (!c->half && !link_flushed(&c->link))
		return;
	if (a->half_up && !c->half) {
		if (!link_end(&c->link))
			return;
		sim_note("client %u: ends its direction", c->index);
		c->half = true;
	}
	if (c->tunnel_got < a->length || a->idles)
		return;
	if (a->half_down && !c->tunnel_over)
		return; /* that end must come, too */
	a->ended = a->got_whole = true;
	c->reading++;
	client_end(c, "tunnel done", false);
}

static void client_send_tunnel(struct client *c)
{
	struct ask *a = c->asks[c->reading];
	char p[4096];

	while (c->tunnel_sent < a->tunnel_up) {
		size_t n = (size_t)MIN_OF(a->tunnel_up - c->tunnel_sent, (int64_t)sizeof(p)), k;

		bytes_fill(bytes_key(BYTES_TUNNEL_UP, a->id, 0), (uint64_t)c->tunnel_sent, p, n);
		k = link_write(&c->link, p, n);
		c->tunnel_sent += (int64_t)k;
		c->sent += k;
		if (k)
			c->last_sent_us = sim_now_us();
		if (client_doomed(c)) {
			client_doom(c);
			return;
		}
		if (k < n)
			return;
	}
	client_tunnel_rest(c);
}

static void client_send_timer(struct sim_timer *t)
{
	TIMER_OWNER(t)->send_paused = false;
	client_send(TIMER_OWNER(t));
}

/* The head is out and wants to hear 100. */
static void client_await_100(struct client *c)
{
	if (c->want_100 && !c->may_send_body && c->feed_ready && feed_past_head(&c->feed))
		sim_timer_start(&c->expect_timer.t, sim_now_us() + 1000000);
	c->want_100 = false;
}

static void client_send(struct client *c)
{
	const char *p;

	while (!c->done && c->link.ready && !c->half && !c->send_paused) {
		size_t n, k;

		if (c->tunnelled) {
			client_send_tunnel(c);
			return;
		}
		if (client_doomed(c)) {
			client_doom(c);
			return;
		}
		if (!client_next_feed(c))
			return;
		n = feed_peek(&c->feed, &p);
		if (n == 0) {
			client_sent_all(c);
			continue;
		}
		n = client_allowance(c, n);
		if (!n) {
			client_await_100(c);
			return;
		}
		k = link_write(&c->link, p, n);
		feed_take(&c->feed, k);
		c->sent += k;
		if (k)
			c->last_sent_us = sim_now_us();
		if (k < n)
			return;
		if (c->step && c->pause_us) {
			c->send_paused = true;
			sim_timer_start(&c->send_timer.t, sim_now_us() + c->pause_us);
		}
	}
}

/* ---- receiving ---- */

static void client_answered(struct client *c)
{
	struct ask *a = c->asks[c->reading];
	struct span v;

	a->got_wire = c->in.all + a->got_wire;
	sim_note("client %u: request %u: %d, %lld bytes", c->index, a->id, a->got_status,
		 (long long)a->got_body);
	ask_check_end(a, true);
	c->closes |= head_field(&c->in, "Connection", &v) && span_eq_nocase(v, SPAN("close"));
	if (c->reading == c->sending) { /* an early answer: the rest of the request is not wanted */
		c->closes |= c->feed_ready && !c->may_send_body;
		if (c->closes)
			c->feed_ready = false;
	}
	c->reading++;
	if (a->early || a->bad_body)
		for (unsigned i = c->reading; i < c->nasks; i++)
			ask_excuse(c->asks[i],
				   "the connection is of no more use after an early answer");
	c->answered_us = sim_now_us();
	parse_init(&c->in);
	if (c->reading == c->nasks && !c->silent) {
		client_end(c, "done", false);
		return;
	}
	if (c->closes)
		for (unsigned i = c->reading; i < c->nasks; i++)
			ask_excuse(c->asks[i], "the connection closes");
	sim_timer_stop(&c->expect_timer.t);
}

static void client_interim(struct client *c, int status)
{
	struct ask *a = c->asks[c->reading];

	if (status == 100 && !a->expect)
		sim_broken("answer", "request %u got 100 unasked", a->id);
	if (status != 100 && status != 103)
		sim_broken("answer", "request %u got %d", a->id, status);
	a->got_wire += c->in.all;
	if (c->sending == c->reading)
		c->may_send_body = true;
	parse_init(&c->in);
}

static void client_upgraded(struct client *c)
{
	struct ask *a = c->asks[c->reading];
	int64_t length;

	if (a->kind != ASK_TUNNEL)
		sim_broken("answer", "request %u got 101 unasked", a->id);
	a->got_status = 101;
	ask_check_head(a, &c->in, &length);
	client_tunnelled(c);
}

static void client_connected(struct client *c)
{
	struct ask *a = c->asks[c->reading];

	a->got_status = 200;
	ask_check_connected(a, &c->in);
	client_tunnelled(c);
}

static void client_tunnelled(struct client *c)
{
	c->tunnelled = true;
	c->feed_ready = false;
}

/* What came behind a response that ends the dealings of a malformed request. */
static void client_check_raw(struct client *c, int status)
{
	bool ours =
		world.destructive && status >= 500; /* what runs out is no fault of the client's */

	if (status != c->raw->status && !ours)
		sim_broken("malformed", "client %u: \"%.60s\" was answered with %d, not %d",
			   c->index, c->raw->text, status, c->raw->status);
	client_end(c, "refused as it should be", false);
}

static bool client_got_head(struct client *c)
{
	struct span line = head_line(&c->in), version, code;
	enum parse_framing framing;
	struct ask *a;
	int64_t length;
	uint64_t status;

	if (!span_split(&line, ' ', &version) || !span_eq(version, SPAN("HTTP/1.1")) ||
	    !span_split(&line, ' ', &code) || !span_to_u64(code, 999, &status))
		sim_broken("answer", "client %u: a broken status line", c->index);
	if (c->raw) {
		client_check_raw(c, (int)status);
		return false;
	}
	if (c->reading >= c->sending + c->feed_ready)
		sim_broken("answer", "client %u: %d for a request that was not made", c->index,
			   (int)status);
	a = c->asks[c->reading];
	if (status == 101) {
		client_upgraded(c);
		return true;
	}
	if (status < 200) {
		client_interim(c, (int)status);
		return true;
	}
	if (status == 200 && a->kind == ASK_CONNECT) {
		client_connected(c);
		return true;
	}
	a->got_status = (int)status;
	framing = ask_check_head(a, &c->in, &length);
	time_check_answer(c, a);
	parse_body(&c->in, framing, length);
	return true;
}

static void client_tunnel_data(struct client *c, struct span data)
{
	struct ask *a = c->asks[c->reading];
	uint64_t key = ask_answer_key(a, (unsigned)MAX_OF(a->seen_try, 0));
	size_t right = bytes_check(key, (uint64_t)c->tunnel_got, data.p, data.n);

	if (right < data.n || c->tunnel_got + (int64_t)data.n > a->length)
		sim_broken("tunnel", "request %u: byte %llu is wrong", a->id,
			   (unsigned long long)c->tunnel_got + right);
	c->tunnel_got += (int64_t)data.n;
	c->last_got_us = sim_now_us();
	client_send_tunnel(c); /* it may be done */
}

static void client_input(struct client *c, struct span in)
{
	struct span data;

	c->got += in.n;
	while (!c->done) {
		if (c->tunnelled) {
			if (in.n)
				client_tunnel_data(c, in);
			return;
		}
		switch (parse_step(&c->in, &in, &data)) {
		case PARSE_MORE:
			return;
		case PARSE_HEAD:
			if (!client_got_head(c))
				return;
			break;
		case PARSE_DATA:
			ask_check_data(c->asks[c->reading], data);
			break;
		case PARSE_END:
			client_answered(c);
			break;
		case PARSE_BAD:
			sim_broken("framing", "client %u: %s", c->index, c->in.why);
		}
	}
}

static void client_tunnel_closed(struct client *c, bool reset)
{
	struct ask *a = c->asks[c->reading];

	if (!reset && a->half_down && c->tunnel_got == a->length) {
		c->tunnel_over = true;
		if (!c->half) { /* what is left in the other direction */
			client_send_tunnel(c);
			return;
		}
		a->ended = a->got_whole = c->tunnel_sent == a->tunnel_up;
	}
	if (a->idles && c->tunnel_got == a->length && c->tunnel_sent == a->tunnel_up) {
		time_check_tunnel(c);
		a->ended = true;
	}
	client_end(c, "the tunnel ended early", false);
}

/* The worker closed. reset: not in an orderly way. */
static void client_closed(struct client *c, bool reset)
{
	struct ask *a = c->reading < c->nasks ? c->asks[c->reading] : NULL;
	enum parse_event e = parse_eof(&c->in);

	time_check_close(c);
	/* The worker closed behind this answer, and what was sent already met a closed door: the
	 * reset may overtake the answer. */
	if (a && reset && c->sending + c->feed_ready > c->reading + 1)
		ask_excuse(a, "requests behind it were sent already");
	if (c->tunnelled) {
		client_tunnel_closed(c, reset);
		return;
	}
	if (!c->raw && a && a->got_status && e == PARSE_END) {
		/* With TLS an end without close_notify is none, but the bytes may be all there. */
		if (!reset || (a->seen_try >= 0 && a->got_body == a->tries[a->seen_try].declared)) {
			a->got_wire += c->in.all;
			ask_check_end(a, true);
			a->got_whole &= !reset; /* what the worker thinks of it is its own affair */
			c->reading++;
		}
	} else if (!c->raw && a && a->got_status) {
		ask_check_end(a, false);
		c->reading++;
		for (unsigned i = c->reading; i < c->nasks && !ask_is_sure(a); i++)
			ask_excuse(c->asks[i], "one before it was cut");
	}
	if (c->raw && !reset && !world.destructive && !world_is_leaving())
		sim_broken("malformed", "client %u: \"%.60s\" was not answered", c->index,
			   c->raw->text);
	client_end(c, reset ? "reset" : "closed", false);
}

static void client_read_timer(struct sim_timer *t)
{
	struct client *c = TIMER_OWNER(t);

	c->read_paused = false;
	client_receive(c);
}

static void client_receive(struct client *c)
{
	char p[16384];

	while (!c->done && !c->deaf && !c->read_paused && !c->tunnel_over) {
		size_t most = c->rstep && c->rstep < sizeof(p) ? c->rstep : sizeof(p);
		ssize_t n;

		if (c->doom_read >= 0 && !c->half && c->doom != DOOM_NONE &&
		    c->doom_read - (int64_t)c->got < (int64_t)most)
			most = (size_t)MAX_OF(c->doom_read - (int64_t)c->got, 1);
		n = link_read(&c->link, p, most);
		if (n == 0)
			break;
		if (n < 0) {
			client_closed(c, n == -2);
			return;
		}
		client_input(c, span_make(p, (size_t)n));
		if (!c->done && client_doomed(c))
			client_doom(c); /* half-closed, it reads on */
		c->rtaken += (size_t)n; /* TLS gives a record at most, and some are tiny */
		if (c->rstep && c->rtaken >= c->rstep && !c->reset) {
			c->rtaken = 0;
			c->read_paused = true;
			sim_timer_start(&c->read_timer.t, sim_now_us() + c->rpause_us);
		}
	}
	if (!c->done && c->tunnelled)
		client_send_tunnel(c);
	else if (!c->done)
		client_send(c);
}

/* ---- the connection ---- */

static void client_on_move(struct sim_conn *sc)
{
	struct client *c = sim_conn_owner(sc);

	if (c->done)
		return;
	if (!link_move(&c->link)) {
		client_closed(c, true);
		return;
	}
	if (!c->link.ready)
		return;
	client_send(c);
	if (!c->done)
		client_receive(c);
}

static void client_on_connected(struct sim_conn *sc)
{
	struct client *c = sim_conn_owner(sc);

	c->connected_us = sim_now_us();
	client_on_move(sc);
}

static void client_on_refused(struct sim_conn *sc, int err)
{
	struct client *c = sim_conn_owner(sc);

	c->link.c = NULL;
	client_end(c, "refused", false);
}

static void client_on_reset(struct sim_conn *sc)
{
	struct client *c = sim_conn_owner(sc);

	c->read_paused = false;
	c->reset = true;
	if (!c->done && c->link.ready)
		client_receive(c); /* what came before it can be read */
	if (!c->done)
		client_closed(c, true);
}

static const struct sim_conn_ops client_ops = {
	.connected = client_on_connected,
	.refused = client_on_refused,
	.readable = client_on_move,
	.writable = client_on_move,
	.reset = client_on_reset,
};

static void client_begin(struct sim_timer *t)
{
	struct client *c = TIMER_OWNER(t);
	struct place to = setup_listen_addr(c->port);
	struct sim_conn *sc;

	if (world_is_leaving()) {
		client_end(c, "too late", false);
		return;
	}
	c->connected = true;
	sim_note("client %u connects to port %u", c->index, c->port);
	nconnected++;
	sc = sim_connect(setup_client_addr(c->index, c->port), &to.sa, to.len, &client_ops, c);
	link_init(&c->link, sc, c->port == PORT_TLS);
	if (c->doom != DOOM_NONE && c->doom_us)
		sim_timer_start(&c->doom_timer.t, sim_now_us() + c->doom_us);
}

static void client_serving(struct world_start *s)
{
	struct client *c = CONTAINER_OF(s, struct client, start);

	sim_timer_start(&c->begin_timer.t, sim_now_us() + c->after_us);
}

static void client_think_timer(struct sim_timer *t)
{
	client_send(TIMER_OWNER(t));
}

/* 100 does not come: the body goes out all the same, as RFC 9110 10.1.1 wants. */
static void client_expect_timer(struct sim_timer *t)
{
	struct client *c = TIMER_OWNER(t);

	c->may_send_body = true;
	client_send(c);
}

struct client *client_new(void)
{
	struct client *c = calloc(1, sizeof(*c));

	BUG_ON(!c);
	c->index = nclients++;
	c->port = PORT_PLAIN;
	c->doom_sent = c->doom_read = -1;
	c->next = clients;
	clients = c;
	c->send_timer = (struct client_timer){{.run = client_send_timer}, c};
	c->read_timer = (struct client_timer){{.run = client_read_timer}, c};
	c->doom_timer = (struct client_timer){{.run = client_doom_timer}, c};
	c->begin_timer = (struct client_timer){{.run = client_begin}, c};
	c->expect_timer = (struct client_timer){{.run = client_expect_timer}, c};
	c->think_timer = (struct client_timer){{.run = client_think_timer}, c};
	parse_init(&c->in);
	return c;
}

struct ask *client_ask(struct client *c, const struct route *r, enum ask_kind kind,
		       const char *method)
{
	struct ask *a = ask_new(r, kind, method);

	BUG_ON(c->nasks == CLIENT_ASKS);
	c->asks[c->nasks++] = a;
	ask_target(a);
	return a;
}

void client_upload(struct client *c, int64_t length, bool chunked)
{
	struct ask *a = c->asks[c->nasks - 1];

	a->upload = length;
	a->chunked = chunked;
	if (world.setup.body_max && length > world.setup.body_max)
		ask_excuse(a, "the body is too large");
}

void client_start(struct client *c)
{
	if (c->doom != DOOM_NONE || c->silent)
		for (unsigned i = 0; i < c->nasks; i++)
			ask_excuse(c->asks[i], "its client");
	for (unsigned i = 1; c->rstep && i < c->nasks; i++)
		ask_excuse(c->asks[i],
			   "its client reads so slowly that keepalive_timeout may end before");
	world_client_new();
	c->start.fn = client_serving;
	world_when_serving(&c->start);
}

void clients_note(void)
{
	for (struct client *c = clients; c; c = c->next)
		if (!c->done)
			sim_note("client %u is not done: sends %u, reads %u of %u; sent %llu, got "
				 "%llu%s",
				 c->index, c->sending, c->reading, c->nasks,
				 (unsigned long long)c->sent, (unsigned long long)c->got,
				 c->link.ready ? "" : ", not ready");
}

void clients_leaving(void)
{
	uint64_t late = world_latency_us() * 2 + world.slack_us, now = sim_now_us(),
		 safe = now > late ? now - late : 0; /* by when it must have been accepted */

	for (struct client *c = clients; c; c = c->next) {
		for (unsigned i = c->reading; i < c->nasks; i++) {
			struct ask *a = c->asks[i];

			if (i > c->reading || !a->sent || a->sent_us > safe ||
			    world.setup.shutdown_timeout)
				ask_excuse(a, "shutdown");
		}
	}
}
