/* HTTP dates (RFC 9110 5.6.7). Seconds since the epoch, UTC. No allocation, no locale, no time zone
 * tables. */
#pragma once
#include "base/span.h"

#define HTTP_DATE_LEN 29 /* "Sun, 06 Nov 1994 08:49:37 GMT" */
/* Accepts IMF-fixdate, RFC 850 (years 70-99 are 19xx) and asctime forms, nothing looser; whether
 * the day of the week is right is not checked. False: not a date. */
bool http_date_parse(struct span s, int64_t *seconds);
/* Writes HTTP_DATE_LEN bytes, no zero. Beyond the years 0 to 9999: the nearest second within. */
void http_date_format(int64_t seconds, char *out);
