/* The table of all rows of all modules, for the room's own use. */
#pragma once
#include "conf/conf.h"

struct row_entry {
	struct span name;
	const struct conf_row *row;
	struct conf_mod *mod;
	unsigned id; /* index in the bitmap of a scope's rows */
};

struct row_table {
	struct row_entry *entries; /* sorted by name */
	unsigned nrows, nmods;
	struct conf_mod *const *mods;
};
extern struct row_table conf_rows;

/* The first entry of that name (others of the same name follow it), or NULL. */
const struct row_entry *rows_find(struct span name);
/* The entry of that name that is allowed in where, or NULL. */
const struct row_entry *rows_find_in(struct span name, uint32_t where);
const struct row_entry *rows_entry_of(const struct conf_row *row);
/* Where the rows of that name are allowed, all together. */
uint32_t rows_where(struct span name);
/* "http", "server", ... of one bit. */
const char *rows_where_name(uint32_t bit);

static inline bool bit_test(const uint64_t *bits, unsigned i)
{
	return bits[i / 64] >> (i % 64) & 1;
}
static inline void bit_set(uint64_t *bits, unsigned i)
{
	bits[i / 64] |= (uint64_t)1 << (i % 64);
}

/* field.c: what each kind of row stores. */

/* Bytes of a field of that kind. */
size_t field_size(enum conf_kind kind);
/* Puts the row's default at field. CONF_ERR: no memory, reported. */
int field_default(struct conf_call *c, const struct conf_row *row, void *field);
/* Parses the call's words into field; first: nothing of this row was here before. Problems are
 * reported. */
int field_set(struct conf_call *c, void *field, bool first);
