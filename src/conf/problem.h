/* Problems with a place, for the room's own use; modules call conf_error. */
#pragma once
#include "conf/conf.h"

struct conf_place {
	struct conf_file *file; /* NULL: no place */
	uint32_t line, col, width;
};

/* Records a problem; the last one recorded gets a later conf_remedy. */
void conf_problem(struct conf_ctx *ctx, enum log_level level, struct conf_place at, const char *fmt,
		  ...) PRINTF_LIKE(4, 5);
void conf_vproblem(struct conf_ctx *ctx, enum log_level level, struct conf_place at,
		   const char *fmt, va_list ap);
/* The remedy of the last problem. */
void conf_problem_remedy(struct conf_ctx *ctx, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Where word i of the call's node stands. */
struct conf_place conf_place_of(const struct conf_call *c, unsigned word);
/* Memory ran out. Returns CONF_ERR. */
int conf_no_memory(struct conf_call *c);
/* Reports at part (a piece of word i's text, where it is one). Returns CONF_ERR. */
int conf_error_part(struct conf_call *c, unsigned word, struct span part, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
