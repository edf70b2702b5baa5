/* The buffered body against a fake source and a reader that stalls when told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "io/loop.h"
#include "proxy/buffered.h"
#include <cmocka.h>
#undef fail

#define PIECE 3000

/* Gives `total` bytes of a known pattern in pieces that are scribbled over at the next call, as a
 * read buffer is. */
struct source {
	struct body body;
	int64_t total, given;
	int64_t fail_at; /* -1: never */
	unsigned nap_ms; /* before each piece */
	int pipe[2];	 /* pieces come in a pipe when the reader takes them */
	bool closed;
	char buf[PIECE];
};

static char pattern(int64_t i)
{
	return (char)(i * 31 + (i >> 8) * 7);
}

static enum fail source_next(struct body *body, struct piece *out)
{
	struct source *s = CONTAINER_OF(body, struct source, body);
	size_t n = (size_t)MIN_OF(s->total - s->given, PIECE);

	assert_false(body->done);
	memset(s->buf, 'x', sizeof(s->buf));
	if (s->nap_ms && co_sleep_until(io_now_ms() + s->nap_ms) == -ECANCELED)
		return FAIL_CANCELLED;
	if (s->fail_at >= 0 && s->given >= s->fail_at)
		return FAIL_UPSTREAM_TRUNCATED;
	for (size_t i = 0; i < n; i++)
		s->buf[i] = pattern(s->given + (int64_t)i);
	s->given += (int64_t)n;
	*out = (struct piece){.kind = PIECE_MEM, .mem = {s->buf, n}, .last = s->given == s->total};
	if (body->accept & PIECE_PIPE) {
		assert_int_equal(write(s->pipe[1], s->buf, n), n);
		out->kind = PIECE_PIPE;
		out->fd = s->pipe[0];
		out->len = n;
	}
	body->done = out->last;
	return FAIL_OK;
}

static void source_close(struct body *body)
{
	struct source *s = CONTAINER_OF(body, struct source, body);

	assert_false(s->closed);
	s->closed = true;
}

static const struct body_ops source_ops = {.next = source_next, .close = source_close};

struct run {
	struct source src;
	struct buffered b;
	struct buffered_conf conf;
	bool stall_always, stall_once, take_files, take_pipes, stop_early;
	unsigned reader_ms; /* the stalled reader sleeps that long per piece */
	int64_t read;
	int64_t source_ahead; /* the most that the source had given and the reader had not */
	enum fail end;
	bool finished;
	unsigned failed_calls, closed_calls;
};

static void on_failed(void *arg, enum fail f)
{
	((struct run *)arg)->failed_calls++;
}

static void on_closed(void *arg)
{
	((struct run *)arg)->closed_calls++;
}

static void check_bytes(struct run *r, const struct piece *p)
{
	static char copy[1 << 20];
	size_t n = piece_len(p);
	const char *at = p->mem.p;

	if (p->kind == PIECE_FILE) {
		assert_int_equal(pread(p->fd, copy, n, p->off), n);
		at = copy;
	} else if (p->kind == PIECE_PIPE) {
		assert_int_equal(read(p->fd, copy, n), n);
		at = copy;
	}
	for (size_t i = 0; i < n; i++)
		if (at[i] != pattern(r->read + (int64_t)i))
			assert_int_equal(r->read + (int64_t)i, -1); /* the first wrong byte */
	r->read += (int64_t)n;
}

static void reader(void *arg)
{
	struct run *r = arg;
	struct body *b = buffered_init(&r->b, &r->src.body, &r->conf);
	struct piece p = {0};

	r->b.failed = on_failed;
	r->b.closed = on_closed;
	r->b.arg = r;
	b->accept = PIECE_MEM | (r->take_files ? PIECE_FILE : 0) | (r->take_pipes ? PIECE_PIPE : 0);
	while (!p.last) {
		r->end = body_next(b, &p);
		if (r->end != FAIL_OK)
			break;
		if (r->stall_always || (r->stall_once && r->read == 0)) {
			body_stalled(b, &p);
			co_sleep_until(io_now_ms() + r->reader_ms);
			r->source_ahead = MAX_OF(r->source_ahead, r->src.given - r->read);
		}
		check_bytes(r, &p);
		if (r->stop_early && r->read > 0)
			break;
	}
	body_close(b);
	r->finished = true;
}

static void run_it(struct run *r)
{
	r->src.body =
		(struct body){.ops = &source_ops, .length = r->src.total, .accept = PIECE_MEM};
	if (!r->src.fail_at)
		r->src.fail_at = -1;
	if (!r->conf.block)
		r->conf.block = 4096;
	r->conf.temp_path = SPAN("/tmp");
	assert_int_equal(pipe(r->src.pipe), 0);
	assert_int_equal(co_start(reader, r), 0);
	for (int i = 0; i < 100000 && !r->finished; i++)
		io_loop_turn(20);
	assert_true(r->finished);
	assert_true(r->src.closed);
	assert_int_equal(r->closed_calls, 1);
	assert_int_equal(co_sched.live, 0);
	assert_int_equal(r->b.in_memory, 0);
	close(r->src.pipe[0]);
	close(r->src.pipe[1]);
}

