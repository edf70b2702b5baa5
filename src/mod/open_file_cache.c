#include "mod/open_file_cache.h"
#include <errno.h>
#include <fcntl.h>
#include "base/arena.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/pool.h"
#include "io/loop.h"
#include "io/sys.h"
#include "mod/warm_file.h"
#include "serve/core.h"
#include "serve/req.h"

#define EXPIRE_AT_ONCE 2 /* idle entries dropped per lookup: work stays even */

struct ofc_entry {
	struct hash_node node;
	struct list lru; /* most recently used first; not on it when detached */
	int fd;		 /* -1: none kept */
	int err;
	const char *failed;
	struct file_facts facts;
	unsigned holders;
	bool detached; /* out of the table: freed with its last holder */
	int64_t uses;
	uint64_t checked_ms, used_ms, inactive_ms;
	int symlinks;
	size_t from;
	size_t n;
	char path[];
};

struct ofc {
	struct hash table;
	struct list lru;
	uint64_t generation;
	int64_t max; /* the largest that this configuration asked for */
};

static _Thread_local struct ofc cache;

/* ---- the system ---- */

static void facts_of(struct file_facts *f, const struct stat *st)
{
	*f = (struct file_facts){
		.is_dir = S_ISDIR(st->st_mode),
		.is_file = S_ISREG(st->st_mode),
		.size = st->st_size,
		.mtime = st->st_mtime,
		.inode = st->st_ino,
		.device = st->st_dev,
	};
}

/* A link is let through when it belongs to the owner of what it leads to. */
static int check_link_owner(int dir, const char *name, int fd)
{
	struct stat link, target;
	int rc = sys->fstatat(dir, name, &link, AT_SYMLINK_NOFOLLOW);

	if (rc < 0)
		return rc;
	if (!S_ISLNK(link.st_mode))
		return 0;
	rc = sys->fstat(fd, &target);
	if (rc < 0)
		return rc;
	return link.st_uid == target.st_uid ? 0 : -ELOOP;
}

/* One component; flags for the last one or for a directory on the way. */
static int open_component(int dir, const char *name, int flags, int symlinks)
{
	int fd, rc;

	if (symlinks == SYMLINKS_ON) {
		struct stat st;

		fd = sys->openat(dir, name, flags | O_NOFOLLOW, 0);
		/* O_DIRECTORY speaks before O_NOFOLLOW does */
		if (fd == -ENOTDIR && sys->fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISLNK(st.st_mode))
			return -ELOOP;
		return fd;
	}
	fd = sys->openat(dir, name, flags, 0);
	if (fd < 0)
		return fd;
	rc = check_link_owner(dir, name, fd);
	if (rc < 0) {
		sys->close(fd);
		return rc;
	}
	return fd;
}

/* The directory where checking begins; *rest: the components behind it. */
static int open_start(const struct file_ask *ask, char *path, char **rest)
{
	size_t from = ask->symlinks_from;
	int fd;

	if (from == 0) {
		*rest = path;
		if (path[0] != '/')
			return AT_FDCWD;
		return sys->openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0);
	}
	/* from ends before a '/' of the path */
	*rest = path + from + 1;
	path[from] = 0;
	fd = sys->openat(AT_FDCWD, path[0] ? path : "/", O_PATH | O_DIRECTORY, 0);
	return fd;
}

static char *next_component(char **rest)
{
	char *name, *p = *rest;

	while (*p == '/')
		p++;
	name = p;
	while (*p && *p != '/')
		p++;
	while (*p == '/')
		*p++ = 0;
	*rest = p;
	return name;
}

/* Component by component, so that a link anywhere behind `from` is seen. path is cut up. */
static int open_walk(const struct file_ask *ask, char *path)
{
	char *rest;
	int dir = open_start(ask, path, &rest);

	while (dir >= 0 || dir == AT_FDCWD) {
		char *name = next_component(&rest);
		int fd = open_component(dir, *name ? name : ".",
					*rest ? O_PATH | O_DIRECTORY : O_RDONLY | O_NONBLOCK,
					ask->symlinks);

		if (dir != AT_FDCWD)
			sys->close(dir);
		if (!*rest)
			return fd;
		dir = fd;
	}
	return dir;
}

static int open_checked(const struct file_ask *ask)
{
	char *copy = mem_alloc(ask->path.n + 1);
	int fd;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, ask->path.p, ask->path.n + 1);
	fd = open_walk(ask, copy);
	mem_free(copy);
	return fd;
}

static int failed(struct open_file *of, int rc, const char *what)
{
	of->fd = -1;
	of->err = -rc;
	of->failed = what;
	return of->err;
}

