/* Groups: how they are built, found and given back. Choosing a peer is in pick.c. */
#include <errno.h>
#include "base/mutant.h"
#include "base/pool.h"
#include "conf/opener.h"
#include "conf/snapshot.h"
#include "net/resolver.h"
#include "proxy/group.h"
#include "serve/core.h"

#define RESOLVED_MAX  64 /* addresses of one name */
#define RESOLVED_ROOM 16 /* places that a name has at least, for addresses that come later */

struct group *group_find(struct http_main *m, struct span name)
{
	struct list *l;

	list_each (l, &m->upstreams) {
		struct group *g = CONTAINER_OF(l, struct group, link);

		if (!g->implicit && span_eq_nocase(g->name, name))
			return g;
	}
	return NULL;
}

static void group_defaults(struct group *g, struct span name)
{
	list_init(&g->link);
	g->name = name;
	g->balancer = &balance_round_robin;
	g->keepalive = 32;
	g->keepalive_requests = 1000;
	g->keepalive_time_ms = HOUR;
	g->keepalive_timeout_ms = MINUTE;
	g->default_port = 80;
}

/* Everything it holds outside of its arena. */
static void group_release(void *arg)
{
	struct group *g = arg;

	for (size_t i = 0; i < g->nmembers; i++)
		if (g->members[i].peer)
			peer_unref(g->members[i].peer);
	g->nmembers = 0;
	if (g->state)
		group_state_unref(g->state);
	g->state = NULL;
}

struct group *group_new(struct conf_call *c, struct http_main *m, struct span name)
{
	struct group *g = arena_zalloc(c->ctx->arena, sizeof(*g));

	if (!g) {
		conf_error(c, 0, "out of memory");
		return NULL;
	}
	group_defaults(g, name);
	g->main = m;
	g->snapshot = m->snapshot;
	g->state = group_state_ref_of(name);
	if (!g->state || (g->snapshot && snapshot_on_free(g->snapshot, group_release, g) < 0)) {
		group_release(g);
		conf_error(c, 0, "out of memory");
		return NULL;
	}
	list_push(&m->upstreams, &g->link);
	return g;
}

/* ---- servers ---- */

static bool is_present(const struct group_member *m)
{
	return m->peer && !m->gone;
}

/* Splits "host", "host:port", "[v6]:port". NULL, or nginx's words for what is wrong. */
static const char *split_host(struct span text, int default_port, struct group_server *s)
{
	bool v6 = text.n && text.p[0] == '[';
	ssize_t end = v6 ? span_find_char(text, ']', 0) : span_find_char(text, ':', 0);
	uint64_t port = default_port < 0 ? 0 : (uint64_t)default_port;
	size_t host_end = end < 0 ? text.n : (size_t)end + v6;

	if (span_find_char(text, '/', 0) >= 0 || span_find_char(text, '?', 0) >= 0 ||
	    (v6 && end < 0))
		return "invalid host";
	s->host = v6 ? span_cut(text, 1, host_end - 1) : span_cut(text, 0, host_end);
	if (s->host.n == 0)
		return v6 ? "invalid IPv6 address" : "no host";
	if (host_end < text.n) {
		if (text.p[host_end] != ':' ||
		    !span_to_u64(span_cut(text, host_end + 1, text.n), 65535, &port) || port == 0)
			return "invalid port";
	} else if (default_port < 0) {
		return "no port";
	}
	s->port = (int)port;
	return NULL;
}

/* IPv4 first, as nginx has them; repeated ones once. */
static size_t sort_resolved(const struct sockaddr_storage *in, int n, int port,
			    struct net_addr *out)
{
	size_t count = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < n; i++) {
			struct net_addr a = {.len = pass ? sizeof(a.in6) : sizeof(a.in)};
			bool seen = false;

			if (in[i].ss_family != (pass ? AF_INET6 : AF_INET))
				continue;
			memcpy(&a.sa, &in[i], a.len);
			addr_set_port(&a.sa, port);
			for (size_t j = 0; j < count; j++)
				seen |= addr_eq(&out[j].sa, &a.sa);
			if (!seen)
				out[count++] = a;
		}
	}
	return count;
}

