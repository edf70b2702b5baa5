/* Addresses of the virtual network. */
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "io/sim_int.h"

struct sim_addr sim_addr_make(const struct sockaddr *sa, socklen_t len)
{
	struct sim_addr a = {.len = MIN_OF(len, (socklen_t)sizeof(a.un))};

	memcpy(&a.sa, sa, a.len);
	/* A path may or may not come with its zero. */
	if (a.len > sizeof(sa_family_t) && a.sa.sa_family == AF_UNIX && a.un.sun_path[0])
		a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				    strnlen(a.un.sun_path,
					    a.len - offsetof(struct sockaddr_un, sun_path)) +
				    1);
	return a;
}

bool sim_addr_eq(const struct sim_addr *a, const struct sim_addr *b)
{
	if (a->len < sizeof(sa_family_t) || b->len < sizeof(sa_family_t) ||
	    a->sa.sa_family != b->sa.sa_family)
		return false;
	switch (a->sa.sa_family) {
	case AF_INET:
		return a->in.sin_port == b->in.sin_port &&
		       a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	case AF_INET6:
		return a->in6.sin6_port == b->in6.sin6_port &&
		       memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 16) == 0;
	default:
		return a->len == b->len &&
		       memcmp(a->un.sun_path, b->un.sun_path,
			      a->len - offsetof(struct sockaddr_un, sun_path)) == 0;
	}
}

unsigned sim_addr_port(const struct sim_addr *a)
{
	return a->len < sizeof(sa_family_t)  ? 0
	       : a->sa.sa_family == AF_INET  ? ntohs(a->in.sin_port)
	       : a->sa.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port)
					     : 0;
}

void sim_addr_set_port(struct sim_addr *a, unsigned port)
{
	if (a->sa.sa_family == AF_INET)
		a->in.sin_port = htons((uint16_t)port);
	else if (a->sa.sa_family == AF_INET6)
		a->in6.sin6_port = htons((uint16_t)port);
}

bool sim_addr_serves(const struct sim_addr *at, const struct sim_addr *to)
{
	bool any4 = at->sa.sa_family == AF_INET && at->in.sin_addr.s_addr == htonl(INADDR_ANY);
	bool any6 = at->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&at->in6.sin6_addr);

	if (sim_addr_eq(at, to))
		return true;
	if (sim_addr_port(at) != sim_addr_port(to) || !sim_addr_port(at))
		return false;
	return (any4 && to->sa.sa_family == AF_INET) || (any6 && to->sa.sa_family == AF_INET6);
}

unsigned sim_port_ephemeral(void)
{
	if (sim.next_port < 32768 || sim.next_port > 60999)
		sim.next_port = 32768 + (unsigned)(sim.seed % 20000);
	return sim.next_port++;
}

struct sim_addr sim_addr_source(const struct sim_addr *to)
{
	struct sim_addr a = {.len = to->len};

	a.sa.sa_family = to->sa.sa_family;
	switch (to->sa.sa_family) {
	case AF_INET:
		a.in.sin_addr.s_addr = ntohl(to->in.sin_addr.s_addr) >> 24 == 127
					       ? htonl(INADDR_LOOPBACK)
					       : htonl(0xc0000201); /* 192.0.2.1 */
		break;
	case AF_INET6:
		a.in6.sin6_addr = in6addr_loopback;
		break;
	default:
		a.len = sizeof(sa_family_t); /* unnamed */
		return a;
	}
	sim_addr_set_port(&a, sim_port_ephemeral());
	return a;
}

int sim_addr_give(const struct sim_addr *a, struct sockaddr *sa, socklen_t *len)
{
	if (!sa)
		return 0;
	memcpy(sa, &a->sa, MIN_OF(*len, a->len));
	*len = a->len;
	return 0;
}

const char *sim_addr_text(const struct sim_addr *a)
{
	static char texts[4][128];
	static unsigned turn;
	char *p = texts[turn++ % 4], ip[INET6_ADDRSTRLEN] = "";

	if (a->len > sizeof(sa_family_t) && a->sa.sa_family == AF_UNIX) {
		snprintf(p, sizeof(texts[0]), "unix:%s", a->un.sun_path);
	} else if (a->len > sizeof(sa_family_t)) {
		inet_ntop(a->sa.sa_family,
			  a->sa.sa_family == AF_INET ? (const void *)&a->in.sin_addr
						     : (const void *)&a->in6.sin6_addr,
			  ip, sizeof(ip));
		snprintf(p, sizeof(texts[0]), "%s:%u", ip, sim_addr_port(a));
	} else {
		snprintf(p, sizeof(texts[0]), "nobody");
	}
	return p;
}
