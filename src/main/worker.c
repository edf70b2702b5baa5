/* The life of the serving process. Control runs on thread 0: messages from the master, signals, and
 * the end of a load. A load runs on a thread of its own, so that reading a large configuration
 * holds up nobody's requests. */
#include <errno.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/pool.h"
#include "main/channel.h"
#include "main/loader.h"
#include "main/logs.h"
#include "main/opener_replay.h"
#include "main/notify.h"
#include "main/pidfile.h"
#include "main/process.h"
#include "main/threads.h"
#include "main/worker.h"
#include "net/listener.h"
#include "serve/serve.h"

#define REASON_MAX	8192 /* bytes of an answer to the master */
#define TERM_MS		1    /* a fast end still writes its logs */
#define GIVE_UP_S	2    /* after that a fast end is an exit */
#define ENVIRONMENT_MAX ((size_t)1 << 20)

/* One load: of the first configuration in the main line, of later ones on its own thread. */
struct loading {
	struct loader loader;
	struct bundle *bundle;	/* to replay */
	struct generation *gen; /* what it gives */
	struct buf why;
};

static struct worker {
	const struct worker_args *args;
	struct generation *gen;	 /* in use: settings and log; alone: the bundle too */
	struct loading *loading; /* under way, or NULL */
	struct channel channel;
	struct iofd channel_io, signal_io;
	uint64_t generation;
	unsigned nthreads;
	struct arena forever;	 /* the environment */
	struct buf reopen_paths; /* logs to be opened again when the threads have flushed */
	int *reopen_fds;	 /* ours; NULL: none */
	size_t nreopen;
	bool flushing, flush_again; /* a round of the threads is under way; it came too early */
	bool ending, reload_again, announced, failed;
} w;

static bool alone(void)
{
	return w.args->channel < 0;
}

/* ---- loading ---- */

static void load_free(struct loading *l)
{
	buf_fini(&l->why);
	bundle_free(l->bundle, NULL);
	mem_free(l);
}

static void load_run(struct loader *loader);
static bool load_wanted(struct loader *loader);
static void load_over(struct loader *loader, enum loader_end end);

static struct loading *load_new(struct bundle *b)
{
	struct loading *l = mem_zalloc(sizeof(*l));

	if (!l) {
		bundle_free(b, NULL);
		return NULL;
	}
	l->loader = (struct loader){.load = load_run, .wanted = load_wanted, .over = load_over};
	l->bundle = b;
	buf_init(&l->why, REASON_MAX);
	return l;
}

/* From the master's bundle. */
static void load_replayed(struct loading *l, struct load_args *args)
{
	struct opener_replay o;

	args->snapshot = snapshot_new(args->nthreads, args->generation);
	if (!args->snapshot)
		return;
	opener_replay_init(&o, l->bundle, args->snapshot);
	args->opener = &o.opener;
	l->loader.snapshot = load_config(args, NULL);
	args->opener = NULL;
}

/* With our own hands. */
static void load_opened(struct loading *l, struct load_args *args)
{
	struct opener_real o;

	l->gen->bundle = bundle_new();
	if (!l->gen->bundle)
		return;
	opener_real_init(&o, l->gen->bundle, w.gen ? w.gen->bundle : NULL, false);
	args->opener = &o.opener;
	l->loader.snapshot = load_config(args, NULL);
	args->opener = NULL;
}

static void load_run(struct loader *loader)
{
	struct loading *l = CONTAINER_OF(loader, struct loading, loader);
	struct load_args args = {.cmd = w.args->cmd,
				 .nthreads = w.nthreads,
				 .generation = w.generation,
				 .report = REPORT_LOG,
				 .before = loader->before,
				 .why = &l->why};
	int r = -ENOMEM;

	l->gen = generation_new();
	if (l->gen) {
		if (l->bundle)
			load_replayed(l, &args);
		else
			load_opened(l, &args);
	}
	if (loader->snapshot)
		r = generation_fill(l->gen, loader->snapshot, w.args->cmd->prefix);
	if (r == 0) {
		loader->connections = l->gen->settings->connections;
		return;
	}
	if (loader->snapshot) {
		buf_printf(&l->why, "no memory");
		snapshot_drop_loader(loader->snapshot);
	}
	generation_free(l->gen, w.gen);
	l->gen = NULL;
	loader->snapshot = NULL;
}

