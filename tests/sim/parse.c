#include "parse.h"
#include <ctype.h>
#include <string.h>
#include "base/bug.h"

enum { IN_HEAD, IN_LENGTH, IN_SIZE, IN_CHUNK, IN_CHUNK_END, IN_TRAILER, IN_CLOSE, AT_END };
#define HEAD_MAX 200000

void parse_init(struct parse *p)
{
	p->head.n = 0;
	p->state = IN_HEAD;
	p->left = p->body = p->all = 0;
	p->nline = 0;
}

void parse_fini(struct parse *p)
{
	text_fini(&p->head);
}

static enum parse_event parse_bad(struct parse *p, const char *why)
{
	p->why = why;
	return PARSE_BAD;
}

static void parse_consume(struct parse *p, struct span *in, size_t n)
{
	p->all += (int64_t)n;
	in->p += n;
	in->n -= n;
}

static enum parse_event parse_head(struct parse *p, struct span *in)
{
	while (in->n) {
		char c = *in->p;

		text_add(&p->head, &c, 1);
		parse_consume(p, in, 1);
		if (p->head.n > HEAD_MAX)
			return parse_bad(p, "head too long");
		if (c == '\n' && (p->head.n < 2 || p->head.p[p->head.n - 2] != '\r'))
			return parse_bad(p, "line ends without CR");
		if (p->head.n >= 4 && memcmp(p->head.p + p->head.n - 4, "\r\n\r\n", 4) == 0)
			return PARSE_HEAD;
	}
	return PARSE_MORE;
}

/* One line without its end in p->line; false: not whole yet. */
static bool parse_line(struct parse *p, struct span *in, bool *bad)
{
	*bad = false;
	while (in->n) {
		char c = *in->p;

		parse_consume(p, in, 1);
		if (p->nline == sizeof(p->line) - 1) {
			*bad = true;
			return true;
		}
		p->line[p->nline++] = c;
		if (c == '\n') {
			*bad = p->nline < 2 || p->line[p->nline - 2] != '\r';
			p->nline -= 2;
			p->line[p->nline] = 0;
			return true;
		}
	}
	return false;
}

static enum parse_event parse_size(struct parse *p)
{
	size_t digits = strspn(p->line, "0123456789abcdefABCDEF");
	uint64_t n;

	if (!digits || digits > 15 || (p->line[digits] && p->line[digits] != ';') ||
	    !span_hex_to_u64(span_make(p->line, digits), INT64_MAX, &n))
		return parse_bad(p, "bad chunk size");
	p->left = (int64_t)n;
	p->state = n ? IN_CHUNK : IN_TRAILER;
	return PARSE_MORE;
}

static enum parse_event parse_chunk_line(struct parse *p, struct span *in)
{
	bool bad;

	if (!parse_line(p, in, &bad))
		return PARSE_MORE;
	if (bad)
		return parse_bad(p, "bad line in chunks");
	switch (p->state) {
	case IN_SIZE:
		if (parse_size(p) == PARSE_BAD)
			return PARSE_BAD;
		break;
	case IN_CHUNK_END:
		if (p->nline)
			return parse_bad(p, "bytes behind a chunk");
		p->state = IN_SIZE;
		break;
	default:
		if (p->nline == 0) {
			p->state = AT_END;
			return PARSE_END;
		}
	}
	p->nline = 0;
	return PARSE_MORE;
}

static enum parse_event parse_data(struct parse *p, struct span *in, struct span *data)
{
	size_t n = in->n;

	if (p->state != IN_CLOSE && (int64_t)n > p->left)
		n = (size_t)p->left;
	*data = span_make(in->p, n);
	parse_consume(p, in, n);
	p->body += (int64_t)n;
	p->left -= (int64_t)n;
	if (p->state == IN_CHUNK && p->left == 0) {
		p->state = IN_CHUNK_END;
		p->nline = 0;
	}
	return PARSE_DATA;
}

enum parse_event parse_step(struct parse *p, struct span *in, struct span *data)
{
	for (;;) {
		enum parse_event e = PARSE_MORE;

		if (p->state == AT_END || (p->state == IN_LENGTH && p->left == 0)) {
			p->state = AT_END;
			return PARSE_END;
		}
		if (!in->n)
			return PARSE_MORE;
		if (p->state == IN_HEAD)
			return parse_head(p, in);
		if (p->state == IN_LENGTH || p->state == IN_CHUNK || p->state == IN_CLOSE)
			return parse_data(p, in, data);
		e = parse_chunk_line(p, in);
		if (e != PARSE_MORE)
			return e;
	}
}

void parse_body(struct parse *p, enum parse_framing framing, int64_t length)
{
	p->left = length;
	p->state = framing == PARSE_NONE      ? AT_END
		   : framing == PARSE_LENGTH  ? IN_LENGTH
		   : framing == PARSE_CHUNKED ? IN_SIZE
					      : IN_CLOSE;
}

enum parse_event parse_eof(struct parse *p)
{
	if (p->state == IN_CLOSE || p->state == AT_END)
		return PARSE_END;
	if (p->state == IN_HEAD && p->head.n == 0)
		return PARSE_MORE;
	return parse_bad(p, "cut");
}

struct span head_line(const struct parse *p)
{
	struct span all = span_make(p->head.p, p->head.n);
	ssize_t end = span_find(all, SPAN("\r\n"));

	return end < 0 ? all : span_cut(all, 0, (size_t)end);
}

bool head_next(const struct parse *p, size_t *at, struct span *name, struct span *value)
{
	struct span all = span_make(p->head.p, p->head.n), line;
	ssize_t end, colon;

	if (*at == 0)
		*at = head_line(p).n + 2;
	line = span_cut(all, *at, all.n);
	end = span_find(line, SPAN("\r\n"));
	if (end <= 0)
		return false;
	line = span_cut(line, 0, (size_t)end);
	*at += (size_t)end + 2;
	colon = span_find_char(line, ':', 0);
	if (colon < 0)
		colon = (ssize_t)line.n;
	*name = span_cut(line, 0, (size_t)colon);
	*value = (size_t)colon < line.n ? span_trim(span_cut(line, (size_t)colon + 1, line.n))
					: SPAN("");
	return true;
}

bool head_field(const struct parse *p, const char *name, struct span *value)
{
	struct span n;
	size_t at = 0;

	while (head_next(p, &at, &n, value))
		if (span_eq_nocase(n, span_of(name)))
			return true;
	return false;
}

unsigned head_count(const struct parse *p, const char *name)
{
	struct span n, v;
	unsigned count = 0;
	size_t at = 0;

	while (head_next(p, &at, &n, &v))
		count += span_eq_nocase(n, span_of(name));
	return count;
}

uint64_t head_number(const struct parse *p, const char *name, uint64_t otherwise)
{
	struct span v;
	uint64_t n;

	return head_field(p, name, &v) && span_to_u64(v, INT64_MAX, &n) ? n : otherwise;
}
