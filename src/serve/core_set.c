/* Core directives that are more than a value in a field. */
#include "net/resolver.h"
#include "serve/core.h"
#include "serve/core_rows.h"

int core_srv_init(struct conf_call *c, void *conf)
{
	struct core_srv *s = conf;

	s->large_client_header_buffers = (struct conf_bufs){4, 8192};
	return CONF_OK;
}

static void resolver_release(void *r)
{
	resolver_free(r);
}

/* The snapshot's from now on. */
static int resolver_keep(struct conf_call *c, struct core_loc *l, const struct resolver_conf *rc)
{
	struct resolver *r = resolver_new(rc);

	if (!r || snapshot_on_free(c->ctx->snapshot, resolver_release, r) < 0) {
		if (r)
			resolver_free(r);
		return conf_error(c, 0, "out of memory");
	}
	l->resolver = r;
	return CONF_OK;
}

int core_loc_init(struct conf_call *c, void *conf)
{
	static const struct resolver_conf system = {
		.ipv4 = true, .ipv6 = true, .timeout_ms = 30 * SECOND};
	struct core_loc *l = conf;

	l->keepalive_timeout = 75 * SECOND;
	l->keepalive_header_s = -1;
	l->keepalive_disable = 1;
	l->client_body_temp_path = conf_path(c->ctx, SPAN("client_body_temp"), false);
	l->root = tmpl_compile_text(c, 0, conf_path(c->ctx, SPAN("html"), false));
	if (!l->root || !l->client_body_temp_path.p)
		return conf_error(c, 0, "out of memory");
	return resolver_keep(c, l, &system);
}

/* Relative paths are relative to the prefix, also in front of variables. */
static struct tmpl *path_template(struct conf_call *c, struct span path)
{
	if (path.n && path.p[0] != '/' && path.p[0] != '$')
		path = conf_path(c->ctx, path, false);
	return tmpl_compile_text(c, 1, path);
}

static int root_or_alias(struct conf_call *c, bool alias)
{
	struct core_loc *l = conf_mine(c);
	struct span path = conf_arg(c, 1);
	struct location *loc = location_of(c->scope);

	if (!l)
		return CONF_ERR;
	if (l->root_set && !conf_first_here(c))
		return conf_error(c, 0, "\"%.*s\" directive is duplicate",
				  SPAN_ARG(conf_arg(c, 0)));
	if (loc && l->alias_location == loc)
		return conf_error(c, 0,
				  l->alias == alias ? "\"%s\" directive is duplicate"
						    : "\"%s\" directive is duplicate, \"%s\" "
						      "directive was specified earlier",
				  alias ? "alias" : "root", l->alias ? "alias" : "root");
	if (!alias && path.n > 1 && path.p[path.n - 1] == '/')
		path.n--;
	l->root = path_template(c, path);
	l->alias = alias;
	l->alias_location = loc;
	l->root_set = true;
	return l->root ? CONF_OK : CONF_ERR;
}

int root_set(struct conf_call *c)
{
	return root_or_alias(c, false);
}

int alias_set(struct conf_call *c)
{
	struct location *l = location_of(c->scope);

	if (l && l->kind == LOC_NAMED)
		return conf_error(
			c, 0, "the \"alias\" directive cannot be used inside the named location");
	return root_or_alias(c, true);
}

int internal_set(struct conf_call *c)
{
	struct location *l = location_of(c->scope);

	l->internal = true;
	return CONF_OK;
}

int keepalive_timeout_set(struct conf_call *c)
{
	struct core_loc *l = conf_mine(c);

	if (!l)
		return CONF_ERR;
	if (!conf_parse_msec(conf_arg(c, 1), &l->keepalive_timeout))
		return conf_error(c, 1, "\"keepalive_timeout\" directive invalid value");
	l->keepalive_header_s = -1;
	if (conf_nargs(c) == 2 && !conf_parse_sec(conf_arg(c, 2), &l->keepalive_header_s))
		return conf_error(c, 2, "\"keepalive_timeout\" directive invalid value");
	return CONF_OK;
}

int keepalive_disable_set(struct conf_call *c)
{
	struct core_loc *l = conf_mine(c);

	if (!l)
		return CONF_ERR;
	l->keepalive_disable = 0;
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		struct span w = conf_arg(c, i);

		if (span_eq(w, SPAN("msie6")))
			l->keepalive_disable |= 1;
		else if (span_eq(w, SPAN("safari")))
			l->keepalive_disable |= 2;
		else if (!span_eq(w, SPAN("none")))
			return conf_error(c, i, "invalid value \"%.*s\"", SPAN_ARG(w));
	}
	return CONF_OK;
}

