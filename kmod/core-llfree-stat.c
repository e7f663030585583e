// SPDX-License-Identifier: GPL-2.0-only
#include "core.h"
#include "../core/llfree-stat.c"
