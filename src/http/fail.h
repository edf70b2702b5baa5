/* Why a request, or an attempt at an upstream, ended otherwise than well: one row each in fail.def.
 */
#pragma once
#include <stdint.h>
#include "base/span.h"

/* Bits of proxy_next_upstream. */
enum {
	NEXT_ERROR = 1,
	NEXT_TIMEOUT = 2,
	NEXT_INVALID_HEADER = 4,
	NEXT_HTTP_500 = 8,
	NEXT_HTTP_502 = 16,
	NEXT_HTTP_503 = 32,
	NEXT_HTTP_504 = 64,
	NEXT_HTTP_403 = 128,
	NEXT_HTTP_404 = 256,
	NEXT_HTTP_429 = 512,
	NEXT_NON_IDEMPOTENT = 1024,
	NEXT_OFF = 2048,
};

enum [[nodiscard]] fail{
#define FAIL(name, words, whose, status, next) FAIL_##name,
#include "http/fail.def"
#undef FAIL
	FAIL_COUNT};

/* All of these are total over enum fail. */
struct span
fail_name(enum fail f); /* "upstream_connect": the value of $upstream_error; "" for OK */
struct span fail_words(enum fail f); /* for the operator, with the remedy */
char fail_whose(enum fail f);	     /* 'C', 'S', 'U' */
int fail_status(enum fail f);
unsigned fail_next_bit(enum fail f);
/* The one bridge from -errno of a client-side stream; what: FAIL_CLIENT_TIMEOUT_* to use for
 * -ETIMEDOUT. */
enum fail fail_of_client(int err, enum fail on_timeout);
/* The same for the upstream side; on_end: what -EPIPE/0/-ECONNRESET means in this phase. */
enum fail fail_of_upstream(int err, enum fail on_timeout, enum fail on_end);
/* Per-thread counters, one per reason; summed over threads on read. */
void fail_count(enum fail f);
uint64_t fail_total(enum fail f);
/* Frees the counters, the caller being the last thread (tests, the simulator). */
void fail_counts_fini(void);
