/* Passwords and the forms in which files keep them. */
#pragma once
#include "base/span.h"

#define PASSWORD_MAX	  511 /* bytes; libcrypt takes no longer ones */
#define PASSWORD_HASH_MAX 384 /* bytes; libcrypt makes no longer ones */

enum password_result {
	PASSWORD_RIGHT,
	PASSWORD_WRONG,
	PASSWORD_UNKNOWN_FORM, /* nothing can be said: nobody here knows that form of hash */
	PASSWORD_FAILED,       /* no memory */
};

/* Is that the password of which hash was made? The forms: crypt(3)'s, as far as libcrypt has them
 * ($y$, $6$, $5$, $2y$, $1$, ...), $apr1$, {SHA}, {SSHA} and {PLAIN}. Any thread; takes as long as
 * the form wants, which may be a second: not on a loop. */
enum password_result password_check(struct span hash, struct span password);
