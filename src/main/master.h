/* The master: holds the sockets, the pid file and the privileges; starts the worker, replaces it
 * when it dies, and obeys signals. It serves nobody. */
#pragma once
#include "main/generation.h"

/* gen is taken over. ready_fd: told when the first worker serves; -1: nobody waits. inherited:
 * started by an old binary. Runs until told to end; the exit code. */
int master_run(const struct cmdline *cmd, struct generation *gen, int ready_fd, bool daemonized);
