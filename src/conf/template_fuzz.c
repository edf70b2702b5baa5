/* Any bytes as a template; what comes out is compared with a slow and simple second reading. */
#include "conf/fixture.h"

static bool get_name(struct var_ctx *v, const struct var *self, struct span *out)
{
	*out = self->suffix.n ? self->suffix : self->name;
	return true;
}

static bool get_twice(struct var_ctx *v, const struct var *self, struct span *out)
{
	static const int caps[] = {0, 1, 0, 1};

	*out = SPAN("tt");
	v->caps = (int *)caps; /* as a map with a regular expression does */
	v->ncaps = 2;
	return true;
}

static const struct var vars[] = {{.name = SPAN_INIT("a"), .get = get_name},
				  {.name = SPAN_INIT("long_name_1"), .get = get_name},
				  {.name = SPAN_INIT("t"), .get = get_twice, .flags = VAR_NO_CACHE},
				  {.name = SPAN_INIT("x_"), .get = get_name, .flags = VAR_PREFIX},
				  {.name = {0}}};

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

/* The value by hand, or -1 for a template that is a mistake. */
static ssize_t expect(struct span s, char *out, size_t size)
{
	size_t n = 0;
	bool changed = false; /* $t was asked: captures are other ones */

	for (size_t i = 0; i < s.n && n + 256 < size;) {
		size_t from, to;

		if (s.p[i] != '$') {
			out[n++] = s.p[i++];
			continue;
		}
		i++;
		if (i < s.n && s.p[i] >= '1' && s.p[i] <= '9') {
			if (s.p[i] == '1')
				out[n++] = changed ? 's' : 'u';
			i++;
			continue;
		}
		from = to = i + (i < s.n && s.p[i] == '{');
		while (to < s.n && is_name(s.p[to]))
			to++;
		if (to == from || (from > i && (to == s.n || s.p[to] != '}')))
			return -1;
		i = to + (from > i);
		if (to - from == 1 && ascii_lower(s.p[from]) == 't') {
			out[n++] = 't';
			out[n++] = 't';
			changed = true;
			continue;
		}
		if (span_starts_nocase(span_cut(s, from, to), SPAN("x_")) && to - from > 2)
			from += 2;
		else if (!span_eq_nocase(span_cut(s, from, to), SPAN("a")) &&
			 !span_eq_nocase(span_cut(s, from, to), SPAN("long_name_1")))
			return -1;
		while (from < to && n < size)
			out[n++] = ascii_lower(s.p[from++]);
	}
	return (ssize_t)n;
}

static struct tmpl *compiled;
static int on_t(struct conf_call *c)
{
	compiled = tmpl_compile(c, 0);
	return compiled ? CONF_OK : CONF_ERR;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int caps[] = {0, 3, 1, 2};
	static char out[8192];
	struct span in = span_make(data, size), got, z;
	struct fixture f;
	struct conf_mod *const none[] = {NULL};
	struct conf_file file = {.path = SPAN("/c/n"), .text = in};
	struct conf_word word = {.text = in, .line = 1, .col = 1};
	struct conf_node node = {.words = &word, .nwords = 1, .file = &file};
	struct var_table *t;
	ssize_t n;
	int r;

	if (size > 2000)
		return 0;
	n = expect(in, out, sizeof(out));
	fixture_init(&f, NULL);
	conf_mods_init(none);
	t = var_table_new(&f.arena);
	BUG_ON(!t || var_table_add(t, vars) < 0);
	BUG_ON(conf_apply_all(&f.ctx, &f.main) < 0);
	conf_set_var_table(f.main, t);
	compiled = NULL;
	r = on_t(&(struct conf_call){.ctx = &f.ctx, .scope = f.main, .node = &node});
	if (r == CONF_OK) { /* links the names */
		r = conf_apply_all(&f.ctx, &f.main);
	}
	BUG_ON((r == CONF_OK) != (n >= 0));
	BUG_ON((r == CONF_OK) != (f.ctx.errors == 0));
	for (int round = 0; r == CONF_OK && round < 2; round++) {
		struct var_ctx v = {
			.arena = &f.arena, .subject = SPAN("sus"), .caps = caps, .ncaps = 2};

		v.slots = arena_zalloc(&f.arena, (var_table_slots(t) + 1) * sizeof(*v.slots));
		got = tmpl_eval(compiled, &v);
		BUG_ON(v.failed || v.depth || !span_eq(got, span_make(out, (size_t)n)));
		v.caps = caps;
		z = tmpl_eval_cstr(compiled, &v);
		BUG_ON(!span_eq(z, got) || z.p[z.n] != 0);
	}
	fixture_fini(&f);
	return 0;
}
