#include "base/mutant.h"
#include "proxy/buffered.h"
#include <errno.h>
#include "base/pool.h"
#include "io/loop.h"
#include "serve/request_body.h"

#define COPY_SIZE 16384

static enum fail buffered_next(struct body *body, struct piece *out);
static bool buffered_ready(struct body *body);
static void buffered_close(struct body *body);
static void buffered_stalled(struct body *body, struct piece *rest);

static const struct body_ops buffered_ops = {
	.next = buffered_next,
	.ready = buffered_ready,
	.close = buffered_close,
	.stalled = buffered_stalled,
};

struct body *buffered_init(struct buffered *b, struct body *inner, const struct buffered_conf *conf)
{
	*b = (struct buffered){
		.body = {.ops = &buffered_ops, .length = inner->length, .accept = PIECE_MEM},
		.inner = inner,
		.conf = conf,
		.fd = -1,
		.began_ms = io_now_ms(),
	};
	list_init(&b->blocks);
	co_waitq_init(&b->more);
	co_waitq_init(&b->room);
	return &b->body;
}

/* ---- the source ---- */

static void buffered_source_failed(struct buffered *b, enum fail f)
{
	b->inner_done = true;
	b->inner_fail = f;
	if (b->failed)
		b->failed(b->arg, f);
}

static void buffered_source_ended(struct buffered *b)
{
	b->inner_done = true;
	if (b->conf->trailers)
		b->body.trailers = b->inner->trailers;
}

/* As much of the piece in b->slice as proxy_limit_rate allows now; waits until it allows something.
 */
static MAY_SUSPEND enum fail buffered_slice(struct buffered *b, struct piece *out)
{
	int64_t rate = b->conf->rate, allowed = INT64_MAX;

	while (b->slice.mem.n) {
		allowed = rate * (int64_t)((io_now_ms() - b->began_ms) / 1000 + 1) - b->pulled;
		if (allowed > 0)
			break;
		if (co_sleep_until(io_now_ms() + MIN_OF((uint64_t)(-allowed * 1000 / rate + 1),
							1000)) == -ECANCELED)
			return FAIL_CANCELLED;
	}
	*out = b->slice;
	if (b->slice.mem.n && (int64_t)b->slice.mem.n > allowed) {
		out->mem.n = (size_t)allowed;
		out->last = false;
	}
	b->slice.mem = span_cut(b->slice.mem, out->mem.n, b->slice.mem.n);
	b->pulled += (int64_t)out->mem.n;
	return FAIL_OK;
}

/* One piece from the source, not faster than proxy_limit_rate. */
static MAY_SUSPEND enum fail buffered_pull(struct buffered *b, struct piece *out)
{
	bool limited = b->conf->rate > 0;
	enum fail f = FAIL_OK;

	if (limited)
		b->inner->accept = PIECE_MEM;
	if (!limited)
		f = body_next(b->inner, out);
	else if (b->slice.mem.n == 0)
		f = body_next(b->inner, &b->slice);
	if (f == FAIL_OK && limited)
		f = buffered_slice(b, out);
	if (f != FAIL_OK)
		buffered_source_failed(b, f);
	else if (out->last)
		buffered_source_ended(b);
	return f;
}

/* ---- the store ---- */

static struct buffered_block *block_oldest(const struct buffered *b)
{
	return list_empty(&b->blocks) ? NULL
				      : CONTAINER_OF(b->blocks.next, struct buffered_block, link);
}

/* A block at the end with room for n more bytes; NULL: no memory. */
static struct buffered_block *block_for(struct buffered *b, size_t n)
{
	struct buffered_block *k =
		list_empty(&b->blocks) ? NULL
				       : CONTAINER_OF(b->blocks.prev, struct buffered_block, link);
	size_t cap = MAX_OF(n, b->conf->block);

	if (k && k->cap - k->end >= n)
		return k;
	k = mem_alloc(sizeof(*k) + cap);
	if (!k)
		return NULL;
	k->start = k->end = 0;
	k->cap = cap;
	b->in_memory += cap;
	list_push(&b->blocks, &k->link);
	return k;
}

static void block_free(struct buffered *b, struct buffered_block *k)
{
	b->in_memory -= k->cap;
	list_del(&k->link);
	mem_free(k);
}

static bool store_is_empty(const struct buffered *b)
{
	return list_empty(&b->blocks) && b->file_given == b->file_written;
}

static char *buffered_copy_room(struct buffered *b)
{
	if (!b->copy)
		b->copy = mem_alloc(COPY_SIZE);
	return b->copy;
}

static bool store_file_open(struct buffered *b)
{
	int fd = temp_file_open(b->conf->temp_path);

	if (fd < 0) {
		log_msg(b->conf->log, LOG_CRIT, -fd, "cannot make a temporary file in \"%.*s\"",
			SPAN_ARG(b->conf->temp_path));
		b->file_full = true;
		return false;
	}
	b->fd = fd;
	log_msg(b->conf->log, LOG_WARN, 0,
		"an upstream response is buffered to a temporary file in \"%.*s\"",
		SPAN_ARG(b->conf->temp_path));
	return true;
}

