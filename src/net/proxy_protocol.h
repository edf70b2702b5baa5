/* PROXY protocol, versions 1 and 2 (text and binary), receiving and writing. Limits: v1 107 bytes,
 * v2 as its length says, at most 4096 here. */
#pragma once
#include "base/arena.h"
#include "net/addr.h"

struct proxy_protocol {
	struct net_addr src, dst; /* len 0: LOCAL or UNKNOWN */
	struct span tlvs;	  /* raw TLV block of version 2, in the input */
	int version;
};
#define PROXY_PROTOCOL_MORE (-EAGAIN)
/* Bytes of the header when complete (> 0), PROXY_PROTOCOL_MORE, or -EPROTO. */
ssize_t proxy_protocol_parse(struct span in, struct proxy_protocol *out);
/* Value of a TLV by number or by nginx's names (alpn, authority, unique_id, ssl_version, ssl_cn,
 * ...). */
bool proxy_protocol_tlv(struct span tlvs, struct span name, struct span *value);
/* Writes a version 1 header; returns its length. */
size_t proxy_protocol_write_v1(const struct sockaddr *src, const struct sockaddr *dst, char *out,
			       size_t size);
size_t proxy_protocol_write_v2(const struct sockaddr *src, const struct sockaddr *dst, char *out,
			       size_t size);
