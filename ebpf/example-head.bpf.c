// SPDX-License-Identifier: GPL-2.0-only
/*
 * An example of an operator's own placement program, in place of morsel's: the head of each morsel (the first 8 MiB, where
 * many programs keep what leads to all the rest) is placed as it would be anyway, what lies behind it comes from the
 * last pool that it may use first. docs/ebpf.md tells how it is built and put to use.
 */
#include "placement.h"

#define HEAD_GRANULES 4 /* of 2 MiB */

char _license[] SEC("license") = "GPL";

SEC("struct_ops/place")
int BPF_PROG(place, struct morsel_place *p)
{
	__u32 pools[MORSEL_PLACE_POOLS], order[MORSEL_PLACE_POOLS] = {};
	__u32 i, n = p->count;

	if (p->granule < HEAD_GRANULES || morsel_place_pools(p, pools) < 0)
		return 0;
	/* What lies behind the first n is not looked at. */
	for (i = 0; i < MORSEL_PLACE_POOLS; i++)
		order[i] = pools[(n - 1 - i) & (MORSEL_PLACE_POOLS - 1)];
	return morsel_place_answer(p, order, n);
}

SEC(".struct_ops.link")
struct morsel_placement_ops head = {
	.place = (void *)place,
};
