#include "io/loop.h"
#include "proxy/group_fixture.h"

/* ---- the block ---- */

static void expect_problem(const char *upstreams, int result, const char *message)
{
	struct group_fixture f;
	struct span m;

	fixture_load(&f, upstreams);
	assert_int_equal(f.result, result);
	m = fixture_problem(&f, 0);
	assert_string_equal(m.n ? m.p : "", message);
	fixture_free(&f);
}

static void expect_error(const char *inside, const char *message)
{
	char text[512];

	snprintf(text, sizeof(text), "upstream u { %s }", inside);
	expect_problem(text, CONF_ERR, message);
}

static void wrong_servers(void **state)
{
	expect_error("", "no servers are inside upstream");
	expect_error("server 127.0.0.1 backup;", "no servers in upstream \"u\"");
	expect_error("server 127.0.0.1:99999;", "invalid port in upstream \"127.0.0.1:99999\"");
	expect_error("server 127.0.0.1:0;", "invalid port in upstream \"127.0.0.1:0\"");
	expect_error("server 127.0.0.1:;", "invalid port in upstream \"127.0.0.1:\"");
	expect_error("server 127.0.0.1:x;", "invalid port in upstream \"127.0.0.1:x\"");
	expect_error("server :80;", "no host in upstream \":80\"");
	expect_error("server unix:;", "no path in the unix domain socket in upstream \"unix:\"");
	expect_error("server http://127.0.0.1;", "invalid host in upstream \"http://127.0.0.1\"");
	expect_error("server 127.0.0.1/x;", "invalid host in upstream \"127.0.0.1/x\"");
	expect_error("server [::1;", "invalid host in upstream \"[::1\"");
	expect_error("server [::z];", "invalid IPv6 address in upstream \"[::z]\"");
	expect_problem("upstream u { server 127.0.0.1; } upstream U { server 127.0.0.1; }",
		       CONF_ERR, "duplicate upstream \"U\"");
}

static void wrong_parameters(void **state)
{
	static const char *const words[] = {"weight=0",		  "weight=x",	  "weight=-1",
					    "max_fails=x",	  "max_fails=-1", "fail_timeout=x",
					    "fail_timeout=500ms", "max_conns=x",  "foo",
					    "weight=3000000000"};
	char text[128], message[128];

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		snprintf(text, sizeof(text), "server 127.0.0.1 %s;", words[i]);
		snprintf(message, sizeof(message), "invalid parameter \"%s\"", words[i]);
		expect_error(text, message);
	}
	expect_error("server 127.0.0.1 slow_start=3s;",
		     "parameter \"slow_start=3s\" is not supported yet");
	expect_error("ip_hash; server 127.0.0.1 backup;",
		     "balancing method does not support parameter \"backup\"");
	expect_error("server 127.0.0.1; keepalive x;",
		     "invalid value \"x\" in \"keepalive\" directive");
	expect_error("server 127.0.0.1; hash $k foo;", "invalid parameter \"foo\"");
	expect_error("server 127.0.0.1; random foo;", "invalid parameter \"foo\"");
	expect_error("server 127.0.0.1; random two foo;", "invalid parameter \"foo\"");
	expect_error("server 127.0.0.1; zone x zz;", "invalid zone size \"zz\"");
}

static void warnings(void **state)
{
	expect_problem("upstream u { server 127.0.0.1; hash $k; least_conn; }", CONF_OK,
		       "load balancing method redefined");
	expect_problem("upstream u { server 127.0.0.1; keepalive 5; least_conn; keepalive_timeout "
		       "5s; zone z 64k; }",
		       CONF_OK, "");
	expect_problem("upstream u { server nobody.invalid:81; }", CONF_OK,
		       "host not found in upstream \"nobody.invalid:81\"");
}

