#include "base/bug.h"
#include "http/hdrs.h"
#include "http/scan.h"

#define FIRST_CAP  16 /* fields: one allocation for most heads */
#define LONGEST	   32 /* bytes of the longest known name, at most */
#define TABLE_BITS 9
#define NO_TRIES   100000

/* A known name, lower-cased; fold has 0x20 where a letter stands, so that (byte | fold) == lower is
 * an exact comparison without case. Both are padded for reading in words of eight. */
struct known {
	uint8_t lower[LONGEST], fold[LONGEST];
	uint8_t len;
};
static struct known known[HDR_COUNT];

static const struct span names[HDR_COUNT] = {
	SPAN_INIT(""),
#define HDR(id, name) SPAN_INIT(name),
#include "http/hdr.def"
#undef HDR
};
_Static_assert(HDR_COUNT <= 128, "struct hdrs has one bit per id in present[2]");

/* A perfect hash: the multiplier is searched for at start so that no two known names share a
 * slot. */
static uint64_t multiplier;
static uint8_t slots[1 << TABLE_BITS];

static inline uint64_t load_word(const void *p)
{
	uint64_t x;

	memcpy(&x, p, 8);
	return x;
}

static inline uint64_t load_half(const void *p)
{
	uint32_t x;

	memcpy(&x, p, 4);
	return x;
}

