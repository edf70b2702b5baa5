#include "serve/serve_fixture.h"

static struct serve_fixture fixture;

/* Every wording was compared with what nginx -t says. */
static const char *const listen_pairs[] = {
	"99999",
	"invalid port in \"99999\" of the \"listen\" directive\n",
	"0",
	"invalid port in \"0\" of the \"listen\" directive\n",
	"90-80",
	"invalid port range in \"90-80\" of the \"listen\" directive\n",
	"127.0.0.1:",
	"invalid port in \"127.0.0.1:\" of the \"listen\" directive\n",
	"127.0.0.1:x",
	"invalid port in \"127.0.0.1:x\" of the \"listen\" directive\n",
	"127.0.0.1:0",
	"invalid port in \"127.0.0.1:0\" of the \"listen\" directive\n",
	"127.0.0.1:70000",
	"invalid port in \"127.0.0.1:70000\" of the \"listen\" directive\n",
	"127.0.0.1:9-8",
	"invalid port range in \"127.0.0.1:9-8\" of the \"listen\" directive\n",
	":80",
	"no host in \":80\" of the \"listen\" directive\n",
	"[::1",
	"invalid host in \"[::1\" of the \"listen\" directive\n",
	"[::z]:80",
	"invalid IPv6 address in \"[::z]:80\" of the \"listen\" directive\n",
	"unix:",
	"no path in the unix domain socket in \"unix:\" of the \"listen\" directive\n",
	"nobody.invalid:80",
	"host not found in \"nobody.invalid:80\" of the \"listen\" directive\n",
	"127.0.0.1:80/x",
	"invalid host in \"127.0.0.1:80/x\" of the \"listen\" directive\n",
	"http://a:80",
	"invalid host in \"http://a:80\" of the \"listen\" directive\n",
	"80 backlog=0",
	"invalid backlog \"backlog=0\"\n",
	"80 backlog=x",
	"invalid backlog \"backlog=x\"\n",
	"80 backlog=-1",
	"invalid backlog \"backlog=-1\"\n",
	"80 rcvbuf=x",
	"invalid rcvbuf \"rcvbuf=x\"\n",
	"80 sndbuf=-1",
	"invalid sndbuf \"sndbuf=-1\"\n",
	"80 fastopen=x",
	"invalid fastopen \"fastopen=x\"\n",
	"80 setfib=1",
	"invalid parameter \"setfib=1\"\n",
	"80 foo",
	"invalid parameter \"foo\"\n",
	"80 spdy",
	"invalid parameter \"spdy\"\n",
	"80 ipv6only=on",
	"",
	"[::1]:80 ipv6only=x",
	"invalid parameter \"ipv6only=x\"\n",
	"[::1]:80 ipv6only=oh",
	"invalid ipv6only flags \"oh\"\n",
	"80 so_keepalive=x",
	"invalid so_keepalive value: \"x\"\n",
	"80 so_keepalive=",
	"invalid so_keepalive value: \"\"\n",
	"80 so_keepalive=::",
	"invalid so_keepalive value: \"::\"\n",
	"80 so_keepalive=1:2:3:4",
	"invalid so_keepalive value: \"1:2:3:4\"\n",
	"80 so_keepalive=1:2:x",
	"invalid so_keepalive value: \"1:2:x\"\n",
	"80; listen 80",
	"a duplicate listen 0.0.0.0:80\n",
	"80; listen *:80",
	"a duplicate listen 0.0.0.0:80\n",
	"80 default_server; server_name a; } server { listen 80 default",
	"a duplicate default server for 0.0.0.0:80\n",
	"80 backlog=5; server_name a; } server { listen 80 backlog=6",
	"duplicate listen options for 0.0.0.0:80\n",
	"80; server_name a; } server { listen 80 backlog=6",
	"",
	"80 bind; server_name a; } server { listen 80 bind",
	"duplicate listen options for 0.0.0.0:80\n",
	"127.0.0.1:80; } server { listen 80",
	"",
	NULL};

static void listen_mistakes(void **state)
{
	for (int i = 0; listen_pairs[i]; i += 2) {
		char text[256];

		snprintf(text, sizeof(text), "server { listen %s; }", listen_pairs[i]);
		expect_problems(text, listen_pairs[i + 1]);
	}
}

