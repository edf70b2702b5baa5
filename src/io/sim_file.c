/* Files as the worker sees them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "io/sim_int.h"

struct file_desc {
	struct sim_desc d;
	struct sim_node *node;
	int flags;
	size_t off; /* of write */
};

static struct file_desc *file_get(int fd, const char *call)
{
	return sim_fd_kind(fd, &sim_kind_file, call);
}

static void desc_file_close(struct sim_desc *d)
{
	sim_node_unref(((struct file_desc *)d)->node);
	mem_plain_free(d);
}

/* > 0: how many of n may be written. */
static ssize_t write_fault(size_t n)
{
	const struct sim_faults *f = &sim.o.faults;

	if (sim_chance(f->disk_error)) {
		SIM_LOG("fault: the disk fails");
		return -EIO;
	}
	if (!n || !sim_chance(f->disk_full))
		return (ssize_t)n;
	SIM_LOG("fault: the disk is full");
	return n > 1 && sim_draw(2) ? (ssize_t)sim_between(1, n - 1) : -ENOSPC;
}

static ssize_t node_write(struct sim_node *node, const struct iovec *iov, int niov, size_t off)
{
	ssize_t n = write_fault(sim_iov_total(iov, niov));
	size_t left = n > 0 ? (size_t)n : 0;

	if (n <= 0)
		return n;
	if (off + left > node->n)
		sim_node_resize(node, off + left);
	node->mtime_us = sim_wall_us();
	for (int i = 0; i < niov && left; i++) {
		size_t k = MIN_OF(left, iov[i].iov_len);

		if (k)
			memcpy(node->p + off, iov[i].iov_base, k);
		sim_mix_bytes(node->p + off, k);
		off += k;
		left -= k;
	}
	return n;
}

static ssize_t desc_file_write(struct sim_desc *d, const struct iovec *iov, int niov, int flags)
{
	struct file_desc *f = (struct file_desc *)d;
	ssize_t n;

	if ((f->flags & O_ACCMODE) == O_RDONLY || (f->flags & O_PATH))
		return -EBADF;
	if (f->flags & O_APPEND)
		f->off = f->node->n;
	n = node_write(f->node, iov, niov, f->off);
	if (n > 0)
		f->off += (size_t)n;
	return n;
}

static ssize_t node_read(const struct sim_node *node, const struct iovec *iov, int niov, off_t off)
{
	size_t n = sim_iov_total(iov, niov), at = (size_t)off;

	if (S_ISDIR(node->mode))
		return -EISDIR;
	if (off < 0)
		return -EINVAL;
	n = at < node->n ? MIN_OF(n, node->n - at) : 0;
	sim_iov_fill(iov, niov, &(struct sim_bytes){.p = node->p, .head = at, .len = n}, n);
	return (ssize_t)n;
}

static ssize_t desc_file_read(struct sim_desc *d, const struct iovec *iov, int niov, int flags)
{
	struct file_desc *f = (struct file_desc *)d;
	ssize_t n = node_read(f->node, iov, niov, (off_t)f->off);

	if (n > 0)
		f->off += (size_t)n;
	return n;
}

const struct sim_kind sim_kind_file = {
	.name = "file", .close = desc_file_close, .read = desc_file_read, .write = desc_file_write};

/* ---- opening ---- */

/* The folder that a relative path starts from: NULL is the root, which is also AT_FDCWD. */
static int folder_get(int dir, const char *path, struct sim_node **folder)
{
	struct file_desc *f;

	*folder = NULL;
	if (dir == AT_FDCWD || path[0] == '/')
		return 0;
	f = file_get(dir, "...at");
	if (!f)
		return -EBADF;
	*folder = f->node;
	return S_ISDIR(f->node->mode) ? 0 : -ENOTDIR;
}

static int fd_for(struct sim_node *node, int flags)
{
	struct file_desc *f = mem_plain_zalloc(sizeof(*f));
	int fd = sim_fd_open(&f->d, &sim_kind_file);

	f->node = node;
	f->flags = flags;
	if (fd < 0) {
		mem_plain_free(f);
		return fd;
	}
	node->opened++;
	return fd;
}

static int open_temporary(struct sim_node *folder, const char *path, int flags)
{
	struct sim_node *dir, *node;
	int r = sim_node_walk(folder, path, true, &dir), fd;

	if (r < 0)
		return r;
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	node = sim_node_new(NULL, NULL, 0, S_IFREG | 0600);
	fd = fd_for(node, flags);
	if (fd < 0)
		sim_node_unlink(node);
	return fd;
}

static int open_new(struct sim_node *folder, const char *path, int flags, mode_t mode)
{
	struct sim_node *dir, *node;
	const char *name;
	size_t n;
	int r = sim_node_parent(folder, path, &dir, &name, &n), fd;

	if (r < 0)
		return r;
	if (sim_node_child(dir, name, n)) /* a link to nothing */
		SIM_MODEL("openat creates \"%s\" through a link", path);
	if (sim_chance(sim.o.faults.disk_full))
		return -ENOSPC;
	node = sim_node_new(dir, name, n, S_IFREG | (mode & 0777));
	fd = fd_for(node, flags);
	if (fd < 0)
		sim_node_unlink(node);
	return fd;
}

