// SPDX-License-Identifier: GPL-2.0-only
/*
 * morsel's own placement program: frames come from the tiers that the policy of the morsel's cgroup names now, whatever
 * it named when the morsel was made. morseld keeps the map (docs/ebpf.md). What it does not know of, and what has a
 * placement of its own, it has no opinion about.
 */
#include "placement.h"

#include "placement-policy.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MORSEL_POLICY_ACCOUNTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64); /* account */
	__type(value, struct morsel_policy);
} policies SEC(".maps");

SEC("struct_ops/place")
int BPF_PROG(place, struct morsel_place *p)
{
	__u32 pools[MORSEL_PLACE_POOLS], tiers[MORSEL_PLACE_POOLS], order[MORSEL_PLACE_POOLS] = {};
	const struct morsel_policy *policy;
	__u64 account = p->account;
	__u32 n;

	if (p->flags & MORSEL_PLACE_OWN)
		return 0;
	policy = bpf_map_lookup_elem(&policies, &account);
	if (!policy || morsel_place_pools(p, pools) < 0 || morsel_place_tiers(p, tiers) < 0)
		return 0;
	n = morsel_policy_order(policy, p->granule, pools, tiers, p->count, order);
	return morsel_place_answer(p, order, n);
}

SEC(".struct_ops.link")
struct morsel_placement_ops morsel_policies = {
	.place = (void *)place,
};
