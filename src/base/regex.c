#define PCRE2_CODE_UNIT_WIDTH 8
#include <limits.h>
#include <pcre2.h>
#include <stdio.h>
#include "base/bug.h"
#include "base/pool.h"
#include "base/regex.h"

#define MATCH_LIMIT	1000000 /* backtracking steps */
#define DEPTH_LIMIT	50000
#define HEAP_LIMIT	2048 /* KiB, without JIT */
#define JIT_STACK_START (32 * 1024)
#define JIT_STACK_MAX	(512 * 1024)

struct regex {
	pcre2_code *code;
	pcre2_general_context *memory;
	unsigned ncaptures, nnames, name_size;
	const unsigned char *names;
};

_Atomic uint64_t regex_errors;

/* What a thread needs for matching: made on first use, shared by all expressions. */
static _Thread_local struct {
	pcre2_general_context *memory;
	pcre2_match_context *match;
	pcre2_match_data *data;
	pcre2_jit_stack *stack;
} mine;

static void *regex_alloc(size_t n, void *unused)
{
	return mem_alloc(n);
}

static void regex_release(void *p, void *unused)
{
	mem_free(p);
}

/* ---- compiling ---- */

static void explain(char *err, size_t size, size_t *err_at, int code, size_t at)
{
	if (size && pcre2_get_error_message(code, (PCRE2_UCHAR *)err, size) < 0 && err[0] == 0)
		snprintf(err, size, "error %d", code);
	if (err_at)
		*err_at = at;
}

static void read_info(struct regex *re)
{
	uint32_t n = 0, names = 0, size = 0;

	pcre2_pattern_info(re->code, PCRE2_INFO_CAPTURECOUNT, &n);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMECOUNT, &names);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMEENTRYSIZE, &size);
	pcre2_pattern_info(re->code, PCRE2_INFO_NAMETABLE, &re->names);
	re->ncaptures = n;
	re->nnames = names;
	re->name_size = size;
}

struct regex *regex_new(struct span text, bool nocase, char *err, size_t size, size_t *err_at)
{
	struct regex *re = mem_zalloc(sizeof(*re));
	pcre2_compile_context *cc = NULL;
	PCRE2_SIZE at = 0;
	int code = PCRE2_ERROR_NOMEMORY;

	if (size)
		err[0] = 0;
	if (re)
		re->memory = pcre2_general_context_create(regex_alloc, regex_release, NULL);
	if (re && re->memory)
		cc = pcre2_compile_context_create(re->memory);
	if (cc) {
		re->code = pcre2_compile((PCRE2_SPTR)(text.p ? text.p : ""), text.n,
					 nocase ? PCRE2_CASELESS : 0, &code, &at, cc);
		pcre2_compile_context_free(cc);
	}
	if (!re || !re->code) {
		explain(err, size, err_at, code, at);
		regex_free(re);
		return NULL;
	}
	read_info(re);
	if (re->ncaptures >= REGEX_MAX_CAPTURES) {
		snprintf(err, size, "more than %d captures", REGEX_MAX_CAPTURES - 1);
		if (err_at)
			*err_at = 0;
		regex_free(re);
		return NULL;
	}
	pcre2_jit_compile(re->code,
			  PCRE2_JIT_COMPLETE); /* when it cannot, the interpreter matches */
	return re;
}

void regex_free(struct regex *re)
{
	if (!re)
		return;
	pcre2_code_free(re->code);
	pcre2_general_context_free(re->memory);
	mem_free(re);
}

unsigned regex_captures(const struct regex *re)
{
	return re->ncaptures;
}

bool regex_name_at(const struct regex *re, unsigned i, struct span *name, unsigned *number)
{
	const unsigned char *entry = re->names + (size_t)i * re->name_size;

	if (i >= re->nnames)
		return false;
	*number = (unsigned)entry[0] << 8 | entry[1];
	*name = span_of((const char *)entry + 2);
	return true;
}

/* ---- matching ---- */

static bool thread_init(void)
{
	if (mine.stack)
		return true;
	if (!mine.memory)
		mine.memory = pcre2_general_context_create(regex_alloc, regex_release, NULL);
	if (mine.memory && !mine.match)
		mine.match = pcre2_match_context_create(mine.memory);
	if (mine.memory && !mine.data)
		mine.data = pcre2_match_data_create(REGEX_MAX_CAPTURES, mine.memory);
	if (!mine.match || !mine.data)
		return false;
	mine.stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, mine.memory);
	if (!mine.stack)
		return false;
	pcre2_jit_stack_assign(mine.match, NULL, mine.stack);
	pcre2_set_match_limit(mine.match, MATCH_LIMIT);
	pcre2_set_depth_limit(mine.match, DEPTH_LIMIT);
	pcre2_set_heap_limit(mine.match, HEAP_LIMIT);
	return true;
}

void regex_thread_fini(void)
{
	pcre2_jit_stack_free(mine.stack);
	pcre2_match_data_free(mine.data);
	pcre2_match_context_free(mine.match);
	pcre2_general_context_free(mine.memory);
	mine.stack = NULL;
	mine.data = NULL;
	mine.match = NULL;
	mine.memory = NULL;
}

static int offset_of(PCRE2_SIZE at)
{
	return at == PCRE2_UNSET ? -1 : (int)at;
}

int regex_match(const struct regex *re, struct span subject, int *caps, int max)
{
	const PCRE2_SIZE *ends;
	int n;

	if (subject.n > INT_MAX || !thread_init()) {
		atomic_fetch_add_explicit(&regex_errors, 1, memory_order_relaxed);
		return 0;
	}
	n = pcre2_match(re->code, (PCRE2_SPTR)(subject.p ? subject.p : ""), subject.n, 0, 0,
			mine.data, mine.match);
	if (n < 0) {
		if (n != PCRE2_ERROR_NOMATCH)
			atomic_fetch_add_explicit(&regex_errors, 1, memory_order_relaxed);
		return 0;
	}
	BUG_ON(n == 0); /* the match data has room for all captures there can be */
	n = MIN_OF((int)re->ncaptures + 1, max);
	ends = pcre2_get_ovector_pointer(mine.data);
	for (int i = 0; i < n; i++) {
		caps[2 * i] = offset_of(ends[2 * i]);
		caps[2 * i + 1] = offset_of(ends[2 * i + 1]);
		if (caps[2 * i] > caps[2 * i + 1]) /* \K in a lookahead can do that */
			caps[2 * i] = caps[2 * i + 1];
	}
	return MAX_OF(n, 1);
}
