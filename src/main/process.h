/* What a process does to itself: descriptors, daemon, limits, privileges. Start-up code. */
#pragma once
#include <signal.h>
#include "main/core_main.h"

/* Opens /dev/null for those of 0-2 that are closed, so that nothing else gets their numbers. */
void process_fill_std(void);
/* Blocks the signals that are read from a signalfd, and makes one. fd or -errno. */
int process_signalfd(void);
/* "SIGHUP" for 1, or "signal". */
const char *process_signal_name(int signo);

/* Leaves the terminal. Returns 0 in the daemon with *ready_fd to be told when it serves (write a
 * byte and close; closing alone means failure); the process that was started waits for that and
 * exits. -errno on failure. */
int process_daemon(int *ready_fd);

/* In a worker before it starts: limits, priority, user, directory, environment; no new privileges
 * from here on. 0 or -errno, logged. */
int process_confine(const struct settings *s, struct arena *a);
/* The limits alone: for a process that is master and worker in one. */
void process_limits(const struct settings *s);
/* Ends this process when its parent, master, ends. False: it has already. */
bool process_die_with(pid_t master);
/* Processors of the calling thread, by worker_cpu_affinity. */
void process_thread_affinity(const struct settings *s, unsigned thread);
/* The calling thread may run on all that the process has. */
void process_any_processor(void);
