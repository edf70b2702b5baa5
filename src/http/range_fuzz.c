/* Ranges lie inside, are not empty, and are no more in all than the whole; entity tag lists find
 * only what they hold. */
#include "base/bug.h"
#include "http/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ranges(struct span value, int64_t length)
{
	struct byte_range r[8];
	size_t n = ARRAY_LEN(r);
	int64_t sum = 0;

	if (http_ranges(value, length, r, &n) != RANGE_OK)
		return;
	BUG_ON(n == 0 || n > ARRAY_LEN(r));
	for (size_t i = 0; i < n; i++) {
		BUG_ON(r[i].start < 0 || r[i].start >= r[i].end || r[i].end > length);
		sum += r[i].end - r[i].start;
	}
	BUG_ON(sum > length);
}

static void check_etags(struct span list)
{
	struct span etag = SPAN("\"a\"");

	if (etag_in_list(list, etag, false)) {
		BUG_ON(!etag_in_list(list, etag, true));
		BUG_ON(span_find(list, etag) < 0 && span_find_char(list, '*', 0) < 0);
	}
	etag_in_list(etag, list, true);
}

static void check_conditions(struct span value)
{
	static const enum hdr_id ids[] = {HDR_IF_MATCH, HDR_IF_NONE_MATCH, HDR_IF_MODIFIED_SINCE,
					  HDR_IF_UNMODIFIED_SINCE, HDR_IF_RANGE};
	struct http_validators v = {SPAN("\"a\""), 784111777};

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct http_request req = {.method = METHOD_GET};
		struct arena a;
		int status;

		arena_init(&a, 1 << 16);
		hdrs_init(&req.headers, &a);
		BUG_ON(!hdrs_append(&req.headers, ids[i], hdr_name(ids[i]), value));
		status = http_conditions(&req, &v, IMS_EXACT);
		BUG_ON(status != 0 && status != 304 && status != 412);
		http_if_range(&req, &v);
		arena_fini(&a);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_make(data, size);

	check_ranges(s, 0);
	check_ranges(s, 100);
	check_ranges(s, INT64_MAX);
	check_etags(s);
	check_conditions(s);
	return 0;
}
