/* One end of the socket pair between master and worker: messages of bytes and descriptors, any size
 * and number, both without ever blocking. What is sent waits in a queue until the other side has
 * read; what comes is put together until a message is whole.
 *
 * One command is under way at a time and each gets one answer, so both queues stay small and the
 * two sides cannot wait for each other. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/list.h"

#define CHANNEL_FDS_MAX (1 << 20) /* descriptors of one message */

enum channel_type {
	CH_LOAD = 1, /* master: bundle. Worker answers OK or ERROR */
	CH_REOPEN, /* master: paths of logs, each ended by a zero, and their descriptors. No answer
		    */
	CH_OK,	   /* worker */
	CH_ERROR,  /* worker: text */
};

struct channel {
	int fd;		 /* non-blocking; -1: closed */
	struct list out; /* struct channel_out */
	struct buf in;
	int *in_fds;
	size_t nin_fds, cap_in_fds;
	bool flooded; /* too many descriptors are in flight: try again soon, poll tells nothing */
};

struct channel_msg {
	enum channel_type type;
	struct span bytes; /* valid until channel_done */
	int *fds;
	size_t nfds; /* whoever takes one sets it to -1; the rest is closed by channel_done */
};

int channel_pair(int fds[2]); /* 0 or -errno */
void channel_init(struct channel *c, int fd);
void channel_fini(struct channel *c); /* closes */
/* Copies bytes; descriptors are duplicated. Tries to send at once. 0 or -errno. */
int channel_send(struct channel *c, enum channel_type type, struct span bytes, const int *fds,
		 size_t nfds);
/* 0: everything is out; -EAGAIN: more to do when writable; -errno. */
int channel_flush(struct channel *c);
/* 1: a message; -EAGAIN: not whole yet; -EPIPE: the other side is gone; -errno. */
int channel_recv(struct channel *c, struct channel_msg *m);
void channel_done(struct channel *c, struct channel_msg *m);
