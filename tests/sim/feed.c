#include "feed.h"
#include <stdio.h>
#include <string.h>
#include "base/bug.h"

enum { AT_HEAD, AT_BODY, AT_AFTER, AT_END };

void feed_init(struct feed *f)
{
	*f = (struct feed){.bad_chunk = -1, .cut = -1, .chunk = 4000};
}

void feed_fini(struct feed *f)
{
	text_fini(&f->head);
	feed_init(f);
	f->phase = AT_END;
}

static void feed_stage_text(struct feed *f, const char *s, size_t n)
{
	BUG_ON(f->n + n > sizeof(f->stage));
	memcpy(f->stage + f->n, s, n);
	f->n += n;
}

static void feed_stage_last_chunk(struct feed *f)
{
	feed_stage_text(f, "0\r\n", 3);
	if (f->trailer)
		feed_stage_text(f, f->trailer, strlen(f->trailer));
	feed_stage_text(f, "\r\n", 2);
	f->phase = AT_AFTER;
}

static void feed_stage_body(struct feed *f)
{
	size_t k = (size_t)(f->length - f->done < 4000 ? f->length - f->done : 4000);
	char line[48];

	if (f->framing == FEED_CHUNKED && k > f->chunk)
		k = f->chunk;
	if (k == 0) {
		if (f->framing == FEED_CHUNKED)
			feed_stage_last_chunk(f);
		else
			f->phase = AT_AFTER;
		return;
	}
	if (f->framing == FEED_CHUNKED) {
		bool bad = f->bad_chunk >= 0 && f->done + (int64_t)k > f->bad_chunk;

		snprintf(line, sizeof(line),
			 bad		 ? "%zxq\r\n"
			 : f->extensions ? "%zX;a=\"b\"\r\n"
					 : "%zx\r\n",
			 k);
		feed_stage_text(f, line, strlen(line));
	}
	bytes_fill(f->key, (uint64_t)f->done, f->stage + f->n, k);
	f->n += k;
	f->done += (int64_t)k;
	if (f->framing == FEED_CHUNKED)
		feed_stage_text(f, "\r\n", 2);
}

static void feed_stage(struct feed *f)
{
	size_t left = f->head.n - (size_t)(f->phase == AT_HEAD ? f->out : 0), k;

	f->at = f->n = 0;
	switch (f->phase) {
	case AT_HEAD:
		k = left < 4096 ? left : 4096;
		feed_stage_text(f, f->head.p + f->out, k);
		if (k == left)
			f->phase = f->framing == FEED_NONE ? AT_AFTER : AT_BODY;
		break;
	case AT_BODY:
		feed_stage_body(f);
		break;
	case AT_AFTER:
		if (f->after)
			feed_stage_text(f, f->after, strlen(f->after));
		f->phase = AT_END;
		break;
	default:
		break;
	}
}

size_t feed_peek(struct feed *f, const char **p)
{
	size_t n;

	while (f->at == f->n && f->phase != AT_END)
		feed_stage(f);
	n = f->n - f->at;
	if (f->cut >= 0 && f->out + (int64_t)n > f->cut)
		n = (size_t)(f->cut - f->out);
	*p = f->stage + f->at;
	return n;
}

void feed_take(struct feed *f, size_t n)
{
	f->at += n;
	f->out += (int64_t)n;
}

bool feed_past_head(const struct feed *f)
{
	return f->out >= (int64_t)f->head.n;
}

bool feed_was_cut(const struct feed *f)
{
	return f->cut >= 0 && f->out >= f->cut;
}
