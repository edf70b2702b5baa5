#include <errno.h>
#include <stdatomic.h>
#include "base/pool.h"
#include "conf/snapshot.h"

struct destructor {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};

static _Thread_local struct snapshot *current;
static _Thread_local unsigned this_thread;
static atomic_uint alive;

struct snapshot *snapshot_new(unsigned nthreads, uint64_t generation)
{
	struct snapshot *s;

	BUG_ON(nthreads > THREADS_MAX);
	s = mem_zalloc(sizeof(*s) + nthreads * sizeof(s->per_thread[0]));
	if (!s)
		return NULL;
	arena_init(&s->arena, SNAPSHOT_ARENA_MAX);
	list_init(&s->on_free);
	s->generation = generation;
	s->nthreads = nthreads;
	atomic_init(&s->holders, 1);
	alive++;
	return s;
}

int snapshot_on_free(struct snapshot *s, void (*fn)(void *arg), void *arg)
{
	struct destructor *d = arena_alloc(&s->arena, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->fn = fn;
	d->arg = arg;
	list_push_front(&s->on_free, &d->link);
	return 0;
}

static void snapshot_free(struct snapshot *s)
{
	struct list *l;

	while ((l = list_take(&s->on_free)) != NULL) {
		struct destructor *d = CONTAINER_OF(l, struct destructor, link);

		d->fn(d->arg);
	}
	arena_fini(&s->arena);
	mem_free(s);
	alive--;
}

unsigned snapshots_alive(void)
{
	return alive;
}

static void drop_hold(struct snapshot *s)
{
	unsigned before = atomic_fetch_sub_explicit(&s->holders, 1, memory_order_acq_rel);

	BUG_ON(before == 0);
	if (before == 1)
		snapshot_free(s);
}

void snapshot_drop_loader(struct snapshot *s)
{
	drop_hold(s);
}

struct snapshot *snapshot_current(void)
{
	return current;
}

void snapshot_switch(struct snapshot *s, unsigned thread)
{
	struct snapshot *old = current;

	BUG_ON(old && thread != this_thread);
	if (s == old)
		return;
	this_thread = thread;
	current = s;
	if (s) {
		BUG_ON(thread >= s->nthreads || s->per_thread[thread].current);
		if (s->per_thread[thread].refs == 0) /* else this thread has its hold already */
			atomic_fetch_add_explicit(&s->holders, 1, memory_order_relaxed);
		s->per_thread[thread].current = true;
	}
	if (old) {
		old->per_thread[thread].current = false;
		if (old->per_thread[thread].refs == 0)
			drop_hold(old);
	}
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
	BUG_ON(this_thread >= s->nthreads);
	BUG_ON(s != current && s->per_thread[this_thread].refs == 0);
	s->per_thread[this_thread].refs++;
	return s;
}

void snapshot_unref(struct snapshot *s)
{
	BUG_ON(this_thread >= s->nthreads || s->per_thread[this_thread].refs == 0);
	if (--s->per_thread[this_thread].refs == 0 && !s->per_thread[this_thread].current)
		drop_hold(s);
}
