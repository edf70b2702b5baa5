/* The one list of modules. */
#pragma once
#include "conf/conf.h"

/* Sets http_modules (serve/module.h) and registers the rows of all modules with conf/. Once per
 * process. */
void modules_init(void);
