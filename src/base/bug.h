/* Assertions that stay on in production (DESIGN section 5).
 *
 * BUG_ON(cond) states what must never be. When it is, the process prints the place to stderr and
 * the error log's descriptor and aborts; the master starts another. Use it for our own mistakes
 * only: bad input and failing systems are errors that a request survives. */
#pragma once

/* Set when this build runs under AddressSanitizer or ThreadSanitizer, with either compiler. */
#if defined(__SANITIZE_ADDRESS__)
#define BUILT_WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BUILT_WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define BUILT_WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BUILT_WITH_TSAN 1
#endif
#endif

/* The error log's descriptor, set by main/; -1: none but stderr. */
extern int bug_log_fd;
__attribute__((noreturn)) void bug_report(const char *file, int line, const char *cond);

#define BUG_ON(cond)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!!(cond), 0))                                                 \
			bug_report(__FILE__, __LINE__, #cond);                                     \
	} while (0)

#define likely(x)			__builtin_expect(!!(x), 1)
#define unlikely(x)			__builtin_expect(!!(x), 0)
#define ARRAY_LEN(a)			(sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b)			((a) < (b) ? (a) : (b))
#define MAX_OF(a, b)			((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define PRINTF_LIKE(fmt, args)		__attribute__((format(printf, fmt, args)))
