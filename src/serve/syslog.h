/* A syslog server that logs are sent to: RFC 3164 datagrams over UDP or a Unix socket.
 *
 *   <PRI>Mon dd HH:MM:SS host tag: message
 *
 * Belongs to a snapshot (arena, closed with it); used by all threads at once. The socket is made
 * and connected at the first message; a server that refused or was restarted is connected to again
 * by the next message. A datagram that cannot be sent at once is dropped: logging never waits. */
#pragma once
#include <stdatomic.h>
#include "conf/conf.h"
#include "net/addr.h"

#define SYSLOG_TAG_MAX 32
#define SYSLOG_MSG_MAX 8192 /* bytes of one datagram; the rest is cut */

enum {
	SYSLOG_EMERG,
	SYSLOG_ALERT,
	SYSLOG_CRIT,
	SYSLOG_ERR,
	SYSLOG_WARN,
	SYSLOG_NOTICE,
	SYSLOG_INFO,
	SYSLOG_DEBUG
};

struct syslog {
	struct net_addr addr;
	int facility;	   /* 0 .. 23; default 23, local7 */
	int severity;	   /* enum above; default info; the error log uses the message's own */
	struct span tag;   /* default "nginx" */
	struct span host;  /* empty: nohostname */
	_Atomic int fd;	   /* -1: not open yet */
	_Atomic bool said; /* a failure was logged; a success clears it */
};

/* Reads what stands behind "syslog:" in word `word` of the call:
 * server=ADDR[:PORT]|unix:PATH[,facility=F][,severity=S][,tag=T][,nohostname]. NULL: reported. */
struct syslog *syslog_new(struct conf_call *c, unsigned word, struct span params);
/* Sends one message (a line feed at its end is left out). Any thread. 0 or -errno. */
int syslog_send(struct syslog *s, int severity, struct span msg);
/* Formats one datagram: returns its length, at most size. For tests. */
size_t syslog_format(const struct syslog *s, int severity, struct span time, struct span msg,
		     char *p, size_t size);
