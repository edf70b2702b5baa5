#include <stdlib.h>
#include "net/resolver.h"
#include "serve/serve_fixture.h"

static const struct say_word words[] = {{NULL, NULL}};

static void check_mistakes(const char *const *pairs)
{
	for (; *pairs; pairs += 2)
		expect_problems(pairs[0], pairs[1]);
}

#define FOUR  "127.0.0.1 127.0.0.1 127.0.0.1 127.0.0.1 "
#define EIGHT FOUR FOUR

static void mistakes(void **state)
{
	static const char *const pairs[] = {
		"keepalive_timeout x;",
		"\"keepalive_timeout\" directive invalid value\n",
		"keepalive_timeout 1s x;",
		"\"keepalive_timeout\" directive invalid value\n",
		"keepalive_timeout 1s 2s 3s;",
		"invalid number of arguments in \"keepalive_timeout\" directive\n",
		"keepalive_disable msie7;",
		"invalid value \"msie7\"\n",
		"client_body_temp_path /t 0;",
		"\"client_body_temp_path\" directive invalid value\n",
		"client_body_temp_path /t 4 4 3;",
		"\"client_body_temp_path\" directive invalid value\n",
		"open_file_cache inactive=1s;",
		"\"open_file_cache\" must have the \"max\" parameter\n",
		"open_file_cache max=0;",
		"invalid \"open_file_cache\" parameter \"max=0\"\n",
		"open_file_cache max=1 inactive=x;",
		"invalid \"open_file_cache\" parameter \"inactive=x\"\n",
		"disable_symlinks maybe;",
		"invalid parameter \"maybe\"\n",
		"disable_symlinks from=/a;",
		"\"disable_symlinks\" must have \"off\", \"on\" or \"if_not_owner\" parameter\n",
		"resolver 127.0.0.1 valid=x;",
		"invalid parameter: valid=x\n",
		"resolver 127.0.0.1 ipv4=off ipv6=off;",
		"\"ipv4\" and \"ipv6\" cannot both be \"off\"\n",
		"resolver 127.0.0.1 ipv4=maybe;",
		"invalid parameter: ipv4=maybe\n",
		"resolver 1.1.1.1.1:x;",
		"host not found in resolver \"1.1.1.1.1:x\"\n",
		"resolver " EIGHT EIGHT "127.0.0.1;",
		"too many name servers\n",
		"server { location / { alias /a; alias /b; } }",
		"\"alias\" directive is duplicate\n",
		"server { location / { root /a; alias /b; } }",
		"\"alias\" directive is duplicate, \"root\" directive was specified earlier\n",
		"server { location / { alias /a; root /b; } }",
		"\"root\" directive is duplicate, \"alias\" directive was specified earlier\n",
		"root /a; root /b;",
		"\"root\" directive is duplicate\n",
		"server { location @x { alias /a; } }",
		"the \"alias\" directive cannot be used inside the named location\n",
		"satisfy some;",
		"invalid value \"some\"\n",
		"auth_delay x;",
		"\"auth_delay\" directive invalid value\n",
		"early_hints;",
		"invalid number of arguments in \"early_hints\" directive\n",
		NULL,
	};

	check_mistakes(pairs);
}

static const struct core_loc *loc_of(struct serve_fixture *f, const char *name)
{
	struct server *s = CONTAINER_OF(f->http->servers.next, struct server, link);
	struct list *l;

	list_each (l, &s->root->children) {
		struct location *loc = CONTAINER_OF(l, struct location, link);

		if (span_eq(loc->name, span_of(name)))
			return conf_get(loc->scope, &core_loc_mod);
	}
	print_error("no location %s\n", name);
	abort();
}

static void defaults_and_inheritance(void **state)
{
	const struct core_loc *a, *b, *c;
	struct serve_fixture f;

	serve_load_ok(&f, "keepalive_timeout 5s 7s; keepalive_disable safari; satisfy any; "
			  "open_file_cache max=9 inactive=3s; auth_delay 2s; early_hints 1; "
			  "server { listen 80; root rel; "
			  "location /a { } "
			  "location /b { keepalive_timeout 9; keepalive_disable none; root /abs/; "
			  "  client_body_temp_path /tmp/x 1 2; satisfy all; open_file_cache off; "
			  "  disable_symlinks if_not_owner from=$document_root; resolver off; } "
			  "location /c/ { alias /elsewhere/; resolver [::1]:5353 valid=9s; } }");
	a = loc_of(&f, "/a");
	b = loc_of(&f, "/b");
	c = loc_of(&f, "/c/");
	assert_int_equal(a->keepalive_timeout, 5000);
	assert_int_equal(a->keepalive_header_s, 7);
	assert_int_equal(a->keepalive_disable, 2);
	assert_int_equal(a->satisfy, 1);
	assert_int_equal(a->open_file_cache_max, 9);
	assert_int_equal(a->open_file_cache_inactive, 3);
	assert_int_equal(a->auth_delay, 2000);
	assert_int_equal(a->early_hints.n, 1);
	assert_span(a->root->source, "/p/rel");
	assert_false(a->alias);
	assert_non_null(a->resolver);
	assert_span(a->client_body_temp_path, "/p/client_body_temp");
	assert_int_equal(b->keepalive_timeout, 9000);
	assert_int_equal(b->keepalive_header_s, -1);
	assert_int_equal(b->keepalive_disable, 0);
	assert_int_equal(b->satisfy, 0);
	assert_int_equal(b->open_file_cache_max, 0);
	assert_span(b->root->source, "/abs");
	assert_span(b->client_body_temp_path, "/tmp/x");
	assert_int_equal(b->client_body_temp_levels[0], 1);
	assert_int_equal(b->client_body_temp_levels[1], 2);
	assert_int_equal(b->client_body_temp_levels[2], 0);
	assert_int_equal(b->disable_symlinks, SYMLINKS_NOT_OWNER);
	assert_non_null(b->disable_symlinks_from);
	assert_null(b->resolver);
	assert_span(c->root->source, "/elsewhere/"); /* what an alias ends with counts */
	assert_true(c->alias);
	assert_true(c->resolver && c->resolver != a->resolver);
	serve_unload(&f);
	serve_load_ok(&f, "server { listen 80; location /a { } }");
	a = loc_of(&f, "/a");
	assert_int_equal(a->keepalive_timeout, 75000);
	assert_int_equal(a->keepalive_header_s, -1);
	assert_int_equal(a->keepalive_disable, 1);
	assert_span(a->root->source, "/p/html");
	assert_int_equal(a->satisfy, 0);
	assert_int_equal(a->auth_delay, 0);
	assert_int_equal(a->early_hints.n, 0);
	serve_unload(&f);
}

#define T(f) cmocka_unit_test_setup_teardown(f, serve_setup, serve_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(mistakes),
		T(defaults_and_inheritance),
	};

	say_words = words;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
