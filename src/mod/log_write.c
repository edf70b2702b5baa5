/* Where lines gather before they are written. Everything here belongs to one thread. */
#include "base/mutant.h"
#include <errno.h>
#include <zlib.h>
#include "base/buf.h"
#include "base/pool.h"
#include "conf/opener.h"
#include "conf/snapshot.h"
#include "io/loop.h"
#include "mod/log.h"

#define BLOCK_SIZE  16384 /* bytes of what waits for the end of a turn */
#define BLOCKS_KEPT 8
#define TICK_MS	    1000
#define COMPLAIN_MS 60000
#define BUCKETS	    64

/* Lines for one descriptor. Never freed before the thread ends; memory for lines only while there
 * are some. */
struct log_buf {
	struct log_buf *chain;	   /* of its bucket */
	struct list waiting;	   /* there is something to write */
	struct log_file file;	   /* path: a copy */
	struct snapshot *snapshot; /* keeps the descriptor open; NULL: empty */
	char *p;
	size_t n, cap;
	uint64_t due_ms, complained_ms;
	bool complained;
};

static _Thread_local struct {
	bool ready;
	struct log_buf *buckets[BUCKETS];
	struct list now, later; /* log_bufs: to be written at the end of the turn; with buffer= */
	struct io_turn_end turn_end;
	struct timer timer;
	struct slab blocks;
} mine;

/* ---- writing ---- */

/* At most once a minute per file. */
static void complain(struct log_buf *b, int err, const char *what)
{
	uint64_t now = io_now_ms();

	if (b->complained && now - b->complained_ms < COMPLAIN_MS)
		return;
	b->complained = true;
	b->complained_ms = now;
	log_msg(NULL, LOG_ALERT, err, "write() to \"%.*s\" %s", SPAN_ARG(b->file.path), what);
}

static void write_all(struct log_buf *b, struct span s)
{
	while (s.n || MUTANT(empty_write)) {
		ssize_t n = sys->write(b->file.fd, s.p, s.n);

		if (n <= 0) {
			complain(b, n < 0 ? (int)-n : ENOSPC, "failed");
			return;
		}
		s = span_cut(s, (size_t)n, s.n);
	}
}

static voidpf zip_alloc(voidpf arg, uInt n, uInt size)
{
	return mem_alloc((size_t)n * size);
}

static void zip_free(voidpf arg, voidpf p)
{
	mem_free(p);
}

bool log_gzip(struct span text, int level, struct buf *out)
{
	z_stream z = {.zalloc = zip_alloc, .zfree = zip_free};
	int rc;

	if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	if (!buf_reserve(out, deflateBound(&z, text.n))) {
		deflateEnd(&z);
		return false;
	}
	z.next_in = (Bytef *)text.p;
	z.avail_in = (uInt)text.n;
	z.next_out = (Bytef *)out->p + out->len;
	z.avail_out = (uInt)(out->cap - out->len);
	rc = deflate(&z, Z_FINISH);
	out->len = out->cap - z.avail_out;
	deflateEnd(&z);
	return rc == Z_STREAM_END;
}

static void write_gzip(struct log_buf *b, struct span s)
{
	struct buf out;

	buf_init(&out, s.n + s.n / 8 + 4096);
	if (log_gzip(s, b->file.gzip, &out))
		write_all(b, buf_span(&out));
	else
		complain(b, ENOMEM, "failed");
	buf_fini(&out);
}

static void out(struct log_buf *b, struct span s)
{
	if (b->file.gzip)
		write_gzip(b, s);
	else
		write_all(b, s);
}

static void flush(struct log_buf *b)
{
	struct snapshot *s = b->snapshot;

	if (b->n)
		out(b, span_make(b->p, b->n));
	b->n = 0;
	list_del(&b->waiting);
	if (!b->file.buffer && b->p) {
		slab_give(&mine.blocks, b->p);
		b->p = NULL;
	}
	b->snapshot = NULL;
	if (s)
		snapshot_unref(s);
}

static void on_turn_end(struct io_turn_end *h)
{
	struct list *l;

	while ((l = list_take(&mine.now)))
		flush(CONTAINER_OF(l, struct log_buf, waiting));
}

/* ---- with buffer= ---- */

