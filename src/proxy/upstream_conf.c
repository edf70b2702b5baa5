/* The `upstream {}` block and the directives in it. */
#include "conf/conf.h"
#include "proxy/h2_upconn.h"
#include "serve/core.h"
#include "serve/core_rows.h"

static struct group *group_of_call(const struct conf_call *c)
{
	return c->scope->owner;
}

static int bad_param(struct conf_call *c, unsigned word)
{
	return conf_error(c, word, "invalid parameter \"%.*s\"", SPAN_ARG(conf_arg(c, word)));
}

/* ---- server ---- */

static const char *const later_params[] = {
	"slow_start=", "route=", "service=", "sid=", "tag=", "zone="};

static bool number_param(struct span value, int64_t low, int *out)
{
	uint64_t v;

	if (!span_to_u64(value, INT32_MAX, &v) || (int64_t)v < low)
		return false;
	*out = (int)v;
	return true;
}

static int no_such_param(struct conf_call *c, unsigned word)
{
	struct span w = conf_arg(c, word);

	for (size_t i = 0; i < ARRAY_LEN(later_params); i++) {
		if (span_starts(w, span_of(later_params[i]))) {
			conf_error(c, word, "parameter \"%.*s\" is not supported yet", SPAN_ARG(w));
			return CONF_ERR;
		}
	}
	if (span_eq(w, SPAN("drain")))
		return conf_error(c, word, "parameter \"drain\" is not supported yet");
	return bad_param(c, word);
}

/* Balancers that know one tier only. */
static bool takes_backup(const struct group *g)
{
	return g->balancer == &balance_round_robin || g->balancer == &balance_least_conn;
}

static int server_param(struct conf_call *c, unsigned word, struct group *g, struct group_server *s)
{
	struct group_member *m = &s->proto;
	struct span w = conf_arg(c, word), v;
	int64_t seconds;

	if (conf_param(w, "weight", &v))
		return number_param(v, 1, &m->weight) ? CONF_OK : bad_param(c, word);
	if (conf_param(w, "max_conns", &v))
		return number_param(v, 0, &m->max_conns) ? CONF_OK : bad_param(c, word);
	if (conf_param(w, "max_fails", &v))
		return number_param(v, 0, &m->max_fails) ? CONF_OK : bad_param(c, word);
	if (conf_param(w, "fail_timeout", &v)) {
		if (!conf_parse_sec(v, &seconds))
			return bad_param(c, word);
		m->fail_timeout_ms = seconds * SECOND;
		return CONF_OK;
	}
	if (span_eq(w, SPAN("backup"))) {
		if (!takes_backup(g))
			return conf_error(c, word,
					  "balancing method does not support parameter \"backup\"");
		m->backup = true;
		return CONF_OK;
	}
	if (span_eq(w, SPAN("down"))) {
		m->down = true;
		return CONF_OK;
	}
	if (span_eq(w, SPAN("resolve"))) { /* all are resolved again; this one by the configured
					      resolver */
		s->resolve = true;
		return CONF_OK;
	}
	return no_such_param(c, word);
}

static int set_server(struct conf_call *c)
{
	struct group *g = group_of_call(c);
	struct group_server *s = group_add_server(c, 1, g, conf_arg(c, 1), 80);
	int r = CONF_OK;

	if (!s)
		return CONF_ERR;
	for (unsigned i = 2; i <= conf_nargs(c); i++)
		r |= server_param(c, i, g, s);
	return r;
}

/* ---- balancing methods ---- */

static void set_method(struct conf_call *c, const struct balancer *b)
{
	struct group *g = group_of_call(c);

	if (g->method_given)
		conf_warn(c, 0, "load balancing method redefined");
	g->method_given = true;
	g->balancer = b;
}

static int set_least_conn(struct conf_call *c)
{
	set_method(c, &balance_least_conn);
	return CONF_OK;
}

