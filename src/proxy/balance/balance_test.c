/* Sequences were recorded from nginx 1.22: 127.0.0.1:18001.. are a..f; x, y, z refuse connections.
 */
#include <pthread.h>
#include "io/loop.h"
#include "proxy/group_fixture.h"

static char *servers(const char *spec)
{
	static const char names[] = "abcdefxyzu";
	static char out[2048];
	struct span rest = span_of(spec), part;
	size_t n = 0;

	while (span_split(&rest, ',', &part)) {
		size_t i = (size_t)(strchr(names, part.p[0]) - names);
		int port = i < 6 ? 18001 + (int)i : 18011 + (int)i - 6;

		if (part.p[0] == 'u')
			n += (size_t)snprintf(out + n, sizeof(out) - n,
					      "server unix:/tmp/ng/u.sock");
		else
			n += (size_t)snprintf(out + n, sizeof(out) - n, "server 127.0.0.1:%d",
					      port);
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%.*s; ", (int)part.n - 1,
				      part.p + 1);
	}
	return out;
}

static char letter(const struct pick *p)
{
	int port = addr_port(&p->member->peer->addr.sa);

	if (port == 0)
		return 'u';
	return port < 18011 ? (char)('a' + port - 18001) : (char)('x' + port - 18011);
}

/* One request as the exchange would make it: tries until somebody answers. */
static size_t one_request(struct group *g, struct span key, char *out)
{
	struct pick p;
	size_t n = 0;

	pick_init(&p, g, NULL);
	if (key.p)
		p.hash_key = key;
	do {
		if (pick_next(&p) != FAIL_OK) {
			out[n++] = '-';
			break;
		}
		out[n] = letter(&p);
		pick_end(&p, strchr("xyz", out[n]));
		if (!strchr("xyz", out[n++]))
			break;
	} while (p.tries_left);
	return n;
}

typedef struct span key_fn(int i, char *buf);

static struct span no_key(int i, char *buf)
{
	return span_make(NULL, 0);
}

static struct span text_key(int i, char *buf)
{
	return span_make(buf, (size_t)sprintf(buf, "key%d", i));
}

static struct span ip_key(int i, char *buf)
{
	const uint8_t ip[] = {127, (uint8_t)(i * 37), (uint8_t)(i * 91)};

	memcpy(buf, ip, sizeof(ip));
	return span_make(buf, sizeof(ip));
}

static void expect_keyed(const char *method, const char *spec, key_fn *key, const char *expected)
{
	struct group_fixture f;
	static char text[4096], out[4096];
	size_t n = 0;
	struct group *g;

	co_sched.now_ms = 1000000;
	snprintf(text, sizeof(text), "%s %s", method, servers(spec));
	g = fixture_group(&f, text);
	for (int i = 0; n < strlen(expected); i++) {
		char buf[32];

		n += one_request(g, key(i, buf), out + n);
		out[n++] = ' ';
	}
	out[n - 1] = 0;
	assert_string_equal(out, expected);
	fixture_free(&f);
}

static void expect(const char *method, const char *spec, const char *expected)
{
	expect_keyed(method, spec, no_key, expected);
}

static void round_robin(void **state)
{
	expect("", "a weight=5,b,c", "a a b a c a a a a b a c a a a a b a c a a a a b");
	expect("", "a weight=4,b weight=3,c weight=2,d",
	       "a b c a b d a c b a a b c a b d a c b a a b c a");
	expect("", "a down,b,c backup", "b b b b b b");
}

static void round_robin_failures(void **state)
{
	expect("", "x weight=6 max_fails=3,b weight=3,c weight=2",
	       "xb c b xb c xb b c b b c b c b b c b c b b c b c b");
	expect("", "x weight=6,b weight=3,c weight=2",
	       "xb c b b c b c b b c b c b b c b c b b c b c b b");
	expect("", "x weight=6 max_fails=0,b weight=3,c weight=2",
	       "xb c xb b xc b xc xb c b xb xc b xc b xc c xb b xc xb b c xb");
	expect("", "x,y,c backup,d backup weight=2", "xyd c d d c d d c d");
	expect("", "x,y", "xy - - - - -");
	expect("", "x max_fails=2,y max_fails=2,z max_fails=2", "xyz zyx - - - - - -");
	expect("", "x", "x x x");
	expect("", "a down", "- -");
	expect("", "x,b backup", "xb b b b");
}

