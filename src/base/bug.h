/* Assertions that stay on in production (DESIGN section 5).
 *
 * BUG_ON(cond) states what must never be. When it is, the process prints the place to stderr and
 * the error log's descriptor and aborts; the master starts another. Use it for our own mistakes
 * only: bad input and failing systems are errors that a request survives. */
#pragma once

[[noreturn]] void bug_report(const char *file, int line, const char *cond);

#define BUG_ON(cond)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!!(cond), 0))                                                 \
			bug_report(__FILE__, __LINE__, #cond);                                     \
	} while (0)

#define likely(x)      __builtin_expect(!!(x), 1)
#define unlikely(x)    __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a)   (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b)   ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b)   ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
