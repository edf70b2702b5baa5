#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <netdb.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/mutant.h"
#include "base/log.h"
#include "main/opener_real.h"
#include "main/opener_replay.h"
#include "main/sockets.h"
#include "net/listener.h"

#define FILE_MAX     ((size_t)16 << 20)
#define PATH_SIZE    4096
#define BIND_TRIES   5
#define BIND_WAIT_MS 500

static struct opener_real *real_of(struct opener *o)
{
	return CONTAINER_OF(o, struct opener_real, opener);
}

/* Remembers the answer: r < 0 is a failure. */
static int record(struct opener_real *o, struct bundle_item **item, enum bundle_kind kind,
		  struct span key, int sub, unsigned index, int r)
{
	struct bundle_item *i = bundle_add(o->record, kind, key, sub, index);

	if (!i)
		return -ENOMEM;
	i->err = MIN_OF(r, 0);
	*item = i;
	return i->err;
}

/* ---- files ---- */

static int read_all(int fd, struct buf *b)
{
	for (;;) {
		ssize_t r;

		if (!buf_reserve(b, 16384))
			return b->len + 16384 > FILE_MAX ? -EFBIG : -ENOMEM;
		r = read(fd, b->p + b->len, 16384);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : 0;
		b->len += (size_t)r;
	}
}

static int read_path(struct span path, struct buf *b)
{
	char name[PATH_SIZE];
	int fd, r;

	if (!span_to_cstr(path, name, sizeof(name)))
		return -ENAMETOOLONG;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = read_all(fd, b);
	close(fd);
	return r;
}

static int real_read_file(struct opener *op, struct span path, struct arena *a, struct span *text)
{
	struct opener_real *o = real_of(op);
	struct bundle_item *i = bundle_find(o->record, BUNDLE_FILE, path, 0, 0);
	struct buf b;
	int r;

	/* A file is read once: what all see is the same, and a FIFO gives its text only once. */
	if (!i) {
		buf_init(&b, FILE_MAX + 16384);
		r = read_path(path, &b);
		r = record(o, &i, BUNDLE_FILE, path, 0, 0, r);
		if (r == 0) {
			i->text = arena_dup(&o->record->arena, buf_span(&b));
			r = i->text.p ? 0 : -ENOMEM;
		}
		if (b.p)
			explicit_bzero(b.p, b.cap); /* it may have been a key */
		buf_fini(&b);
		if (r < 0)
			return r;
	}
	if (i->err)
		return i->err;
	*text = arena_dup(a, i->text);
	return text->p ? 0 : -ENOMEM;
}

static int record_glob(struct opener_real *o, struct bundle_item *i, const glob_t *g)
{
	struct arena *a = &o->record->arena;

	i->paths = arena_alloc(a, g->gl_pathc * sizeof(*i->paths));
	if (!i->paths)
		return -ENOMEM;
	for (size_t k = 0; k < g->gl_pathc; k++) {
		i->paths[k] = arena_dup(a, span_of(g->gl_pathv[k]));
		if (!i->paths[k].p)
			return -ENOMEM;
	}
	i->npaths = g->gl_pathc;
	return 0;
}

static int glob_fresh(struct opener_real *o, struct span pattern, struct bundle_item **item)
{
	char name[PATH_SIZE];
	glob_t g = {0};
	int r;

	if (!span_to_cstr(pattern, name, sizeof(name)))
		return -ENAMETOOLONG;
	errno = 0;
	r = glob(name, 0, NULL, &g);
	r = r == 0 || r == GLOB_NOMATCH ? 0 : r == GLOB_NOSPACE ? -ENOMEM : errno ? -errno : -EIO;
	r = record(o, item, BUNDLE_GLOB, pattern, 0, 0, r);
	if (r == 0)
		r = record_glob(o, *item, &g);
	globfree(&g);
	return r;
}

int bundle_give_paths(const struct bundle_item *i, struct arena *a, struct span **paths, size_t *n)
{
	*n = i->npaths;
	*paths = arena_alloc(a, i->npaths * sizeof(**paths));
	if (!*paths)
		return -ENOMEM;
	for (size_t k = 0; k < i->npaths; k++) {
		(*paths)[k] = arena_dup(a, i->paths[k]);
		if (!(*paths)[k].p)
			return -ENOMEM;
	}
	return 0;
}

