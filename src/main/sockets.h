/* Listening sockets: made as a listen_spec says, or found among those that a parent handed down
 * (the old binary in $NGINX, systemd in $LISTEN_FDS). Start-up code: blocking, single-threaded. */
#pragma once
#include "base/buf.h"
#include "conf/opener.h"

/* Makes, binds and listens. test: an address in use is no error, the socket is then not bound. fd,
 * or -errno with *what the call that failed ("bind"). */
int socket_open(const struct listen_spec *spec, bool test, const char **what);
/* (Re)applies options and backlog to a socket that listens already. */
void socket_configure(int fd, const struct listen_spec *spec);

/* Takes over what $NGINX and $LISTEN_FDS name, and removes the variables. Returns how many. */
unsigned sockets_inherit(void);
/* Were there any from an old binary? Its sockets are not ours to remove as long as it lives. */
bool sockets_shared_with_parent(void);
/* An inherited socket bound to that address, each given once; -1: none. */
int sockets_take(const struct listen_spec *spec);
/* Closes those that nobody took. */
void sockets_close_rest(void);
/* The path of a Unix socket's canonical name, or empty: other families, abstract names. */
struct span socket_unix_path(struct span name);
