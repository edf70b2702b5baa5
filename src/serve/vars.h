/* Within serve/: the core's variables. */
#pragma once
#include "conf/template.h"

extern const struct var core_vars[];
/* Registers the variables of all modules. 0 or -1. */
int vars_register(struct var_table *t);
