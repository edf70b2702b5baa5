#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "net/addr.h"

static void check_format(const char *in, const char *with_port, const char *without, const char *ip)
{
	char buf[ADDR_TEXT_MAX];
	struct net_addr a;

	assert_true(addr_parse(span_of(in), 80, &a));
	assert_true(span_eq(span_make(buf, addr_format(&a.sa, true, buf, sizeof(buf))),
			    span_of(with_port)));
	assert_true(span_eq(span_make(buf, addr_format(&a.sa, false, buf, sizeof(buf))),
			    span_of(without)));
	assert_true(span_eq(span_make(buf, addr_format_ip(&a.sa, buf, sizeof(buf))), span_of(ip)));
}

static void formats(void **state)
{
	check_format("1.2.3.4", "1.2.3.4:80", "1.2.3.4", "1.2.3.4");
	check_format("255.0.10.199:65535", "255.0.10.199:65535", "255.0.10.199", "255.0.10.199");
	check_format("[::1]", "[::1]:80", "[::1]", "::1");
	check_format("[2001:DB8::a]:443", "[2001:db8::a]:443", "[2001:db8::a]", "2001:db8::a");
	check_format("2001:db8::a", "[2001:db8::a]:80", "[2001:db8::a]", "2001:db8::a");
	check_format("[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]",
		     "::ffff:1.2.3.4");
	check_format("unix:/run/x.sock", "unix:/run/x.sock", "unix:/run/x.sock", "unix:");
	check_format("unix:@name", "unix:@name", "unix:@name", "unix:");
}

static void cut_texts_stay_inside(void **state)
{
	struct net_addr a;
	char buf[8];

	assert_true(addr_parse(SPAN("[2001:db8::a]:443"), 0, &a));
	for (size_t n = 0; n <= sizeof(buf); n++)
		assert_int_equal(addr_format(&a.sa, true, buf, n), n);
}

static void refuses(void **state)
{
	static const char *const bad[] = {"",
					  "1.2.3",
					  "1.2.3.4.5",
					  "1.2.3.256",
					  "01.2.3.4",
					  "1.2.3.4:",
					  "1.2.3.4:0",
					  "1.2.3.4:65536",
					  "1.2.3.4:-1",
					  "1.2.3.4: 80",
					  "host",
					  "host:80",
					  "[1.2.3.4]:80",
					  "[::1",
					  "::1]",
					  "[::1]80",
					  "[::1]:",
					  "[]",
					  "unix:",
					  "unix:@",
					  ":80",
					  "1.2.3.4:80:90",
					  "[::1%lo]"};
	struct net_addr a;
	char path[200] = "unix:";

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(addr_parse(span_of(bad[i]), 80, &a));
	memset(path + 5, 'x', 108);
	assert_false(addr_parse(span_make(path, 5 + 108), 0, &a));
	assert_true(addr_parse(span_make(path, 5 + 107), 0, &a));
	assert_int_equal(a.len, sizeof(struct sockaddr_un));
	assert_false(addr_parse(span_make("unix:/a\0b", 9), 0, &a));
	assert_false(addr_parse_ip(SPAN("1.2.3.4:80"), &a));
	assert_true(addr_parse_ip(SPAN("[::1]"), &a));
	assert_true(addr_parse_ip(SPAN("::"), &a));
}

static void equal(void **state)
{
	static const struct {
		const char *a, *b;
		bool eq;
	} t[] = {
		{"1.2.3.4:80", "1.2.3.4", true}, {"1.2.3.4:80", "1.2.3.4:81", false},
		{"1.2.3.4", "1.2.3.5", false},	 {"1.2.3.4", "[::ffff:1.2.3.4]", false},
		{"[::1]", "[0:0::1]:80", true},	 {"unix:/a", "unix:/a", true},
		{"unix:/a", "unix:/ab", false},	 {"unix:@a", "unix:@a", true},
		{"unix:@a", "unix:@b", false},	 {"unix:@a", "unix:a", false},
	};
	struct net_addr a, b;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		assert_true(addr_parse(span_of(t[i].a), 80, &a) &&
			    addr_parse(span_of(t[i].b), 80, &b));
		assert_int_equal(addr_eq(&a.sa, &b.sa), t[i].eq);
	}
}

static void networks(void **state)
{
	static const struct {
		const char *net, *ip;
		bool match, host;
	} t[] = {
		{"10.0.0.0/8", "10.255.1.2", true, false},
		{"10.0.0.0/8", "11.0.0.0", false, false},
		{"10.1.2.3/8", "10.0.0.9", true, true},
		{"1.2.3.4", "1.2.3.4", true, false},
		{"1.2.3.4", "1.2.3.5", false, false},
		{"0.0.0.0/0", "9.9.9.9", true, false},
		{"10.0.0.0/8", "::ffff:10.1.1.1", true, false},
		{"10.0.0.0/8", "::10.1.1.1", false, false},
		{"::/0", "::1", true, false},
		{"::/0", "1.2.3.4", false, false},
		{"2001:db8::/33", "2001:db8:7fff::1", true, false},
		{"2001:db8::/33", "2001:db8:8000::1", false, false},
		{"192.168.0.0/31", "192.168.0.1", true, false},
		{"192.168.0.0/31", "192.168.0.2", false, false},
	};
	static const char *const bad[] = {"10.0.0.0/33", "::/129",    "10.0.0.0/",  "10/8",
					  "/8",		 "1.2.3.4/a", "1.2.3.4/8/8"};
	struct net_addr a;
	struct cidr c;
	bool host;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		assert_true(cidr_parse(span_of(t[i].net), &c, &host) &&
			    addr_parse_ip(span_of(t[i].ip), &a));
		assert_int_equal(cidr_match(&c, &a.sa), t[i].match);
		assert_int_equal(host, t[i].host);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(cidr_parse(span_of(bad[i]), &c, &host));
	assert_true(addr_parse(SPAN("unix:/a"), 0, &a) && cidr_parse(SPAN("::/0"), &c, NULL));
	assert_false(cidr_match(&c, &a.sa));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats),  cmocka_unit_test(cut_texts_stay_inside),
		cmocka_unit_test(refuses),  cmocka_unit_test(equal),
		cmocka_unit_test(networks),
	};

	return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
