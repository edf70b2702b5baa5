/* Socket addresses: IPv4, IPv6, Unix (also abstract, "unix:@name"). */
#pragma once
#include <stdbool.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/bug.h"
#include "base/span.h"

/* Any address; small ones fit small. len == 0: none. */
struct net_addr {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
};
/* What a connection keeps: no Unix path (a client's is unnamed, a server's stands in its peer). */
struct net_peer {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
};

#define ADDR_TEXT_MAX 128 /* bytes enough for addr_format */
/* "1.2.3.4", "[::1]", "unix:/path"; with port when asked ("1.2.3.4:80", "[::1]:80"). Returns the
 * length. */
size_t addr_format(const struct sockaddr *sa, bool with_port, char *buf, size_t size);
/* IPv6 without brackets: $remote_addr. "unix:" for Unix peers. */
size_t addr_format_ip(const struct sockaddr *sa, char *buf, size_t size);
int addr_port(const struct sockaddr *sa); /* 0 for Unix */
void addr_set_port(struct sockaddr *sa, int port);
/* A literal address without port: "1.2.3.4", "::1", "[::1]". */
bool addr_parse_ip(struct span s, struct net_addr *out);
/* "IP:port", "IP", "[v6]:port", "unix:/path"; default_port when none. False: not a literal. */
bool addr_parse(struct span s, int default_port, struct net_addr *out);
bool addr_eq(const struct sockaddr *a, const struct sockaddr *b); /* port included */
/* 4 or 16 bytes, network order: $binary_remote_addr, ip_hash. */
struct span addr_bytes(const struct sockaddr *sa);

/* A network in CIDR form. */
struct cidr {
	bool v6;
	uint8_t addr[16];
	uint8_t mask[16];
};
bool cidr_parse(struct span s, struct cidr *out,
		bool *had_host_bits); /* "10.0.0.0/8", plain address: full */
bool cidr_match(const struct cidr *c, const struct sockaddr *sa); /* v4-mapped v6 matches v4 */
