/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

/*
 * Names of tiers: kind and a running number, "hbm0", in the order of nodes and devices when first
 * seen; afterwards the same backing has the same name, and a number is not given to another
 * backing while the daemon runs (policies and clients hold names).
 */
struct tier_names;

struct tier_names *tier_names_new(void);
struct tier_names *tier_names_free(struct tier_names *n); /* takes NULL, returns NULL */

/*
 * Sorts the drafts (of struct draft *) by kind, then node, then device, names those that have no
 * name of the operator's, and remembers all.
 */
void tier_names_assign(struct tier_names *n, GPtrArray *drafts);

/* By kind, then number (dram2 before dram10), then name. For sorting arrays of struct tier *. */
int tier_compare(gconstpointer a, gconstpointer b);
