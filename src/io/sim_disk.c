/* The virtual disk: a tree of folders, files and symbolic links in memory. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include "io/sim_int.h"

#define LINKS_AT_MOST 40

static struct sim_node *root;
static struct list nodes = {&nodes, &nodes}; /* all, unlinked ones too */

static struct sim_node *node_make(mode_t mode)
{
	struct sim_node *n = mem_plain_zalloc(sizeof(*n));

	list_init(&n->link);
	list_init(&n->children);
	list_push(&nodes, &n->all);
	n->mode = mode;
	n->ino = ++sim.inos;
	n->mtime_us = sim_wall_us();
	return n;
}

static void node_free(struct sim_node *n)
{
	list_del(&n->link);
	list_del(&n->all);
	mem_plain_free(n->name);
	mem_plain_free(n->p);
	mem_plain_free(n);
}

struct sim_node *sim_disk_root(void)
{
	if (!root)
		root = node_make(S_IFDIR | 0755);
	return root;
}

void sim_disk_free(void)
{
	while (!list_empty(&nodes)) {
		struct sim_node *n = CONTAINER_OF(nodes.next, struct sim_node, all);

		list_init(&n->link); /* its folder may be gone already */
		node_free(n);
	}
	root = NULL;
}

struct sim_node *sim_node_child(struct sim_node *folder, const char *name, size_t n)
{
	struct list *l;

	list_each (l, &folder->children) {
		struct sim_node *c = CONTAINER_OF(l, struct sim_node, link);

		if (strlen(c->name) == n && memcmp(c->name, name, n) == 0)
			return c;
	}
	return NULL;
}

static void node_name(struct sim_node *node, struct sim_node *folder, const char *name, size_t n)
{
	mem_plain_free(node->name);
	node->name = mem_plain_zalloc(n + 1);
	memcpy(node->name, name, n);
	node->parent = folder;
	list_push(&folder->children, &node->link);
	folder->mtime_us = sim_wall_us();
}

struct sim_node *sim_node_new(struct sim_node *folder, const char *name, size_t n, mode_t mode)
{
	struct sim_node *node = node_make(mode);

	if (folder)
		node_name(node, folder, name, n);
	return node;
}

void sim_node_move(struct sim_node *node, struct sim_node *folder, const char *name, size_t n)
{
	list_del(&node->link);
	node_name(node, folder, name, n);
}

void sim_node_unlink(struct sim_node *node)
{
	list_del(&node->link);
	node->parent = NULL;
	if (!node->opened)
		node_free(node);
}

void sim_node_unref(struct sim_node *node)
{
	if (--node->opened == 0 && !node->parent && node != root)
		node_free(node);
}

void sim_node_resize(struct sim_node *node, size_t n)
{
	if (n > node->cap) {
		node->cap = MAX_OF(node->cap * 2, n);
		node->p = mem_plain_resize(node->p, node->cap);
	}
	if (n > node->n)
		memset(node->p + node->n, 0, n - node->n);
	node->n = n;
	node->mtime_us = sim_wall_us();
}

/* ---- paths ---- */

/* One walk: what is left of the path changes when a link is gone through. */
struct walk {
	struct sim_node *at;
	char rest[2 * PATH_MAX];
	unsigned links;
};

static int walk_link(struct walk *w, const struct sim_node *link, const char *rest)
{
	char joined[sizeof(w->rest)];
	size_t n = strlen(rest);

	if (++w->links > LINKS_AT_MOST)
		return -ELOOP;
	if (link->n + 1 + n >= sizeof(joined))
		return -ENAMETOOLONG;
	memcpy(joined, link->p, link->n);
	memcpy(joined + link->n, rest, n + 1); /* empty, or begins with a slash */
	if (joined[0] == '/')
		w->at = sim_disk_root();
	memcpy(w->rest, joined, link->n + n + 1);
	return 0;
}

/* Takes one name off the front and goes there. */
static int walk_step(struct walk *w, bool follow)
{
	char *name = w->rest + strspn(w->rest, "/"), *rest;
	size_t n = strcspn(name, "/");
	struct sim_node *next;

	rest = name + n;
	if (!S_ISDIR(w->at->mode))
		return -ENOTDIR;
	if (n > NAME_MAX)
		return -ENAMETOOLONG;
	if (n == 0 || (n == 1 && name[0] == '.')) {
		next = w->at;
	} else if (n == 2 && name[0] == '.' && name[1] == '.') {
		next = w->at->parent ? w->at->parent : w->at;
	} else {
		next = sim_node_child(w->at, name, n);
		if (!next)
			return -ENOENT;
	}
	if (S_ISLNK(next->mode) && (follow || *rest))
		return walk_link(w, next, rest);
	w->at = next;
	memmove(w->rest, rest, strlen(rest) + 1);
	return 0;
}