static int set_ip_hash(struct conf_call *c)
{
	set_method(c, &balance_ip_hash);
	return CONF_OK;
}

static int set_hash(struct conf_call *c)
{
	struct group *g = group_of_call(c);

	if (conf_nargs(c) == 2 && !span_eq(conf_arg(c, 2), SPAN("consistent")))
		return bad_param(c, 2);
	g->hash_consistent = conf_nargs(c) == 2;
	g->hash_key = tmpl_compile(c, 1);
	if (!g->hash_key)
		return CONF_ERR;
	set_method(c, g->hash_consistent ? &balance_hash_consistent : &balance_hash);
	return CONF_OK;
}

static int set_random(struct conf_call *c)
{
	struct group *g = group_of_call(c);

	if (conf_nargs(c) >= 1 && !span_eq(conf_arg(c, 1), SPAN("two")))
		return bad_param(c, 1);
	if (conf_nargs(c) == 2 && !span_eq(conf_arg(c, 2), SPAN("least_conn")))
		return bad_param(c, 2);
	g->random_two = conf_nargs(c) >= 1;
	set_method(c, &balance_random);
	return CONF_OK;
}

/* ---- idle connections ---- */

static int set_keepalive(struct conf_call *c)
{
	struct group *g = group_of_call(c);

	if (!number_param(conf_arg(c, 1), 0, &g->keepalive))
		return conf_error(c, 1, "invalid value \"%.*s\" in \"keepalive\" directive",
				  SPAN_ARG(conf_arg(c, 1)));
	if (conf_nargs(c) == 2 && !span_eq(conf_arg(c, 2), SPAN("local")))
		return bad_param(c, 2);
	return CONF_OK;
}

static int set_keepalive_requests(struct conf_call *c)
{
	uint64_t v;

	if (!span_to_u64(conf_arg(c, 1), INT32_MAX, &v))
		return conf_error(c, 1, "invalid number");
	group_of_call(c)->keepalive_requests = (int64_t)v;
	return CONF_OK;
}

static int set_msec(struct conf_call *c, int64_t *out)
{
	if (!conf_parse_msec(conf_arg(c, 1), out))
		return conf_error(c, 1, "\"%.*s\" directive invalid value",
				  SPAN_ARG(conf_arg(c, 0)));
	return CONF_OK;
}

static int set_keepalive_time(struct conf_call *c)
{
	return set_msec(c, &group_of_call(c)->keepalive_time_ms);
}

static int set_keepalive_timeout(struct conf_call *c)
{
	return set_msec(c, &group_of_call(c)->keepalive_timeout_ms);
}

/* State is always the whole instance's; only the form is checked. */
static int set_zone(struct conf_call *c)
{
	struct span name = conf_arg(c, 1);
	int64_t size;

	if (name.n == 0)
		return conf_error(c, 1, "invalid zone name \"%.*s\"", SPAN_ARG(name));
	if (conf_nargs(c) == 2 && (!conf_parse_size(conf_arg(c, 2), &size) || size <= 0))
		return conf_error(c, 2, "invalid zone size \"%.*s\"", SPAN_ARG(conf_arg(c, 2)));
	return CONF_OK;
}

/* As in http{}, but for this group's servers only; `off`: their names are resolved once. */
static int set_resolver(struct conf_call *c)
{
	struct group *g = group_of_call(c);
	struct conf_call k = *c;

	k.mod = &core_loc_mod;
	if (resolver_set(&k) < 0)
		return CONF_ERR;
	g->resolver = ((struct core_loc *)conf_get(c->scope, &core_loc_mod))->resolver;
	g->resolver_off = !g->resolver;
	return CONF_OK;
}

static int set_resolver_timeout(struct conf_call *c)
{
	int64_t ms;

	return set_msec(c, &ms);
}

/* ---- the block ---- */