static void parameters(void **state)
{
	struct group_fixture f;
	struct group *g = fixture_group(
		&f,
		"server 10.0.0.1 weight=3 max_fails=4 fail_timeout=1m max_conns=7; least_conn;"
		"server [::1]:81 down; server unix:/run/x backup; server 10.0.0.1; keepalive 9; "
		"keepalive_requests 10; keepalive_time 20s; keepalive_timeout 30s;");
	struct group_member *m = g->members;

	assert_int_equal(g->nmembers, 4);
	assert_ptr_equal(g->balancer, &balance_least_conn);
	assert_true(span_eq(m[0].peer->name, SPAN("10.0.0.1:80")));
	assert_int_equal(m[0].weight, 3);
	assert_int_equal(m[0].max_fails, 4);
	assert_int_equal(m[0].max_conns, 7);
	assert_int_equal(m[0].fail_timeout_ms, MINUTE);
	assert_true(span_eq(m[1].peer->name, SPAN("[::1]:81")));
	assert_true(m[1].down && !m[1].backup);
	assert_true(span_eq(m[2].peer->name, SPAN("unix:/run/x")));
	assert_true(m[2].backup);
	assert_int_equal(m[3].weight, 1);
	assert_int_equal(m[3].max_fails, 1);
	assert_ptr_not_equal(m[3].peer, m[0].peer); /* given twice: two peers, as in nginx */
	assert_int_equal(g->total_weight, 5);
	assert_int_equal(g->tries[0], 2);
	assert_int_equal(g->tries[1], 1);
	assert_false(g->single || g->resolving);
	assert_int_equal(g->keepalive, 9);
	assert_int_equal(g->keepalive_requests, 10);
	assert_int_equal(g->keepalive_time_ms, 20000);
	assert_int_equal(g->keepalive_timeout_ms, 30000);
	fixture_free(&f);
}

/* ---- failures ---- */

/* The next request's choice ends like that; gives the member's number, -1: none. */
static int request(struct group *g, bool failed)
{
	struct pick p;
	int i;

	pick_init(&p, g, NULL);
	if (pick_next(&p) != FAIL_OK)
		return -1;
	i = (int)(p.member - g->members);
	pick_end(&p, failed);
	return i;
}

static void failing_and_coming_back(void **state)
{
	struct group_fixture f;
	struct group *g = fixture_group(
		&f, "server 127.0.0.1:1 max_fails=2 fail_timeout=10; server 127.0.0.1:2;");

	co_sched.now_ms = 1000000;
	assert_int_equal(request(g, true), 0);
	assert_int_equal(request(g, false), 1);
	assert_int_equal(request(g, true), 0); /* second failure: suspended */
	for (int i = 0; i < 5; i++)
		assert_int_equal(request(g, false), 1);
	co_sched.now_ms += 10000;
	assert_int_equal(request(g, false), 1); /* not before the time is over */
	co_sched.now_ms += 1;
	for (int i = 0; i < 4 && g->members[0].peer->requests == 2; i++)
		request(g, true); /* one attempt, that fails; the other one is single now */
	assert_int_equal(g->members[0].peer->requests, 3);
	fixture_free(&f);
}

static void one_probe_at_a_time(void **state)
{
	struct group_fixture f;
	struct group *g =
		fixture_group(&f, "server 127.0.0.1:1 weight=100; server 127.0.0.1:2 max_fails=0;");
	struct pick probe = {0}, p;

	co_sched.now_ms = 1000000;
	assert_int_equal(request(g, true), 0);
	co_sched.now_ms += 10001;
	for (int i = 0; i < 3 && g->members[0].peer->requests == 1; i++) {
		pick_init(&probe, g, NULL);
		assert_int_equal(pick_next(&probe), FAIL_OK);
		if (probe.member != g->members)
			pick_end(&probe, false);
	}
	assert_ptr_equal(probe.member, g->members);
	for (int i = 0; i < 20; i++) {
		pick_init(&p, g, NULL);
		assert_int_equal(pick_next(&p), FAIL_OK);
		assert_ptr_equal(p.member, g->members + 1); /* while the probe runs */
		pick_end(&p, false);
	}
	pick_end(&probe, false);
	assert_int_equal(g->members[0].peer->fails, 0);
	assert_int_equal(request(g, false), 0);
	fixture_free(&f);
}

