#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include "main/logs.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_sink *chain;
static int start_fd = -1;

static void pass_on(struct log_sink *s, enum log_level level, struct span line)
{
	pthread_mutex_lock(&lock);
	for (struct log_sink *c = chain; c; c = c->next)
		if (level <= c->level)
			c->write(c, level, line);
	pthread_mutex_unlock(&lock);
}

static struct log_sink main_sink = {.level = LOG_NOTICE, .write = pass_on};

static void start_write(struct log_sink *s, enum log_level level, struct span line)
{
	/* Nobody is left to tell. */
	if (start_fd >= 0 && write(start_fd, line.p, line.n) < 0)
		return;
}

/* "nginx: [emerg] text" out of "date [emerg] 1#1: text". */
static void console_write(struct log_sink *s, enum log_level level, struct span line)
{
	ssize_t colon = span_find(line, SPAN(": "));
	char text[LOG_LINE_MAX + 32];
	int n;

	if (colon < 0)
		return;
	line = span_cut(line, (size_t)colon + 2, line.n);
	n = snprintf(text, sizeof(text), "nginx: [%s] %.*s", log_level_name(level), SPAN_ARG(line));
	if (write(STDERR_FILENO, text, MIN_OF((size_t)n, sizeof(text) - 1)) < 0)
		return;
}

static struct log_sink console_sink = {.level = LOG_WARN, .write = console_write};
static struct log_sink start_sink = {.level = LOG_NOTICE, .write = start_write};
static struct log_sink start_only = {.level = LOG_NOTICE, .write = start_write};
static const struct logger start_logger = {.sinks = &start_only};

void logs_start(struct span path)
{
	char name[4096];

	start_sink.next = &console_sink;
	chain = &start_sink;
	log_main.sinks = &main_sink;
	if (span_eq(path, SPAN("stderr"))) {
		start_fd = STDERR_FILENO;
		chain = &start_only; /* once is enough */
		return;
	}
	if (span_to_cstr(path, name, sizeof(name)))
		start_fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	else
		errno = ENAMETOOLONG;
	if (start_fd < 0)
		log_msg(NULL, LOG_ALERT, 0,
			"could not open error log file: open() \"%.*s\" failed (%d: %s)",
			SPAN_ARG(path), errno, strerrordesc_np(errno));
}

const struct logger *logs_start_file(void)
{
	return &start_logger;
}

void logs_set(struct log_sink *to)
{
	enum log_level level = LOG_STDERR;

	for (struct log_sink *s = to; s; s = s->next)
		level = MAX_OF(level, s->level);
	pthread_mutex_lock(&lock);
	chain = to;
	if (main_sink.level != level)
		main_sink.level = level;
	if (start_fd > STDERR_FILENO)
		close(start_fd); /* kept, it would hold a file that was moved away */
	start_fd = -1;
	pthread_mutex_unlock(&lock);
}

void logs_take_stderr(int fd)
{
	if (fd < 0)
		return;
	bug_log_fd = -1; /* stderr is the log now: the last words go there once */
	dup2(fd, STDERR_FILENO);
}
