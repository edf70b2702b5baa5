#include "world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ask.h"
#include "base/log.h"
#include "client.h"
#include "conf/snapshot.h"
#include "dns.h"
#include "h2_client.h"
#include "io/loop.h"
#include "knock.h"
#include "leaks.h"
#include "link.h"
#include "main/core_main.h"
#include "main/load.h"
#include "main/loader.h"
#include "main/threads.h"
#include "memory.h"
#include "net/listener.h"
#include "net/resolver.h"
#include "net/tls_int.h"
#include "opener_sim.h"
#include "oracle_time.h"
#include "proxy/group.h"
#include "serve/serve.h"
#include "server.h"

#define NO_END_US   3600000000ull /* of virtual time: more than any world needs */
#define SETTLE_US   75000000ull	  /* after the last client: longer than any idle time-out */
#define DRAIN_TURNS 6000
#define HURRY_MS    1
#define REOPENS_MAX 16

struct world world;
static struct world_start *waiting;
static struct sim_faults faults; /* as asked for; the start and the end go without */
static uint64_t reopened_us[REOPENS_MAX];

/* ---- the worker's log ---- */

static void worker_log(struct log_sink *s, enum log_level level, struct span line)
{
	ssize_t at = span_find(line, SPAN(": ")); /* behind the numbers of process and thread */

	if (line.n && line.p[line.n - 1] == '\n')
		line.n--;
	sim_note("log: %.*s", SPAN_ARG(span_cut(line, (size_t)MAX_OF(at, 0), line.n)));
	if (level <= LOG_ALERT && level != LOG_STDERR && !world.destructive && !world.full_disk)
		sim_broken("alert", "%.*s", SPAN_ARG(line));
}

static struct log_sink worker_sink = {.level = LOG_NOTICE, .write = worker_log};

static void set_faults(const struct sim_faults *f)
{
	sim_set_faults(f);
	leaks_watch();
}

/* ---- system calls that are looked at ---- */

/* What requests log goes to a file; the diary shall have it too. */
static struct sys_ops table;
static ssize_t (*plain_write)(int fd, const void *p, size_t n);
static void (*plain_barrier)(pthread_barrier_t *b);
static int error_fd = -1;

static void find_error_log(const char *path, int fd)
{
	if (strcmp(path, "/logs/error.log") == 0)
		error_fd = fd;
}

/* "DATE [level] PID#TID: text": numbers of real processes would make two runs differ. */
static ssize_t noted_write(int fd, const void *p, size_t n)
{
	struct span line = span_make(p, n), rest;
	ssize_t from = span_find(line, SPAN("] ")), to = span_find(line, SPAN(": "));
	char text[LOG_LINE_MAX];
	ssize_t r;

	if (fd != error_fd || from < 0 || to < from || n > sizeof(text))
		return plain_write(fd, p, n);
	rest = span_cut(line, (size_t)to, n);
	memcpy(text, line.p, (size_t)from + 2);
	memcpy(text + from + 2, rest.p, rest.n);
	sim_note("log:%.*s", (int)((size_t)from + 2 + rest.n - 20), text + 19);
	if (span_find(line, SPAN("[alert]")) >= 0 && !world.destructive && !world.full_disk)
		sim_broken("alert", "%.*s", SPAN_ARG(line));
	r = plain_write(fd, text, (size_t)from + 2 + rest.n);
	return r < 0 ? r : (ssize_t)n;
}

static unsigned end_timeout(void)
{
	return world.end == END_HURRY ? HURRY_MS : world.setup.shutdown_timeout;
}

static void check_end_in_time(void)
{
	time_check_end(world.end_began_us, end_timeout());
}

/* Where threads meet when their loops have stopped. Thread 0 may come late: it has waited for
 * actors. */
static void noted_barrier(pthread_barrier_t *b)
{
	if (world.ending && io_loop_index() != 0)
		check_end_in_time();
	plain_barrier(b);
}