static void answer(enum channel_type type, struct span text)
{
	if (!alone())
		channel_send(&w.channel, type, text, NULL, 0);
}

static void load_failed(struct loading *l)
{
	if (alone())
		log_msg(NULL, LOG_EMERG, 0,
			"reconfiguration failed, the running configuration stays in use");
	answer(CH_ERROR, l->why.len ? buf_span(&l->why) : SPAN("the configuration failed"));
	load_free(l);
}

/* Alone: requests of the old configuration may still write to its logs, so these stay open. */
static void keep_logs(const struct bundle *from, struct bundle *to)
{
	struct bundle_item *i;

	for (i = bundle_next(from, NULL, BUNDLE_LOG); i; i = bundle_next(from, i, BUNDLE_LOG)) {
		struct bundle_item *k = bundle_find(to, BUNDLE_LOG, i->key, 0, 0);

		if (k || i->fd < 0)
			continue;
		k = bundle_add(to, BUNDLE_LOG, i->key, 0, 0);
		if (k)
			k->fd = i->fd;
	}
}

static void reload_alone(void);
static void end_now(void);

/* Alone: serving for the first time. */
static void announce(void)
{
	if (w.announced)
		return;
	w.announced = true;
	w.failed = pidfile_write(w.gen->settings->pid) < 0;
	if (w.failed)
		end_now();
	else
		notify_ready();
	if (w.args->ready_fd < 0)
		return;
	if (!w.failed && write(w.args->ready_fd, "", 1) < 0) {
		/* Nobody waits any more. */
	}
	close(w.args->ready_fd);
}

static void load_serves(struct loading *l)
{
	struct generation *old = w.gen;

	w.gen = l->gen;
	if (alone()) {
		keep_logs(old->bundle, w.gen->bundle);
		generation_replace(old, w.gen);
	} else {
		generation_free(old, NULL);
	}
	logs_take_stderr(w.gen->log_fd);
	answer(CH_OK, SPAN(""));
	if (alone() && w.announced)
		log_msg(NULL, LOG_NOTICE, 0, "reconfigured, generation %llu",
			(unsigned long long)w.generation);
	if (alone())
		announce();
	load_free(l);
}

static void load_publish(struct loading *l)
{
	logs_set(l->gen->log);
	loader_publish(&l->loader);
}

static void load_drop(struct loading *l)
{
	generation_free(l->gen, w.gen);
	load_free(l);
}

static bool load_wanted(struct loader *loader)
{
	struct loading *l = CONTAINER_OF(loader, struct loading, loader);

	if (!w.ending)
		logs_set(l->gen->log);
	return !w.ending;
}

static void load_over(struct loader *loader, enum loader_end end)
{
	struct loading *l = CONTAINER_OF(loader, struct loading, loader);

	w.loading = NULL;
	if (end == LOADER_SERVES)
		load_serves(l);
	else if (end == LOADER_FAILED)
		load_failed(l);
	else
		load_drop(l);
	if (w.reload_again)
		reload_alone();
}

/* Takes over b (NULL when alone). */
static void load_start(struct bundle *b)
{
	struct loading *l = load_new(b);
	int r = l ? 0 : -ENOMEM;

	if (l) {
		w.generation++;
		w.loading = l;
		r = loader_start(&l->loader);
	}
	if (r == 0)
		return;
	w.loading = NULL;
	log_msg(NULL, LOG_EMERG, -r, "a new configuration cannot be read");
	answer(CH_ERROR, SPAN("no memory or no thread to read the configuration"));
	if (l)
		load_free(l);
}

static void reload_alone(void)
{
	w.reload_again = w.loading != NULL;
	if (w.reload_again || w.ending)
		return;
	log_msg(NULL, LOG_NOTICE, 0, "reconfiguring");
	load_start(NULL);
}

