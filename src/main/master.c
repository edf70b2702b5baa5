#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include "base/pool.h"
#include "main/logs.h"
#include "main/master.h"
#include "main/master_internal.h"
#include "main/notify.h"
#include "main/pidfile.h"
#include "main/process.h"
#include "main/sockets.h"

#define PATIENCE_MS 1000 /* between TERM and KILL */
#define FLOODED_MS  2

uint64_t master_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- signals ---- */

/* The files of Unix sockets belong to whoever serves them next, if there is somebody. */
static void close_sockets(struct master *m)
{
	if (m->next)
		generation_disown_sockets(m->next, m->gen->bundle);
	generation_close_sockets(m->gen, !m->new_binary);
}

static void end(struct master *m, bool gracefully)
{
	notify_stopping();
	if (m->new_binary)
		notify_mainpid(m->new_binary);
	if (gracefully && !m->quitting && !m->terminating) {
		close_sockets(m);
		master_signal_workers(m, SIGQUIT);
		m->quitting = true;
	}
	if (!gracefully && !m->terminating) {
		master_signal_workers(m, SIGTERM);
		m->kill_at_ms = master_now_ms() + PATIENCE_MS;
		m->terminating = true;
	}
}

/* A window that changes its size tells all processes in it: that is not meant for us. */
static bool has_terminal(const struct master *m)
{
	int fd = m->daemonized ? -1 : open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void stop_accepting(struct master *m)
{
	if (has_terminal(m) || m->no_accept)
		return;
	log_msg(NULL, LOG_NOTICE, 0, "stop accepting connections");
	m->no_accept = true;
	m->worker = NULL;
	master_signal_workers(m, SIGQUIT);
}

/* HUP after WINCH while a new binary runs takes the old one back into service, as it was. */
static void reload_or_resume(struct master *m)
{
	if (!m->new_binary) {
		master_reload(m);
		return;
	}
	if (!m->no_accept) {
		log_msg(NULL, LOG_NOTICE, 0, "no reload while a new binary runs");
		return;
	}
	m->no_accept = false;
	m->restart_at_ms = 0;
	master_restart_worker(m);
}

static void on_signal(struct master *m, int signo, pid_t from)
{
	if (signo != SIGCHLD)
		log_msg(NULL, LOG_NOTICE, 0, "signal %d (%s) received from %d", signo,
			process_signal_name(signo), (int)from);
	switch (signo) {
	case SIGTERM:
	case SIGINT:
		end(m, false);
		break;
	case SIGQUIT:
		end(m, true);
		break;
	case SIGHUP:
		reload_or_resume(m);
		break;
	case SIGUSR1:
		master_reopen(m);
		break;
	case SIGUSR2:
		if (m->started && !m->quitting && !m->terminating)
			master_upgrade(m);
		break;
	case SIGWINCH:
		if (!m->quitting && !m->terminating && !m->next)
			stop_accepting(m);
		break;
	case SIGCHLD:
		master_reap(m);
		break;
	}
}

static void read_signals(struct master *m)
{
	struct signalfd_siginfo si;

	while (read(m->signal_fd, &si, sizeof(si)) == sizeof(si))
		on_signal(m, (int)si.ssi_signo, (pid_t)si.ssi_pid);
}

/* ---- the loop ---- */

#define POLL_MAX                                                                                   \
	64 /* the signals and workers; more old generations than that are looked at later */

static int next_timeout(const struct master *m)
{
	uint64_t now = master_now_ms(), at = UINT64_MAX;
	struct list *l;

	if (m->restart_at_ms && !m->worker && !m->next && !m->no_accept)
		at = m->restart_at_ms;
	if (m->terminating)
		at = MIN_OF(at, m->kill_at_ms);
	list_each (l, &m->workers)
		if (CONTAINER_OF(l, struct worker_proc, link)->channel.flooded)
			at = MIN_OF(at, now + FLOODED_MS);
	return at == UINT64_MAX ? -1 : at <= now ? 0 : (int)MIN_OF(at - now, 60000);
}

static void wait_turn(struct master *m)
{
	struct pollfd fds[POLL_MAX] = {{.fd = m->signal_fd, .events = POLLIN}};
	struct worker_proc *procs[POLL_MAX];
	struct list *l;
	nfds_t n = 1;

	list_each (l, &m->workers) {
		struct worker_proc *p = CONTAINER_OF(l, struct worker_proc, link);

		if (p->channel.fd < 0 || n == POLL_MAX)
			continue;
		procs[n] = p;
		fds[n].fd = p->channel.fd;
		fds[n].events = POLLIN;
		if (!list_empty(&p->channel.out) && !p->channel.flooded)
			fds[n].events |= POLLOUT;
		n++;
	}
	if (poll(fds, n, next_timeout(m)) < 0)
		return;
	for (nfds_t i = 1; i < n; i++)
		if (fds[i].revents || procs[i]->channel.flooded)
			worker_proc_io(m, procs[i]);
	if (fds[0].revents)
		read_signals(m); /* last: it may free workers */
}

static void check_time(struct master *m)
{
	if (m->terminating && master_now_ms() >= m->kill_at_ms) {
		master_signal_workers(m, SIGKILL);
		m->kill_at_ms = master_now_ms() + PATIENCE_MS;
	}
	if (m->restart_at_ms && m->started)
		master_restart_worker(m);
}

/* The first worker serves: now the world may know. */
static bool announce(struct master *m)
{
	if (pidfile_write(m->pid_path) < 0)
		return false;
	logs_take_stderr(m->gen->log_fd);
	if (m->ready_fd >= 0) {
		if (write(m->ready_fd, "", 1) < 0) {
			/* Whoever started us did not wait. */
		}
		close(m->ready_fd);
		m->ready_fd = -1;
	}
	notify_ready();
	return true;
}

static int loop(struct master *m)
{
	bool announced = false;

	while (!((m->quitting || m->terminating) && list_empty(&m->workers))) {
		wait_turn(m);
		check_time(m);
		if (m->started && !announced) {
			announced = true;
			if (!announce(m)) {
				m->failed = true;
				end(m, false);
			}
		}
		if (m->failed && list_empty(&m->workers))
			return 1;
	}
	return m->failed;
}

void master_set_paths(struct master *m)
{
	m->pid_path = m->gen->settings->pid;
	m->oldbin_path = arena_printf(&m->gen->arena, "%.*s.oldbin", SPAN_ARG(m->pid_path));
}

int master_run(const struct cmdline *cmd, struct generation *gen, int ready_fd, bool daemonized)
{
	struct master m = {.cmd = cmd, .gen = gen, .ready_fd = ready_fd, .daemonized = daemonized};
	int r;

	list_init(&m.workers);
	master_set_paths(&m);
	m.signal_fd = process_signalfd();
	m.worker = m.signal_fd < 0 ? NULL : worker_proc_start(&m, gen);
	r = m.worker ? loop(&m) : 1;
	if (m.started && !(r && m.failed))
		unlink(m.new_binary ? m.oldbin_path.p : m.pid_path.p);
	log_msg(NULL, LOG_NOTICE, 0, "exit");
	close_sockets(&m);
	logs_set(NULL);
	generation_free(m.next, m.gen);
	generation_free(m.gen, NULL);
	close(m.signal_fd);
	return r;
}
