#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"

static const char *const level_names[] = {
	"stderr", "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug",
};

static struct span no_clock(void)
{
	return SPAN("1970/01/01 00:00:00");
}

struct span (*log_time)(void) = no_clock;

static void stderr_write(struct log_sink *s, enum log_level level, struct span line)
{
	ssize_t n = write(STDERR_FILENO, line.p, line.n);

	/* There is nowhere to say that stderr is gone. */
	(void)n;
}

static struct log_sink stderr_sink = {.level = LOG_NOTICE, .write = stderr_write};
struct logger log_main = {.sinks = &stderr_sink};

/* One line under construction per thread: on a coroutine's stack it would be too large. */
static _Thread_local struct {
	char raw[LOG_LINE_MAX]; /* message and context as given */
	char line[LOG_LINE_MAX];
	bool busy; /* a sink that logs would overwrite the line it is writing */
	int pid, tid;
} work;

static void forget_pid(void)
{
	work.pid = 0;
}

static void register_forget_pid(void)
{
	pthread_atfork(NULL, NULL, forget_pid);
}

static void know_pid(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (likely(work.pid))
		return;
	pthread_once(&once, register_forget_pid);
	work.pid = getpid();
	work.tid = gettid();
}

const char *log_level_name(enum log_level level)
{
	BUG_ON((unsigned)level >= ARRAY_LEN(level_names));
	return level_names[level];
}

int log_level_find(struct span name)
{
	/* "stderr" is a place in the configuration, not a level. */
	for (unsigned i = LOG_EMERG; i < ARRAY_LEN(level_names); i++)
		if (span_eq(name, span_of(level_names[i])))
			return (int)i;
	return -1;
}

bool log_wants(const struct logger *l, enum log_level level)
{
	for (const struct log_sink *s = (l ? l : &log_main)->sinks; s; s = s->next)
		if (level <= s->level)
			return true;
	return false;
}

/* What snprintf has really written into room bytes. */
static size_t written(int n, size_t room)
{
	if (n < 0 || room == 0)
		return 0;
	return MIN_OF((size_t)n, room - 1);
}

static size_t raw_build(const struct logger *l, int err, const char *fmt, va_list ap)
{
	size_t size = sizeof(work.raw), n = written(vsnprintf(work.raw, size, fmt, ap), size);

	if (err) {
		const char *text = strerrordesc_np(err);

		n += written(snprintf(work.raw + n, size - n, " (%d: %s)", err,
				      text ? text : "Unknown error"),
			     size - n);
	}
	if (l->context) {
		size_t more = l->context(l, work.raw + n, size - n);

		BUG_ON(more > size - n);
		n += more;
	}
	return n;
}

/* Appends the raw text to the line at `at` with control bytes as \xNN, and a line feed. */
static size_t line_finish(size_t at, size_t nraw)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t room = sizeof(work.line) - 1;

	for (size_t i = 0; i < nraw; i++) {
		unsigned char c = (unsigned char)work.raw[i];

		if (likely(c >= 0x20 && c != 0x7f)) {
			if (at + 1 > room)
				break;
			work.line[at++] = (char)c;
			continue;
		}
		if (at + 4 > room)
			break;
		work.line[at++] = '\\';
		work.line[at++] = 'x';
		work.line[at++] = hex[c >> 4];
		work.line[at++] = hex[c & 15];
	}
	work.line[at++] = '\n';
	return at;
}

void log_vmsg(const struct logger *l, enum log_level level, int err, const char *fmt, va_list ap)
{
	size_t nraw, n, size = sizeof(work.line);
	struct span now;

	l = l ? l : &log_main;
	if (!log_wants(l, level) || work.busy)
		return;
	work.busy = true;
	know_pid();
	nraw = raw_build(l, err, fmt, ap);
	now = log_time();
	n = written(snprintf(work.line, size, "%.*s [%s] %d#%d: ", SPAN_ARG(now),
			     log_level_name(level), work.pid, work.tid),
		    size);
	if (l->connection)
		n += written(snprintf(work.line + n, size - n, "*%llu ",
				      (unsigned long long)l->connection),
			     size - n);
	n = line_finish(n, nraw);
	for (struct log_sink *s = l->sinks; s; s = s->next)
		if (level <= s->level)
			s->write(s, level, span_make(work.line, n));
	work.busy = false;
}

void log_msg(const struct logger *l, enum log_level level, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vmsg(l, level, err, fmt, ap);
	va_end(ap);
}