static void least_conn_idle(void **state)
{
	expect("least_conn;", "a weight=3,b weight=2,c",
	       "a b a c b a a b a c b a a b a c b a a b a c b a");
	expect("least_conn;", "a weight=3,x weight=2,c",
	       "a xa c a a a c a a a c a a a c a a a c a a a c a");
}

static void ip_hash(void **state)
{
	expect_keyed("ip_hash;", "a,b,c", ip_key,
		     "c b a c b a c b a b b a b b a b a c b a c b a b b a b b a b");
	expect_keyed("ip_hash;", "a weight=2,b,c weight=3,d down", ip_key,
		     "a c a c a c b c a c a c b c c c a c a c b c c c a c b c c c");
	expect_keyed("ip_hash;", "a,x,c", ip_key,
		     "c xc a c a a c c a c c a a a a c a c c a c a a a c a c c a a");
	expect_keyed("ip_hash;", "y,x,c", ip_key,
		     "c xc yc c c c c c c c c c c c c c c c c c c c c c c c c c c c");
}

static void hash(void **state)
{
	expect_keyed(
		"hash $k;", "a,b,c", text_key,
		"c b a b c c b a a b b b b c b a b a b b b a c b b c a a c a c c a c b a c c b b");
	expect_keyed(
		"hash $k;", "a weight=2,b,c weight=3,d down", text_key,
		"a b c c b c c c a c a c c c a c c a c c a b c a c a a c b c a a c a c c c c a c");
	expect_keyed(
		"hash $k;", "a,x,c", text_key,
		"c xc a a c c a a a a a a c c c a a a a c a a c c c c a a c a c c a c c a c c c a");
	expect_keyed("hash $k;", "a,x max_fails=0,y max_fails=0,c", text_key,
		     "c a xc yc yc xc a c a c a c yc xa xa yc c a c a xa yc c a a c yc xa yc xa yc "
		     "xa a c c a "
		     "xa yc xa yc");
	expect("hash $k;", "a,b,c", "a b c a b c a b c");
}

static void consistent_hash(void **state)
{
	const char *m = "hash $k consistent;";

	expect_keyed(
		m, "a,b,c", text_key,
		"b b b a b b c b a c c b b c c c a b c c c c b c c b c c a b b b a a b c a a b b");
	expect_keyed(
		m, "a weight=2,b,c weight=3,d down", text_key,
		"c b b a c b c c a a a a c c c c a b a c c c b a c c a c a b b b a a b c a a c c");
	expect_keyed(m, "a,x max_fails=0,y max_fails=0,c", text_key,
		     "yxc xc xya a yxc xc yc yxc a c xyc yc yc c xc c xa c yxc c c xc yxc c c yxc "
		     "yxc c a ya yxc "
		     "xyc a a yc c a a c xc");
	expect_keyed(
		m, "a,u,c", text_key,
		"u c a a u u c u u u u u c c c c a c u c c c u u u u u c a a u c a a u c a a u u");
	expect_keyed(
		m, "a,x,c", text_key,
		"xc c a a c c c c a c c c c c c c a c c c c c c c c c c c a a c c a a c c a a c c");
	expect(m, "a,b,c", "a b c a b c a b c");
}

/* ---- requests in flight ---- */

static char hold(struct group *g, struct pick *p)
{
	pick_init(p, g, NULL);
	return pick_next(p) == FAIL_OK ? letter(p) : '-';
}

