/* The file with the master's number, and signals to whoever wrote it. Paths have a zero behind
 * them. */
#pragma once
#include <sys/types.h>
#include "base/span.h"

/* 0 or -errno, logged. */
int pidfile_write(struct span path);
/* -t: could it be written? Leaves nothing behind. 0 or -errno, logged. */
int pidfile_check(struct span path);
/* The number in it, or -errno; -EINVAL logged as nginx does. */
pid_t pidfile_read(struct span path);
