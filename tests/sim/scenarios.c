/* The table of worlds. */
#include "scenarios.h"
#include <string.h>
#include "random.h"

static const struct scenario wide_scenario = {"wide", "everything is drawn from the seed",
					      world_wide};
static const struct scenario random_scenario = {
	"random",
	"the same without TLS to servers, other families of addresses, tunnels of streams",
	world_random};
static const struct scenario http1_scenario = {"http1", "that with clients of HTTP/1 only",
					       world_random_http1};

/* One a line: several people add to it. */
/* clang-format off */
const struct scenario *const scenarios[] = {
	&wide_scenario,
	&random_scenario,
	&http1_scenario,
	&scenario_plain,
	&scenario_lines,
	&scenario_rotate,
	&scenario_malformed,
	&scenario_starved,
	&scenario_unread,
	&scenario_continue,
	&scenario_upgrade,
	&scenario_cancel,
	&scenario_early,
	&scenario_idle,
	&scenario_reload,
	&scenario_memory,
	&scenario_time,
	&scenario_connect,
	&scenario_mux,
	&scenario_pieces,
	&scenario_still,
	&scenario_goaway,
	&scenario_duplex,
	&scenario_early2,
	&scenario_refuse,
	&scenario_part,
	&scenario_length,
	&scenario_stall,
	&scenario_news,
	&scenario_flow,
	&scenario_auth,
	&scenario_tls,
	&scenario_untrusted,
	&scenario_greet,
	&scenario_switch,
	&scenario_tunnels,
	&scenario_torn,
	&scenario_unmoved,
	&scenario_abuse,
	&scenario_end,
	&scenario_linger,
	&scenario_burst,
	&scenario_crowd,
	&scenario_dry,
	&scenario_dns,
	&scenario_moves,
	&scenario_vanish,
	&scenario_gone,
	&scenario_woven,
	&scenario_ripped,
	NULL
};
/* clang-format on */

const struct scenario *scenario_find(const char *name)
{
	for (const struct scenario *const *s = scenarios; *s; s++)
		if (strcmp((*s)->name, name) == 0)
			return *s;
	return NULL;
}