static int file_open(struct open_file *of, const struct file_ask *ask, struct stat *st)
{
	bool checked = ask->symlinks != SYMLINKS_OFF;
	int rc;

	of->err = 0;
	of->fd = checked ? open_checked(ask)
			 : sys->openat(AT_FDCWD, ask->path.p, O_RDONLY | O_NONBLOCK, 0);
	if (of->fd < 0)
		return failed(of, of->fd, checked ? "openat()" : "open()");
	rc = sys->fstat(of->fd, st);
	if (rc < 0) {
		sys->close(of->fd);
		return failed(of, rc, "fstat()");
	}
	facts_of(&of->facts, st);
	return 0;
}

static int file_stat(struct open_file *of, const struct file_ask *ask)
{
	struct stat st;
	int rc;

	if (ask->symlinks != SYMLINKS_OFF) {
		rc = file_open(of, ask, &st);
		if (of->fd >= 0)
			sys->close(of->fd);
		of->fd = -1;
		return rc;
	}
	of->fd = -1;
	of->err = 0;
	rc = sys->fstatat(AT_FDCWD, ask->path.p, &st, 0);
	if (rc < 0)
		return failed(of, rc, "stat()");
	facts_of(&of->facts, &st);
	return 0;
}

/* ---- entries ---- */

static uint64_t entry_hash(const struct file_ask *ask)
{
	return hash_bytes(ask->path.p, ask->path.n);
}

static struct ofc_entry *entry_find(const struct file_ask *ask)
{
	for (struct hash_node *n = hash_first(&cache.table, entry_hash(ask)); n; n = hash_next(n)) {
		struct ofc_entry *e = CONTAINER_OF(n, struct ofc_entry, node);

		if (span_eq(span_make(e->path, e->n), ask->path) && e->symlinks == ask->symlinks &&
		    e->from == ask->symlinks_from)
			return e;
	}
	return NULL;
}

static void entry_drop_fd(struct ofc_entry *e)
{
	if (e->fd >= 0)
		sys->close(e->fd);
	e->fd = -1;
}

static void entry_free(struct ofc_entry *e)
{
	entry_drop_fd(e);
	mem_free(e);
}

/* Out of the table; whoever holds it goes on reading. */
static void entry_detach(struct ofc_entry *e)
{
	hash_remove(&cache.table, &e->node);
	list_del(&e->lru);
	e->detached = true;
	if (!e->holders)
		entry_free(e);
}

static struct ofc_entry *entry_new(const struct file_ask *ask)
{
	struct ofc_entry *e = mem_zalloc(sizeof(*e) + ask->path.n + 1);

	if (!e)
		return NULL;
	e->fd = -1;
	e->n = ask->path.n;
	memcpy(e->path, ask->path.p, ask->path.n);
	e->symlinks = ask->symlinks;
	e->from = ask->symlinks_from;
	if (!hash_insert(&cache.table, &e->node, entry_hash(ask))) {
		mem_free(e);
		return NULL;
	}
	list_push_front(&cache.lru, &e->lru);
	return e;
}

static void cache_prepare(const struct file_ask *ask)
{
	if (!cache.lru.next) {
		hash_init(&cache.table);
		list_init(&cache.lru);
	}
	if (cache.generation != ask->generation) {
		cache.generation = ask->generation;
		cache.max = 0;
	}
	if (cache.max < ask->max)
		cache.max = ask->max;
	for (int i = 0; i < EXPIRE_AT_ONCE && !list_empty(&cache.lru); i++) {
		struct ofc_entry *e = CONTAINER_OF(cache.lru.prev, struct ofc_entry, lru);

		if (io_now_ms() - e->used_ms < e->inactive_ms)
			break;
		entry_detach(e);
	}
}

static void cache_trim(const struct ofc_entry *keep)
{
	while ((int64_t)cache.table.count > cache.max) {
		struct ofc_entry *e = CONTAINER_OF(cache.lru.prev, struct ofc_entry, lru);

		if (e == keep)
			return;
		entry_detach(e);
	}
}

/* Is what the entry says still so? Looks again after `valid`. False: it is gone from the table. */
static bool entry_is_valid(struct ofc_entry *e, const struct file_ask *ask)
{
	struct open_file now = {0};

	if (io_now_ms() - e->checked_ms < (uint64_t)ask->valid_s * 1000)
		return true;
	if (!e->err && file_stat(&now, ask) == 0 && now.facts.inode == e->facts.inode &&
	    now.facts.device == e->facts.device && now.facts.is_dir == e->facts.is_dir) {
		e->facts = now.facts;
		e->checked_ms = io_now_ms();
		return true;
	}
	entry_detach(e);
	return false;
}

/* What is known now goes into the entry. The descriptor goes there too when it was used often
 * enough. */
static void entry_learn(struct ofc_entry *e, struct open_file *of, const struct file_ask *ask)
{
	e->err = of->err;
	e->failed = of->failed;
	e->facts = of->facts;
	e->checked_ms = io_now_ms();
	if (of->fd < 0 || of->facts.is_dir || e->uses < ask->min_uses || e->fd >= 0)
		return;
	e->fd = of->fd;
	e->holders++;
	of->entry = e;
}

