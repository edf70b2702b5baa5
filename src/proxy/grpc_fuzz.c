/* gRPC's own small texts: base64 cut anywhere gives what it gives in one piece, whatever it is. */
#include <stdlib.h>
#include "proxy/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *in = (const char *)data;
	struct base64_stream one = {0}, two = {0};
	size_t cut = n ? data[0] % n : 0;
	char *a, *b;
	ssize_t whole, first, second = 0;
	uint64_t ms;

	if (n > 4096)
		return 0;
	a = malloc(n + 4);
	b = malloc(n + 4);
	BUG_ON(!a || !b);
	whole = base64_stream_decode(&one, in, n, a);
	first = base64_stream_decode(&two, in, cut, b);
	if (first >= 0)
		second = base64_stream_decode(&two, in + cut, n - cut, b + first);
	BUG_ON((whole < 0) != (first < 0 || second < 0));
	BUG_ON(whole >= 0 && (whole != first + second || memcmp(a, b, (size_t)whole) != 0));
	BUG_ON(whole >= 0 && (size_t)whole > n / 4 * 3);
	if (grpc_timeout_parse(span_make(in, n), &ms))
		BUG_ON(n < 2 || n > 9);
	(void)grpc_web_of(span_make(in, n));
	free(a);
	free(b);
	return 0;
}