int temp_path_make(struct conf_call *c, void *arg)
{
	const struct core_loc *l = arg;
	int rc = c->ctx->opener->ops->make_dir(c->ctx->opener, l->client_body_temp_path);

	return rc < 0 ? conf_error(c, 1, "mkdir() \"%.*s\" failed (%d: %s)",
				   SPAN_ARG(l->client_body_temp_path), -rc, strerror(-rc))
		      : CONF_OK;
}

int temp_path_set(struct conf_call *c)
{
	struct core_loc *l = conf_mine(c);
	uint64_t v, sum = 0;

	if (!l)
		return CONF_ERR;
	l->client_body_temp_path = conf_path(c->ctx, conf_arg(c, 1), false);
	memset(l->client_body_temp_levels, 0, sizeof(l->client_body_temp_levels));
	for (unsigned i = 2; i <= conf_nargs(c); i++) {
		if (!span_to_u64(conf_arg(c, i), 10, &v) || v == 0 || (sum += v) > 10)
			return conf_error(c, i,
					  "\"client_body_temp_path\" directive invalid value");
		l->client_body_temp_levels[i - 2] = (int)v;
	}
	return conf_later(c, CONF_LINK_LAST, temp_path_make, l);
}

/* ---- error_page ---- */

/* "=", "=200": the new status, -1 when the word is not one, -2 on error. */
static int error_page_overwrite(struct conf_call *c, unsigned word, int *overwrite)
{
	struct span w = conf_arg(c, word);
	uint64_t v;

	*overwrite = -1;
	if (!w.n || w.p[0] != '=')
		return 0;
	if (w.n == 1) {
		*overwrite = 0;
		return 1;
	}
	if (!span_to_u64(span_cut(w, 1, w.n), 999, &v))
		return conf_error(c, word, "invalid value \"%.*s\"", SPAN_ARG(w));
	*overwrite = (int)v;
	return 1;
}

int error_page_set(struct conf_call *c)
{
	struct core_loc *l = conf_mine(c);
	unsigned last = conf_nargs(c), codes = last - 1;
	int overwrite, has;
	struct tmpl *uri;

	if (!l)
		return CONF_ERR;
	if (conf_first_here(c)) {
		l->error_pages = NULL;
		l->nerror_pages = l->error_pages_cap = 0;
	}
	overwrite = -1;
	has = codes > 1 ? error_page_overwrite(c, codes, &overwrite) : 0;
	if (has < 0)
		return CONF_ERR;
	codes -= (unsigned)has;
	uri = tmpl_compile(c, last);
	if (!uri)
		return CONF_ERR;
	for (unsigned i = 1; i <= codes; i++) {
		struct error_page *e;
		uint64_t v;

		if (!span_to_u64(conf_arg(c, i), INT32_MAX, &v))
			return conf_error(c, i, "invalid value \"%.*s\"", SPAN_ARG(conf_arg(c, i)));
		if (v == 499)
			return conf_error(c, i, "invalid value \"499\"");
		if (v < 300 || v > 599)
			return conf_error(c, i, "value \"%.*s\" must be between 300 and 599",
					  SPAN_ARG(conf_arg(c, i)));
		e = ARENA_PUSH(c->ctx->arena, l->error_pages, &l->nerror_pages,
			       &l->error_pages_cap);
		if (!e)
			return conf_error(c, i, "out of memory");
		*e = (struct error_page){.status = (int)v, .overwrite = overwrite, .uri = uri};
		/* nginx answers an error page that replaces these three with its own status */
		if (overwrite < 0 && (v == 494 || v == 495 || v == 496 || v == 497))
			e->overwrite = 400;
	}
	return CONF_OK;
}

/* ---- open_file_cache, disable_symlinks ---- */

