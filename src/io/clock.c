/* The wall clock, its texts, and the random numbers of a thread. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/bug.h"
#include "base/hash.h"
#include "base/log.h"
#include "io/clock.h"
#include "io/loop.h"

static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
				   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

enum { TEXT_HTTP, TEXT_LOG, TEXT_ISO8601, TEXT_ERR, TEXT_SYSLOG, TEXTS };

struct text {
	uint64_t sec; /* of which p is the text; 0: none yet */
	size_t n;
	char p[40];
};

static _Thread_local struct {
	uint64_t wall_ms, turn; /* read in that turn of the loop */
	bool known;
	struct text texts[TEXTS];
	uint64_t rand[4];
	bool seeded;
} clk;

void io_clock_forget(void)
{
	clk.known = clk.seeded = false;
}

uint64_t io_wall_ms(void)
{
	/* Without a loop there are no turns, and every reading is fresh. */
	if (!clk.known || clk.turn != co_sched.turn || !io_loop) {
		clk.wall_ms = sys->wall_us() / 1000;
		clk.turn = co_sched.turn;
		clk.known = true;
	}
	return clk.wall_ms;
}

/* Minutes east of Greenwich, as sign, hours and minutes. */
#define ZONE_ARGS(tm) (tm)->tm_gmtoff < 0 ? '-' : '+', zone_minutes(tm) / 60, zone_minutes(tm) % 60

static int zone_minutes(const struct tm *tm)
{
	long off = tm->tm_gmtoff / 60;

	return (int)(off < 0 ? -off : off);
}

static int text_format(int kind, char *p, size_t size, const struct tm *t)
{
	int year = t->tm_year + 1900, mon = t->tm_mon + 1;

	switch (kind) {
	case TEXT_HTTP:
		return snprintf(p, size, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[t->tm_wday],
				t->tm_mday, months[t->tm_mon], year, t->tm_hour, t->tm_min,
				t->tm_sec);
	case TEXT_LOG:
		return snprintf(p, size, "%02d/%s/%04d:%02d:%02d:%02d %c%02d%02d", t->tm_mday,
				months[t->tm_mon], year, t->tm_hour, t->tm_min, t->tm_sec,
				ZONE_ARGS(t));
	case TEXT_ISO8601:
		return snprintf(p, size, "%04d-%02d-%02dT%02d:%02d:%02d%c%02d:%02d", year, mon,
				t->tm_mday, t->tm_hour, t->tm_min, t->tm_sec, ZONE_ARGS(t));
	case TEXT_ERR:
		return snprintf(p, size, "%04d/%02d/%02d %02d:%02d:%02d", year, mon, t->tm_mday,
				t->tm_hour, t->tm_min, t->tm_sec);
	default:
		return snprintf(p, size, "%s %2d %02d:%02d:%02d", months[t->tm_mon], t->tm_mday,
				t->tm_hour, t->tm_min, t->tm_sec);
	}
}

static struct span text_get(int kind)
{
	struct text *x = &clk.texts[kind];
	uint64_t sec = io_wall_ms() / 1000;
	time_t t = (time_t)sec;
	struct tm tm = {0};
	int n;

	if (x->sec != sec || x->n == 0) {
		if (kind == TEXT_HTTP)
			gmtime_r(&t, &tm);
		else
			localtime_r(&t, &tm);
		n = text_format(kind, x->p, sizeof(x->p), &tm);
		x->n = n < 0 ? 0 : MIN_OF((size_t)n, sizeof(x->p) - 1);
		x->sec = sec;
	}
	return span_make(x->p, x->n);
}

struct span io_time_http(void)
{
	return text_get(TEXT_HTTP);
}

struct span io_time_log(void)
{
	return text_get(TEXT_LOG);
}

struct span io_time_iso8601(void)
{
	return text_get(TEXT_ISO8601);
}

struct span io_time_err(void)
{
	return text_get(TEXT_ERR);
}

struct span io_time_syslog(void)
{
	return text_get(TEXT_SYSLOG);
}

static uint64_t rotate_left(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

/* xoshiro256**, by Blackman and Vigna. */
uint64_t io_rand64(void)
{
	uint64_t *s = clk.rand, result, t;

	if (unlikely(!clk.seeded)) {
		/* Without randomness nothing here is safe to run. */
		BUG_ON(sys->random(s, sizeof(clk.rand)) < 0);
		s[0] |= 1; /* all zero would stay so */
		clk.seeded = true;
	}
	result = rotate_left(s[1] * 5, 7) * 9;
	t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

void io_clock_init(void)
{
	tzset();
	log_time = io_time_err;
	BUG_ON(sys->random(&hash_seed, sizeof(hash_seed)) < 0);
	signal(SIGPIPE, SIG_IGN);
}
