#include <errno.h>
#include <unistd.h>
#include "base/pool.h"
#include "main/generation.h"
#include "main/sockets.h"
#include "serve/error_log.h"

#define GENERATION_ARENA_MAX ((size_t)16 << 20)

struct generation *generation_new(void)
{
	struct generation *g = mem_zalloc(sizeof(*g));

	if (!g)
		return NULL;
	arena_init(&g->arena, GENERATION_ARENA_MAX);
	g->log_fd = -1;
	return g;
}

void generation_free(struct generation *g, const struct generation *keep)
{
	if (!g)
		return;
	error_log_copy_close(g->log);
	bundle_free(g->bundle, keep ? keep->bundle : NULL);
	arena_fini(&g->arena);
	mem_free(g);
}

int generation_fill(struct generation *g, const struct snapshot *s, struct span prefix)
{
	g->settings = settings_new(&g->arena, s, prefix);
	g->log = error_log_copy(&g->arena, error_log_of(s->main));
	g->log_fd = error_log_fd(s->main);
	g->number = s->generation;
	return g->settings && g->log ? 0 : -ENOMEM;
}

struct generation *generation_load(const struct cmdline *cmd, const struct generation *old,
				   enum load_report report)
{
	struct generation *g = generation_new();
	struct opener_real o;
	struct load_args args = {.cmd = cmd,
				 .opener = &o.opener,
				 .report = report,
				 .generation = old ? old->number + 1 : 1};
	struct snapshot *s = NULL;
	int r = -ENOMEM;

	if (g && (g->bundle = bundle_new()) != NULL) {
		opener_real_init(&o, g->bundle, old ? old->bundle : NULL, false);
		s = load_config(&args, NULL);
	}
	if (s) {
		r = generation_fill(g, s, cmd->prefix);
		snapshot_drop_loader(s);
		if (r < 0)
			log_msg(NULL, LOG_EMERG, -r, "the configuration failed");
	}
	if (g && g->bundle)
		opener_real_forget_listeners(g->bundle);
	if (r == 0)
		return g;
	if (g && g->bundle)
		generation_unlink_sockets(g->bundle, old ? old->bundle : NULL);
	generation_free(g, old);
	return NULL;
}

void generation_unlink_sockets(const struct bundle *b, const struct bundle *keep)
{
	struct bundle_item *i;

	if (sockets_shared_with_parent())
		return;
	for (i = bundle_next(b, NULL, BUNDLE_LISTEN); i; i = bundle_next(b, i, BUNDLE_LISTEN)) {
		struct span path = socket_unix_path(i->key);

		if (path.n && i->fd >= 0 &&
		    !bundle_find(keep, BUNDLE_LISTEN, i->key, i->sub, i->index))
			unlink(path.p); /* the key has a zero behind it */
	}
}

void generation_disown_sockets(struct generation *g, const struct bundle *others)
{
	struct bundle_item *i;

	for (i = bundle_next(g->bundle, NULL, BUNDLE_LISTEN); i;
	     i = bundle_next(g->bundle, i, BUNDLE_LISTEN)) {
		const struct bundle_item *o =
			bundle_find(others, BUNDLE_LISTEN, i->key, i->sub, i->index);

		if (o && o->fd == i->fd)
			i->fd = -1;
	}
}

void generation_close_sockets(struct generation *g, bool remove)
{
	struct bundle_item *i;

	if (remove)
		generation_unlink_sockets(g->bundle, NULL);
	for (i = bundle_next(g->bundle, NULL, BUNDLE_LISTEN); i;
	     i = bundle_next(g->bundle, i, BUNDLE_LISTEN)) {
		if (i->fd >= 0)
			close(i->fd);
		i->fd = -1;
	}
}

void generation_replace(struct generation *old, const struct generation *by)
{
	if (!old)
		return;
	generation_unlink_sockets(old->bundle, by->bundle);
	generation_free(old, by);
}
