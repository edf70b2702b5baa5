/* A list of fields does what a plain array searched from the front would do. Input: commands of one
 * byte, one byte of name length, the name, a value byte. */
#include "base/bug.h"
#include "http/hdrs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MODEL_MAX 256
struct model {
	struct {
		struct span name, value;
	} v[MODEL_MAX];
	size_t n;
};

static void model_remove(struct model *m, struct span name)
{
	size_t k = 0;

	for (size_t i = 0; i < m->n; i++)
		if (!span_eq_nocase(m->v[i].name, name))
			m->v[k++] = m->v[i];
	m->n = k;
}

static void model_set(struct model *m, struct span name, struct span value)
{
	size_t first = 0;

	while (first < m->n && !span_eq_nocase(m->v[first].name, name))
		first++;
	for (size_t i = m->n; i-- > first + 1;)
		if (span_eq_nocase(m->v[i].name, name)) {
			memmove(&m->v[i], &m->v[i + 1], (m->n - i - 1) * sizeof(m->v[0]));
			m->n--;
		}
	if (first == m->n)
		m->v[m->n++].name = name;
	m->v[first].value = value;
}

static void check_same(const struct hdrs *h, const struct model *m, struct span name)
{
	const struct hdr *found = hdrs_find_name(h, name);
	enum hdr_id id = hdr_id_of(name);
	size_t k = 0;

	BUG_ON(id != HDR_OTHER && hdrs_find(h, id) != found);
	hdrs_each (hd, h) {
		BUG_ON(k >= m->n || !span_eq_nocase(hd->name, m->v[k].name));
		BUG_ON(!span_eq(hd->value, m->v[k].value));
		if (span_eq_nocase(hd->name, name)) {
			BUG_ON(found != hd);
			found = hdrs_find_next(h, hd);
		}
		k++;
	}
	BUG_ON(k != m->n || found);
}

static void check_elements(struct span list)
{
	struct span rest = list, e;
	size_t n = 0;

	while (hdr_list_next(&rest, &e)) {
		BUG_ON(e.n == 0 || e.p < list.p || e.p + e.n > list.p + list.n);
		BUG_ON(span_trim(e).n != e.n);
		BUG_ON(++n > list.n);
	}
}

static void run(struct hdrs *h, struct model *m, struct span in)
{
	while (in.n >= 3 && m->n < MODEL_MAX) {
		unsigned command = (uint8_t)in.p[0] % 3, len = (uint8_t)in.p[1] % 24;
		struct span name = span_cut(in, 2, 2 + len);
		struct span value = span_cut(in, 1, 3);
		enum hdr_id id = hdr_id_of(name);

		in = span_cut(in, 2 + len, in.n);
		if (command == 0 && hdrs_add(h, name, value) == FAIL_OK) {
			m->v[m->n].name = name;
			m->v[m->n++].value = value;
		} else if (command == 1) {
			hdrs_remove_name(h, name);
			model_remove(m, name);
		} else if (command == 2 && id != HDR_OTHER && hdrs_set(h, id, value) == FAIL_OK) {
			model_set(m, name, value);
		}
		check_same(h, m, name);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct model m;
	struct span in = span_make(data, size);
	struct arena a;
	struct hdrs h;

	arena_init(&a, 1 << 20);
	hdrs_init(&h, &a);
	m.n = 0;
	run(&h, &m, in);
	hdrs_join(&h, SPAN("Via"), SPAN(", "));
	hdrs_has_token(&h, HDR_VIA, SPAN("x"));
	check_elements(in);
	arena_fini(&a);
	return 0;
}
