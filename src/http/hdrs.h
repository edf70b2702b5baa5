/* A list of header (or trailer) fields in the order they were received or are to be sent.
 *
 * Names and values are borrowed spans (of a read buffer or the request's arena) and live as long as
 * that. Names keep their spelling and are compared without case; a name that hdr.def knows has an
 * id, so the common look-ups cost no comparison. The array lives in the arena given at init. A
 * value never holds CR, LF or NUL: hdrs_add checks what code adds (N20), the parsers check what
 * peers send. */
#pragma once
#include <stdbool.h>
#include "base/arena.h"
#include "base/span.h"
#include "http/fail.h"

enum hdr_id {
	HDR_OTHER, /* 0: not in hdr.def */
#define HDR(id, name) HDR_##id,
#include "http/hdr.def"
#undef HDR
	HDR_COUNT
};

struct hdr {
	struct span name, value;
	uint16_t id;	/* enum hdr_id */
	uint16_t hash;	/* of the lower-cased name, for HDR_OTHER look-ups */
	bool removed;	/* skipped by everything */
	uint8_t in_buf; /* HDR_*_IN_BUF: what lies in the read buffer and moves with it
			   (h1_rebase_*) */
};
enum { HDR_NAME_IN_BUF = 1, HDR_VALUE_IN_BUF = 2 };

struct hdrs {
	struct arena *arena;
	struct hdr *v;
	size_t n, cap;
	uint64_t present[2]; /* bit per id: may be there */
};

/* A name looked up: what it is, and what its hash is made of. */
struct hdr_key {
	uint64_t mix;
	enum hdr_id id;
};
struct hdr_key hdr_key_of(struct span name);
/* Which known header is this? HDR_OTHER when none. No allocation, no case sensitivity. */
enum hdr_id hdr_id_of(struct span name);
struct span hdr_name(enum hdr_id id); /* canonical spelling */

void hdrs_init(struct hdrs *h, struct arena *a);
/* Appends what a parser has checked already. NULL: no memory. */
struct hdr *hdrs_append(struct hdrs *h, enum hdr_id id, struct span name, struct span value);
struct hdr *hdrs_append_key(struct hdrs *h, struct hdr_key key, struct span name,
			    struct span value);
/* The same, looking the name up. in_buf is 0. */
struct hdr *hdrs_append_name(struct hdrs *h, struct span name, struct span value);
/* Appends what code made: FAIL_BAD_CONFIG_VALUE when name is no token or value has CR, LF or NUL.
 */
enum fail hdrs_add(struct hdrs *h, struct span name, struct span value);
enum fail hdrs_add_id(struct hdrs *h, enum hdr_id id, struct span value);
/* Replaces every field of that id by one. */
enum fail hdrs_set(struct hdrs *h, enum hdr_id id, struct span value);
/* First field, or NULL. */
struct hdr *hdrs_find(const struct hdrs *h, enum hdr_id id);
struct hdr *hdrs_find_name(const struct hdrs *h, struct span name);
/* The next one of the same name after hd. */
struct hdr *hdrs_find_next(const struct hdrs *h, const struct hdr *hd);
/* The value of the first, or the empty span. */
struct span hdrs_value(const struct hdrs *h, enum hdr_id id);
void hdrs_remove(struct hdrs *h, enum hdr_id id); /* all of them */
void hdrs_remove_name(struct hdrs *h, struct span name);
/* All values of that name joined by sep (", "; "; " for Cookie) in the arena; one value: as it is;
 * none: {NULL, 0}; no memory: {NULL, 0} too. */
struct span hdrs_join(const struct hdrs *h, struct span name, struct span sep);
/* Fields that the body adds are not visited. */
#define hdrs_each(it, h)                                                                           \
	for (struct hdr *it = (h)->v, *it##_end = (h)->n ? it + (h)->n : it; it < it##_end; it++)  \
		if (!it->removed)
/* Does a comma-separated list (Connection, Transfer-Encoding, ...) over all fields of that id hold
 * the token? Without case. RFC 9110 5.6.1. */
bool hdrs_has_token(const struct hdrs *h, enum hdr_id id, struct span token);
/* Walks the elements of a comma list, trimmed; quoted strings are respected, empty elements
 * skipped. False at the end. */
bool hdr_list_next(struct span *rest, struct span *element);

bool http_is_token(struct span s);	 /* RFC 9110 5.6.2, not empty */
bool http_is_field_value(struct span s); /* no CR, LF, NUL and no other control but HTAB */
