/* Any bytes: never read outside, never a header longer than the input, the same answer for the
 * header alone, "more" for each of its beginnings, and what was parsed can be written and parsed
 * again. */
#include <errno.h>
#include <stdlib.h>
#include "base/bug.h"
#include "net/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct proxy_protocol *pp, int version)
{
	struct proxy_protocol back;
	char out[128];
	size_t n;

	n = version == 1 ? proxy_protocol_write_v1(&pp->src.sa, &pp->dst.sa, out, sizeof(out))
			 : proxy_protocol_write_v2(&pp->src.sa, &pp->dst.sa, out, sizeof(out));
	BUG_ON(n == 0 || proxy_protocol_parse(span_make(out, n), &back) != (ssize_t)n);
	BUG_ON(!addr_eq(&pp->src.sa, &back.src.sa) || !addr_eq(&pp->dst.sa, &back.dst.sa));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct span names[] = {SPAN_INIT("alpn"), SPAN_INIT("ssl_cn"),
					    SPAN_INIT("0x04"), SPAN_INIT("ssl_verify"),
					    SPAN_INIT("5"),    SPAN_INIT("nothing")};
	struct proxy_protocol pp;
	struct span in = span_make(data, size), value;
	ssize_t n = proxy_protocol_parse(in, &pp);

	BUG_ON(n == 0 || n > (ssize_t)size);
	if (n < 0) {
		BUG_ON(n != -EPROTO && n != PROXY_PROTOCOL_MORE);
		BUG_ON(pp.src.len || pp.dst.len || pp.tlvs.n);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (proxy_protocol_tlv(pp.tlvs, names[i], &value))
			BUG_ON(value.p < in.p || value.p + value.n > in.p + n);
	if (pp.src.len) {
		again(&pp, 1);
		again(&pp, 2);
	}
	BUG_ON(proxy_protocol_parse(span_make(data, (size_t)n), &pp) != n);
	for (ssize_t i = 0; i < n; i++)
		BUG_ON(proxy_protocol_parse(span_make(data, (size_t)i), &pp) !=
		       PROXY_PROTOCOL_MORE);
	return 0;
}
