/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "inventory.h"

/* A fake inventory for unit tests: tiers as the test says, nothing read from the machine. */
struct inventory *fake_inventory_new(void);
struct inventory *fake_inventory_free(struct inventory *inv); /* takes NULL, returns NULL */
/* nodes: n node numbers; none: a device. Returned tier: borrowed, may be changed. */
struct tier *fake_inventory_add(struct inventory *inv, const char *name, enum tier_state state,
				const int *nodes, unsigned int n);
/* Every node of this machine that has memory, as "node0", "node1"…; returns how many. */
unsigned int fake_inventory_add_machine(struct inventory *inv);