static void name_mistakes(void **state)
{
	static const char *const pairs[] = {
		"server_name *;", "server name \"*\" is invalid\n", "server_name .;",
		"server name \".\" is invalid\n", "server_name *.;",
		"server name \"*.\" is invalid\n", "server_name *a.com;",
		"server name \"*a.com\" is invalid\n", "server_name ~;",
		"empty regex in server name \"~\"\n", "server_name a/b;",
		"warn: server name \"a/b\" has suspicious symbols\n",
		/* nobody looks the names of a lone server up */
		"server_name www.*.com a*b.com;", "", "server_name .a.com .a.com a.com a.com;", "",
		"server_name www.*.com; } server { listen 80;",
		"invalid server name or wildcard \"www.*.com\" on 0.0.0.0:80\n",
		"server_name *.a.*; } server { listen 80;",
		"invalid server name or wildcard \"*.a.*\" on 0.0.0.0:80\n",
		"server_name a.com; } server { listen 80; server_name a.com;",
		"warn: conflicting server name \"a.com\" on 0.0.0.0:80, ignored\n",
		"server_name .a.com; } server { listen 80; server_name a.com;",
		"warn: conflicting server name \"a.com\" on 0.0.0.0:80, ignored\n",
		"server_name .a.com; } server { listen 80; server_name *.a.com;",
		"warn: conflicting server name \"*.a.com\" on 0.0.0.0:80, ignored\n",
		"server_name a.com a.com .a.com; } server { listen 80; server_name b.com;", "",
		NULL};

	for (int i = 0; pairs[i]; i += 2) {
		char text[256];

		snprintf(text, sizeof(text), "server { listen 80; %s }", pairs[i]);
		expect_problems(text, pairs[i + 1]);
	}
}

static const struct listen_spec *spec_of(const char *listen)
{
	char text[256];

	snprintf(text, sizeof(text), "server { listen %s; }", listen);
	serve_load_ok(&fixture, text);
	return &fixture.http->ports[0]->spec;
}

static void expect_name(const char *listen, const char *name)
{
	assert_span(spec_of(listen)->name, name);
	assert_int_equal(fixture.http->nports, 1);
	serve_unload(&fixture);
}

static void addresses(void **state)
{
	expect_name("8080", "0.0.0.0:8080");
	expect_name("*:8080", "0.0.0.0:8080");
	expect_name("*", "0.0.0.0:80");
	expect_name("127.0.0.1", "127.0.0.1:80");
	expect_name("[::]:81", "[::]:81");
	expect_name("[::1]", "[::1]:80");
	expect_name("localhost:82", "127.0.0.1:82");
	expect_name("unix:/run/x.sock", "unix:/run/x.sock");
}

static void options(void **state)
{
	const struct listen_spec *s = spec_of("[::]:80");

	assert_true(s->ipv6only && !s->bind);
	assert_int_equal(s->backlog, -1);
	assert_int_equal(s->keepalive, -1);
	serve_unload(&fixture);
	s = spec_of(
		"[::]:80 ipv6only=off backlog=7 rcvbuf=8k sndbuf=0 fastopen=3 deferred reuseport "
		"so_keepalive=30m::10");
	assert_true(!s->ipv6only && s->bind && s->deferred && s->reuseport);
	assert_int_equal(s->backlog, 7);
	assert_int_equal(s->rcvbuf, 8192);
	assert_int_equal(s->sndbuf, 0);
	assert_int_equal(s->fastopen, 3);
	assert_int_equal(s->keepalive, 1);
	assert_int_equal(s->keepidle, 1800);
	assert_int_equal(s->keepintvl, 0);
	assert_int_equal(s->keepcnt, 10);
	serve_unload(&fixture);
	s = spec_of("80 so_keepalive=off ssl http2 proxy_protocol");
	assert_int_equal(s->keepalive, 0);
	assert_true(fixture.http->ports[0]->ssl && fixture.http->ports[0]->http2 &&
		    fixture.http->ports[0]->proxy_protocol);
	serve_unload(&fixture);
}

static void ranges_and_defaults(void **state)
{
	serve_load_ok(&fixture, "server { listen 127.0.0.1:8001-8003; server_name a; }"
				"server { listen 8002; server_name b; }"
				"server { listen 127.0.0.1:8002 default_server; server_name c; }");
	assert_int_equal(fixture.http->nports, 4);
	assert_span(serve_port(&fixture, "127.0.0.1:8001")->default_server->name, "a");
	assert_span(serve_port(&fixture, "127.0.0.1:8002")->default_server->name, "c");
	assert_span(serve_port(&fixture, "127.0.0.1:8003")->default_server->name, "a");
	assert_span(serve_port(&fixture, "0.0.0.0:8002")->default_server->name, "b");
	serve_unload(&fixture);
	serve_load_ok(&fixture, "server { }");
	assert_span(fixture.http->ports[0]->spec.name,
		    geteuid() == 0 ? "0.0.0.0:80" : "0.0.0.0:8000");
	serve_unload(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listen_mistakes),     cmocka_unit_test(name_mistakes),
		cmocka_unit_test(addresses),	       cmocka_unit_test(options),
		cmocka_unit_test(ranges_and_defaults),
	};

	return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
