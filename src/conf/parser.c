/* Tokens to a tree. One loop over a stack of sources (the file and what it includes), no recursion.
 * A mistake is reported and stepped over, so that one run finds them all. */
#include <errno.h>
#include <string.h>
#include "conf/lexer.h"
#include "conf/opener.h"
#include "conf/problem.h"

#define INCLUDES_MAX 100000 /* files included in one configuration */

/* A file being read, or to be read. */
struct source {
	struct source *then;  /* what to go on with when this one ends */
	struct source *from;  /* the one with the include directive; NULL at the top */
	struct conf_place by; /* the include directive */
	struct span path;
	struct conf_file *file; /* NULL: not read yet */
	struct lexer lexer;
	unsigned includes; /* nesting */
	unsigned blocks;   /* open blocks when it began: it must end with as many */
};

struct parser {
	struct conf_ctx *ctx;
	struct source *src;
	struct conf_node *block; /* where nodes go */
	struct conf_node *
		*tail[CONF_DEPTH_MAX + 1]; /* per open block: where its next child is hung */
	unsigned blocks;		   /* open blocks */
	struct conf_word *words;	   /* of the directive being read */
	size_t nwords, cap;
	bool failed; /* no memory: end at once */
};

int conf_ctx_init(struct conf_ctx *ctx, struct arena *a, struct opener *o)
{
	*ctx = (struct conf_ctx){.arena = a, .opener = o};
	for (size_t i = 0; i < ARRAY_LEN(ctx->later); i++)
		list_init(&ctx->later[i]);
	list_init(&ctx->errors_list);
	ctx->root = arena_zalloc(a, sizeof(*ctx->root));
	if (!ctx->root)
		return CONF_ERR;
	ctx->root->block = true;
	return CONF_OK;
}

static struct conf_place place_at(const struct parser *p, const struct conf_word *w)
{
	return (struct conf_place){.file = p->src->file,
				   .line = w->line,
				   .col = w->col,
				   .width = (uint32_t)w->text.n + (w->quoted ? 2 : 0)};
}

#define PARSE_ERROR(p, word, ...) conf_problem((p)->ctx, LOG_EMERG, place_at(p, word), __VA_ARGS__)

static void no_memory(struct parser *p)
{
	conf_problem(p->ctx, LOG_EMERG, (struct conf_place){0}, "no memory for the configuration");
	p->failed = true;
}

/* ---- sources ---- */

static struct conf_file *find_file(struct conf_ctx *ctx, struct span path)
{
	for (struct conf_file *f = ctx->files; f; f = f->next)
		if (span_eq(f->path, path))
			return f;
	return NULL;
}

static struct conf_file *add_file(struct conf_ctx *ctx, struct span path, struct span text)
{
	struct conf_file *f = arena_zalloc(ctx->arena, sizeof(*f)), **at = &ctx->files;

	if (!f)
		return NULL;
	f->path = path;
	f->text = text;
	while (*at)
		at = &(*at)->next;
	*at = f;
	return f;
}

/* A file that is included twice is read once. */
static int read_file(struct conf_ctx *ctx, struct span path, struct conf_file **file)
{
	const struct opener_ops *ops = ctx->opener->ops;
	struct span text = {0};
	int r;

	*file = find_file(ctx, path);
	if (*file)
		return 0;
	r = (ops->read_conf ? ops->read_conf : ops->read_file)(ctx->opener, path, ctx->arena,
							       &text);
	if (r < 0)
		return r;
	*file = add_file(ctx, path, text);
	return *file ? 0 : -ENOMEM;
}

static bool is_cycle(const struct source *s)
{
	for (const struct source *up = s->from; up; up = up->from)
		if (span_eq(up->path, s->path))
			return true;
	return false;
}

/* False: reported, and the source is to be left. */
static bool source_open(struct parser *p, struct source *s)
{
	struct conf_ctx *ctx = p->ctx;
	int r;

	if (is_cycle(s)) {
		conf_problem(ctx, LOG_EMERG, s->by, "\"%.*s\" includes itself", SPAN_ARG(s->path));
		return false;
	}
	if (s->includes > CONF_DEPTH_MAX || ++ctx->includes > INCLUDES_MAX) {
		conf_problem(ctx, LOG_EMERG, s->by, "too many includes at \"%.*s\"",
			     SPAN_ARG(s->path));
		return false;
	}
	r = read_file(ctx, s->path, &s->file);
	if (r == -ENOENT && ctx->opener->offline && s->from) {
		conf_problem(ctx, LOG_WARN, s->by, "\"%.*s\" is not here, left out",
			     SPAN_ARG(s->path));
		return false;
	}
	if (r < 0) {
		conf_problem(ctx, LOG_EMERG, s->by, "open() \"%.*s\" failed (%d: %s)",
			     SPAN_ARG(s->path), -r, strerror(-r));
		return false;
	}
	lexer_init(&s->lexer, s->file->text);
	s->blocks = p->blocks;
	return true;
}

