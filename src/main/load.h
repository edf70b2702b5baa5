/* From the text of a configuration to an applied snapshot with open sockets. */
#pragma once
#include "base/buf.h"
#include "conf/snapshot.h"
#include "main/cmdline.h"
#include "main/core_main.h"

enum load_report {
	REPORT_CONSOLE, /* stderr with place and caret, and the start-up log */
	REPORT_LOG,	/* the log */
};

struct load_args {
	const struct cmdline *cmd;
	struct opener *opener;
	unsigned nthreads; /* that will serve it; 0: as the configuration says (nobody serves this
			      snapshot) */
	uint64_t generation;
	enum load_report report;
	bool test; /* -t: says "syntax is ok" */
	struct snapshot
		*snapshot;	 /* an empty one to fill, made with snapshot_new; NULL: a new one */
	struct snapshot *before; /* the one in use, held by the caller; NULL: none */
	struct buf *why;	 /* gets the first problem; may be NULL */
};

/* The snapshot, held by the caller as loader; NULL: reported. On success *ctx, if ctx is not NULL,
 * is the context it was read with (it lives in the snapshot). */
struct snapshot *load_config(const struct load_args *args, struct conf_ctx **ctx);
/* Only the text: the `pid` that the configuration names, absolute, in a. Empty: not readable,
 * reported. */
struct span load_pid_path(const struct cmdline *cmd, struct arena *a, struct opener *o);
