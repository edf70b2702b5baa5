/* Formats of lines: compiling, and the building of lines. */
#include <stdio.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include "base/pool.h"
#include "io/loop.h"
#include "mod/log.h"
#include "serve/conn.h"
#include "serve/req.h"

#define LINE_KEPT (256u << 10) /* bytes of a thread's line that stay allocated */

struct log_part {
	struct span text;				/* constant text; get and var are not set */
	void (*put)(struct log_line *l, struct req *r); /* what every line has: no slot, no arena */
	struct var *var;
};

/* ---- lines ---- */

static char *line_grow(struct log_line *l, size_t n)
{
	size_t cap = l->cap ? l->cap : 2048;
	char *p;

	if (l->failed || n > LOG_LINE_CEILING - l->n) {
		l->failed = true;
		return NULL;
	}
	while (cap - l->n < n)
		cap *= 2;
	p = mem_resize(l->p, cap);
	if (!p) {
		l->failed = true;
		return NULL;
	}
	l->p = p;
	l->cap = cap;
	return l->p + l->n;
}

void log_line_start(struct log_line *l)
{
	if (l->cap > LINE_KEPT)
		log_line_fini(l);
	l->n = 0;
	l->failed = false;
}

char *log_line_room(struct log_line *l, size_t n)
{
	return likely(l->p && l->cap - l->n >= n) ? l->p + l->n : line_grow(l, n);
}

void log_line_add(struct log_line *l, struct span s)
{
	char *p = log_line_room(l, s.n);

	if (!p || !s.n)
		return;
	memcpy(p, s.p, s.n);
	l->n += s.n;
}

void log_line_fini(struct log_line *l)
{
	mem_free(l->p);
	*l = (struct log_line){0};
}

static void line_number(struct log_line *l, uint64_t v)
{
	char text[20];
	size_t at = sizeof(text);

	do
		text[--at] = (char)('0' + v % 10);
	while (v /= 10);
	log_line_add(l, span_make(text + at, sizeof(text) - at));
}

static bool plain(char c)
{
	return (uint8_t)c >= 0x20 && (uint8_t)c < 0x7f && c != '"' && c != '\\';
}

static inline char *escape_char(char *at, char c)
{
	static const char hex[] = "0123456789ABCDEF";

	if (likely(plain(c))) {
		*at++ = c;
		return at;
	}
	*at++ = '\\';
	*at++ = 'x';
	*at++ = hex[(uint8_t)c >> 4];
	*at++ = hex[(uint8_t)c & 15];
	return at;
}

#ifdef __SSE2__
/* Copies 16 bytes when none of them needs an escape. */
static inline bool copy_plain(char *to, const char *from)
{
	__m128i v = _mm_loadu_si128((const __m128i *)from);
	__m128i bad = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)); /* signed: the high half too */

	bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
	bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
	bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
	if (_mm_movemask_epi8(bad))
		return false;
	_mm_storeu_si128((__m128i *)to, v);
	return true;
}
#else
static inline bool copy_plain(char *to, const char *from)
{
	return false;
}
#endif

static void escape_default(struct log_line *l, struct span s)
{
	char *p = log_line_room(l, 4 * s.n), *at = p;
	size_t i = 0;

	if (!p)
		return;
	while (i < s.n) {
		if (s.n - i >= 16 && copy_plain(at, s.p + i)) {
			at += 16;
			i += 16;
			continue;
		}
		for (size_t end = MIN_OF(i + 16, s.n); i < end; i++)
			at = escape_char(at, s.p[i]);
	}
	l->n += (size_t)(at - p);
}

static char *json_char(char *at, char c)
{
	static const char from[] = "\n\r\t\b\f\"\\", to[] = "nrtbf\"\\";
	const char *f = c ? strchr(from, c) : NULL;

	if (f) {
		*at++ = '\\';
		*at++ = to[f - from];
	} else if ((uint8_t)c < 0x20) {
		at += snprintf(at, 7, "\\u%04X", (uint8_t)c);
	} else {
		*at++ = c;
	}
	return at;
}

static void escape_json(struct log_line *l, struct span s)
{
	char *p = log_line_room(l, 6 * s.n + 1), *at = p;

	if (!p)
		return;
	for (size_t i = 0; i < s.n; i++)
		at = json_char(at, s.p[i]);
	l->n += (size_t)(at - p);
}

void log_line_escape(struct log_line *l, struct span s, enum log_escape how)
{
	if (how == LOG_ESCAPE_DEFAULT)
		escape_default(l, s);
	else if (how == LOG_ESCAPE_JSON)
		escape_json(l, s);
	else
		log_line_add(l, s);
}

/* ---- what every line has ---- */

static void put_remote_addr(struct log_line *l, struct req *r)
{
	char *p = log_line_room(l, ADDR_TEXT_MAX);

	if (p)
		l->n += addr_format_ip(r->realip.len ? &r->realip.sa : conn_peer(r->conn), p,
				       ADDR_TEXT_MAX);
}

static void put_time_local(struct log_line *l, struct req *r)
{
	log_line_add(l, io_time_log());
}

static void put_time_iso8601(struct log_line *l, struct req *r)
{
	log_line_add(l, io_time_iso8601());
}

static void put_seconds(struct log_line *l, uint64_t ms)
{
	char text[4] = {'.', (char)('0' + ms % 1000 / 100), (char)('0' + ms % 100 / 10),
			(char)('0' + ms % 10)};

	line_number(l, ms / 1000);
	log_line_add(l, span_make(text, 4));
}

