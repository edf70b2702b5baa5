/* Logs with variables in their names, and open_log_file_cache: their descriptors, kept. Everything
 * here belongs to one thread. */
#include <errno.h>
#include <fcntl.h>
#include "base/hash.h"
#include "base/list.h"
#include "base/pool.h"
#include "io/loop.h"
#include "io/sys.h"
#include "mod/log.h"

#define EXPIRE_AT_ONCE 2 /* idle entries dropped per line: work stays even */

struct log_entry {
	struct hash_node node;
	struct list lru; /* most recently used first */
	int fd;		 /* -1: used too seldom so far */
	dev_t device;
	ino_t inode;
	int64_t uses;
	uint64_t checked_ms, used_ms, inactive_ms;
	size_t n;
	char path[];
};

static _Thread_local struct {
	struct hash table;
	struct list lru;
	uint64_t generation;
	int64_t max; /* the largest that this configuration asked for */
} cache;

static int log_path_open(const char *path)
{
	return sys->openat(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

/* ---- entries ---- */

static void log_entry_free(struct log_entry *e)
{
	if (e->fd >= 0)
		sys->close(e->fd);
	hash_remove(&cache.table, &e->node);
	list_del(&e->lru);
	mem_free(e);
}

void log_cache_clear(void)
{
	if (!cache.lru.next)
		return;
	while (!list_empty(&cache.lru))
		log_entry_free(CONTAINER_OF(cache.lru.next, struct log_entry, lru));
	hash_fini(&cache.table);
	memset(&cache, 0, sizeof(cache));
}

size_t log_cache_count(void)
{
	return cache.table.count;
}

/* A new configuration starts with nothing: what it does not name any more is let go. */
static void log_cache_prepare(const struct log_cache_conf *cc, uint64_t generation)
{
	if (!cache.lru.next || generation > cache.generation) {
		log_cache_clear();
		hash_init(&cache.table);
		list_init(&cache.lru);
		cache.generation = generation;
	}
	cache.max = MAX_OF(cache.max, cc->max);
	for (int i = 0; i < EXPIRE_AT_ONCE && !list_empty(&cache.lru); i++) {
		struct log_entry *e = CONTAINER_OF(cache.lru.prev, struct log_entry, lru);

		if (io_now_ms() - e->used_ms < e->inactive_ms)
			return;
		log_entry_free(e);
	}
}

static struct log_entry *log_entry_find(struct span path)
{
	struct hash_node *n = hash_first(&cache.table, hash_bytes(path.p, path.n));

	for (; n; n = hash_next(n)) {
		struct log_entry *e = CONTAINER_OF(n, struct log_entry, node);

		if (span_eq(path, span_make(e->path, e->n)))
			return e;
	}
	return NULL;
}

static struct log_entry *log_entry_new(struct span path)
{
	struct log_entry *e;

	if (cache.table.count >= (size_t)cache.max)
		log_entry_free(CONTAINER_OF(cache.lru.prev, struct log_entry, lru));
	e = mem_zalloc(sizeof(*e) + path.n + 1);
	if (!e)
		return NULL;
	e->fd = -1;
	e->n = path.n;
	memcpy(e->path, path.p, path.n);
	if (!hash_insert(&cache.table, &e->node, hash_bytes(path.p, path.n))) {
		mem_free(e);
		return NULL;
	}
	list_push_front(&cache.lru, &e->lru);
	return e;
}

static void log_entry_touch(struct log_entry *e, const struct log_cache_conf *cc)
{
	e->uses++;
	e->used_ms = io_now_ms();
	e->inactive_ms = (uint64_t)cc->inactive_s * 1000;
	list_del(&e->lru);
	list_push_front(&cache.lru, &e->lru);
}

/* The file may have been moved away: after `valid` seconds the name is looked at again. */
static void log_entry_check(struct log_entry *e, const struct log_cache_conf *cc)
{
	struct stat st;

	if (e->fd < 0 || io_now_ms() - e->checked_ms < (uint64_t)cc->valid_s * 1000)
		return;
	e->checked_ms = io_now_ms();
	if (sys->fstatat(AT_FDCWD, e->path, &st, 0) == 0 && st.st_dev == e->device &&
	    st.st_ino == e->inode)
		return;
	sys->close(e->fd);
	e->fd = -1;
}

/* Takes over fd when the entry has been used often enough. */
static bool log_entry_keep(struct log_entry *e, int fd, const struct log_cache_conf *cc)
{
	struct stat st;

	if (e->uses < cc->min_uses || sys->fstat(fd, &st) < 0)
		return false;
	e->fd = fd;
	e->device = st.st_dev;
	e->inode = st.st_ino;
	e->checked_ms = io_now_ms();
	return true;
}

/* ---- the door ---- */

int log_path_write(const char *path, struct span line, const struct log_cache_conf *cc,
		   uint64_t generation)
{
	struct log_entry *e = NULL;
	bool kept = false;
	ssize_t n;
	int fd;

	if (cc->max) {
		struct span name = span_of(path);

		log_cache_prepare(cc, generation);
		e = log_entry_find(name);
		if (!e)
			e = log_entry_new(name);
		if (e) {
			log_entry_touch(e, cc);
			log_entry_check(e, cc);
		}
	}
	fd = e && e->fd >= 0 ? e->fd : log_path_open(path);
	if (fd < 0)
		return fd;
	if (e)
		kept = e->fd >= 0 || log_entry_keep(e, fd, cc);
	n = sys->write(fd, line.p, line.n);
	if (!kept)
		sys->close(fd);
	return n < 0 ? (int)n : 0;
}
