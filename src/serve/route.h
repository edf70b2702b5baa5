/* Within serve/: the compiled tables that routing reads. Built by route_conf.c, in the snapshot's
 * arena. */
#pragma once
#include "base/hash.h"
#include "serve/core.h"

struct vname {
	struct hash_node node;
	struct span text;
	struct server *server;
};

struct vnames {
	struct hash exact, wild_head /* ".example.com" */, wild_tail /* "www.example." */;
	struct {
		const struct server_name *name;
		struct server *server;
	} * regexes;
	size_t nregexes, regexes_cap;
	bool single; /* one server and no captures to take: no look-up is needed */
};

struct port_server {
	struct list link;
	struct server *server;
};

/* Prefix locations of one level, sorted by prefix. up: index of the longest entry that is a proper
 * prefix; -1. */
struct loc_entry {
	struct span prefix;
	struct location *loc;
	ssize_t up;
};
struct loc_tree {
	struct loc_entry *v, *exact;
	size_t n, nexact;
	bool auto_slash; /* some entry's location redirects to itself when its last slash is missing
			  */
};

/* Compiles a location's children (and theirs) for location_find. CONF_OK or CONF_ERR. */
int location_compile(struct conf_call *c, struct location *l);
/* Builds names for every port from its members. */
int ports_compile(struct conf_call *c, struct http_main *m);
/* "listen" and "server_name". */
int listen_set(struct conf_call *c);
int server_name_set(struct conf_call *c);
/* A server without listen gets *:80 (or *:8000 when not root), without server_name "". */
int server_defaults(struct conf_call *c, struct server *s);