/* Appends to the file as much as fits. Returns the bytes taken; 0: full or broken. */
static size_t store_file(struct buffered *b, const char *p, size_t n)
{
	size_t done = 0;

	if (b->file_full || b->conf->file <= 0 || (b->fd < 0 && !store_file_open(b)))
		return 0;
	if (!MUTANT(no_file_ceiling))
		n = (size_t)MIN_OF((int64_t)n, b->conf->file - b->file_written);
	while (done < n) {
		ssize_t w = sys->pwrite(b->fd, p + done, n - done, b->file_written);

		if (w <= 0) {
			log_msg(b->conf->log, LOG_CRIT, (int)-w,
				"writing a temporary file of a response failed");
			b->file_full = true;
			break;
		}
		done += (size_t)w;
		b->file_written += w;
	}
	return done;
}

static bool file_in_use(const struct buffered *b)
{
	return b->file_read < b->file_written;
}

/* Puts as much as there is room for into the store; 0: there is none now, -1: no memory. */
static ssize_t store_some(struct buffered *b, const char *p, size_t n)
{
	struct buffered_block *k;

	if (file_in_use(b) ||
	    (b->in_memory + MIN_OF(n, b->conf->block) > b->conf->memory && !MUTANT(no_ceiling))) {
		if (!file_in_use(b))
			b->file_read = b->file_given = b->file_written = 0;
		return (ssize_t)store_file(b, p, n);
	}
	n = MIN_OF(n, MAX_OF(b->conf->memory - b->in_memory, b->conf->block));
	n = MIN_OF(n, (size_t)65536);
	k = block_for(b, n);
	if (!k)
		return -1;
	memcpy(k->data + k->end, p, n);
	k->end += n;
	return (ssize_t)n;
}

/* ---- the filler ---- */

static void reader_wake(struct buffered *b)
{
	if (b->reader_waits && !MUTANT(lost_wakeup)) {
		b->reader_waits = false;
		co_waitq_wake_all(&b->more, 0);
	}
}

/* All of the bytes, waiting for room: back-pressure on the source. */
static MAY_SUSPEND enum fail store_all(struct buffered *b, const char *p, size_t n)
{
	while (n) {
		ssize_t k = store_some(b, p, n);

		if (k < 0)
			return FAIL_NO_MEMORY;
		if (k > 0) {
			reader_wake(b);
			p += k;
			n -= (size_t)k;
		} else if (co_waitq_wait(&b->room, CO_NEVER) < 0) {
			return FAIL_CANCELLED;
		}
	}
	return FAIL_OK;
}

/* The bytes of a pipe or of a file, through a buffer. */
static MAY_SUSPEND enum fail store_by_copy(struct buffered *b, struct piece *p)
{
	char *copy = buffered_copy_room(b);

	if (!copy)
		return FAIL_NO_MEMORY;
	while (p->len) {
		struct iovec iov = {copy, MIN_OF(p->len, (size_t)COPY_SIZE)};
		ssize_t n = p->kind == PIECE_FILE ? sys->pread(p->fd, copy, iov.iov_len, p->off)
						  : sys->readv(p->fd, &iov, 1);
		enum fail f;

		if (n <= 0)
			return FAIL_INTERNAL;
		p->off += n;
		p->len -= (size_t)n;
		f = store_all(b, copy, (size_t)n);
		if (f != FAIL_OK)
			return f;
	}
	return FAIL_OK;
}

static void filler_run(void *arg)
{
	struct buffered *b = arg;

	b->inner->accept = PIECE_MEM;
	while (!b->inner_done) {
		struct piece p;
		enum fail f = buffered_pull(b, &p);

		if (f != FAIL_OK)
			break;
		if (b->reader_waits &&
		    store_is_empty(b)) { /* it has caught up: no need of us any more */
			b->handed = p;
			b->handed_over = true;
			break;
		}
		f = p.kind == PIECE_MEM ? store_all(b, p.mem.p, p.mem.n) : store_by_copy(b, &p);
		if (f != FAIL_OK) {
			b->inner_done = true;
			b->inner_fail = f;
		}
	}
	b->filled = true;
	reader_wake(b);
}

static void buffered_stalled(struct body *body, struct piece *rest)
{
	struct buffered *b = CONTAINER_OF(body, struct buffered, body);
	struct buffered_block *k;
	size_t at = 0;

	if (b->conf->off || b->filling || b->given || b->inner_done || !piece_len(rest) ||
	    rest->kind == PIECE_FILE || piece_len(rest) > (1u << 20))
		return;
	k = block_for(b, piece_len(rest));
	if (!k)
		return;
	if (rest->kind == PIECE_MEM) {
		memcpy(k->data, rest->mem.p, rest->mem.n);
		at = rest->mem.n;
	}
	while (rest->kind == PIECE_PIPE && at < rest->len) {
		struct iovec iov = {k->data + at, rest->len - at};
		ssize_t n = sys->readv(rest->fd, &iov, 1);

		BUG_ON(n <= 0);
		at += (size_t)n;
	}
	k->end = at;
	*rest = (struct piece){
		.kind = PIECE_MEM, .mem = {k->data, at}, .last = rest->last, .flush = rest->flush};
	b->given = k;
	list_del(&k->link); /* the reader has it: not in store any more */
	b->filled = false;
	b->filling = co_child_start(&b->filler, filler_run, b) == 0;
}

