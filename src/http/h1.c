/* Heads in. One struct head is one call of a parser: each step takes a piece of the unfinished line
 * off the buffer and leaves in the parser what the next step, or the next call, needs to go on. */
#include "base/mutant.h"
#include "http/framing.h"
#include "http/h1.h"
#include "http/scan.h"

#define EMPTY_LINES_MAX 4
#define VERSION_LEN	8 /* "HTTP/1.1" */
#define STATUS_LEN	3

enum h1_state {
	AT_START,
	AT_METHOD,
	AT_TARGET,
	AT_VERSION,
	AT_STATUS,
	AT_REASON,
	AT_FIELD,
	AT_NAME,
	AT_VALUE,
	AT_FOLD
};
enum h1_kind { KIND_REQUEST, KIND_RESPONSE, KIND_TRAILERS };
#define H1_GO 2 /* this line is done, there are more */

struct head {
	struct h1_parser *p;
	const char *buf, *end; /* end: what may be looked at, by size and total_max */
	const struct h1_limits *lim;
	struct hdrs *h;
	enum h1_kind kind;
};

void h1_parser_init(struct h1_parser *p)
{
	*p = (struct h1_parser){.state = AT_START};
}

static inline int refuse(const struct head *x, enum fail f)
{
	return x->kind == KIND_RESPONSE ? -(int)FAIL_UPSTREAM_BAD_HEAD : -(int)f;
}

static int too_large(const struct head *x)
{
	if (x->kind == KIND_RESPONSE)
		return -(int)FAIL_UPSTREAM_BIG_HEAD;
	return -(int)(x->kind == KIND_REQUEST && x->p->state < AT_FIELD ? FAIL_URI_TOO_LONG
									: FAIL_HEADERS_TOO_LARGE);
}

/* One byte more than a line may have, so that meeting this end tells that it is too long. A head
 * that comes in pieces must meet the same error as one that comes whole: nobody looks further. */
static inline const char *line_end_max(const struct head *x)
{
	size_t left = (size_t)(x->end - x->buf) - x->p->line;

	return left > x->lim->line_max ? x->buf + x->p->line + x->lim->line_max + 1 : x->end;
}

/* The line goes on at s == line_end_max. */
static inline int line_unfinished(struct head *x, const char *s)
{
	x->p->scanned = (size_t)(s - x->buf);
	return x->p->scanned - x->p->line > x->lim->line_max ? too_large(x) : H1_MORE;
}

/* s is at a line end, or should be: H1_GO and the next line begins behind it. A lone LF will do, a
 * bare CR will not. s is left in scanned while the LF has not come. */
static inline int take_line_end(struct head *x, const char *s, enum fail f)
{
	if (*s == '\r') {
		if (x->end - s < 2) {
			x->p->scanned = (size_t)(s - x->buf);
			return H1_MORE;
		}
		s++;
	}
	if (unlikely(*s != '\n'))
		return refuse(x, f);
	x->p->line = x->p->scanned = (size_t)(s - x->buf) + 1;
	return H1_GO;
}

static int skip_empty_lines(struct head *x)
{
	for (;;) {
		const char *s = x->buf + x->p->line;
		int rc;

		if (s == x->end)
			return H1_MORE;
		if (*s != '\r' && *s != '\n')
			return H1_GO;
		if (x->p->skipped == EMPTY_LINES_MAX)
			return refuse(x, FAIL_BAD_REQUEST_LINE);
		rc = take_line_end(x, s, FAIL_BAD_REQUEST_LINE);
		if (rc != H1_GO)
			return rc;
		x->p->skipped++;
	}
}

static int step_method(struct head *x, struct http_request *req)
{
	const char *start = x->buf + x->p->line, *stop = line_end_max(x);
	const char *s = scan_class(x->buf + x->p->scanned, stop, BYTE_METHOD);

	if (s == stop)
		return line_unfinished(x, s);
	if (*s != ' ')
		return refuse(x,
			      *s == '\r' || *s == '\n' ? FAIL_BAD_REQUEST_LINE : FAIL_BAD_METHOD);
	if (s == start)
		return refuse(x, FAIL_BAD_METHOD);
	req->method_name = span_make(start, (size_t)(s - start));
	req->method = http_method_of(req->method_name);
	x->p->scanned = (size_t)(s - x->buf) + 1;
	x->p->state = AT_TARGET;
	return H1_GO;
}