static int open_old(struct sim_node *node, int flags)
{
	if ((flags & O_DIRECTORY) && !S_ISDIR(node->mode))
		return -ENOTDIR;
	if (S_ISLNK(node->mode) && !(flags & O_PATH))
		return -ELOOP; /* O_NOFOLLOW */
	if (S_ISDIR(node->mode) && (flags & O_ACCMODE) != O_RDONLY)
		return -EISDIR;
	if ((flags & O_TRUNC) && !(flags & O_PATH))
		sim_node_resize(node, 0);
	return fd_for(node, flags);
}

#define OPEN_KNOWN                                                                                 \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW | \
	 O_DIRECTORY | O_PATH | O_TMPFILE | O_LARGEFILE)

static int node_open(struct sim_node *folder, const char *path, int flags, mode_t mode)
{
	struct sim_node *node;
	int r;

	if ((flags & O_TMPFILE) == O_TMPFILE)
		return open_temporary(folder, path, flags);
	r = sim_node_walk(folder, path,
			  !(flags & O_NOFOLLOW) && !((flags & O_CREAT) && (flags & O_EXCL)), &node);
	if (r == -ENOENT && (flags & O_CREAT))
		return open_new(folder, path, flags, mode);
	if (r < 0)
		return r;
	if ((flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	return open_old(node, flags);
}

int sim_openat(int dir, const char *path, int flags, mode_t mode)
{
	struct sim_node *folder;
	int r = folder_get(dir, path, &folder);

	if (flags & ~OPEN_KNOWN)
		SIM_MODEL("openat(\"%s\") with flags %x", path, (unsigned)flags);
	if (r == 0)
		r = node_open(folder, path, flags, mode);
	SIM_LOG("openat: %ld", r);
	return r;
}

/* ---- status ---- */

static void stat_fill(const struct sim_node *node, struct stat *st)
{
	uint64_t us = node->mtime_us;

	*st = (struct stat){
		.st_dev = 1,
		.st_ino = node->ino,
		.st_mode = node->mode,
		.st_nlink = node->parent || S_ISDIR(node->mode) ? 1 : 0,
		.st_size = (off_t)node->n,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)((node->n + 511) / 512),
		.st_mtim = {.tv_sec = (time_t)(us / 1000000),
			    .tv_nsec = (long)(us % 1000000) * 1000},
	};
	st->st_ctim = st->st_atim = st->st_mtim;
}

int sim_fstat(int fd, struct stat *st)
{
	struct sim_desc *d = sim_fd_get(fd, "fstat");

	if (!d)
		return -EBADF;
	if (d->kind != &sim_kind_file)
		SIM_MODEL("fstat of a %s", d->kind->name);
	stat_fill(((struct file_desc *)d)->node, st);
	return 0;
}

int sim_fstatat(int dir, const char *path, struct stat *st, int flags)
{
	struct sim_node *folder, *node;
	int r = folder_get(dir, path, &folder);

	if (flags & ~AT_SYMLINK_NOFOLLOW)
		SIM_MODEL("fstatat(\"%s\") with flags %x", path, (unsigned)flags);
	if (r == 0)
		r = sim_node_walk(folder, path, !flags, &node);
	if (r == 0)
		stat_fill(node, st);
	return r;
}

/* ---- content ---- */

ssize_t sim_pread(int fd, void *p, size_t n, off_t off)
{
	struct file_desc *f = file_get(fd, "pread");
	ssize_t r;

	if (!f)
		return -EBADF;
	if ((f->flags & O_ACCMODE) == O_WRONLY || (f->flags & O_PATH))
		return -EBADF;
	if (sim_chance(sim.o.faults.disk_error))
		return -EIO;
	r = node_read(f->node, &(struct iovec){p, n}, 1, off);
	if (r > 1 && sim_chance(sim.o.faults.short_read))
		r = (ssize_t)sim_between(1, (uint64_t)r - 1);
	SIM_LOG("pread %ld at %ld: %ld", fd, off, r);
	return r;
}

ssize_t sim_pwrite(int fd, const void *p, size_t n, off_t off)
{
	struct file_desc *f = file_get(fd, "pwrite");
	ssize_t r;

	if (!f)
		return -EBADF;
	if ((f->flags & O_ACCMODE) == O_RDONLY || (f->flags & O_PATH))
		return -EBADF;
	if (off < 0)
		return -EINVAL;
	r = node_write(f->node, &(struct iovec){(void *)p, n}, 1, (size_t)off);
	SIM_LOG("pwrite %ld at %ld: %ld", fd, off, r);
	return r;
}

int sim_file_bytes(int fd, off_t off, struct span *bytes)
{
	struct file_desc *f = file_get(fd, "sendfile");

	*bytes = span_make(NULL, 0);
	if (!f)
		return -EBADF;
	if (off < 0)
		return -EINVAL;
	if (sim_chance(sim.o.faults.disk_error))
		return -EIO;
	if ((size_t)off < f->node->n)
		*bytes = span_make(f->node->p + off, f->node->n - (size_t)off);
	return 0;
}

int sim_ftruncate(int fd, off_t n)
{
	struct file_desc *f = file_get(fd, "ftruncate");

	if (!f)
		return -EBADF;
	if ((f->flags & O_ACCMODE) == O_RDONLY || n < 0)
		return -EINVAL;
	sim_node_resize(f->node, (size_t)n);
	return 0;
}

/* ---- names ---- */

int sim_unlink(const char *path)
{
	struct sim_node *node;
	int r = sim_node_walk(NULL, path, false, &node);

	if (r < 0)
		return r;
	if (S_ISDIR(node->mode))
		return -EISDIR;
	SIM_LOG("unlink %ld", node->ino);
	sim_node_unlink(node);
	return 0;
}

static bool node_holds(const struct sim_node *folder, const struct sim_node *node)
{
	for (; node; node = node->parent)
		if (node == folder)
			return true;
	return false;
}

int sim_rename(const char *from, const char *to)
{
	struct sim_node *node, *folder = NULL, *old;
	const char *name = "";
	size_t n = 0;
	int r = sim_node_walk(NULL, from, false, &node);

	if (r == 0)
		r = sim_node_parent(NULL, to, &folder, &name, &n);
	if (r < 0)
		return r;
	old = sim_node_child(folder, name, n);
	if (old == node)
		return 0;
	if (node_holds(node, folder))
		return -EINVAL;
	if (old && node_holds(old, node))
		return -ENOTEMPTY;
	if (old && S_ISDIR(old->mode) != S_ISDIR(node->mode))
		return S_ISDIR(old->mode) ? -EISDIR : -ENOTDIR;
	if (old && S_ISDIR(old->mode))
		SIM_MODEL("rename over the folder \"%s\"", to);
	if (old)
		sim_node_unlink(old);
	sim_node_move(node, folder, name, n);
	return 0;
}

int sim_mkdir(const char *path, mode_t mode)
{
	struct sim_node *folder;
	const char *name;
	size_t n;
	int r = sim_node_parent(NULL, path, &folder, &name, &n);

	if (r < 0)
		return r == -EISDIR ? -EEXIST : r;
	if (sim_node_child(folder, name, n))
		return -EEXIST;
	if (sim_chance(sim.o.faults.disk_full))
		return -ENOSPC;
	sim_node_new(folder, name, n, S_IFDIR | (mode & 0777));
	return 0;
}

ssize_t sim_readlinkat(int dir, const char *path, char *buf, size_t n)
{
	struct sim_node *folder, *node;
	int r = folder_get(dir, path, &folder);

	if (r == 0)
		r = sim_node_walk(folder, path, false, &node);
	if (r < 0)
		return r;
	if (!S_ISLNK(node->mode))
		return -EINVAL;
	n = MIN_OF(n, node->n);
	memcpy(buf, node->p, n);
	return (ssize_t)n;
}

/* Writes the path backwards; the length, or -ENAMETOOLONG. */
ssize_t sim_realpath(const char *path, char *buf, size_t size)
{
	struct sim_node *node;
	size_t at = size;
	int r = sim_node_walk(NULL, path, true, &node);

	if (r < 0)
		return r;
	if (size < 2)
		return -ENAMETOOLONG;
	buf[--at] = '\0';
	if (!node->parent)
		buf[--at] = '/';
	for (; node->parent; node = node->parent) {
		size_t n = strlen(node->name);

		if (n + 1 > at)
			return -ENAMETOOLONG;
		at -= n;
		memcpy(buf + at, node->name, n);
		buf[--at] = '/';
	}
	memmove(buf, buf + at, size - at);
	return (ssize_t)(size - at - 1);
}

/* ---- for the world ---- */

int sim_open_log(const char *path)
{
	struct sim_faults keep = sim.o.faults;
	int fd;

	/* What the master opened: not the worker's trouble. */
	sim.o.faults = (struct sim_faults){0};
	sim_file_folders(path);
	fd = sim_openat(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT, 0644);
	sim.o.faults = keep;
	return fd;
}

int sim_reopen_log(int fd, const char *path)
{
	struct file_desc *f = file_get(fd, "reopen"), *g;
	struct sim_node *old;
	int with = sim_open_log(path);

	if (!f || with < 0)
		return f ? with : -EBADF;
	g = file_get(with, "reopen");
	old = f->node;
	f->node = g->node;
	f->off = 0;
	g->node = old;
	return sim_close(with);
}

int sim_file_rename(const char *from, const char *to)
{
	return sim_rename(from, to);
}