/* ---- the reader ---- */

static void reader_release(struct buffered *b)
{
	bool freed = b->given || b->file_read < b->file_given;

	if (b->given) {
		b->in_memory -= b->given->cap;
		mem_free(b->given);
		b->given = NULL;
	}
	b->file_read = b->file_given;
	if (freed)
		co_waitq_wake_all(&b->room, 0);
}

static void reader_take_block(struct buffered *b, struct buffered_block *k, struct piece *out)
{
	list_del(&k->link);
	b->given = k;
	*out = (struct piece){.kind = PIECE_MEM, .mem = {k->data + k->start, k->end - k->start}};
}

static enum fail reader_take_file(struct buffered *b, struct piece *out)
{
	int64_t n = b->file_written - b->file_given;
	ssize_t got;

	if (b->body.accept & PIECE_FILE) {
		n = MIN_OF(n, (int64_t)1 << 20);
		*out = (struct piece){
			.kind = PIECE_FILE, .fd = b->fd, .off = b->file_given, .len = (size_t)n};
		b->file_given += n;
		return FAIL_OK;
	}
	if (!b->read_copy)
		b->read_copy = mem_alloc(COPY_SIZE);
	if (!b->read_copy)
		return FAIL_NO_MEMORY;
	got = sys->pread(b->fd, b->read_copy, (size_t)MIN_OF(n, COPY_SIZE), b->file_given);
	if (got <= 0)
		return FAIL_FILE_ERROR;
	b->file_given += got;
	*out = (struct piece){.kind = PIECE_MEM, .mem = {b->read_copy, (size_t)got}};
	return FAIL_OK;
}

/* The filler has ended: nobody else pulls from the source any more. */
static MAY_SUSPEND void reader_join(struct buffered *b)
{
	co_child_join(&b->filler);
	b->filling = false;
}

static enum fail reader_end(struct buffered *b, struct piece *out)
{
	if (b->inner_fail != FAIL_OK)
		return b->inner_fail;
	b->body.done = true;
	*out = (struct piece){.kind = PIECE_MEM, .mem = {"", 0}, .last = true};
	return FAIL_OK;
}

static MAY_SUSPEND enum fail buffered_next(struct body *body, struct piece *out)
{
	struct buffered *b = CONTAINER_OF(body, struct buffered, body);
	enum fail f = FAIL_OK;

	reader_release(b);
	while (b->filling) {
		struct buffered_block *k = block_oldest(b);

		if (k || b->file_given < b->file_written) {
			if (k)
				reader_take_block(b, k, out);
			else
				f = reader_take_file(b, out);
			if (f == FAIL_OK && b->filled && b->inner_fail == FAIL_OK &&
			    store_is_empty(b))
				out->last = body->done = true;
			return f;
		}
		if (b->handed_over) {
			reader_join(b);
			b->handed_over = false;
			*out = b->handed;
			body->done = out->last;
			return FAIL_OK;
		}
		if (b->filled)
			return reader_end(b, out);
		b->reader_waits = true;
		if (co_waitq_wait(&b->more, CO_NEVER) < 0) {
			b->reader_waits = false;
			return FAIL_CANCELLED;
		}
	}
	b->inner->accept = body->accept;
	f = buffered_pull(b, out);
	if (f == FAIL_OK) {
		body->done = out->last;
		out->flush |= b->conf->off;
	}
	return f;
}

static bool buffered_ready(struct body *body)
{
	struct buffered *b = CONTAINER_OF(body, struct buffered, body);

	if (b->filling)
		return !store_is_empty(b) || b->handed_over || b->filled;
	return b->conf->rate <= 0 && body_ready(b->inner);
}

static void buffered_close(struct body *body)
{
	struct buffered *b = CONTAINER_OF(body, struct buffered, body);
	struct buffered_block *k;

	if (b->filling) {
		co_child_cancel(&b->filler);
		reader_join(b);
	}
	reader_release(b);
	while ((k = block_oldest(b)) && !MUTANT(leaked_buffer))
		block_free(b, k);
	if (b->fd >= 0 && !MUTANT(leaked_descriptor))
		sys->close(b->fd);
	if (b->fd >= 0 && MUTANT(closed_twice))
		sys->close(b->fd);
	b->fd = -1;
	mem_free(b->copy);
	mem_free(b->read_copy);
	b->copy = b->read_copy = NULL;
	body_close(b->inner);
	if (b->closed)
		b->closed(b->arg);
}
