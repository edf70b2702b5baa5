/* The HTTP/1.1 codec: heads in and out. RFC 9112. Strict: anything ambiguous is refused, never
 * repaired (DESIGN decision 9); a lone LF may end a line of a head, a bare CR never does.
 *
 * Parsing is resumable at any byte: the buffer grows, the parser goes on where it stopped, and an
 * error is reported at the first byte that makes the head impossible (a TLS hello on a plain port
 * is refused at once). It never looks at a byte twice except in the unfinished line. */
#pragma once
#include "base/buf.h"
#include "http/msg.h"

struct h1_limits {
	size_t line_max;	     /* bytes of the request line or one header line */
	size_t total_max;	     /* bytes of the whole head */
	size_t headers_max;	     /* number of fields */
	bool ignore_invalid_headers; /* requests: drop fields whose names are tokens, but not what
					nginx calls valid (N37); else keep them */
	bool underscores_in_headers; /* names with '_' are valid */
};

struct h1_parser {
	size_t line;		     /* offset of the first byte of the unfinished line */
	size_t scanned;		     /* bytes already searched for its end */
	size_t mark;		     /* offset of the colon of the unfinished field */
	uint32_t nheaders, ndropped; /* kept; dropped: invalid names ignored, forbidden trailers */
	uint8_t state;
	uint8_t name_seen;	  /* classes of bytes in the unfinished name */
	uint8_t skipped;	  /* empty lines before the head */
	bool folded;		  /* the last field's value has line folds in it still */
	size_t dropped_at;	  /* offset of dropped_name */
	struct span dropped_name; /* the last one dropped, for the log; in the buffer of the last
				     call */
};

#define H1_MORE 1 /* not complete yet */
#define H1_DONE 0

void h1_parser_init(struct h1_parser *p);

/* Parses the n bytes at buf (always the same head from its first byte; empty lines before a request
 * line are skipped, four at most). Returns H1_DONE with *req filled and *used = bytes of the head,
 * H1_MORE, or a negative enum fail. req->headers must be initialised by the caller (arena). All
 * framing checks are done: Content-Length and Transfer-Encoding (RFC 9112 6.1, 6.3), Host (exactly
 * one in 1.1, at most one in 1.0, syntax of RFC 3986 3.2.2), target forms, HTTP/0.9 refused. */
int h1_parse_request(struct h1_parser *p, const char *buf, size_t n, const struct h1_limits *lim,
		     struct http_request *req, size_t *used);
/* The same for a response to a request of that method. Framing: *resp says content_length, chunked,
 * or neither (until close). An invalid field is an error; obs-fold in a response is joined by SP. A
 * status below 100 or above 999 is an error. */
int h1_parse_response(struct h1_parser *p, const char *buf, size_t n, const struct h1_limits *lim,
		      enum http_method method, struct http_response *resp, size_t *used);
/* After the buffer moved: adds (to - from) to every span of the head so far. Header fields say by
 * hdr.in_buf what moves; what code added stays. */
void h1_rebase_request(struct http_request *req, const char *from, const char *to);
void h1_rebase_response(struct http_response *resp, const char *from, const char *to);
void h1_rebase_fields(struct hdrs *h, const char *from, const char *to); /* trailers */
/* A trailer section (fields up to the empty line), after the last chunk; p freshly initialised.
 * Fields that must not be in trailers (framing, routing, RFC 9110 6.5.1) are dropped. Same return
 * values; the reasons are those of a request, on either side. */
int h1_parse_trailers(struct h1_parser *p, const char *buf, size_t n, const struct h1_limits *lim,
		      struct hdrs *trailers, size_t *used);

/* Writers: append to out; check out->failed once at the end. They write what they are given: fields
 * marked removed are skipped. Framing fields are the caller's. */
void h1_write_request_line(struct buf *out, struct span method, struct span target); /* HTTP/1.1 */
void h1_write_status_line(struct buf *out, int status, struct span reason);
void h1_write_fields(struct buf *out, const struct hdrs *h);
void h1_write_field(struct buf *out, struct span name, struct span value);
void h1_write_end(struct buf *out);

/* Chunked coding in (RFC 9112 7.1). Lone LF refused; extensions are skipped (at most 4096 bytes per
 * line); sizes up to 2^60. */
struct chunked {
	uint64_t left;	    /* of the current chunk */
	uint32_t ext_bytes; /* of the current size line */
	uint8_t state;
};
enum chunked_result { CHUNKED_DATA, CHUNKED_MORE, CHUNKED_LAST, CHUNKED_BAD };
void chunked_init(struct chunked *c);
/* Eats from in (n bytes): *used bytes were consumed; CHUNKED_DATA: *data is the next run of body
 * bytes (within in); CHUNKED_MORE: everything consumed, need input; CHUNKED_LAST: the zero chunk's
 * line was eaten, the trailer section (h1_parse_trailers) follows; CHUNKED_BAD. */
enum chunked_result chunked_next(struct chunked *c, const char *in, size_t n, size_t *used,
				 struct span *data);
/* "1a2\r\n": writes the size line of a chunk into out (at least 20 bytes), returns its length. */
size_t chunked_head(char *out, uint64_t size);
