#include "mod/user_file.h"
#include <errno.h>
#include <fcntl.h>
#include "base/pool.h"
#include "io/sys.h"

#define READ_BYTES 16384

struct file_version file_version_of(const struct stat *st)
{
	return (struct file_version){
		.device = st->st_dev,
		.inode = st->st_ino,
		.size = (uint64_t)st->st_size,
		.modified_ns =
			(uint64_t)st->st_mtim.tv_sec * 1000000000 + (uint64_t)st->st_mtim.tv_nsec,
		.changed_ns =
			(uint64_t)st->st_ctim.tv_sec * 1000000000 + (uint64_t)st->st_ctim.tv_nsec,
	};
}

/* ---- lines, whatever the pieces in which they come ---- */

struct line_reader {
	struct user_entry *e;
	size_t at; /* bytes of the name that fit */
	enum { IN_NAME, IN_HASH, IN_REST, FOUND } state;
};

static void read_name(struct line_reader *l, char c)
{
	struct span user = l->e->user;

	if (c == '\n') {
		l->at = 0;
		return;
	}
	if (l->at == user.n && c == ':') {
		l->state = IN_HASH;
		l->e->n = 0;
	} else if (l->at < user.n && c == user.p[l->at] && (l->at || c != '#')) {
		l->at++;
	} else {
		l->state = IN_REST;
	}
}

static void read_char(struct line_reader *l, char c)
{
	switch (l->state) {
	case IN_NAME:
		read_name(l, c);
		break;
	case IN_HASH:
		if (c == '\n' || c == '\r' || c == ':')
			l->state = FOUND;
		else if (l->e->n < sizeof(l->e->hash))
			l->e->hash[l->e->n++] = c;
		break;
	case IN_REST:
		if (c == '\n') {
			l->state = IN_NAME;
			l->at = 0;
		}
		break;
	case FOUND:
		break;
	}
}

static int read_lines(int fd, struct user_entry *e, char *buf)
{
	struct line_reader l = {.e = e};
	off_t off = 0;
	ssize_t n;

	while ((n = sys->pread(fd, buf, READ_BYTES, off)) > 0) {
		off += n;
		if (off > USER_FILE_MAX)
			return -EFBIG;
		for (ssize_t i = 0; i < n && l.state != FOUND; i++)
			read_char(&l, buf[i]);
		if (l.state == FOUND)
			return 1;
	}
	return n < 0 ? (int)n : l.state == IN_HASH; /* the last line may lack its end */
}

static int find_in(int fd, struct user_entry *e)
{
	struct stat st;
	char *buf;
	int r = sys->fstat(fd, &st);

	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	e->version = file_version_of(&st);
	buf = mem_alloc(READ_BYTES);
	if (!buf)
		return -ENOMEM;
	r = read_lines(fd, e, buf);
	mem_free(buf);
	return r;
}

int user_file_find(const char *path, struct user_entry *e)
{
	int fd = sys->openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0), r;

	if (fd < 0)
		return fd;
	r = find_in(fd, e);
	sys->close(fd);
	return r;
}
