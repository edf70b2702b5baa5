/* Words to values, by nginx's rules. */
#include "base/mutant.h"
#include "conf/conf.h"
#include "conf/problem.h"

bool conf_parse_flag(struct span s, bool *on)
{
	if (span_eq_nocase(s, SPAN("on")))
		*on = true;
	else if (span_eq_nocase(s, SPAN("off")))
		*on = false;
	else
		return false;
	return true;
}

bool conf_parse_size(struct span s, int64_t *bytes)
{
	int shift = 0;
	uint64_t n;

	if (s.n == 0)
		return false;
	switch (s.p[s.n - 1]) {
	case 'k':
	case 'K':
		shift = 10;
		break;
	case 'm':
	case 'M':
		shift = 20;
		break;
	case 'g':
	case 'G':
		shift = 30;
		break;
	}
	if (shift)
		s.n--;
	if (!span_to_u64(s, (uint64_t)INT64_MAX >> shift, &n))
		return false;
	*bytes = (int64_t)(n << shift);
	return true;
}

/* ---- times ---- */

#define TIME_DAY (24 * 3600)

enum step {
	STEP_START,
	STEP_YEAR,
	STEP_MONTH,
	STEP_WEEK,
	STEP_DAY,
	STEP_HOUR,
	STEP_MIN,
	STEP_SEC,
	STEP_MSEC,
	STEP_LAST
};

struct unit {
	char letter;
	enum step step;
	int64_t seconds;
};

static const struct unit units[] = {
	{'y', STEP_YEAR, 365 * TIME_DAY},
	{'M', STEP_MONTH, 30 * TIME_DAY},
	{'w', STEP_WEEK, 7 * TIME_DAY},
	{'d', STEP_DAY, TIME_DAY},
	{'h', STEP_HOUR, 3600},
	{'m', STEP_MIN, 60},
	{'s', STEP_SEC, 1},
	{' ', STEP_LAST, 1},
};

static const struct unit *unit_find(char c)
{
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (units[i].letter == c)
			return &units[i];
	return NULL;
}

/* *total += value * scale, unless that is more than an int64_t holds. */
static bool add_scaled(int64_t *total, int64_t value, int64_t scale)
{
	int64_t product;

	return !__builtin_mul_overflow(value, scale, &product) &&
	       !__builtin_add_overflow(*total, product, total);
}

/* Digits and units, the units in descending order; what has no unit at the end counts as seconds.
 * In milliseconds, years and months are not units and "ms" is one. per_second: 1 or 1000. */
static bool parse_time(struct span s, int64_t per_second, int64_t *out)
{
	bool is_ms = per_second != 1, valid = false;
	enum step step = is_ms ? STEP_MONTH : STEP_START;
	int64_t total = 0, value = 0;

	for (size_t i = 0; i < s.n; i++) {
		const struct unit *u;
		int64_t scale;

		if (s.p[i] >= '0' && s.p[i] <= '9') {
			if (__builtin_mul_overflow(value, 10, &value) ||
			    __builtin_add_overflow(value, s.p[i] - '0', &value))
				return false;
			valid = true;
			continue;
		}
		u = unit_find(s.p[i]);
		if (!u)
			return false;
		if (u->letter == 'm' && i + 1 < s.n && s.p[i + 1] == 's') {
			if (!is_ms || step >= STEP_MSEC || MUTANT(no_ms))
				return false;
			step = STEP_MSEC;
			scale = 1;
			i++;
		} else {
			if (step >= u->step)
				return false;
			step = u->step;
			scale = u->seconds * per_second;
		}
		if (!add_scaled(&total, value, scale))
			return false;
		value = 0;
		while (i + 1 < s.n && s.p[i + 1] == ' ')
			i++;
	}
	if (!valid || !add_scaled(&total, value, per_second))
		return false;
	*out = total;
	return true;
}

bool conf_parse_msec(struct span s, int64_t *ms)
{
	return parse_time(s, 1000, ms);
}

bool conf_parse_sec(struct span s, int64_t *sec)
{
	return parse_time(s, 1, sec);
}

/* ---- words ---- */

bool conf_param(struct span word, const char *name, struct span *value)
{
	struct span n = span_of(name);

	if (word.n <= n.n || !span_starts(word, n) || word.p[n.n] != '=')
		return false;
	*value = span_cut(word, n.n + 1, word.n);
	return true;
}

struct span conf_path(struct conf_ctx *ctx, struct span path, bool conf_relative)
{
	struct span prefix = conf_relative ? ctx->conf_prefix : ctx->prefix, out;

	if (path.n && path.p[0] == '/')
		prefix.n = 0;
	out = arena_printf(ctx->arena, "%.*s%.*s", SPAN_ARG(prefix), SPAN_ARG(path));
	if (!out.p)
		conf_problem(ctx, LOG_EMERG, (struct conf_place){0},
			     "no memory for the configuration");
	return out;
}
