/* Within serve/: one HTTP/2 stream as a request. */
#pragma once
#include "serve/h2_conn.h"

struct h2_client {
	struct req req;
	struct list link, start; /* of the connection; start: empty when it has a coroutine */
	struct h2_conn *h2;
	struct co *co; /* serves it; NULL before it starts */
	int32_t id;
	struct h2_head head;

	/* The body on its way in: at most the stream's window of bytes, which is opened again only
	 * as they are pulled. */
	struct body body;
	struct inbuf in, held; /* arrived; given as the last piece */
	int64_t arrived;       /* bytes of the body that came */
	bool held_back;	       /* the last one of those announced is not in `in` yet */
	uint8_t last;
	int64_t max;	   /* client_max_body_size; -1: none */
	struct co *reader; /* waits for input */
	enum fail in_fail; /* how the body broke, or what the last next said */
	bool has_body, in_done, pulled, expect_continue;
	struct hdrs trailers;
	struct h2_head *trailer_head;

	/* The answer on its way out. */
	struct piece piece; /* what is being sent; its owner waits */
	char *gather;	    /* small pieces that need not leave at once */
	uint32_t gather_len, gather_at;
	struct co *writer; /* waits for room, or for the end to be sent */
	uint64_t taken;	   /* bytes of DATA that have gone into frames */
	int64_t left;	   /* of the announced Content-Length; -1: none */
	uint32_t stall_ms; /* how long the client has kept us waiting in all */
	bool started;	   /* a coroutine was asked for */
	bool submitted;	   /* nghttp2 has the head */
	bool deferred;	   /* nghttp2 waits for data */
	bool no_body;	   /* HEAD, 204, 304 */
	bool end_sent;	   /* END_STREAM has left nghttp2 */
	bool closed;	   /* nghttp2 has forgotten the stream */
	bool timed_out;

	/* A tunnel (extended CONNECT): no coroutine; `in` is what came, `tunnel_out` what goes. */
	struct tunnel *tunnel; /* NULL: none, or it has ended */
	struct inbuf tunnel_out;
	struct timer timer; /* the tunnel has ended, its last bytes wait for the window */
};

extern const struct sink_ops h2_sink;

static inline struct h2_client *h2_of(struct req *r)
{
	return CONTAINER_OF(r, struct h2_client, req);
}

/* Nothing can be said or heard on it any more. */
static inline bool h2_gone(const struct h2_client *s)
{
	return s->closed || s->h2->cut || s->h2->phase == H2_DEAD;
}

/* ---- h2_stream.c ---- */

/* A stream whose head begins. NULL: no memory, or the port is served no more. */
struct h2_client *h2_stream_new(struct h2_conn *h, int32_t id);
/* Somebody reads: from now on more may come than before (http2_recv_buffer_size). Idempotent. */
void h2_stream_open_window(struct h2_client *s);
/* The head is complete: serves it, or resets it. */
void h2_stream_start(struct h2_client *s);
/* It will not be heard of any more: cancels what works for it, frees one that never started. */
void h2_stream_abort(struct h2_client *s);
/* Cancels what works for it, whatever proxy_ignore_client_abort says. */
void h2_stream_cancel(struct h2_client *s);
/* A second header block: its fields go to trailer_head. False: no memory. */
bool h2_stream_trailers(struct h2_client *s);
/* DATA; END_STREAM; a body that is no good: the stream is reset. */
void h2_stream_data(struct h2_client *s, const uint8_t *p, size_t n);
void h2_stream_in_end(struct h2_client *s);
void h2_stream_in_fail(struct h2_client *s, enum fail f);
/* Do age and number of requests let the connection be kept? */
bool h2_may_keep(const struct req *r);
/* sink_ops body_limits. */
void h2_body_limits(struct req *r);

/* The coroutine's last deed, or the tunnel's. */
void h2_stream_end(struct h2_client *s);

/* ---- h2_tunnel.c ---- */

/* sink_ops tunnel, tunnel_over. */
void h2_tunnel(struct req *r, struct tunnel *t);
void h2_tunnel_over(struct req *r);
/* Bytes came, or the end was sent. */
void h2_tunnel_event(struct h2_client *s);
/* Bytes lie in a frame; all, or there are more. */
void h2_tunnel_sent(struct h2_client *s, bool all);

/* ---- h2_sink.c ---- */

/* What was read ahead of a file for s is of no more use; at the end of a thread. */
void h2_ahead_forget(struct h2_client *s);
void h2_ahead_free(void);
/* When what s has to send waits for its turn, and not for its own window: when output of the
 * connection last moved; else 0. Then it is as patient as the client reads at all. */
uint64_t h2_others_moved_ms(const struct h2_client *s);
/* There is data for nghttp2 to send, or the end. */
void h2_data_ready(struct h2_client *s);

/* nghttp2's send_data callback. */
int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
		 size_t length, nghttp2_data_source *source, void *user_data);
