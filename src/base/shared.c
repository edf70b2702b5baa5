#include "base/shared.h"

bool shared_alone;
