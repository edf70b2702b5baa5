/* Pages of zeroes, one at a time: for tables that a library makes large and that are empty while
 * nothing happens. An empty one costs no memory after page_forget, which is only asked for when it
 * holds nothing but zeroes, so nobody can tell.
 *
 * Per thread: a page goes back on the thread that took it. In the simulator's build and under ASan
 * each page is an ordinary allocation, forgetting does nothing, and a packed page holds rubbish. */
#pragma once
#include <stdbool.h>

#define PAGE_BYTES 4096 /* of ours: a multiple of it is the system's */

/* Zeroes. NULL: no memory. */
void *page_take(void);
void page_give(void *p);
/* If it is all zeroes, the system may have its memory until it is written to again. True: done. */
bool page_forget(void *p);
/* A page that is not all zeroes, but mostly: keeps what is not in a block of memory of its own and
 * gives the page's to the system. NULL: it stays as it is (no memory, or too full). Nobody may look
 * at the page until page_unpack has put back what was there and freed the block; that cannot
 * fail. */
struct page_pack;
struct page_pack *page_pack(void *p);
void page_unpack(void *p, struct page_pack *pack);
/* At the end of a thread: gives back what nobody has. */
void page_thread_fini(void);