static int seal(struct conf_call *c, struct group *g)
{
	bool first = false;

	if (g->nservers == 0)
		return conf_error(c, 0, "no servers are inside upstream");
	for (size_t i = 0; i < g->nservers; i++)
		first |= !g->servers[i].proto.backup;
	if (!first) {
		conf_error(c, 0, "no servers in upstream \"%.*s\"", SPAN_ARG(g->name));
		return conf_remedy(c, "at least one server must not be a backup");
	}
	return group_seal(c, g);
}

static int set_upstream(struct conf_call *c)
{
	struct http_main *m = http_main_of(c->ctx);
	struct span name = conf_arg(c, 1);
	struct conf_scope *s;
	struct group *g;

	if (group_find(m, name))
		return conf_error(c, 1, "duplicate upstream \"%.*s\"", SPAN_ARG(name));
	g = group_new(c, m, name);
	s = g ? conf_scope_new(c, IN_UPSTREAM, g) : NULL;
	if (!s || conf_apply(c, s) < 0)
		return CONF_ERR;
	return seal(c, g);
}

static const struct conf_row rows[] = {
	MBLOCK("upstream", IN_HTTP, 1, 1, set_upstream,
	       "A group of servers that proxy_pass and friends can name."),
	MCUSTOM("server", IN_UPSTREAM, 1, 255, CONF_MULTI, set_server,
		"ADDRESS [weight= max_fails= fail_timeout= max_conns= backup down]: one server of "
		"the group."),
	MCUSTOM("least_conn", IN_UPSTREAM, 0, 0, CONF_MULTI, set_least_conn,
		"Chooses the server with the fewest requests in flight, by weight."),
	MCUSTOM("ip_hash", IN_UPSTREAM, 0, 0, CONF_MULTI, set_ip_hash,
		"Chooses the server by the client's address (IPv4: its first three octets)."),
	MCUSTOM("hash", IN_UPSTREAM, 1, 2, CONF_MULTI, set_hash,
		"KEY [consistent]: chooses the server by a value of the request."),
	MCUSTOM("random", IN_UPSTREAM, 0, 2, CONF_MULTI, set_random,
		"[two [least_conn]]: chooses at random, by weight; or the less loaded of two."),
	MCUSTOM("keepalive", IN_UPSTREAM, 1, 2, 0, set_keepalive,
		"Idle connections kept open per thread; 0: none. Default 32."),
	MCUSTOM("keepalive_requests", IN_UPSTREAM, 1, 1, 0, set_keepalive_requests,
		"Requests after which a connection is closed. Default 1000."),
	MCUSTOM("keepalive_time", IN_UPSTREAM, 1, 1, 0, set_keepalive_time,
		"Age after which a connection is closed when its request ends. Default 1h."),
	MCUSTOM("keepalive_timeout", IN_UPSTREAM, 1, 1, 0, set_keepalive_timeout,
		"How long an idle connection stays open. Default 60s."),
	MCUSTOM("resolver", IN_UPSTREAM, 1, 255, 0, set_resolver,
		"Name servers for servers with `resolve`; off: names are resolved once, at start."),
	MCUSTOM("resolver_timeout", IN_UPSTREAM, 1, 1, 0, set_resolver_timeout,
		"Accepted; questions in the background wait 30s."),
	MCUSTOM("zone", IN_UPSTREAM, 1, 2, 0, set_zone,
		"Accepted; groups are shared by all threads and keep their state over reloads "
		"without it."),
	MEND,
};

static struct conf_mod upstream_mod = {.name = "upstream", .rows = rows};
static struct conf_mod *const confs[] = {&upstream_mod, NULL};

static int upstream_thread_start(void)
{
	return upstream_resolve_start();
}

static void upstream_thread_stop(void)
{
	upstream_resolve_stop();
	h2_upconn_thread_fini();
	upconn_thread_fini();
}

const struct http_module upstream_module = {
	.name = "upstream",
	.confs = confs,
	.thread_start = upstream_thread_start,
	.thread_stop = upstream_thread_stop,
	.switched = upstream_resolve_switched,
};
