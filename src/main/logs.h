/* Where log_main writes: at first the start-up log (-e) and, for what is wrong, stderr in nginx's
 * short form; then the main context's error_log.
 *
 * log_main has one sink for ever, which passes lines on to the chain of the moment under a lock, so
 * that the chain can be exchanged while other threads log. */
#pragma once
#include "base/log.h"
#include "base/span.h"

/* Opens the start-up log (absolute path or "stderr"); a failure is said on stderr. */
void logs_start(struct span path);
/* Only the start-up file, without stderr: for what was printed there in another form. */
const struct logger *logs_start_file(void);
/* From now on lines go to that chain, the caller's (NULL: nowhere), until the next call. The
 * start-up log is closed. */
void logs_set(struct log_sink *chain);
/* stderr becomes the file of that descriptor, unless fd is -1. */
void logs_take_stderr(int fd);
