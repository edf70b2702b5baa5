/* Heads out, and names for errors. */
#include "http/h2/h2_head.h"

void h2_fields_init(struct h2_fields *f, struct arena *a, size_t expected)
{
	*f = (struct h2_fields){.arena = a, .cap = expected};
	f->v = arena_alloc(a, expected * sizeof(*f->v));
	if (!f->v)
		f->failed = true;
}

void h2_fields_add(struct h2_fields *f, struct span name, struct span value, uint8_t flags)
{
	if (f->n == f->cap) {
		size_t cap = f->cap * 2 + 8;
		nghttp2_nv *v = arena_alloc(f->arena, cap * sizeof(*v));

		if (!v || f->failed) {
			f->failed = true;
			return;
		}
		memcpy(v, f->v, f->n * sizeof(*v));
		f->v = v;
		f->cap = cap;
	}
	if (f->failed)
		return;
	f->v[f->n++] = (nghttp2_nv){
		.name = (uint8_t *)name.p,
		.value = (uint8_t *)(value.n ? value.p : ""),
		.namelen = name.n,
		.valuelen = value.n,
		.flags = flags,
	};
}

/* Is it named by a Connection field of h? */
static bool named_by_connection(const struct hdrs *h, const struct hdr *hd)
{
	return hdrs_has_token(h, HDR_CONNECTION, hd->name);
}

void h2_fields_add_hdrs(struct h2_fields *f, const struct hdrs *h)
{
	bool connection = hdrs_find(h, HDR_CONNECTION);

	hdrs_each (hd, h) {
		if (h2_field_is_connection((enum hdr_id)hd->id) || hd->id == HDR_HOST)
			continue;
		if (connection && named_by_connection(h, hd))
			continue;
		h2_fields_add(f, hd->name, hd->value, NGHTTP2_NV_FLAG_NONE);
	}
}

struct span h2_error_words(int lib_error)
{
	return span_of(nghttp2_strerror(lib_error));
}

struct span h2_code_name(uint32_t error_code)
{
	return error_code <= NGHTTP2_HTTP_1_1_REQUIRED ? span_of(nghttp2_http2_strerror(error_code))
						       : SPAN("");
}
