/* Shared by the files of the master. */
#pragma once
#include "base/list.h"
#include "main/channel.h"
#include "main/generation.h"

struct worker_proc {
	struct list link;
	pid_t pid;
	struct channel channel;
	uint64_t started_ms;
	bool serving; /* it has answered that it serves */
	bool ending;  /* it was told to, or another took its place */
};

struct master {
	const struct cmdline *cmd;
	struct generation *gen;	 /* in use */
	struct generation *next; /* a reload under way: sent to a worker, not answered yet */
	struct worker_proc *next_worker; /* who is to serve it: `worker`, or a new one */
	struct list workers;		 /* struct worker_proc */
	struct worker_proc *worker;	 /* the one that serves; NULL: none now */
	int signal_fd, ready_fd;
	bool started; /* the first worker has served */
	bool failed;  /* the first worker could not */
	bool quitting, terminating, no_accept, reload_again, daemonized;
	uint64_t kill_at_ms;	/* terminating: when patience ends */
	uint64_t restart_at_ms; /* 0: no restart is due */
	unsigned quick_deaths;
	pid_t new_binary; /* 0: none */
	struct span pid_path, oldbin_path;
};

uint64_t master_now_ms(void);
/* After m->gen has changed. */
void master_set_paths(struct master *m);

/* master_worker.c */
/* Forks a worker for g. NULL: logged. */
struct worker_proc *worker_proc_start(struct master *m, struct generation *g);
/* Sends queued bytes, takes answers. */
void worker_proc_io(struct master *m, struct worker_proc *p);
/* Waits for ended children and does what follows. */
void master_reap(struct master *m);
/* Starts a worker for the configuration in use when one is due. */
void master_restart_worker(struct master *m);
void master_signal_workers(struct master *m, int signo);

/* master_reload.c */
void master_reload(struct master *m);
/* The reload's worker has answered (err empty: it serves), or died. */
void master_reload_done(struct master *m, struct span err);
void master_reopen(struct master *m);

/* upgrade.c */
void master_upgrade(struct master *m);
/* The new binary has ended. */
void master_upgrade_ended(struct master *m);
