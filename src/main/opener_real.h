/* The opener that opens: the master's, the single process's, and that of -t. What it opens is
 * recorded in a bundle, which owns the descriptors.
 *
 * A log or socket that the previous bundle or a parent process has is taken from there. listen()
 * hands out a duplicate that belongs to the registry of listeners, or what that one has already.
 * Logs are handed out as they are. */
#pragma once
#include "conf/opener.h"
#include "main/bundle.h"

struct opener_real {
	struct opener opener;
	struct bundle *record;
	const struct bundle *old; /* may be NULL */
	bool test;		  /* -t: addresses in use are no error */
	uid_t uid;
	gid_t gid;	/* who owns temporary folders, when we are root */
	unsigned tries; /* left, for addresses in use */
};

/* record and old are the caller's; they must outlive the opener. */
void opener_real_init(struct opener_real *o, struct bundle *record, const struct bundle *old,
		      bool test);
/* `user`: does nothing when o is another kind of opener. */
void opener_real_user(struct opener *o, uid_t uid, gid_t gid);
/* After a load in a process that does not serve: closes the duplicates that the registry of
 * listeners got. */
void opener_real_forget_listeners(const struct bundle *b);
/* Opens all logs of b again and replaces the descriptors in place; one that fails keeps its file,
 * is logged, and is what is returned. */
int opener_real_reopen(struct bundle *b);