static void put_msec(struct log_line *l, struct req *r)
{
	put_seconds(l, io_wall_ms());
}

static void put_request_time(struct log_line *l, struct req *r)
{
	put_seconds(l, io_now_ms() - r->start_ms);
}

static void put_status(struct log_line *l, struct req *r)
{
	unsigned s = (unsigned)(r->status ? r->status : r->resp.status);
	char text[3] = {(char)('0' + s / 100 % 10), (char)('0' + s / 10 % 10),
			(char)('0' + s % 10)};

	log_line_add(l, span_make(text, 3));
}

static void put_bytes_sent(struct log_line *l, struct req *r)
{
	line_number(l, r->bytes_sent);
}

static void put_body_bytes_sent(struct log_line *l, struct req *r)
{
	line_number(l, r->bytes_sent > r->header_bytes ? r->bytes_sent - r->header_bytes : 0);
}

static void put_connection(struct log_line *l, struct req *r)
{
	line_number(l, r->conn->number);
}

static const struct {
	struct span name;
	void (*put)(struct log_line *l, struct req *r);
} common[] = {
	{SPAN_INIT("remote_addr"), put_remote_addr},
	{SPAN_INIT("time_local"), put_time_local},
	{SPAN_INIT("time_iso8601"), put_time_iso8601},
	{SPAN_INIT("msec"), put_msec},
	{SPAN_INIT("request_time"), put_request_time},
	{SPAN_INIT("status"), put_status},
	{SPAN_INIT("bytes_sent"), put_bytes_sent},
	{SPAN_INIT("body_bytes_sent"), put_body_bytes_sent},
	{SPAN_INIT("connection"), put_connection},
};

/* ---- compiling ---- */

static bool is_name_char(char ch)
{
	char l = ascii_lower(ch);

	return (l >= 'a' && l <= 'z') || (ch >= '0' && ch <= '9') || ch == '_';
}

static struct log_part *part_new(struct conf_call *c, struct log_format *f)
{
	struct log_part *p = ARENA_PUSH(c->ctx->arena, f->parts, &f->nparts, &f->cap);

	if (p)
		*p = (struct log_part){.text = {NULL, 0}};
	else
		conf_error(c, 0, "out of memory");
	return p;
}

static int add_variable(struct conf_call *c, struct log_format *f, unsigned word, struct span name)
{
	struct log_part *p = part_new(c, f);

	if (!p)
		return CONF_ERR;
	for (size_t i = 0; i < ARRAY_LEN(common); i++) {
		if (span_eq_nocase(common[i].name, name)) {
			p->put = common[i].put;
			return CONF_OK;
		}
	}
	p->var = var_use(c, word, conf_var_table(c->scope), name);
	return p->var ? CONF_OK : CONF_ERR;
}

/* The '$' is at *at, which becomes the index behind the variable. Unlike in other directives $1 is
 * a name. */
static int compile_dollar(struct conf_call *c, struct log_format *f, unsigned word, struct span s,
			  size_t *at)
{
	size_t i = *at + 1, from;
	bool bracket = i < s.n && s.p[i] == '{';

	i += bracket;
	for (from = i; i < s.n && is_name_char(s.p[i]);)
		i++;
	if (i == from || (bracket && (i == s.n || s.p[i] != '}')))
		return conf_error(c, word, "invalid parameter \"%.*s\"", SPAN_ARG(s));
	*at = i + bracket;
	return add_variable(c, f, word, span_cut(s, from, i));
}

static int compile_word(struct conf_call *c, struct log_format *f, unsigned word, struct span s)
{
	size_t at = 0;

	while (at < s.n) {
		ssize_t dollar = span_find_char(s, '$', at);
		size_t to = dollar < 0 ? s.n : (size_t)dollar;

		if (to > at) {
			struct log_part *p = part_new(c, f);

			if (!p)
				return CONF_ERR;
			p->text = span_cut(s, at, to);
		}
		at = to;
		if (dollar >= 0 && compile_dollar(c, f, word, s, &at) != CONF_OK)
			return CONF_ERR;
	}
	return CONF_OK;
}

int log_format_compile(struct conf_call *c, struct log_format *f, unsigned word)
{
	for (; word <= conf_nargs(c); word++)
		if (compile_word(c, f, word, conf_arg(c, word)) != CONF_OK)
			return CONF_ERR;
	return CONF_OK;
}

int log_format_compile_text(struct conf_call *c, struct log_format *f, struct span text)
{
	return compile_word(c, f, 0, text);
}

/* ---- building ---- */

static void put_variable(const struct log_format *f, const struct var *var, struct req *r,
			 struct log_line *l)
{
	bool found;
	struct span s = var_get(&r->vars, var, &found);

	if (found)
		log_line_escape(l, s, f->escape);
	else if (f->escape == LOG_ESCAPE_DEFAULT)
		log_line_add(l, SPAN("-"));
}

void log_format_line(const struct log_format *f, struct req *r, struct log_line *l)
{
	for (size_t i = 0; i < f->nparts; i++) {
		const struct log_part *p = &f->parts[i];

		if (p->put)
			p->put(l, r);
		else if (p->var)
			put_variable(f, p->var, r, l);
		else
			log_line_add(l, p->text);
	}
}
