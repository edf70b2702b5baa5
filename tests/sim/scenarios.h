/* The named worlds, one file each. */
#pragma once
#include "world.h"

extern const struct scenario scenario_plain;
