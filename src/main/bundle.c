#include <errno.h>
#include <unistd.h>
#include "base/pool.h"
#include "main/bundle.h"

struct bundle *bundle_new(void)
{
	struct bundle *b = mem_zalloc(sizeof(*b));

	if (!b)
		return NULL;
	arena_init(&b->arena, BUNDLE_MAX);
	hash_init(&b->hash);
	b->last = &b->first;
	return b;
}

static bool has_fd(const struct bundle *b, int fd)
{
	for (const struct bundle_item *i = b ? b->first : NULL; i; i = i->next)
		if (i->fd == fd)
			return true;
	return false;
}

void bundle_free(struct bundle *b, const struct bundle *keep)
{
	if (!b)
		return;
	for (struct bundle_item *i = b->first; i; i = i->next)
		if (i->fd >= 0 && !has_fd(keep, i->fd))
			close(i->fd);
	hash_fini(&b->hash);
	arena_fini(&b->arena);
	mem_free(b);
}

static uint64_t hash_of(enum bundle_kind kind, struct span key, int sub, unsigned index)
{
	return hash_bytes(key.p, key.n) + (uint64_t)kind * 31 + (uint64_t)sub * 131 + index;
}

struct bundle_item *bundle_find(const struct bundle *b, enum bundle_kind kind, struct span key,
				int sub, unsigned index)
{
	struct hash_node *n = b ? hash_first(&b->hash, hash_of(kind, key, sub, index)) : NULL;

	for (; n; n = hash_next(n)) {
		struct bundle_item *i = CONTAINER_OF(n, struct bundle_item, node);

		if (i->kind == kind && i->index == index && i->sub == sub && span_eq(i->key, key))
			return i;
	}
	return NULL;
}

struct bundle_item *bundle_add(struct bundle *b, enum bundle_kind kind, struct span key, int sub,
			       unsigned index)
{
	struct bundle_item *i = arena_zalloc(&b->arena, sizeof(*i));

	BUG_ON(bundle_find(b, kind, key, sub, index));
	if (!i)
		return NULL;
	i->kind = kind;
	i->index = index;
	i->sub = sub;
	i->fd = -1;
	i->key = arena_dup(&b->arena, key);
	if (!i->key.p || !hash_insert(&b->hash, &i->node, hash_of(kind, key, sub, index)))
		return NULL;
	*b->last = i;
	b->last = &i->next;
	b->nitems++;
	return i;
}

struct bundle_item *bundle_next(const struct bundle *b, const struct bundle_item *after,
				enum bundle_kind kind)
{
	struct bundle_item *i = after ? after->next : b ? b->first : NULL;

	while (i && i->kind != kind)
		i = i->next;
	return i;
}

/* ---- as bytes ---- */

static void pack_u64(struct buf *out, uint64_t v)
{
	buf_add(out, &v, sizeof(v));
}

static void pack_span(struct buf *out, struct span s)
{
	pack_u64(out, s.n);
	buf_add(out, s.p, s.n);
}

static void pack_item(struct buf *out, const struct bundle_item *i)
{
	pack_u64(out, i->kind);
	pack_u64(out, i->index);
	pack_u64(out, (uint64_t)i->sub);
	pack_u64(out, (uint64_t)-i->err);
	pack_u64(out, i->fd >= 0);
	pack_span(out, i->key);
	pack_span(out, i->text);
	pack_u64(out, i->npaths);
	for (size_t k = 0; k < i->npaths; k++)
		pack_span(out, i->paths[k]);
}

int bundle_pack(const struct bundle *b, struct buf *out, int **fds, size_t *nfds)
{
	*nfds = 0;
	*fds = mem_alloc((b->nitems + 1) * sizeof(**fds));
	if (!*fds)
		return -ENOMEM;
	pack_u64(out, b->nitems);
	for (const struct bundle_item *i = b->first; i; i = i->next) {
		pack_item(out, i);
		if (i->fd >= 0)
			(*fds)[(*nfds)++] = i->fd;
	}
	if (!out->failed)
		return 0;
	mem_free(*fds);
	*fds = NULL;
	return -ENOMEM;
}

static bool unpack_u64(struct span *in, uint64_t *v)
{
	if (in->n < sizeof(*v))
		return false;
	memcpy(v, in->p, sizeof(*v));
	*in = span_cut(*in, sizeof(*v), in->n);
	return true;
}

static bool unpack_span(struct span *in, struct span *s)
{
	uint64_t n;

	if (!unpack_u64(in, &n) || n > in->n)
		return false;
	*s = span_cut(*in, 0, n);
	*in = span_cut(*in, n, in->n);
	return true;
}

static bool unpack_paths(struct bundle *b, struct span *in, struct bundle_item *i)
{
	uint64_t n;

	if (!unpack_u64(in, &n) || n > in->n)
		return false;
	i->paths = arena_alloc(&b->arena, n * sizeof(*i->paths));
	if (!i->paths)
		return false;
	for (; i->npaths < n; i->npaths++) {
		struct span s;

		if (!unpack_span(in, &s))
			return false;
		i->paths[i->npaths] = arena_dup(&b->arena, s);
		if (!i->paths[i->npaths].p)
			return false;
	}
	return true;
}

static bool unpack_item(struct bundle *b, struct span *in, const int *fds, size_t nfds,
			size_t *used)
{
	uint64_t kind, index, sub, err, with_fd;
	struct bundle_item *i;
	struct span key, text;

	if (!unpack_u64(in, &kind) || !unpack_u64(in, &index) || !unpack_u64(in, &sub) ||
	    !unpack_u64(in, &err) || !unpack_u64(in, &with_fd) || !unpack_span(in, &key) ||
	    !unpack_span(in, &text))
		return false;
	if (kind >= BUNDLE_KINDS || (with_fd && *used >= nfds) ||
	    bundle_find(b, (enum bundle_kind)kind, key, (int)sub, (unsigned)index))
		return false;
	i = bundle_add(b, (enum bundle_kind)kind, key, (int)sub, (unsigned)index);
	if (!i)
		return false;
	i->err = -(int)err;
	if (with_fd)
		i->fd = fds[(*used)++];
	i->text = arena_dup(&b->arena, text);
	return i->text.p && unpack_paths(b, in, i);
}

struct bundle *bundle_unpack(struct span bytes, const int *fds, size_t nfds)
{
	struct bundle *b = bundle_new();
	size_t used = 0;
	uint64_t n = 0;
	bool ok = b && unpack_u64(&bytes, &n);

	while (ok && n-- > 0)
		ok = unpack_item(b, &bytes, fds, nfds, &used);
	if (ok && bytes.n == 0 && used == nfds)
		return b;
	while (used < nfds)
		close(fds[used++]);
	bundle_free(b, NULL);
	return NULL;
}