static void forgetting_needs_a_later_success(void **state)
{
	struct group_fixture f;
	struct group *g =
		fixture_group(&f, "server 127.0.0.1:1 max_fails=3; server 127.0.0.1:2 down;");
	struct peer *peer = g->members[0].peer;

	co_sched.now_ms = 1000000;
	request(g, true);
	request(g, true);
	request(g, false);
	assert_int_equal(peer->fails, 2); /* as young as the failure */
	co_sched.now_ms += 10001;
	request(g, false);
	assert_int_equal(peer->fails, 0);
	fixture_free(&f);
}

static void busy_or_dead(void **state)
{
	struct group_fixture f;
	struct group *g =
		fixture_group(&f, "server 127.0.0.1:1 max_conns=1; server 127.0.0.1:2 max_conns=2; "
				  "server 127.0.0.1:3 down;");
	struct pick p[4];

	for (int i = 0; i < 3; i++) {
		pick_init(&p[i], g, NULL);
		assert_int_equal(pick_next(&p[i]), FAIL_OK);
	}
	pick_init(&p[3], g, NULL);
	assert_int_equal(pick_next(&p[3]), FAIL_UPSTREAM_BUSY);
	pick_end(&p[0], true);
	pick_init(&p[3], g, NULL);
	assert_int_equal(pick_next(&p[3]),
			 FAIL_UPSTREAM_BUSY); /* the first is suspended, the second full */
	pick_end(&p[1], true);
	pick_end(&p[2], true);
	assert_int_equal(pick_next(&p[3]), FAIL_UPSTREAM_NO_LIVE);
	fixture_free(&f);
}

static void the_only_one(void **state)
{
	struct group_fixture f;
	struct group *g = fixture_group(&f, "server 127.0.0.1:1 max_conns=2;");
	struct pick p[3];

	assert_true(g->single);
	for (int i = 0; i < 10; i++)
		assert_int_equal(request(g, true), 0); /* its failures do not count */
	for (int i = 0; i < 3; i++) {
		pick_init(&p[i], g, NULL);
		assert_int_equal(pick_next(&p[i]), i < 2 ? FAIL_OK : FAIL_UPSTREAM_BUSY);
	}
	pick_end(&p[0], true);
	assert_int_equal(p[0].tries_left, 0);
	assert_int_equal(pick_next(&p[0]), FAIL_UPSTREAM_NO_LIVE); /* it was tried */
	pick_end(&p[1], false);
	assert_int_equal(g->members[0].peer->failures, 11);
	fixture_free(&f);
}

static void many_members(void **state)
{
	static char text[40000];
	struct group_fixture f;
	struct group *g;
	struct req *r = test_calloc(1, sizeof(*r));
	struct pick p;
	size_t n = 0;

	for (int i = 0; i < 300; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "server 127.0.0.1:%d;", 1000 + i);
	g = fixture_group(&f, text);
	arena_init(&r->arena, 1 << 20);
	pick_init(&p, g, r);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(pick_next(&p), FAIL_OK);
		assert_int_equal(p.member - g->members, i);
		pick_end(&p, false);
	}
	assert_int_equal(pick_next(&p), FAIL_UPSTREAM_NO_LIVE);
	arena_fini(&r->arena);
	test_free(r);
	fixture_free(&f);
}

/* ---- lifetimes ---- */

static void count_peer(struct peer *p, void *arg)
{
	(*(int *)arg)++;
}

static int peers_known(void)
{
	int n = 0;

	peers_each(count_peer, &n);
	return n;
}