/* ---- logs are opened again ---- */

static void reopen_forget(void)
{
	for (size_t i = 0; i < w.nreopen; i++)
		close(w.reopen_fds[i]);
	mem_free(w.reopen_fds);
	w.reopen_fds = NULL;
	w.nreopen = 0;
	buf_fini(&w.reopen_paths);
	buf_init(&w.reopen_paths, BUNDLE_MAX);
}

static void reopen_apply(void)
{
	struct span rest = buf_span(&w.reopen_paths), path;

	for (size_t i = 0; i < w.nreopen && span_split(&rest, 0, &path); i++)
		opener_replay_reopen(path, w.reopen_fds[i]);
	if (w.reopen_fds)
		logs_take_stderr(w.gen->log_fd);
	reopen_forget();
}

static void reopen_now(void)
{
	if (!alone()) {
		reopen_apply();
		return;
	}
	opener_real_reopen(w.gen->bundle);
	logs_take_stderr(w.gen->log_fd);
}

static void reopen_start(void);

static void flushed(void)
{
	w.flushing = false;
	if (w.flush_again)
		reopen_start();
	else
		reopen_now();
}

/* Lines that were buffered before the signal belong into the old files. */
static void reopen_start(void)
{
	w.flush_again = w.flushing;
	if (w.ending) { /* loops that have stopped do not answer */
		serve_flush_logs();
		reopen_now();
	} else if (!w.flushing) {
		w.flushing = true;
		threads_flush_logs(flushed);
	}
}

/* The threads may stop before they are asked. */
static void reopen_hurry(void)
{
	if (!w.flushing)
		return;
	serve_flush_logs();
	reopen_now();
}

/* ---- the end ---- */

static void give_up(int signo)
{
	_exit(0);
}

static void end_now(void)
{
	w.ending = true;
	reopen_hurry();
	signal(SIGALRM, give_up);
	alarm(GIVE_UP_S);
	threads_shutdown(TERM_MS, true);
}

static void end_gracefully(void)
{
	if (w.ending)
		return;
	log_msg(NULL, LOG_NOTICE, 0, "gracefully shutting down");
	w.ending = true;
	reopen_hurry();
	if (alone())
		generation_close_sockets(w.gen, true);
	threads_shutdown((uint64_t)w.gen->settings->shutdown_timeout_ms, false);
}

/* ---- the master's messages ---- */

static void on_reopen(struct channel_msg *m)
{
	reopen_apply(); /* of a signal before this one: its files are as old */
	buf_add_span(&w.reopen_paths, m->bytes);
	w.reopen_fds = mem_alloc((m->nfds + 1) * sizeof(int));
	if (w.reopen_fds && !w.reopen_paths.failed) {
		memcpy(w.reopen_fds, m->fds, m->nfds * sizeof(int));
		w.nreopen = m->nfds;
		for (size_t i = 0; i < m->nfds; i++)
			m->fds[i] = -1; /* ours now */
	} else {
		log_msg(NULL, LOG_EMERG, ENOMEM, "logs cannot be opened again");
		reopen_forget();
		return;
	}
	reopen_start();
}

static void on_load(struct channel_msg *m)
{
	struct bundle *b = bundle_unpack(m->bytes, m->fds, m->nfds);

	for (size_t i = 0; i < m->nfds; i++)
		m->fds[i] = -1; /* the bundle's now */
	if (b && !w.loading && !w.ending) {
		load_start(b);
		return;
	}
	bundle_free(b, NULL);
	answer(CH_ERROR,
	       b ? SPAN("the worker process is busy") : SPAN("no memory for the configuration"));
}

static void on_channel(struct iofd *f)
{
	struct channel_msg m;
	int r;

	while ((r = channel_recv(&w.channel, &m)) == 1) {
		if (m.type == CH_LOAD)
			on_load(&m);
		else if (m.type == CH_REOPEN)
			on_reopen(&m);
		channel_done(&w.channel, &m);
	}
	if (r == -EAGAIN) {
		f->ready &= (uint8_t)~IO_R;
		return;
	}
	if (!w.ending)
		log_msg(NULL, LOG_NOTICE, 0, "the master process is gone, exiting");
	iofd_unregister(f);
	end_now();
}

