#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "base/log.h"
#include "conf/opener.h"
#include "main/load.h"
#include "main/logs.h"
#include "serve/serve.h"

struct reporting {
	const struct load_args *args;
	bool first_told;
};

/* "MESSAGE in FILE:LINE (remedy)", one line for a log. */
static void describe(struct buf *b, const struct conf_error *e)
{
	buf_add_span(b, e->message);
	if (e->file && e->line && !span_eq(e->file->path, SPAN("command line")))
		buf_printf(b, " in %.*s:%u", SPAN_ARG(e->file->path), e->line);
	else if (e->file)
		buf_printf(b, " in %.*s", SPAN_ARG(e->file->path));
	if (e->remedy.n)
		buf_printf(b, " (%.*s)", SPAN_ARG(e->remedy));
}

static void report_one(void *arg, const struct conf_error *e, struct span text)
{
	struct reporting *r = arg;
	const struct logger *log = r->args->report == REPORT_CONSOLE ? logs_start_file() : NULL;
	struct buf b;

	if (r->args->report == REPORT_CONSOLE && write(STDERR_FILENO, text.p, text.n) < 0) {
		/* The log has it too. */
	}
	if (!e)
		return;
	buf_init(&b, LOG_LINE_MAX);
	describe(&b, e);
	log_msg(log, e->level, 0, "%.*s", SPAN_ARG(buf_span(&b)));
	if (r->args->why && e->level == LOG_EMERG && !r->first_told) {
		buf_add_span(r->args->why, buf_span(&b));
		r->first_told = true;
	}
	buf_fini(&b);
}

static void report(const struct load_args *args, const struct conf_ctx *ctx)
{
	struct reporting r = {.args = args};

	if (ctx->errors || ctx->warnings)
		conf_report(ctx, SPAN("nginx"), report_one, &r);
}

static struct conf_ctx *ctx_new(const struct cmdline *cmd, struct arena *a, struct opener *o)
{
	struct conf_ctx *ctx = arena_zalloc(a, sizeof(*ctx));

	if (!ctx || conf_ctx_init(ctx, a, o) < 0) {
		log_msg(NULL, LOG_EMERG, 0, "no memory for the configuration");
		return NULL;
	}
	ctx->prefix = cmd->prefix;
	ctx->conf_prefix = cmd->conf_prefix;
	return ctx;
}

static void parse(const struct cmdline *cmd, struct conf_ctx *ctx)
{
	if (cmd->globals && conf_parse_text(ctx, SPAN("command line"), span_of(cmd->globals)) < 0)
		return; /* as nginx: what the command line says comes first, also its mistakes */
	conf_parse(ctx, cmd->conf);
}

static int open_listeners(const struct load_args *args, struct snapshot *s)
{
	unsigned n = args->nthreads;

	if (!n) {
		const struct main_conf *m = conf_get(s->main, &core_main_mod);

		n = m->worker_processes ? (unsigned)m->worker_processes : settings_auto_threads();
	}
	if (args->opener->offline || (!s->http && !s->stream))
		return 0;
	if (serve_open_listeners(s, args->opener, n) == 0)
		return 0;
	if (args->why)
		buf_printf(args->why, "not every socket could be opened");
	return CONF_ERR;
}

struct snapshot *load_config(const struct load_args *args, struct conf_ctx **out)
{
	struct snapshot *s = args->snapshot;
	struct conf_ctx *ctx;

	if (!s)
		s = snapshot_new(MAX_OF(args->nthreads, 1), args->generation);
	ctx = s ? ctx_new(args->cmd, &s->arena, args->opener) : NULL;
	if (!ctx)
		goto failed;
	ctx->snapshot = s;
	ctx->before = args->before;
	ctx->test = args->test;
	parse(args->cmd, ctx);
	if (conf_apply_all(ctx, &s->main) < 0 || ctx->errors) {
		report(args, ctx);
		goto failed;
	}
	report(args, ctx);
	if (args->test && !args->cmd->quiet)
		dprintf(STDERR_FILENO, "nginx: the configuration file %.*s syntax is ok\n",
			SPAN_ARG(args->cmd->conf));
	if (open_listeners(args, s) < 0)
		goto failed;
	if (out)
		*out = ctx;
	return s;
failed:
	if (s)
		snapshot_drop_loader(s);
	return NULL;
}

/* The last one counts; which of two is wrong is for others to say. */
static struct span find_pid(const struct conf_ctx *ctx)
{
	struct span pid = SPAN(SLUICE_PID);

	for (const struct conf_node *n = ctx->root->children; n; n = n->next)
		if (n->nwords == 2 && span_eq(n->words[0].text, SPAN("pid")))
			pid = n->words[1].text;
	return pid;
}

struct span load_pid_path(const struct cmdline *cmd, struct arena *a, struct opener *o)
{
	struct load_args args = {.cmd = cmd, .report = REPORT_CONSOLE};
	struct conf_ctx *ctx = ctx_new(cmd, a, o);

	if (!ctx)
		return SPAN("");
	parse(cmd, ctx);
	report(&args, ctx);
	return ctx->files ? conf_path(ctx, find_pid(ctx), false) : SPAN("");
}
