#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/pool.h"
#include "co/co.h"
#include "co/stack.h"
#include "co/tell.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#define PAINT 0xa5a5a5a5a5a5a5a5ull
/* Stacks that begin at the same offset in a page compete for the same cache sets: shift them. */
#define COLOURS	    16
#define COLOUR_STEP 128
/* Mappings left for the libraries, the heap and files. */
#define MAPS_RESERVE 1024

struct co_slab {
	struct co_slab *next;
	char *map;
	size_t map_size;
	bool mprotected;
	struct co_slot slots[CO_SLAB_SLOTS];
};

_Thread_local struct co_stacks {
	struct co_slab *slabs;
	struct list idle;	/* warm ones in front, latest first; cold ones behind */
	struct list *warm_last; /* the coldest warm one, or the head */
	unsigned nslots, nidle, nwarm, max;
	struct timer cool;
	unsigned spare; /* the fewest warm ones since it was started */
	bool census;
	unsigned deepest;
} co_stacks;

/* mprotect splits a mapping in two per slot, and the limit counts them for the whole process. */
static atomic_uint mprotected_slots;
static atomic_bool force_mprotect;

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

void co_guard_force_mprotect(bool on)
{
	atomic_store(&force_mprotect, on);
}

static unsigned max_map_count(void)
{
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char text[32];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	long v;

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 65530;
	text[n] = '\0';
	v = strtol(text, NULL, 10);
	return v <= 0 || v > INT32_MAX ? INT32_MAX : (unsigned)v;
}

unsigned co_guard_ceiling(void)
{
	static atomic_uint ceiling;
	unsigned c = atomic_load(&ceiling);

	if (!c) {
		unsigned maps = max_map_count();

		c = maps > 2 * MAPS_RESERVE ? (maps - MAPS_RESERVE) / 2 : maps / 4 + 1;
		atomic_store(&ceiling, c);
	}
	return c;
}

/* Gives the pages of the coldest warm slot back. */
static void slot_cool(void)
{
	struct co_slot *s = CONTAINER_OF(co_stacks.warm_last, struct co_slot, link);

	co_stacks.warm_last = s->link.prev;
	madvise(s->lo, CO_STACK_SIZE, MADV_DONTNEED);
	s->warm = false;
	s->painted = false;
	co_stacks.nwarm--;
}

static void cool_later(void)
{
	co_stacks.spare = co_stacks.nwarm;
	timer_start(&co_sched.wheel, &co_stacks.cool, co_sched.now_ms + CO_COOL_MS);
}

static void stacks_cool(struct timer *t)
{
	unsigned n = co_stacks.spare > CO_IDLE_MIN ? co_stacks.spare - CO_IDLE_MIN : 0;

	for (n = MIN_OF(n, (unsigned)CO_COOL_MAX); n; n--)
		slot_cool();
	if (co_stacks.nwarm > CO_IDLE_MIN)
		cool_later();
}

void co_stacks_init(unsigned max)
{
	bool census = co_stacks.census;

	co_stacks = (struct co_stacks){.max = max, .census = census};
	list_init(&co_stacks.idle);
	co_stacks.warm_last = &co_stacks.idle;
	timer_init(&co_stacks.cool, stacks_cool);
}

static void slab_unmap(struct co_slab *b)
{
	if (b->mprotected)
		atomic_fetch_sub(&mprotected_slots, CO_SLAB_SLOTS);
	munmap(b->map, b->map_size);
	mem_free(b);
}

void co_stacks_fini(void)
{
	BUG_ON(co_stacks.nidle != co_stacks.nslots);
	timer_stop(&co_sched.wheel, &co_stacks.cool);
	while (co_stacks.slabs) {
		struct co_slab *b = co_stacks.slabs;

		co_stacks.slabs = b->next;
		for (int i = 0; i < CO_SLAB_SLOTS; i++) {
			timer_stop(&co_sched.wheel, &b->slots[i].deadline);
			tell_unmapped(b->slots[i].tell_id);
		}
		slab_unmap(b);
	}
	co_stacks.nslots = co_stacks.nidle = co_stacks.nwarm = 0;
	list_init(&co_stacks.idle);
	co_stacks.warm_last = &co_stacks.idle;
}

static int slab_guard_mprotect(struct co_slab *b, size_t stride)
{
	if (atomic_fetch_add(&mprotected_slots, CO_SLAB_SLOTS) + CO_SLAB_SLOTS >
	    co_guard_ceiling()) {
		atomic_fetch_sub(&mprotected_slots, CO_SLAB_SLOTS);
		return -EAGAIN;
	}
	b->mprotected = true;
	for (int i = 0; i < CO_SLAB_SLOTS; i++)
		if (mprotect(b->map + (size_t)i * stride, page_size(), PROT_NONE) < 0)
			return -errno;
	return 0;
}

