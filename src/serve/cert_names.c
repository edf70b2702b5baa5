#include "serve/cert_names.h"
#include <errno.h>
#include <fcntl.h>
#include "base/buf.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/pool.h"
#include "io/sys.h"
#include "serve/req.h"

#define TEXT_MAX (1 << 20) /* bytes of one file */

/* What a file was when it was read. */
struct cert_stamp {
	dev_t device;
	ino_t inode;
	int64_t size, mtime_ns;
};

struct cert_entry {
	struct hash_node node;
	struct list lru; /* most recently used first */
	const struct cert_names *of;
	struct tls_ctx *ctx;
	struct cert_stamp stamps[2 * CERT_NAMES_OF_ONE];
	size_t n;
	char names[]; /* each ended by a zero */
};

static _Thread_local struct {
	struct hash table;
	struct list lru;
	uint64_t generation;
} cache;

/* ---- the cache ---- */

static void entry_free(struct cert_entry *e)
{
	hash_remove(&cache.table, &e->node);
	list_del(&e->lru);
	tls_ctx_unref(e->ctx);
	explicit_bzero(e->names, e->n); /* "data:" may be a key */
	mem_free(e);
}

void cert_names_thread_fini(void)
{
	if (!cache.lru.next)
		return;
	while (!list_empty(&cache.lru))
		entry_free(CONTAINER_OF(cache.lru.next, struct cert_entry, lru));
	hash_fini(&cache.table);
	memset(&cache, 0, sizeof(cache));
}

size_t cert_names_count(void)
{
	return cache.table.count;
}

/* Entries point into their snapshot: with a new one they go. */
static void cache_prepare(uint64_t generation)
{
	if (cache.lru.next && generation == cache.generation)
		return;
	cert_names_thread_fini();
	hash_init(&cache.table);
	list_init(&cache.lru);
	cache.generation = generation;
}

static uint64_t key_of(const struct cert_names *c, struct span names)
{
	return hash_bytes(names.p, names.n) ^ (uintptr_t)c;
}

static struct cert_entry *entry_find(const struct cert_names *c, struct span names)
{
	struct hash_node *n = hash_first(&cache.table, key_of(c, names));

	for (; n; n = hash_next(n)) {
		struct cert_entry *e = CONTAINER_OF(n, struct cert_entry, node);

		if (e->of == c && span_eq(names, span_make(e->names, e->n)))
			return e;
	}
	return NULL;
}

/* Takes over ctx. */
static struct cert_entry *entry_new(const struct cert_names *c, struct span names,
				    struct tls_ctx *ctx)
{
	struct cert_entry *e = mem_zalloc(sizeof(*e) + names.n);

	if (!e)
		return NULL;
	if (cache.table.count >= CERT_NAMES_MAX)
		entry_free(CONTAINER_OF(cache.lru.prev, struct cert_entry, lru));
	e->of = c;
	e->n = names.n;
	memcpy(e->names, names.p, names.n);
	if (!hash_insert(&cache.table, &e->node, key_of(c, names))) {
		mem_free(e);
		return NULL;
	}
	e->ctx = ctx;
	list_push_front(&cache.lru, &e->lru);
	return e;
}

/* ---- names ---- */

static bool is_file(struct span name)
{
	return !span_starts(name, SPAN("data:")) && !span_starts(name, SPAN("store:")) &&
	       !span_starts(name, SPAN("engine:"));
}

static bool climbs(struct span name)
{
	return span_find(name, SPAN("/../")) >= 0 || span_starts(name, SPAN("../")) ||
	       memchr(name.p, 0, name.n);
}

static bool add_name(struct req *r, const struct cert_names *c, const struct tmpl *t,
		     struct buf *names)
{
	struct span name = tmpl_eval(t, &r->vars);

	if (r->vars.failed)
		return false;
	if (!name.n || (is_file(name) && climbs(name))) {
		req_log(r, LOG_ERR, 0, "no certificate or key can be named \"%.*s\"",
			SPAN_ARG(name));
		return false;
	}
	if (is_file(name) && name.p[0] != '/')
		buf_add_span(names, c->prefix);
	buf_add_span(names, name);
	return buf_add_char(names, 0);
}

/* The names of all certificates and keys, in order. */
static bool add_names(struct req *r, const struct cert_names *c, struct buf *names)
{
	for (size_t i = 0; i < c->n; i++)
		if (!add_name(r, c, c->v[i].cert, names) || !add_name(r, c, c->v[i].key, names))
			return false;
	return true;
}

/* ---- files ---- */

