/* Characters to tokens, by nginx's rules. One token at a time; words are copied into the arena,
 * with quotes and escapes undone and a zero behind them. Positions count from 1, columns in bytes.
 */
#pragma once
#include "conf/conf.h"

enum lex_kind {
	LEX_WORD,
	LEX_SEMICOLON,
	LEX_OPEN,
	LEX_CLOSE,
	LEX_EOF,
	LEX_EOF_IN_WORD, /* word.line and .col: where it began */
	LEX_GLUED,	 /* something stands right behind a closing quote: *at */
	LEX_TOO_LONG,	 /* a word above CONF_WORD_MAX; as LEX_EOF_IN_WORD */
	LEX_NO_MEMORY,
};

struct lexer {
	struct span text;
	size_t at;	   /* next byte */
	size_t line_start; /* index of the first byte of the current line */
	uint32_t line;
	bool after_quote; /* the last token was a quoted word, and nothing was read since */
};

struct lex_token {
	enum lex_kind kind;
	char quote;	       /* of the word, or 0 */
	struct conf_word word; /* LEX_WORD: the word; of others only line and col count */
};

/* A byte order mark at the front is skipped. */
void lexer_init(struct lexer *lx, struct span text);
void lexer_next(struct lexer *lx, struct arena *a, struct lex_token *t);
/* After a mistake: goes behind the next ';', behind a balanced {...}, or before the next '}',
 * whichever comes first. Quotes are not looked at, since they may be the mistake. */
void lexer_recover(struct lexer *lx);
