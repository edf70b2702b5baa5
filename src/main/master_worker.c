/* Worker processes: start, answers, death. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/pool.h"
#include "main/logs.h"
#include "main/master_internal.h"
#include "main/process.h"
#include "main/worker.h"

#define QUICK_MS       1000 /* a worker that lived shorter than this died quickly */
#define BACKOFF_MS     100  /* before the restart after the second quick death; doubles */
#define BACKOFF_MAX_MS 5000

/* In the child: everything of the master that is not for a worker. */
static void leave_master(struct master *m, struct worker_proc *self, const struct generation *g)
{
	struct list *l;

	close(m->signal_fd);
	if (m->ready_fd >= 0)
		close(m->ready_fd);
	list_each (l, &m->workers) {
		struct worker_proc *p = CONTAINER_OF(l, struct worker_proc, link);

		if (p != self && p->channel.fd >= 0)
			close(p->channel.fd);
	}
	if (m->gen != g)
		generation_free(m->gen, g);
	if (m->next && m->next != g)
		generation_free(m->next, g);
}

__attribute__((noreturn)) static void child(struct master *m, struct worker_proc *p,
					    struct generation *g, int fd, pid_t master)
{
	struct worker_args args = {
		.cmd = m->cmd, .gen = g, .channel = fd, .master = master, .ready_fd = -1};

	logs_set(g->log);
	leave_master(m, p, g);
	exit(worker_run(&args));
}

struct worker_proc *worker_proc_start(struct master *m, struct generation *g)
{
	struct worker_proc *p = mem_zalloc(sizeof(*p));
	pid_t master = getpid();
	int fds[2], r = p ? channel_pair(fds) : -ENOMEM;

	if (r == 0) {
		p->pid = fork();
		if (p->pid == 0) {
			close(fds[0]);
			child(m, p, g, fds[1], master);
		}
		r = p->pid < 0 ? -errno : 0;
		close(fds[1]);
		if (r < 0)
			close(fds[0]);
	}
	if (r < 0) {
		log_msg(NULL, LOG_ALERT, -r, "a worker process could not be started");
		mem_free(p);
		return NULL;
	}
	channel_init(&p->channel, fds[0]);
	p->started_ms = master_now_ms();
	list_push(&m->workers, &p->link);
	log_msg(NULL, LOG_NOTICE, 0, "start worker process %d", (int)p->pid);
	return p;
}

void master_restart_worker(struct master *m)
{
	if (m->worker || m->next || m->quitting || m->terminating || m->no_accept)
		return;
	if (m->restart_at_ms > master_now_ms())
		return;
	m->restart_at_ms = 0;
	m->worker = worker_proc_start(m, m->gen);
	if (!m->worker)
		m->restart_at_ms = master_now_ms() + BACKOFF_MAX_MS;
}

void master_signal_workers(struct master *m, int signo)
{
	struct list *l;

	list_each (l, &m->workers) {
		struct worker_proc *p = CONTAINER_OF(l, struct worker_proc, link);

		p->ending = true;
		kill(p->pid, signo);
	}
}

/* ---- answers ---- */

static void worker_failed(const struct master *m, const struct worker_proc *p, struct span err)
{
	log_msg(NULL, LOG_EMERG, 0, "worker process %d could not start: %.*s", (int)p->pid,
		SPAN_ARG(err));
	if (!m->started)
		dprintf(STDERR_FILENO, "nginx: [emerg] worker process could not start: %.*s\n",
			SPAN_ARG(err));
}

static void on_answer(struct master *m, struct worker_proc *p, const struct channel_msg *msg)
{
	struct span err = msg->type == CH_ERROR ? msg->bytes : SPAN("");

	if (msg->type == CH_OK)
		p->serving = true;
	if (p == m->next_worker && m->next)
		master_reload_done(m, err);
	else if (msg->type == CH_OK && p == m->worker)
		m->started = true;
	else if (msg->type == CH_ERROR)
		worker_failed(m, p, err);
}

void worker_proc_io(struct master *m, struct worker_proc *p)
{
	struct channel_msg msg;
	int r = channel_flush(&p->channel);

	if (r == 0 || r == -EAGAIN) {
		while ((r = channel_recv(&p->channel, &msg)) == 1) {
			on_answer(m, p, &msg);
			channel_done(&p->channel, &msg);
		}
	}
	if (r != -EAGAIN) /* the end of the process is told by its signal */
		channel_fini(&p->channel);
}

/* ---- death ---- */

static void log_death(const struct worker_proc *p, int status)
{
	if (WIFSIGNALED(status))
		log_msg(NULL, LOG_ALERT, 0, "worker process %d exited on signal %d%s", (int)p->pid,
			WTERMSIG(status), WCOREDUMP(status) ? " (core dumped)" : "");
	else
		log_msg(NULL, WEXITSTATUS(status) && !p->ending ? LOG_ALERT : LOG_NOTICE, 0,
			"worker process %d exited with code %d", (int)p->pid, WEXITSTATUS(status));
}

static void plan_restart(struct master *m, const struct worker_proc *p)
{
	uint64_t now = master_now_ms(), delay = 0;

	if (now - p->started_ms >= QUICK_MS) {
		m->quick_deaths = 0;
	} else if (m->quick_deaths++) {
		delay = MIN_OF((uint64_t)BACKOFF_MS << MIN_OF(m->quick_deaths - 2, 10),
			       BACKOFF_MAX_MS);
		log_msg(NULL, LOG_WARN, 0,
			"worker processes end at once, the next starts in %llums",
			(unsigned long long)delay);
	}
	m->restart_at_ms = now + delay;
}

static void on_death(struct master *m, struct worker_proc *p, int status)
{
	worker_proc_io(m, p); /* its last words */
	log_death(p, status);
	if (p == m->worker) {
		m->worker = NULL;
		if (!m->started && !m->terminating && !m->quitting)
			m->failed = true;
		plan_restart(m, p);
	}
	if (p == m->next_worker && m->next) {
		m->next_worker = NULL; /* nobody to be told that it is off */
		master_reload_done(
			m, SPAN("the worker process ended while it read the configuration"));
	}
	list_del(&p->link);
	channel_fini(&p->channel);
	mem_free(p);
}

void master_reap(struct master *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct list *l, *next;

		if (pid == m->new_binary) {
			master_upgrade_ended(m);
			continue;
		}
		list_each_safe (l, next, &m->workers) {
			struct worker_proc *p = CONTAINER_OF(l, struct worker_proc, link);

			if (p->pid == pid)
				on_death(m, p, status);
		}
	}
}
