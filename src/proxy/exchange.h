/* One request's dealings with a group of servers: tries, sending, receiving, and what is logged
 * about it.
 *
 * exchange_run reads top to bottom: find the target, take the body (buffered or streaming), build
 * the head, pick, connect, send, receive the head, decide whether to try the next one, hand the
 * answer over as r->resp with a body that pulls from the connection. A struct exchange lives in the
 * request's arena; what it holds (connection, peer, buffer) is given up when the response is
 * complete, when its body is closed, or at the latest in the request's cleanup. */
#pragma once
#include "proxy/buffered.h"
#include "proxy/proto/proto.h"
#include "proxy/proxy_conf.h"
#include "proxy/replay.h"
#include "proxy/upconn.h"
#include "serve/req.h"

/* What one attempt leaves for $upstream_*; -1 and FAIL_OK where nothing happened. */
struct attempt {
	struct span addr; /* "127.0.0.1:8080", or the group's name when none was live */
	int status;	  /* 0: no response */
	enum fail fail;
	uint64_t start_ms;
	int64_t connect_us, header_us, response_us;
	int64_t response_length, bytes_received, bytes_sent;
	int64_t lost_received, lost_sent; /* of these, on connections that were given up */
	struct attempt *next;
	bool redirected; /* a new exchange of the same request began here: ":" instead of "," in
			    variables */
};
struct upstream_log {
	struct attempt *first, *last;
	struct span head; /* of the last response as received: upstream_log_headers parses it when
			     asked */
	struct hdrs *headers; /* NULL: not parsed yet, or none */
	struct body *body;    /* for $upstream_trailer_* */
	struct hdrs *carried; /* X-Accel-Redirect: fields of that response that the final one shall
				 have */
	struct span carried_type, carried_charset;
	int64_t carried_rate;		   /* X-Accel-Limit-Rate of it; -1: none */
	const struct proxy_target *target; /* $proxy_host, $proxy_port */
};
/* Fields of the last response as they were received; NULL: none. */
struct hdrs *upstream_log_headers(struct req *r);

/* The request body as it goes to the server. */
enum exchange_body_kind { SEND_NOTHING, SEND_MEMORY, SEND_BUFFERED, SEND_STREAM };

/* The dialects of gRPC-Web: bytes as they are, or in base64. */
enum grpc_web { GRPC_WEB_NONE, GRPC_WEB_BINARY, GRPC_WEB_TEXT };

/* Nothing of the request was looked at: it may be sent again, whatever its method. */
static inline bool fail_is_refusal(enum fail f)
{
	return f == FAIL_UPSTREAM_REFUSED || f == FAIL_UPSTREAM_GOAWAY || f == FAIL_UPSTREAM_FULL;
}

struct exchange {
	struct req *r;
	const struct proxy_conf *conf;
	const struct proxy_target *target;
	struct upstream_log *log;
	struct attempt *attempt;
	struct pick pick;
	const struct proto_ops *proto;
	void *state;	     /* the protocol's; NULL: not connected yet */
	bool connected;	     /* it has a connection */
	uint8_t refused;     /* how often by servers that did not act on it */
	uint8_t goaways;     /* how often with connections that ended after answers to others, or
				that had others */
	uint64_t refused_ms; /* when that happened first */
	bool reused;	     /* which has served before: replay rules apply */
	bool replayed;	     /* in this attempt, by those rules: not again */
	/* the request */
	struct span uri, head;
	enum http_method method; /* as sent */
	struct span method_name;
	enum exchange_body_kind body_kind;
	struct span memory;	     /* SEND_MEMORY */
	int64_t body_length;	     /* -1: chunked */
	const struct hdrs *trailers; /* behind what is not streamed; NULL: none to be sent */
	struct replay *replay;	     /* SEND_STREAM over HTTP/2: the body, kept for another try */
	bool upgrade;		     /* an Upgrade went out */
	/* sending in the background */
	struct co_child sender;
	struct co
		*waiter; /* the coroutine that waits for the head, to be told when sending ended */
	enum fail send_fail;
	bool send_client;   /* send_fail is the client's */
	bool sending, sent; /* a child is at it; everything has gone out */
	bool body_touched;  /* a streamed body was begun: no other try */
	bool bytes_out;	    /* something of the request went out in this attempt */
	/* tries */
	uint64_t start_ms;
	uint64_t deadline_ms;	/* of the client (grpc-timeout); CO_NEVER: none */
	enum grpc_web grpc_web; /* what the client speaks */
	/* the response */
	struct http_response resp;
	bool counted;	    /* the attempt's last numbers are in */
	bool redirected;    /* another exchange of this request went before: for the next attempt */
	unsigned interims;  /* 1xx answers seen */
	struct hdrs *hints; /* recv has found a 103 for the client: its fields */
	size_t hints_bytes;
	struct upstream_log own_log;
	int64_t tunnelled;     /* bytes of a tunnel from the server */
	struct tunnel *tunnel; /* 101: has what was read, whether it ever begins or not */
	/* Not cleared: written as a whole by who begins to use them. */
	struct attempt first_attempt;
	struct buffered_conf buffered_conf;
	struct buffered buffered;
};

