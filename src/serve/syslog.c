#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "conf/opener.h"
#include "conf/snapshot.h"
#include "io/loop.h"
#include "serve/syslog.h"

#define SYSLOG_PORT 514
#define HEAD_MAX    512 /* bytes before the message */

static const char *const facilities[] = {
	"kern",	  "user",   "mail",	"daemon", "auth",   "intern", "lpr",	"news",
	"uucp",	  "clock",  "authpriv", "ftp",	  "ntp",    "audit",  "alert",	"cron",
	"local0", "local1", "local2",	"local3", "local4", "local5", "local6", "local7",
};
static const char *const severities[] = {
	"emerg", "alert", "crit", "error", "warn", "notice", "info", "debug",
};

static int word_find(const char *const *words, size_t n, struct span word)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq(word, span_of(words[i])))
			return (int)i;
	return -1;
}

/* ---- parameters ---- */

static int set_server(struct conf_call *c, unsigned word, struct syslog *s, struct span server)
{
	struct opener *o = c->ctx->opener;
	struct sockaddr_storage sa;
	uint64_t port = SYSLOG_PORT;
	ssize_t colon;
	int r;

	if (s->addr.len)
		return conf_error(c, word, "duplicate syslog \"server\"");
	if (server.n == 0)
		return conf_error(c, word, "no syslog server specified");
	if (addr_parse(server, SYSLOG_PORT, &s->addr))
		return CONF_OK;
	colon = span_rfind_char(server, ':');
	if (span_starts(server, SPAN("unix:")) ||
	    (colon >= 0 &&
	     (!span_to_u64(span_cut(server, (size_t)colon + 1, server.n), 65535, &port) ||
	      port == 0)))
		return conf_error(c, word, "invalid port or path in syslog server \"%.*s\"",
				  SPAN_ARG(server));
	r = o->ops->resolve(o, colon >= 0 ? span_cut(server, 0, (size_t)colon) : server, &sa, 1);
	if (r <= 0)
		return conf_error(c, word, "host not found in syslog server \"%.*s\"",
				  SPAN_ARG(server));
	s->addr.len = sa.ss_family == AF_INET6 ? sizeof(s->addr.in6) : sizeof(s->addr.in);
	memcpy(&s->addr.sa, &sa, s->addr.len);
	addr_set_port(&s->addr.sa, (int)port);
	return CONF_OK;
}

static int set_tag(struct conf_call *c, unsigned word, struct syslog *s, struct span tag)
{
	if (tag.n > SYSLOG_TAG_MAX)
		return conf_error(c, word, "syslog tag length exceeds %d", SYSLOG_TAG_MAX);
	for (size_t i = 0; i < tag.n; i++) {
		char l = ascii_lower(tag.p[i]);

		if (!(l >= 'a' && l <= 'z') && !(l >= '0' && l <= '9') && l != '_')
			return conf_error(c, word,
					  "syslog \"tag\" only allows alphanumeric characters "
					  "and underscore");
	}
	s->tag = tag;
	return CONF_OK;
}

static int set_param(struct conf_call *c, unsigned word, struct syslog *s, struct span param,
		     unsigned *seen)
{
	struct span v = {0};
	unsigned bit;

	if (span_eq(param, SPAN("nohostname"))) {
		s->host = SPAN("");
		return CONF_OK;
	}
	if (conf_param(param, "server", &v))
		return set_server(c, word, s, v);
	bit = conf_param(param, "facility", &v)	  ? 1
	      : conf_param(param, "severity", &v) ? 2
	      : conf_param(param, "tag", &v)	  ? 4
						  : 0;
	if (!bit)
		return conf_error(c, word, "unknown syslog parameter \"%.*s\"", SPAN_ARG(param));
	if (*seen & bit)
		return conf_error(c, word, "duplicate syslog parameter \"%.*s\"", SPAN_ARG(param));
	*seen |= bit;
	if (bit == 4)
		return set_tag(c, word, s, v);
	if (bit == 1)
		s->facility = word_find(facilities, ARRAY_LEN(facilities), v);
	else
		s->severity = word_find(severities, ARRAY_LEN(severities), v);
	if (s->facility < 0 || s->severity < 0)
		return conf_error(c, word, "unknown syslog %s \"%.*s\"",
				  bit == 1 ? "facility" : "severity", SPAN_ARG(v));
	return CONF_OK;
}

