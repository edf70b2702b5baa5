/* What a process that serves can never do, whoever gets hold of it: start programs, look into other
 * processes, change mounts, names, clocks, users or the kernel. A list of what is refused (EPERM),
 * not of what is allowed: libraries and new kernels find new ways to do harmless things. */
#pragma once
#include <stdbool.h>

/* For all threads of the process, and those to come; cannot be undone. Call it when users
 * are changed and before threads are started. False: this build or kernel has no such filter. Under
 * the sanitizers, programs (their symbolizer) and ptrace (their search for leaks) stay allowed. */
bool sandbox_enter(void);
