/* A file of users and hashes of their passwords, as htpasswd writes it: lines
 * "name:hash[:comment]", empty ones, and ones that begin with #. Read anew each time, so a change
 * counts at once. */
#pragma once
#include <stdint.h>
#include <sys/stat.h>
#include "base/span.h"
#include "mod/password.h"

#define USER_FILE_MAX (64 << 20) /* bytes */

/* What a file was: while these are the same, so is what stands in it. */
struct file_version {
	uint64_t device, inode, size, modified_ns, changed_ns;
};
struct file_version file_version_of(const struct stat *st);

/* Who is looked for, and what was found. The hash of the first line with that name counts; one that
 * is longer than PASSWORD_HASH_MAX is cut to one byte more. */
struct user_entry {
	struct span user;
	char hash[PASSWORD_HASH_MAX + 1];
	size_t n;
	struct file_version version; /* of the file when it was opened */
};

/* Any thread, may block. 1: found, 0: not there, or -errno: the file cannot be read. */
int user_file_find(const char *path, struct user_entry *e);