/* "localhost" and what ends in it: their addresses never change (RFC 6761 6.3). */
static bool is_local_name(struct span host)
{
	struct span local = SPAN("localhost");

	return span_eq_nocase(host, local) ||
	       (host.n > local.n && host.p[host.n - local.n - 1] == '.' &&
		span_eq_nocase(span_cut(host, host.n - local.n, host.n), local));
}

/* The addresses of that group's present members, at most RESOLVED_MAX. */
static size_t addrs_of(struct group *g, const struct group_server *s, struct net_addr *out)
{
	size_t n = 0;

	pthread_mutex_lock(&g->state->lock);
	for (size_t i = s->first; i < s->first + s->nslots && n < RESOLVED_MAX; i++)
		if (is_present(&g->members[i]))
			out[n++] = g->members[i].peer->addr;
	pthread_mutex_unlock(&g->state->lock);
	return n;
}

/* What the server had in the configuration that is being replaced: a reload while names cannot be
 * resolved loses nothing. */
static size_t addrs_before(const struct snapshot *before, const struct group *g, struct span text,
			   struct net_addr *out)
{
	struct http_main *m = before && !MUTANT(forgetful) ? before->http : NULL;
	struct list *l;

	if (!m)
		return 0;
	list_each (l, &m->upstreams) {
		struct group *old = CONTAINER_OF(l, struct group, link);

		if (old->implicit != g->implicit || old->default_port != g->default_port ||
		    !span_eq(old->name, g->name))
			continue;
		for (size_t i = 0; i < old->nservers; i++)
			if (span_eq(old->servers[i].text, text))
				return addrs_of(old, &old->servers[i], out);
	}
	return 0;
}

static int resolve_server(struct conf_call *c, unsigned word, const struct group *g,
			  struct group_server *s)
{
	struct opener *o = c->ctx->opener;
	struct sockaddr_storage *sa = mem_alloc(RESOLVED_MAX * sizeof(*sa));
	struct net_addr *out = arena_alloc(c->ctx->arena, RESOLVED_MAX * sizeof(*out));
	int n;

	if (!sa || !out) {
		mem_free(sa);
		return conf_error(c, word, "out of memory");
	}
	n = o->ops->resolve(o, s->host, sa, RESOLVED_MAX);
	if (n > 0)
		s->naddrs = sort_resolved(sa, n, s->port, out);
	mem_free(sa);
	s->addrs = out;
	s->is_name = s->naddrs == 0 || !is_local_name(s->host);
	if (s->naddrs == 0)
		s->naddrs = addrs_before(c->ctx->before, g, s->text, out);
	if (s->naddrs == 0) {
		conf_warn(c, word, "host not found in upstream \"%.*s\"", SPAN_ARG(s->text));
		conf_remedy(c, "it is asked for again in the background; until then this server is "
			       "left out");
	}
	return CONF_OK;
}

static int parse_server(struct conf_call *c, unsigned word, const struct group *g,
			struct group_server *s, int default_port)
{
	struct net_addr *a = arena_zalloc(c->ctx->arena, sizeof(*a));
	const char *wrong = NULL;

	if (!a)
		return conf_error(c, word, "out of memory");
	s->addrs = a;
	s->naddrs = 1;
	if (span_starts_nocase(s->text, SPAN("unix:"))) {
		s->host = s->text;
		if (s->text.n == 5)
			wrong = "no path in the unix domain socket";
		else if (!addr_parse(s->text, 0, a))
			wrong = "too long path in the unix domain socket";
	} else {
		wrong = split_host(s->text, default_port, s);
		if (!wrong && s->text.p[0] == '[' && !addr_parse_ip(s->host, a))
			wrong = "invalid IPv6 address";
	}
	if (wrong)
		return conf_error(c, word, "%s in upstream \"%.*s\"", wrong, SPAN_ARG(s->text));
	if (a->len == 0 && !addr_parse_ip(s->host, a)) {
		s->naddrs = 0;
		return resolve_server(c, word, g, s);
	}
	if (a->sa.sa_family != AF_UNIX)
		addr_set_port(&a->sa, s->port);
	return CONF_OK;
}

