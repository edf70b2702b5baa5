/* Numbers that every thread of the worker changes, a server's connections in use for one. A worker
 * with a single thread, nginx's default, is spared the locked instructions: they wait for all the
 * stores before them, and a request has five. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include "base/bug.h"

/* Whether nobody else is there. Written before the threads start and never after; false if nobody
 * says. */
extern bool shared_alone;

/* Adds, and returns what it was before. What this thread did comes before it, what it does next
 * after it: who finds the last reference gone may free. */
#define SHARED_ADD(p, n)                                                                           \
	({                                                                                         \
		__typeof__(p) shared_p = (p);                                                      \
		__typeof__(atomic_load_explicit(shared_p, memory_order_relaxed)) shared_was;       \
                                                                                                   \
		if (likely(shared_alone)) {                                                        \
			shared_was = atomic_load_explicit(shared_p, memory_order_relaxed);         \
			atomic_store_explicit(shared_p, shared_was + (n), memory_order_relaxed);   \
		} else {                                                                           \
			shared_was =                                                               \
				atomic_fetch_add_explicit(shared_p, (n), memory_order_acq_rel);    \
		}                                                                                  \
		shared_was;                                                                        \
	})
