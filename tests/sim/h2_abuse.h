/* Clients of HTTP/2 that break its rules or wear the worker out, byte by byte. What each does is in
 * a table with what must come of it: the connection ends, or its stream is reset and the connection
 * goes on. Nobody else may notice. */
#pragma once
#include "world.h"

struct abuse;
unsigned abuse_kinds(void);
/* nth: one of the table; begins so long after the worker serves. */
void abuse_start(unsigned nth, uint64_t after_us);
/* Connections, and streams that these may have open. */
unsigned abusers_connected(unsigned *streams);
