/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <linux/morsel.h>

#include "inventory.h"
#include "placement.h"

/*
 * From tier names to the module's list of pools. Pure, but for what pool() does.
 *
 *   prefer   its tiers' pools in their order; then, unless allow forbids it, those of all other tiers, in
 *            the order of the inventory (DRAM first)
 *   spread   its tiers' pools with their weights, a tier's divided among its nodes; then the others
 *            with weight 0, which get what the first ones have no room for
 *   neither  the order of the inventory
 *
 * A list has room for MORSEL_MAX_TIERS pools; what does not fit comes from the end.
 */

/* The pool of a tier's node or place, made if need be: its id, or -errno with a text. */
typedef int (*module_pool_t)(const struct tier *tier, int place, void *userdata, char **ret_error);

/*
 * p: checked (placement_check), or NULL. strict: as storage_ops.create wants it: of prefer and allow, tiers that take no
 * pages are passed over while another one does, in spread each one must: -ENOENT, -ENODEV, with a text
 * that names the tier; and what pool() gave for a tier that was named. Not strict: as adopt wants it, whatever
 * is not there is passed over.
 */
int module_place(const struct inventory *inv, const struct placement *p, bool strict,
		 module_pool_t pool, void *userdata, struct morsel_placement *ret_list,
		 char **ret_error);

/* The same list with these pools (n, at least one) before all others, and no weights: after a move. */
void module_place_towards(struct morsel_placement *list, const uint32_t *pools, unsigned int n);