/* The content handler of proxy_pass, and that of grpc_pass. */
MAY_SUSPEND int exchange_run(struct req *r);
MAY_SUSPEND int grpc_run(struct req *r);
/* What both do, each with its configuration. */
MAY_SUSPEND int exchange_with(struct req *r, const struct proxy_conf *conf);

/* exchange_send.c: sends head and body; what does not go at once is left to a child. */
MAY_SUSPEND enum fail exchange_send(struct exchange *x);
/* Cancels and joins the child. */
MAY_SUSPEND void exchange_send_stop(struct exchange *x);
/* Decides what will be sent as the body: 0, or the status to answer. */
MAY_SUSPEND int exchange_take_body(struct exchange *x);

/* exchange_recv.c: the response head into x->resp. */
MAY_SUSPEND enum fail exchange_recv(struct exchange *x);
/* early_hints: does the client want this 103, of so many bytes? They count against
 * proxy_buffer_size. */
bool exchange_passes_hints(struct exchange *x, size_t bytes);
/* Makes the body of the response (NULL: none) and gives the connection back when there is nothing
 * more to come. */
struct body *exchange_body(struct exchange *x, bool buffering);
/* For protocols: all of the response is here, its last piece is about to be given. The connection
 * is free before the client has it. */
void exchange_complete(struct exchange *x);

/* exchange_tries.c */
struct tries_state {
	unsigned next_upstream; /* NEXT_* as configured */
	int64_t tries_left;	/* the one that failed not counted any more */
	bool bytes_out;		/* something of the request went out */
	bool unrepeatable;	/* a streamed body was begun */
	enum http_method method;
	bool timeout; /* proxy_next_upstream_timeout has passed */
};
/* The methods that proxy_next_upstream's non_idempotent is about. */
bool tries_method_is_unsafe(enum http_method m);
/* May the next server be tried after a failure with these NEXT_* bits? */
bool tries_again(const struct tries_state *s, unsigned bit);
/* A time-out, cut to what the client's deadline leaves of it. */
uint64_t exchange_within(const struct exchange *x, uint64_t ms);
/* Would another server be tried after a failure of that kind, with so many tries left? */
bool exchange_again(const struct exchange *x, unsigned bit, unsigned tries_left);
/* NEXT_HTTP_* bit of a status, 0 when none. */
unsigned tries_status_bit(int status);

/* exchange.c, for the files above */
void exchange_log(struct exchange *x, enum log_level level, int err, const char *what,
		  const char *while_doing);
/* Ends the use of the connection: gives it back or drops it, ends the pick, completes the attempt's
 * numbers. whole: the response was complete. */
void exchange_finish(struct exchange *x, bool whole, bool failed);
/* Brings the attempt's bytes_received and bytes_sent up to date. */
void exchange_note_bytes(struct exchange *x);
/* Frees what the protocol still holds of the response. */
void exchange_forget(struct exchange *x);

/* proxy_ssl.c: TLS parameters of this exchange; false: an unusable value, logged. */
bool proxy_ssl_want(struct exchange *x, struct tls_connect *tls, uint64_t *identity);
/* What proxy_ssl_want made, changed so that HTTP/2 is not offered. */
bool proxy_ssl_http1(struct exchange *x, struct tls_connect *tls);
/* proxy_bind; false: an unusable value, logged. */
bool proxy_bind_want(struct exchange *x, struct upconn_want *w);
/* proxy_head.c: the request head into x->head. */
enum fail proxy_head_build(struct exchange *x);
/* grpc.c: what a gRPC request asks for besides; 0 or the status to answer. */
int grpc_prepare(struct exchange *x);
/* What is sent in place of that field of a gRPC-Web request; p NULL: nothing. */
struct span grpc_web_field(struct exchange *x, enum hdr_id id, struct span value);
/* The answer as a gRPC-Web client wants it. */
enum fail grpc_web_answer(struct exchange *x);
/* proxy_response.c: the 103 of x->hints goes to the client. */
MAY_SUSPEND enum fail proxy_pass_hints(struct exchange *x);
/* x->resp to r->resp; what the handler returns. */
MAY_SUSPEND int proxy_answer(struct exchange *x);
/* 101: a tunnel. */
int proxy_tunnel(struct exchange *x);

extern const struct var proxy_vars[];
enum fail proxy_filter(struct req *r, struct resp *resp);
extern const struct http_module
	proxy_module; /* proxy_pass and proxy_*, variables $upstream_*, $proxy_* */
