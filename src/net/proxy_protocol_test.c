#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include "base/bug.h"
#include "net/proxy_protocol.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"

static void assert_addr(const struct net_addr *a, const char *text)
{
	char buf[ADDR_TEXT_MAX];

	assert_int_not_equal(a->len, 0);
	assert_true(span_eq(span_make(buf, addr_format(&a->sa, true, buf, sizeof(buf))),
			    span_of(text)));
}

static void text_form(void **state)
{
	struct proxy_protocol pp;
	struct span in = SPAN("PROXY TCP4 192.168.0.1 10.0.0.2 56324 443\r\nGET /");

	assert_int_equal(proxy_protocol_parse(in, &pp), 43);
	assert_int_equal(pp.version, 1);
	assert_addr(&pp.src, "192.168.0.1:56324");
	assert_addr(&pp.dst, "10.0.0.2:443");
	for (size_t i = 0; i < 43; i++)
		assert_int_equal(proxy_protocol_parse(span_cut(in, 0, i), &pp),
				 PROXY_PROTOCOL_MORE);
	assert_true(proxy_protocol_parse(SPAN("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"), &pp) > 0);
	assert_addr(&pp.src, "[2001:db8::1]:0");
	assert_int_equal(proxy_protocol_parse(SPAN("PROXY UNKNOWN\r\n"), &pp), 15);
	assert_int_equal(pp.src.len, 0);
	assert_true(proxy_protocol_parse(SPAN("PROXY UNKNOWN what ever\r\n"), &pp) > 0);
}

static void text_refused(void **state)
{
	static const char *const bad[] = {
		"GET / HTTP/1.0\r\n",
		"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXYTCP4",
		"PROXY TCP4\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
		"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
		"PROXY TCP4 ::1 ::1 1 2\r\n",
		"PROXY TCP6 [::1] ::1 1 2\r\n",
		"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
		"PROXY \n",
		"PROXY UNKNOWNX\r\n",
		"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
	};
	struct proxy_protocol pp;
	char lots[200];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(proxy_protocol_parse(span_of(bad[i]), &pp), -EPROTO);
	memset(lots, 'x', sizeof(lots));
	memcpy(lots, "PROXY UNKNOWN ", 14);
	assert_int_equal(proxy_protocol_parse(span_make(lots, 106), &pp), PROXY_PROTOCOL_MORE);
	assert_int_equal(proxy_protocol_parse(span_make(lots, 107), &pp), -EPROTO);
}

static void binary_form(void **state)
{
	struct span in = SPAN(SIG "\x21\x11\0\x2c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x01\xbb"
				  "\x01\0\x02h2"
				  "\x04\0\0"
				  "\x20\0\x15\x07\0\0\0\0"
				  "\x21\0\x07TLSv1.3"
				  "\x22\0\x03"
				  "bob"
				  "rest");
	struct proxy_protocol pp;
	struct span v;

	assert_int_equal(proxy_protocol_parse(in, &pp), 60);
	assert_int_equal(pp.version, 2);
	assert_addr(&pp.src, "1.2.3.4:80");
	assert_addr(&pp.dst, "5.6.7.8:443");
	assert_true(proxy_protocol_tlv(pp.tlvs, SPAN("alpn"), &v) && span_eq(v, SPAN("h2")));
	assert_true(proxy_protocol_tlv(pp.tlvs, SPAN("0x01"), &v) && span_eq(v, SPAN("h2")));
	assert_true(proxy_protocol_tlv(pp.tlvs, SPAN("4"), &v) && v.n == 0);
	assert_true(proxy_protocol_tlv(pp.tlvs, SPAN("ssl_version"), &v) &&
		    span_eq(v, SPAN("TLSv1.3")));
	assert_true(proxy_protocol_tlv(pp.tlvs, SPAN("ssl_cn"), &v) && span_eq(v, SPAN("bob")));
	assert_true(proxy_protocol_tlv(pp.tlvs, SPAN("ssl_verify"), &v) && v.n == 4);
	assert_false(proxy_protocol_tlv(pp.tlvs, SPAN("ssl_cipher"), &v));
	assert_false(proxy_protocol_tlv(pp.tlvs, SPAN("authority"), &v));
	assert_false(proxy_protocol_tlv(pp.tlvs, SPAN("nonsense"), &v));
	for (size_t i = 0; i < 60; i++)
		assert_int_equal(proxy_protocol_parse(span_cut(in, 0, i), &pp),
				 PROXY_PROTOCOL_MORE);
	assert_int_equal(proxy_protocol_parse(SPAN(SIG "\x20\0\0\x01x"), &pp), 17); /* LOCAL */
	assert_int_equal(pp.src.len, 0);
	assert_int_equal(proxy_protocol_parse(SPAN(SIG "\x21\0\0\0"), &pp), 16); /* UNSPEC */
}

