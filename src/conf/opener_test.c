#include <errno.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "conf/fixture.h"

static const struct opener_file files[] = {
	{SPAN_INIT("/c/n"), SPAN_INIT("a; include gone; include d/*; b;")},
	{SPAN_INIT("/c/d/x"), SPAN_INIT("x;")},
	{{0}, {0}},
};

static void test_offline(void **state)
{
	struct opener_memory behind;
	struct opener_offline o;
	struct arena a;
	struct conf_ctx ctx;
	struct sockaddr_storage sa;
	struct listen_spec spec = {0};
	struct span text;

	arena_init(&a, 1 << 20);
	opener_memory_init(&behind, files);
	opener_offline_init(&o, &behind.opener);
	assert_true(o.opener.offline);
	assert_int_equal(conf_ctx_init(&ctx, &a, &o.opener), CONF_OK);
	ctx.conf_prefix = SPAN("/c/");
	assert_int_equal(conf_parse(&ctx, SPAN("/c/n")), CONF_OK);
	assert_int_equal(ctx.next_seq, 3);
	assert_int_equal(ctx.warnings, 1); /* a missing include is said, and no error */
	assert_int_equal(conf_parse(&ctx, SPAN("/c/none")), CONF_ERR);

	assert_int_equal(o.opener.ops->read_file(&o.opener, SPAN("/c/n"), &a, &text), 0);
	assert_int_equal(text.n, 0);
	assert_int_equal(o.opener.ops->open_log(&o.opener, SPAN("/l")), OPENER_NO_FD);
	assert_int_equal(o.opener.ops->listen(&o.opener, &spec, 0), OPENER_NO_FD);
	assert_int_equal(o.opener.ops->make_dir(&o.opener, SPAN("/d")), 0);
	assert_int_equal(o.opener.ops->exists(&o.opener, SPAN("/d")), 0);
	assert_int_equal(o.opener.ops->resolve(&o.opener, SPAN("h"), &sa, 1), 1);
	assert_int_equal(((struct sockaddr_in *)&sa)->sin_addr.s_addr, inet_addr("192.0.2.1"));
	arena_fini(&a);
}

static void test_memory(void **state)
{
	struct opener_memory o;
	struct arena a;
	struct sockaddr_storage sa;
	struct span text, *paths;
	size_t n;

	arena_init(&a, 1 << 20);
	opener_memory_init(&o, files);
	assert_int_equal(o.opener.ops->read_file(&o.opener, SPAN("/c/d/x"), &a, &text), 0);
	assert_true(span_eq(text, SPAN("x;")));
	assert_int_equal(o.opener.ops->read_file(&o.opener, SPAN("/c/d"), &a, &text), -ENOENT);
	assert_int_equal(o.opener.ops->exists(&o.opener, SPAN("/c/n")), 0);
	assert_int_equal(o.opener.ops->exists(&o.opener, SPAN("/x")), -ENOENT);
	assert_int_equal(o.opener.ops->glob(&o.opener, SPAN("/c/*"), &a, &paths, &n), 0);
	assert_int_equal(n, 1);
	assert_true(span_eq(paths[0], SPAN("/c/n")));
	assert_int_equal(o.opener.ops->resolve(&o.opener, SPAN("x.invalid"), &sa, 1), -ENOENT);
	assert_int_equal(o.opener.ops->resolve(&o.opener, SPAN("x"), &sa, 0), 0);
	assert_int_equal(o.opener.ops->resolve(&o.opener, SPAN("x"), &sa, 1), 1);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_offline),
					   cmocka_unit_test(test_memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
