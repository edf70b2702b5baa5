/* Requests that must be refused, and with which status (RFC 9110, RFC 9112; nginx 1.22 says the
 * same but where it is more lenient). */
#pragma once

struct malformed {
	const char *text;
	int status;
};

#define MALFORMED_FROZEN 15 /* the first ones: random worlds draw among these */
extern const struct malformed malformed_list[];
extern const unsigned malformed_count;