static void passes_through(void **state)
{
	struct run r = {.src.total = 100000, .conf.memory = 8192};

	run_it(&r);
	assert_int_equal(r.read, 100000);
	assert_int_equal(r.b.fd, -1);
}

static void a_stalled_reader_frees_the_source_into_memory(void **state)
{
	struct run r = {
		.src.total = 20000, .conf.memory = 65536, .stall_once = true, .reader_ms = 30};

	run_it(&r);
	assert_int_equal(r.read, 20000);
	assert_int_equal(r.source_ahead, 20000);
}

static void and_into_a_file(void **state)
{
	struct run r = {.src.total = 300000,
			.conf = {.memory = 8192, .file = 1 << 20},
			.stall_once = true,
			.reader_ms = 60};

	run_it(&r);
	assert_int_equal(r.read, 300000);
	assert_int_equal(r.source_ahead, 300000);
	r = (struct run){.src.total = 300000,
			 .conf = {.memory = 8192, .file = 1 << 20},
			 .stall_once = true,
			 .reader_ms = 60,
			 .take_files = true};
	run_it(&r);
	assert_int_equal(r.read, 300000);
}

static void beyond_the_limits_the_source_waits(void **state)
{
	struct run r = {.src.total = 200000,
			.conf = {.memory = 8192, .file = 20000},
			.stall_always = true,
			.reader_ms = 2};

	run_it(&r);
	assert_int_equal(r.read, 200000);
	assert_true(r.source_ahead <= 8192 + 20000 + 3 * PIECE + 4096);
	r = (struct run){.src.total = 200000,
			 .conf = {.memory = 8192, .file = 0},
			 .stall_always = true,
			 .reader_ms = 2};
	run_it(&r);
	assert_int_equal(r.read, 200000);
	assert_int_equal(r.b.fd, -1);
	assert_true(r.source_ahead <= 8192 + 3 * PIECE + 4096);
}

static void pipes_are_drained(void **state)
{
	struct run r = {.src.total = 200000,
			.conf = {.memory = 8192, .file = 100000},
			.stall_always = true,
			.reader_ms = 1,
			.take_pipes = true,
			.take_files = true};

	run_it(&r);
	assert_int_equal(r.read, 200000);
}

/* A slow source and a reader that catches up again and again: pieces go over as they are. */
static void a_reader_that_catches_up_gets_pieces_directly(void **state)
{
	struct run r = {.src = {.total = 60000, .nap_ms = 2},
			.conf = {.memory = 8192},
			.stall_always = true};

	run_it(&r);
	assert_int_equal(r.read, 60000);
}

static void failures_come_after_what_was_stored(void **state)
{
	struct run r = {.src = {.total = 100000, .fail_at = 30000},
			.conf = {.memory = 65536},
			.stall_once = true,
			.reader_ms = 20};

	run_it(&r);
	assert_int_equal(r.end, FAIL_UPSTREAM_TRUNCATED);
	assert_int_equal(r.read, 30000);
	assert_int_equal(r.failed_calls, 1);
}

static void closing_early_stops_the_filler(void **state)
{
	struct run r = {.src = {.total = 1000000, .nap_ms = 5},
			.conf = {.memory = 8192},
			.stall_once = true,
			.reader_ms = 12,
			.stop_early = true};

	run_it(&r);
	assert_true(r.src.given < 1000000);
}

static void off_means_no_filler(void **state)
{
	struct run r = {.src.total = 60000,
			.conf = {.memory = 65536, .off = true},
			.stall_always = true,
			.reader_ms = 1};

	run_it(&r);
	assert_int_equal(r.read, 60000);
	assert_true(r.source_ahead <= PIECE);
}

static void the_rate_is_kept(void **state)
{
	struct run r = {.src.total = 30000, .conf = {.memory = 65536, .rate = 20000}};
	uint64_t began;

	io_loop_turn(0);
	began = io_now_ms();
	run_it(&r);
	assert_int_equal(r.read, 30000);
	assert_true(io_now_ms() - began >= 900);
}

static int setup(void **state)
{
	return io_loop_init(0);
}

static int teardown(void **state)
{
	io_loop_fini();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_through),
		cmocka_unit_test(a_stalled_reader_frees_the_source_into_memory),
		cmocka_unit_test(and_into_a_file),
		cmocka_unit_test(beyond_the_limits_the_source_waits),
		cmocka_unit_test(pipes_are_drained),
		cmocka_unit_test(a_reader_that_catches_up_gets_pieces_directly),
		cmocka_unit_test(failures_come_after_what_was_stored),
		cmocka_unit_test(closing_early_stops_the_filler),
		cmocka_unit_test(off_means_no_filler),
		cmocka_unit_test(the_rate_is_kept),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