struct group_server *group_add_server(struct conf_call *c, unsigned word, struct group *g,
				      struct span text, int default_port)
{
	struct group_server s = {
		.text = text,
		.proto = {.weight = 1, .max_fails = 1, .fail_timeout_ms = 10 * SECOND}};
	struct group_server *place;

	if (parse_server(c, word, g, &s, default_port) < 0)
		return NULL;
	s.proto.server = text;
	for (s.same_as = 0; s.same_as < g->nservers; s.same_as++)
		if (span_eq(g->servers[s.same_as].text, text))
			break;
	s.proto.server_no = s.same_as;
	place = ARENA_PUSH(c->ctx->arena, g->servers, &g->nservers, &g->servers_cap);
	if (!place) {
		conf_error(c, word, "out of memory");
		return NULL;
	}
	*place = s;
	return place;
}

/* ---- members ---- */

/* What depends on which members there are. Under the lock once the group is in use. */
static void group_recount(struct group *g)
{
	size_t n = 0, backups = 0;

	g->total_weight = 0;
	g->tries[0] = g->tries[1] = 0;
	for (size_t i = 0; i < g->nmembers; i++) {
		const struct group_member *m = &g->members[i];

		if (!is_present(m))
			continue;
		if (!m->down)
			g->tries[m->backup]++;
		n += !m->backup;
		if (!m->backup)
			g->total_weight += m->weight;
	}
	for (size_t i = 0; i < g->nservers; i++)
		backups += g->servers[i].proto.backup;
	g->nbackup = backups;
	g->single = n == 1 && backups == 0;
}

/* The lowest number that no other member of that address has. */
static unsigned free_nth(const struct group *g, const struct net_addr *addr)
{
	for (unsigned nth = 0;; nth++) {
		bool taken = false;

		for (size_t i = 0; i < g->nmembers && !taken; i++) {
			const struct peer *p = g->members[i].peer;

			taken = p && p->nth == nth && addr_eq(&p->addr.sa, &addr->sa);
		}
		if (!taken)
			return nth;
	}
}

static bool member_set(struct group *g, struct group_member *m, const struct group_server *s,
		       const struct net_addr *addr)
{
	struct peer *p = peer_ref_of(g->state, addr, free_nth(g, addr));

	if (!p)
		return false;
	*m = s->proto;
	m->peer = p;
	return true;
}

static size_t places_of(const struct group *g, const struct group_server *s)
{
	if (!s->is_name || g->resolver_off)
		return s->naddrs;
	return MAX_OF(MIN_OF(2 * s->naddrs, (size_t)RESOLVED_MAX), (size_t)RESOLVED_ROOM);
}

/* Members of all servers; g->members has room for them. */
static bool members_fill(struct group *g)
{
	size_t at = 0;

	for (size_t i = 0; i < g->nservers; i++) {
		struct group_server *s = &g->servers[i];

		s->first = at;
		s->nslots = places_of(g, s);
		at += s->nslots;
		g->nmembers = at;
		for (size_t j = 0; j < s->nslots; j++)
			g->members[s->first + j] = s->proto;
		for (size_t j = 0; j < s->naddrs; j++)
			if (!member_set(g, &g->members[s->first + j], s, &s->addrs[j]))
				return false;
		g->resolving |= s->is_name && !g->resolver_off;
	}
	group_recount(g);
	return true;
}