static int step_target(struct head *x, struct http_request *req)
{
	const char *start = x->buf + x->p->line + req->method_name.n + 1, *stop = line_end_max(x);
	const char *s = x->buf + x->p->scanned;
	enum fail f;

	if (s == stop)
		return line_unfinished(x, s);
	if (s == start && !target_may_start(req->method, *s))
		return refuse(x, *s == ' ' || *s == '\r' || *s == '\n' ? FAIL_BAD_REQUEST_LINE
								       : FAIL_BAD_URI);
	s = scan_target(s, stop);
	if (s == stop)
		return line_unfinished(x, s);
	if (*s != ' ' || s == start) /* a line end here is HTTP/0.9 */
		return refuse(x, *s == ' ' || *s == '\r' || *s == '\n' ? FAIL_BAD_REQUEST_LINE
								       : FAIL_BAD_URI);
	req->target = span_make(start, (size_t)(s - start));
	f = target_split(req);
	if (f)
		return refuse(x, f);
	x->p->scanned = (size_t)(s - x->buf) + 1;
	x->p->state = AT_VERSION;
	return H1_GO;
}

/* "HTTP/" DIGIT "." DIGIT at s. Anything above 1.1 within 1 is 1.1 (RFC 9110 2.5). */
static int take_version(struct head *x, const char *s, const char *stop, enum http_version *version)
{
	static const char form[VERSION_LEN + 1] = "HTTP/0.0";
	size_t n = (size_t)(stop - s);

	if (likely(n >= VERSION_LEN && memcmp(s, "HTTP/1.1", VERSION_LEN) == 0)) {
		*version = HTTP_11;
		return H1_GO;
	}
	for (size_t i = 0; i < MIN_OF(n, (size_t)VERSION_LEN); i++) {
		bool digit = s[i] >= '0' && s[i] <= '9';

		if (form[i] == '0' ? !digit : s[i] != form[i])
			return refuse(x, FAIL_BAD_REQUEST_LINE);
		if (i == 5 && s[i] != '1')
			return refuse(x, s[i] == '0' || MUTANT(odd_status) ? FAIL_BAD_REQUEST_LINE
									   : FAIL_BAD_VERSION);
	}
	if (n < VERSION_LEN)
		return (size_t)(stop - x->buf) - x->p->line > x->lim->line_max ? too_large(x)
									       : H1_MORE;
	*version = s[7] == '0' ? HTTP_10 : HTTP_11;
	return H1_GO;
}

static int step_version(struct head *x, struct http_request *req)
{
	const char *start = x->buf + x->p->line, *stop = line_end_max(x);
	const char *s = start + (req->target.p + req->target.n + 1 - req->method_name.p);
	int rc = take_version(x, s, stop, &req->version);

	if (rc != H1_GO)
		return rc;
	s += VERSION_LEN;
	if (s == stop)
		return line_unfinished(x, s);
	req->line = span_make(start, (size_t)(s - start));
	rc = take_line_end(x, s, FAIL_BAD_REQUEST_LINE);
	if (rc == H1_GO)
		x->p->state = AT_FIELD;
	return rc;
}

static int request_line(struct head *x, struct http_request *req)
{
	int rc;

	switch (x->p->state) {
	case AT_START:
		rc = skip_empty_lines(x);
		if (rc != H1_GO)
			return rc;
		x->p->state = AT_METHOD;
		/* fall through */
	case AT_METHOD:
		rc = step_method(x, req);
		if (rc != H1_GO)
			return rc;
		/* fall through */
	case AT_TARGET:
		rc = step_target(x, req);
		if (rc != H1_GO)
			return rc;
		/* fall through */
	case AT_VERSION:
		return step_version(x, req);
	default:
		return H1_GO;
	}
}

/* "HTTP/1.1 200", and what comes next is a space and a reason or the line end. */
static int step_status(struct head *x, struct http_response *resp)
{
	const char *s = x->buf + x->p->line, *stop = line_end_max(x);
	int rc = take_version(x, s, stop, &resp->version), status = 0;

	if (rc != H1_GO)
		return rc;
	s += VERSION_LEN;
	for (size_t i = 0; i <= STATUS_LEN; i++, s++) {
		if (s == stop)
			return line_unfinished(x, s);
		if (i == 0 ? *s != ' ' : *s < '0' || *s > '9')
			return refuse(x, FAIL_BAD_REQUEST_LINE);
		if (i == 1 && *s == '0')
			return refuse(x, FAIL_BAD_REQUEST_LINE);
		status = i == 0 ? 0 : status * 10 + (*s - '0');
	}
	if (s == stop)
		return line_unfinished(x, s);
	if (*s != ' ' && *s != '\r' && *s != '\n')
		return refuse(x, FAIL_BAD_REQUEST_LINE);
	resp->status = status;
	x->p->mark = (size_t)(s - x->buf);
	x->p->scanned = x->p->mark + (*s == ' ');
	x->p->state = AT_REASON;
	return H1_GO;
}

