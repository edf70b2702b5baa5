#include "base/bug.h"
#include "http/date.h"
#include "http/range.h"

/* An entity tag at the front of *rest: taken off, with its W/ told apart. False: there is none. */
static bool take_etag(struct span *rest, struct span *tag, bool *weak)
{
	ssize_t close;

	*weak = span_starts(*rest, SPAN("W/"));
	if (*weak)
		*rest = span_cut(*rest, 2, rest->n);
	if (rest->n == 0 || rest->p[0] != '"')
		return false;
	close = span_find_char(*rest, '"', 1);
	if (close < 0)
		return false;
	*tag = span_cut(*rest, 0, (size_t)close + 1);
	*rest = span_cut(*rest, (size_t)close + 1, rest->n);
	return true;
}

bool etag_in_list(struct span list, struct span etag, bool weak)
{
	struct span ours = {NULL, 0}, rest = span_trim(list), theirs;
	bool ours_weak = false, theirs_weak;

	if (span_eq(rest, SPAN("*")))
		return true;
	if (!take_etag(&etag, &ours, &ours_weak) || etag.n)
		return false;
	/* A list that stops making sense matches nothing from there on. */
	while (take_etag(&rest, &theirs, &theirs_weak)) {
		if (span_eq(ours, theirs) && (weak || (!ours_weak && !theirs_weak))) {
			rest = span_trim(rest);
			return rest.n == 0 || rest.p[0] == ',';
		}
		rest = span_trim(rest);
		if (rest.n == 0 || rest.p[0] != ',')
			return false;
		while (rest.n && (rest.p[0] == ',' || rest.p[0] == ' ' || rest.p[0] == '\t'))
			rest = span_cut(rest, 1, rest.n);
	}
	return false;
}

/* Does any field of that id name the entity tag? */
static bool etag_in_fields(const struct hdrs *h, enum hdr_id id, struct span etag, bool weak)
{
	for (const struct hdr *hd = hdrs_find(h, id); hd; hd = hdrs_find_next(h, hd))
		if (etag_in_list(hd->value, etag, weak))
			return true;
	return false;
}

static bool precondition_failed(const struct http_request *req, const struct http_validators *v)
{
	const struct hdr *hd;
	int64_t since;

	if (hdrs_find(&req->headers, HDR_IF_MATCH))
		return !etag_in_fields(&req->headers, HDR_IF_MATCH, v->etag, false);
	hd = hdrs_find(&req->headers, HDR_IF_UNMODIFIED_SINCE);
	if (!hd || v->last_modified < 0 || !http_date_parse(hd->value, &since))
		return false;
	return v->last_modified > since;
}

static bool not_modified_since(const struct http_request *req, const struct http_validators *v,
			       enum ims_mode ims)
{
	const struct hdr *hd = hdrs_find(&req->headers, HDR_IF_MODIFIED_SINCE);
	int64_t since;

	if (!hd || ims == IMS_OFF || v->last_modified < 0 || !http_date_parse(hd->value, &since))
		return false;
	return ims == IMS_EXACT ? v->last_modified == since : v->last_modified <= since;
}

int http_conditions(const struct http_request *req, const struct http_validators *v,
		    enum ims_mode ims)
{
	bool reads = req->method == METHOD_GET || req->method == METHOD_HEAD;

	if (precondition_failed(req, v))
		return 412;
	if (hdrs_find(&req->headers, HDR_IF_NONE_MATCH)) {
		if (!etag_in_fields(&req->headers, HDR_IF_NONE_MATCH, v->etag, true))
			return 0;
		return reads ? 304 : 412;
	}
	return reads && not_modified_since(req, v, ims) ? 304 : 0;
}

bool http_if_range(const struct http_request *req, const struct http_validators *v)
{
	const struct hdr *hd = hdrs_find(&req->headers, HDR_IF_RANGE);
	struct span value;
	int64_t date;

	if (!hd)
		return true;
	value = span_trim(hd->value);
	if (value.n && (value.p[0] == '"' || value.p[0] == 'W'))
		/* One tag, no list: a strong one is compared as it stands. */
		return value.p[0] == '"' && span_eq(value, v->etag);
	return v->last_modified >= 0 && http_date_parse(value, &date) && date == v->last_modified;
}

static void skip_spaces(struct span *s)
{
	while (s->n && s->p[0] == ' ')
		*s = span_cut(*s, 1, s->n);
}

/* Digits at the front; false: none, or more than an int64_t. */
static bool take_number(struct span *s, int64_t *out)
{
	size_t n = 0;
	uint64_t v;

	while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
		n++;
	if (!span_to_u64(span_cut(*s, 0, n), INT64_MAX, &v))
		return false;
	*s = span_cut(*s, n, s->n);
	*out = (int64_t)v;
	return true;
}

/* One range-spec and the blanks around it, as nginx reads them; clamped to the length. start >=
 * end: outside. False: malformed. */
static bool take_range(struct span *s, int64_t length, struct byte_range *r)
{
	bool suffix;

	skip_spaces(s);
	suffix = s->n && s->p[0] == '-';
	if (!suffix) {
		if (!take_number(s, &r->start))
			return false;
		skip_spaces(s);
		if (s->n == 0 || s->p[0] != '-')
			return false;
	}
	*s = span_cut(*s, 1, s->n);
	if (!suffix) {
		skip_spaces(s);
		if (s->n == 0 || s->p[0] == ',') {
			r->end = length;
			return true;
		}
	}
	if (!take_number(s, &r->end))
		return false;
	skip_spaces(s);
	if (s->n && s->p[0] != ',')
		return false;
	if (suffix) {
		r->start = r->end < length ? length - r->end : 0;
		r->end = length;
	} else {
		r->end = r->end >= length ? length : r->end + 1;
	}
	return true;
}

enum range_result http_ranges(struct span value, int64_t length, struct byte_range *r, size_t *n)
{
	size_t cap = *n;
	struct span s;
	int64_t sum = 0;
	bool more = true;

	*n = 0;
	if (value.n < 7 || !span_starts_nocase(value, SPAN("bytes=")))
		return RANGE_NONE;
	for (s = span_cut(value, 6, value.n); more; s = span_cut(s, 1, s.n)) {
		struct byte_range one;

		if (!take_range(&s, length, &one))
			return RANGE_UNSATISFIABLE;
		more = s.n > 0;
		if (one.start >= one.end) {
			if (one.start == 0)
				return RANGE_NONE;
			continue;
		}
		if (*n == cap || __builtin_add_overflow(sum, one.end - one.start, &sum))
			return RANGE_NONE;
		r[(*n)++] = one;
	}
	if (*n == 0)
		return RANGE_UNSATISFIABLE;
	return sum > length ? RANGE_NONE : RANGE_OK;
}
