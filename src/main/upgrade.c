/* USR2: another binary takes over the sockets while this one stays, until somebody tells one of
 * them to go. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "main/master_internal.h"
#include "main/sockets.h"

#define SOCKETS_TEXT_MAX ((size_t)1 << 20)

/* "NGINX=5;6;" */
static bool sockets_text(const struct bundle *b, struct buf *out)
{
	struct bundle_item *i;

	buf_add_span(out, SPAN("NGINX="));
	for (i = bundle_next(b, NULL, BUNDLE_LISTEN); i; i = bundle_next(b, i, BUNDLE_LISTEN))
		if (i->fd >= 0)
			buf_printf(out, "%d;", i->fd);
	return buf_add_char(out, 0) && !out->failed;
}

__attribute__((noreturn)) static void exec_binary(struct master *m, char *sockets)
{
	struct bundle_item *i;
	sigset_t none;

	for (i = bundle_next(m->gen->bundle, NULL, BUNDLE_LISTEN); i;
	     i = bundle_next(m->gen->bundle, i, BUNDLE_LISTEN))
		if (i->fd >= 0)
			fcntl(i->fd, F_SETFD, 0);
	putenv(sockets);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(m->cmd->argv[0], m->cmd->argv);
	log_msg(NULL, LOG_ALERT, errno, "execve() failed while executing new binary process \"%s\"",
		m->cmd->argv[0]);
	_exit(1);
}

void master_upgrade(struct master *m)
{
	struct buf sockets;
	pid_t pid;

	if (m->new_binary || sockets_shared_with_parent())
		return;
	buf_init(&sockets, SOCKETS_TEXT_MAX);
	if (!sockets_text(m->gen->bundle, &sockets)) {
		log_msg(NULL, LOG_ALERT, ENOMEM, "the new binary process could not be started");
	} else if (rename(m->pid_path.p, m->oldbin_path.p) < 0) {
		log_msg(NULL, LOG_ALERT, errno, "rename() %.*s to %.*s failed",
			SPAN_ARG(m->pid_path), SPAN_ARG(m->oldbin_path));
	} else {
		pid = fork();
		if (pid == 0)
			exec_binary(m, sockets.p);
		m->new_binary = MAX_OF(pid, 0);
		if (pid < 0) {
			log_msg(NULL, LOG_ALERT, errno,
				"the new binary process could not be started");
			master_upgrade_ended(m);
		} else {
			log_msg(NULL, LOG_NOTICE, 0, "start new binary process %d", (int)pid);
		}
	}
	buf_fini(&sockets);
}

void master_upgrade_ended(struct master *m)
{
	if (m->new_binary)
		log_msg(NULL, LOG_NOTICE, 0, "new binary process %d exited", (int)m->new_binary);
	m->new_binary = 0;
	if (rename(m->oldbin_path.p, m->pid_path.p) < 0)
		log_msg(NULL, LOG_ALERT, errno, "rename() %.*s back to %.*s failed",
			SPAN_ARG(m->oldbin_path), SPAN_ARG(m->pid_path));
	if (m->no_accept && !m->quitting && !m->terminating) {
		m->no_accept = false;
		m->restart_at_ms = 0;
		master_restart_worker(m);
	}
}
