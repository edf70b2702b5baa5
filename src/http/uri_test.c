#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "base/bug.h"
#include "http/uri.h"

static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_fini(&arena);
	return 0;
}

/* As nginx 1.22 answers `return 200 "$uri"` with merge_slashes on and off; NULL: 400. */
struct norm {
	const char *path, *merged, *kept;
};

static void check_norm(const char *path, bool merge, const char *expect)
{
	struct span out;
	enum fail f = uri_normalise(span_of(path), merge, &arena, &out);

	if (f != (expect ? FAIL_OK : FAIL_BAD_URI) || (expect && !span_eq(out, span_of(expect))))
		fail_msg("%s, merge %d: %d <%.*s>", path, merge, (int)f, SPAN_ARG(out));
}

static void normalising_is_nginxs(void **state)
{
	static const struct norm rows[] = {
		{"/", "/", "/"},
		{"/a/../b", "/b", "/b"},
		{"/a/./b", "/a/b", "/a/b"},
		{"/a//b", "/a/b", "/a//b"},
		{"/a/..", "/", "/"},
		{"/a/.", "/a/", "/a/"},
		{"/..", NULL, NULL},
		{"/../x", NULL, NULL},
		{"/a/b/../..", "/", "/"},
		{"/a/b/../../..", NULL, NULL},
		{"/%2e%2e/x", NULL, NULL},
		{"/a/%2e%2e/x", "/x", "/x"},
		{"/a%2Fb", "/a/b", "/a/b"},
		{"/a%2f..%2fb", "/b", "/b"},
		{"/a%00b", NULL, NULL},
		{"/a%zz", NULL, NULL},
		{"/a%2", NULL, NULL},
		{"/a%", NULL, NULL},
		{"/%", NULL, NULL},
		{"/a#b", "/a", "/a"},
		{"/a?b", "/a", "/a"},
		{"/a%3fb", "/a?b", "/a?b"},
		{"/a%23b", "/a#b", "/a#b"},
		{"/a%25b", "/a%b", "/a%b"},
		{"/a//../b", "/b", "/a/b"},
		{"/a/b//../c", "/a/c", "/a/b/c"},
		{"/a%20b", "/a b", "/a b"},
		{"/\xc3\xa9", "/\xc3\xa9", "/\xc3\xa9"},
		{"/a/...", "/a/...", "/a/..."},
		{"/a/.../b", "/a/.../b", "/a/.../b"},
		{"/a/.b", "/a/.b", "/a/.b"},
		{"/a/..b", "/a/..b", "/a/..b"},
		{"/a/..#x", "/", "/"},
		{"/a/.#x", "/a/", "/a/"},
		{"//", "/", "//"},
		{"/a//", "/a/", "/a//"},
		{"/a///b", "/a/b", "/a///b"},
		{"/%2f/a", "/a", "///a"},
		{"/a+b", "/a+b", "/a+b"},
		{"/a%252e", "/a%2e", "/a%2e"},
		{"/a/%2e", "/a/", "/a/"},
		{"/a/%2E%2E", "/", "/"},
		{"/a%2e%2e%2fb", "/a../b", "/a../b"},
		{"/a;b/../c", "/c", "/c"},
		{"/a\\b", "/a\\b", "/a\\b"},
		{"/a%0d%0ab", "/a\r\nb", "/a\r\nb"},
		{"/a%7f", "/a\x7f", "/a\x7f"},
		{"/a/b%2f%2e%2e", "/a/", "/a/"},
		{"/a%2f%2fb", "/a/b", "/a//b"},
		{"/..a", "/..a", "/..a"},
		{"/.", "/", "/"},
		{"/./", "/", "/"},
		{"/a/.%", NULL, NULL},
		{"/a/..%2f..%2fb", NULL, NULL},
		{"/#", "/", "/"},
		{"*", "*", "*"},
		{"", NULL, NULL},
		{"a", NULL, NULL},
		{"**", NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		check_norm(rows[i].path, true, rows[i].merged);
		check_norm(rows[i].path, false, rows[i].kept);
	}
}

static void plain_paths_are_not_copied(void **state)
{
	struct span path = SPAN("/some/plain.path/with..dots/"), out;

	assert_int_equal(uri_normalise(path, true, &arena, &out), FAIL_OK);
	assert_ptr_equal(out.p, path.p);
	assert_int_equal(uri_normalise(SPAN("/a\0b"), true, &arena, &out), FAIL_BAD_URI);
}

/* All visible bytes that each kind escapes; besides, controls and (all but memcached) DEL and
 * above. */
static void escapes_are_nginxs(void **state)
{
	static const struct {
		enum uri_escape kind;
		const char *escaped;
	} rows[] = {
		{URI_ESCAPE_PATH, " \"#%<>?\\^`{|}"},
		{URI_ESCAPE_ARGS, " \"#%&+;<>?\\^`{|}"},
		{URI_ESCAPE_COMPONENT, " !\"#$%&'()*+,/:;<=>?@[\\]^`{|}"},
		{URI_ESCAPE_HTML, " \"#%'<>\\^`{|}"},
		{URI_ESCAPE_REFRESH, " \"'<>\\^`{|~"},
		{URI_ESCAPE_MEMCACHED, " %"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (int b = 0; b < 256; b++) {
			bool high = b >= 0x7f && rows[i].kind != URI_ESCAPE_MEMCACHED;
			bool want = b < 32 || high || (b && strchr(rows[i].escaped, b) != NULL);
			char c = (char)b, text[8];
			struct span out = uri_escape(&arena, span_make(&c, 1), rows[i].kind);

			snprintf(text, sizeof(text), want ? "%%%02X" : "%c", b);
			if (!span_eq(out, span_of(text)) || (!want && out.p != &c))
				fail_msg("kind %d byte %02x", (int)rows[i].kind, b);
		}
	}
	assert_true(span_eq(uri_escape(&arena, SPAN("/a b%/\xc3?"), URI_ESCAPE_PATH),
			    SPAN("/a%20b%25/%C3%3F")));
}

static void unescaping_keeps_what_is_malformed(void **state)
{
	static const char *const rows[][2] = {
		{"", ""},
		{"abc", "abc"},
		{"%41%4a%7A", "AJz"},
		{"%zz%4", "%zz%4"},
		{"%", "%"},
		{"%%41", "%A"},
		{"a+b%2B", "a+b+"},
		{"%4%41", "%4A"},
		{"%2541", "%41"},
		{"x%C3%A9y", "x\xc3\xa9y"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_true(
			span_eq(uri_unescape(&arena, span_of(rows[i][0])), span_of(rows[i][1])));
	assert_int_equal(uri_unescape(&arena, SPAN("a%00")).n, 2);
}

static void html(void **state)
{
	struct span plain = SPAN("plain 'text'");

	assert_ptr_equal(html_escape(&arena, plain).p, plain.p);
	assert_true(span_eq(html_escape(&arena, SPAN("<a href=\"?x&y\">")),
			    SPAN("&lt;a href=&quot;?x&amp;y&quot;&gt;")));
}

/* NULL: not there. As nginx answers $arg_foo and $cookie_foo. */
static void arguments_are_nginxs(void **state)
{
	static const char *const rows[][2] = {
		{"foo=1", "1"},
		{"FOO=1", "1"},
		{"xfoo=1&foo=2", "2"},
		{"foo=1&foo=2", "1"},
		{"foo", NULL},
		{"foo&foo=3", "3"},
		{"foo=", ""},
		{"a=b&foo=%20+x", "%20+x"},
		{"foo=a;foo=b", "a;foo=b"},
		{"?foo=1", NULL},
		{"&&foo=1", "1"},
		{"a=foo=2", NULL},
		{"foo==2", "=2"},
		{"", NULL},
		{"fo=1", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span v = {NULL, 0};
		bool found = uri_arg(span_of(rows[i][0]), SPAN("foo"), &v);

		if (found != (rows[i][1] != NULL) || (found && !span_eq(v, span_of(rows[i][1]))))
			fail_msg("%s: <%.*s>", rows[i][0], SPAN_ARG(v));
	}
}

static void cookies_are_nginxs(void **state)
{
	static const char *const rows[][2] = {
		{"foo=1", "1"},
		{"FOO=1", "1"},
		{"a=2; foo=1", "1"},
		{"a=2;foo=1", "1"},
		{"xfoo=1; foo=2", "2"},
		{"foo", NULL},
		{"foo =1", "1"},
		{"foo= 1 ; a=3", "1 "},
		{"foo=\"1\"", "\"1\""},
		{"foo=1, a=2", "1, a=2"},
		{"foo=1,foo=2", "1,foo=2"},
		{"foo=", ""},
		{"foo=;a=2", ""},
		{" foo=1", "1"},
		{";foo=1", "1"},
		{"a=b foo=1", NULL},
		{"a=b, foo=1", "1"},
		{"foo=1=2", "1=2"},
		{"a; foo=3", "3"},
		{"a=foo=1", NULL},
		{"", NULL},
		{"foo; foo=2", "2"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span v = {NULL, 0};
		bool found = cookie_value(span_of(rows[i][0]), SPAN("foo"), &v);

		if (found != (rows[i][1] != NULL) || (found && !span_eq(v, span_of(rows[i][1]))))
			fail_msg("%s: <%.*s>", rows[i][0], SPAN_ARG(v));
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(normalising_is_nginxs),
		T(plain_paths_are_not_copied),
		T(escapes_are_nginxs),
		T(unescaping_keeps_what_is_malformed),
		T(html),
		T(arguments_are_nginxs),
		T(cookies_are_nginxs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
