#include "serve/serve_fixture.h"

static struct serve_fixture fixture;

static const struct core_loc *core_of(const char *path)
{
	struct server *s = CONTAINER_OF(fixture.http->servers.next, struct server, link);
	struct list *l;

	list_each (l, &s->root->children) {
		struct location *loc = CONTAINER_OF(l, struct location, link);

		if (span_eq(loc->name, span_of(path)))
			return conf_get(loc->scope, &core_loc_mod);
	}
	return conf_get(s->scope, &core_loc_mod);
}

static void expect_type(const char *path, const char *ext, const char *type)
{
	assert_span(types_find(core_of(path), span_of(ext)), type);
}

static void built_in(void **state)
{
	serve_load_ok(&fixture, "server { listen 80; location /d { default_type a/b; } }");
	expect_type("", "html", "text/html");
	expect_type("", "GIF", "image/gif");
	expect_type("", "jpg", "image/jpeg");
	expect_type("", "css", "text/plain");
	expect_type("", "", "text/plain");
	expect_type("/d", "css", "a/b");
	expect_type("/d", "html", "text/html");
	serve_unload(&fixture);
}

static void own_tables(void **state)
{
	serve_load_ok(&fixture, "types { text/x x X2; text/y y; } types { text/z z; }"
				"server { listen 80; location /n { types { } default_type d/d; }"
				"location /o { types { image/o o; } } }");
	expect_type("", "x", "text/x");
	expect_type("", "x2", "text/x");
	expect_type("", "Y", "text/y");
	expect_type("", "z", "text/z"); /* a second table in the same block adds */
	expect_type("", "html", "text/plain");
	expect_type("/n", "x", "d/d");
	expect_type("/o", "o", "image/o");
	expect_type("/o", "x", "text/plain"); /* one in an inner block replaces */
	serve_unload(&fixture);
}

static void duplicates(void **state)
{
	expect_problems("types { a b; c b; }",
			"warn: duplicate extension \"b\", content type: \"c\", previous content "
			"type: \"a\"\n");
	expect_problems("types { a b; } types { c B; }",
			"warn: duplicate extension \"B\", content type: \"c\", previous content "
			"type: \"a\"\n");
	expect_problems("types { a; }", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(built_in), cmocka_unit_test(own_tables),
					   cmocka_unit_test(duplicates)};

	return cmocka_run_group_tests(tests, serve_setup, serve_teardown);
}