int open_file_cache_set(struct conf_call *c)
{
	struct core_loc *l = conf_mine(c);
	struct span v;
	uint64_t n;

	if (!l)
		return CONF_ERR;
	l->open_file_cache_max = 0;
	l->open_file_cache_inactive = 60;
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		if (span_eq(conf_arg(c, i), SPAN("off")))
			return CONF_OK;
		if (conf_param(conf_arg(c, i), "max", &v) && span_to_u64(v, 1 << 24, &n) && n)
			l->open_file_cache_max = (int64_t)n;
		else if (!conf_param(conf_arg(c, i), "inactive", &v) ||
			 !conf_parse_sec(v, &l->open_file_cache_inactive))
			return conf_error(c, i, "invalid \"open_file_cache\" parameter \"%.*s\"",
					  SPAN_ARG(conf_arg(c, i)));
	}
	if (!l->open_file_cache_max)
		return conf_error(c, 0, "\"open_file_cache\" must have the \"max\" parameter");
	return CONF_OK;
}

int disable_symlinks_set(struct conf_call *c)
{
	static const struct {
		struct span word;
		int mode;
	} modes[] = {{SPAN_INIT("off"), SYMLINKS_OFF},
		     {SPAN_INIT("on"), SYMLINKS_ON},
		     {SPAN_INIT("if_not_owner"), SYMLINKS_NOT_OWNER}};
	struct core_loc *l = conf_mine(c);
	struct span v;
	bool mode = false;

	if (!l)
		return CONF_ERR;
	l->disable_symlinks_from = NULL;
	for (unsigned i = 1; i <= conf_nargs(c); i++) {
		bool known = false;

		for (size_t k = 0; k < ARRAY_LEN(modes); k++) {
			if (span_eq(conf_arg(c, i), modes[k].word)) {
				l->disable_symlinks = modes[k].mode;
				known = mode = true;
			}
		}
		if (!known && conf_param(conf_arg(c, i), "from", &v)) {
			l->disable_symlinks_from = tmpl_compile_text(c, i, v);
			known = l->disable_symlinks_from;
		}
		if (!known)
			return conf_error(c, i, "invalid parameter \"%.*s\"",
					  SPAN_ARG(conf_arg(c, i)));
	}
	if (!mode)
		return conf_error(c, 0,
				  "\"disable_symlinks\" must have \"off\", \"on\" or "
				  "\"if_not_owner\" parameter");
	return CONF_OK;
}

/* ---- resolver ---- */

static int resolver_word(struct conf_call *c, unsigned i, struct resolver_conf *rc,
			 struct net_addr *servers, size_t *n)
{
	struct span w = conf_arg(c, i), v;
	bool on;

	if (conf_param(w, "valid", &v))
		return conf_parse_sec(v, &rc->valid_s)
			       ? CONF_OK
			       : conf_error(c, i, "invalid parameter: %.*s", SPAN_ARG(w));
	if (conf_param(w, "ipv4", &v) || conf_param(w, "ipv6", &v)) {
		if (!conf_parse_flag(v, &on))
			return conf_error(c, i, "invalid parameter: %.*s", SPAN_ARG(w));
		*(w.p[3] == '4' ? &rc->ipv4 : &rc->ipv6) = on;
		return CONF_OK;
	}
	if (conf_param(w, "status_zone", &v) || span_eq(w, SPAN("conf")))
		return CONF_OK;
	if (*n == 16)
		return conf_error(c, i, "too many name servers");
	if (addr_parse(w, 53, &servers[*n])) {
		(*n)++;
		return CONF_OK;
	}
	return conf_error(c, i, "host not found in resolver \"%.*s\"", SPAN_ARG(w));
}

int resolver_set(struct conf_call *c)
{
	struct core_loc *l = conf_mine(c);
	struct resolver_conf rc = {.ipv4 = true, .ipv6 = true, .timeout_ms = 30 * SECOND};
	struct net_addr *servers;
	size_t n = 0;

	if (!l)
		return CONF_ERR;
	if (conf_nargs(c) == 1 && span_eq(conf_arg(c, 1), SPAN("off"))) {
		l->resolver = NULL;
		return CONF_OK;
	}
	servers = arena_alloc(c->ctx->arena, 16 * sizeof(*servers));
	if (!servers)
		return conf_error(c, 0, "out of memory");
	for (unsigned i = 1; i <= conf_nargs(c); i++)
		if (resolver_word(c, i, &rc, servers, &n) != CONF_OK)
			return CONF_ERR;
	if (!rc.ipv4 && !rc.ipv6)
		return conf_error(c, 0, "\"ipv4\" and \"ipv6\" cannot both be \"off\"");
	rc.servers = servers;
	rc.nservers = n;
	return resolver_keep(c, l, &rc);
}
