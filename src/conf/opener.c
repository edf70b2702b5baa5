/* The openers that touch nothing: offline, and from memory for tests. */
#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <netinet/in.h>
#include <stdlib.h>
#include "conf/opener.h"

/* ---- what both share ---- */

static int no_log(struct opener *o, struct span path)
{
	return OPENER_NO_FD;
}

static int no_listen(struct opener *o, const struct listen_spec *spec, unsigned index)
{
	return OPENER_NO_FD;
}

static int no_dir(struct opener *o, struct span path)
{
	return 0;
}

static int one_address(uint32_t host, struct sockaddr_storage *sa, size_t max)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};

	if (max == 0)
		return 0;
	memset(sa, 0, sizeof(*sa));
	memcpy(sa, &in, sizeof(in));
	return 1;
}

/* ---- offline ---- */

static struct opener *behind(struct opener *o)
{
	return CONTAINER_OF(o, struct opener_offline, opener)->files;
}

static int offline_read_conf(struct opener *o, struct span path, struct arena *a, struct span *text)
{
	struct opener *f = behind(o);

	return (f->ops->read_conf ? f->ops->read_conf : f->ops->read_file)(f, path, a, text);
}

static int offline_read_file(struct opener *o, struct span path, struct arena *a, struct span *text)
{
	*text = SPAN("");
	return 0;
}

static int offline_glob(struct opener *o, struct span pattern, struct arena *a, struct span **paths,
			size_t *n)
{
	struct opener *f = behind(o);

	return f->ops->glob(f, pattern, a, paths, n);
}

static int offline_resolve(struct opener *o, struct span host, struct sockaddr_storage *sa,
			   size_t max)
{
	return one_address(0xc0000201, sa, max); /* 192.0.2.1, RFC 5737 */
}

static int offline_exists(struct opener *o, struct span path)
{
	return 0;
}

static const struct opener_ops offline_ops = {
	.read_file = offline_read_file,
	.glob = offline_glob,
	.open_log = no_log,
	.listen = no_listen,
	.make_dir = no_dir,
	.resolve = offline_resolve,
	.exists = offline_exists,
	.read_conf = offline_read_conf,
};

void opener_offline_init(struct opener_offline *o, struct opener *files)
{
	*o = (struct opener_offline){.opener = {.ops = &offline_ops, .offline = true},
				     .files = files};
}

/* ---- memory ---- */

static const struct opener_file *memory_find(struct opener *o, struct span path)
{
	const struct opener_file *f = CONTAINER_OF(o, struct opener_memory, opener)->files;

	for (; f->path.n; f++)
		if (span_eq(f->path, path))
			return f;
	return NULL;
}

static int memory_read_file(struct opener *o, struct span path, struct arena *a, struct span *text)
{
	const struct opener_file *f = memory_find(o, path);

	if (!f)
		return -ENOENT;
	*text = arena_dup(a, f->text);
	return text->p ? 0 : -ENOMEM;
}

static int path_cmp(const void *a, const void *b)
{
	return span_cmp(*(const struct span *)a, *(const struct span *)b);
}

static int memory_glob(struct opener *o, struct span pattern, struct arena *a, struct span **paths,
		       size_t *n)
{
	const struct opener_file *f = CONTAINER_OF(o, struct opener_memory, opener)->files;
	char *pat = arena_cstr(a, pattern);
	size_t cap = 0;

	*paths = NULL;
	*n = 0;
	if (!pat)
		return -ENOMEM;
	for (; f->path.n; f++) {
		char *path = arena_cstr(a, f->path);
		struct span *to;

		if (!path)
			return -ENOMEM;
		if (fnmatch(pat, path, FNM_PATHNAME | FNM_PERIOD) != 0)
			continue;
		to = ARENA_PUSH(a, *paths, n, &cap);
		if (!to)
			return -ENOMEM;
		*to = span_make(path, f->path.n);
	}
	if (*n)
		qsort(*paths, *n, sizeof(**paths), path_cmp);
	return 0;
}

static int memory_resolve(struct opener *o, struct span host, struct sockaddr_storage *sa,
			  size_t max)
{
	if (span_ends(host, SPAN(".invalid")))
		return -ENOENT;
	return one_address(INADDR_LOOPBACK, sa, max);
}

static int memory_exists(struct opener *o, struct span path)
{
	return memory_find(o, path) ? 0 : -ENOENT;
}

static const struct opener_ops memory_ops = {
	.read_file = memory_read_file,
	.glob = memory_glob,
	.open_log = no_log,
	.listen = no_listen,
	.make_dir = no_dir,
	.resolve = memory_resolve,
	.exists = memory_exists,
};

void opener_memory_init(struct opener_memory *o, const struct opener_file *files)
{
	*o = (struct opener_memory){.opener = {.ops = &memory_ops}, .files = files};
}
