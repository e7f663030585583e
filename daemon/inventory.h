/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "config.h"
#include "tier.h"

/*
 * The machine's memory tiers, from sysfs (nodes, HMAT, memory tiers, cxl, dax, nd, pci) and the
 * firmware's tables, with the operator's overrides on top.
 *
 * Every kernel path is opened relative to root_fd, so that a fixture directory stands in for "/", and one
 * reader serves both. libdaxctl, which knows only the real /sys, is asked there for a second opinion
 * (inventory-libdaxctl.h, which also says why libcxl is not).
 *
 * Not thread-safe: belongs to the event loop's thread. The tiers it hands out may be referenced
 * and read anywhere.
 */
struct inventory;

/*
 * root_fd: directory, duplicated. real_root: whether it is the machine's own "/".
 * Never fails for lack of devices: a machine with one node is a state.
 */
int inventory_new(int root_fd, bool real_root, struct inventory **ret_inv);
/* Can pools of the module be made of dax devices? No at first; the next refresh goes by it. */
void inventory_set_module(struct inventory *inv, bool usable);
struct inventory *inventory_free(struct inventory *inv); /* takes NULL, returns NULL */

/*
 * Read everything again. config may be NULL. Tiers keep their names while their backing stays; one
 * that vanished while in_use(name) says true (may be NULL: none is) stays as TIER_MISSING.
 * ret_changed: whether anything but free bytes differs from before. On error nothing changes.
 */
int inventory_refresh(struct inventory *inv, const struct config *config,
		      bool (*in_use)(const char *name, void *userdata), void *userdata,
		      bool *ret_changed);

/* Only the free bytes of node tiers, cheaply. */
int inventory_refresh_free(struct inventory *inv);

/* Of struct tier *, sorted by kind (as in enum), then number. Valid until the next refresh. */
const GPtrArray *inventory_tiers(const struct inventory *inv);
/* Of int, ascending: nodes with CPUs. */
const GArray *inventory_initiators(const struct inventory *inv);
/* Borrowed; NULL when there is none of that name. O(1). */
struct tier *inventory_tier(const struct inventory *inv, const char *name);
/* The tier whose bytes are counted by that node, or that place of a device (tier_place()), or NULL. O(1). */
struct tier *inventory_tier_of_node(const struct inventory *inv, int node);
/* Is it a node's number, not a place of a device? */
bool inventory_is_node(const struct inventory *inv, int place);
/* Warnings that belong to no tier (unreadable or lying files), of char *. */
const GPtrArray *inventory_warnings(const struct inventory *inv);
