/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage-node-sweep.h"

#include <linux/mempolicy.h>

#include "storage-node-count.h"

/* What must be left on the target, so that nobody is driven to another node: the kernel's watermarks, the
 * other thread's step, and what clients and the rest of the system take meanwhile. */
#define MARGIN (UINT64_C(128) << 20)

bool node_sweep_possible(const struct storage_object *o, const struct tier *tier,
			 struct node_policy *ret_policy)
{
	if (o->backing == PAGES_HUGETLB || tier->nodes->len != 1 || o->node->caps.mbind < 0 ||
	    !o->node->caps.numa_maps || (o->placement && o->placement->allow->len > 0))
		return false;
	node_policy_towards(tier, NULL, &o->node->caps, ret_policy);
	return ret_policy->mode == MPOL_PREFERRED;
}

bool node_sweep_worth(const struct node_view *v, const struct node_policy *policy)
{
	return v->n > 0 && v->only_node >= 0 && v->only_node != policy->home;
}

bool node_sweep(const struct node_view *v, const struct node_policy *policy, uint64_t offset,
		uint64_t length)
{
	const struct node_storage *s = v->o->node;

	if (s->sys->node_free(s->root_fd, policy->home) < length + MARGIN)
		return false;
	return s->sys->mbind(v->base + (offset - v->offset), length, policy->mode, &policy->nodes,
			     s->caps.move_shared ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE) == 0;
}

bool node_sweep_complete(const struct node_view *v, const struct node_policy *policy)
{
	struct node_counts counts;
	uint64_t pages = 0;

	for (size_t i = 0; i < v->n; i++)
		pages += v->bytes[i] / v->o->page_size;
	return node_count(v->numa_maps, v->base, &counts) == 0 && counts.total >= pages &&
	       counts.only_node == policy->home;
}
