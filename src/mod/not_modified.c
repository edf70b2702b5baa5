/* Conditional requests (RFC 9110 13): 304 and 412 in place of a 200 that we made ourselves. What an
 * upstream answers it has compared itself. */
#include "http/range.h"
#include "mod/mods.h"
#include "serve/core.h"
#include "serve/req.h"

static bool asks(const struct hdrs *h)
{
	return hdrs_find(h, HDR_IF_MODIFIED_SINCE) || hdrs_find(h, HDR_IF_NONE_MATCH) ||
	       hdrs_find(h, HDR_IF_MATCH) || hdrs_find(h, HDR_IF_UNMODIFIED_SINCE);
}

static void make_304(struct req *r, struct resp *resp)
{
	body_close(resp->body);
	resp->body = NULL;
	resp->status = r->status = 304;
	resp->reason = (struct span){0};
	resp->content_type = resp->charset = (struct span){0};
	resp->content_length = -1;
	resp->allow_ranges = false;
	hdrs_remove(&resp->headers, HDR_CONTENT_ENCODING);
	hdrs_remove(&resp->headers, HDR_ACCEPT_RANGES);
}

static enum fail not_modified_filter(struct req *r, struct resp *resp)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	struct http_validators v;

	if (resp->status != 200 || resp->from_upstream || r->parent || !asks(&r->in.headers))
		return FAIL_OK;
	v.etag = hdrs_value(&resp->headers, HDR_ETAG);
	v.last_modified = resp->last_modified;
	switch (http_conditions(&r->in, &v, l->if_modified_since)) {
	case 304:
		make_304(r, resp);
		return FAIL_OK;
	case 412:
		return FAIL_PRECONDITION;
	default:
		return FAIL_OK;
	}
}

const struct http_module not_modified_module = {
	.name = "not_modified",
	.filter = not_modified_filter,
};
