/* A request in flight: one coroutine, one arena, one snapshot reference. Lives from the first byte
 * of its head until its answer is sent and logged.
 *
 * Handlers read `in` (the head as the client sent it), `uri`/`args` (what routing works on), conf
 * through req_conf(), and leave their answer in `resp`. They never see which protocol the client
 * speaks: bytes go out through `sink`. */
#pragma once
#include "conf/snapshot.h"
#include "conf/template.h"
#include "http/body.h"
#include "http/msg.h"
#include "net/addr.h"
#include "serve/module.h"

struct conn;
struct server;
struct location;
struct upstream_log;
struct tunnel;
struct http_port;
struct req_cleanup_item;

/* The answer. content_type, content_length and last_modified stand here and not in headers; so do
 * Server, Date, Connection, Transfer-Encoding and Keep-Alive, which the codec writes. */
struct resp {
	int status;
	struct span reason; /* empty: the standard one */
	struct hdrs headers;
	struct hdrs trailers;	  /* added ones; the body's own come from body->trailers */
	struct span content_type; /* without charset; empty: none */
	struct span charset;	  /* empty: none */
	int64_t content_length;	  /* -1: unknown */
	int64_t last_modified; /* seconds, -1: none; a Last-Modified text from upstream is kept in
				  headers */
	struct span location;  /* Location as the handler means it: a path is made absolute by the
				  sender; empty: none */
	struct span server, date; /* from upstream with proxy_pass_header; empty: our own */
	struct body *body;	  /* NULL: empty */
	bool allow_ranges;	  /* the range filter may cut it */
	bool no_etag;
	bool adds_trailers; /* `trailers` will be filled when the body has ended */
	bool from_upstream;
	bool buffered_off;     /* flush every piece (proxy_buffering off) */
	struct tunnel *tunnel; /* 101: what takes over both connections */
	int64_t limit_rate;    /* X-Accel-Limit-Rate: bytes/s; -1: as configured */
};

/* How bytes go out: one per protocol. All may suspend. */
struct sink_ops {
	/* Puts the head in line; it leaves with the first data or at flush. last: no body follows.
	 */
	enum fail (*head)(struct req *r, struct resp *resp, bool has_body);
	/* Sends a piece (and what is in line). With piece->last the answer is complete. */
	enum fail (*data)(struct req *r, const struct piece *p);
	/* Sends what is in line. */
	enum fail (*flush)(struct req *r);
	/* An interim answer: 100 (headers NULL), 103. */
	enum fail (*interim)(struct req *r, int status, const struct hdrs *headers);
	/* Can fields follow the body? Then resp.adds_trailers may say that they will. */
	bool (*trailers)(struct req *r);
	/* What kinds of pieces data() takes without copying: enum piece_kind bits. */
	unsigned (*accepts)(struct req *r);
	/* Has the client gone away? Checked without waiting. */
	bool (*client_gone)(struct req *r);
	/* Routing is done: the location's limits hold for the request body. */
	void (*body_limits)(struct req *r);
	/* The head of an answer with resp.tunnel is out: makes the client's side of the tunnel. The
	 * request lives until the tunnel ends. */
	void (*tunnel)(struct req *r, struct tunnel *t);
	/* The tunnel has ended: frees the request and ends what it came on. */
	void (*tunnel_over)(struct req *r);
	/* Connection, Keep-Alive and Transfer-Encoding are part of the head ($sent_http_*). */
	bool connection_fields;
};

struct req {
	struct conn *conn;
	struct snapshot *snapshot;
	struct http_request in;
	struct resp resp;
	struct arena arena;
	struct var_ctx vars;
	const struct sink_ops *sink;
	struct req *parent; /* NULL: the main request */

	const struct server *server;
	const struct location *location; /* NULL before routing */
	struct conf_scope *scope; /* the location's, or that of an `if` inside, or the server's
				     before routing */

	struct span uri;  /* decoded, normalised, without arguments: $uri */
	struct span args; /* $args */
	bool has_args;
	struct span unparsed_uri; /* $request_uri */
	struct span host;	  /* lower-case, without port: $host */
	int request_port;	  /* of the Host, or -1 */
	struct span method_name;  /* $request_method: error_page and rewrites may change method */
	enum http_method method;
	struct span remote_user;	 /* $remote_user */
	struct span proxy_authorization; /* serve/credentials.h */
	struct span challenge; /* the answer's WWW-Authenticate, or Proxy-Authenticate when proxied;
				  empty: none */

