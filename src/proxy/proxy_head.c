/* The request head as the server gets it. What can be known is worked out once per location:
 * constant fields lie ready as one run of bytes, and which of the client's fields are not passed is
 * a bitmap. */
#include "base/mutant.h"
#include "proxy/exchange.h"

/* A field with variables; before it a run of bytes that is always the same. */
struct head_field {
	struct span before; /* complete constant lines */
	struct span name;   /* "Name: " */
	struct tmpl *value; /* NULL: only `before` counts, or one of the special kinds */
	enum { FIELD_VALUE, FIELD_HOST, FIELD_PROXY_HOST, FIELD_CONNECTION, FIELD_UPGRADE } kind;
};
struct proxy_head {
	struct head_field *fields;
	size_t n, cap;
	size_t constant;  /* bytes of all befores and names */
	uint64_t skip[2]; /* ids of the client's fields that are not passed */
	struct span *skip_names;
	size_t nskip;				 /* the same for names that hdr.def does not know */
	struct head_field *upgrade, *connection; /* as configured; NULL: not */
};

/* Never passed on: they are about the client's connection, or framing, which is made anew. */
static const uint16_t hop_ids[] = {HDR_HOST,
				   HDR_CONNECTION,
				   HDR_CONTENT_LENGTH,
				   HDR_TRANSFER_ENCODING,
				   HDR_KEEP_ALIVE,
				   HDR_PROXY_CONNECTION,
				   HDR_TE,
				   HDR_TRAILER,
				   HDR_UPGRADE,
				   HDR_EXPECT,
				   HDR_HTTP2_SETTINGS};

static inline bool id_in(const uint64_t *ids, unsigned id)
{
	return ids[id / 64] >> (id % 64) & 1;
}

/* ---- once per location ---- */

static struct head_field *head_push(struct conf_call *c, struct proxy_head *h)
{
	struct head_field *f = ARENA_PUSH(c->ctx->arena, h->fields, &h->n, &h->cap);

	if (f)
		*f = (struct head_field){.before = {"", 0}};
	return f;
}

/* Adds constant text to the field that will come next. */
static bool head_text(struct conf_call *c, struct head_field *next, struct span name,
		      struct span value)
{
	struct span t = arena_printf(c->ctx->arena, "%.*s%.*s: %.*s\r\n", SPAN_ARG(next->before),
				     SPAN_ARG(name), SPAN_ARG(value));

	next->before = t;
	return t.p;
}

/* A configured or default field. */
static int head_add(struct conf_call *c, struct proxy_head *h, struct span name, struct tmpl *value,
		    int kind)
{
	struct head_field *f = &h->fields[h->n - 1];

	if (value && value->constant && kind == FIELD_VALUE) {
		if (!value->source.n)
			return CONF_OK;
		if (!http_is_field_value(value->source))
			return conf_error(c, 0, "invalid value of header \"%.*s\"", SPAN_ARG(name));
		return head_text(c, f, name, value->source) ? CONF_OK
							    : conf_error(c, 0, "out of memory");
	}
	f->name = arena_printf(c->ctx->arena, "%.*s: ", SPAN_ARG(name));
	f->value = value;
	f->kind = kind;
	return f->name.p && head_push(c, h) ? CONF_OK : conf_error(c, 0, "out of memory");
}

static int head_configured(struct conf_call *c, struct proxy_conf *conf, struct proxy_head *h)
{
	for (size_t i = 0; i < conf->set_headers.n; i++) {
		struct proxy_header *s = &conf->set_headers.v[i];
		enum hdr_id id = hdr_id_of(s->name);
		int kind = id == HDR_CONNECTION					 ? FIELD_CONNECTION
			   : id == HDR_UPGRADE					 ? FIELD_UPGRADE
			   : id == HDR_HOST && !(s->value && s->value->constant) ? FIELD_HOST
										 : FIELD_VALUE;

		if (id == HDR_OTHER)
			h->skip_names[h->nskip++] = s->name;
		else
			h->skip[id / 64] |= (uint64_t)1 << (id % 64);
		/* Framing is ours, whatever is configured. */
		if (id == HDR_CONTENT_LENGTH || id == HDR_TRANSFER_ENCODING)
			continue;
		if (head_add(c, h, s->name, s->value, kind) < 0)
			return CONF_ERR;
	}
	return CONF_OK;
}

static bool is_configured(const struct proxy_conf *conf, enum hdr_id id)
{
	for (size_t i = 0; i < conf->set_headers.n; i++)
		if (hdr_id_of(conf->set_headers.v[i].name) == id)
			return true;
	return false;
}