static int step_reason(struct head *x, struct http_response *resp)
{
	const char *stop = line_end_max(x), *start = x->buf + x->p->mark;
	const char *s = scan_value(x->buf + x->p->scanned, stop);
	int rc;

	if (s == stop)
		return line_unfinished(x, s);
	resp->reason = span_trim(span_make(start, (size_t)(s - start)));
	rc = take_line_end(x, s, FAIL_BAD_REQUEST_LINE);
	if (rc == H1_GO)
		x->p->state = AT_FIELD;
	return rc;
}

static int status_line(struct head *x, struct http_response *resp)
{
	int rc;

	switch (x->p->state) {
	case AT_START:
		x->p->state = AT_STATUS;
		/* fall through */
	case AT_STATUS:
		rc = step_status(x, resp);
		if (rc != H1_GO)
			return rc;
		/* fall through */
	case AT_REASON:
		return step_reason(x, resp);
	default:
		return H1_GO;
	}
}

static inline bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void drop_field(struct head *x, struct span name)
{
	x->p->ndropped++;
	x->p->dropped_at = (size_t)(name.p - x->buf);
	x->p->dropped_name = name;
}

/* May a name of these bytes be kept? In responses every token may, in requests what nginx
 * calls valid, unless nothing is to be ignored: then every token, too. */
static inline bool name_is_valid(const struct head *x, uint8_t seen)
{
	uint8_t ok = NAME_PLAIN;

	if (x->kind == KIND_RESPONSE || !x->lim->ignore_invalid_headers)
		ok = NAME_PLAIN | NAME_UNDERSCORE | NAME_TOKEN;
	else if (x->lim->underscores_in_headers)
		ok = NAME_PLAIN | NAME_UNDERSCORE;
	return !(seen & ~ok);
}

static inline int store_field(struct head *x, struct span name, struct span value)
{
	struct h1_parser *p = x->p;
	struct hdr *hd;

	if (unlikely(p->nheaders + p->ndropped >= x->lim->headers_max))
		return x->kind == KIND_RESPONSE ? -(int)FAIL_UPSTREAM_BIG_HEAD
						: -(int)FAIL_TOO_MANY_HEADERS;
	if (unlikely(!name_is_valid(x, p->name_seen))) {
		if (x->kind == KIND_RESPONSE || !x->lim->ignore_invalid_headers)
			return refuse(x, FAIL_BAD_HEADER_NAME);
		drop_field(x, name);
		return H1_GO;
	}
	if (x->kind == KIND_TRAILERS && !trailer_allowed(hdr_id_of(name))) {
		drop_field(x, name);
		return H1_GO;
	}
	hd = hdrs_append_name(x->h, name, value);
	if (unlikely(!hd))
		return -(int)FAIL_NO_MEMORY;
	hd->in_buf = HDR_NAME_IN_BUF | HDR_VALUE_IN_BUF;
	p->nheaders++;
	return H1_GO;
}

/* The last field's value with each line fold, and the blanks around it, as one space: in the
 * arena. */
static int unfold(struct head *x)
{
	struct hdr *hd = &x->h->v[x->h->n - 1];
	struct span raw = hd->value;
	char *text = arena_alloc(x->h->arena, raw.n);
	size_t n = 0;

	if (!text)
		return -(int)FAIL_NO_MEMORY;
	for (size_t i = 0; i < raw.n; i++) {
		if (raw.p[i] != '\r' && raw.p[i] != '\n') {
			text[n++] = raw.p[i];
			continue;
		}
		while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
			n--;
		while (i + 1 < raw.n && memchr("\r\n \t", raw.p[i + 1], 4))
			i++;
		text[n++] = ' ';
	}
	hd->value = span_trim(span_make(text, n));
	hd->in_buf &= (uint8_t)~HDR_VALUE_IN_BUF;
	x->p->folded = false;
	return H1_GO;
}

/* A line that begins with a blank: obs-fold (RFC 9112 5.2). */
static int begin_fold(struct head *x)
{
	const struct hdr *hd = x->h->n ? &x->h->v[x->h->n - 1] : NULL;

	/* Framing is not for guessing. */
	if (x->kind != KIND_RESPONSE || !hd || hd->id == HDR_CONTENT_LENGTH ||
	    hd->id == HDR_TRANSFER_ENCODING)
		return refuse(x, FAIL_BAD_HEADER_LINE);
	x->p->state = AT_FOLD;
	return H1_GO;
}

