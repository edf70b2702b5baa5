/* `expires`, `add_header`, `add_trailer`: fields that the configuration adds to answers. */
#include "http/date.h"
#include "io/loop.h"
#include "mod/expires.h"
#include "mod/mods.h"
#include "serve/core.h"
#include "serve/req.h"

struct added_field {
	struct span name;
	enum hdr_id id;
	struct tmpl *value;
	bool always;
};

/* The fields that one block adds. */
struct field_level {
	const struct conf_scope *scope;
	struct added_field *v;
	size_t n, cap;
};

enum { INHERIT_OFF, INHERIT_ON, INHERIT_MERGE };

struct headers_conf {
	struct field_level *headers,
		*trailers; /* of this block or the nearest above that has any; NULL: none at all */
	int headers_inherit, trailers_inherit;
	bool expires_set;
	struct expires expires;
	struct tmpl *expires_value; /* with variables: parsed per answer */
};

static struct conf_mod headers_mod;

/* ---- configuration ---- */

static int field_set(struct conf_call *c, struct field_level **level)
{
	struct added_field *f;
	struct span name = conf_arg(c, 1);

	if (!*level || (*level)->scope != c->scope) {
		*level = arena_zalloc(c->ctx->arena, sizeof(**level));
		if (!*level)
			return conf_error(c, 0, "out of memory");
		(*level)->scope = c->scope;
	}
	if (conf_nargs(c) == 3 && !span_eq(conf_arg(c, 3), SPAN("always")))
		return conf_error(c, 3, "invalid parameter \"%.*s\"", SPAN_ARG(conf_arg(c, 3)));
	if (!http_is_token(name))
		return conf_error(c, 1, "invalid header name \"%.*s\"", SPAN_ARG(name));
	f = ARENA_PUSH(c->ctx->arena, (*level)->v, &(*level)->n, &(*level)->cap);
	if (!f)
		return conf_error(c, 0, "out of memory");
	*f = (struct added_field){
		.name = name, .id = hdr_id_of(name), .always = conf_nargs(c) == 3};
	f->value = tmpl_compile(c, 2);
	return f->value ? CONF_OK : CONF_ERR;
}

static int add_header_set(struct conf_call *c)
{
	struct headers_conf *conf = conf_mine(c);
	enum hdr_id id = hdr_id_of(conf_arg(c, 1));

	if (!conf)
		return CONF_ERR;
	if (id == HDR_CONTENT_LENGTH || id == HDR_TRANSFER_ENCODING) {
		conf_warn(c, 1, "\"%.*s\" is made by the server, \"add_header\" is ignored",
			  SPAN_ARG(conf_arg(c, 1)));
		return CONF_OK;
	}
	return field_set(c, &conf->headers);
}

static int add_trailer_set(struct conf_call *c)
{
	struct headers_conf *conf = conf_mine(c);

	return conf ? field_set(c, &conf->trailers) : CONF_ERR;
}

static int expires_set(struct conf_call *c)
{
	struct headers_conf *conf = conf_mine(c);
	bool modified = conf_nargs(c) == 2;
	unsigned last = conf_nargs(c);
	const char *wrong;
	struct tmpl *t;

	if (!conf)
		return CONF_ERR;
	if (modified && !span_eq(conf_arg(c, 1), SPAN("modified")))
		return conf_error(c, 1, "invalid value \"%.*s\"", SPAN_ARG(conf_arg(c, 1)));
	t = tmpl_compile(c, last);
	if (!t)
		return CONF_ERR;
	conf->expires_value = t->constant ? NULL : t;
	conf->expires = (struct expires){.kind = modified ? EXPIRES_MODIFIED : EXPIRES_ACCESS};
	if (t->constant) {
		wrong = expires_parse(conf_arg(c, last), modified, &conf->expires);
		if (wrong)
			return conf_error(c, last, "\"expires\" directive %s", wrong);
	}
	conf->expires_set = !t->constant || conf->expires.kind != EXPIRES_OFF;
	return CONF_OK;
}

#define HEADERS_WHERE (IN_HTTP_ALL | IN_IF_LOCATION)
static const struct conf_enum inherit_words[] = {
	{"off", INHERIT_OFF}, {"on", INHERIT_ON}, {"merge", INHERIT_MERGE}, {NULL, 0}};

