/* HUP and USR1. A reload is read by the master, then by the worker; only when both could, it
 * counts. What belongs to the process (user, threads, limits) cannot change in a running worker:
 * then a new one is started, and the old one finishes its requests. */
#include <signal.h>
#include <unistd.h>
#include "base/pool.h"
#include "main/logs.h"
#include "main/master_internal.h"
#include "main/notify.h"
#include "main/pidfile.h"

static int send_bundle(struct worker_proc *p, const struct bundle *b)
{
	struct buf bytes;
	size_t nfds = 0;
	int *fds = NULL, r;

	buf_init(&bytes, BUNDLE_MAX);
	r = bundle_pack(b, &bytes, &fds, &nfds);
	if (r == 0)
		r = channel_send(&p->channel, CH_LOAD, buf_span(&bytes), fds, nfds);
	mem_free(fds);
	buf_fini(&bytes);
	return r;
}

/* Gives the new configuration to the worker there is, or to a new one. */
static void hand_over(struct master *m)
{
	int r;

	m->no_accept = false;
	if (m->worker && m->worker->serving &&
	    span_eq(m->gen->settings->identity, m->next->settings->identity)) {
		m->next_worker = m->worker;
		r = send_bundle(m->worker, m->next->bundle);
		if (r < 0)
			log_msg(NULL, LOG_EMERG, -r,
				"the configuration could not be sent to the worker process");
	} else {
		m->next_worker = worker_proc_start(m, m->next);
		r = m->next_worker ? 0 : -1;
	}
	if (r < 0)
		master_reload_done(m, SPAN("the worker process could not be told"));
}

void master_reload(struct master *m)
{
	if (m->next || m->quitting || m->terminating) {
		m->reload_again = m->next != NULL;
		return;
	}
	log_msg(NULL, LOG_NOTICE, 0, "reconfiguring");
	notify_reloading();
	m->next = generation_load(m->cmd, m->gen, REPORT_LOG);
	if (m->next) {
		hand_over(m);
		return;
	}
	log_msg(NULL, LOG_EMERG, 0,
		"reconfiguration failed, the running configuration stays in use");
	notify_ready();
}

static void move_pidfile(struct master *m, const struct generation *old)
{
	struct span path = m->gen->settings->pid;

	if (!span_eq(path, old->settings->pid) && !m->new_binary) {
		if (pidfile_write(path) == 0)
			unlink(old->settings->pid.p);
	}
	master_set_paths(m);
}

static void commit(struct master *m)
{
	struct generation *old = m->gen;

	m->gen = m->next;
	m->next = NULL;
	logs_set(m->gen->log);
	logs_take_stderr(m->gen->log_fd);
	if (m->next_worker != m->worker) {
		if (m->worker) {
			m->worker->ending = true;
			kill(m->worker->pid, SIGQUIT);
		}
		m->worker = m->next_worker;
	}
	m->next_worker = NULL;
	m->started = true;
	move_pidfile(m, old);
	generation_replace(old, m->gen);
	log_msg(NULL, LOG_NOTICE, 0, "reconfigured, generation %llu",
		(unsigned long long)m->gen->number);
}

static void take_back(struct master *m, struct span err)
{
	struct generation *next = m->next;

	log_msg(NULL, LOG_EMERG, 0,
		"reconfiguration failed, the running configuration stays in use: %.*s",
		SPAN_ARG(err));
	if (m->next_worker && m->next_worker != m->worker) {
		m->next_worker->ending = true;
		kill(m->next_worker->pid, SIGTERM);
	}
	m->next = NULL;
	m->next_worker = NULL;
	generation_unlink_sockets(next->bundle, m->gen->bundle);
	generation_free(next, m->gen);
}

void master_reload_done(struct master *m, struct span err)
{
	if (err.n)
		take_back(m, err);
	else
		commit(m);
	notify_ready();
	if (m->reload_again) {
		m->reload_again = false;
		master_reload(m);
	}
}

static void send_logs(struct worker_proc *p, const struct bundle *b)
{
	struct bundle_item *i;
	struct buf paths;
	size_t n = 0;
	int *fds = mem_alloc((b->nitems + 1) * sizeof(*fds));

	if (!fds)
		return;
	buf_init(&paths, BUNDLE_MAX);
	for (i = bundle_next(b, NULL, BUNDLE_LOG); i; i = bundle_next(b, i, BUNDLE_LOG)) {
		if (i->fd < 0)
			continue;
		fds[n++] = i->fd;
		buf_add(&paths, i->key.p, i->key.n + 1);
	}
	if (n && !paths.failed)
		channel_send(&p->channel, CH_REOPEN, buf_span(&paths), fds, n);
	buf_fini(&paths);
	mem_free(fds);
}

void master_reopen(struct master *m)
{
	struct list *l;

	log_msg(NULL, LOG_NOTICE, 0, "reopening logs");
	opener_real_reopen(m->gen->bundle);
	logs_take_stderr(m->gen->log_fd);
	list_each (l, &m->workers) {
		struct worker_proc *p = CONTAINER_OF(l, struct worker_proc, link);

		if (p->channel.fd >= 0)
			send_logs(p, m->gen->bundle);
	}
}
