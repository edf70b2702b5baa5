/* Pages of zeroes, one at a time: for tables that a library makes large and that are empty while
 * nothing happens. An empty one costs no memory after page_forget, which is only asked for when it
 * holds nothing but zeroes, so nobody can tell.
 *
 * Per thread: a page goes back on the thread that took it. In the simulator's build and under ASan
 * each page is an ordinary allocation, and forgetting does nothing. */
#pragma once
#include <stdbool.h>

#define PAGE_BYTES 4096 /* of ours: a multiple of it is the system's */

/* Zeroes. NULL: no memory. */
void *page_take(void);
void page_give(void *p);
/* If it is all zeroes, the system may have its memory until it is written to again. True: done. */
bool page_forget(void *p);
/* At the end of a thread: gives back what nobody has. */
void page_thread_fini(void);
