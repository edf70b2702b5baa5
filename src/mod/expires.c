#include "mod/expires.h"
#include <time.h>
#include "conf/conf.h"

#define DAY_S 86400

const char *expires_parse(struct span s, bool modified, struct expires *out)
{
	bool minus = false;

	*out = (struct expires){.kind = modified ? EXPIRES_MODIFIED : EXPIRES_ACCESS};
	if (!modified) {
		static const struct {
			struct span word;
			int kind;
		} words[] = {{SPAN_INIT("epoch"), EXPIRES_EPOCH},
			     {SPAN_INIT("max"), EXPIRES_MAX},
			     {SPAN_INIT("off"), EXPIRES_OFF}};

		for (size_t i = 0; i < ARRAY_LEN(words); i++) {
			if (span_eq(s, words[i].word)) {
				out->kind = words[i].kind;
				return NULL;
			}
		}
	}
	if (s.n && s.p[0] == '@') {
		if (modified)
			return "daily time cannot be used with \"modified\" parameter";
		out->kind = EXPIRES_DAILY;
		s = span_cut(s, 1, s.n);
	} else if (s.n && (s.p[0] == '+' || s.p[0] == '-')) {
		minus = s.p[0] == '-';
		s = span_cut(s, 1, s.n);
	}
	if (!s.n || !conf_parse_sec(s, &out->seconds))
		return "invalid value";
	if (out->kind == EXPIRES_DAILY && out->seconds > DAY_S)
		return "daily time value must be less than 24 hours";
	if (minus)
		out->seconds = -out->seconds;
	return NULL;
}

/* The next moment at which local clocks show that time of day. */
static int64_t next_daily(int64_t now, int64_t seconds)
{
	time_t t = (time_t)now, next;
	struct tm tm;

	localtime_r(&t, &tm);
	tm.tm_hour = (int)(seconds / 3600);
	tm.tm_min = (int)(seconds / 60 % 60);
	tm.tm_sec = (int)(seconds % 60);
	tm.tm_isdst = -1;
	next = mktime(&tm);
	if (next > t)
		return next;
	tm.tm_mday++;
	tm.tm_isdst = -1;
	return mktime(&tm);
}

void expires_when(const struct expires *e, int64_t now, int64_t last_modified, int64_t *expires,
		  int64_t *max_age)
{
	if (e->kind == EXPIRES_DAILY)
		*expires = next_daily(now, e->seconds);
	else if (e->kind == EXPIRES_MODIFIED && last_modified >= 0)
		*expires = last_modified + e->seconds;
	else
		*expires = now + e->seconds;
	*max_age = *expires - now;
}