/* ---- include ---- */

static bool has_wildcards(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '*' || s.p[i] == '?' || s.p[i] == '[')
			return true;
	return false;
}

/* The files that an include names, in their order. */
static int include_paths(struct parser *p, const struct conf_word *w, struct span **paths,
			 size_t *n)
{
	struct conf_ctx *ctx = p->ctx;
	struct span path = conf_path(ctx, w->text, true);
	int r;

	if (!path.p)
		return -ENOMEM;
	if (has_wildcards(path)) {
		r = ctx->opener->ops->glob(ctx->opener, path, ctx->arena, paths, n);
		if (r < 0)
			PARSE_ERROR(p, w, "glob() \"%.*s\" failed (%d: %s)", SPAN_ARG(path), -r,
				    strerror(-r));
		return r == -ENOMEM ? r : 0;
	}
	*paths = arena_copy(ctx->arena, &path, sizeof(path));
	*n = 1;
	return *paths ? 0 : -ENOMEM;
}

static void include(struct parser *p)
{
	struct source *from = p->src;
	struct span *paths = NULL;
	size_t n = 0;

	if (p->nwords != 2) {
		PARSE_ERROR(p, &p->words[0],
			    "invalid number of arguments in \"include\" directive");
		return;
	}
	if (include_paths(p, &p->words[1], &paths, &n) < 0) {
		no_memory(p);
		return;
	}
	while (n > 0) { /* the last is pushed first */
		struct source *s = arena_zalloc(p->ctx->arena, sizeof(*s));

		if (!s) {
			no_memory(p);
			return;
		}
		s->path = paths[--n];
		s->by = (struct conf_place){.file = from->file,
					    .line = p->words[1].line,
					    .col = p->words[1].col,
					    .width = (uint32_t)p->words[1].text.n};
		s->from = from;
		s->includes = from->includes + 1;
		s->then = p->src;
		p->src = s;
	}
}

/* ---- nodes ---- */

static struct conf_node *add_node(struct parser *p, bool block)
{
	struct conf_node *n = arena_zalloc(p->ctx->arena, sizeof(*n));

	if (n)
		n->words = arena_copy(p->ctx->arena, p->words, p->nwords * sizeof(*p->words));
	if (!n || !n->words) {
		no_memory(p);
		return NULL;
	}
	n->nwords = (unsigned)p->nwords;
	n->parent = p->block;
	n->block = block;
	n->file = p->src->file;
	n->seq = p->ctx->next_seq++;
	*p->tail[p->blocks] = n;
	p->tail[p->blocks] = &n->next;
	return n;
}

static void recover(struct parser *p)
{
	lexer_recover(&p->src->lexer);
	p->nwords = 0;
}

static bool is_include(const struct parser *p)
{
	return span_eq(p->words[0].text, SPAN("include"));
}

static bool is_command_line(const struct conf_file *f)
{
	return span_eq(f->path, SPAN("command line"));
}

static void on_semicolon(struct parser *p, const struct conf_word *at)
{
	if (p->nwords == 0)
		PARSE_ERROR(p, at, "unexpected \";\"");
	else if (is_include(p))
		include(p);
	else
		add_node(p, false);
	p->nwords = 0;
}

static void skip_block(struct parser *p)
{
	p->src->lexer.at--; /* back before the '{': it is stepped over with its partner */
	recover(p);
}

static void on_open(struct parser *p, const struct conf_word *at)
{
	struct conf_node *n;

	if (p->nwords == 0) {
		PARSE_ERROR(p, at, "unexpected \"{\"");
		skip_block(p);
		return;
	}
	if (is_command_line(p->src->file)) {
		PARSE_ERROR(p, at, "block directives are not supported in -g option");
		skip_block(p);
		return;
	}
	if (is_include(p)) {
		PARSE_ERROR(p, &p->words[0], "directive \"include\" is not terminated by \";\"");
		skip_block(p);
		return;
	}
	if (p->blocks == CONF_DEPTH_MAX) {
		PARSE_ERROR(p, &p->words[0], "too many nested blocks at \"%.*s\"",
			    SPAN_ARG(p->words[0].text));
		conf_problem_remedy(p->ctx, "blocks may be nested %d deep", CONF_DEPTH_MAX);
		skip_block(p);
		return;
	}
	n = add_node(p, true);
	p->nwords = 0;
	if (!n)
		return;
	p->block = n;
	p->tail[++p->blocks] = &n->children;
}

static void close_block(struct parser *p)
{
	p->block = p->block->parent;
	p->blocks--;
}

static void on_close(struct parser *p, const struct conf_word *at)
{
	if (p->nwords > 0) { /* most likely a forgotten semicolon: take it as that */
		const struct conf_word *last = &p->words[p->nwords - 1];

		PARSE_ERROR(p, at, "unexpected \"}\"");
		conf_problem_remedy(p->ctx, "a \";\" is missing after \"%.*s\" in line %u",
				    SPAN_ARG(last->text), last->line);
		if (!is_include(p))
			add_node(p, false);
		p->nwords = 0;
	} else if (p->blocks == p->src->blocks) {
		PARSE_ERROR(p, at, "unexpected \"}\"");
		conf_problem_remedy(p->ctx, "no block is open here");
	}
	if (p->blocks > p->src->blocks)
		close_block(p);
}

