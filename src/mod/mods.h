/* The modules of this room: main/modules.c lists them. */
#pragma once
#include "co/co.h"
#include "serve/module.h"

extern const struct http_module rewrite_module;
extern const struct http_module ssl_module;
extern const struct http_module log_module;
extern const struct http_module map_module;
extern const struct http_module stub_status_module;
extern const struct http_module index_module;
extern const struct http_module static_module;
extern const struct http_module try_files_module;
extern const struct http_module not_modified_module;
extern const struct http_module range_module;
extern const struct http_module headers_module;
extern const struct http_module access_module;
extern const struct http_module auth_basic_module;