static int walk_start(struct walk *w, struct sim_node *dir, const char *path)
{
	size_t n = strlen(path);

	if (n == 0)
		return -ENOENT;
	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	w->links = 0;
	w->at = dir && path[0] != '/' ? dir : sim_disk_root();
	memcpy(w->rest, path, n + 1);
	return 0;
}

int sim_node_walk(struct sim_node *dir, const char *path, bool follow, struct sim_node **found)
{
	static struct walk w; /* too large for a coroutine's stack */
	int r = walk_start(&w, dir, path);

	while (r == 0 && w.rest[0])
		r = walk_step(&w, follow);
	*found = r == 0 ? w.at : NULL;
	return r;
}

int sim_node_parent(struct sim_node *dir, const char *path, struct sim_node **folder,
		    const char **name, size_t *n)
{
	static char before[PATH_MAX];
	const char *end = path + strlen(path), *last;
	int r = 0;

	if (end == path)
		return -ENOENT;
	if (end - path >= PATH_MAX)
		return -ENAMETOOLONG;
	while (end > path && end[-1] == '/')
		end--;
	for (last = end; last > path && last[-1] != '/';)
		last--;
	*name = last;
	*n = (size_t)(end - last);
	memcpy(before, path, (size_t)(last - path));
	before[last - path] = '\0';
	*folder = dir && path[0] != '/' ? dir : sim_disk_root();
	if (last > path)
		r = sim_node_walk(dir, before, true, folder);
	if (r == 0 && !S_ISDIR((*folder)->mode))
		r = -ENOTDIR;
	return r == 0 && *n == 0 ? -EISDIR : r;
}

/* ---- prepared by actors ---- */

/* The folders of path, made when they are not there. */
static struct sim_node *folders_make(const char *path, const char **name, size_t *n)
{
	struct sim_node *at = sim_disk_root();

	for (;;) {
		const char *end;
		struct sim_node *next;

		path += strspn(path, "/");
		end = path + strcspn(path, "/");
		if (!*end) {
			*name = path;
			*n = (size_t)(end - path);
			return at;
		}
		next = sim_node_child(at, path, (size_t)(end - path));
		if (!next)
			next = sim_node_new(at, path, (size_t)(end - path), S_IFDIR | 0755);
		at = next;
		path = end;
	}
}

void sim_file_folders(const char *path)
{
	const char *name;
	size_t n;

	folders_make(path, &name, &n);
}

static struct sim_node *node_put(const char *path, mode_t mode)
{
	const char *name;
	size_t n;
	struct sim_node *folder = folders_make(path, &name, &n);
	struct sim_node *old = sim_node_child(folder, name, n);

	if (old)
		sim_node_unlink(old);
	return sim_node_new(folder, name, n, mode);
}

void sim_file_put(const char *path, const void *p, size_t n)
{
	struct sim_node *node = node_put(path, S_IFREG | 0644);

	sim_node_resize(node, n);
	if (n)
		memcpy(node->p, p, n);
}

void sim_link_put(const char *path, const char *target)
{
	struct sim_node *node = node_put(path, S_IFLNK | 0777);

	sim_node_resize(node, strlen(target));
	memcpy(node->p, target, node->n);
}

void sim_folder_put(const char *path)
{
	const char *name;
	size_t n;
	struct sim_node *folder = folders_make(path, &name, &n);

	if (n && !sim_node_child(folder, name, n))
		sim_node_new(folder, name, n, S_IFDIR | 0755);
}

struct span sim_file_get(const char *path)
{
	struct sim_node *node;

	if (sim_node_walk(NULL, path, true, &node) < 0)
		return span_make(NULL, 0);
	return span_make(node->p, node->n);
}

size_t sim_disk_bytes(void)
{
	size_t all = 0;
	struct list *l;

	list_each (l, &nodes)
		all += CONTAINER_OF(l, struct sim_node, all)->n;
	return all;
}
