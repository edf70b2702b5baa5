/* The process that serves: one thread per core. Under a master it gets its configuration as
 * bundles; alone (master_process off) it opens for itself. */
#pragma once
#include "main/generation.h"

struct worker_args {
	const struct cmdline *cmd;
	struct generation *gen; /* taken over */
	int channel;		/* to the master; -1: alone */
	pid_t master;
	int ready_fd; /* alone: told when it serves; -1: nobody waits */
};

/* Runs until told to end. The exit code. */
int worker_run(const struct worker_args *args);