/* Both ends of the name in one word, case folded. */
static inline uint64_t name_key(const char *p, size_t n)
{
	uint64_t key;

	if (n >= 8)
		key = load_word(p) ^ ((load_word(p + n - 8) << 5) | (load_word(p + n - 8) >> 59));
	else if (n >= 4)
		key = load_half(p) | load_half(p + n - 4) << 32;
	else
		key = n ? (uint64_t)(uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << 8 |
				      (uint64_t)(uint8_t)p[n - 1] << 16
			: 0;
	/* Rotated by five, the bit of the case of the second word is bit 2 of the next byte. */
	return (key | (n >= 8 ? 0x2424242424242424ull : 0x2020202020202020ull)) + n;
}

static inline uint64_t name_mix(const char *p, size_t n)
{
	return name_key(p, n) * multiplier;
}

static bool try_multiplier(uint64_t m)
{
	multiplier = m;
	memset(slots, 0, sizeof(slots));
	for (unsigned id = 1; id < HDR_COUNT; id++) {
		uint8_t *slot = &slots[name_mix(names[id].p, names[id].n) >> (64 - TABLE_BITS)];

		if (*slot)
			return false;
		*slot = (uint8_t)id;
	}
	return true;
}

__attribute__((constructor)) static void hdr_table_init(void)
{
	uint64_t m = 0x9e3779b97f4a7c15ull;
	int tries = 0;

	for (unsigned id = 1; id < HDR_COUNT; id++) {
		BUG_ON(names[id].n > LONGEST);
		known[id].len = (uint8_t)names[id].n;
		for (size_t i = 0; i < names[id].n; i++) {
			char low = ascii_lower(names[id].p[i]);

			known[id].lower[i] = (uint8_t)low;
			known[id].fold[i] = low >= 'a' && low <= 'z' ? 0x20 : 0;
		}
	}
	while (!try_multiplier(m | 1)) {
		BUG_ON(++tries > NO_TRIES);
		m = m * 6364136223846793005ull + 1442695040888963407ull;
	}
}

/* p has k->len bytes. */
static inline bool known_eq(const struct known *k, const char *p)
{
	size_t n = k->len, i = 0;

	if (n < 4) {
		for (; i < n; i++)
			if (((uint8_t)p[i] | k->fold[i]) != k->lower[i])
				return false;
		return true;
	}
	if (n < 8)
		return ((load_half(p) | load_half(p + n - 4) << 32) |
			(load_half(k->fold) | load_half(k->fold + n - 4) << 32)) ==
		       (load_half(k->lower) | load_half(k->lower + n - 4) << 32);
	for (; i + 8 <= n; i += 8)
		if ((load_word(p + i) | load_word(k->fold + i)) != load_word(k->lower + i))
			return false;
	i = n - 8; /* the rest, overlapping */
	return (load_word(p + i) | load_word(k->fold + i)) == load_word(k->lower + i);
}

static inline enum hdr_id lookup(struct span name, uint64_t mix)
{
	unsigned id = slots[mix >> (64 - TABLE_BITS)];

	return known[id].len == name.n && known_eq(&known[id], name.p) ? (enum hdr_id)id
								       : HDR_OTHER;
}

/* The low bits of a product depend on the low bits of the key only: take them from the middle. */
static inline uint16_t hash_of(uint64_t mix)
{
	return (uint16_t)(mix >> 40);
}

struct hdr_key hdr_key_of(struct span name)
{
	uint64_t mix = name_mix(name.p, name.n);

	return (struct hdr_key){mix, lookup(name, mix)};
}

enum hdr_id hdr_id_of(struct span name)
{
	return name.n && name.n <= LONGEST ? hdr_key_of(name).id : HDR_OTHER;
}

struct span hdr_name(enum hdr_id id)
{
	return (unsigned)id < HDR_COUNT ? names[id] : names[HDR_OTHER];
}

void hdrs_init(struct hdrs *h, struct arena *a)
{
	*h = (struct hdrs){.arena = a};
}

static bool hdrs_grow(struct hdrs *h)
{
	size_t cap = h->cap ? 2 * h->cap : FIRST_CAP;
	struct hdr *v = arena_alloc(h->arena, cap * sizeof(*v));

	if (!v)
		return false;
	if (h->n)
		memcpy(v, h->v, h->n * sizeof(*v));
	h->v = v;
	h->cap = cap;
	return true;
}

static inline void mark_present(struct hdrs *h, unsigned id)
{
	h->present[id >> 6] |= 1ull << (id & 63);
}

static inline bool maybe_present(const struct hdrs *h, unsigned id)
{
	return h->present[id >> 6] >> (id & 63) & 1;
}

struct hdr *hdrs_append_key(struct hdrs *h, struct hdr_key key, struct span name, struct span value)
{
	struct hdr *hd;

	if (unlikely(h->n == h->cap) && !hdrs_grow(h))
		return NULL;
	hd = &h->v[h->n++];
	*hd = (struct hdr){
		.name = name, .value = value, .id = (uint16_t)key.id, .hash = hash_of(key.mix)};
	mark_present(h, key.id);
	return hd;
}

struct hdr *hdrs_append(struct hdrs *h, enum hdr_id id, struct span name, struct span value)
{
	return hdrs_append_key(h, (struct hdr_key){name_mix(name.p, name.n), id}, name, value);
}

struct hdr *hdrs_append_name(struct hdrs *h, struct span name, struct span value)
{
	return hdrs_append_key(h, hdr_key_of(name), name, value);
}

static bool value_is_sendable(struct span v)
{
	return span_find_char(v, '\r', 0) < 0 && span_find_char(v, '\n', 0) < 0 &&
	       span_find_char(v, '\0', 0) < 0;
}

enum fail hdrs_add(struct hdrs *h, struct span name, struct span value)
{
	if (!http_is_token(name) || !value_is_sendable(value))
		return FAIL_BAD_CONFIG_VALUE;
	return hdrs_append_name(h, name, value) ? FAIL_OK : FAIL_NO_MEMORY;
}

enum fail hdrs_add_id(struct hdrs *h, enum hdr_id id, struct span value)
{
	BUG_ON(id == HDR_OTHER || id >= HDR_COUNT);
	if (!value_is_sendable(value))
		return FAIL_BAD_CONFIG_VALUE;
	return hdrs_append(h, id, names[id], value) ? FAIL_OK : FAIL_NO_MEMORY;
}

enum fail hdrs_set(struct hdrs *h, enum hdr_id id, struct span value)
{
	struct hdr *first = hdrs_find(h, id);

	if (!first)
		return hdrs_add_id(h, id, value);
	if (!value_is_sendable(value))
		return FAIL_BAD_CONFIG_VALUE;
	first->value = value;
	first->in_buf &= (uint8_t)~HDR_VALUE_IN_BUF;
	for (struct hdr *hd = first; (hd = hdrs_find_next(h, hd)) != NULL;)
		hd->removed = true;
	return FAIL_OK;
}

struct hdr *hdrs_find(const struct hdrs *h, enum hdr_id id)
{
	if (id == HDR_OTHER || id >= HDR_COUNT || !maybe_present(h, id))
		return NULL;
	hdrs_each (hd, h)
		if (hd->id == id)
			return hd;
	return NULL;
}

/* The first at or after `from` that has the name. */
static struct hdr *find_from(const struct hdrs *h, struct hdr *from, struct span name,
			     enum hdr_id id, uint16_t hash)
{
	for (struct hdr *hd = from, *end = h->n ? h->v + h->n : from; hd < end; hd++) {
		if (hd->removed || hd->id != id)
			continue;
		if (id != HDR_OTHER || (hd->hash == hash && span_eq_nocase(hd->name, name)))
			return hd;
	}
	return NULL;
}

struct hdr *hdrs_find_name(const struct hdrs *h, struct span name)
{
	uint64_t mix = name_mix(name.p, name.n);
	enum hdr_id id = lookup(name, mix);

	if (name.n == 0 || !maybe_present(h, id))
		return NULL;
	return find_from(h, h->v, name, id, hash_of(mix));
}

struct hdr *hdrs_find_next(const struct hdrs *h, const struct hdr *hd)
{
	return find_from(h, h->v + (hd - h->v) + 1, hd->name, (enum hdr_id)hd->id, hd->hash);
}

struct span hdrs_value(const struct hdrs *h, enum hdr_id id)
{
	const struct hdr *hd = hdrs_find(h, id);

	return hd ? hd->value : span_make(NULL, 0);
}

void hdrs_remove(struct hdrs *h, enum hdr_id id)
{
	if (id == HDR_OTHER || id >= HDR_COUNT || !maybe_present(h, id))
		return;
	hdrs_each (hd, h)
		if (hd->id == id)
			hd->removed = true;
	h->present[id >> 6] &= ~(1ull << (id & 63));
}

void hdrs_remove_name(struct hdrs *h, struct span name)
{
	struct hdr *hd = hdrs_find_name(h, name), *next;

	for (; hd; hd = next) {
		next = hdrs_find_next(h, hd);
		hd->removed = true;
	}
}

static char *join_piece(char *at, struct span s)
{
	if (s.n)
		memcpy(at, s.p, s.n);
	return at + s.n;
}

struct span hdrs_join(const struct hdrs *h, struct span name, struct span sep)
{
	const struct hdr *first = hdrs_find_name(h, name), *hd;
	size_t n;
	char *text, *at;

	if (!first)
		return span_make(NULL, 0);
	if (!hdrs_find_next(h, first))
		return first->value;
	n = first->value.n;
	for (hd = first; (hd = hdrs_find_next(h, hd)) != NULL;)
		n += sep.n + hd->value.n;
	text = arena_alloc(h->arena, n);
	if (!text)
		return span_make(NULL, 0);
	at = join_piece(text, first->value);
	for (hd = first; (hd = hdrs_find_next(h, hd)) != NULL;)
		at = join_piece(join_piece(at, sep), hd->value);
	return span_make(text, n);
}

bool hdrs_has_token(const struct hdrs *h, enum hdr_id id, struct span token)
{
	struct span rest, element;

	for (const struct hdr *hd = hdrs_find(h, id); hd; hd = hdrs_find_next(h, hd))
		for (rest = hd->value; hdr_list_next(&rest, &element);)
			if (span_eq_nocase(element, token))
				return true;
	return false;
}

/* Offset of the comma that ends the first element, or s.n. */
static size_t element_end(struct span s)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			quoted = !quoted;
		else if (s.p[i] == '\\' && quoted && i + 1 < s.n)
			i++;
		else if (s.p[i] == ',' && !quoted)
			break;
	}
	return i;
}

bool hdr_list_next(struct span *rest, struct span *element)
{
	while (rest->n) {
		size_t end = element_end(*rest);

		*element = span_trim(span_make(rest->p, end));
		*rest = span_cut(*rest, end + 1, rest->n);
		if (element->n)
			return true;
	}
	return false;
}

bool http_is_token(struct span s)
{
	return s.n && scan_class(s.p, s.p + s.n, BYTE_TOKEN) == s.p + s.n;
}

bool http_is_field_value(struct span s)
{
	return scan_value_all(s.p, s.n);
}
