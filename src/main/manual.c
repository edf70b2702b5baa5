#include "main/manual.h"
#include <inttypes.h>
#include "base/bug.h"
#include "conf/conf.h"

static const struct {
	uint32_t bit;
	const char *name;
} contexts[] = {
	{IN_MAIN, "main"},
	{IN_EVENTS, "events"},
	{IN_HTTP, "http"},
	{IN_SERVER, "server"},
	{IN_LOCATION, "location"},
	{IN_UPSTREAM, "upstream"},
	{IN_IF_SERVER, "if in server"},
	{IN_IF_LOCATION, "if in location"},
	{IN_LIMIT_EXCEPT, "limit_except"},
	{IN_STREAM, "stream"},
	{IN_STREAM_SERVER, "stream server"},
	{IN_STREAM_UPSTREAM, "stream upstream"},
	{IN_MAIL, "mail"},
};

static void add_contexts(struct buf *out, uint32_t where)
{
	const char *comma = "";

	if (where == IN_ANY) {
		buf_printf(out, "any");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(contexts); i++) {
		if (where & contexts[i].bit) {
			buf_printf(out, "%s%s", comma, contexts[i].name);
			comma = ",";
		}
	}
}

static void add_words(struct buf *out, const struct conf_enum *words, const char *between)
{
	for (size_t i = 0; words[i].word; i++)
		buf_printf(out, "%s%s", i ? between : "", words[i].word);
}

static void add_arguments(struct buf *out, const struct conf_row *row)
{
	if (row->kind == CONF_FLAG)
		buf_printf(out, "flag");
	else if (row->kind == CONF_BLOCK)
		buf_printf(out, "block");
	else if (row->kind == CONF_ENUM)
		add_words(out, row->arg, " | ");
	else if (row->kind == CONF_MASK)
		add_words(out, row->arg, " ");
	else if (row->min == 0 && row->max == UINT8_MAX)
		buf_printf(out, "any");
	else if (row->min == row->max)
		buf_printf(out, "%u", row->min);
	else if (row->max == row->min + 1)
		buf_printf(out, "%u,%u", row->min, row->max);
	else
		buf_printf(out, "%u+", row->min);
}

/* The largest unit that leaves a whole number. */
static void add_in_units(struct buf *out, int64_t v, const struct conf_enum *units)
{
	for (; units->word; units++) {
		if (v && v % units->value == 0) {
			buf_printf(out, "%" PRId64 "%s", v / units->value, units->word);
			return;
		}
	}
	buf_printf(out, "%" PRId64, v);
}

static void add_default(struct buf *out, const struct conf_row *row)
{
	static const struct conf_enum sizes[] = {{"m", 1 << 20}, {"k", 1 << 10}, {NULL, 0}};
	static const struct conf_enum msecs[] = {{"d", 86400000}, {"h", HOUR}, {"m", MINUTE},
						 {"s", SECOND},	  {"ms", 1},   {NULL, 0}};
	static const struct conf_enum secs[] = {
		{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}, {NULL, 0}};

	if (row->def_text) {
		buf_printf(out, "%s", row->def_text);
		return;
	}
	switch (row->kind) {
	case CONF_FLAG:
		buf_printf(out, row->def ? "on" : "off");
		return;
	case CONF_NUM:
		if (row->def < 0) /* stands for "not given" */
			break;
		buf_printf(out, "%" PRId64, row->def);
		return;
	case CONF_SIZE:
		add_in_units(out, row->def, sizes);
		return;
	case CONF_MSEC:
		add_in_units(out, row->def, msecs);
		return;
	case CONF_SEC:
		add_in_units(out, row->def, secs);
		return;
	case CONF_ENUM:
		for (const struct conf_enum *e = row->arg; e->word; e++) {
			if (e->value == row->def) {
				buf_printf(out, "%s", e->word);
				return;
			}
		}
		break;
	default:
		break;
	}
	buf_printf(out, "-");
}

void manual_directives(struct buf *out)
{
	for (struct conf_mod *const *m = conf_mods(); *m; m++) {
		for (const struct conf_row *row = (*m)->rows; row && row->name; row++) {
			buf_printf(out, "%s\t", row->name);
			add_contexts(out, row->where);
			buf_printf(out, "\t");
			add_arguments(out, row);
			buf_printf(out, "\t");
			add_default(out, row);
			buf_printf(out, "\t%s\n", row->help ? row->help : "");
		}
	}
}
