/* The directives of the main and events contexts, and the process settings made of them.
 *
 * struct main_conf lives in a snapshot. struct settings is its flat copy for the process: made once
 * per load, by whoever starts or keeps a worker, in that one's own arena. */
#pragma once
#include <sched.h>
#include "base/buf.h"
#include "conf/conf.h"

struct env_entry {
	struct span name, value;
	bool has_value; /* NAME=VALUE; else taken from the environment */
};

struct events_conf {
	int64_t worker_connections; /* 0: auto */
	int64_t epoll_events, aio_requests, accept_mutex_delay;
	bool multi_accept, accept_mutex;
};

struct main_conf {
	bool daemon, master_process, sandbox;
	int64_t worker_processes; /* 0: auto */
	int64_t worker_priority;
	int64_t rlimit_nofile, rlimit_core; /* -1: not set */
	int64_t shutdown_timeout;	    /* ms; 0: none */
	int64_t timer_resolution;
	int debug_points;
	struct span pid, lock_file, working_directory;
	struct span user;
	uid_t uid;
	gid_t gid;
	bool user_given;
	bool affinity_auto;
	cpu_set_t *affinity;
	size_t naffinity, affinity_cap; /* masks in order of threads; the last one repeats */
	struct env_entry *env;
	size_t nenv, env_cap;
	bool has_events;
	struct events_conf events;
};
extern struct conf_mod core_main_mod;

struct settings {
	bool daemon, master_process, sandbox, user_given, affinity_auto, net_raw;
	unsigned nthreads;
	unsigned connections; /* ceiling over all threads */
	int priority;
	int64_t rlimit_nofile, rlimit_core, shutdown_timeout_ms;
	uid_t uid;
	gid_t gid;
	struct span user, pid, working_directory; /* absolute paths; zero-terminated */
	cpu_set_t *affinity;
	size_t naffinity;
	struct env_entry *env;
	size_t nenv;
	struct span identity; /* of what only a new worker process can change: equal texts, equal
				 settings */
};

struct snapshot;
/* The settings of a loaded configuration, in a. prefix: with '/'. NULL: no memory. */
struct settings *settings_new(struct arena *a, const struct snapshot *snapshot, struct span prefix);
/* How many threads `worker_processes auto` means: allowed processors, at most what the cgroup
 * grants. */
unsigned settings_auto_threads(void);
/* The environment of a worker: TZ and what `env` names; made in a, ends with NULL. */
char **settings_environ(const struct settings *s, struct arena *a, char *const *from);
