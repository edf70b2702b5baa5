/* The modules of this room: main/modules.c lists them. */
#pragma once
#include "serve/module.h"

extern const struct http_module rewrite_module;
extern const struct http_module ssl_module;
extern const struct http_module log_module;
extern const struct http_module map_module;
extern const struct http_module stub_status_module;
