/* SPDX-License-Identifier: GPL-2.0-only */
/* Between placement.c, which knows what an answer is worth, and placement-bpf.c, which gets it. */
#ifndef MORSEL_KMOD_PLACEMENT_H
#define MORSEL_KMOD_PLACEMENT_H

#include <linux/morsel_placement.h>

/* Whether there is a program; it may go at any time. */
bool placement_is_asked(void);
/* False: it has gone. */
bool placement_call(struct morsel_place *place, int *ret);

#endif
