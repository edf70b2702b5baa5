/* From a URI to a file name: root and alias. */
#include "serve/core.h"
#include "serve/req.h"

/* A ".." segment must never come behind a root or alias, whoever made the URI. */
static bool has_dotdot(struct span s)
{
	for (size_t i = 0; i + 1 < s.n; i++)
		if (s.p[i] == '.' && s.p[i + 1] == '.' && (i == 0 || s.p[i - 1] == '/') &&
		    (i + 2 == s.n || s.p[i + 2] == '/'))
			return true;
	return false;
}

struct span req_path_of(struct req *r, struct span uri)
{
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	struct span root = tmpl_eval(l->root, &r->vars), rest = uri;
	const struct location *loc = l->alias_location;
	char *p;

	if (r->vars.failed || (uri.n && memchr(uri.p, 0, uri.n)))
		return (struct span){0};
	if (l->alias) {
		if (loc && loc->re)
			rest = SPAN(""); /* the alias of a regex location names the whole file */
		else if (loc && loc->kind != LOC_NAMED && span_starts(uri, loc->name))
			rest = span_cut(uri, loc->name.n, uri.n);
		/* "location /x" with "alias /y/": "/x../z" must not become "/y/../z" */
		if (rest.n >= 2 && has_dotdot(rest))
			return (struct span){0};
	} else if (has_dotdot(uri)) {
		return (struct span){0};
	}
	p = arena_alloc(&r->arena, root.n + rest.n + 1);
	if (!p)
		return (struct span){0};
	if (root.n)
		memcpy(p, root.p, root.n);
	if (rest.n)
		memcpy(p + root.n, rest.p, rest.n);
	p[root.n + rest.n] = 0;
	return span_make(p, root.n + rest.n);
}

struct span req_path(struct req *r)
{
	return req_path_of(r, r->uri);
}
