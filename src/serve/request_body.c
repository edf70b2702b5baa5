#include "serve/request_body.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include "base/pool.h"
#include "serve/core.h"
#include "serve/req_internal.h"

/* ---- temporary files ---- */

static _Atomic uint64_t temp_numbers;

/* "0000000042": the last digits name the levels of folders, as nginx has it. */
static uint64_t temp_number(void)
{
	return atomic_fetch_add_explicit(&temp_numbers, 1, memory_order_relaxed) + 1;
}

static int temp_unlinked(struct span dir)
{
	size_t size = dir.n + 32;
	char *path = mem_alloc(size);
	int fd = path ? -EEXIST : -ENOMEM;

	for (int i = 0; i < 100 && fd == -EEXIST; i++) {
		snprintf(path, size, "%.*s/t%016llx", SPAN_ARG(dir),
			 (unsigned long long)io_rand64());
		fd = sys->openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0)
			sys->unlink(path);
	}
	mem_free(path);
	return fd;
}

int temp_file_open(struct span dir)
{
	int fd = sys->openat(AT_FDCWD, dir.p, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL)
		fd = temp_unlinked(dir);
	return fd;
}

int temp_file_open_named(struct span dir, const int levels[3], struct arena *a, struct span *path)
{
	for (int tries = 0; tries < 100; tries++) {
		char name[32], sub[16] = "";
		size_t at = 10, len = 0;
		int fd;

		snprintf(name, sizeof(name), "%010llu",
			 (unsigned long long)temp_number() % 10000000000ull);
		for (int i = 0; i < 3 && levels[i]; i++) {
			at -= (size_t)levels[i];
			memcpy(sub + len, name + at, (size_t)levels[i]);
			len += (size_t)levels[i];
			sub[len++] = '/';
			*path = arena_printf(a, "%.*s/%.*s", SPAN_ARG(dir), (int)(len - 1), sub);
			if (!path->p)
				return -ENOMEM;
			sys->mkdir(path->p, 0700);
		}
		*path = arena_printf(a, "%.*s/%.*s%s", SPAN_ARG(dir), (int)len, sub, name);
		if (!path->p)
			return -ENOMEM;
		fd = sys->openat(AT_FDCWD, path->p, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd != -EEXIST)
			return fd;
	}
	return -EEXIST;
}

/* ---- reading ---- */

/* However large client_body_buffer_size is: the rest of the request must find room in its arena. */
#define BODY_MEM_MAX ((size_t)REQ_ARENA_MAX / 2)

struct body_sink {
	struct req *r;
	struct req_body *b;
	const struct core_loc *l;
	char *mem;
	size_t len, cap;
};

static void body_file_close(void *arg)
{
	struct req_body *b = arg;

	if (b->fd >= 0)
		sys->close(b->fd);
	b->fd = -1;
}

static void body_file_remove(void *arg)
{
	struct req_body *b = arg;

	if (b->path.n)
		sys->unlink(b->path.p);
}

static enum fail write_all(int fd, struct span s, int64_t off)
{
	while (s.n) {
		ssize_t n = sys->pwrite(fd, s.p, s.n, (off_t)off);

		if (n <= 0)
			return FAIL_FILE_ERROR;
		s = span_cut(s, (size_t)n, s.n);
		off += n;
	}
	return FAIL_OK;
}

static enum fail to_file(struct body_sink *k)
{
	struct req_body *b = k->b;
	struct span dir = k->l->client_body_temp_path;

