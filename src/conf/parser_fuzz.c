/* Any bytes as a configuration: lexer, parser, engine and report. The input is parted by "\n%%\n"
 * into files: the main one, then "/c/1", "/c/2", ... that it may include. */
#include "base/pool.h"
#include "conf/fixture.h"
#include "conf/problem.h"

struct fuzz_conf {
	bool flag;
	int64_t num, size, ms, sec;
	struct span str;
	struct conf_strs strs;
	int colour;
	unsigned mask;
	struct conf_bufs bufs;
	struct tmpl *tmpl;
	struct conf_tmpls preds;
	int depth;
};

static const struct conf_enum colours[] = {{"red", 1}, {"green", 2}, {NULL}};
extern struct conf_mod fuzz_mod;

static int on_box(struct conf_call *c)
{
	struct conf_scope *s =
		conf_scope_new(c, c->scope->where == IN_MAIN ? IN_HTTP : IN_SERVER, NULL);

	return s ? conf_apply(c, s) : CONF_ERR;
}

static int on_data(struct conf_call *c)
{
	for (struct conf_node *n = c->node->children; n; n = n->next) {
		struct conf_call k = conf_call_on(c, n);

		if (n->nwords != 2)
			conf_error(&k, n->nwords - 1, "bad data");
	}
	return CONF_OK;
}

static bool get_any(struct var_ctx *v, const struct var *self, struct span *out)
{
	*out = self->suffix;
	return true;
}

static int on_set(struct conf_call *c)
{
	struct span name = conf_arg(c, 1);

	return var_define(c, conf_var_table(c->scope), span_cut(name, 1, name.n),
			  VAR_CHANGEABLE | VAR_WEAK)
		       ? CONF_OK
		       : CONF_ERR;
}

static int on_own(struct conf_call *c)
{
	struct fuzz_conf *f = conf_mine(c);

	if (f)
		f->depth++;
	return f ? CONF_OK : CONF_ERR;
}

#define HERE (IN_MAIN | IN_HTTP | IN_SERVER)
static const struct conf_row rows[] = {
	MFLAG("flag", HERE, struct fuzz_conf, flag, true, ""),
	MNUM("num", HERE, struct fuzz_conf, num, 7, ""),
	MSIZE("size", HERE, struct fuzz_conf, size, 4096, ""),
	MMSEC("msec", HERE, struct fuzz_conf, ms, 60, ""),
	MSECONDS("sec", HERE, struct fuzz_conf, sec, 5, ""),
	MSTR("str", HERE, struct fuzz_conf, str, "dflt", ""),
	MENUM("colour", HERE, struct fuzz_conf, colour, colours, 2, ""),
	MMASK("mask", HERE, struct fuzz_conf, mask, colours, 1, ""),
	MBUFS("bufs", HERE, struct fuzz_conf, bufs, ""),
	MTMPL("tmpl", IN_HTTP | IN_SERVER, struct fuzz_conf, tmpl, ""),
	CONF_ROW_("strs", HERE, 1, 255, CONF_STRS, CONF_MULTI | CONF_NO_DROP, struct fuzz_conf,
		  strs, NULL, 0, NULL, ""),
	CONF_ROW_("p", HERE, 1, 255, CONF_PREDICATES, CONF_MULTI, struct fuzz_conf, preds, NULL, 0,
		  NULL, ""),
	MBLOCK("box", HERE, 0, 2, on_box, ""),
	MDATA("data", HERE, 0, 9, CONF_MULTI, on_data, ""),
	MCUSTOM("set", HERE, 1, 2, CONF_MULTI, on_set, ""),
	MCUSTOM("own", HERE, 0, 0, CONF_MULTI, on_own, ""),
	MEND};

static const struct var vars[] = {{.name = SPAN_INIT("host"), .get = get_any},
				  {.name = SPAN_INIT("arg_"), .get = get_any, .flags = VAR_PREFIX},
				  {.name = {0}}};

static int fuzz_init(struct conf_call *c, void *conf)
{
	struct var_table *t = var_table_new(c->ctx->arena);

	if (!t || var_table_add(t, vars) < 0)
		return CONF_ERR;
	conf_set_var_table(c->scope, t);
	return CONF_OK;
}

struct conf_mod fuzz_mod = {
	.name = "fuzz", .size = sizeof(struct fuzz_conf), .rows = rows, .init = fuzz_init};
static struct conf_mod *const mods[] = {&fuzz_mod, NULL};

/* ---- what must hold ---- */

static void check_nodes(const struct conf_node *parent)
{
	const struct conf_node *n = parent->children;
	unsigned depth = 0;

	while (n) { /* in document order, without recursion */
		BUG_ON(n->nwords == 0 || !n->file || depth > CONF_DEPTH_MAX);
		BUG_ON(!n->block && n->children);
		for (unsigned i = 0; i < n->nwords; i++) {
			BUG_ON(n->words[i].line == 0 || n->words[i].col == 0);
			BUG_ON(n->words[i].text.p[n->words[i].text.n] != 0);
			BUG_ON(n->words[i].text.n > CONF_WORD_MAX + 1);
		}
		BUG_ON(n->next && n->next->seq <= n->seq);
		if (n->children) {
			BUG_ON(n->children->parent != n || n->children->seq <= n->seq);
			n = n->children;
			depth++;
			continue;
		}
		while (n != parent && !n->next) {
			n = n->parent;
			depth--;
		}
		n = n == parent ? NULL : n->next;
	}
}

static void check_report(void *arg, const struct conf_error *e, struct span text)
{
	unsigned *n = arg;

	++*n;
	BUG_ON(text.n == 0 || text.p[text.n - 1] != '\n' || !span_starts(text, SPAN("nginx: [")));
	for (size_t i = 0; i < text.n; i++)
		BUG_ON((unsigned char)text.p[i] < 0x20 && text.p[i] != '\n');
}

static void ignore_text(void *arg, struct span text)
{
}

#define FILES 8
static void split_files(struct span in, struct opener_file files[FILES + 1])
{
	static const char *const names[FILES] = {"/c/n", "/c/1", "/c/2", "/c/3",
						 "/c/4", "/c/5", "/c/6", "/c/7"};

	memset(files, 0, (FILES + 1) * sizeof(*files));
	for (int i = 0; i < FILES; i++) {
		ssize_t at = span_find(in, SPAN("\n%%\n"));

		files[i].path = span_of(names[i]);
		files[i].text = span_cut(in, 0, at < 0 ? in.n : (size_t)at);
		if (at < 0)
			return;
		in = span_cut(in, (size_t)at + 4, in.n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fixture f;
	struct opener_file files[FILES + 1];
	unsigned shown = 0;
	int parsed, applied;

	if (size > 1 << 20)
		return 0;
	split_files(span_make(data, size), files);
	conf_mods_init(mods);
	fixture_init(&f, files);
	parsed = conf_parse(&f.ctx, SPAN("/c/n"));
	BUG_ON((parsed == CONF_OK) != (f.ctx.errors == 0));
	check_nodes(f.ctx.root);
	applied = conf_apply_all(&f.ctx, &f.main);
	BUG_ON((applied == CONF_OK) != (f.ctx.errors == 0));
	conf_report(&f.ctx, SPAN("nginx"), check_report, &shown);
	BUG_ON((shown > 0) != (f.ctx.errors + f.ctx.warnings > 0));
	conf_dump(&f.ctx, ignore_text, NULL);
	fixture_fini(&f);
	return 0;
}
