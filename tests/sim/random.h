/* The random world. */
#pragma once
#include "world.h"

void world_random(void);
void world_random_http1(void); /* without clients of HTTP/2 */
