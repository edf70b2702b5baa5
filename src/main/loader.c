#include "main/loader.h"
#include "main/threads.h"
#include "net/listener.h"
#include "serve/serve.h"

static struct loader *publishing;

static void loader_drop(struct loader *l)
{
	if (l->snapshot)
		snapshot_drop_loader(l->snapshot);
	l->snapshot = NULL;
}

/* Every thread serves the new snapshot. */
static void loader_served(void)
{
	struct loader *l = publishing;

	serve_close_listeners(l->snapshot);
	net_conn_ceiling(l->connections);
	loader_drop(l);
	l->over(l, LOADER_SERVES);
}

void loader_publish(struct loader *l)
{
	publishing = l;
	threads_switch(l->snapshot, loader_served);
}

static void loader_loaded(struct loader *l)
{
	if (!l->snapshot) {
		serve_close_listeners(snapshot_current()); /* what it had opened before it failed */
		l->over(l, LOADER_FAILED);
	} else if (l->wanted(l)) {
		loader_publish(l);
	} else {
		loader_drop(l);
		l->over(l, LOADER_UNWANTED);
	}
}

void loader_run(struct loader *l)
{
	l->before = snapshot_current();
	l->load(l);
	l->before = NULL;
	loader_loaded(l);
}

/* ---- on a thread of its own ---- */

static void loader_hold(struct loader *l)
{
	struct snapshot *s = snapshot_current();

	l->before = s ? snapshot_ref(s) : NULL;
	l->running = true;
}

static void loader_let_go(struct loader *l)
{
	if (l->before)
		snapshot_unref(l->before);
	l->before = NULL;
	l->running = false;
}

static void loader_joined(struct io_msg *m)
{
	struct loader *l = CONTAINER_OF(m, struct loader, loaded);

	sys->thread_join(l->thread);
	loader_let_go(l);
	loader_loaded(l);
}

static void *loader_thread(void *arg)
{
	struct loader *l = arg;

	l->load(l);
	arena_thread_fini();
	threads_post_first(&l->loaded);
	return NULL;
}

int loader_start(struct loader *l)
{
	int r;

	l->loaded.run = loader_joined;
	loader_hold(l);
	r = sys->thread_start(&l->thread, loader_thread, l);
	if (r < 0)
		loader_let_go(l);
	return r;
}

void loader_abandon(struct loader *l)
{
	if (l->running) {
		sys->thread_join(l->thread);
		loader_let_go(l);
	}
	loader_drop(l);
}
