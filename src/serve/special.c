/* Answers that no handler made: error_page, and the built-in pages in nginx's look. */
#include "http/uri.h"
#include "serve/req_internal.h"

struct span server_token(const struct core_loc *l)
{
	switch (l->server_tokens) {
	case TOKENS_OFF:
		return SPAN("sluice");
	default:
		return SPAN("sluice/" SLUICE_VERSION);
	}
}

/* ---- error_page ---- */

static const struct error_page *error_page_find(const struct core_loc *l, int status)
{
	for (size_t i = 0; i < l->nerror_pages; i++)
		if (l->error_pages[i].status == status)
			return &l->error_pages[i];
	return NULL;
}

static void error_page_method(struct req *r)
{
	if (r->method == METHOD_HEAD)
		return;
	r->method = METHOD_GET;
	r->method_name = SPAN("GET");
}

static bool is_redirect(int status)
{
	return (status >= 301 && status <= 303) || status == 307 || status == 308;
}

static int page_answer(struct req *r, int status);

static bool is_msie(const struct req *r)
{
	struct span ua = hdrs_value(&r->in.headers, HDR_USER_AGENT);
	ssize_t at = span_find(ua, SPAN("MSIE "));

	return at >= 0 && (size_t)at + 7 < ua.n && span_find(ua, SPAN("Opera")) < 0;
}

static int answer_text(struct req *r, int status, struct span text)
{
	struct resp *resp = req_answer(r, status);
	struct body_mem *m = arena_alloc(&r->arena, sizeof(*m));

	if (!m || !text.p)
		return PHASE_DONE;
	resp->content_type = SPAN("text/html");
	resp->content_length = (int64_t)text.n;
	resp->body = body_of_span(m, text);
	return PHASE_DONE;
}

/* msie_refresh: a page that leads on, for browsers that took no redirect from another one. */
static int refresh_answer(struct req *r, struct span to)
{
	struct span safe = uri_escape(&r->arena, to, URI_ESCAPE_REFRESH);

	return answer_text(r, 200,
			   arena_printf(&r->arena,
					"<html><head><meta http-equiv=\"Refresh\" content=\"0; "
					"URL=%.*s\"></head><body></body></html>\r\n",
					SPAN_ARG(safe)));
}

static int redirect_answer(struct req *r, int status, struct span to)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	if (l->msie_refresh && is_msie(r))
		return refresh_answer(r, to);
	page_answer(r, status);
	r->resp.location = to;
	return PHASE_DONE;
}

/* PHASE_AGAIN, PHASE_DONE (a redirect in r->resp), or a status on failure. */
static int error_page_go(struct req *r, const struct error_page *e, int status)
{
	struct span uri = tmpl_eval(e->uri, &r->vars), args = {0};
	ssize_t q;

	if (r->vars.failed)
		return req_fail(r, FAIL_NO_MEMORY);
	r->error_status = e->overwrite >= 0 ? e->overwrite : status;
	if (uri.n && uri.p[0] == '@')
		return req_redirect_named(r, uri);
	if (uri.n && uri.p[0] == '/') {
		q = span_find_char(uri, '?', 0);
		if (q >= 0) {
			args = span_cut(uri, (size_t)q + 1, uri.n);
			uri = span_cut(uri, 0, (size_t)q);
		}
		error_page_method(r);
		return req_redirect(r, uri, args);
	}
	r->error_status = 0;
	return redirect_answer(r, is_redirect(e->overwrite) ? e->overwrite : 302, uri);
}

/* ---- the built-in pages ---- */

static struct span page_title(int status)
{
	switch (status) {
	case 302: /* these two are called otherwise in the status line */
		return SPAN("302 Found");
	case 401:
		return SPAN("401 Authorization Required");
	case 400:
		return SPAN("400 Bad Request");
	case 494:
		return SPAN("400 Request Header Or Cookie Too Large");
	case 495:
		return SPAN("400 The SSL certificate error");
	case 496:
		return SPAN("400 No required SSL certificate was sent");
	case 497:
		return SPAN("400 The plain HTTP request was sent to HTTPS port");
	default:
		return (struct span){0};
	}
}

/* Second headline of the 49x pages. */
static struct span page_detail(int status)
{
	switch (status) {
	case 494:
		return SPAN("<center>Request Header Or Cookie Too Large</center>\r\n");
	case 495:
		return SPAN("<center>The SSL certificate error</center>\r\n");
	case 496:
		return SPAN("<center>No required SSL certificate was sent</center>\r\n");
	case 497:
		return SPAN("<center>The plain HTTP request was sent to HTTPS port</center>\r\n");
	default:
		return (struct span){0};
	}
}

static struct span page_padding(struct req *r, int status, const struct core_loc *l)
{
	static const char pad[] =
		"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n"
		"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n"
		"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n"
		"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n"
		"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n"
		"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n";
	struct span ua = hdrs_value(&r->in.headers, HDR_USER_AGENT);

