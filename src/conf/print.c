/* Problems and configurations as text for people. */
#include "base/buf.h"
#include "conf/conf.h"

#define REPORT_MAX (64 * 1024) /* bytes of one problem's text */
#define LINE_SHOWN 120	       /* bytes of a source line, around the place */

/* ---- problems ---- */

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* Configuration text may hold anything; a terminal gets no control bytes of it. */
static void add_clean(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (is_control(s.p[i]))
			buf_printf(b, "\\x%02X", (unsigned char)s.p[i]);
		else
			buf_add_char(b, s.p[i]);
	}
}

/* Line number n (from 1) without its end. */
static struct span line_find(struct span text, uint32_t n)
{
	struct span line = {0};

	while (n-- > 0)
		if (!span_split(&text, '\n', &line))
			return (struct span){0};
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

static bool is_continuation(char c) /* of a UTF-8 sequence: takes no column of its own */
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

static void add_source(struct buf *b, const struct conf_error *e)
{
	struct span line = line_find(e->file->text, e->line);
	size_t at = MIN_OF(e->col ? e->col - 1 : 0, line.n), from, to;
	size_t width = MAX_OF(1, MIN_OF(e->width, line.n - at));

	from = at > LINE_SHOWN / 2 ? at - LINE_SHOWN / 2 : 0;
	while (from < at && is_continuation(line.p[from]))
		from++;
	to = MIN_OF(line.n, from + LINE_SHOWN);
	while (to > from && to < line.n && is_continuation(line.p[to]))
		to--;
	buf_add_span(b, SPAN("    "));
	for (size_t i = from; i < to; i++)
		buf_add_char(b, line.p[i] == '\t' ? ' ' : is_control(line.p[i]) ? '?' : line.p[i]);
	buf_add_span(b, SPAN("\n    "));
	for (size_t i = from; i < at; i++)
		if (!is_continuation(line.p[i]))
			buf_add_char(b, ' ');
	buf_add_char(b, '^');
	for (size_t i = at + 1; i < at + width && i < to; i++)
		if (!is_continuation(line.p[i]))
			buf_add_char(b, '~');
	buf_add_char(b, '\n');
}

static bool is_command_line(const struct conf_file *f)
{
	return span_eq(f->path, SPAN("command line"));
}

static void add_problem(struct buf *b, const struct conf_error *e, struct span program)
{
	buf_printf(b, "%.*s: [%s] ", SPAN_ARG(program), log_level_name(e->level));
	add_clean(b, e->message);
	if (e->file) {
		buf_add_span(b, SPAN(" in "));
		add_clean(b, e->file->path);
		if (!is_command_line(e->file))
			buf_printf(b, ":%u", e->line);
	}
	buf_add_char(b, '\n');
	if (e->file) {
		buf_add_span(b, SPAN("  "));
		add_clean(b, e->file->path);
		buf_printf(b, ":%u:%u\n", e->line, e->col);
		add_source(b, e);
	}
	if (e->remedy.n) {
		buf_add_span(b, SPAN("  "));
		add_clean(b, e->remedy);
		buf_add_char(b, '\n');
	}
}

static void report_rest(const struct conf_ctx *ctx, struct span program, unsigned shown,
			void (*print)(void *arg, const struct conf_error *e, struct span text),
			void *arg)
{
	struct conf_error e = {.level = ctx->errors ? LOG_EMERG : LOG_WARN};
	unsigned all = ctx->errors + ctx->warnings;
	struct buf b;

	if (shown == all)
		return;
	e.message = SPAN("more problems than are shown");
	buf_init(&b, REPORT_MAX);
	buf_printf(&b, "%.*s: [%s] %u more problems%s\n", SPAN_ARG(program),
		   log_level_name(e.level), all - shown,
		   shown < CONF_ERRORS_MAX ? " (no memory to tell)" : "");
	print(arg, &e, buf_span(&b));
	buf_fini(&b);
}

void conf_report(const struct conf_ctx *ctx, struct span program,
		 void (*print)(void *arg, const struct conf_error *e, struct span text), void *arg)
{
	unsigned shown = 0;
	struct list *l;
	struct buf b;

	buf_init(&b, REPORT_MAX);
	list_each (l, &ctx->errors_list) {
		const struct conf_error *e = CONTAINER_OF(l, struct conf_error, link);

		buf_clear(&b);
		add_problem(&b, e, program);
		print(arg, e, b.len ? buf_span(&b) : e->message);
		shown++;
	}
	buf_fini(&b);
	report_rest(ctx, program, shown, print, arg);
}

/* ---- -T ---- */

void conf_dump(const struct conf_ctx *ctx, void (*print)(void *arg, struct span text), void *arg)
{
	for (const struct conf_file *f = ctx->files; f; f = f->next) {
		if (is_command_line(f))
			continue;
		print(arg, SPAN("# configuration file "));
		print(arg, f->path);
		print(arg, SPAN(":\n"));
		print(arg, f->text);
		print(arg, SPAN("\n"));
	}
}