static int step_fold(struct head *x)
{
	const char *stop = line_end_max(x), *s = scan_value(x->buf + x->p->scanned, stop);
	struct hdr *hd = &x->h->v[x->h->n - 1];
	int rc;

	if (s == stop)
		return line_unfinished(x, s);
	rc = take_line_end(x, s, FAIL_BAD_HEADER_LINE);
	if (rc != H1_GO)
		return rc;
	hd->value.n = (size_t)(s - hd->value.p);
	x->p->folded = true;
	x->p->state = AT_FIELD;
	return H1_GO;
}

/* At the first byte of a line: the end of the head, a fold, or a name. */
static inline int step_line(struct head *x)
{
	const char *s = x->buf + x->p->line;
	int rc;

	if (s == x->end)
		return H1_MORE;
	if (unlikely(*s == ' ' || *s == '\t'))
		return begin_fold(x);
	if (unlikely(x->p->folded)) {
		rc = unfold(x);
		if (rc != H1_GO)
			return rc;
	}
	if (*s == '\r' || *s == '\n') {
		rc = take_line_end(x, s, FAIL_BAD_HEADER_LINE);
		return rc == H1_GO ? H1_DONE : rc;
	}
	x->p->name_seen = 0;
	x->p->state = AT_NAME;
	return H1_GO;
}

static inline int step_name(struct head *x)
{
	const char *stop = line_end_max(x);
	const char *s = scan_name(x->buf + x->p->scanned, stop, &x->p->name_seen);

	if (unlikely(s == stop))
		return line_unfinished(x, s);
	if (unlikely(*s != ':' || s == x->buf + x->p->line))
		return refuse(x, FAIL_BAD_HEADER_LINE);
	x->p->mark = (size_t)(s - x->buf);
	x->p->scanned = x->p->mark + 1;
	x->p->state = AT_VALUE;
	return H1_GO;
}

static inline int step_value(struct head *x)
{
	const char *name = x->buf + x->p->line, *colon = x->buf + x->p->mark;
	const char *stop = line_end_max(x), *s = scan_value(x->buf + x->p->scanned, stop);
	int rc;

	if (unlikely(s == stop))
		return line_unfinished(x, s);
	rc = take_line_end(x, s, FAIL_BAD_HEADER_LINE);
	if (unlikely(rc != H1_GO))
		return rc;
	x->p->state = AT_FIELD;
	return store_field(x, span_make(name, (size_t)(colon - name)),
			   span_trim(span_make(colon + 1, (size_t)(s - colon - 1))));
}

/* The colon behind a name of plain bytes, and the name looked up; NULL: something else. A name that
 * is known needs no look at its bytes: it is spelled as in hdr.def. */
static inline const char *plain_name(const char *name, const char *stop, struct hdr_key *key)
{
	const char *colon = scan_colon(name, stop);
	uint8_t seen = 0;

	if (likely(colon && colon > name)) {
		*key = hdr_key_of(span_make(name, (size_t)(colon - name)));
		if (likely(key->id != HDR_OTHER))
			return colon;
	}
	colon = scan_name(name, stop, &seen);
	if (colon == stop || *colon != ':' || colon == name || (seen & ~NAME_PLAIN))
		return NULL;
	*key = hdr_key_of(span_make(name, (size_t)(colon - name)));
	return colon;
}

/* Whole lines of plain fields, which nearly all are: what the steps above do, in one go. Whatever
 * else comes, and a line that is not whole, is left to them with nothing done. */
static inline void fields_quick(struct head *x)
{
	struct h1_parser *p = x->p;

	while (p->nheaders + p->ndropped < x->lim->headers_max) {
		const char *name = x->buf + p->line, *stop = line_end_max(x), *colon, *from, *end;
		struct hdr_key key;
		struct span value;
		struct hdr *hd;

		colon = plain_name(name, stop, &key);
		if (!colon || stop - colon < 2)
			return;
		from = colon + 1 + (colon[1] == ' ');
		end = scan_value(from, stop);
		if (stop - end < 2 || end[0] != '\r' || end[1] != '\n')
			return;
		value = span_make(from, (size_t)(end - from));
		if (value.n && unlikely(is_blank(from[0]) || is_blank(end[-1])))
			value = span_trim(value);
		hd = hdrs_append_key(x->h, key, span_make(name, (size_t)(colon - name)), value);
		if (unlikely(!hd))
			return; /* the steps meet it again and say so */
		hd->in_buf = HDR_NAME_IN_BUF | HDR_VALUE_IN_BUF;
		p->nheaders++;
		p->line = p->scanned = (size_t)(end - x->buf) + 2;
	}
}

