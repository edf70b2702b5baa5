/* Internal to io/. */
#pragma once

/* Drops the wall clock reading and the random state: a new loop begins on this thread. */
void io_clock_forget(void);