/* The text ended; t->word tells where the last word began when it ended within one. */
static void on_end(struct parser *p, const struct lex_token *t)
{
	struct lexer *lx = &p->src->lexer;
	struct conf_word end = {.line = lx->line, .col = (uint32_t)(lx->at - lx->line_start + 1)};

	if (t->kind == LEX_EOF_IN_WORD || p->nwords > 0) {
		if (is_command_line(p->src->file))
			PARSE_ERROR(p, &end, "unexpected end of parameter, expecting \";\"");
		else
			PARSE_ERROR(p, &end, "unexpected end of file, expecting \";\" or \"}\"");
		if (t->quote)
			conf_problem_remedy(
				p->ctx, "the quote (%c) opened in line %u column %u is not closed",
				t->quote, t->word.line, t->word.col);
		else if (p->nwords > 0)
			conf_problem_remedy(p->ctx, "the directive \"%.*s\" begins in line %u",
					    SPAN_ARG(p->words[0].text), p->words[0].line);
	} else if (p->blocks > p->src->blocks) {
		PARSE_ERROR(p, &end, "unexpected end of file, expecting \"}\"");
		conf_problem_remedy(p->ctx, "the block \"%.*s\" opened in line %u is not closed",
				    SPAN_ARG(p->block->words[0].text), p->block->words[0].line);
	}
	p->nwords = 0;
	while (p->blocks > p->src->blocks)
		close_block(p);
	p->src = p->src->then;
}

static void on_word(struct parser *p, const struct conf_word *w)
{
	struct conf_word *to = ARENA_PUSH(p->ctx->arena, p->words, &p->nwords, &p->cap);

	if (to)
		*to = *w;
	else
		no_memory(p);
}

static void on_too_long(struct parser *p, struct lex_token *t)
{
	t->word.text = span_cut(t->word.text, 0, 10);
	if (t->quote) {
		PARSE_ERROR(p, &t->word,
			    "too long parameter, probably missing terminating \"%c\" character",
			    t->quote);
		conf_problem_remedy(p->ctx, "a word has at most %d bytes", CONF_WORD_MAX);
	} else {
		PARSE_ERROR(p, &t->word, "too long parameter \"%.*s...\" started",
			    SPAN_ARG(t->word.text));
	}
	recover(p);
}

static void parse_token(struct parser *p)
{
	struct lex_token t;

	lexer_next(&p->src->lexer, p->ctx->arena, &t);
	switch (t.kind) {
	case LEX_WORD:
		on_word(p, &t.word);
		break;
	case LEX_SEMICOLON:
		on_semicolon(p, &t.word);
		break;
	case LEX_OPEN:
		on_open(p, &t.word);
		break;
	case LEX_CLOSE:
		on_close(p, &t.word);
		break;
	case LEX_EOF:
	case LEX_EOF_IN_WORD:
		on_end(p, &t);
		break;
	case LEX_GLUED:
		PARSE_ERROR(p, &t.word, "unexpected \"%c\"", t.word.text.p[0]);
		conf_problem_remedy(p->ctx, "a space or \";\" must follow a closing quote");
		recover(p);
		break;
	case LEX_TOO_LONG:
		on_too_long(p, &t);
		break;
	case LEX_NO_MEMORY:
		no_memory(p);
		break;
	}
}

static void parse_all(struct parser *p)
{
	struct conf_node **tail = &p->ctx->root->children;

	while (*tail)
		tail = &(*tail)->next;
	p->block = p->ctx->root;
	p->tail[0] = tail;
	while (p->src && !p->failed) {
		if (p->src->file || source_open(p, p->src))
			parse_token(p);
		else
			p->src = p->src->then;
	}
}

int conf_parse(struct conf_ctx *ctx, struct span path)
{
	struct source top = {.path = path};
	struct parser p = {.ctx = ctx, .src = &top};
	unsigned before = ctx->errors;

	parse_all(&p);
	return ctx->errors == before ? CONF_OK : CONF_ERR;
}

int conf_parse_text(struct conf_ctx *ctx, struct span name, struct span text)
{
	struct source top = {.path = name};
	struct parser p = {.ctx = ctx, .src = &top};
	unsigned before = ctx->errors;

	name = arena_dup(ctx->arena, name);
	text = arena_dup(ctx->arena, text);
	top.file = name.p && text.p ? add_file(ctx, name, text) : NULL;
	if (!top.file) {
		no_memory(&p);
		return CONF_ERR;
	}
	lexer_init(&top.lexer, text);
	parse_all(&p);
	return ctx->errors == before ? CONF_OK : CONF_ERR;
}
