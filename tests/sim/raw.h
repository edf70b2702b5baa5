/* Servers that CONNECT leads to: one for each request of that kind, at a port of its own, so that
 * it knows whose bytes it gets before there are any. It speaks at once, like many do. */
#pragma once
#include "ask.h"

/* Listens for this one. */
void raw_listen(struct ask *a);
unsigned raws_connected(void);
void raws_close(void);
