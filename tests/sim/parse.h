/* An incremental reader of HTTP/1 messages for actors: small, strict, and not the worker's own, so
 * that the two check each other. */
#pragma once
#include <stdbool.h>
#include "base/span.h"
#include "bytes.h"

enum parse_event {
	PARSE_MORE, /* everything was taken, more is needed */
	PARSE_HEAD, /* p->head is whole: call parse_body */
	PARSE_DATA, /* *data is body */
	PARSE_END,  /* the message is whole: parse_init for the next one */
	PARSE_BAD,  /* p->why */
};
enum parse_framing { PARSE_NONE, PARSE_LENGTH, PARSE_CHUNKED, PARSE_CLOSE };

struct parse {
	int state;
	struct text head;   /* first line and fields, the empty line included */
	int64_t left, body; /* bytes of the body so far */
	int64_t all;	    /* bytes of the message so far */
	char line[600];
	size_t nline;
	const char *why;
};

void parse_init(struct parse *p); /* also after an end; zeroed memory before the first */
void parse_fini(struct parse *p);
enum parse_event parse_step(struct parse *p, struct span *in, struct span *data);
void parse_body(struct parse *p, enum parse_framing framing, int64_t length);
/* The connection ended here: PARSE_MORE (between messages), PARSE_END, or PARSE_BAD. */
enum parse_event parse_eof(struct parse *p);

struct span head_line(const struct parse *p);
/* The value of a field; false: there is none. */
bool head_field(const struct parse *p, const char *name, struct span *value);
unsigned head_count(const struct parse *p, const char *name);
/* Walks the fields: *at begins with 0. */
bool head_next(const struct parse *p, size_t *at, struct span *name, struct span *value);
uint64_t head_number(const struct parse *p, const char *name, uint64_t otherwise);
