#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>
#include "base/bug.h"

int bug_log_fd = -1;

void bug_report(const char *file, int line, const char *cond)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "sluice: BUG at %s:%d: %s\n", file, line, cond);
	size_t len = n < 0 ? 0 : MIN_OF((size_t)n, sizeof(text) - 1);

	/* Nothing is left to do when even this cannot be written. */
	if (write(STDERR_FILENO, text, len) < 0 ||
	    (bug_log_fd >= 0 && write(bug_log_fd, text, len) < 0))
		abort();
	abort();
}
