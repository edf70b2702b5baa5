#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/log.h"
#include "main/process.h"
#include "main/sandbox.h"

extern char **environ;

void process_fill_std(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static const struct {
	int signo;
	const char *name;
} signals[] = {
	{SIGHUP, "SIGHUP"},   {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}, {SIGWINCH, "SIGWINCH"},
	{SIGQUIT, "SIGQUIT"}, {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"},	  {SIGCHLD, "SIGCHLD"},
};

int process_signalfd(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
		sigaddset(&set, signals[i].signo);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

const char *process_signal_name(int signo)
{
	for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
		if (signals[i].signo == signo)
			return signals[i].name;
	return "signal";
}

/* ---- daemon ---- */

__attribute__((noreturn)) static void wait_for_daemon(int fd)
{
	char ok = 1;
	ssize_t n;

	do
		n = read(fd, &ok, 1);
	while (n < 0 && errno == EINTR);
	_exit(n == 1 ? 0 : 1);
}

int process_daemon(int *ready_fd)
{
	int fds[2], null;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		close(fds[1]);
		wait_for_daemon(fds[0]);
	}
	close(fds[0]);
	*ready_fd = fds[1];
	if (setsid() < 0)
		return -errno;
	umask(0);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return -errno;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close(null);
	return 0;
}

/* ---- limits and privileges ---- */

static void set_limit(int which, const char *name, int64_t value)
{
	struct rlimit rl = {.rlim_cur = (rlim_t)value, .rlim_max = (rlim_t)value};

	if (setrlimit(which, &rl) < 0)
		log_msg(NULL, LOG_WARN, errno, "setrlimit(%s, %lld) failed", name,
			(long long)value);
}

void process_limits(const struct settings *s)
{
	struct rlimit rl;

	if (s->rlimit_nofile > 0) {
		set_limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", s->rlimit_nofile);
	} else if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur =
			rl.rlim_max; /* the soft limit is there for programs that use select() */
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	if (s->rlimit_core >= 0)
		set_limit(RLIMIT_CORE, "RLIMIT_CORE", s->rlimit_core);
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && s->connections > rl.rlim_cur)
		log_msg(NULL, LOG_WARN, 0,
			"%u worker_connections exceed open file resource limit: %llu",
			s->connections, (unsigned long long)rl.rlim_cur);
	if (s->priority && setpriority(PRIO_PROCESS, 0, s->priority) < 0)
		log_msg(NULL, LOG_WARN, errno, "setpriority(%d) failed", s->priority);
}

static int fatal(const char *what)
{
	int err = errno;

	log_msg(NULL, LOG_EMERG, err, "%s failed", what);
	return -err;
}

/* proxy_bind ... transparent: what the change of user would take away. */
static int keep_net_raw(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {0};

	caps[0].effective = caps[0].permitted = 1u << CAP_NET_RAW;
	if (syscall(SYS_capset, &head, caps) < 0)
		return fatal("capset(CAP_NET_RAW)");
	return 0;
}

static int drop_user(const struct settings *s)
{
	if (geteuid() != 0)
		return 0;
	if (setgid(s->gid) < 0)
		return fatal("setgid()");
	if (initgroups(s->user.p, s->gid) < 0)
		return fatal("initgroups()");
	if (s->net_raw && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return fatal("prctl(PR_SET_KEEPCAPS)");
	if (setuid(s->uid) < 0)
		return fatal("setuid()");
	return s->net_raw ? keep_net_raw() : 0;
}

int process_confine(const struct settings *s, struct arena *a)
{
	char **env = settings_environ(s, a, environ);
	int r;

	if (!env)
		return -ENOMEM;
	process_limits(s);
	r = drop_user(s);
	if (r < 0)
		return r;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* a core file in spite of the change of user */
	if (s->working_directory.n && chdir(s->working_directory.p) < 0)
		return fatal("chdir() to working_directory");
	environ = env;
	if (s->sandbox && !sandbox_enter())
		log_msg(NULL, LOG_INFO, 0, "sandbox: no system call filter here");
	return 0;
}

bool process_die_with(pid_t master)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	return getppid() == master;
}

/* ---- processors ---- */

/* The thread's own processor out of those allowed. */
static void pick_processor(cpu_set_t *allowed, unsigned thread)
{
	unsigned n = (unsigned)CPU_COUNT(allowed), k = n ? thread % n : 0;
	cpu_set_t one;

	CPU_ZERO(&one);
	for (unsigned cpu = 0; n && cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, allowed) || k--)
			continue;
		CPU_SET(cpu, &one);
		break;
	}
	*allowed = one;
}

/* Those that the process may use; asked before the first thread takes its own, which is what the
 * others inherit. */
static bool allowed_processors(cpu_set_t *set)
{
	static cpu_set_t allowed;
	static bool known;

	if (!known)
		known = sched_getaffinity(0, sizeof(allowed), &allowed) == 0;
	*set = allowed;
	return known;
}

void process_any_processor(void)
{
	cpu_set_t set;

	if (allowed_processors(&set))
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

void process_thread_affinity(const struct settings *s, unsigned thread)
{
	cpu_set_t set;
	bool known = allowed_processors(&set); /* before the first thread takes its own */
	int r;

	if (s->affinity_auto) {
		if (s->naffinity)
			set = s->affinity[0];
		else if (!known)
			return;
		pick_processor(&set, thread);
	} else if (s->naffinity) {
		set = s->affinity[MIN_OF(thread, s->naffinity - 1)];
	} else {
		return;
	}
	r = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	if (r)
		log_msg(NULL, LOG_WARN, r, "pthread_setaffinity_np() failed");
}