static void note_calls(void)
{
	table = *sys;
	plain_write = table.write;
	plain_barrier = table.barrier_wait;
	table.write = noted_write;
	table.barrier_wait = noted_barrier;
	sys = &table;
}

/* ---- configurations ---- */

static struct {
	struct loader loader;
	struct text conf;
	bool busy;
} load;

static const struct cmdline cmd = {.prefix = SPAN_INIT("/"),
				   .conf = SPAN_INIT("/conf/nginx.conf"),
				   .conf_prefix = SPAN_INIT("/conf/")};

static void load_now(struct loader *l)
{
	struct opener_sim o;
	struct load_args args = {.cmd = &cmd,
				 .opener = &o.opener,
				 .nthreads = world.setup.nthreads,
				 .generation = world.generation,
				 .before = l->before,
				 .report = REPORT_LOG};

	args.snapshot = snapshot_new(args.nthreads, args.generation);
	if (!args.snapshot)
		return;
	opener_sim_init(&o, span_make(load.conf.p, load.conf.n), args.snapshot);
	l->connections = world.setup.worker_connections;
	l->snapshot = load_config(&args, NULL);
}

static bool load_wanted(struct loader *l)
{
	return !world.ending;
}

static void load_serves(void)
{
	sim_note("generation %u serves", world.generation);
	opener_sim_each_log(find_error_log);
	if (world.serving)
		return;
	world.serving = true;
	memory_serving();
	set_faults(&faults);
	while (waiting) {
		struct world_start *s = waiting;

		waiting = s->next;
		s->fn(s);
	}
}

static void load_over(struct loader *l, enum loader_end end)
{
	load.busy = false;
	if (end == LOADER_SERVES) {
		load_serves();
		return;
	}
	if (!world.serving)
		sim_broken("start", "the configuration is not accepted:\n%s", load.conf.p);
	if (!world.destructive && end == LOADER_FAILED)
		sim_broken("reload", "the configuration is not accepted");
}

/* On thread 0. As the worker does it; the first one, and others now and then, on this thread. */
static void load_start(void)
{
	if (load.busy || world.ending)
		return;
	load.busy = true;
	world.generation++;
	text_fini(&load.conf);
	setup_print(&world.setup, world.generation, &load.conf);
	load.loader = (struct loader){.load = load_now, .wanted = load_wanted, .over = load_over};
	if (world.serving && sim_chance(5000) && loader_start(&load.loader) == 0)
		return;
	loader_run(&load.loader);
}

/* ---- orders ---- */

struct order {
	struct io_msg msg;
	struct sim_timer timer;
	struct world_start start;
	uint64_t after_us;
	void (*fn)(void);
};

static void order_run(struct io_msg *m)
{
	struct order *o = CONTAINER_OF(m, struct order, msg);
	void (*fn)(void) = o->fn;

	free(o);
	fn();
}

static void order_post(struct order *o)
{
	o->msg.run = order_run;
	threads_post_first(&o->msg);
}

static struct order *order_new(void (*fn)(void))
{
	struct order *o = calloc(1, sizeof(*o));

	BUG_ON(!o);
	o->fn = fn;
	return o;
}

void world_post(void (*fn)(void))
{
	order_post(order_new(fn));
}

static void order_due(struct sim_timer *t)
{
	struct order *o = CONTAINER_OF(t, struct order, timer);

	if (world.ending)
		free(o);
	else
		order_post(o);
}

static void order_serving(struct world_start *s)
{
	struct order *o = CONTAINER_OF(s, struct order, start);

	o->timer.run = order_due;
	sim_timer_start(&o->timer, sim_now_us() + o->after_us);
}

static void order_at(uint64_t after_us, void (*fn)(void))
{
	struct order *o = order_new(fn);

	o->after_us = after_us;
	o->start.fn = order_serving;
	world_when_serving(&o->start);
}

