#include "mod/warm_file.h"
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include "base/hash.h"
#include "base/pool.h"
#include "io/loop.h"

struct warm_file {
	struct stat st;
	unsigned holders; /* the table counts as one */
	int fd;
	size_t n;
	char path[];
};

/* Direct-mapped: of two files with one place the later one wins. */
struct place {
	uint64_t hash, used_ms;
	uint64_t turn;		/* in which the path was last looked at */
	struct warm_file *file; /* NULL: seen once, not kept */
};

static _Thread_local struct {
	struct place places[WARM_MAX];
	struct timer timer;
	bool ready;
} warm;

int warm_file_fd(const struct warm_file *w)
{
	return w->fd;
}

void warm_file_give(struct warm_file *w)
{
	if (--w->holders)
		return;
	sys->close(w->fd);
	mem_free(w);
}

static void place_empty(struct place *p)
{
	if (p->file)
		warm_file_give(p->file);
	*p = (struct place){0};
}

static void warm_tick(struct timer *t)
{
	bool more = false;

	for (unsigned i = 0; i < WARM_MAX; i++) {
		struct place *p = &warm.places[i];

		if (p->file && io_now_ms() - p->used_ms >= WARM_MS)
			place_empty(p);
		more |= p->file != NULL;
	}
	if (more)
		timer_start(&co_sched.wheel, t, io_now_ms() + WARM_MS);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mode == b->st_mode && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

struct warm_file *warm_file_take(struct span path, struct stat *st)
{
	uint64_t hash = hash_bytes(path.p, path.n);
	struct place *p = &warm.places[hash % WARM_MAX];
	struct warm_file *w = p->file;

	if (!w || p->hash != hash || !span_eq(span_make(w->path, w->n), path))
		return NULL;
	if (p->turn != co_sched.turn &&
	    (sys->fstatat(AT_FDCWD, path.p, st, 0) < 0 || !is_same(st, &w->st))) {
		place_empty(p);
		return NULL;
	}
	*st = w->st;
	p->turn = co_sched.turn;
	p->used_ms = io_now_ms();
	w->holders++;
	return w;
}

static struct warm_file *file_new(struct span path, int fd, const struct stat *st)
{
	struct warm_file *w = mem_alloc(sizeof(*w) + path.n);

	if (!w)
		return NULL;
	*w = (struct warm_file){.st = *st, .holders = 2, .fd = fd, .n = path.n};
	memcpy(w->path, path.p, path.n);
	return w;
}

bool warm_file_offer(struct span path, int fd, const struct stat *st, struct warm_file **out)
{
	uint64_t hash = hash_bytes(path.p, path.n);
	struct place *p = &warm.places[hash % WARM_MAX];
	bool again = p->hash == hash && p->used_ms && io_now_ms() - p->used_ms < WARM_MS;

	place_empty(p);
	p->hash = hash;
	p->used_ms = io_now_ms();
	p->turn = co_sched.turn;
	if (!again || !S_ISREG(st->st_mode))
		return false;
	p->file = *out = file_new(path, fd, st);
	if (!p->file)
		return false;
	if (!warm.ready)
		timer_init(&warm.timer, warm_tick);
	warm.ready = true;
	if (!timer_pending(&warm.timer))
		timer_start(&co_sched.wheel, &warm.timer, io_now_ms() + WARM_MS);
	return true;
}

void warm_files_clear(void)
{
	for (unsigned i = 0; i < WARM_MAX; i++)
		place_empty(&warm.places[i]);
	if (warm.ready)
		timer_stop(&co_sched.wheel, &warm.timer);
	warm.ready = false;
}
