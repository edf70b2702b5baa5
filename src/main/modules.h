/* The one list of modules. http_modules (serve/module.h) is defined here too. */
#pragma once
#include "conf/conf.h"

/* Registers the rows of all modules with conf/. Once per process. */
void modules_init(void);
