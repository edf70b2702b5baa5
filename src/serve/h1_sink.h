/* How answers leave on an HTTP/1 connection. The head waits in memory until the first data or a
 * flush, so that head and body leave in one system call; small pieces that are not urgent are
 * gathered. */
#pragma once
#include "http/h1_body.h"
#include "serve/req.h"

struct client_body {
	struct body body; /* what handlers see */
	struct h1_body h1;
	struct req *req;
	uint64_t wire_start;  /* of what the stream has received, where the body begins */
	bool expect_continue; /* 100 is still owed */
	enum fail failed;     /* what the last next said */
};

#define H1_GATHER 16384 /* bytes gathered at most */

struct h1_client {
	struct req req;
	bool has_body;
	size_t head_in; /* bytes of the request head */
	char *out;	/* in line: head, then gathered pieces */
	size_t out_len, out_cap;
	char *small;  /* a short file on its way out; made when needed */
	bool chunked; /* the answer is sent in chunks */
	bool no_body; /* HEAD, 204, 304: pieces are not sent */
	bool timed_out;
	bool interim; /* an upload's own task is writing 100 (Continue) */
	bool torn;    /* ... and could not finish: nothing sensible can follow */
	struct co_waitq interim_done;
	uint32_t stall_ms;	 /* how long the client has kept us waiting in all */
	int64_t left;		 /* of the announced Content-Length; -1 none */
	struct client_body body; /* has_body; else it was never written, not even cleared */
};

extern const struct sink_ops h1_sink;
/* Would the scope that answers let the connection be kept? */
bool h1_may_keep(const struct req *r);
/* sink_ops body_limits, in h1_conn.c. */
void h1_body_limits(struct req *r);
