/* The named worlds. */
#pragma once
#include "world.h"

extern const struct scenario scenario_lines, scenario_starved, scenario_unread;

extern const struct scenario scenario_plain, scenario_continue, scenario_upgrade, scenario_cancel,
	scenario_early, scenario_idle, scenario_reload, scenario_memory, scenario_time,
	scenario_connect, scenario_mux, scenario_still, scenario_goaway, scenario_duplex,
	scenario_early2, scenario_refuse, scenario_length, scenario_stall, scenario_news,
	scenario_flow, scenario_auth, scenario_tls, scenario_untrusted, scenario_greet,
	scenario_switch, scenario_tunnels, scenario_torn, scenario_unmoved, scenario_abuse,
	scenario_end;
extern const struct scenario scenario_part, scenario_pieces, scenario_rotate, scenario_malformed;
/* when something goes on longer than it should */
extern const struct scenario scenario_linger;
/* many at once */
extern const struct scenario scenario_burst, scenario_crowd, scenario_dry;
/* names */
extern const struct scenario scenario_dns, scenario_moves;
/* who is gone without a word */
extern const struct scenario scenario_vanish, scenario_gone;
/* WebSocket, each protocol with each */
extern const struct scenario scenario_woven, scenario_ripped;
