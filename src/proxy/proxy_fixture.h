/* For the tests of proxy_*.c: one location with directives, and a request to it that goes nowhere.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include "conf/opener.h"
#include "proxy/exchange.h"
#include "proxy/proxy_rewrite.h"
#include "serve/conn.h"
#include "serve/error_log.h"
#include <cmocka.h>
#undef fail /* cmocka's; ours is an enum */

struct proxy_fixture {
	struct snapshot *snap;
	struct http_main http;
	struct conf_ctx ctx;
	struct opener_memory opener;
	struct location loc;
	struct req r;
	struct conn conn; /* of nobody: for log lines */
	struct exchange x;
	int result;
};
static struct proxy_fixture *proxy_fixture_now;

static bool fixture_var(struct var_ctx *v, const struct var *self, struct span *out)
{
	*out = REQ_OF_VARS(v)->host; /* the test's value of $v */
	return true;
}

static int fixture_location(struct conf_call *c)
{
	struct location *l = &proxy_fixture_now->loc;
	struct span name = conf_arg(c, conf_nargs(c));

	*l = (struct location){.kind = conf_nargs(c) == 2 ? LOC_REGEX
				       : name.p[0] == '@' ? LOC_NAMED
							  : LOC_PREFIX,
			       .name = name};
	l->scope = conf_scope_new(c, IN_LOCATION, l);
	return conf_apply(c, l->scope);
}

static int fixture_http(struct conf_call *c)
{
	static const struct var vars[] = {
		{.name = SPAN_INIT("v"), .get = fixture_var, .flags = VAR_NO_CACHE},
		{.name = {NULL, 0}}};
	struct http_main *m = c->ctx->snapshot->http;
	struct conf_scope *s = conf_scope_new(c, IN_HTTP, m);

	m->vars = var_table_new(c->ctx->arena);
	assert_int_equal(var_table_add(m->vars, vars), CONF_OK);
	assert_int_equal(var_table_add(m->vars, proxy_vars), CONF_OK);
	conf_set_var_table(s, m->vars);
	m->scope = s;
	return conf_apply(c, s);
}

/* directives: those of the location; name: "/x/", "~ re" or "@x". */
static inline void proxy_load(struct proxy_fixture *f, const char *name, const char *directives)
{
	static const struct conf_row rows[] = {
		MBLOCK("http", IN_MAIN, 0, 0, fixture_http, ""),
		MBLOCK("location", IN_HTTP, 1, 2, fixture_location, ""),
		MEND,
	};
	static struct conf_mod http_mod = {.name = "http", .rows = rows};
	static struct conf_mod *mods[5];
	static const struct opener_file no_files[] = {{{NULL, 0}, {NULL, 0}}};
	static char text[8192];
	struct conf_scope *scope;

	proxy_fixture_now = f;
	mods[0] = &http_mod;
	mods[1] = upstream_module.confs[0];
	mods[2] = &proxy_mod;
	mods[3] = &error_log_mod;
	conf_mods_init(mods);
	*f = (struct proxy_fixture){.snap = snapshot_new(1, 1)};
	list_init(&f->http.upstreams);
	f->http.snapshot = f->snap;
	f->snap->http = &f->http;
	opener_memory_init(&f->opener, no_files);
	assert_int_equal(conf_ctx_init(&f->ctx, &f->snap->arena, &f->opener.opener), CONF_OK);
	f->ctx.snapshot = f->snap;
	f->ctx.prefix = f->ctx.conf_prefix = SPAN("/p/");
	snprintf(text, sizeof(text), "http { location %s { %s } }", name, directives);
	assert_int_equal(conf_parse_text(&f->ctx, SPAN("test"), span_of(text)), CONF_OK);
	f->result = conf_apply_all(&f->ctx, &scope);
}

/* A GET of that path (also as decoded uri) with those fields ("Name: value", NULL-terminated). */
static inline void proxy_request(struct proxy_fixture *f, const char *uri,
				 const char *const *fields)
{
	struct req *r = &f->r;

	arena_init(&r->arena, 1 << 20);
	r->vars.arena = &r->arena;
	r->vars.slots = arena_zalloc(&r->arena,
				     (var_table_slots(f->http.vars) + 1) * sizeof(struct var_slot));
	r->snapshot = f->snap;
	r->conn = &f->conn;
	r->scope = f->loc.scope;
	r->location = &f->loc;
	r->uri = r->unparsed_uri = span_of(uri);
	r->valid_unparsed_uri = r->valid_location = true;
	r->method = METHOD_GET;
	r->method_name = SPAN("GET");
	r->in.version = HTTP_11;
	r->in.content_length = -1;
	hdrs_init(&r->in.headers, &r->arena);
	for (; fields && *fields; fields++) {
		struct span line = span_of(*fields);
		size_t colon = (size_t)span_find_char(line, ':', 0);

		assert_non_null(hdrs_append_name(&r->in.headers, span_cut(line, 0, colon),
						 span_trim(span_cut(line, colon + 1, line.n))));
	}
	f->x = (struct exchange){.r = r, .conf = proxy_conf_of(r)};
	f->x.target = &f->x.conf->pass->target;
	f->x.uri = r->uri;
}

static inline void proxy_done_with(struct proxy_fixture *f)
{
	arena_fini(&f->r.arena);
	snapshot_drop_loader(f->snap);
}

static inline struct span proxy_problem(struct proxy_fixture *f)
{
	return list_empty(&f->ctx.errors_list)
		       ? SPAN("")
		       : CONTAINER_OF(f->ctx.errors_list.next, struct conf_error, link)->message;
}

#define assert_span(s, text)                                                                       \
	do {                                                                                       \
		struct span s_ = (s);                                                              \
		char b_[4096];                                                                     \
		assert_true(s_.n < sizeof(b_));                                                    \
		memcpy(b_, s_.n ? s_.p : "", s_.n);                                                \
		b_[s_.n] = 0;                                                                      \
		assert_string_equal(b_, text);                                                     \
	} while (0)
