/* Heads out. */
#include "http/h1.h"

static inline char *put(char *at, struct span s)
{
	if (s.n)
		memcpy(at, s.p, s.n);
	return at + s.n;
}

static inline char *put_field(char *at, struct span name, struct span value)
{
	at = put(put(put(at, name), SPAN(": ")), value);
	return put(at, SPAN("\r\n"));
}

void h1_write_request_line(struct buf *out, struct span method, struct span target)
{
	buf_add_span(out, method);
	buf_add_char(out, ' ');
	buf_add_span(out, target);
	buf_add_span(out, SPAN(" HTTP/1.1\r\n"));
}

void h1_write_status_line(struct buf *out, int status, struct span reason)
{
	char number[] = "000 ";

	BUG_ON(status < 100 || status > 999);
	number[0] = (char)('0' + status / 100);
	number[1] = (char)('0' + status / 10 % 10);
	number[2] = (char)('0' + status % 10);
	buf_add_span(out, SPAN("HTTP/1.1 "));
	buf_add_span(out, SPAN(number));
	buf_add_span(out, reason.n ? reason : http_reason(status));
	buf_add_span(out, SPAN("\r\n"));
}

void h1_write_fields(struct buf *out, const struct hdrs *h)
{
	size_t n = 0;
	char *at;

	/* One reservation for all: the loop below only copies. */
	hdrs_each (hd, h)
		n += hd->name.n + hd->value.n + 4;
	if (!buf_reserve(out, n))
		return;
	at = out->p + out->len;
	hdrs_each (hd, h)
		at = put_field(at, hd->name, hd->value);
	out->len += n;
}

void h1_write_field(struct buf *out, struct span name, struct span value)
{
	size_t n = name.n + value.n + 4;

	if (!buf_reserve(out, n))
		return;
	put_field(out->p + out->len, name, value);
	out->len += n;
}

void h1_write_end(struct buf *out)
{
	buf_add_span(out, SPAN("\r\n"));
}
