#include "http/date.h"

#define DAY_SECONDS 86400

static const char days[7][4] = {"Thu", "Fri", "Sat", "Sun",
				"Mon", "Tue", "Wed"}; /* from the epoch's */
static const char long_days[7][10] = {"Thursday", "Friday",  "Saturday", "Sunday",
				      "Monday",	  "Tuesday", "Wednesday"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
				   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct civil {
	int64_t year;
	unsigned month, day; /* from 1 */
	unsigned hour, minute, second;
};

/* Days since the epoch. Years are counted from March, so that the leap day is the last of a
 * year. */
static int64_t days_of(const struct civil *c)
{
	int64_t y = c->year - (c->month <= 2), era = (y >= 0 ? y : y - 399) / 400;
	int64_t yoe = y - era * 400, m = (c->month + 9) % 12;
	int64_t doy = (153 * m + 2) / 5 + c->day - 1;

	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static struct civil civil_of(int64_t day)
{
	int64_t z = day + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), m = (5 * doy + 2) / 153;
	struct civil c = {.year = yoe + era * 400};

	c.day = (unsigned)(doy - (153 * m + 2) / 5 + 1);
	c.month = (unsigned)(m < 10 ? m + 3 : m - 9);
	c.year += c.month <= 2;
	return c;
}

static bool is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned month_days(const struct civil *c)
{
	static const uint8_t n[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return n[c->month - 1] + (c->month == 2 && is_leap(c->year));
}

/* The text is eaten from the front; once something did not fit, ok stays false. */
struct date_reader {
	struct span rest;
	bool ok;
};

static void take_text(struct date_reader *r, struct span text)
{
	r->ok = r->ok && span_starts(r->rest, text);
	if (r->ok)
		r->rest = span_cut(r->rest, text.n, r->rest.n);
}

static unsigned take_digits(struct date_reader *r, size_t n)
{
	uint64_t v = 0;

	r->ok = r->ok && span_to_u64(span_cut(r->rest, 0, n), UINT64_MAX, &v) && r->rest.n >= n;
	if (r->ok)
		r->rest = span_cut(r->rest, n, r->rest.n);
	return (unsigned)v;
}

static unsigned take_month(struct date_reader *r)
{
	for (unsigned m = 0; m < 12 && r->ok; m++)
		if (span_starts(r->rest, span_make(months[m], 3))) {
			r->rest = span_cut(r->rest, 3, r->rest.n);
			return m + 1;
		}
	r->ok = false;
	return 1;
}

static void take_time(struct date_reader *r, struct civil *c)
{
	c->hour = take_digits(r, 2);
	take_text(r, SPAN(":"));
	c->minute = take_digits(r, 2);
	take_text(r, SPAN(":"));
	c->second = take_digits(r, 2);
}

/* "06 Nov 1994 08:49:37 GMT" */
static void take_imf(struct date_reader *r, struct civil *c)
{
	c->day = take_digits(r, 2);
	take_text(r, SPAN(" "));
	c->month = take_month(r);
	take_text(r, SPAN(" "));
	c->year = take_digits(r, 4);
	take_text(r, SPAN(" "));
	take_time(r, c);
	take_text(r, SPAN(" GMT"));
}

/* "06-Nov-94 08:49:37 GMT" */
static void take_rfc850(struct date_reader *r, struct civil *c)
{
	c->day = take_digits(r, 2);
	take_text(r, SPAN("-"));
	c->month = take_month(r);
	take_text(r, SPAN("-"));
	c->year = take_digits(r, 2);
	c->year += c->year < 70 ? 2000 : 1900; /* as nginx: no clock is asked */
	take_text(r, SPAN(" "));
	take_time(r, c);
	take_text(r, SPAN(" GMT"));
}

/* "Nov  6 08:49:37 1994" */
static void take_asctime(struct date_reader *r, struct civil *c)
{
	c->month = take_month(r);
	take_text(r, SPAN(" "));
	if (r->rest.n && r->rest.p[0] == ' ') {
		take_text(r, SPAN(" "));
		c->day = take_digits(r, 1);
	} else {
		c->day = take_digits(r, 2);
	}
	take_text(r, SPAN(" "));
	take_time(r, c);
	take_text(r, SPAN(" "));
	c->year = take_digits(r, 4);
}

/* The name of a day at the front is eaten. What it says is not compared with the date: senders
 * err. */
static bool take_day(struct date_reader *r, bool is_long)
{
	for (unsigned d = 0; d < 7; d++) {
		struct span name = is_long ? span_of(long_days[d]) : span_make(days[d], 3);

		if (span_starts(r->rest, name)) {
			r->rest = span_cut(r->rest, name.n, r->rest.n);
			return true;
		}
	}
	return false;
}

bool http_date_parse(struct span s, int64_t *seconds)
{
	struct date_reader r = {s, true};
	struct civil c = {0};

	if (take_day(&r, true)) {
		take_text(&r, SPAN(", "));
		take_rfc850(&r, &c);
	} else if (!take_day(&r, false)) {
		return false;
	} else if (r.rest.n && r.rest.p[0] == ',') {
		take_text(&r, SPAN(", "));
		take_imf(&r, &c);
	} else {
		take_text(&r, SPAN(" "));
		take_asctime(&r, &c);
	}
	/* A leap second is one more than :59, as timegm counts it. */
	if (!r.ok || r.rest.n || c.day < 1 || c.day > month_days(&c) || c.hour > 23 ||
	    c.minute > 59 || c.second > 60)
		return false;
	*seconds = days_of(&c) * DAY_SECONDS + c.hour * 3600 + c.minute * 60 + c.second;
	return true;
}

static char *put_two(char *at, unsigned v, char after)
{
	at[0] = (char)('0' + v / 10 % 10);
	at[1] = (char)('0' + v % 10);
	at[2] = after;
	return at + 3;
}

void http_date_format(int64_t seconds, char *out)
{
	int64_t day, left;
	struct civil c;
	char *at = out;

	/* Four digits of year are all the form has. */
	if (seconds < -62167219200)
		seconds = -62167219200;
	if (seconds > 253402300799)
		seconds = 253402300799;
	day = seconds / DAY_SECONDS - (seconds % DAY_SECONDS < 0);
	left = seconds - day * DAY_SECONDS;
	c = civil_of(day);
	memcpy(at, days[((day % 7) + 7) % 7], 3);
	memcpy(at + 3, ", ", 2);
	at = put_two(at + 5, c.day, ' ');
	memcpy(at, months[c.month - 1], 3);
	at[3] = ' ';
	at = put_two(at + 4, (unsigned)(c.year / 100), ' ') - 1;
	at = put_two(at, (unsigned)(c.year % 100), ' ');
	at = put_two(at, (unsigned)(left / 3600), ':');
	at = put_two(at, (unsigned)(left / 60 % 60), ':');
	at = put_two(at, (unsigned)(left % 60), ' ');
	memcpy(at, "GMT", 3);
}