int group_seal(struct conf_call *c, struct group *g)
{
	size_t places = 0;

	for (size_t i = 0; i < g->nservers; i++)
		places += places_of(g, &g->servers[i]);
	g->members = arena_zalloc(c->ctx->arena, (places + 1) * sizeof(*g->members));
	if (!g->members || !members_fill(g))
		return conf_error(c, 0, "out of memory");
	if (g->balancer->init && g->balancer->init(c, g) < 0)
		return CONF_ERR;
	return CONF_OK;
}

/* ---- names that are resolved again ---- */

static bool addr_among(const struct net_addr *a, const struct net_addr *addrs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (addr_eq(&addrs[i].sa, &a->sa))
			return true;
	return false;
}

static struct group_member *member_of_addr(struct group_member *places, size_t n,
					   const struct net_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (places[i].peer && addr_eq(&places[i].peer->addr.sa, &a->sa))
			return &places[i];
	return NULL;
}

/* Marks those that the name has lost; frees them when no attempt is on them. */
static bool members_lose(struct group_member *places, size_t n, const struct net_addr *addrs,
			 size_t naddrs)
{
	bool changed = false;

	for (size_t i = 0; i < n; i++) {
		struct group_member *m = &places[i];

		if (!m->peer || addr_among(&m->peer->addr, addrs, naddrs) || MUTANT(loyal))
			continue;
		changed |= !m->gone;
		m->gone = true;
		if (atomic_load(&m->peer->active) == 0) {
			peer_unref(m->peer);
			m->peer = NULL;
		}
	}
	return changed;
}

bool group_server_update(struct group *g, struct group_server *s, const struct net_addr *addrs,
			 size_t n)
{
	struct group_member *places = g->members + s->first;
	bool changed;

	pthread_mutex_lock(&g->state->lock);
	changed = members_lose(places, s->nslots, addrs, n);
	for (size_t i = 0; i < n; i++) {
		struct group_member *m = member_of_addr(places, s->nslots, &addrs[i]);

		if (m) {
			changed |= m->gone;
			m->gone = false;
			continue;
		}
		for (m = places; m < places + s->nslots && m->peer;)
			m++;
		if (m < places + s->nslots)
			changed |= member_set(g, m, s, &addrs[i]);
	}
	if (changed)
		group_recount(g);
	pthread_mutex_unlock(&g->state->lock);
	return changed;
}

/* ---- groups that no upstream block made ---- */

struct group *group_implicit(struct conf_call *c, unsigned word, struct span host_port,
			     int default_port)
{
	struct http_main *m = http_main_of(c->ctx);
	struct group *g;
	struct list *l;

	list_each (l, &m->upstreams) {
		g = CONTAINER_OF(l, struct group, link);
		if (g->implicit && g->default_port == default_port && span_eq(g->name, host_port))
			return g;
	}
	g = group_new(c, m, host_port);
	if (!g)
		return NULL;
	g->implicit = true;
	g->default_port = default_port;
	if (!group_add_server(c, word, g, host_port, default_port) || group_seal(c, g) < 0)
		return NULL;
	return g;
}

struct group *group_of_addrs(struct req *r, struct span host, const struct net_addr *addrs,
			     size_t n)
{
	struct group *g = arena_zalloc(&r->arena, sizeof(*g));
	struct group_server *s = arena_zalloc(&r->arena, sizeof(*s));

	if (!g || !s)
		return NULL;
	group_defaults(g, host);
	g->implicit = true;
	g->members = arena_zalloc(&r->arena, (n + 1) * sizeof(*g->members));
	g->state = group_state_ref_of(host);
	if (!g->state || !g->members || req_cleanup(r, group_release, g) != FAIL_OK) {
		group_release(g);
		return NULL;
	}
	s->text = s->host = host;
	s->addrs = addrs;
	s->naddrs = n;
	s->proto = (struct group_member){
		.server = host, .weight = 1, .max_fails = 1, .fail_timeout_ms = 10 * SECOND};
	g->servers = s;
	g->nservers = 1;
	return members_fill(g) ? g : NULL;
}