static int real_glob(struct opener *op, struct span pattern, struct arena *a, struct span **paths,
		     size_t *n)
{
	struct opener_real *o = real_of(op);
	struct bundle_item *i = bundle_find(o->record, BUNDLE_GLOB, pattern, 0, 0);

	if (!i) {
		int r = glob_fresh(o, pattern, &i);

		if (r < 0)
			return r;
	}
	return i->err ? i->err : bundle_give_paths(i, a, paths, n);
}

static int real_exists(struct opener *op, struct span path)
{
	struct opener_real *o = real_of(op);
	struct bundle_item *i = bundle_find(o->record, BUNDLE_EXISTS, path, 0, 0);
	char name[PATH_SIZE];
	struct stat st;

	if (i)
		return i->err;
	if (!span_to_cstr(path, name, sizeof(name)))
		return -ENAMETOOLONG;
	return record(o, &i, BUNDLE_EXISTS, path, 0, 0, stat(name, &st) < 0 ? -errno : 0);
}

static int make_dir(const struct opener_real *o, const char *name)
{
	struct stat st;

	if (mkdir(name, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (geteuid() != 0)
		return 0;
	if (stat(name, &st) < 0 || (st.st_uid != o->uid && chown(name, o->uid, (gid_t)-1) < 0))
		return -errno;
	if ((st.st_mode & 0700) != 0700 && chmod(name, (st.st_mode & 07777) | 0700) < 0)
		return -errno;
	return 0;
}

static int real_make_dir(struct opener *op, struct span path)
{
	struct opener_real *o = real_of(op);
	struct bundle_item *i = bundle_find(o->record, BUNDLE_DIR, path, 0, 0);
	char name[PATH_SIZE];

	if (i)
		return i->err;
	if (!span_to_cstr(path, name, sizeof(name)))
		return -ENAMETOOLONG;
	return record(o, &i, BUNDLE_DIR, path, 0, 0, make_dir(o, name));
}

/* ---- logs ---- */

static int open_append(struct span path)
{
	char name[PATH_SIZE];
	int fd;

	if (!span_to_cstr(path, name, sizeof(name)))
		return -ENAMETOOLONG;
	fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	return fd < 0 ? -errno : fd;
}

static int real_open_log(struct opener *op, struct span path)
{
	struct opener_real *o = real_of(op);
	struct bundle_item *i = bundle_find(o->record, BUNDLE_LOG, path, 0, 0);
	const struct bundle_item *old = bundle_find(o->old, BUNDLE_LOG, path, 0, 0);
	int fd, r;

	if (i)
		return i->err ? i->err : i->fd;
	fd = old && old->fd >= 0 ? old->fd : open_append(path);
	r = record(o, &i, BUNDLE_LOG, path, 0, 0, fd);
	if (r == 0)
		i->fd = fd;
	else if (fd >= 0)
		close(fd);
	return r == 0 ? fd : r;
}

int opener_real_reopen(struct bundle *b)
{
	struct bundle_item *i;
	int r = 0;

	for (i = bundle_next(b, NULL, BUNDLE_LOG); i; i = bundle_next(b, i, BUNDLE_LOG)) {
		int fd = i->fd < 0 ? -EBADF : open_append(i->key);

		if (fd < 0) {
			r = fd;
			log_msg(NULL, LOG_EMERG, -fd, "open() \"%.*s\" failed", SPAN_ARG(i->key));
			continue;
		}
		dup3(fd, i->fd, O_CLOEXEC);
		close(fd);
	}
	return r;
}

/* ---- sockets ---- */

static void sleep_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* The old owner of an address may be about to let it go. */
static int open_patiently(struct opener_real *o, const struct listen_spec *spec)
{
	for (;;) {
		const char *what;
		int fd = socket_open(spec, o->test, &what);

		if (fd < 0)
			log_msg(NULL, LOG_EMERG, -fd, "%s() to %.*s failed", what,
				SPAN_ARG(spec->name));
		if (fd != -EADDRINUSE || o->tries == 0)
			return fd;
		log_msg(NULL, LOG_NOTICE, 0, "try again to bind() after %dms", BIND_WAIT_MS);
		o->tries--;
		sleep_ms(BIND_WAIT_MS);
	}
}

static int find_or_open(struct opener_real *o, const struct listen_spec *spec, unsigned index)
{
	const struct bundle_item *old =
		bundle_find(o->old, BUNDLE_LISTEN, spec->name, spec->type, index);
	int fd = old ? old->fd : -1;

	if (fd >= 0) {
		if (!o->test)
			socket_configure(fd, spec);
		return fd;
	}
	fd = sockets_take(spec);
	if (fd < 0)
		return open_patiently(o, spec);
	socket_configure(fd, spec);
	return fd;
}

int opener_served(const struct listen_spec *spec, unsigned index)
{
	struct listener *l = listener_find(spec->name, spec->type);

	return l && index < l->nfds && !MUTANT(opened_twice) ? l->fds[index] : -1;
}

static int real_listen(struct opener *op, const struct listen_spec *spec, unsigned index)
{
	struct opener_real *o = real_of(op);
	struct bundle_item *i =
		bundle_find(o->record, BUNDLE_LISTEN, spec->name, spec->type, index);
	int fd, r;

	if (!i) {
		fd = find_or_open(o, spec, index);
		r = record(o, &i, BUNDLE_LISTEN, spec->name, spec->type, index, fd);
		if (r < 0) {
			if (fd >= 0 &&
			    !bundle_find(o->old, BUNDLE_LISTEN, spec->name, spec->type, index))
				close(fd);
			return r;
		}
		i->fd = fd;
	}
	if (i->err)
		return i->err;
	fd = opener_served(spec, index);
	if (fd < 0)
		fd = fcntl(i->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

void opener_real_forget_listeners(const struct bundle *b)
{
	struct bundle_item *i;

	for (i = bundle_next(b, NULL, BUNDLE_LISTEN); i; i = bundle_next(b, i, BUNDLE_LISTEN)) {
		struct listener *l = listener_find(i->key, i->sub);

		if (l)
			listener_free(l);
	}
}

/* ---- names ---- */

static int resolve_fresh(const char *host, struct sockaddr_storage *sa, size_t max)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	size_t n = 0;
	int r = getaddrinfo(host, NULL, &hints, &list);

	if (r != 0)
		return r == EAI_MEMORY ? -ENOMEM : r == EAI_AGAIN ? -EAGAIN : -ENOENT;
	for (struct addrinfo *ai = list; ai && n < max; ai = ai->ai_next) {
		if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
			continue;
		memset(&sa[n], 0, sizeof(sa[n]));
		memcpy(&sa[n++], ai->ai_addr, ai->ai_addrlen);
	}
	freeaddrinfo(list);
	return n ? (int)n : -ENOENT;
}

int bundle_give_addresses(const struct bundle_item *i, struct sockaddr_storage *sa, size_t max)
{
	size_t n = MIN_OF(i->text.n / sizeof(*sa), max);

	if (n)
		memcpy(sa, i->text.p, n * sizeof(*sa));
	return i->err ? i->err : (int)n;
}

#define ADDRESSES_MAX 64

static int real_resolve(struct opener *op, struct span host, struct sockaddr_storage *sa,
			size_t max)
{
	struct opener_real *o = real_of(op);
	struct bundle_item *i = bundle_find(o->record, BUNDLE_RESOLVE, host, 0, 0);
	struct sockaddr_storage found[ADDRESSES_MAX];
	char name[256];
	int n, r;

	if (!i) {
		if (!span_to_cstr(host, name, sizeof(name)))
			return -ENOENT;
		n = resolve_fresh(name, found, ADDRESSES_MAX);
		r = record(o, &i, BUNDLE_RESOLVE, host, 0, 0, n);
		if (r < 0)
			return r;
		i->text = arena_dup(&o->record->arena,
				    span_make(found, (size_t)n * sizeof(found[0])));
		if (!i->text.p)
			return -ENOMEM;
	}
	return bundle_give_addresses(i, sa, max);
}

/* ---- life ---- */

static const struct opener_ops real_ops = {
	.read_file = real_read_file,
	.glob = real_glob,
	.open_log = real_open_log,
	.listen = real_listen,
	.make_dir = real_make_dir,
	.resolve = real_resolve,
	.exists = real_exists,
};

void opener_real_init(struct opener_real *o, struct bundle *rec, const struct bundle *old,
		      bool test)
{
	*o = (struct opener_real){.opener = {.ops = &real_ops},
				  .record = rec,
				  .old = old,
				  .test = test,
				  .uid = 65534,
				  .gid = 65534,
				  .tries = test ? 0 : BIND_TRIES};
}

void opener_real_user(struct opener *o, uid_t uid, gid_t gid)
{
	if (o->ops != &real_ops)
		return;
	real_of(o)->uid = uid;
	real_of(o)->gid = gid;
}
