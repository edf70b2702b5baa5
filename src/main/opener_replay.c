#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#include "base/list.h"
#include "base/log.h"
#include "base/pool.h"
#include "main/opener_replay.h"

static struct opener_replay *replay_of(struct opener *o)
{
	return CONTAINER_OF(o, struct opener_replay, opener);
}

/* ---- logs of the process ---- */

struct log_file {
	struct list link;
	int fd;
	unsigned refs; /* one per snapshot that asked for it */
	size_t npath;
	char path[];
};

static pthread_mutex_t logs_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list logs = {&logs, &logs};

static struct log_file *log_find(struct span path)
{
	struct list *l;

	list_each (l, &logs) {
		struct log_file *f = CONTAINER_OF(l, struct log_file, link);

		if (span_eq(path, span_make(f->path, f->npath)))
			return f;
	}
	return NULL;
}

/* Takes over fd. */
static struct log_file *log_new(struct span path, int fd)
{
	struct log_file *f = mem_alloc(sizeof(*f) + path.n);

	if (!f)
		return NULL;
	*f = (struct log_file){.fd = fd, .npath = path.n};
	memcpy(f->path, path.p, path.n);
	list_push(&logs, &f->link);
	return f;
}

/* A snapshot died: any thread. */
static void log_unref(void *arg)
{
	struct log_file *f = arg;

	pthread_mutex_lock(&logs_lock);
	if (--f->refs == 0) {
		close(f->fd);
		list_del(&f->link);
		mem_free(f);
	}
	pthread_mutex_unlock(&logs_lock);
}

void opener_replay_reopen(struct span path, int fd)
{
	struct log_file *f;

	pthread_mutex_lock(&logs_lock);
	f = log_find(path);
	if (f)
		dup3(fd, f->fd, O_CLOEXEC);
	pthread_mutex_unlock(&logs_lock);
}

static int log_take(struct opener_replay *o, struct bundle_item *i)
{
	struct log_file *f;
	bool fresh = false;

	pthread_mutex_lock(&logs_lock);
	f = log_find(i->key);
	if (!f && i->fd >= 0) {
		f = log_new(i->key, i->fd);
		fresh = true;
	}
	if (f)
		f->refs++;
	pthread_mutex_unlock(&logs_lock);
	if (!f)
		return i->fd < 0 ? -EBADF : -ENOMEM;
	if (fresh)
		i->fd = -1;
	if (o->snapshot && snapshot_on_free(o->snapshot, log_unref, f) < 0) {
		log_unref(f);
		return -ENOMEM;
	}
	return f->fd;
}

/* ---- answers ---- */

static struct bundle_item *item_of(struct opener *op, enum bundle_kind kind, struct span key,
				   int sub, unsigned index)
{
	struct bundle_item *i = bundle_find(replay_of(op)->bundle, kind, key, sub, index);

	if (!i) /* master and worker do not run the same code over the same text */
		log_msg(NULL, LOG_ALERT, 0, "\"%.*s\" was not opened by the master process",
			SPAN_ARG(key));
	return i;
}

static int replay_read_file(struct opener *op, struct span path, struct arena *a, struct span *text)
{
	struct bundle_item *i = item_of(op, BUNDLE_FILE, path, 0, 0);

	if (!i || i->err)
		return i ? i->err : -ENOENT;
	*text = arena_dup(a, i->text);
	return text->p ? 0 : -ENOMEM;
}

static int replay_glob(struct opener *op, struct span pattern, struct arena *a, struct span **paths,
		       size_t *n)
{
	struct bundle_item *i = item_of(op, BUNDLE_GLOB, pattern, 0, 0);

	if (!i || i->err)
		return i ? i->err : -ENOENT;
	return bundle_give_paths(i, a, paths, n);
}

static int replay_open_log(struct opener *op, struct span path)
{
	struct bundle_item *i = item_of(op, BUNDLE_LOG, path, 0, 0);

	if (!i || i->err)
		return i ? i->err : -ENOENT;
	return log_take(replay_of(op), i);
}

static int replay_listen(struct opener *op, const struct listen_spec *spec, unsigned index)
{
	struct bundle_item *i = item_of(op, BUNDLE_LISTEN, spec->name, spec->type, index);
	int fd;

	if (!i || i->err)
		return i ? i->err : -ENOENT;
	fd = opener_served(spec, index);
	if (fd >= 0)
		return fd;
	fd = i->fd;
	i->fd = -1; /* the registry's from now on */
	return fd < 0 ? -EBADF : fd;
}

static int replay_make_dir(struct opener *op, struct span path)
{
	struct bundle_item *i = item_of(op, BUNDLE_DIR, path, 0, 0);

	return i ? i->err : -ENOENT;
}

static int replay_exists(struct opener *op, struct span path)
{
	struct bundle_item *i = item_of(op, BUNDLE_EXISTS, path, 0, 0);

	return i ? i->err : -ENOENT;
}

static int replay_resolve(struct opener *op, struct span host, struct sockaddr_storage *sa,
			  size_t max)
{
	struct bundle_item *i = item_of(op, BUNDLE_RESOLVE, host, 0, 0);

	return i ? bundle_give_addresses(i, sa, max) : -ENOENT;
}

static const struct opener_ops replay_ops = {
	.read_file = replay_read_file,
	.glob = replay_glob,
	.open_log = replay_open_log,
	.listen = replay_listen,
	.make_dir = replay_make_dir,
	.resolve = replay_resolve,
	.exists = replay_exists,
};

void opener_replay_init(struct opener_replay *o, struct bundle *b, struct snapshot *s)
{
	*o = (struct opener_replay){.opener = {.ops = &replay_ops}, .bundle = b, .snapshot = s};
}