static void tick_start(void)
{
	uint64_t at = io_now_ms() + TICK_MS;
	struct list *l;

	list_each (l, &mine.later)
		at = MIN_OF(at, CONTAINER_OF(l, struct log_buf, waiting)->due_ms);
	if (!list_empty(&mine.later))
		timer_start(&co_sched.wheel, &mine.timer, at);
}

/* What a new configuration may have dropped is not kept waiting. */
static void on_tick(struct timer *t)
{
	struct list *l, *tmp;

	list_each_safe (l, tmp, &mine.later) {
		struct log_buf *b = CONTAINER_OF(l, struct log_buf, waiting);
		bool old = b->snapshot != snapshot_current();

		if (b->due_ms > io_now_ms() && !old)
			continue;
		flush(b);
		if (old) {
			mem_free(b->p);
			b->p = NULL;
		}
	}
	tick_start();
}

/* ---- adding ---- */

static void thread_ready(void)
{
	if (mine.ready)
		return;
	list_init(&mine.now);
	list_init(&mine.later);
	io_turn_end_init(&mine.turn_end, on_turn_end);
	timer_init(&mine.timer, on_tick);
	slab_init(&mine.blocks, BLOCK_SIZE, BLOCKS_KEPT);
	mine.ready = true;
}

static struct log_buf *buf_of(const struct log_file *f)
{
	struct log_buf **bucket = &mine.buckets[(unsigned)f->fd % BUCKETS], *b;

	for (b = *bucket; b; b = b->chain)
		if (b->file.fd == f->fd && b->file.buffer == f->buffer && b->file.gzip == f->gzip &&
		    b->file.flush_ms == f->flush_ms && span_eq(b->file.path, f->path))
			return b;
	b = mem_zalloc(sizeof(*b) + f->path.n);
	if (!b)
		return NULL;
	if (f->path.n)
		memcpy(b + 1, f->path.p, f->path.n);
	b->file = *f;
	b->file.path = span_make(b + 1, f->path.n);
	list_init(&b->waiting);
	b->chain = *bucket;
	*bucket = b;
	return b;
}

/* All threads write at the same moments, so that a file's lines come in bunches that belong
 * together. */
static uint64_t due_of(const struct log_file *f)
{
	uint64_t every = (uint64_t)f->flush_ms;

	return every ? (io_now_ms() / every + 1) * every : UINT64_MAX;
}

/* Memory for lines and a place in the queue. */
static bool buf_open(struct log_buf *b, struct snapshot *s)
{
	bool first = list_empty(&mine.later);

	if (!b->p) {
		b->cap = b->file.buffer ? b->file.buffer : BLOCK_SIZE;
		b->p = b->file.buffer ? mem_alloc(b->cap) : slab_take(&mine.blocks);
	}
	if (!b->p)
		return false;
	if (b->snapshot)
		return true;
	b->snapshot = snapshot_ref(s);
	if (!b->file.buffer) {
		list_push(&mine.now, &b->waiting);
		io_turn_end_arm(&mine.turn_end);
		return true;
	}
	b->due_ms = due_of(&b->file);
	list_push(&mine.later, &b->waiting);
	if (first || b->due_ms < mine.timer.at)
		tick_start();
	return true;
}

void log_file_add(const struct log_file *f, struct span line, struct snapshot *s)
{
	struct log_buf *b;

	if (f->fd < 0 || f->fd == OPENER_NO_FD)
		return;
	thread_ready();
	b = buf_of(f);
	if (!b)
		return;
	if (b->snapshot && line.n > b->cap - b->n) {
		out(b, span_make(b->p, b->n));
		b->n = 0;
	}
	if (!buf_open(b, s) || line.n > b->cap) {
		out(b, line);
		return;
	}
	memcpy(b->p + b->n, line.p, line.n);
	b->n += line.n;
}

void log_thread_flush(void)
{
	struct list *l;

	if (!mine.ready)
		return;
	while ((l = list_take(&mine.now)) || (l = list_take(&mine.later)))
		flush(CONTAINER_OF(l, struct log_buf, waiting));
}

void log_thread_stop(void)
{
	if (!mine.ready)
		return;
	timer_stop(&co_sched.wheel, &mine.timer);
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (mine.buckets[i]) {
			struct log_buf *b = mine.buckets[i];

			mine.buckets[i] = b->chain;
			flush(b);
			mem_free(b->p);
			mem_free(b);
		}
	}
	slab_fini(&mine.blocks);
	mine.ready = false;
}