static void entry_touch(struct ofc_entry *e, const struct file_ask *ask)
{
	e->uses++;
	e->used_ms = io_now_ms();
	e->inactive_ms = (uint64_t)ask->inactive_s * 1000;
	list_del(&e->lru);
	list_push_front(&cache.lru, &e->lru);
}

/* True when the entry answers the question. */
static bool entry_answers(struct ofc_entry *e, struct open_file *of, bool want_fd)
{
	of->err = e->err;
	of->failed = e->failed;
	of->facts = e->facts;
	if (e->err || e->facts.is_dir || !want_fd)
		return true;
	if (e->fd < 0)
		return false;
	of->fd = e->fd;
	of->entry = e;
	e->holders++;
	return true;
}

static int cached_get(struct open_file *of, const struct file_ask *ask, bool want_fd)
{
	struct ofc_entry *e;
	struct stat st;

	cache_prepare(ask);
	e = entry_find(ask);
	if (e && (!entry_is_valid(e, ask) || (e->err && !ask->errors)))
		e = entry_find(ask); /* detached, or not to be believed here */
	if (e) {
		entry_touch(e, ask);
		if ((!e->err || ask->errors) && entry_answers(e, of, want_fd))
			return of->err;
	}
	if (want_fd)
		file_open(of, ask, &st);
	else
		file_stat(of, ask);
	if (of->err && !ask->errors) {
		if (e)
			entry_detach(e);
		return of->err;
	}
	if (!e) {
		e = entry_new(ask);
		if (!e)
			return of->err; /* works without */
		entry_touch(e, ask);
	}
	entry_learn(e, of, ask);
	cache_trim(e);
	return of->err;
}

/* ---- the doors ---- */

bool file_ask_init(struct file_ask *ask, struct req *r, struct span path)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);

	*ask = (struct file_ask){.path = path, .max = l->open_file_cache_max};
	if (l->open_file_cache_max) {
		ask->inactive_s = l->open_file_cache_inactive;
		ask->valid_s = l->open_file_cache_valid;
		ask->min_uses = l->open_file_cache_min_uses;
		ask->errors = l->open_file_cache_errors;
		ask->generation = r->snapshot->generation;
	}
	if (l->disable_symlinks == SYMLINKS_OFF)
		return true;
	ask->symlinks = l->disable_symlinks;
	if (l->disable_symlinks_from) {
		struct span from = tmpl_eval(l->disable_symlinks_from, &r->vars);

		if (r->vars.failed)
			return false;
		while (from.n > 1 && from.p[from.n - 1] == '/')
			from.n--;
		if (from.n < path.n && span_starts(path, from) && path.p[from.n] == '/')
			ask->symlinks_from = from.n;
	}
	return true;
}

/* Without a cache of the configuration's. */
static int plain_get(struct open_file *of, const struct file_ask *ask)
{
	struct stat st;

	if (ask->symlinks != SYMLINKS_OFF)
		return file_open(of, ask, &st);
	of->warm = warm_file_take(ask->path, &st);
	if (of->warm) {
		of->fd = warm_file_fd(of->warm);
		facts_of(&of->facts, &st);
		return 0;
	}
	if (file_open(of, ask, &st) == 0 && !warm_file_offer(ask->path, of->fd, &st, &of->warm))
		of->warm = NULL;
	return of->err;
}

int open_file_get(struct open_file *of, const struct file_ask *ask)
{
	*of = (struct open_file){.fd = -1};
	return ask->max ? cached_get(of, ask, true) : plain_get(of, ask);
}

int open_file_test(struct open_file *of, const struct file_ask *ask)
{
	*of = (struct open_file){.fd = -1};
	return ask->max ? cached_get(of, ask, false) : file_stat(of, ask);
}

void open_file_give(struct open_file *of)
{
	struct ofc_entry *e = of->entry;

	if (e) {
		of->entry = NULL;
		if (--e->holders == 0 && e->detached)
			entry_free(e);
	} else if (of->warm) {
		warm_file_give(of->warm);
		of->warm = NULL;
	} else if (of->fd >= 0) {
		sys->close(of->fd);
	}
	of->fd = -1;
}

void open_file_cache_clear(void)
{
	warm_files_clear();
	if (!cache.lru.next)
		return;
	while (!list_empty(&cache.lru))
		entry_detach(CONTAINER_OF(cache.lru.next, struct ofc_entry, lru));
	hash_fini(&cache.table);
	cache = (struct ofc){0};
}

size_t open_file_cache_count(void)
{
	return cache.table.count;
}

int file_error_status(int err, bool *ordinary)
{
	*ordinary = true;
	switch (err) {
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
		return 404;
	case EACCES:
	case ELOOP:
	case EMLINK:
		return 403;
	default:
		*ordinary = false;
		return 500;
	}
}