static const struct conf_row headers_rows[] = {
	MCUSTOM("expires", HEADERS_WHERE, 1, 2, 0, expires_set,
		"Expires and Cache-Control: max-age of answers."),
	MCUSTOM("add_header", HEADERS_WHERE, 2, 3, CONF_MULTI, add_header_set,
		"A field to add to answers of 200, 201, 204, 206, 301 to 304, 307 and 308, or "
		"always."),
	MCUSTOM("add_trailer", HEADERS_WHERE, 2, 3, CONF_MULTI, add_trailer_set,
		"A field to add behind the body, with the same statuses."),
	MENUM("add_header_inherit", HEADERS_WHERE, struct headers_conf, headers_inherit,
	      inherit_words, INHERIT_ON,
	      "Are the outer block's add_header dropped by one here, never taken (off), or kept "
	      "besides (merge)?"),
	MENUM("add_trailer_inherit", HEADERS_WHERE, struct headers_conf, trailers_inherit,
	      inherit_words, INHERIT_ON, "The same for add_trailer."),
	MEND,
};

static struct conf_mod headers_mod = {
	.name = "headers", .size = sizeof(struct headers_conf), .rows = headers_rows};

/* ---- which fields hold ---- */

static const struct field_level *level_of(const struct headers_conf *conf, bool trailers)
{
	return trailers ? conf->trailers : conf->headers;
}

/* The next block outwards whose fields hold, from *s on; *s is moved behind it. NULL: no more. A
 * block without own fields shares its parent's pointer; whose they are is told by their scope. */
static const struct field_level *level_next(const struct conf_scope **s, bool trailers)
{
	while (*s) {
		const struct headers_conf *conf = conf_get(*s, &headers_mod);
		const struct field_level *level = level_of(conf, trailers);
		int inherit = trailers ? conf->trailers_inherit : conf->headers_inherit;
		bool own = level && level->scope == *s;

		*s = !level || inherit == INHERIT_OFF || (own && inherit == INHERIT_ON)
			     ? NULL
			     : (*s)->parent;
		if (own)
			return level;
	}
	return NULL;
}

static bool status_is_safe(int status)
{
	switch (status) {
	case 200:
	case 201:
	case 204:
	case 206:
	case 301:
	case 302:
	case 303:
	case 304:
	case 307:
	case 308:
		return true;
	default:
		return false;
	}
}

/* ---- expires ---- */

static int64_t modified_at(const struct resp *resp)
{
	int64_t t;

	if (resp->last_modified >= 0)
		return resp->last_modified;
	return http_date_parse(hdrs_value(&resp->headers, HDR_LAST_MODIFIED), &t) ? t : -1;
}

static enum fail expires_put(struct req *r, const struct expires *e)
{
	struct hdrs *h = &r->resp.headers;
	struct span date = SPAN("Thu, 01 Jan 1970 00:00:01 GMT"), control = SPAN("no-cache");
	enum fail f;

	if (e->kind == EXPIRES_MAX) {
		date = SPAN("Thu, 31 Dec 2037 23:55:55 GMT");
		control = SPAN("max-age=315360000");
	} else if (e->kind != EXPIRES_EPOCH) {
		char *text = arena_alloc(&r->arena, HTTP_DATE_LEN);
		int64_t when, age;

		if (!text)
			return FAIL_NO_MEMORY;
		expires_when(e, (int64_t)(io_wall_ms() / 1000), modified_at(&r->resp), &when, &age);
		http_date_format(when, text);
		date = span_make(text, HTTP_DATE_LEN);
		if (e->seconds >= 0 && age >= 0)
			control = arena_printf(&r->arena, "max-age=%lld", (long long)age);
		if (!control.p)
			return FAIL_NO_MEMORY;
	}
	f = hdrs_set(h, HDR_EXPIRES, date);
	return f == FAIL_OK ? hdrs_set(h, HDR_CACHE_CONTROL, control) : f;
}

static enum fail expires_apply(struct req *r, const struct headers_conf *conf)
{
	struct expires e = conf->expires;

	if (conf->expires_value) {
		struct span v = tmpl_eval(conf->expires_value, &r->vars);

		if (r->vars.failed)
			return FAIL_NO_MEMORY;
		if (expires_parse(v, e.kind == EXPIRES_MODIFIED, &e))
			return FAIL_OK; /* what a variable gave may mean nothing */
	}
	return e.kind == EXPIRES_OFF ? FAIL_OK : expires_put(r, &e);
}

/* ---- fields ---- */

/* An unusable value fails the answer (N20), but not also the 500 that then says so. */
static enum fail field_add(struct req *r, struct hdrs *h, struct span name, struct span value)
{
	enum fail f = value.n ? hdrs_add(h, name, value) : FAIL_OK;

	return f == FAIL_BAD_CONFIG_VALUE && r->fail == f ? FAIL_OK : f;
}

/* Last-Modified and ETag replace what is there, also by nothing; the others are added. */
static enum fail field_put(struct req *r, const struct added_field *f)
{
	struct span v = tmpl_eval(f->value, &r->vars);
	struct resp *resp = &r->resp;

