/* The values of `expires`. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/span.h"

struct expires {
	enum {
		EXPIRES_OFF,
		EXPIRES_ACCESS,
		EXPIRES_MODIFIED,
		EXPIRES_DAILY,
		EXPIRES_EPOCH,
		EXPIRES_MAX
	} kind;
	int64_t seconds; /* ACCESS, MODIFIED: may be negative; DAILY: of the day, local time */
};

/* "1h", "+1h", "-1", "@15h30m", "epoch", "max", "off". modified: what follows the word `modified`.
 * NULL, or what is wrong with it, for a message. */
const char *expires_parse(struct span s, bool modified, struct expires *out);
/* When it expires, and how long that is from now, both in seconds; last_modified -1: unknown. For
 * ACCESS, MODIFIED and DAILY. */
void expires_when(const struct expires *e, int64_t now, int64_t last_modified, int64_t *expires,
		  int64_t *max_age);
