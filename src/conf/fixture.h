/* For tests and fuzz targets of this room: a snapshot's arena, files in memory, problems as text.
 */
#pragma once
#include <stdio.h>
#include "conf/conf.h"
#include "conf/opener.h"
#include "conf/template.h"

struct fixture {
	struct arena arena;
	struct opener_memory opener;
	struct opener_file main_file[2];
	struct conf_ctx ctx;
	struct conf_scope *main;
	char problems[4096]; /* "emerg LINE:COL MESSAGE| REMEDY\n" each */
};

static inline void fixture_init(struct fixture *f, const struct opener_file *files)
{
	memset(f, 0, sizeof(*f));
	arena_init(&f->arena, 64 << 20);
	opener_memory_init(&f->opener, files ? files : f->main_file);
	BUG_ON(conf_ctx_init(&f->ctx, &f->arena, &f->opener.opener) < 0);
	f->ctx.prefix = SPAN("/p/");
	f->ctx.conf_prefix = SPAN("/c/");
}

/* The text is the main file "/c/n"; when files are given they must hold it. */
static inline int fixture_parse(struct fixture *f, struct span text)
{
	f->main_file[0] = (struct opener_file){SPAN("/c/n"), text};
	return conf_parse(&f->ctx, SPAN("/c/n"));
}

static inline const char *fixture_problems(struct fixture *f)
{
	size_t n = 0;
	struct list *l;

	f->problems[0] = 0;
	list_each (l, &f->ctx.errors_list) {
		const struct conf_error *e = CONTAINER_OF(l, struct conf_error, link);

		n += (size_t)snprintf(
			f->problems + n, sizeof(f->problems) - n, "%s %u:%u %.*s%s%.*s\n",
			e->level == LOG_WARN ? "warn" : "emerg", e->line, e->col,
			SPAN_ARG(e->message), e->remedy.n ? "| " : "", SPAN_ARG(e->remedy));
		if (n >= sizeof(f->problems))
			break;
	}
	return f->problems;
}

static inline void fixture_fini(struct fixture *f)
{
	arena_fini(&f->arena);
}