	bool uri_changed;	 /* by rewrite: route again after the phase */
	bool valid_unparsed_uri; /* the uri is the client's own: proxy_pass without URI passes it as
				    it was sent */
	bool valid_location; /* r->uri still is what r->location was found for (rewrite ... break)
			      */
	bool internal;	     /* after an internal redirect */
	bool error_page; /* being answered by an error page: not again unless recursive_error_pages
			  */
	bool head_sent, sent_all; /* the final head is out; the whole answer is out */
	bool keep_alive;	  /* may the connection be used again */
	bool broken;	       /* the answer broke off: the client must see that it is not whole */
	bool dropped;	       /* no answer at all (444) */
	bool tunnelled;	       /* a tunnel has taken over */
	bool pipelined;	       /* it was in the buffer behind another one: $pipe */
	uint32_t conn_request; /* number on its connection: $connection_requests */
	bool proxied;	       /* asked of us as a proxy, not as an origin */
	bool discard_body;     /* nobody wants the request body */
	bool aborted;	       /* the client is gone */
	bool own_key;	       /* its Sec-WebSocket-Key is ours: so is checking the answer */
	bool limit_rate_set;
	uint8_t uri_changes; /* left; 10 at the start */
	uint8_t redirects;   /* internal redirects left; 10 at the start */
	int error_status;    /* status that led to an error page, 0: none */
	int status;	     /* what went out: $status */
	enum fail fail;	     /* why it ended badly: $request_end_reason */

	struct body *body;	   /* request body, pulled; NULL: none (or consumed) */
	int64_t body_received;	   /* bytes of body taken from the client */
	int64_t body_wire;	   /* the same with what frames it (chunks), 0: not known */
	struct req_body *buffered; /* after req_read_body: the whole body (serve/request_body.h) */

	uint64_t start_ms; /* io_now_ms at the first byte of the head */
	uint64_t start_wall_ms;
	uint64_t bytes_sent, body_bytes_sent;
	int64_t request_length;
	uint8_t request_id[16];
	bool has_request_id;
	int64_t limit_rate, limit_rate_after; /* bytes/s, 0: none */
	struct upstream_log *upstream;	      /* attempts, for $upstream_*: proxy/; NULL: none */
	int caps[2 * 32];		      /* storage of vars.caps */
	struct req_cleanup_item *cleanups;    /* newest first */
	struct logger logger;		      /* req_logger fills it */
	struct span
		log_upstream;	/* "http://127.0.0.1:80/x" while an exchange runs, for log lines */
	struct http_port *port; /* where it came in */
	struct net_addr realip; /* what realip found; len 0: the connection's own address */
	bool ignore_client_abort; /* go on although the client has gone (proxy_ignore_client_abort)
				   */
	void (*tunnel_ended)(struct req *r,
			     struct tunnel *t); /* proxy: counts and frees its side; may be NULL */
	uint64_t header_bytes;			/* bytes of heads that went out, interim ones too */
};

#define REQ_OF_VARS(v) CONTAINER_OF(v, struct req, vars)
/* The module's struct in the request's current scope. */
static inline void *req_conf(const struct req *r, const struct conf_mod *m)
{
	return conf_get(r->scope, m);
}
/* Runs fn(arg) when the request ends, in reverse order. 0 or FAIL_NO_MEMORY. */
enum fail req_cleanup(struct req *r, void (*fn)(void *arg), void *arg);

/* The error log of the request's scope, with client, server, request, upstream and host appended.
 */
const struct logger *req_logger(struct req *r);
#define req_log(r, level, err, ...)                                                                \
	do {                                                                                       \
		if (log_wants(req_logger(r), level))                                               \
			log_msg(req_logger(r), level, err, __VA_ARGS__);                           \
	} while (0)

/* ---- for handlers ---- */

/* Starts an answer: clears r->resp and sets status; everything else "none". */
struct resp *req_answer(struct req *r, int status);
/* An answer with that text (borrowed, must live as long as the request) and type. PHASE_DONE. */
int req_answer_text(struct req *r, int status, struct span content_type, struct span text);
/* Internal redirect to a path (with ?args; empty args drop the old ones) or to a named location
 * ("@x"). PHASE_AGAIN, or 500 after too many. */
int req_redirect(struct req *r, struct span uri, struct span args);
int req_redirect_named(struct req *r, struct span name);
/* Ends the request with a reason: remembers it, counts it, logs it at the level its kind deserves,
 * returns its status for the phase engine. */
int req_fail(struct req *r, enum fail f);

/* The file name that root or alias make of r->uri, zero-terminated (not counted):
 * $request_filename. p == NULL: memory, or the path would leave the root (N19). */
struct span req_path(struct req *r);
/* The same for another URI. */
struct span req_path_of(struct req *r, struct span uri);

/* Does the final head of this answer go to an HTTP/1.1 (or newer) client? */
static inline bool req_is_11(const struct req *r)
{
	return r->in.version >= HTTP_11;
}

/* The whole life: routing, phases, answer, log. Called by the codec with `in` parsed and `host`
 * set. */
MAY_SUSPEND void req_serve(struct req *r);
/* Answers with a status before or instead of routing (parse errors). */
MAY_SUSPEND void req_serve_error(struct req *r, enum fail f);
