/* Within serve/: setters that the core's rows name. */
#pragma once
#include "conf/conf.h"

int core_http_block(struct conf_call *c);
int core_server_block(struct conf_call *c);
int core_location_block(struct conf_call *c);
int core_limit_except_block(struct conf_call *c);
/* types.c */
int types_set(struct conf_call *c);
/* core_set.c */
int root_set(struct conf_call *c);
int alias_set(struct conf_call *c);
int error_page_set(struct conf_call *c);
int keepalive_timeout_set(struct conf_call *c);
int internal_set(struct conf_call *c);
int temp_path_set(struct conf_call *c);
/* Makes the folder of a struct core_loc. */
int temp_path_make(struct conf_call *c, void *arg);
int open_file_cache_set(struct conf_call *c);
int disable_symlinks_set(struct conf_call *c);
int resolver_set(struct conf_call *c);
int keepalive_disable_set(struct conf_call *c);
int core_loc_init(struct conf_call *c, void *conf);
int core_srv_init(struct conf_call *c, void *conf);
