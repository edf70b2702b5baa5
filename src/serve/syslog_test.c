#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "conf/fixture.h"
#include "io/loop.h"
#include "serve/syslog.h"

static struct syslog *made;

static int set_log(struct conf_call *c)
{
	made = syslog_new(c, 1, conf_arg(c, 1));
	return made ? CONF_OK : CONF_ERR;
}

static const struct conf_row rows[] = {
	MCUSTOM("log", IN_MAIN, 1, 1, CONF_MULTI, set_log, "test"),
	MEND,
};
static struct conf_mod mod = {.name = "test", .rows = rows};

static struct fixture f;

static const char *parse(const char *text)
{
	fixture_init(&f, NULL);
	made = NULL;
	assert_int_equal(fixture_parse(&f, span_of(text)), CONF_OK);
	conf_apply_all(&f.ctx, &f.main);
	return fixture_problems(&f);
}

static const char *format(int severity, const char *msg)
{
	static char out[256];
	size_t n = syslog_format(made, severity, SPAN("Nov  6 08:49:37"), span_of(msg), out,
				 sizeof(out) - 1);

	out[n] = 0;
	return out;
}

static void test_format(void **state)
{
	assert_string_equal(parse("log server=127.0.0.1:5140;"), "");
	made->host = SPAN("box");
	assert_string_equal(format(made->severity, "hello\n"),
			    "<190>Nov  6 08:49:37 box nginx: hello");
	assert_string_equal(format(SYSLOG_ERR, "a\nb"), "<187>Nov  6 08:49:37 box nginx: a\nb");
	assert_int_equal(addr_port(&made->addr.sa), 5140);
	fixture_fini(&f);
	assert_string_equal(
		parse("log server=[::1],facility=kern,severity=emerg,tag=me_1,nohostname;"), "");
	assert_string_equal(format(made->severity, "x"), "<0>Nov  6 08:49:37 me_1: x");
	assert_int_equal(addr_port(&made->addr.sa), 514);
	fixture_fini(&f);
}

/* The name is passed as it is, but in lower case: the test's own system call. */
int gethostname(char *name, size_t size)
{
	snprintf(name, size, "Front-1.Example.ORG");
	return 0;
}

static void test_host(void **state)
{
	assert_string_equal(parse("log server=127.0.0.1;"), "");
	assert_string_equal(format(made->severity, "x"),
			    "<190>Nov  6 08:49:37 front-1.example.org nginx: x");
	fixture_fini(&f);
}

static void test_mistakes(void **state)
{
	static const char *const texts[] = {
		"log facility=kern;",
		"log server=127.0.0.1,facility=x;",
		"log server=127.0.0.1,severity=x;",
		"log server=127.0.0.1,tag=a-b;",
		"log server=127.0.0.1,server=127.0.0.1;",
		"log server=127.0.0.1,tag=012345678901234567890123456789012;",
		"log server=127.0.0.1,what=1;",
		"log server=x.invalid;",
		"log server=;",
		"log server=h:0;",
		"log server=127.0.0.1,severity=info,severity=info;",
	};

	for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
		assert_true(strncmp(parse(texts[i]), "emerg", 5) == 0);
		fixture_fini(&f);
	}
}

static int bound(struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	unlink(un->sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)un, sizeof(*un)), 0);
	return fd;
}

static void expect(int fd, const char *end)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got), 0);

	assert_true(n > 0);
	assert_true(span_ends(span_make(got, (size_t)n), span_of(end)));
}

/* The server goes and another comes: nothing but the messages in between are lost. */
static void test_recovers(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char text[256];
	int fd;

	snprintf(un.sun_path, sizeof(un.sun_path), "/tmp/sluice-syslog-%d", getpid());
	snprintf(text, sizeof(text), "log server=unix:%s,nohostname;", un.sun_path);
	assert_string_equal(parse(text), "");
	log_main.sinks = NULL;
	assert_true(syslog_send(made, SYSLOG_INFO, SPAN("nobody is there")) < 0);
	fd = bound(&un);
	assert_int_equal(syslog_send(made, SYSLOG_INFO, SPAN("one")), 0);
	expect(fd, " nginx: one");
	close(fd);
	assert_true(syslog_send(made, SYSLOG_INFO, SPAN("two")) < 0);
	fd = bound(&un);
	assert_int_equal(syslog_send(made, SYSLOG_INFO, SPAN("three")), 0);
	expect(fd, " nginx: three");
	close(fd);
	unlink(un.sun_path);
	close(made->fd);
	fixture_fini(&f);
}

int main(void)
{
	struct conf_mod *const mods[] = {&mod, NULL};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_recovers),
	};

	conf_mods_init(mods);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
