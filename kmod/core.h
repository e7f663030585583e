/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * core/ as the module compiles it. core/platform.h takes its types from here, since a kernel has no
 * <stdint.h>; everything else in it is the compiler's own. Include this, never core/'s headers.
 */
#ifndef MORSEL_KMOD_CORE_H
#define MORSEL_KMOD_CORE_H

#include <linux/limits.h>
#include <linux/stddef.h>
#include <linux/types.h>

#define PLAT_TYPES

#ifndef INT8_MAX
#define INT8_MAX S8_MAX
#endif

#include "../core/llfree.h"

#endif
