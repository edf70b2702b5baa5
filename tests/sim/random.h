/* The random world. */
#pragma once
#include "world.h"

/* New decisions are drawn here only: what seeds of the others mean stays. */
void world_wide(void);
void world_random(void); /* what could be drawn before there was the wide one */
struct ask;
void draw_tunnel_ways(struct ask *a);
void world_random_http1(void); /* without clients of HTTP/2 */