void world_when_serving(struct world_start *s)
{
	if (world.serving) {
		s->fn(s);
		return;
	}
	s->next = waiting;
	waiting = s;
}

void world_reload_at(uint64_t after_us)
{
	world.reloads++;
	order_at(after_us, load_start);
}

static void faults_end(void)
{
	faults = (struct sim_faults){0};
	set_faults(&faults);
	sim_limit_fds(0, 0);
	world.destructive = false;
	sim_note("faults have ended");
}

void world_faults_end_at(uint64_t after_us)
{
	order_at(after_us, faults_end);
}

static void reopen_one(const char *path, int fd)
{
	int r = sim_reopen_log(fd, path);

	if (r < 0 && !world.destructive && !world.full_disk)
		sim_broken("reopen", "%s: %d", path, r);
}

static bool reopening;

static void reopen_flushed(void)
{
	char to[64];

	reopening = false;
	snprintf(to, sizeof(to), "/logs/access.log.%u", world.reopens++);
	sim_note("logs are opened again; the old one is %s", to);
	sim_file_rename("/logs/access.log", to);
	opener_sim_each_log(reopen_one);
}

static void reopen(void)
{
	if (world.ending || reopening || world.reopens == REOPENS_MAX)
		return;
	reopening = true;
	reopened_us[world.reopens] = sim_now_us();
	threads_flush_logs(reopen_flushed);
}

void world_reopen_at(uint64_t after_us)
{
	order_at(after_us, reopen);
}

/* ---- the end ---- */

static void world_end(void)
{
	bool hurry = world.end == END_HURRY;

	if (world.ending)
		return;
	world.ending = true;
	world.end_began_us = sim_now_us();
	sim_note("the end begins%s", hurry ? ", in a hurry" : "");
	if (hurry) {
		asks_excuse("a hurried end");
	} else {
		clients_leaving();
		muxes_leaving();
	}
	threads_shutdown(end_timeout(), hurry);
}

static void peer_at_rest(struct peer *p, void *arg)
{
	if (p->active)
		sim_broken("counter", "%.*s has %u requests though nothing happens",
			   SPAN_ARG(p->name), p->active);
	if (p->idle)
		sim_broken("counter", "%.*s has %u idle connections after their time",
			   SPAN_ARG(p->name), p->idle);
}

/* Nobody has anything to do. */
static void check_rest(void)
{
	struct serve_counters k;

	serve_counters_get(&k);
	if (k.active || k.reading || k.writing || k.waiting)
		sim_broken("counter", "at rest: active %llu reading %llu writing %llu waiting %llu",
			   (unsigned long long)k.active, (unsigned long long)k.reading,
			   (unsigned long long)k.writing, (unsigned long long)k.waiting);
	peers_each(peer_at_rest, NULL);
	servers_note();
	if (servers_connected())
		sim_broken("connection", "%u connections to servers are open at rest",
			   servers_connected());
	if (snapshots_alive() != 1 && !load.busy)
		sim_broken("snapshot", "%u configurations are alive at rest", snapshots_alive());
	memory_check_rest();
}

static void world_settled(void)
{
	check_rest();
	world_end();
}

static void world_settled_timer(struct sim_timer *t)
{
	world_post(world_settled);
}

void world_client_new(void)
{
	world.clients_left++;
}

void world_client_done(void)
{
	static struct sim_timer settled = {.run = world_settled_timer};
	static const struct sim_faults none;

	if (--world.clients_left || world.ending)
		return;
	sim_note("all clients are done");
	set_faults(&none);
	dns_calm();
	sim_timer_start(&settled, sim_now_us() + SETTLE_US);
}

static void world_stuck(struct sim_timer *t)
{
	clients_note();
	asks_check_all();
	sim_broken("stuck", "%u clients are not done, the worker does not end", world.clients_left);
}

uint64_t world_latency_us(void)
{
	return world.o.latency_max_us;
}

bool world_is_leaving(void)
{
	return world.ending;
}

