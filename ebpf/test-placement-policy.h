/* SPDX-License-Identifier: GPL-2.0-only */
/* What test-placement-policy asks of the program of the same name, and its answer. */
#ifndef MORSEL_EBPF_TEST_PLACEMENT_POLICY_H
#define MORSEL_EBPF_TEST_PLACEMENT_POLICY_H

#include "placement-policy.h"

struct order_test {
	struct morsel_policy policy;
	__u64 granule;
	__u32 count;
	__u32 n; /* out */
	__u32 pools[MORSEL_PLACE_POOLS];
	__u32 tiers[MORSEL_PLACE_POOLS];
	__u32 order[MORSEL_PLACE_POOLS]; /* out */
};

#endif
