/* Before cmocka, whose fail() takes the name of an enum. */
#include "http/body.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/bug.h"

static struct arena arena;
static unsigned nclosed;

static int setup(void **state)
{
	arena_init(&arena, 1 << 20);
	nclosed = 0;
	return 0;
}

static int teardown(void **state)
{
	arena_fini(&arena);
	return 0;
}

static void count_close(struct body_file *f)
{
	nclosed++;
}

/* Memory and file pieces as one text; ends with '$' at last, with '!' on a failure. */
static void read_all(struct body *b, char *text, size_t size)
{
	struct piece p = {0};
	size_t at = 0;

	while (!p.last) {
		if (body_next(b, &p) != FAIL_OK) {
			text[at++] = '!';
			break;
		}
		assert_true(at + piece_len(&p) + 2 < size);
		if (p.kind == PIECE_FILE)
			assert_int_equal(pread(p.fd, text + at, p.len, p.off), p.len);
		else if (p.mem.n)
			memcpy(text + at, p.mem.p, p.mem.n);
		at += piece_len(&p);
		if (p.last)
			text[at++] = '$';
		assert_int_equal(p.last, b->done);
	}
	text[at] = '\0';
}

static int file_of(const char *text)
{
	FILE *f = tmpfile();
	int fd;

	assert_non_null(f);
	fputs(text, f);
	fflush(f);
	fd = dup(fileno(f));
	fclose(f);
	return fd;
}

static void spans(void **state)
{
	struct body_mem m;
	struct body *b = body_of_span(&m, SPAN("text"));
	char text[16];

	assert_int_equal(b->length, 4);
	assert_true(body_ready(b));
	read_all(b, text, sizeof(text));
	assert_string_equal(text, "text$");
	body_close(b);
	read_all(body_of_span(&m, SPAN("")), text, sizeof(text));
	assert_string_equal(text, "$");
	body_close(NULL);
}

static void files(void **state)
{
	int fd = file_of("0123456789");
	struct body_file f;
	char text[32];

	for (int accept = PIECE_MEM; accept <= (PIECE_MEM | PIECE_FILE); accept += PIECE_FILE) {
		struct body *b = body_of_file(&f, &arena, fd, 2, 5);

		f.on_close = count_close;
		b->accept = (uint8_t)accept;
		assert_int_equal(b->length, 5);
		read_all(b, text, sizeof(text));
		assert_string_equal(text, "23456$");
		body_close(b);
		b = body_of_file(&f, &arena, fd, 10, 0);
		b->accept = (uint8_t)accept;
		read_all(b, text, sizeof(text));
		assert_string_equal(text, "$");
		body_close(b);
	}
	assert_int_equal(nclosed, 2);
	/* Truncated since its length was told. */
	read_all(body_of_file(&f, &arena, fd, 8, 5), text, sizeof(text));
	assert_string_equal(text, "89!");
	close(fd);
}

static void long_files_come_in_pieces(void **state)
{
	static char big[100001];
	struct body_file f;
	struct piece p;
	struct body *b;
	size_t sum = 0;
	int fd;

	memset(big, 'x', sizeof(big) - 1);
	fd = file_of(big);
	b = body_of_file(&f, &arena, fd, 0, sizeof(big) - 1);
	do {
		assert_int_equal(body_next(b, &p), FAIL_OK);
		assert_true(p.kind == PIECE_MEM && p.mem.n > 0);
		sum += p.mem.n;
	} while (!p.last);
	assert_int_equal(sum, sizeof(big) - 1);
	close(fd);
}

static void draining(void **state)
{
	struct body_mem m;
	struct body *b = body_of_span(&m, SPAN("1234567890"));

	assert_int_equal(body_drain(b, 10), FAIL_OK);
	assert_true(b->done);
	assert_int_equal(body_drain(b, 10), FAIL_OK);
	assert_int_equal(body_drain(body_of_span(&m, SPAN("1234567890")), 9), FAIL_BODY_TOO_LARGE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(spans),
		T(files),
		T(long_files_come_in_pieces),
		T(draining),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