/* ---- the whole ---- */

static void world_faults(void)
{
	const struct sim_faults *f = &world.o.faults;

	faults = *f;
	world.destructive = f->reset || f->refuse || f->hang || f->unreachable || f->emfile ||
			    f->enobufs || f->alloc || f->disk_full || f->disk_error;
	world.full_disk = f->disk_full || f->disk_error || f->alloc || f->emfile;
	if (f->spurious_eagain || f->spurious_event || f->preempt)
		world.slack_us = 20000;
}

void world_start(void)
{
	static const struct sim_faults none;

	sim_start(&world.o);
	note_calls();
	set_faults(&none);
	link_seed(world.o.seed);
	io_clock_init();
	log_main.sinks = &worker_sink;
}

static void put_files(void)
{
	static char p[1 << 20];
	char path[32];
	struct text users = {0};

	setup_users_print(&users);
	sim_file_put("/users", users.p, users.n);
	text_fini(&users);
	for (unsigned i = 0; i < 8; i++) {
		size_t n = setup_file_size(i);

		snprintf(path, sizeof(path), "/www/%u.bin", i);
		bytes_fill(bytes_key(BYTES_FILE, i, 0), 0, p, n);
		sim_file_put(path, p, n);
	}
}

static void check_logs(void)
{
	char path[64];

	for (unsigned i = 0; i < world.reopens; i++) {
		snprintf(path, sizeof(path), "/logs/access.log.%u", i);
		asks_check_log(sim_file_get(path), true);
		if (!world.full_disk)
			asks_check_rotated(reopened_us[i]);
	}
	asks_check_log(sim_file_get("/logs/access.log"), world.full_disk);
	if (!world.full_disk)
		knocks_check();
}

/* The loops have stopped; what is on its way to actors still arrives. */
static void drain(void)
{
	static const struct sim_faults none;
	struct epoll_event ev;
	int ep;

	if (!world.clients_left)
		return;
	set_faults(&none); /* this descriptor is not the worker's */
	ep = sys->epoll_create();
	set_faults(&faults);

	for (unsigned i = 0; i < DRAIN_TURNS && world.clients_left; i++)
		sys->epoll_wait(ep, &ev, 1, 20);
	sys->close(ep);
}

static void end_timer(struct sim_timer *t)
{
	world_post(world_end);
}

static void serving_end(struct world_start *s)
{
	static struct sim_timer t = {.run = end_timer};

	sim_timer_start(&t, sim_now_us() + world.end_us);
}

void world_run(void)
{
	static struct settings settings;
	static struct sim_timer stuck = {.run = world_stuck};
	static struct world_start ends = {.fn = serving_end};
	unsigned left;
	int r;

	world_faults();
	put_files();
	servers_start();
	dns_start();
	memory_begin();
	settings.nthreads = world.setup.nthreads;
	r = threads_start(&settings, world.setup.nthreads);
	if (r < 0)
		sim_broken("start", "threads_start: %d", r);
	load_start();
	if (world.end != END_CALM)
		world_when_serving(&ends);
	sim_timer_start(&stuck, sim_now_us() + NO_END_US);
	io_loop_run();
	check_end_in_time();
	drain();
	sim_timer_stop(&stuck);
	if (load.busy)
		loader_abandon(&load.loader);
	threads_join();
	serve_close_listeners(NULL);
	servers_close();
	tls_caches_fini(); /* what lives as long as the process */
	resolver_cache_fini();
	fail_counts_fini();
	memory_check_end();
	clients_note();
	if (world.clients_left)
		sim_broken("stuck", "the worker has ended, %u clients were not told",
			   world.clients_left);
	asks_check_all();
	check_logs();
	world.ended_us = sim_now_us();
	world.fingerprint = sim_fingerprint();
	left = sim_stop();
	if (left)
		sim_broken("descriptor", "%u descriptors are open at the end", left);
}
