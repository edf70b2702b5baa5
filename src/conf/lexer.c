#include "conf/lexer.h"

void lexer_init(struct lexer *lx, struct span text)
{
	*lx = (struct lexer){.text = text, .line = 1};
	if (span_starts(text, SPAN("\xEF\xBB\xBF")))
		lx->at = lx->line_start = 3;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static uint32_t column(const struct lexer *lx)
{
	return (uint32_t)(lx->at - lx->line_start + 1);
}

/* Steps over one byte, which must be there. */
static char take(struct lexer *lx)
{
	char c = lx->text.p[lx->at++];

	if (c == '\n') {
		lx->line++;
		lx->line_start = lx->at;
	}
	return c;
}

static bool at_end(const struct lexer *lx)
{
	return lx->at >= lx->text.n;
}

static void skip_blanks_and_comments(struct lexer *lx)
{
	while (!at_end(lx)) {
		if (lx->text.p[lx->at] == '#') {
			while (!at_end(lx) && lx->text.p[lx->at] != '\n')
				lx->at++;
		} else if (!is_blank(lx->text.p[lx->at])) {
			return;
		} else {
			take(lx);
		}
	}
}

/* What an escaped byte stands for, or 0 when the backslash stays as it is. */
static char unescape(char c)
{
	switch (c) {
	case '"':
	case '\'':
	case '\\':
		return c;
	case 't':
		return '\t';
	case 'r':
		return '\r';
	case 'n':
		return '\n';
	default:
		return 0;
	}
}

static bool copy_word(struct arena *a, struct span raw, struct span *out)
{
	char *p = arena_alloc(a, raw.n + 1);
	size_t n = 0;

	if (!p)
		return false;
	for (size_t i = 0; i < raw.n; i++) {
		char c = raw.p[i], e;

		if (c == '\\' && i + 1 < raw.n && (e = unescape(raw.p[i + 1])) != 0) {
			c = e;
			i++;
		}
		p[n++] = c;
	}
	p[n] = 0;
	*out = (struct span){p, n};
	return true;
}

/* Goes to the byte behind the last of the word. False: the text ends, or it is too long, before. */
static bool scan_quoted(struct lexer *lx, char quote)
{
	size_t start = lx->at;

	while (!at_end(lx) && lx->at - start <= CONF_WORD_MAX) {
		char c = lx->text.p[lx->at];

		if (c == quote)
			return true;
		take(lx);
		if (c == '\\' && !at_end(lx))
			take(lx);
	}
	return false;
}

static bool scan_plain(struct lexer *lx)
{
	size_t start = lx->at;
	bool variable = false; /* right behind a '$': a '{' belongs to the word */

	while (!at_end(lx) && lx->at - start <= CONF_WORD_MAX) {
		char c = lx->text.p[lx->at];

		if (is_blank(c) || c == ';' || (c == '{' && !variable))
			return true;
		take(lx);
		if (c == '{')
			continue;
		variable = c == '$';
		if (c == '\\' && !at_end(lx))
			take(lx);
	}
	return false;
}

static void lex_word(struct lexer *lx, struct arena *a, struct lex_token *t)
{
	char c = lx->text.p[lx->at];
	size_t start;
	bool whole;

	t->quote = c == '"' || c == '\'' ? c : 0;
	if (t->quote)
		lx->at++;
	start = lx->at;
	whole = t->quote ? scan_quoted(lx, t->quote) : scan_plain(lx);
	t->word.text = span_cut(lx->text, start, lx->at);
	if (!whole) {
		t->kind = at_end(lx) ? LEX_EOF_IN_WORD : LEX_TOO_LONG;
		return;
	}
	if (t->quote) {
		lx->at++;
		lx->after_quote = true;
	}
	t->word.quoted = t->quote != 0;
	t->kind = copy_word(a, t->word.text, &t->word.text) ? LEX_WORD : LEX_NO_MEMORY;
}

void lexer_next(struct lexer *lx, struct arena *a, struct lex_token *t)
{
	bool glued = lx->after_quote;
	char c;

	*t = (struct lex_token){.kind = LEX_EOF};
	lx->after_quote = false;
	if (glued && !at_end(lx)) {
		c = lx->text.p[lx->at];
		glued = !is_blank(c) && c != ';' && c != '{' && c != ')';
	} else {
		glued = false;
	}
	if (!glued)
		skip_blanks_and_comments(lx);
	t->word.line = lx->line;
	t->word.col = column(lx);
	if (at_end(lx))
		return;
	c = lx->text.p[lx->at];
	if (glued) {
		t->kind = LEX_GLUED;
		t->word.text = span_make(lx->text.p + lx->at, 1);
	} else if (c == ';' || c == '{' || c == '}') {
		t->kind = c == ';' ? LEX_SEMICOLON : c == '{' ? LEX_OPEN : LEX_CLOSE;
		lx->at++;
	} else {
		lex_word(lx, a, t);
	}
}

void lexer_recover(struct lexer *lx)
{
	unsigned depth = 0;

	lx->after_quote = false;
	while (!at_end(lx)) {
		char c = lx->text.p[lx->at];

		if (c == '}' && depth == 0)
			return;
		take(lx);
		if (c == '{')
			depth++;
		else if (c == '#' && lx->at >= 2 && is_blank(lx->text.p[lx->at - 2]))
			skip_blanks_and_comments(lx);
		else if ((c == ';' && depth == 0) || (c == '}' && --depth == 0))
			return;
	}
}
