/* Certificates whose names have variables: read when a handshake needs them, and kept.
 *
 * Each thread keeps at most CERT_NAMES_MAX contexts, by names and files: one whose files have
 * changed is made anew, and the one that was used longest ago goes when there are too many. Files
 * are read by the worker, so its user must be allowed to. A name may not climb out of its folder.
 */
#pragma once
#include "conf/template.h"
#include "net/tls.h"

struct req;

#define CERT_NAMES_MAX	  256
#define CERT_NAMES_OF_ONE 8 /* certificates of one server */

struct cert_name {
	struct tmpl *cert, *key;
};
/* Part of the snapshot. */
struct cert_names {
	struct tls_conf tls; /* all but the certificates; what it points to lives as long */
	struct cert_name *v;
	size_t n;	    /* at most CERT_NAMES_OF_ONE */
	struct span prefix; /* folder of relative names, with / at the end */
};

/* The context for this request's (or connection's) names. Borrowed: until the next call on this
 * thread. NULL: logged. */
struct tls_ctx *cert_names_get(struct req *r, const struct cert_names *c);
/* Contexts that this thread keeps. */
size_t cert_names_count(void);
void cert_names_thread_fini(void);
