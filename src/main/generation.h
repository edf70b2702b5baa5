/* What the process that opens keeps of one loaded configuration: the bundle, the settings, the main
 * error log. */
#pragma once
#include "main/bundle.h"
#include "main/load.h"
#include "main/opener_real.h"

struct generation {
	struct arena arena;
	struct bundle *bundle;
	struct settings *settings;
	struct log_sink *log; /* chain for log_main */
	int log_fd;	      /* of the first file of it, -1: none */
	uint64_t number;
};

/* Opens and reads everything with the real opener; logs and sockets of `old` (may be NULL) are used
 * again. The snapshot itself is thrown away. NULL: reported. */
struct generation *generation_load(const struct cmdline *cmd, const struct generation *old,
				   enum load_report report);
/* The part of it that does not need a bundle: settings and log of a loaded snapshot. 0 or -ENOMEM.
 */
int generation_fill(struct generation *g, const struct snapshot *s, struct span prefix);
struct generation *generation_new(void); /* empty; NULL: no memory */
/* Descriptors that keep (may be NULL) has too stay open. */
void generation_free(struct generation *g, const struct generation *keep);
/* The same for a generation that another one follows: Unix sockets that are gone from it are
 * unlinked too. */
void generation_replace(struct generation *old, const struct generation *by);
/* The end of listening: closes the bundle's sockets, and removes the files of Unix sockets when
 * remove. */
void generation_close_sockets(struct generation *g, bool remove);
/* Sockets that g shares with another generation, which is about to close them, are not g's any
 * more.
 */
void generation_disown_sockets(struct generation *g, const struct bundle *others);
/* Removes the files of the Unix sockets in b that keep (may be NULL) has not. */
void generation_unlink_sockets(const struct bundle *b, const struct bundle *keep);