static void syslog_close(void *arg)
{
	struct syslog *s = arg;

	if (s->fd >= 0)
		sys->close(s->fd);
	s->fd = -1;
}

/* As the system gives it, in lower case: RFC 3164 wants no domain, but nginx's users filter by it.
 */
static struct span host_name(struct arena *a)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) < 0)
		return SPAN("-");
	for (char *c = name; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
	return arena_dup(a, span_of(name));
}

struct syslog *syslog_new(struct conf_call *c, unsigned word, struct span params)
{
	struct syslog *s = arena_zalloc(c->ctx->arena, sizeof(*s));
	struct span part, rest = params;
	unsigned seen = 0;

	if (!s)
		goto no_memory;
	s->facility = 23;
	s->severity = SYSLOG_INFO;
	s->tag = SPAN("nginx");
	s->fd = -1;
	s->host = host_name(c->ctx->arena);
	if (!s->host.p)
		goto no_memory;
	while (span_split(&rest, ',', &part))
		if (set_param(c, word, s, part, &seen) < 0)
			return NULL;
	if (!s->addr.len) {
		conf_error(c, word, "no syslog server specified");
		return NULL;
	}
	if (c->ctx->snapshot && snapshot_on_free(c->ctx->snapshot, syslog_close, s) < 0)
		goto no_memory;
	return s;
no_memory:
	conf_error(c, word, "no memory for the configuration");
	return NULL;
}

/* ---- sending ---- */

size_t syslog_format(const struct syslog *s, int severity, struct span time, struct span msg,
		     char *p, size_t size)
{
	int n;

	if (msg.n && msg.p[msg.n - 1] == '\n')
		msg.n--;
	n = snprintf(p, size, "<%d>%.*s %.*s%s%.*s: ", s->facility * 8 + severity, SPAN_ARG(time),
		     SPAN_ARG(s->host), s->host.n ? " " : "", SPAN_ARG(s->tag));
	if (n < 0)
		return 0;
	n = MIN_OF(n, (int)size - 1);
	msg.n = MIN_OF(msg.n, size - (size_t)n);
	memcpy(p + n, msg.p ? msg.p : "", msg.n);
	return (size_t)n + msg.n;
}

/* One socket per server for all threads. It is never closed while the snapshot lives: connecting a
 * datagram socket again is enough after its server was restarted, and cannot disturb another
 * thread. */
static int socket_get(struct syslog *s)
{
	int fd = s->fd, none = -1;

	if (fd >= 0)
		return fd;
	fd = sys->socket(s->addr.sa.sa_family, SOCK_DGRAM, 0);
	if (fd < 0)
		return fd;
	if (sys->connect(fd, &s->addr.sa, s->addr.len) < 0) {
		/* Left unconnected: the send fails and the next one tries again. */
	}
	if (!atomic_compare_exchange_strong(&s->fd, &none, fd)) {
		sys->close(fd);
		fd = none;
	}
	return fd;
}

static int send_once(struct syslog *s, int fd, const char *p, size_t n)
{
	ssize_t r = sys->send(fd, p, n, MSG_DONTWAIT);

	if (r >= 0 || r == -EAGAIN)
		return (int)MIN_OF(r, 0);
	/* The refusal of an earlier datagram is told to this one, or the server is a new one. */
	r = sys->connect(fd, &s->addr.sa, s->addr.len);
	if (r < 0)
		return (int)r;
	r = sys->send(fd, p, n, MSG_DONTWAIT);
	return (int)MIN_OF(r, 0);
}

int syslog_send(struct syslog *s, int severity, struct span msg)
{
	static _Thread_local char text[HEAD_MAX + SYSLOG_MSG_MAX];
	size_t n = syslog_format(s, severity, io_time_syslog(), msg, text, sizeof(text));
	int r = socket_get(s);

	if (r >= 0)
		r = send_once(s, r, text, n);
	if (r < 0) {
		char to[ADDR_TEXT_MAX];

		if (!atomic_exchange(&s->said, true))
			log_msg(NULL, LOG_ALERT, -r, "send() to syslog server %.*s failed",
				(int)addr_format(&s->addr.sa, true, to, sizeof(to)), to);
	} else if (atomic_load_explicit(&s->said, memory_order_relaxed)) {
		s->said = false;
	}
	return r;
}