static void binary_refused(void **state)
{
	struct proxy_protocol pp;

	assert_int_equal(proxy_protocol_parse(SPAN(SIG "\x11\x11\0\0"), &pp),
			 -EPROTO); /* version */
	assert_int_equal(proxy_protocol_parse(SPAN(SIG "\x22\x11\0\0"), &pp),
			 -EPROTO); /* command */
	assert_int_equal(proxy_protocol_parse(SPAN(SIG "\x21\x41\0\0"), &pp), -EPROTO); /* family */
	assert_int_equal(proxy_protocol_parse(SPAN(SIG "\x21\x13\0\0"), &pp),
			 -EPROTO); /* transport */
	assert_int_equal(proxy_protocol_parse(SPAN(SIG "\x21\x11\0\x0b"
						       "abcdefghijk"),
					      &pp),
			 -EPROTO);
	assert_int_equal(proxy_protocol_parse(SPAN(SIG "\x21\x11\x10\x01"), &pp),
			 -EPROTO); /* too long */
	assert_int_equal(proxy_protocol_parse(SPAN(SIG "\x21\x11\0\x0e"
						       "abcdefghijkl\x01\0"),
					      &pp),
			 -EPROTO);
	assert_int_equal(proxy_protocol_parse(SPAN("\r\n\r\nX"), &pp), -EPROTO);
}

static void writes(void **state)
{
	struct proxy_protocol pp;
	struct net_addr a, b, u;
	char out[128];
	size_t n;

	assert_true(addr_parse(SPAN("1.2.3.4:5"), 0, &a) && addr_parse(SPAN("6.7.8.9:10"), 0, &b));
	assert_true(addr_parse(SPAN("unix:/x"), 0, &u));
	n = proxy_protocol_write_v1(&a.sa, &b.sa, out, sizeof(out));
	assert_true(span_eq(span_make(out, n), SPAN("PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n")));
	n = proxy_protocol_write_v1(&u.sa, &b.sa, out, sizeof(out));
	assert_true(span_eq(span_make(out, n), SPAN("PROXY UNKNOWN\r\n")));
	assert_int_equal(proxy_protocol_write_v1(&a.sa, &b.sa, out, 10), 0);
	n = proxy_protocol_write_v2(&a.sa, &b.sa, out, sizeof(out));
	assert_int_equal(n, 28);
	assert_int_equal(proxy_protocol_parse(span_make(out, n), &pp), 28);
	assert_true(addr_eq(&pp.src.sa, &a.sa) && addr_eq(&pp.dst.sa, &b.sa));
	assert_int_equal(proxy_protocol_write_v2(&u.sa, &b.sa, out, sizeof(out)), 16);
	assert_int_equal(proxy_protocol_write_v2(&a.sa, &b.sa, out, 27), 0);
	assert_true(addr_parse(SPAN("[::1]:5"), 0, &a) && addr_parse(SPAN("[::2]:10"), 0, &b));
	n = proxy_protocol_write_v2(&a.sa, &b.sa, out, sizeof(out));
	assert_int_equal(n, 52);
	assert_int_equal(proxy_protocol_parse(span_make(out, n), &pp), 52);
	assert_true(addr_eq(&pp.src.sa, &a.sa) && addr_eq(&pp.dst.sa, &b.sa));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_form),   cmocka_unit_test(text_refused),
		cmocka_unit_test(binary_form), cmocka_unit_test(binary_refused),
		cmocka_unit_test(writes),
	};

	return cmocka_run_group_tests_name("proxy_protocol", tests, NULL, NULL);
}
