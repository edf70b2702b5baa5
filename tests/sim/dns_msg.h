/* What a name server says: messages put together record by record (RFC 1035 section 4). Names in
 * questions have one label before ".sim". */
#pragma once
#include "io/sim.h"
#include "setup.h"

#define TYPE_A	  1
#define TYPE_AAAA 28

struct dns_msg {
	struct sim_timer timer;
	struct sockaddr_storage to;
	socklen_t tolen;
	struct place from;
	uint64_t *good; /* when it leaves is noted there */
	unsigned char p[512];
	size_t n;
};

/* Bytes of the question behind the head of the message q. */
size_t msg_question_size(const unsigned char *q);
/* The head of an answer to q, with its question: no records, no error. */
void msg_begin(struct dns_msg *m, const unsigned char *q);
void msg_put_record(struct dns_msg *m, unsigned name_at, unsigned type, unsigned ttl, const void *p,
		    size_t n);
/* Of a server of group 0. */
void msg_put_address(struct dns_msg *m, unsigned name_at, unsigned type, unsigned ttl,
		     unsigned server);
/* A datagram from the name server that leaves, and is freed, after that long. */
struct dns_msg *msg_new(const struct sockaddr *to, socklen_t len, uint64_t after_us);
/* It leaves now: for a timer.run of one's own. */
void msg_leaves(struct sim_timer *t);