	if (!l->msie_padding || status < 400 || r->in.version < HTTP_10)
		return (struct span){0};
	if (span_find(ua, SPAN("MSIE ")) < 0 && span_find(ua, SPAN("Chrome/")) < 0)
		return (struct span){0};
	return SPAN(pad);
}

static int page_answer(struct req *r, int status)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	int wire = status >= 494 && status <= 497 ? 400 : status;
	struct span reason = http_reason(wire), title = page_title(status), text;
	struct span content_range;

	if (!title.n)
		title = arena_printf(&r->arena, "%d %.*s", status, SPAN_ARG(reason));
	text = arena_printf(&r->arena,
			    "<html>\r\n<head><title>%.*s</title></"
			    "head>\r\n<body>\r\n<center><h1>%.*s</h1></center>\r\n"
			    "%.*s<hr><center>%.*s</center>\r\n</body>\r\n</html>\r\n%.*s",
			    SPAN_ARG(title),
			    SPAN_ARG(page_detail(status).n ? SPAN("400 Bad Request") : title),
			    SPAN_ARG(page_detail(status)), SPAN_ARG(server_token(l)),
			    SPAN_ARG(page_padding(r, status, l)));
	content_range = hdrs_value(&r->resp.headers, HDR_CONTENT_RANGE);
	answer_text(r, wire, text);
	if (wire == 416 && content_range.n &&
	    hdrs_add_id(&r->resp.headers, HDR_CONTENT_RANGE, content_range) != FAIL_OK)
		return req_fail(r, FAIL_NO_MEMORY);
	return PHASE_DONE;
}

/* After these the connection's state is not known well enough to go on. */
static bool status_closes(int status)
{
	switch (status) {
	case 400:
	case 413:
	case 414:
	case 494:
	case 495:
	case 496:
	case 497:
	case 500:
	case 501:
		return true;
	default:
		return false;
	}
}

static bool status_has_page(int status)
{
	switch (status) {
	case 304:
	case 305:
	case 306:
	case 407:
		return false;
	case 421:
	case 429:
		return true;
	default:
		return (status >= 301 && status <= 308) || (status >= 400 && status <= 416) ||
		       (status >= 494 && status <= 497) || (status >= 500 && status <= 505) ||
		       status == 507;
	}
}

int special_answer(struct req *r, int status)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	struct span location = r->resp.status == status ? r->resp.location : (struct span){0};
	const struct error_page *e;

	if (status == 444)
		return PHASE_CLOSE;
	if (status == 499 || status == 408) { /* nobody is there to read it */
		r->keep_alive = false;
		r->status = status;
		return PHASE_CLOSE;
	}
	if (status_closes(status))
		r->keep_alive = false;
	e = !r->error_page || l->recursive_error_pages ? error_page_find(l, status) : NULL;
	if (e && r->redirects > 0) {
		int rc;

		r->error_page = true;
		rc = error_page_go(r, e, status >= 494 && status <= 497 ? 400 : status);
		if (rc == PHASE_AGAIN || rc == PHASE_DONE)
			return rc;
		status = rc;
	}
	r->error_status = 0; /* what went wrong last is what the client is told */
	if (!status_has_page(status)) {
		req_answer(r, status);
		r->resp.content_length = status == 304 || status == 204 ? -1 : 0;
		return PHASE_DONE;
	}
	if ((status == 301 || status == 302) && location.n)
		return redirect_answer(r, status, location);
	page_answer(r, status);
	r->resp.location = location;
	return PHASE_DONE;
}

/* ---- Location ---- */

struct span absolute_location(struct req *r, struct span location)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	struct span host = r->host, scheme = r->conn->tls ? SPAN("https") : SPAN("http");
	struct net_addr local;
	int port;

	if (!l->absolute_redirect || !location.n || location.p[0] != '/')
		return location;
	if (l->server_name_in_redirect)
		host = r->server->name;
	if (!host.n) {
		char text[ADDR_TEXT_MAX];

		if (conn_local(r->conn, &local) == 0)
			host = arena_dup(
				&r->arena,
				span_make(text, addr_format(&local.sa, false, text, sizeof(text))));
	}
	port = addr_port((const struct sockaddr *)&r->port->spec.sa);
	if (!l->port_in_redirect || port == (r->conn->tls ? 443 : 80) || port == 0)
		return arena_printf(&r->arena, "%.*s://%.*s%.*s", SPAN_ARG(scheme), SPAN_ARG(host),
				    SPAN_ARG(location));
	return arena_printf(&r->arena, "%.*s://%.*s:%d%.*s", SPAN_ARG(scheme), SPAN_ARG(host), port,
			    SPAN_ARG(location));
}
