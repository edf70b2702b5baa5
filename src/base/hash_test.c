#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/bug.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/pool.h"

static void test_functions(void **state)
{
	char longer[1000], upper[1000];

	hash_seed = 1;
	assert_true(hash_bytes("abc", 3) == hash_bytes("abc", 3));
	assert_true(hash_bytes("abc", 3) != hash_bytes("abd", 3));
	assert_true(hash_bytes("abc", 3) != hash_bytes("ABC", 3));
	assert_true(hash_bytes_nocase("Host", 4) == hash_bytes_nocase("hOST", 4));
	assert_true(hash_bytes_nocase("Host", 4) == hash_bytes("host", 4));
	assert_true(hash_bytes(NULL, 0) == hash_bytes("", 0));
	assert_true(hash_bytes_nocase(NULL, 0) == hash_bytes("", 0));
	for (size_t i = 0; i < sizeof(longer); i++) {
		longer[i] = (char)('a' + i % 26);
		upper[i] = (char)('A' + i % 26);
	}
	for (size_t n = 250; n < sizeof(longer); n += 5) {
		uint64_t h = hash_bytes_nocase(longer, n);

		assert_true(h == hash_bytes_nocase(upper, n));
		upper[n - 1] ^= 1;
		assert_true(h != hash_bytes_nocase(upper, n));
		upper[n - 1] ^= 1;
	}
	hash_seed = 2;
	assert_true(hash_bytes("abc", 3) != ({
			    hash_seed = 1;
			    hash_bytes("abc", 3);
		    }));
	hash_seed = 0;
}

struct item {
	int key;
	bool in;
	struct hash_node node;
};

static struct item *item_find(struct hash *h, int key, uint64_t hash)
{
	for (struct hash_node *n = hash_first(h, hash); n; n = hash_next(n))
		if (CONTAINER_OF(n, struct item, node)->key == key)
			return CONTAINER_OF(n, struct item, node);
	return NULL;
}

/* Few different hash values, so that chains and equal hashes occur. */
static uint64_t item_hash(int key)
{
	return (uint64_t)(key % 700) * 0x9e3779b97f4a7c15ull;
}

static void test_against_model(void **state)
{
	enum { N = 2000 };
	static struct item items[N];
	struct hash h;
	size_t count = 0;

	srand(2);
	hash_init(&h);
	assert_null(hash_first(&h, 0));
	assert_null(hash_walk(&h, NULL));
	for (int i = 0; i < N; i++)
		items[i].key = i;
	for (int round = 0; round < 50000; round++) {
		struct item *x = &items[rand() % N];

		assert_ptr_equal(item_find(&h, x->key, item_hash(x->key)), x->in ? x : NULL);
		if (x->in)
			hash_remove(&h, &x->node);
		else
			assert_true(hash_insert(&h, &x->node, item_hash(x->key)));
		count += x->in ? -1ul : 1ul;
		x->in = !x->in;
		assert_int_equal(h.count, count);
		if (round % 1000 == 0) {
			struct hash_node *n;
			size_t walked = 0;

			HASH_EACH (n, &h) {
				assert_true(CONTAINER_OF(n, struct item, node)->in);
				walked++;
			}
			assert_int_equal(walked, count);
		}
	}
	hash_fini(&h);
	assert_int_equal(h.count, 0);
}

static void test_growth(void **state)
{
	enum { N = 100000 };
	struct item *items = mem_zalloc(N * sizeof(*items));
	struct hash h;

	hash_init(&h);
	for (int i = 0; i < N; i++) {
		items[i].key = i;
		assert_true(hash_insert(&h, &items[i].node, hash_bytes(&i, sizeof(i))));
		assert_true(h.count <= h.mask + 1 || h.mask == 15);
	}
	for (int i = 0; i < N; i++)
		assert_ptr_equal(item_find(&h, i, hash_bytes(&i, sizeof(i))), &items[i]);
	hash_fini(&h);
	mem_free(items);
}

static void test_no_memory(void **state)
{
	static struct item items[100];
	struct hash h;

	hash_init(&h);
	mem_fail_after(0);
	assert_false(hash_insert(&h, &items[0].node, 1));
	assert_int_equal(h.count, 0);
	mem_fail_after(2);
	for (int i = 0; i < 100; i++) { /* cannot grow: the chains do */
		items[i].key = i;
		assert_true(hash_insert(&h, &items[i].node, (uint64_t)i * 31));
	}
	mem_fail_after(-1);
	assert_int_equal(h.mask, 15);
	for (int i = 0; i < 100; i++)
		assert_ptr_equal(item_find(&h, i, (uint64_t)i * 31), &items[i]);
	hash_fini(&h);
}

struct link {
	int n;
	struct list link;
};

static void test_list(void **state)
{
	struct link a = {1}, b = {2}, c = {3};
	struct list head, *it, *tmp;
	int sum = 0;

	list_init(&head);
	list_init(&a.link);
	list_del(&a.link); /* harmless */
	assert_null(list_take(&head));
	list_push(&head, &b.link);
	list_push(&head, &c.link);
	list_push_front(&head, &a.link);
	list_each (it, &head)
		sum = sum * 10 + CONTAINER_OF(it, struct link, link)->n;
	assert_int_equal(sum, 123);
	list_each_safe (it, tmp, &head)
		if (it == &b.link)
			list_del(it);
	list_del(&b.link);
	assert_ptr_equal(list_take(&head), &a.link);
	assert_ptr_equal(list_take(&head), &c.link);
	assert_true(list_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_functions), cmocka_unit_test(test_against_model),
		cmocka_unit_test(test_growth),	  cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
