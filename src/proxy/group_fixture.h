/* For the tests of this room: a snapshot made of the text of an http block that knows nothing but
 * upstream blocks and the variable $k. Names resolve as opener_memory says. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include "conf/opener.h"
#include "conf/snapshot.h"
#include "proxy/group.h"
#include "serve/core.h"
#include <cmocka.h>
#undef fail /* cmocka's; ours is an enum */

struct group_fixture {
	struct snapshot *snap;
	struct http_main http;
	struct conf_ctx ctx;
	struct opener_memory opener;
	int result; /* of conf_apply_all */
};

static inline int fixture_http(struct conf_call *c)
{
	static const struct var vars[] = {{.name = SPAN_INIT("k"), .flags = VAR_CHANGEABLE},
					  {.name = {NULL, 0}}};
	struct http_main *m = c->ctx->snapshot->http;
	struct conf_scope *s = conf_scope_new(c, IN_HTTP, m);

	m->vars = var_table_new(c->ctx->arena);
	assert_int_equal(var_table_add(m->vars, vars), CONF_OK);
	conf_set_var_table(s, m->vars);
	m->scope = s;
	return conf_apply(c, s);
}

static inline void fixture_load(struct group_fixture *f, const char *upstreams)
{
	static const struct conf_row rows[] = {
		MBLOCK("http", IN_MAIN, 0, 0, fixture_http, ""),
		MEND,
	};
	static struct conf_mod http_mod = {.name = "http", .rows = rows};
	static struct conf_mod *mods[3];
	static const struct opener_file no_files[] = {{{NULL, 0}, {NULL, 0}}};
	static char text[16384];
	struct conf_scope *scope;

	mods[0] = &http_mod;
	mods[1] = upstream_module.confs[0];
	conf_mods_init(mods);
	*f = (struct group_fixture){.snap = snapshot_new(1, 1)};
	list_init(&f->http.upstreams);
	f->http.snapshot = f->snap;
	f->snap->http = &f->http;
	opener_memory_init(&f->opener, no_files);
	assert_int_equal(conf_ctx_init(&f->ctx, &f->snap->arena, &f->opener.opener), CONF_OK);
	f->ctx.snapshot = f->snap;
	snprintf(text, sizeof(text), "http { %s }", upstreams);
	assert_int_equal(conf_parse_text(&f->ctx, SPAN("test"), span_of(text)), CONF_OK);
	f->result = conf_apply_all(&f->ctx, &scope);
}

static inline void fixture_free(struct group_fixture *f)
{
	snapshot_drop_loader(f->snap);
}

/* The group "u" of a text that must be right. */
static inline struct group *fixture_group(struct group_fixture *f, const char *inside)
{
	static char text[8192];

	snprintf(text, sizeof(text), "upstream u { %s }", inside);
	fixture_load(f, text);
	assert_int_equal(f->result, CONF_OK);
	return group_find(&f->http, SPAN("u"));
}

/* The i-th problem's message. */
static inline struct span fixture_problem(struct group_fixture *f, unsigned i)
{
	struct list *l;

	list_each (l, &f->ctx.errors_list)
		if (i-- == 0)
			return CONTAINER_OF(l, struct conf_error, link)->message;
	return SPAN("");
}