static void reload_keeps_peers(void **state)
{
	struct group_fixture old, new;
	struct group *g = fixture_group(
		&old, "server 127.0.0.1:1 weight=2; server 127.0.0.1:2; server 127.0.0.1:3;");
	struct peer *first = g->members[0].peer, *third = g->members[2].peer;
	struct pick p;

	assert_int_equal(request(g, false), 0);
	assert_int_equal(request(g, false), 1);
	pick_init(&p, g, NULL);
	assert_int_equal(pick_next(&p), FAIL_OK); /* in flight over the reload */
	g = fixture_group(&new,
			  "server 127.0.0.1:1 weight=2; server 127.0.0.1:3; server 127.0.0.1:4;");
	assert_ptr_equal(g->members[0].peer, first);
	assert_ptr_equal(g->members[1].peer, third);
	assert_int_equal(first->requests, 1);
	assert_int_equal(third->active, 1);
	assert_int_equal(peers_known(), 4);
	pick_end(&p, false);
	assert_int_equal(third->active, 0);
	fixture_free(&old);
	assert_int_equal(peers_known(), 3);
	assert_int_equal(request(g, false), 0); /* its weight went on: it was its turn */
	fixture_free(&new);
	assert_int_equal(peers_known(), 0);
}

/* ---- names ---- */

static struct net_addr addr(const char *text)
{
	struct net_addr a;

	assert_true(addr_parse(span_of(text), 80, &a));
	return a;
}

static void names_change(void **state)
{
	struct group_fixture f;
	struct group *g = fixture_group(&f, "server name.test:80; server 10.0.0.9;");
	struct net_addr two[2] = {addr("10.0.0.1:80"), addr("10.0.0.2:80")};
	struct pick p;

	assert_true(g->resolving);
	assert_int_equal(g->total_weight, 2);
	assert_true(group_server_update(g, &g->servers[0], two, 2));
	assert_false(group_server_update(g, &g->servers[0], two, 2));
	assert_int_equal(g->total_weight, 3);
	assert_int_equal(g->tries[0], 3);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 3; i++)
			assert_true(request(g, false) >= 0);
	for (size_t i = 0; i < g->nmembers; i++)
		if (g->members[i].peer)
			assert_int_equal(g->members[i].peer->requests, 2);
	/* One goes away while an attempt is on it. */
	do {
		pick_init(&p, g, NULL);
		assert_int_equal(pick_next(&p), FAIL_OK);
		if (!addr_eq(&p.member->peer->addr.sa, &two[0].sa))
			pick_end(&p, false);
	} while (!p.member);
	assert_true(group_server_update(g, &g->servers[0], two + 1, 1));
	assert_int_equal(peers_known(), 3);
	assert_int_equal(g->total_weight, 2);
	pick_end(&p, true);
	assert_false(group_server_update(g, &g->servers[0], two + 1, 1));
	assert_int_equal(peers_known(), 2);
	assert_true(group_server_update(g, &g->servers[0], two, 2));
	assert_int_equal(peers_known(), 3);
	fixture_free(&f);
	assert_int_equal(peers_known(), 0);
}

static void unresolved_name(void **state)
{
	struct group_fixture f;
	struct group *g = fixture_group(&f, "ip_hash; server nobody.invalid;");
	struct net_addr a = addr("10.0.0.1:80");
	struct pick p;

	pick_init(&p, g, NULL);
	assert_int_equal(p.tries_left, 0);
	assert_int_equal(pick_next(&p), FAIL_UPSTREAM_RESOLVE);
	assert_true(group_server_update(g, &g->servers[0], &a, 1));
	assert_true(g->single);
	assert_int_equal(request(g, true), 0);
	assert_int_equal(request(g, true), 0);
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
		cmocka_unit_test(wrong_servers),
		cmocka_unit_test(wrong_parameters),
		cmocka_unit_test(warnings),
		cmocka_unit_test(parameters),
		cmocka_unit_test(failing_and_coming_back),
		cmocka_unit_test(one_probe_at_a_time),
		cmocka_unit_test(forgetting_needs_a_later_success),
		cmocka_unit_test(busy_or_dead),
		cmocka_unit_test(the_only_one),
		cmocka_unit_test(many_members),
		cmocka_unit_test(reload_keeps_peers),
		cmocka_unit_test(names_change),
		cmocka_unit_test(unresolved_name),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
