/* Reading a whole request body: memory first, then a temporary file (client_body_buffer_size). */
#pragma once
#include "serve/req.h"

struct req_body {
	int64_t length;
	struct span mem;       /* all of it when fd < 0; else empty */
	int fd;		       /* temporary file, -1: in memory; closed with the request */
	struct span path;      /* $request_body_file, when the file has a name */
	struct hdrs *trailers; /* that came behind it; NULL: none */
};

/* Reads r->body to its end. Sends 100 Continue when asked for. 0, or the status to answer (413,
 * 408, 400...) after req_fail. Afterwards r->buffered is set (also for an empty body) and r->body
 * NULL. Idempotent. */
MAY_SUSPEND int req_read_body(struct req *r);
/* A body that reads r->buffered from its start: may be made again for each attempt. */
struct body *req_body_again(struct req *r);
/* Temporary files: a nameless file in dir (O_TMPFILE, else created and unlinked); dir has a
 * zero behind it. fd or -errno. */
int temp_file_open(struct span dir);
/* A named one with nginx's levels; *path in a. */
int temp_file_open_named(struct span dir, const int levels[3], struct arena *a, struct span *path);
