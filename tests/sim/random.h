/* The random world. */
#pragma once
#include "world.h"

void world_random(void);
