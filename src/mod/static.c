/* Files: the content handler that answers when no other did. */
#include "http/uri.h"
#include "io/sys.h"
#include "mod/mods.h"
#include "mod/open_file_cache.h"
#include "serve/core.h"
#include "serve/req.h"

struct static_file {
	struct body_file body;
	struct open_file of;
};

static void static_closed(struct body_file *f)
{
	open_file_give(&CONTAINER_OF(f, struct static_file, body)->of);
}

static int static_error(struct req *r, const struct open_file *of, struct span path)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	bool ordinary;
	int status = file_error_status(of->err, &ordinary);

	if (status != 404 || l->log_not_found)
		req_log(r, ordinary ? LOG_ERR : LOG_CRIT, of->err, "%s \"%.*s\" failed", of->failed,
			SPAN_ARG(path));
	return status;
}

/* A directory asked for without its slash. */
static int static_directory(struct req *r)
{
	struct span uri = uri_escape(&r->arena, r->uri, URI_ESCAPE_PATH), to;

	if (!uri.p)
		return req_fail(r, FAIL_NO_MEMORY);
	to = arena_printf(&r->arena, "%.*s/%s%.*s", SPAN_ARG(uri), r->args.n ? "?" : "",
			  SPAN_ARG(r->args));
	if (!to.p)
		return req_fail(r, FAIL_NO_MEMORY);
	req_answer(r, 301)->location = to;
	return 301;
}

/* What follows the last dot of the last segment; a segment that begins with its only dot has none.
 */
static struct span static_extension(struct span uri)
{
	for (size_t i = uri.n; i-- > 2;) {
		if (uri.p[i] == '.' && uri.p[i - 1] != '/')
			return span_cut(uri, i + 1, uri.n);
		if (uri.p[i] == '/')
			break;
	}
	return SPAN("");
}

static char *put_hex(char *p, uint64_t v)
{
	char tmp[16];
	size_t n = 0;

	do {
		tmp[n++] = "0123456789abcdef"[v & 15];
		v >>= 4;
	} while (v);
	while (n)
		*p++ = tmp[--n];
	return p;
}

/* "MTIME-SIZE" in hex. */
static enum fail static_etag(struct req *r, struct resp *resp, const struct file_facts *f)
{
	char *text = arena_alloc(&r->arena, 2 * 16 + 3), *p = text;

	if (!text)
		return FAIL_NO_MEMORY;
	*p++ = '"';
	p = put_hex(p, (uint64_t)f->mtime);
	*p++ = '-';
	p = put_hex(p, (uint64_t)f->size);
	*p++ = '"';
	return hdrs_append(&resp->headers, HDR_ETAG, hdr_name(HDR_ETAG),
			   span_make(text, (size_t)(p - text)))
		       ? FAIL_OK
		       : FAIL_NO_MEMORY;
}

/* The descriptor is the answer's from here on. */
static int static_answer(struct req *r, struct static_file *s)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	const struct file_facts *f = &s->of.facts;
	struct resp *resp = req_answer(r, 200);

	resp->body = body_of_file(&s->body, &r->arena, s->of.fd, 0, f->size);
	s->body.on_close = static_closed;
	resp->content_length = f->size;
	resp->last_modified = f->mtime;
	resp->content_type = types_find(l, static_extension(r->uri));
	resp->allow_ranges = true;
	if (l->etag && static_etag(r, resp, f) != FAIL_OK)
		return req_fail(r, FAIL_NO_MEMORY);
	return PHASE_DONE;
}

static int static_opened(struct req *r, struct static_file *s, struct span path)
{
	int rc;

	if (s->of.facts.is_file && r->method != METHOD_POST)
		return static_answer(r, s);
	if (s->of.facts.is_dir) {
		rc = static_directory(r);
	} else if (s->of.facts.is_file) {
		rc = 405;
	} else {
		req_log(r, LOG_CRIT, 0, "\"%.*s\" is not a regular file", SPAN_ARG(path));
		rc = 404;
	}
	open_file_give(&s->of);
	return rc;
}

static int static_content(struct req *r)
{
	struct static_file *s;
	struct file_ask ask;
	struct span path;

	if (r->method != METHOD_GET && r->method != METHOD_HEAD && r->method != METHOD_POST)
		return 405;
	if (!r->uri.n || r->uri.p[r->uri.n - 1] == '/')
		return PHASE_NEXT;
	path = req_path(r);
	s = arena_alloc(&r->arena, sizeof(*s));
	if (!path.p && !r->vars.failed) {
		req_log(r, LOG_ERR, 0, "the URI \"%.*s\" does not stay within its folder",
			SPAN_ARG(r->uri));
		return 403;
	}
	if (!path.p || !s || !file_ask_init(&ask, r, path))
		return req_fail(r, FAIL_NO_MEMORY);
	if (open_file_get(&s->of, &ask))
		return static_error(r, &s->of, path);
	return static_opened(r, s, path);
}

const struct http_module static_module = {
	.name = "static",
	.phase = {[PHASE_CONTENT] = static_content},
	.thread_stop = open_file_cache_clear,
};
