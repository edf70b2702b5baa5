#include "base/bug.h"
#include "main/core_main.h"
#include "main/modules.h"
#include "serve/core.h"
#include "serve/error_log.h"
#include "serve/module.h"

/* The one list. A line here is all a module needs. Its order is the order of handlers within a
 * phase and of header filters. */
#define HTTP_MODULES(X)                                                                            \
	X(core_module)                                                                             \
	X(log_module)                                                                              \
	X(ssl_module)                                                                              \
	X(rewrite_module)                                                                          \
	X(map_module)                                                                              \
	X(stub_status_module)                                                                      \
	X(access_module)                                                                           \
	X(auth_basic_module)                                                                       \
	X(upstream_module)                                                                         \
	X(proxy_module)                                                                            \
	X(grpc_module)                                                                             \
	X(tunnel_module)                                                                           \
	X(try_files_module)                                                                        \
	X(index_module)                                                                            \
	X(static_module)                                                                           \
	X(not_modified_module)                                                                     \
	X(range_module)                                                                            \
	X(headers_module)

#define DECLARE(m) extern const struct http_module m;
HTTP_MODULES(DECLARE)

#define POINTER(m) &m,
static const struct http_module *const all[] = {HTTP_MODULES(POINTER) NULL};

/* What stands outside of http{}. */
static struct conf_mod *const others[] = {&core_main_mod, &error_log_mod};

#define CONF_MODS_MAX 128
static struct conf_mod *confs[CONF_MODS_MAX + 1];

void modules_init(void)
{
	unsigned n = 0;

	http_modules_set(all);
	for (unsigned i = 0; i < ARRAY_LEN(others); i++)
		confs[n++] = others[i];
	for (const struct http_module *const *m = all; *m; m++) {
		for (struct conf_mod *const *c = (*m)->confs; c && *c; c++) {
			BUG_ON(n == CONF_MODS_MAX);
			confs[n++] = *c;
		}
	}
	conf_mods_init(confs);
}