	if (r->vars.failed)
		return FAIL_NO_MEMORY;
	if (f->id == HDR_LAST_MODIFIED || f->id == HDR_ETAG) {
		hdrs_remove(&resp->headers, f->id);
		if (f->id == HDR_LAST_MODIFIED)
			resp->last_modified = -1;
	}
	return field_add(r, &resp->headers, f->name, v);
}

static enum fail fields_apply(struct req *r, bool safe)
{
	const struct conf_scope *s = r->scope;
	const struct field_level *level;

	while ((level = level_next(&s, false))) {
		for (size_t i = 0; i < level->n; i++) {
			if (safe || level->v[i].always) {
				enum fail f = field_put(r, &level->v[i]);

				if (f != FAIL_OK)
					return f;
			}
		}
	}
	return FAIL_OK;
}

/* ---- trailers ---- */

/* Passes a body on and evaluates the trailers when its last piece goes by: their variables may only
 * be known then. */
struct trailer_body {
	struct body body;
	struct body *src;
	struct req *r;
	const struct conf_scope *scope;
	bool safe;
};

static enum fail trailers_add(struct trailer_body *t)
{
	const struct conf_scope *s = t->scope;
	const struct field_level *level;

	while ((level = level_next(&s, true))) {
		for (size_t i = 0; i < level->n; i++) {
			const struct added_field *f = &level->v[i];
			struct span v =
				t->safe || f->always ? tmpl_eval(f->value, &t->r->vars) : SPAN("");
			enum fail rc;

			if (t->r->vars.failed)
				return FAIL_NO_MEMORY;
			rc = field_add(t->r, &t->r->resp.trailers, f->name, v);
			if (rc != FAIL_OK)
				return rc;
		}
	}
	return FAIL_OK;
}

static MAY_SUSPEND enum fail trailer_next(struct body *b, struct piece *out)
{
	struct trailer_body *t = CONTAINER_OF(b, struct trailer_body, body);
	enum fail f;

	t->src->accept = b->accept;
	f = body_next(t->src, out);
	if (f != FAIL_OK || !out->last)
		return f;
	b->done = true;
	b->trailers = t->src->trailers;
	return trailers_add(t);
}

static bool trailer_ready(struct body *b)
{
	return body_ready(CONTAINER_OF(b, struct trailer_body, body)->src);
}

static void trailer_close(struct body *b)
{
	struct trailer_body *t = CONTAINER_OF(b, struct trailer_body, body);

	body_close(t->src);
	t->src = NULL;
}

static void trailer_stalled(struct body *b, struct piece *rest)
{
	body_stalled(CONTAINER_OF(b, struct trailer_body, body)->src, rest);
}

static bool trailers_wanted(struct req *r, bool safe)
{
	const struct conf_scope *s = r->scope;
	const struct field_level *level;

	while ((level = level_next(&s, true)))
		for (size_t i = 0; i < level->n; i++)
			if (safe || level->v[i].always)
				return true;
	return false;
}

static enum fail trailers_apply(struct req *r, bool safe)
{
	static const struct body_ops ops = {.next = trailer_next,
					    .ready = trailer_ready,
					    .close = trailer_close,
					    .stalled = trailer_stalled};
	struct resp *resp = &r->resp;
	struct trailer_body *t;

	if (!resp->body || !r->sink->trailers(r) || r->parent ||
	    !http_response_has_body(r->in.method, resp->status) || !trailers_wanted(r, safe))
		return FAIL_OK;
	t = arena_alloc(&r->arena, sizeof(*t));
	if (!t)
		return FAIL_NO_MEMORY;
	*t = (struct trailer_body){
		.body = {.ops = &ops, .length = resp->body->length, .accept = PIECE_MEM},
		.src = resp->body,
		.r = r,
		.scope = r->scope,
		.safe = safe,
	};
	resp->body = &t->body;
	resp->adds_trailers = true;
	return FAIL_OK;
}

/* ---- the filter ---- */

static enum fail headers_filter(struct req *r, struct resp *resp)
{
	const struct headers_conf *conf = req_conf(r, &headers_mod);
	bool safe;
	enum fail f = FAIL_OK;

	if (r->parent || (!conf->expires_set && !conf->headers && !conf->trailers))
		return FAIL_OK;
	safe = status_is_safe(resp->status);
	if (conf->expires_set && safe)
		f = expires_apply(r, conf);
	if (f == FAIL_OK && conf->headers)
		f = fields_apply(r, safe);
	if (f == FAIL_OK && conf->trailers)
		f = trailers_apply(r, safe);
	return f;
}

static struct conf_mod *const headers_confs[] = {&headers_mod, NULL};

const struct http_module headers_module = {
	.name = "headers",
	.confs = headers_confs,
	.filter = headers_filter,
};
