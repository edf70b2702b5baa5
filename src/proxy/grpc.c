/* gRPC at run time: deadlines, and answers of ours that gRPC clients understand. An exchange like
 * any other besides: HTTP/2 without buffering, trailers passed. */
#include "io/loop.h"
#include "proxy/grpc.h"

static struct span content_type(const struct req *r)
{
	return hdrs_value(&r->in.headers, HDR_CONTENT_TYPE);
}

static bool is_grpc(const struct req *r)
{
	return span_starts_nocase(content_type(r), SPAN("application/grpc"));
}

/* ---- deadlines ---- */

/* "100m": up to eight digits and a unit. False: malformed. */
bool grpc_timeout_parse(struct span s, uint64_t *ms)
{
	static const struct {
		char unit;
		uint64_t per, of; /* ms = n * per / of */
	} units[] = {{'H', 3600000, 1}, {'M', 60000, 1}, {'S', 1000, 1},
		     {'m', 1, 1},	{'u', 1, 1000},	 {'n', 1, 1000000}};
	uint64_t n;

	if (s.n < 2 || s.n > 9 || !span_to_u64(span_cut(s, 0, s.n - 1), 99999999, &n))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (s.p[s.n - 1] != units[i].unit)
			continue;
		*ms = (n * units[i].per + units[i].of - 1) / units[i].of;
		return true;
	}
	return false;
}

static void grpc_deadline(struct exchange *x)
{
	struct hdr *hd = hdrs_find_name(&x->r->in.headers, SPAN("grpc-timeout"));
	uint64_t ms;

	/* The clock runs since the head came: what was spent on access control counts. */
	if (hd && grpc_timeout_parse(hd->value, &ms))
		x->deadline_ms = x->r->start_ms + ms;
}

int grpc_prepare(struct exchange *x)
{
	grpc_deadline(x);
	return x->conf->grpc_web ? grpc_web_prepare(x) : 0;
}

/* ---- answers of ours ---- */

/* Status of HTTP to status of gRPC, as the gRPC specification maps them. */
int grpc_status_of(int http)
{
	switch (http) {
	case 400:
		return 13; /* INTERNAL */
	case 401:
		return 16; /* UNAUTHENTICATED */
	case 403:
		return 7; /* PERMISSION_DENIED */
	case 404:
		return 12; /* UNIMPLEMENTED */
	case 408:
	case 429:
	case 502:
	case 503:
	case 504:
		return 14; /* UNAVAILABLE */
	case 413:
		return 8; /* RESOURCE_EXHAUSTED */
	default:
		return http >= 500 ? 13 : 2; /* INTERNAL, UNKNOWN */
	}
}

static bool has_error_page(struct req *r, int status)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	for (size_t i = 0; i < l->nerror_pages; i++)
		if (l->error_pages[i].status == status)
			return true;
	return false;
}

/* A trailers-only answer: HTTP's status is 200, what went wrong is in grpc-status. */
static int grpc_error(struct req *r, int http, bool late)
{
	int status = late && http == 504 ? 4 : grpc_status_of(http); /* DEADLINE_EXCEEDED */
	struct span reason = late && http == 504 ? SPAN("Deadline Exceeded") : http_reason(http);
	struct resp *resp = req_answer(r, 200);
	struct span words = {0}, number = arena_printf(&r->arena, "%d", status);

	/* Only bytes that grpc-message need not escape. */
	if (reason.n)
		words = arena_printf(&r->arena, "proxy: %d %.*s", http, SPAN_ARG(reason));
	resp->content_type = span_starts_nocase(content_type(r), SPAN("application/grpc-web"))
				     ? content_type(r)
				     : SPAN("application/grpc");
	if (!number.p || hdrs_add(&resp->headers, SPAN("grpc-status"), number) != FAIL_OK ||
	    (words.n && hdrs_add(&resp->headers, SPAN("grpc-message"), words) != FAIL_OK))
		return 500;
	return PHASE_DONE;
}

int grpc_run(struct req *r)
{
	const struct proxy_conf *conf = req_conf(r, &grpc_mod);
	struct hdr *hd = hdrs_find_name(&r->in.headers, SPAN("grpc-timeout"));
	int rc = exchange_with(r, conf);
	uint64_t ms;
	bool late;

	if (rc < 400 || r->aborted || !is_grpc(r) || has_error_page(r, rc))
		return rc;
	late = hd && grpc_timeout_parse(hd->value, &ms) && io_now_ms() >= r->start_ms + ms;
	return grpc_error(r, rc, late);
}