static void least_conn_busy(void **state)
{
	struct group_fixture f;
	struct group *g = fixture_group(
		&f, "least_conn; server 127.0.0.1:18001 weight=2; server 127.0.0.1:18002; "
		    "server 127.0.0.1:18003 backup;");
	struct pick p[8];
	char out[9] = "";

	for (int i = 0; i < 6; i++)
		out[i] = hold(g, &p[i]);
	assert_string_equal(out, "ababaa"); /* two to one */
	pick_end(&p[1], false);
	pick_end(&p[4], false);
	assert_int_equal(hold(g, &p[1]), 'b');
	assert_int_equal(hold(g, &p[4]), 'a');
	for (int i = 0; i < 6; i++)
		pick_end(&p[i], false);
	assert_int_equal(g->members[0].peer->active, 0);
	fixture_free(&f);
}

static void random_balance(void **state)
{
	struct group_fixture f;
	struct group *g = fixture_group(
		&f, "random; server 127.0.0.1:18001 weight=3; server 127.0.0.1:18002; "
		    "server 127.0.0.1:18003 down; server 127.0.0.1:18004;");
	int count[4] = {0};
	struct pick p;

	for (int i = 0; i < 10000; i++) {
		count[hold(g, &p) - 'a']++;
		pick_end(&p, false);
	}
	assert_in_range(count[0], 5700, 6300);
	assert_in_range(count[1], 1800, 2200);
	assert_int_equal(count[2], 0);
	assert_in_range(count[3], 1800, 2200);
	fixture_free(&f);
}

static void random_two(void **state)
{
	struct group_fixture f;
	struct group *g = fixture_group(
		&f, "random two least_conn; server 127.0.0.1:18001; server 127.0.0.1:18002; "
		    "server 127.0.0.1:18003;");
	struct pick p[300];
	int count[3] = {0};

	for (int i = 0; i < 300; i++)
		count[hold(g, &p[i]) - 'a']++;
	for (int i = 0; i < 3; i++) /* the lesser of two keeps them close; plain random would not */
		assert_in_range(count[i], 95, 105);
	for (int i = 0; i < 300; i++)
		pick_end(&p[i], false);
	fixture_free(&f);
}

/* ---- threads ---- */

#define HAMMERS 2
#define BLOWS	50000

static void *hammer(void *arg)
{
	struct group *g = arg;
	struct pick p;

	for (int i = 0; i < BLOWS; i++) {
		co_sched.now_ms = 1000000 + (uint64_t)i;
		pick_init(&p, g, NULL);
		if (pick_next(&p) == FAIL_OK)
			pick_end(&p, i % 1000 == 0);
	}
	return NULL;
}

static void threads(void **state)
{
	struct group_fixture f;
	struct group *g =
		fixture_group(&f, "server 127.0.0.1:18001 weight=3 max_fails=0; "
				  "server 127.0.0.1:18002 weight=2 max_fails=5 fail_timeout=1; "
				  "server 127.0.0.1:18003 max_conns=1 max_fails=0; ");
	pthread_t t[HAMMERS];
	uint64_t requests = 0;
	int sum = 0;

	for (int i = 0; i < HAMMERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, g), 0);
	for (int i = 0; i < HAMMERS; i++)
		pthread_join(t[i], NULL);
	for (size_t i = 0; i < g->nmembers; i++) {
		assert_int_equal(g->members[i].peer->active, 0);
		requests += g->members[i].peer->requests;
		sum += g->members[i].peer->current_weight;
	}
	assert_int_equal(requests, HAMMERS * BLOWS);
	assert_int_equal(sum, 0);
	fixture_free(&f);
}

static int setup(void **state)
{
	return io_loop_init(0);
}

static int teardown(void **state)
{
	io_loop_fini();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_robin),	   cmocka_unit_test(round_robin_failures),
		cmocka_unit_test(least_conn_idle), cmocka_unit_test(least_conn_busy),
		cmocka_unit_test(ip_hash),	   cmocka_unit_test(hash),
		cmocka_unit_test(consistent_hash), cmocka_unit_test(random_balance),
		cmocka_unit_test(random_two),	   cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
