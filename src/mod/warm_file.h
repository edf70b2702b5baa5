/* Descriptors of files that are asked for again and again, when there is no open_file_cache.
 *
 * Every turn of the loop looks at the path anew (one stat instead of an open, fstat and close for
 * each request): the descriptor is used only when device, inode, size, modification and change time
 * are what they were, so nobody can tell the difference from opening. A turn's requests were there
 * when it began, and what it has answered nobody can have acted upon yet. A file is kept from its
 * second use within WARM_MS on and let go when it was not used for as long; a thread keeps WARM_MAX
 * at most. Regular files only. */
#pragma once
#include <stdint.h>
#include <sys/stat.h>
#include "base/span.h"

#define WARM_MS	 1000
#define WARM_MAX 64

struct warm_file;

/* The descriptor behind path (zero-terminated) and its stat; NULL: not known, or not the same any
 * more. Give it back. */
struct warm_file *warm_file_take(struct span path, struct stat *st);
int warm_file_fd(const struct warm_file *w);
/* path was opened as fd: true when it is kept, and then *w is held by the caller, who gives it back
 * instead of closing fd. */
bool warm_file_offer(struct span path, int fd, const struct stat *st, struct warm_file **w);
void warm_file_give(struct warm_file *w);
/* At a thread's end: closes what nobody holds. */
void warm_files_clear(void);
