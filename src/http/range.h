/* Conditional requests (RFC 9110 13) and byte ranges (RFC 9110 14). Pure functions. */
#pragma once
#include "http/msg.h"

struct http_validators {
	struct span etag;      /* with quotes, W/ when weak; empty: none */
	int64_t last_modified; /* seconds; -1: none */
};
enum ims_mode { IMS_OFF, IMS_EXACT, IMS_BEFORE };
/* 0: go on; 304 or 412: answer that. Order of RFC 9110 13.2.2; if_modified_since as nginx's
 * directive. */
int http_conditions(const struct http_request *req, const struct http_validators *v,
		    enum ims_mode ims);
/* Does If-Range (if any) allow a range answer? Strong comparison. */
bool http_if_range(const struct http_request *req, const struct http_validators *v);

struct byte_range {
	int64_t start, end;
}; /* end exclusive */
enum range_result { RANGE_NONE, RANGE_OK, RANGE_UNSATISFIABLE };
/* Parses a Range value against a known length, as nginx does. RANGE_NONE (answer 200): another
 * unit, more ranges than there is room for, more bytes in all than the whole, or an empty whole.
 * RANGE_UNSATISFIABLE (answer 416): malformed, or nothing inside. n: in capacity, out number;
 * ranges outside are dropped, the others stay in the order asked. */
enum range_result http_ranges(struct span value, int64_t length, struct byte_range *r, size_t *n);
/* Strong and weak comparison of two entity tags, and of one against a list ("*" matches). */
bool etag_in_list(struct span list, struct span etag, bool weak);