int proxy_head_done(struct conf_call *c, struct proxy_conf *conf)
{
	struct arena *a = c->ctx->arena;
	struct proxy_head *h = arena_zalloc(a, sizeof(*h));
	bool host = is_configured(conf, HDR_HOST), connection = is_configured(conf, HDR_CONNECTION);

	if (!h || !head_push(c, h))
		return conf_error(c, 0, "out of memory");
	h->skip_names = arena_alloc(a, (conf->set_headers.n + 1) * sizeof(*h->skip_names));
	if (!h->skip_names)
		return conf_error(c, 0, "out of memory");
	if (!host && !conf->pass->tmpl) {
		if (!head_text(c, &h->fields[0], SPAN("Host"), conf->pass->target.host_header))
			return conf_error(c, 0, "out of memory");
	} else if (!host && head_add(c, h, SPAN("Host"), NULL, FIELD_PROXY_HOST) < 0) {
		return CONF_ERR;
	}
	if (head_configured(c, conf, h) < 0)
		return CONF_ERR;
	if (!connection && conf->http_version < HTTP_11 &&
	    !head_text(c, &h->fields[h->n - 1], SPAN("Connection"), SPAN("close")))
		return conf_error(c, 0, "out of memory");
	for (size_t i = 0; i < ARRAY_LEN(hop_ids); i++)
		if (!MUTANT(passed_expect) || hop_ids[i] != HDR_EXPECT)
			h->skip[hop_ids[i] / 64] |= (uint64_t)1 << (hop_ids[i] % 64);
	for (size_t i = 0; i < h->n; i++) {
		h->constant += h->fields[i].before.n + h->fields[i].name.n;
		if (h->fields[i].kind == FIELD_UPGRADE)
			h->upgrade = &h->fields[i];
		if (h->fields[i].kind == FIELD_CONNECTION)
			h->connection = &h->fields[i];
	}
	conf->head = h;
	return CONF_OK;
}

/* ---- once per request ---- */

/* The value of each field in head->fields; empty: not sent. */
static enum fail head_evaluate(struct exchange *x, struct span *values, size_t *bytes)
{
	const struct proxy_head *h = x->conf->head;

	for (size_t i = 0; i < h->n; i++) {
		const struct head_field *f = &h->fields[i];

		values[i] = f->value ? tmpl_eval(f->value, &x->r->vars) : (struct span){0};
		/* $host is empty when an HTTP/1.0 client names none: a request of HTTP/1.1
		 * without Host is none (RFC 9112 3.2). */
		if (f->kind == FIELD_PROXY_HOST ||
		    (f->kind == FIELD_HOST && !values[i].n && x->conf->http_version >= HTTP_11))
			values[i] = x->target->host_header;
		if (values[i].n && !http_is_field_value(values[i])) {
			req_log(x->r, LOG_ERR, 0, "invalid value of \"%.*s\" for the upstream",
				SPAN_ARG(f->name));
			return FAIL_BAD_CONFIG_VALUE;
		}
		*bytes += values[i].n;
	}
	return x->r->vars.failed ? FAIL_NO_MEMORY : FAIL_OK;
}

static bool list_has(struct span list, struct span token)
{
	struct span el;

	while (hdr_list_next(&list, &el))
		if (span_eq_nocase(el, token))
			return true;
	return false;
}

/* N43: an Upgrade goes out only when it is configured, asked for, and allowed; without it no
 * "Connection: upgrade". h2c never: what follows would be requests that nobody here has seen. */
static void head_upgrade(struct exchange *x, struct span *values)
{
	const struct proxy_head *h = x->conf->head;
	struct span *up = h->upgrade ? &values[h->upgrade - h->fields] : NULL;
	struct span *conn = h->connection ? &values[h->connection - h->fields] : NULL;
	bool asked = conn && list_has(*conn, SPAN("upgrade"));

	x->upgrade = up && up->n && asked && x->conf->upgrade != PROXY_UPGRADE_OFF &&
		     x->conf->http_version >= HTTP_11 &&
		     (span_eq_nocase(*up, SPAN("websocket")) ||
		      (x->conf->upgrade == PROXY_UPGRADE_ANY && !list_has(*up, SPAN("h2c"))));
	if (x->upgrade)
		return;
	if (up)
		*up = (struct span){0};
	if (asked)
		*conn = (struct span){0};
}

/* What the client's Connection names besides the usual words; empty for nearly all requests. */
static struct span head_nominated(const struct req *r)
{
	struct span v = hdrs_value(&r->in.headers, HDR_CONNECTION);

	if (!v.n || span_eq_nocase(v, SPAN("keep-alive")) || span_eq_nocase(v, SPAN("close")) ||
	    span_eq_nocase(v, SPAN("upgrade")))
		return (struct span){0};
	return v;
}

static bool head_skips_name(const struct proxy_head *h, struct span name)
{
	for (size_t i = 0; i < h->nskip; i++)
		if (span_eq_nocase(h->skip_names[i], name))
			return true;
	return false;
}

