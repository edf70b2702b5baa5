/* `--help-directives`: every directive row, for the manual page (scripts/make-man). */
#pragma once
#include "base/buf.h"

/* One line per row: name, contexts, arguments, default, help, between tabs. The modules are
 * registered. */
void manual_directives(struct buf *out);