/* ---- signals ---- */

static void on_signal(int signo, pid_t from)
{
	if (signo != SIGCHLD)
		log_msg(NULL, LOG_NOTICE, 0, "signal %d (%s) received from %d", signo,
			process_signal_name(signo), (int)from);
	switch (signo) {
	case SIGTERM:
	case SIGINT:
		end_now();
		break;
	case SIGQUIT:
		end_gracefully();
		break;
	case SIGHUP:
		if (alone())
			reload_alone();
		break;
	case SIGUSR1:
		if (alone()) {
			log_msg(NULL, LOG_NOTICE, 0, "reopening logs");
			reopen_start();
		}
		break;
	}
}

static void on_signals(struct iofd *f)
{
	struct signalfd_siginfo si;

	while (read(f->fd, &si, sizeof(si)) == sizeof(si))
		on_signal((int)si.ssi_signo, (pid_t)si.ssi_pid);
	f->ready &= (uint8_t)~IO_R;
}

static int control_start(int signal_fd)
{
	int r;

	iofd_init(&w.signal_io, signal_fd, on_signals);
	r = iofd_register(&w.signal_io);
	if (r < 0 || alone())
		return r;
	channel_init(&w.channel, w.args->channel);
	iofd_init(&w.channel_io, w.channel.fd, on_channel);
	return iofd_register(&w.channel_io);
}

static void control_stop(void)
{
	iofd_close(&w.signal_io);
	if (alone())
		return;
	iofd_unregister(&w.channel_io);
	channel_fini(&w.channel);
}

/* ---- the whole ---- */

/* The configuration that the process starts with: read before the loop runs. */
static int load_first(void)
{
	struct loading *l = load_new(alone() ? NULL : w.args->gen->bundle);

	if (!alone())
		w.args->gen->bundle = NULL;
	if (!l)
		return -ENOMEM;
	w.generation = w.args->gen->number;
	load_run(&l->loader);
	if (l->loader.snapshot) {
		w.loading = l;
		load_publish(l);
		return 0;
	}
	answer(CH_ERROR, l->why.len ? buf_span(&l->why) : SPAN("the configuration failed"));
	load_free(l);
	return -EINVAL; /* in words it was told already */
}

static int serve(void)
{
	int fd = process_signalfd(), r;

	if (fd < 0)
		return fd;
	r = threads_start(w.gen->settings, w.nthreads);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = control_start(fd);
	if (r == 0)
		r = load_first();
	if (r < 0)
		end_now();
	io_loop_run();
	if (w.loading) { /* it could not be told: the loop ended first */
		loader_abandon(&w.loading->loader);
		logs_set(w.gen->log);
		load_drop(w.loading);
	}
	control_stop();
	reopen_forget();
	log_msg(NULL, LOG_NOTICE, 0, "exit"); /* the log's file ends with the snapshot */
	threads_join();
	return r;
}

int worker_run(const struct worker_args *args)
{
	int r = 0;

	w = (struct worker){.args = args,
			    .gen = args->gen,
			    .channel = {.fd = -1},
			    .nthreads = args->gen->settings->nthreads};
	arena_init(&w.forever, ENVIRONMENT_MAX);
	buf_init(&w.reopen_paths, BUNDLE_MAX);
	if (!alone()) {
		if (!process_die_with(args->master))
			return 0;
		r = process_confine(w.gen->settings, &w.forever);
		if (r == 0 && !process_die_with(args->master)) /* forgotten when the user changes */
			return 0;
	} else {
		process_limits(w.gen->settings);
	}
	if (r == 0)
		r = serve();
	logs_set(NULL);
	if (alone()) {
		if (w.announced && !w.failed)
			unlink(w.gen->settings->pid.p);
		generation_close_sockets(w.gen, true);
	}
	generation_free(w.gen, NULL);
	return r == 0 && !w.failed ? 0 : alone() ? 1 : 2;
}
