/* PRIORITY_UPDATE (RFC 9218 7.1). nghttp2 (1.52) makes a stream of one that comes before its
 * request, and never counts that among the open ones: behind a GOAWAY it would not be answered. */
#include "base/pool.h"
#include "serve/h2_stream.h"

#define EARLY_MAX   1024 /* whatever http2_max_concurrent_streams is */
#define EARLY_FIRST 4

void h2_priority_free(struct h2_conn *h)
{
	mem_free(h->early.v);
	h->early = (struct h2_early){0};
}

static struct h2_early_item *early_find(struct h2_early *e, uint32_t id)
{
	for (uint32_t i = 0; i < e->n; i++)
		if (e->v[i].id == id)
			return &e->v[i];
	return NULL;
}

/* NULL: no memory, or more than anybody needs. */
static struct h2_early_item *early_add(struct h2_early *e, uint32_t id)
{
	uint32_t cap = e->cap ? e->cap * 2 : EARLY_FIRST;
	struct h2_early_item *v;

	if (e->n == EARLY_MAX)
		return NULL;
	if (e->n == e->cap) {
		v = mem_resize(e->v, cap * sizeof(*v));
		if (!v)
			return NULL;
		e->v = v;
		e->cap = cap;
	}
	e->v[e->n] = (struct h2_early_item){.id = id};
	return &e->v[e->n++];
}

/* RFC 9218 7.1: the streams that are active, and those that were only prioritized, are within the
 * limit, once the client has acknowledged it. */
static bool early_too_many(struct h2_conn *h)
{
	uint32_t n = h->early.n, most = nghttp2_session_get_local_settings(
					 h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	struct list *l;

	list_each (l, &h->streams)
		n += !CONTAINER_OF(l, struct h2_client, link)->closed;
	return n >= most;
}

static uint32_t early_keep(struct h2_conn *h, uint32_t id, const nghttp2_extpri *pri)
{
	struct h2_early_item *it = early_find(&h->early, id);

	if (!it && early_too_many(h))
		return NGHTTP2_PROTOCOL_ERROR;
	if (!it)
		it = early_add(&h->early, id);
	if (it) {
		it->urgency = (uint8_t)pri->urgency;
		it->incremental = pri->inc;
	}
	return NGHTTP2_NO_ERROR;
}

bool h2_priority_early(struct h2_conn *h, int32_t id, nghttp2_extpri *pri)
{
	struct h2_early *e = &h->early;
	uint32_t n = 0;
	bool found = false;

	for (uint32_t i = 0; i < e->n; i++) {
		if (e->v[i].id > (uint32_t)id) {
			e->v[n++] = e->v[i];
		} else if (e->v[i].id == (uint32_t)id) {
			*pri = (nghttp2_extpri){e->v[i].urgency, e->v[i].incremental};
			found = true;
		}
	}
	e->n = n;
	if (!n && e->v)
		h2_priority_free(h);
	return found;
}

/* A field that is longer than the room is passed over: what may stand in it fits. */
static nghttp2_extpri update_value(const struct h2_conn *h, const nghttp2_frame_hd *hd)
{
	struct span value = span_make(h->update + 4, h->update_len - 4u);
	uint8_t urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY;
	bool incremental = false;

	if (hd->length <= sizeof(h->update))
		(void)h2_priority_parse(value, &urgency, &incremental);
	return (nghttp2_extpri){urgency, incremental};
}

uint32_t h2_priority_update(struct h2_conn *h, const nghttp2_frame_hd *hd)
{
	const uint8_t *p = (const uint8_t *)h->update;
	uint32_t id = ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]) &
		      INT32_MAX;
	nghttp2_extpri pri = update_value(h, hd);

	if (id % 2 == 0) /* 0, or a push that never was */
		return NGHTTP2_PROTOCOL_ERROR;
	if (id > (uint32_t)nghttp2_session_get_last_proc_stream_id(h->session))
		return early_keep(h, id, &pri);
	if (nghttp2_session_get_stream_user_data(h->session, (int32_t)id))
		nghttp2_session_change_extpri_stream_priority(h->session, (int32_t)id, &pri, 0);
	return NGHTTP2_NO_ERROR;
}
