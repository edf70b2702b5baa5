/* Names of groups resolved again in the background: a tick on thread 0 starts a coroutine for each
 * name of the current snapshot that is due. It holds the snapshot while it asks. */
#include "base/pool.h"
#include "io/loop.h"
#include "net/resolver.h"
#include "proxy/group.h"
#include "serve/core.h"

#define TICK_MS	    1000
#define LOOKUPS_MAX 8 /* at the same time */
#define ADDRS_MAX   64
#define TTL_MIN_S   1
#define TTL_MAX_S   3600
#define RETRY_S	    5 /* after a failure; doubled up to RETRY_MAX_S while there are old addresses */
#define RETRY_MAX_S 60
#define TIMEOUT_S   30

struct lookup {
	struct list link;
	struct snapshot *snapshot;
	struct group *group;
	struct group_server *server;
	struct co *co;
	struct net_addr addrs[ADDRS_MAX];
};

static _Thread_local struct {
	bool started;
	struct timer tick;
	struct list running; /* struct lookup */
	unsigned nrunning;
	struct resolver *system;
} work;

/* That of http{}; NULL: `resolver off`. */
static struct resolver *http_resolver(const struct group *g)
{
	const struct core_loc *l = conf_get(g->main->scope, &core_loc_mod);

	return l->resolver;
}

/* What the system resolved when the configuration was read is asked of the system again: another
 * resolver may see other addresses (split horizon). The configured one is for servers that say
 * `resolve`. */
static struct resolver *resolver_of(const struct group *g, const struct group_server *s)
{
	static const struct resolver_conf conf = {
		.ipv4 = true, .ipv6 = true, .timeout_ms = TIMEOUT_S * SECOND};

	if (s->resolve)
		return g->resolver ? g->resolver : http_resolver(g);
	if (!work.system)
		work.system = resolver_new(&conf);
	return work.system;
}

static void answered(struct lookup *l, int n, int64_t ttl_s)
{
	struct group_server *s = l->server;

	for (int i = 0; i < n; i++)
		addr_set_port(&l->addrs[i].sa, s->port);
	if (group_server_update(l->group, s, l->addrs, (size_t)n))
		log_msg(NULL, LOG_INFO, 0, "upstream \"%.*s\": \"%.*s\" has %d address%s now",
			SPAN_ARG(l->group->name), SPAN_ARG(s->host), n, n == 1 ? "" : "es");
	s->failed = 0;
	s->due_ms = io_now_ms() + (uint64_t)MIN_OF(MAX_OF(ttl_s, TTL_MIN_S), TTL_MAX_S) * SECOND;
}

/* The old addresses stay. */
static void not_answered(struct lookup *l)
{
	struct group_server *s = l->server;
	unsigned wait_s = MIN_OF(RETRY_S << MIN_OF(s->failed, 4U), RETRY_MAX_S);

	if (s->failed++ == 0)
		log_msg(NULL, LOG_WARN, 0, "%.*s could not be resolved, upstream \"%.*s\"",
			SPAN_ARG(s->host), SPAN_ARG(l->group->name));
	if (l->group->tries[0] + l->group->tries[1] == 0)
		wait_s = RETRY_S;
	s->due_ms = io_now_ms() + (uint64_t)wait_s * SECOND;
}

static void lookup_run(void *arg)
{
	struct lookup *l = arg;
	struct resolver *r = resolver_of(l->group, l->server);
	int64_t ttl_s = 0;
	int n = -1;

	l->co = co_current();
	if (r)
		n = resolver_lookup(r, l->server->host, l->addrs, ADDRS_MAX, &ttl_s,
				    io_after(TIMEOUT_S * SECOND));
	if (n > 0)
		answered(l, n, ttl_s);
	else if (!co_cancelled())
		not_answered(l);
	l->server->asking = false;
	list_del(&l->link);
	work.nrunning--;
	snapshot_unref(l->snapshot);
	mem_free(l);
}

static void lookup_start(struct snapshot *snapshot, struct group *g, struct group_server *s)
{
	struct lookup *l = mem_alloc(sizeof(*l));

	if (!l)
		return;
	l->snapshot = snapshot_ref(snapshot);
	l->group = g;
	l->server = s;
	l->co = NULL;
	s->asking = true;
	list_push(&work.running, &l->link);
	work.nrunning++;
	if (co_start(lookup_run, l) == 0)
		return;
	list_del(&l->link);
	work.nrunning--;
	s->asking = false;
	snapshot_unref(snapshot);
	mem_free(l);
}

static void ask_due(struct snapshot *snapshot, struct group *g)
{
	for (size_t i = 0; i < g->nservers && work.nrunning < LOOKUPS_MAX; i++) {
		struct group_server *s = &g->servers[i];

		if (s->is_name && !s->asking && s->due_ms <= io_now_ms())
			lookup_start(snapshot, g, s);
	}
}

static void tick(struct timer *t)
{
	struct snapshot *snapshot = snapshot_current();
	struct http_main *m = snapshot ? snapshot->http : NULL;
	struct list *l;

	timer_start(&co_sched.wheel, t, io_now_ms() + TICK_MS);
	if (!m)
		return;
	list_each (l, &m->upstreams) {
		struct group *g = CONTAINER_OF(l, struct group, link);

		if (g->resolving && (g->resolver || http_resolver(g)))
			ask_due(snapshot, g);
	}
}

int upstream_resolve_start(void)
{
	if (io_loop_index() != 0 || work.started)
		return 0;
	work.started = true;
	list_init(&work.running);
	timer_init(&work.tick, tick);
	timer_start(&co_sched.wheel, &work.tick, io_now_ms() + TICK_MS);
	return 0;
}

void upstream_resolve_switched(void)
{
	if (work.started)
		timer_start(&co_sched.wheel, &work.tick, io_now_ms());
}

void upstream_resolve_stop(void)
{
	struct list *l, *tmp;

	if (!work.started)
		return;
	timer_stop(&co_sched.wheel, &work.tick);
	list_each_safe (l, tmp, &work.running)
		co_cancel(CONTAINER_OF(l, struct lookup, link)->co);
	for (int i = 0; i < 100 && work.nrunning; i++)
		io_loop_turn(0);
	if (work.system && work.nrunning == 0)
		resolver_free(work.system);
	work.system = NULL;
	work.started = false;
}
