#include <stdlib.h>
#include "base/pool.h"
#include "conf/rows.h"

struct row_table conf_rows;

static int entry_cmp(const void *a, const void *b)
{
	const struct row_entry *x = a, *y = b;
	int r = span_cmp(x->name, y->name);

	return r ? r : (int)x->id - (int)y->id;
}

static void check_row(const struct conf_mod *m, const struct conf_row *r)
{
	BUG_ON((r->kind == CONF_CUSTOM || r->kind == CONF_BLOCK) && !r->set);
	BUG_ON(r->where == 0 || r->min > r->max);
	BUG_ON(field_size(r->kind) && r->offset + field_size(r->kind) > m->size);
	BUG_ON((r->kind == CONF_ENUM || r->kind == CONF_MASK) && !r->arg);
}

/* Same name: the contexts must be disjoint. */
static void check_overlap(void)
{
	const struct row_entry *e = conf_rows.entries;

	for (unsigned i = 0; i < conf_rows.nrows; i++)
		for (unsigned j = i + 1; j < conf_rows.nrows && span_eq(e[i].name, e[j].name); j++)
			BUG_ON(e[i].row->where & e[j].row->where);
}

void conf_mods_init(struct conf_mod *const *mods)
{
	unsigned n = 0;

	mem_free(conf_rows.entries);
	conf_rows = (struct row_table){.mods = mods};
	for (unsigned i = 0; mods[i]; i++) {
		mods[i]->slot = (int)i;
		conf_rows.nmods++;
		for (const struct conf_row *r = mods[i]->rows; r && r->name; r++)
			n++;
	}
	conf_rows.entries = mem_alloc((n + 1) * sizeof(*conf_rows.entries));
	BUG_ON(!conf_rows.entries);
	for (unsigned i = 0; mods[i]; i++) {
		for (const struct conf_row *r = mods[i]->rows; r && r->name; r++) {
			check_row(mods[i], r);
			conf_rows.entries[conf_rows.nrows] =
				(struct row_entry){.name = span_of(r->name),
						   .row = r,
						   .mod = mods[i],
						   .id = conf_rows.nrows};
			conf_rows.nrows++;
		}
	}
	qsort(conf_rows.entries, n, sizeof(*conf_rows.entries), entry_cmp);
	check_overlap();
}

struct conf_mod *const *conf_mods(void)
{
	static struct conf_mod *const none[1];

	return conf_rows.mods ? conf_rows.mods : none;
}

const struct row_entry *rows_find(struct span name)
{
	unsigned lo = 0, hi = conf_rows.nrows;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (span_cmp(conf_rows.entries[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < conf_rows.nrows && span_eq(conf_rows.entries[lo].name, name))
		return &conf_rows.entries[lo];
	return NULL;
}

static bool is_more(const struct row_entry *e, struct span name)
{
	return e && e < conf_rows.entries + conf_rows.nrows && span_eq(e->name, name);
}

const struct row_entry *rows_find_in(struct span name, uint32_t where)
{
	for (const struct row_entry *e = rows_find(name); is_more(e, name); e++)
		if (e->row->where & where)
			return e;
	return NULL;
}

const struct row_entry *rows_entry_of(const struct conf_row *row)
{
	struct span name = span_of(row->name);

	for (const struct row_entry *e = rows_find(name); is_more(e, name); e++)
		if (e->row == row)
			return e;
	return NULL;
}

uint32_t rows_where(struct span name)
{
	uint32_t where = 0;

	for (const struct row_entry *e = rows_find(name); is_more(e, name); e++)
		where |= e->row->where;
	return where;
}

const char *rows_where_name(uint32_t bit)
{
	switch (bit) {
	case IN_MAIN:
		return "the main level";
	case IN_EVENTS:
		return "events";
	case IN_HTTP:
		return "http";
	case IN_SERVER:
		return "server";
	case IN_LOCATION:
		return "location";
	case IN_UPSTREAM:
		return "upstream";
	case IN_IF_SERVER:
		return "if in server";
	case IN_IF_LOCATION:
		return "if in location";
	case IN_LIMIT_EXCEPT:
		return "limit_except";
	case IN_STREAM:
		return "stream";
	case IN_STREAM_SERVER:
		return "server in stream";
	case IN_STREAM_UPSTREAM:
		return "upstream in stream";
	case IN_MAIL:
		return "mail";
	default:
		return NULL;
	}
}

/* ---- suggestions ---- */

#define NEAR_MAX 48 /* names longer than this are not compared */

/* Edit distance with swaps of neighbours, or limit + 1 when it is more. */
static unsigned distance(struct span a, struct span b, unsigned limit)
{
	uint8_t rows[3][NEAR_MAX + 1];

	if (a.n > NEAR_MAX || b.n > NEAR_MAX || (a.n > b.n ? a.n - b.n : b.n - a.n) > limit)
		return limit + 1;
	for (size_t j = 0; j <= b.n; j++)
		rows[0][j] = (uint8_t)j;
	for (size_t i = 1; i <= a.n; i++) {
		uint8_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *older = rows[(i + 1) % 3];

		now[0] = (uint8_t)i;
		for (size_t j = 1; j <= b.n; j++) {
			char x = ascii_lower(a.p[i - 1]), y = ascii_lower(b.p[j - 1]);
			unsigned d = last[j - 1] + (x != y);

			d = MIN_OF(d, last[j] + 1U);
			d = MIN_OF(d, now[j - 1] + 1U);
			if (i > 1 && j > 1 && x == ascii_lower(b.p[j - 2]) &&
			    ascii_lower(a.p[i - 2]) == y)
				d = MIN_OF(d, older[j - 2] + 1U);
			now[j] = (uint8_t)d;
		}
	}
	return rows[a.n % 3][b.n];
}

const char *conf_nearest(struct span name, uint32_t where)
{
	unsigned best = name.n < 4 ? 1 : name.n < 10 ? 2 : 3;
	const char *found = NULL;

	for (unsigned i = 0; i < conf_rows.nrows; i++) {
		const struct row_entry *e = &conf_rows.entries[i];
		unsigned d;

		if (!(e->row->where & where))
			continue;
		d = distance(name, e->name, best);
		if (d < best || (d == best && !found)) {
			best = d;
			found = e->row->name;
		}
	}
	if (!found && distance(name, SPAN("include"), best) <= best)
		found = "include";
	return found;
}
