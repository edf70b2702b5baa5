#include "conf/problem.h"

void conf_vproblem(struct conf_ctx *ctx, enum log_level level, struct conf_place at,
		   const char *fmt, va_list ap)
{
	struct conf_error *e;
	unsigned before = ctx->errors + ctx->warnings;

	if (level <= LOG_ERR)
		ctx->errors++;
	else
		ctx->warnings++;
	ctx->last_error = NULL;
	if (before >= CONF_ERRORS_MAX)
		return;
	e = arena_zalloc(ctx->arena, sizeof(*e));
	if (!e)
		return;
	e->level = level;
	e->message = arena_vprintf(ctx->arena, fmt, ap);
	if (!e->message.p)
		e->message = SPAN("no memory");
	e->file = at.file;
	e->line = at.line;
	e->col = at.col;
	e->width = at.width;
	list_push(&ctx->errors_list, &e->link);
	ctx->last_error = e;
}

void conf_problem(struct conf_ctx *ctx, enum log_level level, struct conf_place at, const char *fmt,
		  ...)
{
	va_list ap;

	va_start(ap, fmt);
	conf_vproblem(ctx, level, at, fmt, ap);
	va_end(ap);
}

static void set_remedy(struct conf_ctx *ctx, const char *fmt, va_list ap)
{
	if (!ctx->last_error)
		return;
	ctx->last_error->remedy = arena_vprintf(ctx->arena, fmt, ap);
	if (!ctx->last_error->remedy.p)
		ctx->last_error->remedy = (struct span){0};
}

void conf_problem_remedy(struct conf_ctx *ctx, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_remedy(ctx, fmt, ap);
	va_end(ap);
}

struct conf_place conf_place_of(const struct conf_call *c, unsigned word)
{
	const struct conf_node *n = c->node;
	const struct conf_word *w;

	if (!n || !n->file || n->nwords == 0)
		return (struct conf_place){0};
	w = &n->words[MIN_OF(word, n->nwords - 1)];
	return (struct conf_place){.file = n->file,
				   .line = w->line,
				   .col = w->col,
				   .width = (uint32_t)w->text.n + (w->quoted ? 2 : 0)};
}

int conf_error(struct conf_call *c, unsigned word, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	conf_vproblem(c->ctx, LOG_EMERG, conf_place_of(c, word), fmt, ap);
	va_end(ap);
	return CONF_ERR;
}

int conf_error_part(struct conf_call *c, unsigned word, struct span part, const char *fmt, ...)
{
	struct conf_place at = conf_place_of(c, word);
	va_list ap;

	if (c->node && word < c->node->nwords) {
		const struct conf_word *w = &c->node->words[word];

		if (part.p >= w->text.p && part.p + part.n <= w->text.p + w->text.n) {
			at.col += (uint32_t)(part.p - w->text.p) + w->quoted;
			at.width = (uint32_t)part.n;
		}
	}
	va_start(ap, fmt);
	conf_vproblem(c->ctx, LOG_EMERG, at, fmt, ap);
	va_end(ap);
	return CONF_ERR;
}

int conf_remedy(struct conf_call *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_remedy(c->ctx, fmt, ap);
	va_end(ap);
	return CONF_ERR;
}

void conf_warn(struct conf_call *c, unsigned word, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	conf_vproblem(c->ctx, LOG_WARN, conf_place_of(c, word), fmt, ap);
	va_end(ap);
}

int conf_no_memory(struct conf_call *c)
{
	return conf_error(c, 0, "no memory for the configuration");
}
