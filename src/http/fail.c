#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/bug.h"
#include "base/pool.h"
#include "http/fail.h"

enum { C = 'C', S = 'S', U = 'U' };

struct fail_row {
	struct span upper, words;
	int status;
	unsigned next;
	char whose;
};

static const struct fail_row rows[FAIL_COUNT] = {
#define FAIL(name, words, whose, status, next)                                                     \
	{SPAN_INIT(#name), SPAN_INIT(words), status, next, whose},
#include "http/fail.def"
#undef FAIL
};

#define NAME_MAX_LEN 40
/* Lower-cased once at start: the rows are spelled in capitals. */
static char lower_names[FAIL_COUNT][NAME_MAX_LEN];

__attribute__((constructor)) static void fail_names_init(void)
{
	for (unsigned f = 1; f < FAIL_COUNT; f++) {
		BUG_ON(rows[f].upper.n >= NAME_MAX_LEN);
		for (size_t i = 0; i < rows[f].upper.n; i++)
			lower_names[f][i] = ascii_lower(rows[f].upper.p[i]);
	}
}

static const struct fail_row *fail_row(enum fail f)
{
	return &rows[(unsigned)f < FAIL_COUNT ? f : FAIL_INTERNAL];
}

struct span fail_name(enum fail f)
{
	const struct fail_row *row = fail_row(f);

	return f == FAIL_OK ? SPAN("") : span_make(lower_names[row - rows], row->upper.n);
}

struct span fail_words(enum fail f)
{
	return fail_row(f)->words;
}

char fail_whose(enum fail f)
{
	return fail_row(f)->whose;
}

int fail_status(enum fail f)
{
	return fail_row(f)->status;
}

unsigned fail_next_bit(enum fail f)
{
	return fail_row(f)->next;
}

/* What means the same on both sides; FAIL_COUNT: decided by the side. */
static enum fail fail_of_us(int err)
{
	switch (err) {
	case 0:
		return FAIL_OK;
	case -ECANCELED:
		return FAIL_CANCELLED;
	case -ENOMEM:
	case -ENOBUFS:
		return FAIL_NO_MEMORY;
	case -EMFILE:
	case -ENFILE:
		return FAIL_NO_DESCRIPTORS;
	default:
		return FAIL_COUNT;
	}
}

enum fail fail_of_client(int err, enum fail on_timeout)
{
	enum fail f = fail_of_us(err);

	if (f != FAIL_COUNT)
		return f;
	if (err == -ETIMEDOUT)
		return on_timeout;
	return err == -EPIPE ? FAIL_CLIENT_CLOSED : FAIL_CLIENT_RESET;
}

enum fail fail_of_upstream(int err, enum fail on_timeout, enum fail on_end)
{
	enum fail f;

	if (err == 0 || err == -EPIPE || err == -ECONNRESET)
		return on_end;
	f = fail_of_us(err);
	if (f != FAIL_COUNT)
		return f;
	if (err == -ETIMEDOUT)
		return on_timeout;
	/* connect() failures: their own reason, whatever the phase. */
	if (err == -ECONNREFUSED || err == -EHOSTUNREACH || err == -ENETUNREACH || err == -ENOENT ||
	    err == -EADDRNOTAVAIL || err == -EACCES)
		return FAIL_UPSTREAM_CONNECT;
	return FAIL_UPSTREAM_RESET;
}

/* One array per thread, written by its thread only, so that counting is a plain load and store. An
 * array outlives its thread: its counts stay in the sums. */
struct fail_counts {
	struct fail_counts *next;
	_Atomic uint64_t n[FAIL_COUNT];
};
static _Thread_local struct fail_counts *mine;
static struct fail_counts *_Atomic all;
static struct fail_counts spill; /* for threads that got no memory: counted with care */

static struct fail_counts *fail_counts_get(void)
{
	if (likely(mine != NULL))
		return mine;
	mine = mem_zalloc(sizeof(*mine));
	if (!mine)
		return NULL;
	mine->next = atomic_load(&all);
	while (!atomic_compare_exchange_weak(&all, &mine->next, mine))
		;
	return mine;
}

void fail_count(enum fail f)
{
	struct fail_counts *c = fail_counts_get();
	unsigned i = (unsigned)f < FAIL_COUNT ? f : FAIL_INTERNAL;

	if (likely(c != NULL))
		atomic_store_explicit(&c->n[i],
				      atomic_load_explicit(&c->n[i], memory_order_relaxed) + 1,
				      memory_order_relaxed);
	else
		atomic_fetch_add(&spill.n[i], 1);
}

void fail_counts_fini(void)
{
	struct fail_counts *c;

	while ((c = atomic_load(&all)) != NULL) {
		atomic_store(&all, c->next);
		mem_free(c);
	}
	mine = NULL;
}

uint64_t fail_total(enum fail f)
{
	unsigned i = (unsigned)f < FAIL_COUNT ? f : FAIL_INTERNAL;
	uint64_t sum = atomic_load_explicit(&spill.n[i], memory_order_relaxed);

	for (struct fail_counts *c = atomic_load(&all); c; c = c->next)
		sum += atomic_load_explicit(&c->n[i], memory_order_relaxed);
	return sum;
}
