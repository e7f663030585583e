/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "storage-node-batch.h"

/*
 * The quick way to move a window whose pages all lie on one node: one mbind with MPOL_MF_MOVE… for so many
 * pages, where move_pages looks each one up by its address. It tells nobody what became of a page and would
 * use other nodes when the target is full; so it is for one target node with room to spare, and what has not
 * come along is found by counting and left to mover_move(). It sets the policy, too, range by range: whoever
 * sweeps sets the policy of the whole range again afterwards, which makes one of them.
 */

/* One call's share: as much as one call of move_pages gets. The daemon's memory map is locked meanwhile,
 * before 6.8 while the pages are copied as well. */
#define SWEEP_STEP ((uint64_t)BATCH_MAX * 4096)

/* May moves of o to tier sweep? No: hugetlb, several nodes, an `allow` that pages must never leave, no
 * mbind, no way to count pages. ret_policy: what to give node_sweep(). */
bool node_sweep_possible(const struct storage_object *o, const struct tier *tier,
			 struct node_policy *ret_policy);

/* Is the listed window of v worth it? All its pages are on one node, which is not the target. */
bool node_sweep_worth(const struct node_view *v, const struct node_policy *policy);

/* Move [offset, offset + length), at most SWEEP_STEP, of the window. False: not done, or in part. */
bool node_sweep(const struct node_view *v, const struct node_policy *policy, uint64_t offset,
		uint64_t length);

/* Have all listed pages come to the target? One count of the window. */
bool node_sweep_complete(const struct node_view *v, const struct node_policy *policy);
