#include "mod/password.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/bug.h"
#include "base/pool.h"

/* Made with openssl passwd, htpasswd, libcrypt and Python's hashlib. */
static const struct {
	const char *hash, *password;
} known[] = {
	{"$apr1$12345678$0lqb/6VUFP8JY/s/jTrIk0", "secret"},
	{"$apr1$12345678$sHuPAw7VA9xjRbJz7zKV7/", ""},
	{"$apr1$12345678$68ZQVfPkWX/wcXr/41VxQ.", "a"},
	{"$apr1$x$tMwYqBfQwi3FYAr0aJc8M/", ""},
	{"$apr1$12345678$yiFoyfrrVNwrIepED8sjv0",
	 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
	{"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret"},
	{"{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0", "secret"},
	{"{PLAIN}secret", "secret"},
	{"{PLAIN}", ""},
	{"$y$j75$k2XAnEHBqQ1Ct2aMXFKNa/$Tg4ZRR7tz/WRlmYbADZh9OJYakPewgSPQqW55EXAJ14", "secret"},
	{"$2y$04$OD8HpnXMAbvRLJuCYZuZ4.u3zLjiIQ/inXdMvU6vZ2wylN66QYVj.", "secret"},
	{"$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4", "secret"},
	{"$6$rounds=1000$abcdefgh$nhYjN017qxiYztzyUpZtPnUQcnLy62KsunSLHNeLahp2EHPlAKmFFlrjEwSXGo2k"
	 "gY5hR2.peKEg2VGUqIJJu1",
	 "secret"},
	{"$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", "secret"},
	{"abNANd1rDfiNc", "secret"},
};

static enum password_result check(const char *hash, const char *password)
{
	return password_check(span_of(hash), span_of(password));
}

static void test_right(void **state)
{
	for (unsigned i = 0; i < ARRAY_LEN(known); i++)
		if (check(known[i].hash, known[i].password) != PASSWORD_RIGHT)
			fail_msg("%s", known[i].hash);
}

/* A password that differs in one place, is longer or shorter; a hash that differs at its end. */
static void test_wrong(void **state)
{
	char text[PASSWORD_HASH_MAX];

	for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
		const char *hash = known[i].hash, *p = known[i].password;
		size_t n = strlen(hash);

		assert_int_equal(check(hash, "Secret"), PASSWORD_WRONG);
		assert_int_equal(check(hash, strlen(p) ? "" : "b"), PASSWORD_WRONG);
		snprintf(text, sizeof(text), "%c%s", 'x', p);
		assert_int_equal(check(hash, text), PASSWORD_WRONG);
		if (n < 10)
			continue;
		memcpy(text, hash, n + 1);
		text[n - 2] = text[n - 2] == 'x' ? 'y' : 'x';
		if (check(text, p) == PASSWORD_RIGHT)
			fail_msg("%s", text);
		memcpy(text, hash, n);
		strcpy(text + n, "x");
		if (check(text, p) == PASSWORD_RIGHT)
			fail_msg("%s", text);
	}
}

static void test_zero_byte_and_length(void **state)
{
	static char longest[PASSWORD_MAX + 1], hash[PASSWORD_MAX + 8];

	assert_int_equal(password_check(SPAN("{PLAIN}secret"), SPAN("secret\0x")), PASSWORD_WRONG);
	assert_int_equal(password_check(SPAN("abNANd1rDfiNc"), SPAN("secret\0")), PASSWORD_WRONG);
	memset(longest, 'x', sizeof(longest));
	for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
		struct span h = span_of(known[i].hash);

		assert_int_equal(password_check(h, span_make(longest, PASSWORD_MAX)),
				 PASSWORD_WRONG);
		assert_int_equal(password_check(h, span_make(longest, PASSWORD_MAX + 1)),
				 PASSWORD_WRONG);
	}
	memset(hash, 'x', sizeof(hash));
	assert_int_equal(password_check(span_make(hash, sizeof(hash)), SPAN("x")),
			 PASSWORD_UNKNOWN_FORM);
}

static void test_unknown_forms(void **state)
{
	static const char *const hashes[] = {
		"",
		"*",
		"*0",
		"!",
		"$9$zz",
		"$apr1$",
		"$apr1$abc",
		"{SHA}",
		"{SHA}5en6G6Mez",
		"{SHA}=%=",
		"{SSHA}",
		"{SSHA}YQ==",
		"{SMD5}x",
		"{CRYPT}x",
		"$argon2id$v=19",
		"$2y$99$toohigh",
	};

	for (unsigned i = 0; i < ARRAY_LEN(hashes); i++)
		if (check(hashes[i], "secret") != PASSWORD_UNKNOWN_FORM)
			fail_msg("%s", hashes[i]);
}

static void test_no_memory(void **state)
{
	mem_fail_after(0);
	assert_int_equal(check("abNANd1rDfiNc", "secret"), PASSWORD_FAILED);
	mem_fail_after(-1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_zero_byte_and_length),
		cmocka_unit_test(test_unknown_forms),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