static char *head_client_fields(struct exchange *x, char *at)
{
	const struct proxy_head *h = x->conf->head;
	const struct hdrs *in = &x->r->in.headers;
	bool nominated = head_nominated(x->r).n > 0;

	hdrs_each (hd, in) {
		if (id_in(h->skip, hd->id))
			continue;
		if (hd->id == HDR_OTHER && h->nskip && head_skips_name(h, hd->name))
			continue;
		if (nominated && hdrs_has_token(in, HDR_CONNECTION, hd->name))
			continue;
		at = mempcpy(at, hd->name.p, hd->name.n);
		*at++ = ':';
		*at++ = ' ';
		if (hd->value.n)
			at = mempcpy(at, hd->value.p, hd->value.n);
		*at++ = '\r';
		*at++ = '\n';
	}
	return at;
}

static size_t head_client_bytes(const struct req *r)
{
	size_t n = 0;

	hdrs_each (hd, &r->in.headers)
		n += hd->name.n + hd->value.n + 4;
	return n;
}

static char *head_number(char *at, uint64_t v)
{
	char digits[20];
	int n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*at++ = digits[--n];
	return at;
}

/* RFC 9112 6: what the body is, said anew. */
static char *head_framing(struct exchange *x, char *at)
{
	const struct req *r = x->r;
	bool length = x->body_kind != SEND_NOTHING || x->conf->set_body ||
		      (x->conf->pass_request_body && (r->in.content_length >= 0 || r->in.chunked));

	if (!length)
		return at;
	if (MUTANT(two_framings) && x->body_kind == SEND_STREAM && x->body_length < 0)
		at = mempcpy(at, "Content-Length: 5\r\n", 19);
	if (x->body_kind == SEND_STREAM && x->body_length < 0)
		return mempcpy(at, "Transfer-Encoding: chunked\r\n", 28);
	at = mempcpy(at, "Content-Length: ", 16);
	at = head_number(at, x->body_kind == SEND_NOTHING ? 0 : (uint64_t)x->body_length);
	*at++ = '\r';
	*at++ = '\n';
	return at;
}

static enum fail head_method(struct exchange *x, struct span *name)
{
	*name = x->r->method_name;
	x->method = x->r->method;
	if (!x->conf->method)
		return FAIL_OK;
	*name = tmpl_eval(x->conf->method, &x->r->vars);
	if (x->r->vars.failed)
		return FAIL_NO_MEMORY;
	if (!http_is_token(*name)) {
		req_log(x->r, LOG_ERR, 0, "invalid proxy_method \"%.*s\"", SPAN_ARG(*name));
		return FAIL_BAD_CONFIG_VALUE;
	}
	x->method = http_method_of(*name);
	return FAIL_OK;
}

/* N20: what stands in the request line must not end it. */
static bool head_target_ok(struct span uri)
{
	for (size_t i = 0; i < uri.n; i++)
		if ((unsigned char)uri.p[i] <= ' ' || uri.p[i] == 0x7f)
			return false;
	return uri.n > 0;
}

static char *head_fields(const struct proxy_head *h, const struct span *values, char *at)
{
	for (size_t i = 0; i < h->n; i++) {
		const struct head_field *f = &h->fields[i];

		at = mempcpy(at, f->before.p, f->before.n);
		if (!values[i].n)
			continue;
		at = mempcpy(at, f->name.p, f->name.n);
		at = mempcpy(at, values[i].p, values[i].n);
		*at++ = '\r';
		*at++ = '\n';
	}
	return at;
}

enum fail proxy_head_build(struct exchange *x)
{
	const struct proxy_head *h = x->conf->head;
	struct req *r = x->r;
	struct span *values = arena_alloc(&r->arena, h->n * sizeof(*values)), method;
	size_t size = x->uri.n + h->constant + 2 * h->n + 96;
	char *p, *at;
	enum fail f = head_method(x, &method);

	x->method_name = method;

	if (f != FAIL_OK)
		return f;
	if (!values)
		return FAIL_NO_MEMORY;
	if (!head_target_ok(x->uri)) {
		req_log(r, LOG_ERR, 0, "invalid request target for the upstream");
		return FAIL_BAD_CONFIG_VALUE;
	}
	f = head_evaluate(x, values, &size);
	if (f != FAIL_OK)
		return f;
	head_upgrade(x, values);
	size += method.n + (x->conf->pass_request_headers ? head_client_bytes(r) : 0);
	p = at = arena_alloc(&r->arena, size);
	if (!p)
		return FAIL_NO_MEMORY;
	at = mempcpy(at, method.p, method.n);
	*at++ = ' ';
	at = mempcpy(at, x->uri.p, x->uri.n);
	at = mempcpy(at, x->conf->http_version >= HTTP_11 ? " HTTP/1.1\r\n" : " HTTP/1.0\r\n", 11);
	at = head_fields(h, values, at);
	at = head_framing(x, at);
	if (x->conf->pass_request_headers)
		at = head_client_fields(x, at);
	*at++ = '\r';
	*at++ = '\n';
	BUG_ON((size_t)(at - p) > size);
	x->head = span_make(p, (size_t)(at - p));
	return FAIL_OK;
}
