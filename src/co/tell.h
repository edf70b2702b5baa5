/* What the sanitizers and valgrind must be told when the stack changes under them. Without them
 * every function here is empty. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/bug.h"

#ifdef BUILT_WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef BUILT_WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define CO_VALGRIND 1
#endif

/* One per stack: a coroutine's, and the thread's own. */
struct co_tell {
#ifdef BUILT_WITH_ASAN
	void *fake;	/* ASan's fake stack while suspended */
	const void *lo; /* of the real one */
	size_t size;
#endif
#ifdef BUILT_WITH_TSAN
	void *fiber;
#endif
	char unused;
};

static inline void tell_thread_stack(struct co_tell *t)
{
	*t = (struct co_tell){.unused = 0};
#ifdef BUILT_WITH_TSAN
	t->fiber = __tsan_get_current_fiber();
#endif
}

static inline void tell_new(struct co_tell *t, void *lo, size_t size)
{
	*t = (struct co_tell){.unused = 0};
#ifdef BUILT_WITH_ASAN
	t->lo = lo;
	t->size = size;
#endif
#ifdef BUILT_WITH_TSAN
	t->fiber = __tsan_create_fiber(0);
#endif
}

/* The coroutine has returned; called on another stack. */
static inline void tell_free(struct co_tell *t)
{
#ifdef BUILT_WITH_TSAN
	__tsan_destroy_fiber(t->fiber);
#endif
}

/* Right before a switch; forever: `from` will not be come back to. */
static inline __attribute__((always_inline)) void tell_leave(struct co_tell *from,
							     struct co_tell *to, bool forever)
{
#ifdef BUILT_WITH_ASAN
	__sanitizer_start_switch_fiber(forever ? NULL : &from->fake, to->lo, to->size);
#endif
#ifdef BUILT_WITH_TSAN
	__tsan_switch_to_fiber(to->fiber, 0);
#endif
}

/* First thing on a stack after a switch to it; came_from learns its bounds. */
static inline __attribute__((always_inline)) void tell_arrive(struct co_tell *me,
							      struct co_tell *came_from)
{
#ifdef BUILT_WITH_ASAN
	const void *lo;
	size_t size;

	__sanitizer_finish_switch_fiber(me->fake, &lo, &size);
	me->fake = NULL;
	if (!came_from->lo) {
		came_from->lo = lo;
		came_from->size = size;
	}
#endif
}

/* The stack is idle: what its last frames left there may be read (census) and written again. */
static inline void tell_clean(void *lo, size_t size)
{
#ifdef CO_VALGRIND
	(void)VALGRIND_MAKE_MEM_DEFINED(lo, size);
#endif
#ifdef BUILT_WITH_ASAN
	__asan_unpoison_memory_region(lo, size);
#endif
}

static inline unsigned tell_mapped(void *lo, void *hi)
{
#ifdef CO_VALGRIND
	return (unsigned)VALGRIND_STACK_REGISTER(lo, hi);
#else
	return 0;
#endif
}

static inline void tell_unmapped(unsigned id)
{
#ifdef CO_VALGRIND
	VALGRIND_STACK_DEREGISTER(id);
#endif
}
