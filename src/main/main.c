/* The way in: what the command line asks for. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "conf/opener.h"
#include "io/loop.h"
#include "main/cmdline.h"
#include "main/generation.h"
#include "main/logs.h"
#include "main/manual.h"
#include "main/master.h"
#include "main/modules.h"
#include "main/pidfile.h"
#include "main/process.h"
#include "main/sockets.h"
#include "main/worker.h"
#include "serve/error_log.h"

static void print(int fd, void (*fill)(struct buf *b))
{
	struct buf b;

	buf_init(&b, 1 << 20);
	fill(&b);
	if (write(fd, b.p, b.len) < 0) {
		/* Nobody reads it. */
	}
	buf_fini(&b);
}

static void fill_version(struct buf *b)
{
	cmdline_version(b, false);
}

static void fill_version_long(struct buf *b)
{
	cmdline_version(b, true);
}

/* ---- -t, -T ---- */

static void dump_piece(void *arg, struct span text)
{
	fwrite(text.p, 1, text.n, stdout);
}

static bool test_with(const struct cmdline *cmd, struct opener *o)
{
	struct load_args args = {
		.cmd = cmd, .opener = o, .generation = 1, .report = REPORT_CONSOLE, .test = true};
	struct conf_ctx *ctx = NULL;
	struct snapshot *s = load_config(&args, &ctx);
	struct generation *g = s ? generation_new() : NULL;
	bool ok = g && generation_fill(g, s, cmd->prefix) == 0;

	if (ok && !o->offline)
		ok = pidfile_check(g->settings->pid) == 0;
	if (ok && !cmd->quiet)
		dprintf(STDERR_FILENO, "nginx: configuration file %.*s test is successful\n",
			SPAN_ARG(cmd->conf));
	if (!ok)
		dprintf(STDERR_FILENO, "nginx: configuration file %.*s test failed\n",
			SPAN_ARG(cmd->conf));
	if (ok && cmd->dump) {
		conf_dump(ctx, dump_piece, NULL);
		fflush(stdout);
	}
	generation_free(g, NULL);
	if (s)
		snapshot_drop_loader(s);
	return ok;
}

static int test(const struct cmdline *cmd)
{
	struct bundle *b = bundle_new();
	struct opener_real real;
	struct opener_offline offline;
	bool ok;

	if (!b)
		return 1;
	opener_real_init(&real, b, NULL, true);
	opener_offline_init(&offline, &real.opener);
	ok = test_with(cmd, cmd->offline ? &offline.opener : &real.opener);
	opener_real_forget_listeners(b);
	bundle_free(b, NULL);
	return ok ? 0 : 1;
}

/* ---- -s ---- */

/* A broken configuration is told here, where somebody looks, and not only in the master's log. */
static bool readable(const struct cmdline *cmd, struct opener *o)
{
	struct load_args args = {
		.cmd = cmd, .opener = o, .generation = 1, .report = REPORT_CONSOLE};
	struct snapshot *s;

	if (cmd->signal != CMD_RELOAD)
		return true;
	s = load_config(&args, NULL);
	if (s)
		snapshot_drop_loader(s);
	return s;
}

static int send_signal(const struct cmdline *cmd)
{
	static const int signals[] = {[CMD_STOP] = SIGTERM,
				      [CMD_QUIT] = SIGQUIT,
				      [CMD_REOPEN] = SIGUSR1,
				      [CMD_RELOAD] = SIGHUP};
	struct bundle *b = bundle_new();
	struct opener_real real;
	struct opener_offline offline;
	struct span path = {0};
	pid_t pid = -1;
	int r = 1;

	if (!b)
		return 1;
	log_msg(NULL, LOG_NOTICE, 0, "signal process started");
	opener_real_init(&real, b, NULL, true);
	opener_offline_init(&offline, &real.opener);
	if (readable(cmd, &offline.opener))
		path = load_pid_path(cmd, &b->arena, &offline.opener);
	if (path.n)
		pid = pidfile_read(path);
	if (pid > 0 && kill(pid, signals[cmd->signal]) == 0)
		r = 0;
	else if (pid > 0)
		log_msg(NULL, LOG_ALERT, errno, "kill(%d, %d) failed", (int)pid,
			signals[cmd->signal]);
	bundle_free(b, NULL);
	return r;
}

/* ---- the service ---- */

static int run_alone(const struct cmdline *cmd, struct generation *gen, int ready_fd)
{
	struct worker_args args = {.cmd = cmd, .gen = gen, .channel = -1, .ready_fd = ready_fd};

	return worker_run(&args);
}

static int run(const struct cmdline *cmd)
{
	bool inherited = sockets_inherit() > 0, daemonized;
	struct generation *gen = generation_load(cmd, NULL, REPORT_CONSOLE);
	int ready_fd = -1, r;

	if (!gen)
		return 1;
	sockets_close_rest();
	/* A new binary is a daemon when its parent is. */
	daemonized = gen->settings->daemon;
	if (daemonized && !(inherited && sockets_shared_with_parent())) {
		r = process_daemon(&ready_fd);
		if (r < 0) {
			log_msg(NULL, LOG_EMERG, -r, "the daemon could not be started");
			return 1;
		}
	}
	logs_set(gen->log);
	if (gen->settings->master_process)
		return master_run(cmd, gen, ready_fd, daemonized);
	return run_alone(cmd, gen, ready_fd);
}

int main(int argc, char **argv)
{
	static struct cmdline cmd;
	char err[512];
	int r;

	process_fill_std();
	io_clock_init();
	if (cmdline_parse(&cmd, argc, argv, err, sizeof(err)) < 0) {
		dprintf(STDERR_FILENO, "nginx: %s\n", err);
		return 1;
	}
	if (cmd.version)
		print(STDERR_FILENO, cmd.version_long ? fill_version_long : fill_version);
	if (cmd.help)
		print(STDERR_FILENO, cmdline_usage);
	if (cmd.version && !cmd.test)
		return 0;
	if (cmd.directives) {
		modules_init();
		print(STDOUT_FILENO, manual_directives);
		return 0;
	}
	r = cmdline_paths(&cmd);
	if (r < 0) {
		dprintf(STDERR_FILENO, "nginx: [emerg] %s\n", strerror(-r));
		return 1;
	}
	error_log_default(cmd.log);
	logs_start(cmd.log);
	modules_init();
	if (cmd.signal)
		return send_signal(&cmd);
	if (cmd.test)
		return test(&cmd);
	return run(&cmd);
}
