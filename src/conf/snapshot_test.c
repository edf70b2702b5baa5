#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <cmocka.h>
#include "base/pool.h"
#include "conf/snapshot.h"

static char order[16];
static void mark(void *arg)
{
	size_t n = strlen(order);

	order[n] = *(const char *)arg;
	order[n + 1] = 0;
}

static struct snapshot *make(unsigned nthreads, uint64_t generation, char *name)
{
	struct snapshot *s = snapshot_new(nthreads, generation);

	assert_non_null(s);
	assert_int_equal(s->generation, generation);
	assert_int_equal(snapshot_on_free(s, mark, name), 0);
	return s;
}

static void test_refused(void **state)
{
	char a[] = "a", b[] = "b";
	struct snapshot *s = make(1, 1, a);

	order[0] = 0;
	assert_int_equal(snapshot_on_free(s, mark, b), 0);
	snapshot_drop_loader(s);
	assert_string_equal(order, "ba"); /* in reverse order */
}

static void test_requests_keep_it(void **state)
{
	char a[] = "a", b[] = "b", c[] = "c";
	struct snapshot *x = make(2, 1, a), *y = make(2, 2, b), *z = make(2, 3, c);

	order[0] = 0;
	assert_null(snapshot_current());
	snapshot_switch(x, 1);
	snapshot_drop_loader(x);
	assert_ptr_equal(snapshot_current(), x);
	snapshot_ref(x);
	snapshot_ref(x);
	snapshot_switch(y, 1);
	snapshot_drop_loader(y);
	snapshot_unref(x);
	snapshot_ref(x); /* a request may pass on what it holds */
	snapshot_unref(x);
	assert_string_equal(order, "");
	snapshot_unref(x);
	assert_string_equal(order, "a");
	snapshot_unref(snapshot_ref(y));
	assert_string_equal(order, "a");
	snapshot_switch(y, 1);
	snapshot_switch(z, 1);
	assert_string_equal(order, "ab");
	snapshot_drop_loader(z);
	snapshot_ref(z);
	snapshot_switch(NULL, 1);
	assert_null(snapshot_current());
	assert_string_equal(order, "ab");
	snapshot_unref(z);
	assert_string_equal(order, "abc");
}

/* Back to one that still has requests here. */
static void test_switch_back(void **state)
{
	char a[] = "a", b[] = "b";
	struct snapshot *x = make(1, 1, a), *y = make(1, 2, b);

	order[0] = 0;
	snapshot_switch(x, 0);
	snapshot_ref(x);
	snapshot_switch(y, 0);
	snapshot_switch(x, 0);
	snapshot_drop_loader(x);
	snapshot_drop_loader(y);
	assert_string_equal(order, "b");
	snapshot_unref(x);
	assert_string_equal(order, "b");
	snapshot_switch(NULL, 0);
	assert_string_equal(order, "ba");
}

/* ---- two threads and a loader ---- */

#define ROUNDS	2000
#define HOLDING 8

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct snapshot *offer;
	unsigned taken; /* threads that switched to it */
	bool end;
} post = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
static _Atomic unsigned freed;

static void count_free(void *arg)
{
	char *text = arg;

	if (text[0] == 'x' && text[63] == 'y')
		freed++;
}

static bool next_offer(struct snapshot **s)
{
	bool more;

	pthread_mutex_lock(&post.lock);
	while (!post.end && (!post.offer || post.offer == *s))
		pthread_cond_wait(&post.changed, &post.lock);
	more = !post.end;
	*s = post.offer;
	pthread_mutex_unlock(&post.lock);
	return more;
}

static void *worker(void *arg)
{
	unsigned thread = *(unsigned *)arg, n = 0;
	struct snapshot *held[HOLDING] = {0}, *s = NULL;

	while (next_offer(&s)) {
		snapshot_switch(s, thread);
		pthread_mutex_lock(&post.lock);
		post.taken++;
		pthread_cond_broadcast(&post.changed);
		pthread_mutex_unlock(&post.lock);
		for (unsigned i = 0; i <= thread + 1; i++) { /* requests of uneven length */
			unsigned at = n++ * 7 % HOLDING;

			if (held[at]) {
				BUG_ON(((char *)held[at]->http)[63] != 'y');
				snapshot_unref(held[at]);
			}
			held[at] = snapshot_ref(s);
		}
	}
	for (unsigned i = 0; i < HOLDING; i++)
		if (held[i])
			snapshot_unref(held[i]);
	snapshot_switch(NULL, thread);
	return NULL;
}

static void test_threads(void **state)
{
	unsigned ids[2] = {0, 1};
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, &ids[i]), 0);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		struct snapshot *s = snapshot_new(2, i);
		char *text = arena_alloc(&s->arena, 64);

		memset(text, 'x', 63);
		text[63] = 'y';
		s->http = text;
		snapshot_on_free(s, count_free, text);
		pthread_mutex_lock(&post.lock);
		post.offer = s;
		post.taken = 0;
		pthread_cond_broadcast(&post.changed);
		while (post.taken < 2)
			pthread_cond_wait(&post.changed, &post.lock);
		pthread_mutex_unlock(&post.lock);
		snapshot_drop_loader(s);
	}
	pthread_mutex_lock(&post.lock);
	post.end = true;
	pthread_cond_broadcast(&post.changed);
	pthread_mutex_unlock(&post.lock);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(freed, ROUNDS);
}

static void test_no_memory(void **state)
{
	struct snapshot *s;
	char x[] = "x";

	mem_fail_after(0);
	assert_null(snapshot_new(4, 1));
	mem_fail_after(-1);
	s = snapshot_new(4, 1);
	mem_fail_after(0);
	assert_true(snapshot_on_free(s, mark, x) < 0);
	mem_fail_after(-1);
	order[0] = 0;
	snapshot_drop_loader(s);
	assert_string_equal(order, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),	    cmocka_unit_test(test_requests_keep_it),
		cmocka_unit_test(test_switch_back), cmocka_unit_test(test_threads),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
