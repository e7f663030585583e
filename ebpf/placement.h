/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For BPF programs that answer morsel.ko's question (linux/morsel_placement.h). Such a program:
 *
 *	#include "placement.h"
 *
 *	SEC("struct_ops/place")
 *	int BPF_PROG(place, struct morsel_place *p)
 *	{
 *		__u32 pools[MORSEL_PLACE_POOLS], order[MORSEL_PLACE_POOLS] = {};
 *
 *		if (morsel_place_pools(p, pools) < 0)
 *			return 0;
 *		…
 *		return morsel_place_answer(p, order, n);
 *	}
 *
 *	SEC(".struct_ops.link")
 *	struct morsel_placement_ops mine = { .place = (void *)place };
 *
 *	char _license[] SEC("license") = "GPL";
 *
 * Fields that are no arrays are read as p->object, p->node and so on.
 */
#ifndef MORSEL_EBPF_PLACEMENT_H
#define MORSEL_EBPF_PLACEMENT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Found by name in the module's own BTF: the program also runs on a module with more fields. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#include <linux/morsel_placement.h>
#pragma clang attribute pop

/* The verifier takes constant offsets into *p only: arrays are worked on in copies. 0, or negative. */
static __always_inline long morsel_place_pools(const struct morsel_place *p,
					       __u32 pools[MORSEL_PLACE_POOLS])
{
	return bpf_probe_read_kernel(pools, sizeof(p->pools),
				     __builtin_preserve_access_index(&p->pools));
}

static __always_inline long morsel_place_tiers(const struct morsel_place *p,
					       __u32 tiers[MORSEL_PLACE_POOLS])
{
	return bpf_probe_read_kernel(tiers, sizeof(p->tiers),
				     __builtin_preserve_access_index(&p->tiers));
}

/* What place() returns. */
static __always_inline int morsel_place_answer(struct morsel_place *p,
					       const __u32 order[MORSEL_PLACE_POOLS], int n)
{
#define MORSEL_SET(i) p->order[i] = order[i]
	MORSEL_SET(0);
	MORSEL_SET(1);
	MORSEL_SET(2);
	MORSEL_SET(3);
	MORSEL_SET(4);
	MORSEL_SET(5);
	MORSEL_SET(6);
	MORSEL_SET(7);
	MORSEL_SET(8);
	MORSEL_SET(9);
	MORSEL_SET(10);
	MORSEL_SET(11);
	MORSEL_SET(12);
	MORSEL_SET(13);
	MORSEL_SET(14);
	MORSEL_SET(15);
#undef MORSEL_SET
	return n;
}

#endif
