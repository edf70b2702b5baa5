/* The worker's opener in a world: the configuration and certificates from memory, logs and sockets
 * from the virtual kernel, names from a table. */
#pragma once
#include "conf/opener.h"
#include "conf/snapshot.h"

struct opener_sim {
	struct opener opener;
	struct snapshot *snapshot; /* whose logs these are */
	struct span conf;	   /* the text of "/conf/nginx.conf" */
};
void opener_sim_init(struct opener_sim *o, struct span conf, struct snapshot *s);
/* Every log that is open: fn gets its path and descriptor. */
void opener_sim_each_log(void (*fn)(const char *path, int fd));
unsigned opener_sim_logs(void);
