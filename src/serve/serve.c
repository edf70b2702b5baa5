#include "base/mutant.h"
#include "serve/serve.h"
#include <string.h>
#include "conf/opener.h"
#include "net/resolver.h"
#include "serve/cert_names.h"
#include "serve/conn.h"
#include "serve/core.h"
#include "serve/h2_conn.h"
#include "serve/req_internal.h"
#include "serve/tunnel.h"

const struct http_module *const *http_modules;
struct http_hooks http_hooks;

void http_modules_set(const struct http_module *const *list)
{
	size_t nphase[PHASE_COUNT] = {0}, nfilter = 0, nlog = 0;

	http_modules = list;
	memset(&http_hooks, 0, sizeof(http_hooks));
	for (size_t i = 0; list[i]; i++) {
		BUG_ON(i == HTTP_MODULES_MAX);
		for (int p = 0; p < PHASE_COUNT; p++)
			if (list[i]->phase[p])
				http_hooks.phase[p][nphase[p]++] = list[i]->phase[p];
		if (list[i]->filter)
			http_hooks.filter[nfilter++] = list[i]->filter;
		if (list[i]->log)
			http_hooks.log[nlog++] = list[i]->log;
	}
}

/* ---- listening sockets ---- */

static int open_one(struct http_port *p, struct opener *o, unsigned nthreads)
{
	int fds[THREADS_MAX];
	unsigned n = p->spec.reuseport ? nthreads : 1;
	struct listener *l = listener_find(p->spec.name, p->spec.type);

	for (unsigned i = 0; i < n; i++) {
		fds[i] = o->ops->listen(o, &p->spec, i);
		if (fds[i] < 0 && fds[i] != OPENER_NO_FD)
			return CONF_ERR; /* the opener has said why */
	}
	if (o->offline)
		return CONF_OK;
	if (!l) {
		l = listener_new(&p->spec, fds, n);
		if (!l)
			return CONF_ERR;
		l->accepted = conn_accepted;
	}
	p->listener = l;
	return CONF_OK;
}

int serve_open_listeners(struct snapshot *s, struct opener *o, unsigned nthreads)
{
	struct http_main *m = s->http;
	int rc = CONF_OK;

	if (!m)
		return CONF_OK;
	for (size_t i = 0; i < m->nports; i++)
		if (!m->ports[i]->covers && open_one(m->ports[i], o, nthreads) != CONF_OK)
			rc = CONF_ERR;
	return rc;
}

static bool wanted(const struct http_main *m, const struct listener *l)
{
	for (size_t i = 0; m && i < m->nports; i++)
		if (m->ports[i]->listener == l)
			return true;
	return false;
}

struct unwanted_walk {
	const struct http_main *m;
	struct listener *found[64];
	unsigned n;
};

static void find_unwanted(struct listener *l, void *arg)
{
	struct unwanted_walk *w = arg;

	if (!wanted(w->m, l) && w->n < ARRAY_LEN(w->found))
		w->found[w->n++] = l;
}

void serve_close_listeners(struct snapshot *current)
{
	struct unwanted_walk w = {.m = current ? current->http : NULL};

	do {
		w.n = 0;
		listeners_each(find_unwanted, &w);
		for (unsigned i = 0; i < w.n; i++)
			listener_free(w.found[i]);
	} while (w.n == ARRAY_LEN(w.found));
}

/* ---- threads ---- */

int serve_thread_start(void)
{
	net_thread_join();
	for (const struct http_module *const *m = http_modules; *m; m++)
		if ((*m)->thread_start && (*m)->thread_start() < 0)
			return -1;
	return 0;
}

static void leave_unwanted(struct listener *l, void *arg)
{
	if (!wanted(arg, l))
		listener_leave(l);
}

void serve_switch(struct snapshot *s)
{
	struct http_main *m = s ? s->http : NULL;

	snapshot_switch(s, io_loop_index());
	listeners_each(leave_unwanted, m);
	for (size_t i = 0; m && i < m->nports; i++)
		if (m->ports[i]->listener)
			listener_join(m->ports[i]->listener);
	for (const struct http_module *const *k = http_modules; m && *k; k++)
		if ((*k)->switched)
			(*k)->switched();
}

void serve_flush_logs(void)
{
	for (const struct http_module *const *m = http_modules; *m; m++)
		if ((*m)->flush_logs && !MUTANT(unflushed_logs))
			(*m)->flush_logs();
}

/* ---- the end ---- */

static _Thread_local struct timer shutdown_timer;

static void shutdown_timeout(struct timer *t)
{
	conns_abort();
}

void serve_shutdown(uint64_t timeout_ms, void (*done)(void))
{
	listeners_each(leave_unwanted, NULL);
	conns_empty = done;
	if (timeout_ms && !shutdown_timer.link.next) {
		timer_init(&shutdown_timer, shutdown_timeout);
		timer_start(&co_sched.wheel, &shutdown_timer, io_now_ms() + timeout_ms);
	}
	conns_drain();
}

void serve_thread_stop(void)
{
	for (const struct http_module *const *m = http_modules; *m; m++)
		if ((*m)->thread_stop)
			(*m)->thread_stop();
	if (shutdown_timer.link.next)
		timer_stop(&co_sched.wheel, &shutdown_timer);
	conns_thread_fini();
	cert_names_thread_fini();
	req_thread_fini();
	resolver_thread_fini();
	for (int i = 0; i < 100 && co_sched.live; i++) /* whom that woke returns on these turns */
		io_loop_turn(0);
	h2_thread_fini();
	stream_thread_fini();
	net_thread_leave();
	snapshot_switch(NULL, io_loop_index());
}

/* ---- counters ---- */

void serve_counters_get(struct serve_counters *out)
{
	conns_counters_sum(out);
}