/* Field lines up to and with the empty line. */
static inline int field_lines(struct head *x)
{
	int rc = H1_GO;

	while (rc == H1_GO) {
		switch (x->p->state) {
		case AT_FIELD:
			if (!x->p->folded && x->kind != KIND_TRAILERS)
				fields_quick(x);
			rc = step_line(x);
			if (rc != H1_GO || x->p->state == AT_FOLD)
				break;
			/* fall through */
		case AT_NAME:
			rc = step_name(x);
			if (rc != H1_GO)
				break;
			/* fall through */
		case AT_VALUE:
			rc = step_value(x);
			break;
		default:
			rc = step_fold(x);
			break;
		}
	}
	return rc;
}

static struct head head_begin(struct h1_parser *p, const char *buf, size_t n,
			      const struct h1_limits *lim, struct hdrs *h, enum h1_kind kind)
{
	if (p->ndropped)
		p->dropped_name.p = buf + p->dropped_at;
	return (struct head){p, buf, buf + MIN_OF(n, lim->total_max), lim, h, kind};
}

/* A head that fills total_max and wants more will never fit. */
static int head_result(struct head *x, int rc, size_t n, size_t *used)
{
	if (rc == H1_MORE && n >= x->lim->total_max)
		return too_large(x);
	if (rc == H1_DONE)
		*used = x->p->scanned;
	return rc;
}

int h1_parse_request(struct h1_parser *p, const char *buf, size_t n, const struct h1_limits *lim,
		     struct http_request *req, size_t *used)
{
	struct head x = head_begin(p, buf, n, lim, &req->headers, KIND_REQUEST);
	int rc = request_line(&x, req);
	enum fail f;

	if (rc == H1_GO)
		rc = field_lines(&x);
	rc = head_result(&x, rc, n, used);
	if (rc != H1_DONE)
		return rc;
	req->head_size = (uint32_t)*used;
	f = framing_of_request(req);
	return f ? -(int)f : H1_DONE;
}

int h1_parse_response(struct h1_parser *p, const char *buf, size_t n, const struct h1_limits *lim,
		      enum http_method method, struct http_response *resp, size_t *used)
{
	struct head x = head_begin(p, buf, n, lim, &resp->headers, KIND_RESPONSE);
	int rc = status_line(&x, resp);
	enum fail f;

	if (rc == H1_GO)
		rc = field_lines(&x);
	rc = head_result(&x, rc, n, used);
	if (rc != H1_DONE)
		return rc;
	resp->head_size = (uint32_t)*used;
	f = framing_of_response(resp, method);
	return f ? -(int)f : H1_DONE;
}

int h1_parse_trailers(struct h1_parser *p, const char *buf, size_t n, const struct h1_limits *lim,
		      struct hdrs *trailers, size_t *used)
{
	struct head x = head_begin(p, buf, n, lim, trailers, KIND_TRAILERS);

	if (p->state == AT_START)
		p->state = AT_FIELD;
	return head_result(&x, field_lines(&x), n, used);
}

static void rebase(struct span *s, const char *from, const char *to)
{
	/* As integers: the old buffer is gone, and pointers into it may not be subtracted. */
	if (s->p && s->p != target_root && s->p != target_asterisk)
		s->p = to + ((uintptr_t)s->p - (uintptr_t)from);
}

void h1_rebase_fields(struct hdrs *h, const char *from, const char *to)
{
	uintptr_t by = (uintptr_t)to - (uintptr_t)from;

	for (size_t i = 0; i < h->n; i++) { /* without any, v is NULL */
		struct hdr *hd = &h->v[i];

		if (hd->in_buf & HDR_NAME_IN_BUF)
			hd->name.p = (const char *)((uintptr_t)hd->name.p + by);
		if (hd->in_buf & HDR_VALUE_IN_BUF)
			hd->value.p = (const char *)((uintptr_t)hd->value.p + by);
	}
}

void h1_rebase_request(struct http_request *req, const char *from, const char *to)
{
	struct span *spans[] = {&req->method_name, &req->line, &req->target, &req->scheme,
				&req->authority,   &req->path, &req->query};

	for (size_t i = 0; i < ARRAY_LEN(spans); i++)
		rebase(spans[i], from, to);
	h1_rebase_fields(&req->headers, from, to);
}

void h1_rebase_response(struct http_response *resp, const char *from, const char *to)
{
	rebase(&resp->reason, from, to);
	h1_rebase_fields(&resp->headers, from, to);
}
