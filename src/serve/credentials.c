#include "serve/credentials.h"
#include "http/base64.h"
#include "serve/core.h"

enum fail req_take_proxied(struct req *r)
{
	struct span v;

	if (!r->server->connects)
		return FAIL_OK;
	r->proxied = r->in.method == METHOD_CONNECT || r->in.absolute_form;
	v = hdrs_value(&r->in.headers, HDR_PROXY_AUTHORIZATION);
	if (!r->proxied || !v.p)
		return FAIL_OK;
	r->proxy_authorization = arena_dup(&r->arena, v);
	hdrs_remove(&r->in.headers, HDR_PROXY_AUTHORIZATION);
	return r->proxy_authorization.p ? FAIL_OK : FAIL_NO_MEMORY;
}

bool req_credentials(struct req *r, struct span *user, struct span *password)
{
	struct span v =
		r->proxied ? r->proxy_authorization : hdrs_value(&r->in.headers, HDR_AUTHORIZATION);
	struct span text;
	ssize_t colon;

	if (!span_starts_nocase(v, SPAN("Basic ")))
		return false;
	text = base64_decode(&r->arena, span_trim(span_cut(v, 6, v.n)));
	colon = text.n ? span_find_char(text, ':', 0) : -1;
	if (colon <= 0)
		return false;
	*user = r->remote_user = span_cut(text, 0, (size_t)colon);
	*password = span_cut(text, (size_t)colon + 1, text.n);
	return true;
}

int req_challenge(struct req *r, struct span realm)
{
	if (!http_is_field_value(realm))
		return req_fail(r, FAIL_BAD_CONFIG_VALUE);
	r->challenge = arena_printf(&r->arena, "Basic realm=\"%.*s\"", SPAN_ARG(realm));
	if (!r->challenge.p)
		return req_fail(r, FAIL_NO_MEMORY);
	return r->proxied ? 407 : 401;
}
