/* The worker's opener: answers what the master's bundle says, and nothing else.
 *
 * Logs live in a table of the process: a path has one descriptor as long as some snapshot writes to
 * it, also over reloads; reopening replaces the file behind it in place. */
#pragma once
#include "conf/opener.h"
#include "conf/snapshot.h"
#include "main/bundle.h"

struct opener_replay {
	struct opener opener;
	struct bundle *bundle;	   /* descriptors that are handed out leave it */
	struct snapshot *snapshot; /* whose logs these are; NULL: for ever */
};

void opener_replay_init(struct opener_replay *o, struct bundle *b, struct snapshot *s);
/* The master reopened a log: fd takes the place of the one we have. The caller keeps fd. */
void opener_replay_reopen(struct span path, int fd);

/* For both openers: the descriptor that the registry of listeners has for that place, or -1; and
 * answers from bundle items. */
int opener_served(const struct listen_spec *spec, unsigned index);
int bundle_give_paths(const struct bundle_item *i, struct arena *a, struct span **paths, size_t *n);
int bundle_give_addresses(const struct bundle_item *i, struct sockaddr_storage *sa, size_t max);