static int slab_guard(struct co_slab *b, size_t stride)
{
	if (atomic_load(&force_mprotect))
		return slab_guard_mprotect(b, stride);
	for (int i = 0; i < CO_SLAB_SLOTS; i++)
		if (madvise(b->map + (size_t)i * stride, page_size(), MADV_GUARD_INSTALL) < 0)
			return slab_guard_mprotect(b, stride); /* before 6.13, or locked memory */
	return 0;
}

static void slot_init(struct co_slot *s, char *guard, unsigned index)
{
	s->lo = guard + page_size();
	s->top = s->lo + CO_STACK_SIZE - index % COLOURS * COLOUR_STEP;
	timer_init(&s->deadline, co_deadline_fired);
	s->tell_id = tell_mapped(s->lo, s->lo + CO_STACK_SIZE);
	list_push(&co_stacks.idle, &s->link);
	co_stacks.nidle++;
	co_stacks.nslots++;
}

/* Maps a slab; its slots join the idle list as cold ones. */
static int slab_map(void)
{
	size_t stride = CO_STACK_SIZE + page_size();
	struct co_slab *b;
	int err;

	if (co_stacks.max && co_stacks.nslots >= co_stacks.max)
		return -EAGAIN;
	b = mem_zalloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->map_size = stride * CO_SLAB_SLOTS;
	b->map = mmap(NULL, b->map_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (b->map == MAP_FAILED) {
		mem_free(b);
		return -ENOMEM;
	}
	/* A huge page per slab would make every stack cost all of its 128 KiB. */
	madvise(b->map, b->map_size, MADV_NOHUGEPAGE);
	err = slab_guard(b, stride);
	if (err) {
		slab_unmap(b);
		return err;
	}
	b->next = co_stacks.slabs;
	co_stacks.slabs = b;
	for (unsigned i = 0; i < CO_SLAB_SLOTS; i++)
		slot_init(&b->slots[i], b->map + i * stride, i);
	return 0;
}

static void paint(uint64_t *from, uint64_t *to)
{
	while (from < to)
		*from++ = PAINT;
}

/* Measures how deep the slot was used and paints that part anew. */
static void slot_measure(struct co_slot *s)
{
	uint64_t *lo = (uint64_t *)s->lo, *top = (uint64_t *)s->top, *p = lo;

	while (p < top && *p == PAINT)
		p++;
	co_stacks.deepest = MAX_OF(co_stacks.deepest, (unsigned)((char *)top - (char *)p));
	paint(p, top);
}

struct co_slot *co_slot_take(int *err)
{
	struct co_slot *s;

	if (list_empty(&co_stacks.idle)) {
		*err = slab_map();
		if (*err)
			return NULL;
	}
	if (co_stacks.max && co_stacks.nslots - co_stacks.nidle >= co_stacks.max) {
		*err = -EAGAIN;
		return NULL;
	}
	s = CONTAINER_OF(co_stacks.idle.next, struct co_slot, link);
	if (co_stacks.warm_last == &s->link)
		co_stacks.warm_last = &co_stacks.idle;
	list_del(&s->link);
	co_stacks.nidle--;
	if (s->warm)
		co_stacks.nwarm--;
	co_stacks.spare = MIN_OF(co_stacks.spare, co_stacks.nwarm);
	s->warm = true;
	tell_clean(s->lo, CO_STACK_SIZE);
	if (co_stacks.census && !s->painted) {
		paint((uint64_t *)s->lo, (uint64_t *)s->top);
		s->painted = true;
	}
	return s;
}

void co_slot_give(struct co_slot *s)
{
	s->co = NULL;
	tell_clean(s->lo, CO_STACK_SIZE);
	if (s->painted)
		slot_measure(s);
	list_push_front(&co_stacks.idle, &s->link);
	if (co_stacks.warm_last == &co_stacks.idle)
		co_stacks.warm_last = &s->link;
	co_stacks.nidle++;
	co_stacks.nwarm++;
	if (co_stacks.nwarm > CO_IDLE_MIN && !timer_pending(&co_stacks.cool))
		cool_later();
}

unsigned co_slots_idle(void)
{
	return co_stacks.nidle;
}

unsigned co_slots_warm(void)
{
	return co_stacks.nwarm;
}

void co_census_enable(bool on)
{
	co_stacks.census = on;
}

unsigned co_stack_census(void)
{
	return co_stacks.deepest;
}
