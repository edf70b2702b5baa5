#include "opener_sim.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/sim.h"
#include "link.h"
#include "main/opener_replay.h"

/* Counted over snapshots, as in the worker's own opener. */
struct sim_log {
	struct sim_log *next;
	int fd;
	unsigned refs;
	char path[64];
};
static struct sim_log *logs;

static struct opener_sim *sim_of(struct opener *o)
{
	return CONTAINER_OF(o, struct opener_sim, opener);
}

static int sim_read_file(struct opener *op, struct span path, struct arena *a, struct span *text)
{
	struct span s;

	if (span_eq(path, SPAN("/conf/nginx.conf")))
		s = sim_of(op)->conf;
	else if (span_eq(path, SPAN("/conf/sim.crt")))
		s = link_cert();
	else if (span_eq(path, SPAN("/conf/sim.key")))
		s = link_key();
	else if (span_eq(path, SPAN("/conf/issuer.crt")))
		s = link_issuer();
	else
		return -ENOENT;
	*text = arena_dup(a, s);
	return text->p ? 0 : -ENOMEM;
}

static int sim_glob(struct opener *op, struct span pattern, struct arena *a, struct span **paths,
		    size_t *n)
{
	*paths = NULL;
	*n = 0;
	return 0;
}

/* ---- logs ---- */

static void log_unref(void *arg)
{
	struct sim_log *l = arg, **at = &logs;

	if (--l->refs)
		return;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	sys->close(l->fd);
	free(l);
}

static struct sim_log *log_open(struct span path)
{
	struct sim_log *l;

	for (l = logs; l; l = l->next)
		if (span_eq(path, span_of(l->path)))
			return l;
	l = calloc(1, sizeof(*l));
	BUG_ON(!l || !span_to_cstr(path, l->path, sizeof(l->path)));
	l->fd = sim_open_log(l->path);
	if (l->fd < 0) {
		free(l);
		return NULL;
	}
	l->next = logs;
	logs = l;
	return l;
}

static int sim_log(struct opener *op, struct span path)
{
	struct sim_log *l = log_open(path);

	if (!l)
		return -EMFILE;
	l->refs++;
	if (snapshot_on_free(sim_of(op)->snapshot, log_unref, l) < 0) {
		log_unref(l);
		return -ENOMEM;
	}
	return l->fd;
}

void opener_sim_each_log(void (*fn)(const char *path, int fd))
{
	for (struct sim_log *l = logs; l; l = l->next)
		fn(l->path, l->fd);
}

unsigned opener_sim_logs(void)
{
	unsigned n = 0;

	for (struct sim_log *l = logs; l; l = l->next)
		n++;
	return n;
}

/* ---- the rest ---- */

static int sim_opener_listen(struct opener *op, const struct listen_spec *spec, unsigned index)
{
	int fd = opener_served(spec, index);

	if (fd >= 0)
		return fd;
	return sim_open_listener((const struct sockaddr *)&spec->sa, spec->salen,
				 MAX_OF(spec->backlog, 511), spec->reuseport);
}

static int sim_make_dir(struct opener *op, struct span path)
{
	char name[128];
	int r = -ENAMETOOLONG;

	if (!span_to_cstr(path, name, sizeof(name)))
		return r;
	for (size_t i = 1; i <= path.n; i++) {
		if (name[i] && name[i] != '/')
			continue;
		name[i] = 0;
		r = sys->mkdir(name, 0700);
		if (i < path.n)
			name[i] = '/';
	}
	return r == -EEXIST ? 0 : r;
}

/* "N.sim" is 10.1.0.N. */
static int sim_resolve(struct opener *op, struct span host, struct sockaddr_storage *sa, size_t max)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	uint64_t n;

	if (host.n < 5 || !span_ends(host, SPAN(".sim")) || !max ||
	    !span_to_u64(span_cut(host, 0, host.n - 4), 250, &n))
		return -ENOENT;
	in.sin_addr.s_addr = htonl(0x0a010000u + (uint32_t)n);
	memset(sa, 0, sizeof(*sa));
	memcpy(sa, &in, sizeof(in));
	return 1;
}

static int sim_exists(struct opener *op, struct span path)
{
	return 0;
}

static const struct opener_ops sim_ops = {
	.read_file = sim_read_file,
	.glob = sim_glob,
	.open_log = sim_log,
	.listen = sim_opener_listen,
	.make_dir = sim_make_dir,
	.resolve = sim_resolve,
	.exists = sim_exists,
};

void opener_sim_init(struct opener_sim *o, struct span conf, struct snapshot *s)
{
	*o = (struct opener_sim){.opener = {.ops = &sim_ops}, .snapshot = s, .conf = conf};
}