static struct cert_stamp stamp_of(const struct stat *st)
{
	return (struct cert_stamp){st->st_dev, st->st_ino, st->st_size,
				   (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec};
}

static bool is_fresh(const struct cert_entry *e)
{
	struct span rest = span_make(e->names, e->n), name;
	struct stat st;

	for (size_t i = 0; rest.n && span_split(&rest, 0, &name); i++) {
		struct cert_stamp now, then = e->stamps[i];

		if (!is_file(name))
			continue;
		if (sys->fstatat(AT_FDCWD, name.p, &st, 0) < 0)
			return false;
		now = stamp_of(&st);
		if (now.device != then.device || now.inode != then.inode || now.size != then.size ||
		    now.mtime_ns != then.mtime_ns)
			return false;
	}
	return true;
}

static int read_open(int fd, struct arena *a, struct span *text, struct cert_stamp *stamp)
{
	struct stat st;
	int rc = sys->fstat(fd, &st);
	char *p;

	if (rc < 0 || st.st_size > TEXT_MAX || !S_ISREG(st.st_mode))
		return rc < 0 ? rc : -EFBIG;
	*stamp = stamp_of(&st);
	p = arena_alloc(a, (size_t)st.st_size + 1);
	if (!p)
		return -ENOMEM;
	for (*text = span_make(p, 0); text->n < (size_t)st.st_size;) {
		ssize_t n =
			sys->pread(fd, p + text->n, (size_t)st.st_size - text->n, (off_t)text->n);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		text->n += (size_t)n;
	}
	return 0;
}

static bool read_text(struct req *r, const char *what, struct span name, struct span *text,
		      struct cert_stamp *stamp)
{
	int fd, rc;

	if (span_starts(name, SPAN("data:"))) {
		*text = span_cut(name, 5, name.n);
		return true;
	}
	if (!is_file(name)) {
		*text = name;
		return true;
	}
	fd = rc = sys->openat(AT_FDCWD, name.p, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
	if (fd >= 0) {
		rc = read_open(fd, &r->arena, text, stamp);
		sys->close(fd);
	}
	if (rc < 0)
		req_log(r, LOG_ERR, -rc, "cannot load %s \"%.*s\"", what, SPAN_ARG(name));
	return rc >= 0;
}

/* ---- making ---- */

static bool read_all(struct req *r, struct span names, struct tls_cert *certs, size_t n,
		     struct cert_stamp *stamps)
{
	for (size_t i = 0; i < n; i++) {
		struct tls_cert *k = &certs[i];

		struct span cert, key;

		span_split(&names, 0, &cert);
		span_split(&names, 0, &key);
		k->cert_path = tls_file_shown(cert);
		k->key_path = tls_file_shown(key);
		if (!read_text(r, "certificate", cert, &k->cert, &stamps[2 * i]) ||
		    !read_text(r, "certificate key", key, &k->key, &stamps[2 * i + 1]))
			return false;
	}
	return true;
}

static struct cert_entry *make(struct req *r, const struct cert_names *c, struct span names)
{
	struct cert_stamp stamps[2 * CERT_NAMES_OF_ONE] = {0};
	struct tls_cert certs[CERT_NAMES_OF_ONE] = {0};
	struct tls_conf tls = c->tls;
	struct cert_entry *e = NULL;
	struct tls_ctx *ctx = NULL;
	struct span err = {0};

	tls.certs = certs;
	tls.ncerts = c->n;
	if (read_all(r, names, certs, c->n, stamps)) {
		ctx = tls_ctx_new(&tls, &r->arena, &err);
		if (!ctx)
			req_log(r, LOG_ERR, 0, "%.*s", SPAN_ARG(err));
	}
	if (ctx)
		e = entry_new(c, names, ctx); /* before a "data:" key in the names is wiped */
	for (size_t i = 0; i < c->n; i++)
		if (certs[i].key.n)
			explicit_bzero((char *)certs[i].key.p, certs[i].key.n);
	if (e)
		memcpy(e->stamps, stamps, sizeof(stamps));
	else if (ctx)
		tls_ctx_unref(ctx);
	return e;
}

struct tls_ctx *cert_names_get(struct req *r, const struct cert_names *c)
{
	struct cert_entry *e = NULL;
	struct buf names;

	cache_prepare(r->snapshot->generation);
	buf_init(&names, TEXT_MAX);
	if (add_names(r, c, &names)) {
		e = entry_find(c, buf_span(&names));
		if (e && !is_fresh(e)) {
			entry_free(e);
			e = NULL;
		}
		if (!e)
			e = make(r, c, buf_span(&names));
	}
	if (e) {
		list_del(&e->lru);
		list_push_front(&cache.lru, &e->lru);
	}
	if (names.p)
		explicit_bzero(names.p, names.cap); /* "data:" may be a key */
	buf_fini(&names);
	return e ? e->ctx : NULL;
}
