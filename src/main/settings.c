/* From the main context to what a process needs to know. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "conf/snapshot.h"
#include "main/core_main.h"

#define RESERVED_FILES 64 /* logs, listening sockets, loops */

/* ---- how many threads ---- */

static bool read_line(const char *path, char *p, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(p, (int)size, f);

	if (f)
		fclose(f);
	return ok;
}

/* The folder of this process in the unified hierarchy, or "" (its root as the process sees it). */
static void cgroup_dir(char *p, size_t size)
{
	char line[PATH_MAX];
	FILE *f = fopen("/proc/self/cgroup", "re");

	p[0] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "0::/", 4) == 0) {
			line[strcspn(line, "\n")] = 0;
			snprintf(p, size, "%s", strcmp(line + 3, "/") == 0 ? "" : line + 3);
		}
	}
	if (f)
		fclose(f);
}

/* cpu.max of one folder, in processors rounded up; 0: no limit. */
static unsigned quota_of(const char *dir)
{
	char path[PATH_MAX + 32], line[128];
	unsigned long long quota, period;

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", dir);
	if (!read_line(path, line, sizeof(line)) ||
	    sscanf(line, "%llu %llu", &quota, &period) != 2 || period == 0)
		return 0;
	return (unsigned)MAX_OF((quota + period - 1) / period, 1);
}

/* The first hierarchy of cgroups. */
static unsigned quota_v1(void)
{
	char line[64];
	long quota, period;

	if (!read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", line, sizeof(line)))
		return 0;
	quota = atol(line);
	if (quota <= 0 || !read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", line, sizeof(line)))
		return 0;
	period = atol(line);
	return period > 0 ? (unsigned)MAX_OF((quota + period - 1) / period, 1) : 0;
}

unsigned settings_auto_threads(void)
{
	unsigned n = 1, q = quota_v1();
	char dir[PATH_MAX];
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = (unsigned)MAX_OF(CPU_COUNT(&set), 1);
	if (q && q < n)
		n = q;
	cgroup_dir(dir, sizeof(dir));
	for (;;) { /* every folder above may limit too */
		char *slash;

		q = quota_of(dir);
		if (q && q < n)
			n = q;
		slash = strrchr(dir, '/');
		if (!slash)
			break;
		*slash = 0;
	}
	return MIN_OF(n, THREADS_MAX);
}

/* ---- settings ---- */

static unsigned connections_of(const struct main_conf *m, unsigned nthreads)
{
	struct rlimit rl = {.rlim_max = 1024};
	uint64_t n;

	if (m->events.worker_connections)
		return (unsigned)MIN_OF((uint64_t)m->events.worker_connections * nthreads,
					UINT32_MAX);
	getrlimit(RLIMIT_NOFILE, &rl);
	n = m->rlimit_nofile > 0 ? (uint64_t)m->rlimit_nofile : rl.rlim_max;
	n = MIN_OF(n, 1u << 24);
	/* A proxied connection has two descriptors. */
	return n > 2 * RESERVED_FILES ? (unsigned)((n - RESERVED_FILES) / 2) : 32;
}

static struct span identity_of(struct arena *a, const struct settings *s)
{
	struct span out = {0};
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_printf(&b,
		   "threads %u user %u:%u nofile %lld core %lld priority %d dir %.*s auto %d raw "
		   "%d sandbox %d",
		   s->nthreads, s->uid, s->gid, (long long)s->rlimit_nofile,
		   (long long)s->rlimit_core, s->priority, SPAN_ARG(s->working_directory),
		   s->affinity_auto, s->net_raw, s->sandbox);
	for (size_t i = 0; i < s->naffinity; i++)
		buf_add(&b, &s->affinity[i], sizeof(s->affinity[i]));
	for (size_t i = 0; i < s->nenv; i++)
		buf_printf(&b, " %.*s%c%.*s", SPAN_ARG(s->env[i].name),
			   s->env[i].has_value ? '=' : ' ', SPAN_ARG(s->env[i].value));
	if (!b.failed)
		out = arena_dup(a, buf_span(&b));
	buf_fini(&b);
	return out;
}

static bool copy_env(struct settings *s, struct arena *a, const struct main_conf *m)
{
	s->env = arena_alloc(a, m->nenv * sizeof(*s->env));
	if (!s->env)
		return false;
	for (size_t i = 0; i < m->nenv; i++) {
		s->env[i] = m->env[i];
		s->env[i].name = arena_dup(a, m->env[i].name);
		s->env[i].value = arena_dup(a, m->env[i].value);
		if (!s->env[i].name.p || !s->env[i].value.p)
			return false;
	}
	s->nenv = m->nenv;
	return true;
}

static struct span absolute(struct arena *a, struct span prefix, struct span path)
{
	if (path.n == 0 || path.p[0] == '/')
		return arena_dup(a, path);
	return arena_printf(a, "%.*s%.*s", SPAN_ARG(prefix), SPAN_ARG(path));
}

struct settings *settings_new(struct arena *a, const struct snapshot *snapshot, struct span prefix)
{
	const struct main_conf *m = conf_get(snapshot->main, &core_main_mod);
	struct settings *s = arena_zalloc(a, sizeof(*s));

	if (!s)
		return NULL;
	s->daemon = m->daemon;
	s->master_process = m->master_process;
	s->user_given = m->user_given;
	s->affinity_auto = m->affinity_auto;
	s->net_raw = snapshot->net_raw;
	s->nthreads = m->worker_processes ? (unsigned)m->worker_processes : settings_auto_threads();
	s->connections = connections_of(m, s->nthreads);
	s->priority = (int)m->worker_priority;
	s->rlimit_nofile = m->rlimit_nofile;
	s->rlimit_core = m->rlimit_core;
	s->sandbox = m->sandbox;
	s->shutdown_timeout_ms = m->shutdown_timeout;
	s->uid = m->uid;
	s->gid = m->gid;
	s->user = arena_dup(a, m->user);
	s->pid = absolute(a, prefix, m->pid);
	s->working_directory = absolute(a, prefix, m->working_directory);
	s->affinity = arena_copy(a, m->affinity, m->naffinity * sizeof(*s->affinity));
	s->naffinity = m->naffinity;
	if (!s->user.p || !s->pid.p || !s->working_directory.p || !s->affinity ||
	    !copy_env(s, a, m))
		return NULL;
	s->identity = identity_of(a, s);
	return s->identity.p ? s : NULL;
}

/* ---- environment ---- */

static const char *find_env(char *const *env, struct span name)
{
	for (; *env; env++) {
		struct span e = span_of(*env);

		if (e.n > name.n && e.p[name.n] == '=' && memcmp(e.p, name.p, name.n) == 0)
			return *env;
	}
	return NULL;
}

char **settings_environ(const struct settings *s, struct arena *a, char *const *from)
{
	static const struct env_entry tz = {.name = SPAN_INIT("TZ")};
	char **env = arena_zalloc(a, (s->nenv + 2) * sizeof(*env));
	bool has_tz = false;
	size_t n = 0;

	if (!env)
		return NULL;
	for (size_t i = 0; i <= s->nenv; i++) {
		const struct env_entry *e = i < s->nenv ? &s->env[i] : &tz;
		const char *found;

		if (e == &tz && has_tz)
			break;
		has_tz |= span_eq(e->name, SPAN("TZ"));
		if (e->has_value)
			env[n++] = (char *)arena_printf(a, "%.*s=%.*s", SPAN_ARG(e->name),
							SPAN_ARG(e->value))
					   .p;
		else if ((found = find_env(from, e->name)) != NULL)
			env[n++] = (char *)found;
	}
	return env;
}
