/* allow, deny: who may come in, by address. The first rule that matches decides. */
#include "mod/mods.h"
#include "net/addr.h"
#include "serve/conn.h"
#include "serve/req.h"

struct access_rule {
	struct cidr net;
	bool deny, all, unix_only;
};
struct access_conf {
	const struct conf_scope *scope; /* whose rules these are: the first one in a block drops the
					   inherited ones */
	struct access_rule *rules;
	size_t n, cap;
};

static struct conf_mod access_mod;

static int rule_parse(struct conf_call *c, struct access_rule *rule)
{
	struct span s = conf_arg(c, 1);
	bool host_bits = false;

	rule->all = span_eq(s, SPAN("all"));
	rule->unix_only = span_eq(s, SPAN("unix:"));
	if (rule->all || rule->unix_only)
		return CONF_OK;
	if (!cidr_parse(s, &rule->net, &host_bits))
		return conf_error(c, 1, "invalid parameter \"%.*s\"", SPAN_ARG(s));
	if (host_bits)
		conf_warn(c, 1, "low address bits of %.*s are meaningless", SPAN_ARG(s));
	return CONF_OK;
}

static int access_set(struct conf_call *c)
{
	struct access_conf *conf = conf_mine(c);
	struct access_rule *rule;

	if (!conf)
		return CONF_ERR;
	if (conf->scope != c->scope)
		*conf = (struct access_conf){.scope = c->scope};
	rule = ARENA_PUSH(c->ctx->arena, conf->rules, &conf->n, &conf->cap);
	if (!rule)
		return conf_error(c, 0, "out of memory");
	*rule = (struct access_rule){.deny = span_eq(conf_arg(c, 0), SPAN("deny"))};
	return rule_parse(c, rule);
}

static bool rule_matches(const struct access_rule *rule, const struct sockaddr *sa)
{
	if (rule->all)
		return true;
	if (sa->sa_family == AF_UNIX || rule->unix_only)
		return rule->unix_only && sa->sa_family == AF_UNIX;
	return cidr_match(&rule->net, sa);
}

static int access_phase(struct req *r)
{
	const struct access_conf *conf = req_conf(r, &access_mod);
	const struct core_loc *l = req_conf(r, &core_loc_mod);
	const struct sockaddr *sa = r->realip.len ? &r->realip.sa : conn_peer(r->conn);

	for (size_t i = 0; i < conf->n; i++) {
		if (!rule_matches(&conf->rules[i], sa))
			continue;
		if (!conf->rules[i].deny)
			return PHASE_ALLOW;
		if (l->satisfy == 0) {
			r->fail = FAIL_FORBIDDEN;
			fail_count(FAIL_FORBIDDEN);
			req_log(r, LOG_ERR, 0, "access forbidden by rule");
		}
		return 403;
	}
	return PHASE_NEXT;
}

#define ACCESS_WHERE (IN_HTTP_ALL | IN_LIMIT_EXCEPT)

static const struct conf_row rows[] = {
	MCUSTOM("allow", ACCESS_WHERE, 1, 1, CONF_MULTI, access_set,
		"Let these clients in: a network, an address, unix: or all."),
	MCUSTOM("deny", ACCESS_WHERE, 1, 1, CONF_MULTI, access_set, "Keep these clients out."),
	MEND,
};

static struct conf_mod access_mod = {
	.name = "access", .size = sizeof(struct access_conf), .rows = rows};
static struct conf_mod *const confs[] = {&access_mod, NULL};

const struct http_module access_module = {
	.name = "access",
	.confs = confs,
	.phase = {[PHASE_ACCESS] = access_phase},
};