	if (k->l->client_body_in_file_only)
		b->fd = temp_file_open_named(dir, k->l->client_body_temp_levels, &k->r->arena,
					     &b->path);
	else
		b->fd = temp_file_open(dir);
	if (b->fd < 0) {
		req_log(k->r, LOG_CRIT, -b->fd, "open() of a temporary file in \"%.*s\" failed",
			SPAN_ARG(dir));
		return FAIL_FILE_ERROR;
	}
	if (req_cleanup(k->r, body_file_close, b) != FAIL_OK) {
		body_file_close(b);
		return FAIL_NO_MEMORY;
	}
	if (k->l->client_body_in_file_only == 2 &&
	    req_cleanup(k->r, body_file_remove, b) != FAIL_OK) {
		body_file_remove(b);
		return FAIL_NO_MEMORY;
	}
	req_log(k->r, k->l->client_body_in_file_only ? LOG_NOTICE : LOG_WARN, 0,
		"a client request body is buffered to a temporary file%s%.*s", b->path.n ? " " : "",
		SPAN_ARG(b->path));
	return write_all(b->fd, span_make(k->mem, k->len), 0);
}

static enum fail keep(struct body_sink *k, struct span piece)
{
	struct req_body *b = k->b;

	if (b->fd < 0 && k->len + piece.n <= k->cap) {
		if (piece.n)
			memcpy(k->mem + k->len, piece.p, piece.n);
		k->len += piece.n;
		b->length += (int64_t)piece.n;
		return FAIL_OK;
	}
	if (b->fd < 0) {
		enum fail f = to_file(k);

		if (f != FAIL_OK)
			return f;
	}
	if (write_all(b->fd, piece, b->length) != FAIL_OK) {
		req_log(k->r, LOG_CRIT, 0, "write to a temporary file in \"%.*s\" failed",
			SPAN_ARG(k->l->client_body_temp_path));
		return FAIL_FILE_ERROR;
	}
	b->length += (int64_t)piece.n;
	return FAIL_OK;
}

static enum fail sink_start(struct body_sink *k)
{
	int64_t length = k->r->body ? k->r->body->length : 0;

	k->cap = (size_t)k->l->client_body_buffer_size;
	if (length >= 0 && (size_t)length < k->cap)
		k->cap = (size_t)length;
	if (k->l->client_body_in_file_only)
		k->cap = 0;
	k->cap = MIN_OF(k->cap, BODY_MEM_MAX);
	k->mem = arena_alloc(&k->r->arena, k->cap + 1);
	return k->mem ? FAIL_OK : FAIL_NO_MEMORY;
}

static MAY_SUSPEND enum fail read_all(struct body_sink *k)
{
	enum fail f = sink_start(k);
	struct piece pc = {.last = false};

	while (f == FAIL_OK && !pc.last) {
		f = body_next(k->r->body, &pc);
		if (f == FAIL_OK)
			f = keep(k, pc.mem);
	}
	if (f == FAIL_OK && k->l->client_body_in_file_only && k->b->fd < 0)
		f = to_file(k);
	return f;
}

MAY_SUSPEND int req_read_body(struct req *r)
{
	struct body_sink k = {.r = r, .l = req_conf(r, &core_loc_mod)};
	enum fail f;

	if (r->buffered)
		return 0;
	k.b = arena_zalloc(&r->arena, sizeof(*k.b));
	if (!k.b)
		return req_fail(r, FAIL_NO_MEMORY);
	k.b->fd = -1;
	if (r->body) {
		f = read_all(&k);
		if (f != FAIL_OK) {
			r->keep_alive = false;
			return req_fail(r, f);
		}
		k.b->trailers = r->body->trailers;
		r->body = NULL;
	}
	if (k.b->fd < 0)
		k.b->mem = span_make(k.mem, k.len);
	r->buffered = k.b;
	return 0;
}

struct body *req_body_again(struct req *r)
{
	struct req_body *b = r->buffered;
	struct body *body = NULL;
	struct body_mem *m;
	struct body_file *f;

	if (b->fd < 0 && (m = arena_alloc(&r->arena, sizeof(*m))))
		body = body_of_span(m, b->mem);
	else if (b->fd >= 0 && (f = arena_alloc(&r->arena, sizeof(*f))))
		body = body_of_file(f, &r->arena, b->fd, 0, b->length);
	if (body)
		body->trailers = b->trailers;
	return body;
}
