#include "base/arena.h"
#include "base/bug.h"
#include "http/body.h"
#include "io/sys.h"

#define FILE_CHUNK (32 * 1024) /* bytes read at a time for consumers that want memory */

void body_close(struct body *b)
{
	if (b && b->ops->close)
		b->ops->close(b);
}

static bool always_ready(struct body *b)
{
	return true;
}

static enum fail span_next(struct body *b, struct piece *out)
{
	struct body_mem *m = CONTAINER_OF(b, struct body_mem, body);

	BUG_ON(b->done);
	*out = (struct piece){.kind = PIECE_MEM, .last = true, .mem = m->text};
	b->done = true;
	return FAIL_OK;
}

struct body *body_of_span(struct body_mem *m, struct span text)
{
	static const struct body_ops ops = {.next = span_next, .ready = always_ready};

	*m = (struct body_mem){
		.body = {.ops = &ops, .length = (int64_t)text.n, .accept = PIECE_MEM},
		.text = text,
	};
	return &m->body;
}

static enum fail file_read(struct body_file *f, struct piece *out)
{
	size_t n = (size_t)MIN_OF(f->left, (int64_t)FILE_CHUNK);
	ssize_t got = 0;

	if (!f->buf && n)
		f->buf = arena_alloc(f->arena, n);
	if (!f->buf && n)
		return FAIL_NO_MEMORY;
	if (n)
		got = sys->pread(f->fd, f->buf, n, f->off);
	/* Shorter than it was when the length was announced: nothing true can be sent any more. */
	if (got < 0 || (got == 0 && n))
		return FAIL_FILE_ERROR;
	*out = (struct piece){.kind = PIECE_MEM, .mem = span_make(f->buf, (size_t)got)};
	f->off += got;
	f->left -= got;
	return FAIL_OK;
}

static enum fail file_next(struct body *b, struct piece *out)
{
	struct body_file *f = CONTAINER_OF(b, struct body_file, body);
	enum fail r = FAIL_OK;

	BUG_ON(b->done);
	if ((b->accept & PIECE_FILE) && f->left) {
		*out = (struct piece){
			.kind = PIECE_FILE, .fd = f->fd, .off = f->off, .len = (size_t)f->left};
		f->off += f->left;
		f->left = 0;
	} else {
		r = file_read(f, out);
	}
	out->last = b->done = r == FAIL_OK && f->left == 0;
	return r;
}

static void file_close(struct body *b)
{
	struct body_file *f = CONTAINER_OF(b, struct body_file, body);
	void (*on_close)(struct body_file *) = f->on_close;

	f->on_close = NULL;
	if (on_close)
		on_close(f);
}

struct body *body_of_file(struct body_file *f, struct arena *a, int fd, off_t off, int64_t n)
{
	static const struct body_ops ops = {
		.next = file_next, .ready = always_ready, .close = file_close};

	BUG_ON(n < 0);
	*f = (struct body_file){
		.body = {.ops = &ops, .length = n, .accept = PIECE_MEM},
		.fd = fd,
		.off = off,
		.left = n,
		.arena = a,
	};
	return &f->body;
}

enum fail body_drain(struct body *b, int64_t ceiling)
{
	struct piece piece = {0};
	int64_t sum = 0;

	b->accept = PIECE_MEM | PIECE_FILE; /* nobody will look, so a file need not be read */
	while (!b->done) {
		enum fail f = body_next(b, &piece);

		if (f)
			return f;
		sum += (int64_t)piece_len(&piece);
		if (sum > ceiling)
			return FAIL_BODY_TOO_LARGE;
		if (piece.last)
			break;
	}
	return FAIL_OK;
}
